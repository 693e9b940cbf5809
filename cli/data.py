"""medzoo data: look at data before training on them."""

from __future__ import annotations

import click

from . import data_bench, data_check, data_split


@click.group("data")
def command() -> None:
    """Check data, split them by patient, and measure how fast they are read.

    \b
    Example:
      medzoo data check breastmnist.npz
      medzoo data split manifest.csv --out splits.csv --nested
      medzoo data bench images/
    """


for _member in (data_check, data_split, data_bench):
    command.add_command(_member.command)
