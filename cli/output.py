"""What commands print: JSON, tables, notes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import click


def print_json(content: Any) -> None:
    """Print JSON to stdout, and nothing else."""
    click.echo(json.dumps(content, indent=1, ensure_ascii=False))


def print_note(text: str) -> None:
    """Print a note to stderr."""
    click.echo(text, err=True)


@contextlib.contextmanager
def mute_native_notices() -> Iterator[None]:
    """Silence what native libraries write to stderr while they start; Python's own errors still pass.

    TensorFlow greets every start with notices that no log level turns off, which would bury our first line.
    """
    saved = os.dup(2)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a path
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def clean(text: str) -> str:
    """Replace what a terminal would obey or break a line at: names and licences come from files.

    >>> clean("a\\x1b[31m")
    'a�[31m'
    """
    return "".join(sign if sign.isprintable() else "�" for sign in text)


def print_columns(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> None:
    """Print aligned columns to stdout; those in `numbers` are aligned to the right."""
    table = [[clean(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        cells = (
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())


class DefaultGroup(click.Group):
    """A group that takes words which are no subcommand as arguments of its first one: `medzoo models resnet`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default subcommand's name first where none is given."""
        default = next(iter(self.commands))
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = [default, *args]
        return super().parse_args(ctx, args)
