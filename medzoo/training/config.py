"""The configuration of a training run: TOML → frozen models; unknown keys are refused."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medzoo.contracts import Fit, Interpolation
from medzoo.errors import ConfigError, nearest

#: What is done with a label that its annotators called uncertain, or left blank.
Policy = Literal["ones", "zeros", "ignore", "keep"]


class Section(BaseModel):
    """A group of settings that cannot be changed once made and takes no unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSection(Section):
    """Which images, and how they are read."""

    source: str | None = Field(default=None, min_length=1)
    image_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    patient_column: str | None = None
    label_columns: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="a column for each label, where an image has several"
    )
    group_columns: tuple[str, ...] | None = Field(
        default=None, description="the columns that reach the predictions; None is every short one"
    )
    image_folder: str | None = None
    # What -1 and an empty cell of a label column mean: one rule for all, or one a label, "*" for the others.
    uncertain: Policy | dict[str, Policy] | None = None
    blank: Policy | dict[str, Policy] | None = None
    positive: str | None = Field(default=None, description="the positive one of two classes")
    on_error: Literal["fail", "skip"] = Field(
        default="fail", description="skip leaves out rows and images that cannot be read, and lists them"
    )
    splits: str | None = Field(
        default=None, min_length=1, description="a table of medzoo data split, laid over the data by id"
    )
    fraction: float | None = Field(
        default=None, gt=0, le=100, description="percent of the training patients, of a nested split"
    )
    fold: int | None = Field(default=None, ge=1, description="the fold that is tested, of a split into folds")
    windows: tuple[str, ...] | None = Field(
        default=None, description="lung, bone, 40/400, …: values that become black to white, a channel each"
    )
    frame: Literal["first", "middle", "all"] | int | None = Field(
        default=None, description="which frame or page of a file of many is the image; None is the middle one"
    )
    cache: Literal["auto", "memory", "disk", "off"] = "auto"
    image_size: int | None = Field(default=None, ge=1, le=16384)
    preprocessing: str | None = Field(
        default=None, description="the input contract; None is that of the weights, else the network's"
    )
    # The resize rule; None is that of the run in `weights.src`, else the input contract's.
    fit: Fit | None = Field(default=None, description="how a picture meets the square input")
    interpolation: Interpolation | None = Field(
        default=None, description="how pixels between pixels are made"
    )
    crop_fraction: float | None = Field(
        default=None, gt=0, le=1, description="under crop: the input's share of the resized shorter side"
    )
    strict: bool = Field(
        default=False, description="refuse images beyond the contract's range, which is warned of otherwise"
    )
    seed: int = Field(
        default=0, ge=0, lt=2**32, description="draws splits that the data lack, and the phantom"
    )


class ModelSection(Section):
    """Which network; None is decided by the weights' source and the images."""

    name: str | None = None
    channels: int | None = Field(default=None, ge=1)
    head: Literal["gap", "flatten", "token"] | None = Field(
        default=None, description="how features become logits; None is the network's own"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1)
    drop_path: float = Field(
        default=0.0, ge=0, lt=1, description="rate of stochastic depth in the last block"
    )


class WeightsSection(Section):
    """How the network is initialised; a mode of None is `copy` with a source and `random` without."""

    src: str | None = Field(default=None, min_length=1)
    dialect: str | None = None
    mode: str | None = None
    upto: str | int | None = None
    at: str | None = None
    above: str | None = None
    factor: float | None = None
    norm: str | None = None
    bias: str | None = None
    ddof: int | None = None
    exact: bool | None = None
    sampler: str | None = None
    tokens: str | None = None
    rest: str | None = None
    pick: str | None = None
    noise: float | None = None
    channel_mode: str | None = None
    fold: bool | None = None
    inflate: str | None = None
    head_weights: str | None = None
    classes_map: str | None = None
    interpolation: str | None = None
    antialias: bool | None = None
    rules: str | None = Field(default=None, min_length=1, description="a TOML file in place of a mode")
    lsuv: bool = Field(default=False, description="scale every layer by what training images give")
    ignore: tuple[str, ...] | None = None


class TrainingSection(Section):
    """How the network is trained."""

    epochs: int = Field(default=15, ge=1, le=10**6)
    batch_size: int = Field(default=32, ge=1, le=2**20)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of all steps")
    seed: int = Field(default=0, ge=0, lt=2**32)
    batch_norm: Literal["recalibrate", "train"] = "recalibrate"
    augment: str = Field(default="none", description="none, light, medical, bit or randaugment")
    flips: Literal["none", "horizontal", "both"] | None = Field(
        default=None, description="mirrored images; None is the recipe's own"
    )
    mix: Literal["none", "mixup", "cutmix"] = "none"
    mix_alpha: float = Field(default=0.2, gt=0, description="λ is drawn from Beta(α, α)")
    balance: Literal["none", "weights", "oversample"] = Field(
        default="none", description="weights in the loss, or rare images more often"
    )
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
    xla: Literal["auto", "on", "off"] = "auto"


class RunSection(Section):
    """Where the results go; without `out` a new folder under `runs` is made."""

    out: str | None = Field(default=None, min_length=1)
    overwrite: bool = False


class TrainConfig(Section):
    """Everything that a training run is decided by."""

    data: DataSection = DataSection()
    model: ModelSection = ModelSection()
    weights: WeightsSection = WeightsSection()
    training: TrainingSection = TrainingSection()
    run: RunSection = RunSection()


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
        merged.setdefault(section, {})[name] = value
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
