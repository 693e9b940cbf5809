"""medzoo models: list the catalogue."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import click

from .models_show import UNITS, print_wrapped, show_command, write_count
from .output import DefaultGroup, print_columns, print_json

_SIZE = re.compile(r"(?P<number>\d{1,3}(,\d{3})+|\d+(\.\d+)?) ?(?P<unit>[kMG]?)")

#: The weights' column is no narrower than this; before it gets so, the families make room.
_NARROWEST = 12


def _read_size(_: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """Read a number with a unit: 25M, 1.5G, 300k, 4096."""
    from medzoo.errors import ConfigError

    if text is None:
        return None
    parsed = _SIZE.fullmatch(text.strip())
    if parsed is None:
        raise ConfigError(f"{option.opts[0]} {text!r}", "a number, with k, M or G", f"{option.opts[0]} 25M")
    return round(float(parsed["number"].replace(",", "")) * UNITS[parsed["unit"]])


@click.group("models", cls=DefaultGroup)
def command() -> None:
    """List the networks; `medzoo models show NAME` lays out one's stages.

    \b
    Example:
      medzoo models 'mobilenet*'
      medzoo models --max-parameters 25M --max-macs 5G --weights
      medzoo models show resnet50
      medzoo models show resnet50@conv4_block4 --classes 2
    """


@dataclass(frozen=True)
class Filters:
    """What the listed networks must be; None and empty ask for nothing."""

    pattern: str
    family: str
    least_parameters: int | None
    most_parameters: int | None
    most_macs: int | None
    tag: str
    with_weights: bool

    def admit(self, row: dict[str, Any]) -> bool:
        """Tell whether a network passes every filter."""
        words = (row["model"], row["family"])
        patterns = (self.pattern, f"{self.pattern}*")
        return (
            any(fnmatchcase(word, pattern) for word in words for pattern in patterns)
            and self.family in ("", row["family"])
            and (self.least_parameters is None or row["parameters"] >= self.least_parameters)
            and (self.most_parameters is None or row["parameters"] <= self.most_parameters)
            and (self.most_macs is None or row["macs"] <= self.most_macs)
            and (not self.tag or f"{row['model']}.{self.tag}" in row["weights"])
            and (not self.with_weights or bool(row["weights"]))
        )

    def __str__(self) -> str:
        """Name the filters as typed, numbers in short."""
        sizes = {
            "--min-parameters": self.least_parameters,
            "--max-parameters": self.most_parameters,
            "--max-macs": self.most_macs,
        }
        words = [repr(self.pattern)] if self.pattern != "*" else []
        words += [f"--family {self.family}"] if self.family else []
        words += [f"{option} {write_count(size)}" for option, size in sizes.items() if size is not None]
        words += [f"--tag {self.tag}"] if self.tag else []
        return ", ".join([*words, *(["--weights"] if self.with_weights else [])])


@command.command("list")
@click.argument("pattern", default="*")
@click.option("--family", default="", help="Networks of this family alone.")
@click.option(
    "--min-parameters", metavar="SIZE", callback=_read_size, help="This many or more, such as 300k."
)
@click.option(
    "--max-parameters", metavar="SIZE", callback=_read_size, help="This many or fewer, such as 25M."
)
@click.option(
    "--max-macs", metavar="SIZE", callback=_read_size, help="Multiply-accumulates an image, such as 1.5G."
)
@click.option("--tag", default="", help="Networks with weights of this tag, such as imagenet.")
@click.option("--weights", "with_weights", is_flag=True, help="Networks with any published weights.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(
    pattern: str,
    family: str,
    min_parameters: int | None,
    max_parameters: int | None,
    max_macs: int | None,
    tag: str,
    with_weights: bool,
    as_json: bool,
) -> None:
    """List the networks whose name or family matches PATTERN (the default of `medzoo models`)."""
    filters = Filters(pattern, family, min_parameters, max_parameters, max_macs, tag, with_weights)
    everything = _list_rows()
    rows = [row for row in everything if filters.admit(row)]
    if not rows:
        _refuse(filters, everything)
    if as_json:
        print_json(rows)
        return
    _print_rows(rows, shutil.get_terminal_size().columns)
    print_wrapped(
        "Parameters: all weights. MACs: multiply-accumulates of one image. Both with 3 input channels, 1,000 classes "
        "and the input's own size."
    )


def _print_rows(rows: Sequence[dict[str, Any]], columns: int) -> None:
    """Print a table that fits the terminal: as many tags as there is room for, families where there is some."""
    header = ["model", "family", "parameters", "MACs", "input"]
    cells = [
        [
            row["model"],
            row["family"],
            f"{row['parameters']:,}",
            write_count(row["macs"]),
            str(row["input_size"]),
        ]
        for row in rows
    ]
    room = columns - _measure_width([header, *cells])
    if room < _NARROWEST:  # names say the family, mostly
        header, *cells = ([line[0], *line[2:]] for line in (header, *cells))
        room = max(_NARROWEST, columns - _measure_width([header, *cells]))
    table = [[*line, _list_tags(row["weights"], room)] for line, row in zip(cells, rows, strict=True)]
    print_columns([*header, "weights"], table, numbers=range(len(header) - 3, len(header)))


def _measure_width(table: Sequence[Sequence[str]]) -> int:
    """Measure how wide columns are, with the space after each."""
    return sum(max(len(line[column]) for line in table) + 2 for column in range(len(table[0])))


def _list_rows() -> list[dict[str, Any]]:
    """List every network with its counts and the names of its weights."""
    from medzoo.models.catalog import list_models
    from medzoo.models.tables.parts import find_totals
    from medzoo.weights.cards import list_card_names

    cards: dict[str, list[str]] = {}
    for name in list_card_names():
        cards.setdefault(name.partition(".")[0], []).append(name)
    rows = []
    for spec in list_models():
        totals = find_totals(spec)
        rows.append(
            {
                "model": spec.name,
                "family": spec.family,
                "parameters": totals.parameters,
                "macs": totals.macs,
                "input_size": spec.input_size,
                "weights": cards.get(spec.name, []),
            }
        )
    return rows


def _refuse(filters: Filters, rows: Sequence[dict[str, Any]]) -> None:
    """Refuse filters that leave nothing: name them, and what is nearest to the one that nothing matches."""
    from medzoo.errors import ConfigError, nearest

    families = {row["family"] for row in rows}
    tags = {name.partition(".")[2] for row in rows for name in row["weights"]}
    alone = Filters(filters.pattern, "", None, None, None, "", False)
    matching = [row for row in rows if alone.admit(row)]
    if not matching:
        expected = nearest(filters.pattern, families | {row["model"] for row in rows})
    elif filters.family and filters.family not in families:
        expected = nearest(filters.family, families)
    elif filters.tag and filters.tag not in tags:
        expected = nearest(filters.tag, tags)
    else:
        least = min(matching, key=lambda row: row["parameters"])
        expected = (
            f"filters that leave some of {len(matching)}; the smallest is {least['model']} with "
            f"{write_count(least['parameters'])} parameters and {write_count(least['macs'])} MACs"
        )
    raise ConfigError(f"no model matches {filters}", expected, "medzoo models for the whole list")


def _list_tags(names: Sequence[str], room: int) -> str:
    """List as many tags of a network's weights as there is room for, and count the rest."""
    tags = [name.partition(".")[2] for name in names]
    for shown in range(len(tags), 0, -1):
        rest = f" +{len(tags) - shown}" if shown < len(tags) else ""
        text = ", ".join(tags[:shown]) + rest
        if len(text) <= room or shown == 1:
            return text
    return "—"


command.add_command(show_command)
