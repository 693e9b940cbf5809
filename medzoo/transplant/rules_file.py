"""Rules as TOML: what `--rules FILE` reads and `--explain` prints; a file of one's own starts from a named mode."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from medzoo.errors import ConfigError, nearest
from medzoo.specs import Scalar
from medzoo.tensors import Role
from medzoo.transplant.adaptations import PLAIN, Adaptations
from medzoo.transplant.methods import find_method
from medzoo.transplant.steps import Rule


@dataclass(frozen=True)
class RuleSet:
    """Rules, the globs of source tensors that may stay unused, and how shapes are brought together."""

    rules: tuple[Rule, ...]
    ignore: tuple[str, ...] = ()
    adaptations: Adaptations = PLAIN

    @property
    def needs_source(self) -> bool:
        """Whether any rule takes anything from a source."""
        return any(find_method(rule.method).needs != "nothing" for rule in self.rules)


def format_rules(
    rules: Sequence[Rule], ignore: Sequence[str] = (), adaptations: Adaptations | None = None
) -> str:
    """Write rules as TOML that `read_rules` reads back; only what differs from the defaults is written.

    >>> print(format_rules([Rule("head/*", "fresh")]), end="")
    # The first rule that matches a target tensor decides; `|` joins patterns.
    [[rule]]
    match = "head/*"
    method = "fresh"
    """
    import tomli_w  # needed here only

    lines = ["# The first rule that matches a target tensor decides; `|` joins patterns.\n"]
    head: dict[str, Any] = {}
    if ignore:
        head["ignore"] = list(ignore)
    if adaptations is not None and adaptations != PLAIN:
        default = asdict(PLAIN)
        head["adapt"] = {key: value for key, value in asdict(adaptations).items() if value != default[key]}
    rows: list[dict[str, Any]] = []
    for rule in rules:
        row: dict[str, Any] = {"match": rule.match, "method": rule.method}
        if rule.roles:
            row["roles"] = [str(role) for role in rule.roles]
        row |= {"options": dict(rule.options)} if rule.options else {}
        rows.append(row)
    text = tomli_w.dumps(head)
    if text:
        lines.append(f"{text}\n")
    lines.append("\n".join(_format_row(row) for row in rows))
    return "".join(lines)


def _format_row(row: Mapping[str, Any]) -> str:
    """Write one rule as a table of the array `rule`, its options and roles inline."""
    import tomli_w

    plain = {key: value for key, value in row.items() if key in ("match", "method")}
    text = "[[rule]]\n" + tomli_w.dumps(plain)
    if "roles" in row:
        listed = ", ".join(f'"{role}"' for role in row["roles"])
        text += f"roles = [{listed}]\n"
    if "options" in row:
        pairs = ", ".join(tomli_w.dumps({key: value}).strip() for key, value in row["options"].items())
        text += f"options = {{ {pairs} }}\n"
    return text


def read_rules(path: str | Path) -> RuleSet:
    """Read rules from a TOML file.

    Raises:
        ConfigError: no such file, no TOML, or a key, method, role or value that does not exist; the allowed are named.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"no rules file {path}", "a TOML file", "--explain > FILE for one to start from"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} is no TOML: {error}", "[[rule]] tables", "--explain for an example"
        ) from error
    _check_keys(path, content, ("rule", "ignore", "adapt"))
    rows, ignore, adapt = content.get("rule", []), content.get("ignore", []), content.get("adapt", {})
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path} holds no [[rule]]", "at least one", "--explain for an example")
    if not isinstance(ignore, list) or not all(isinstance(glob, str) for glob in ignore):
        raise ConfigError(f"ignore of {path} is no list of globs", 'ignore = ["head/*"]')
    return RuleSet(tuple(_read_rule(path, row) for row in rows), tuple(ignore), _read_adapt(path, adapt))


def _read_rule(path: Path, row: Mapping[str, Any]) -> Rule:
    """Read one rule."""
    _check_keys(path, row, ("match", "method", "options", "roles"))
    match, name, options = row.get("match"), row.get("method"), row.get("options", {})
    if not isinstance(match, str) or not isinstance(name, str):
        raise ConfigError(f"a rule of {path} without match or method", 'match = "conv1_*/*", method = "copy"')
    find_method(name)
    if not isinstance(options, dict) or not all(
        isinstance(value, str | int | float) for value in options.values()
    ):
        raise ConfigError(
            f"options of rule {match!r} in {path}", "names and plain values", "options = { exact = true }"
        )
    _check_options(f"rule {match!r} of {path}", name, options)
    try:
        roles = tuple(Role(role) for role in row.get("roles", ()))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"roles of rule {match!r} in {path}", f"some of {', '.join(Role)}") from error
    return Rule(match, name, options, roles)


#: The options that a rule may give to its method, and the values that each can have.
OPTIONS: Mapping[str, Mapping[str, tuple[Scalar, ...]]] = {
    "resample": {"ddof": (0, 1), "exact": (False, True)},
}


def _check_options(where: str, name: str, options: Mapping[str, Scalar]) -> None:
    """Refuse options that a method does not take, and values that they cannot have."""
    allowed = OPTIONS.get(name, {})
    for key, value in options.items():
        if key == "otherwise":
            find_method(str(value))
        elif key not in allowed:
            raise ConfigError(
                f"{where} has option {key!r}, which {name} does not take",
                f"one of {', '.join((*allowed, 'otherwise'))}",
            )
        # A true is not the number 1, although Python says they are equal.
        elif not any(value == word and type(value) is type(word) for word in allowed[key]):
            words = " or ".join(str(word).lower() for word in allowed[key])
            raise ConfigError(f"{key} = {str(value)[:40]} in {where}", words)


def _read_adapt(path: Path, content: Any) -> Adaptations:
    """Read how shapes are brought together."""
    if not isinstance(content, dict):
        raise ConfigError(f"adapt of {path} is no table", "[adapt]")
    known = {field.name: type(getattr(PLAIN, field.name)) for field in fields(Adaptations)}
    _check_keys(path, content, tuple(known))
    values: dict[str, Any] = {}
    for key, value in content.items():
        if known[key] is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not known[key]:
            raise ConfigError(f"{key} = {value!r} in [adapt] of {path}", f"a {known[key].__name__}")
        values[key] = value
    return Adaptations(**values)


def _check_keys(path: Path, content: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse a key that does not exist, with the nearest ones that do."""
    for key in content:
        if key not in known:
            raise ConfigError(f"{path} has an unknown key {key!r}", nearest(key, known))
