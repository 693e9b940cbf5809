"""medzoo weights: published weight sets (cards) and weights files."""

from __future__ import annotations

import click

from . import weights_cards, weights_files, weights_verify
from .output import DefaultGroup


@click.group("weights", cls=DefaultGroup)
def command() -> None:
    """Find, fetch and check published weights; look into weights files, convert and measure them.

    \b
    Example:
      medzoo weights 'resnet50*'
      medzoo weights fetch mobilenet_075.imagenet
      medzoo weights inspect weights.h5
      medzoo weights convert checkpoint.pth weights.safetensors
      medzoo weights moments weights.h5 --out weights.moments.json
    """


for _member in (
    weights_cards.list_command,
    weights_cards.show_command,
    weights_cards.fetch_command,
    weights_verify.verify_command,
    weights_cards.add_command,
    weights_files.inspect_command,
    weights_files.convert_command,
    weights_files.moments_command,
):
    command.add_command(_member)
