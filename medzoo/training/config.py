"""The configuration of a training run: TOML → frozen models; unknown keys are refused."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from medzoo.errors import ConfigError, nearest
from medzoo.training.settings import Section, TrainConfig


def read_config(path: str | Path) -> TrainConfig:
    """Read a configuration from a TOML file.

    Raises:
        ConfigError: no such file, no TOML, an unknown key (the nearest is given) or a value that does not fit.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "chest.toml").write_text('[training]\\nepochs = 3\\n')
    ...     read_config(Path(folder) / "chest.toml").training.epochs
    3
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration file {path}", "a TOML file") from error
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} is no TOML ({error})", "key = value lines under [section] heads"
        ) from error
    return make_config(content)


def make_config(content: Mapping[str, Any], settings: Iterable[tuple[str, Any]] = ()) -> TrainConfig:
    """Make a configuration from nested keys, with dotted settings on top.

    Raises:
        ConfigError: an unknown key or a value that does not fit.

    >>> make_config({}, [("training.epochs", 2)]).training.epochs
    2
    """
    merged: dict[str, Any] = {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in content.items()
    }
    for key, value in settings:
        section, _, name = key.partition(".")
        if not name:
            raise ConfigError(f"setting {key!r}", "section.key", "--set training.epochs=20")
        if not isinstance(merged.setdefault(section, {}), dict):
            raise ConfigError(f"{section} = {merged[section]!r}", "a section of settings", f"[{section}]")
        merged[section][name] = value
    try:
        return TrainConfig.model_validate(merged)
    except ValidationError as error:
        raise _explain(error) from error


def parse_setting(text: str) -> tuple[str, Any]:
    """Parse `section.key=value`; the value is TOML where it can be, else text.

    Raises:
        ConfigError: there is no `=`.

    >>> parse_setting("training.epochs=20"), parse_setting("data.source=chest.csv")
    (('training.epochs', 20), ('data.source', 'chest.csv'))
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"setting {text!r}", "section.key=value", "--set training.epochs=20")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def format_config(config: TrainConfig) -> str:
    """Write a configuration as TOML; settings that are None are left out."""
    return tomli_w.dumps(config.model_dump(exclude_none=True))


def list_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """List the settings in which two configurations, as nested keys, differ.

    >>> list_differences({"training": {"seed": 0, "epochs": 2}}, {"training": {"seed": 1, "epochs": 2}})
    ['training.seed was 0, is 1']
    """
    found = []
    for section in sorted({*before, *after}):
        old, new = before.get(section, {}), after.get(section, {})
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                found.append(f"{section}.{key} was {old.get(key)!r}, is {new.get(key)!r}")
    return found


def _explain(error: ValidationError) -> ConfigError:
    """Turn pydantic's first complaint into one line."""
    found = error.errors()
    place = found[0]["loc"][:2]
    key = ".".join(map(str, place))
    if found[0]["type"] == "extra_forbidden":
        return ConfigError(f"unknown setting {key!r}", nearest(key, _known_keys(key)))
    # A setting of several types has a complaint for each, whose place goes on with the type's name and then with
    # the key inside it: the one that got deepest into the value knows best.
    same = [one for one in found if one["loc"][:2] == place]
    deepest = max(len(one["loc"]) for one in same)
    told = [one for one in same if len(one["loc"]) == deepest]
    inside = [str(part) for part in told[0]["loc"][3:] if part != "*"]
    expected = dict.fromkeys(one["msg"].lower().removeprefix("input should be ") for one in told)
    return ConfigError(f"{'.'.join([key, *inside])} = {told[0]['input']!r}", ", or ".join(expected))


def _known_keys(key: str) -> list[str]:
    """List the settings that could have been meant, with or without their section."""
    sections = {name: field.annotation for name, field in TrainConfig.model_fields.items()}
    if "." not in key:
        return list(sections)
    return [
        f"{name}.{setting}"
        for name, section in sections.items()
        if isinstance(section, type) and issubclass(section, Section)
        for setting in section.model_fields
    ]
