"""The options that say how data are read, the same for every command that opens them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from medzoo.data.options import SourceOptions

Command = TypeVar("Command", bound=Callable[..., Any])

#: What a source may be, for the help of its option.
SOURCES = (
    "phantom, a CSV or Parquet table, a folder, a zip or tar, an .npz, medmnist:NAME, TFRecords, tfds:NAME"
)

#: Options in the order of the help: the name of each is its field of SourceOptions.
_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option("--image-column", help="Column of image files in a table  [default: recognised]."),
    click.option("--label-column", help="Column of labels in a table  [default: recognised]."),
    click.option(
        "--label-columns",
        metavar="NAME,…",
        help="Columns of one label each, where an image has several  [default: recognised].",
    ),
    click.option(
        "--split-column", help="Column of train, validation, test in a table  [default: recognised]."
    ),
    click.option("--patient-column", help="Column of patients in a table  [default: recognised]."),
    click.option(
        "--group-columns", metavar="NAME,…", help="Columns kept as groups  [default: all short ones]."
    ),
    click.option("--image-folder", help="Folder of a table's images  [default: beside it]."),
    click.option(
        "--uncertain",
        multiple=True,
        metavar="[LABEL=]RULE",
        help="What -1 in a label column means: ones, zeros, ignore or keep  [default: ignore].",
    ),
    click.option(
        "--blank",
        multiple=True,
        metavar="[LABEL=]RULE",
        help="What an empty label cell means: ones, zeros, ignore or keep  [default: by convention].",
    ),
    click.option("--positive", metavar="CLASS", help="The positive one of two classes  [default: the last]."),
    click.option(
        "--window",
        "windows",
        multiple=True,
        metavar="NAME|CENTRE/WIDTH",
        help="Values that become black to white, such as lung or 40/400; several: a channel each.",
    ),
    click.option(
        "--frame",
        metavar="first|middle|all|N",
        help="Which frame of a file of many is the image; all: a volume  [default: middle].",
    ),
    click.option("--splits", metavar="FILE", help="Take the splits of `medzoo data split`'s FILE, by id."),
    click.option(
        "--fraction", type=float, metavar="P", help="Take P % of the training patients of --splits."
    ),
    click.option("--test-fold", type=int, metavar="N", help="Test fold N of --splits."),
    click.option(
        "--on-error",
        metavar="fail|skip",
        help="Skip what cannot be read, and list it  [default: fail, of an audit skip].",
    ),
)


def add_data_options(command: Command) -> Command:
    """Give a command the options by which data are read."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_data_options(values: dict[str, Any]) -> dict[str, Any]:
    """Turn the options given into settings of `[data]`: lists split at commas, rules by label; None left out.

    Raises:
        ConfigError: a rule that is none.
    """
    from medzoo.data.options import SourceOptions

    names = [entry.name for entry in fields(SourceOptions) if entry.name != "seed"]
    # `--fold` is that of a transplant's input contract.
    given = values | {"fold": values.get("test_fold")}
    settings = {name: given[name] for name in names if given.get(name) not in (None, ())}
    for name in ("label_columns", "group_columns"):
        if name in settings:
            settings[name] = tuple(part.strip() for part in settings[name].split(",") if part.strip())
    for name in ("uncertain", "blank"):
        if name in settings:
            settings[name] = _read_rules(settings[name])
    if "frame" in settings and settings["frame"].lstrip("-").isdecimal():
        settings["frame"] = int(settings["frame"])
    return settings


def make_options(values: dict[str, Any], seed: int = 0) -> SourceOptions:
    """Make the options of a source of a command's values."""
    from medzoo.data.options import make_source_options

    return make_source_options(read_data_options(values) | {"seed": seed})


def _read_rules(rules: tuple[str, ...]) -> dict[str, str]:
    """Read `RULE` for all labels and `LABEL=RULE` for one."""
    pairs = (rule.rpartition("=") for rule in rules)
    return {label or "*": policy for label, _, policy in pairs}
