"""`SourceOptions`: how a source is read, checked once, the same for the library and every command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from medzoo.data.reading import Frame
from medzoo.data.tables.manifest import ManifestOptions, Policy
from medzoo.errors import ConfigError, nearest

#: What happens at a row or an image that cannot be read.
OnError = Literal["fail", "skip"]

#: Settings of a source that mean something for a table of images alone.
TABLE_SETTINGS = tuple(entry.name for entry in fields(ManifestOptions) if entry.name != "on_error")


@dataclass(frozen=True)
class SourceOptions(ManifestOptions):
    """How a source is read: which columns, which rows of it, which values of its files.

    The columns, the image folder and the rules for labels are those of `ManifestOptions`, a table's.  `splits` is a
    split file laid over the data by id, `fraction` and `fold` choose among its rows.  `windows` and `frame` say how
    DICOM, NIfTI and files of many pages become images.  `positive` is the positive one of two classes.  `seed`
    draws the phantom and the splits that the source does not give.
    """

    positive: str | None = None
    windows: tuple[str, ...] = ()
    frame: Frame | None = None  # None: the middle one of a file; arrays of volumes stay whole
    splits: Path | None = None
    fraction: float | None = None
    fold: int | None = None
    seed: int = 0

    def list_given(self) -> list[str]:
        """List the settings of tables that are not at their default."""
        default = SourceOptions()
        return [name for name in TABLE_SETTINGS if getattr(self, name) != getattr(default, name)]


def make_source_options(settings: Mapping[str, Any]) -> SourceOptions:
    """Make the options of settings by name; paths may be text, a rule for all labels stands alone.

    Raises ConfigError for an unknown name and for a value that does not fit.

    >>> make_source_options({"uncertain": "zeros", "image_folder": "images"}).uncertain
    {'*': 'zeros'}
    """
    known = [entry.name for entry in fields(SourceOptions)]
    values = {name: value for name, value in settings.items() if value is not None}
    for name in values:
        if name not in known:
            raise ConfigError(f"unknown setting {name!r} of data", nearest(name, known))
    for name in ("image_folder", "splits"):
        if name in values:
            values[name] = Path(values[name])
    for name in ("label_columns", "group_columns", "windows"):
        if name in values:
            several = values[name].split(",") if isinstance(values[name], str) else values[name]
            values[name] = tuple(str(part).strip() for part in several)
    for name in ("uncertain", "blank"):
        if name in values:
            values[name] = _check_rules(name, values[name])
    _check_choices(values)
    return SourceOptions(**values)


def _check_rules(name: str, rules: Any) -> dict[str, Policy]:
    """Check the rules for labels; one word is a rule for all."""
    policies = get_args(Policy)
    by_label = dict(rules) if isinstance(rules, Mapping) else {"*": rules}
    for label, rule in by_label.items():
        if rule not in policies:
            what = f"{name} = {rule!r}" + ("" if label == "*" else f" for {label!r}")
            raise ConfigError(what, f"one of {', '.join(policies)}", f"--{name} ignore")
    return by_label


def _check_choices(values: Mapping[str, Any]) -> None:
    """Check what is a choice or a number."""
    frame = values.get("frame", "middle")
    if not (isinstance(frame, int) or frame in ("first", "middle", "all")):
        raise ConfigError(f"frame = {frame!r}", "first, middle, all or a number", "--frame middle")
    if values.get("on_error", "fail") not in get_args(OnError):
        raise ConfigError(f"on-error = {values['on_error']!r}", "fail or skip", "--on-error skip")
    fraction, fold = values.get("fraction"), values.get("fold")
    if fraction is not None and not 0 < fraction <= 100:
        raise ConfigError(f"fraction = {fraction}", "percent above 0, at most 100", "--fraction 10")
    if fold is not None and fold < 1:
        raise ConfigError(f"fold = {fold}", "1 or more", "--test-fold 1")
