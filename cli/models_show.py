"""medzoo models show: one network's stages and what they cost."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING, Any

import click

from .output import mute_native_notices, print_columns, print_json

if TYPE_CHECKING:
    from medzoo.models.cost import PartCost
    from medzoo.specs import ModelSpec

UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


def write_count(count: int) -> str:
    """Write a large count with three digits and a unit.

    >>> write_count(568_740_352), write_count(4_087_140_352), write_count(0)
    ('569 M', '4.09 G', '0')
    """
    for unit in ("G", "M", "k"):
        if count >= UNITS[unit]:
            value = count / UNITS[unit]
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    return str(count)


@click.command("show")
@click.argument("name")
@click.option("--classes", default=1000, show_default=True, help="Outputs of the head.")
@click.option("--channels", default=3, show_default=True, help="Input channels.")
@click.option(
    "--input-size",
    "--image-size",
    type=int,
    help="Side of the input in pixels; the network's own without it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(name: str, classes: int, channels: int, input_size: int | None, as_json: bool) -> None:
    """Lay out the stages of one network, bottom-up: shapes, parameters, cost, and how far they see.

    NAME may be derived from a row: resnet50@conv4_block4, resnet50+width=0.5, vit_b16+depth=6.
    """
    from medzoo.models.catalog import find_model
    from medzoo.weights.cards import list_card_names

    spec = find_model(name)
    size = spec.input_size if input_size is None else input_size
    rows = _measure(spec, classes, channels, size)
    wholes = [row for row in rows if not row.block]
    macs = sum(row.macs for row in wholes)
    weights = [card for card in list_card_names() if card.startswith(f"{spec.row}.")]
    if as_json:
        stages = [
            {"stage": row.stage}
            | _as_json(row)
            | {"blocks": [{"block": b.block} | _as_json(b) for b in rows if b.block and b.stage == row.stage]}
            for row in wholes
        ]
        about = {
            "model": spec.name,
            "row": spec.row,
            "family": spec.family,
            "options": dict(spec.options),
            "input_size": size,
            "smallest_input": spec.smallest_input,
            "multiple": spec.multiple,
            "preprocessing": spec.preprocessing.name,
            "heads": list(spec.heads),
            "classes": classes,
            "channels": channels,
            "parameters": rows[-1].cumulative,
            "macs": macs,
            "weights": weights,
        }
        print_json(about | {"stages": stages})
        return
    print_wrapped(_introduce(spec))
    header = ("stage", "output", "parameters", "cumulative", "MACs", "sees")
    print_columns(header, [_list_cells(row) for row in rows], numbers=(2, 3, 4, 5))
    print_wrapped(
        f"Total: {rows[-1].cumulative:,} parameters, {write_count(macs)} multiply-accumulates (MACs) for an image of "
        f"{size}×{size}×{channels} and {classes:,} classes. Sees: side in pixels of the input "
        "that one output position sees; all: the whole input; —: not defined."
    )
    tags = ", ".join(card.removeprefix(f"{spec.row}.") for card in weights) or "none known"
    print_wrapped(f"Weights for {spec.row}: {tags}.")


def _measure(spec: ModelSpec, classes: int, channels: int, size: int) -> tuple[PartCost, ...]:
    """Read a row's table; build a derived network, or one of another size, without allocating its weights."""
    from medzoo.models.tables.parts import read_parts

    if spec.name == spec.row and size == spec.input_size:
        return read_parts(spec, classes, channels)
    from medzoo.models.cost import measure_costs
    from medzoo.models.describe import build_abstractly

    with mute_native_notices():
        model = build_abstractly(spec, classes, channels, size)
    return measure_costs(model, spec.stages)


def _as_json(row: PartCost) -> dict[str, Any]:
    """Give one row's figures."""
    return {
        "output": row.output,
        "output_shape": list(row.output_shape),
        "parameters": row.parameters,
        "cumulative": row.cumulative,
        "macs": row.macs,
        "receptive_field": row.receptive_field,
    }


def _introduce(spec: ModelSpec) -> str:
    """Say what a network is and takes, in one line."""
    options = ", ".join(
        f"{key} {str(value).lower() if isinstance(value, bool) else value}"
        for key, value in spec.options.items()
        if value != ""
    )
    multiple = f", a multiple of {spec.multiple}" if spec.multiple > 1 else ""
    heads = ", ".join(spec.heads)
    return (
        f"{spec.name}: family {spec.family}, {options}; input {spec.input_size}×{spec.input_size}, "
        f"{spec.smallest_input} or more{multiple}; contract {spec.preprocessing.name}; heads {heads}"
    )


def _list_cells(row: PartCost) -> tuple[str, ...]:
    """Write one row's cells; blocks are indented under their stage."""
    sees = row.receptive_field
    sides = "×".join(map(str, sees)) if isinstance(sees, tuple) else "—" if sees is None else str(sees)
    return (
        f"  {row.block}" if row.block else row.stage,
        "×".join(map(str, row.output_shape)),
        f"{row.parameters:,}",
        f"{row.cumulative:,}",
        write_count(row.macs),
        sides,
    )


def print_wrapped(text: str) -> None:
    """Print a sentence, wrapped to the terminal and to a width that reads well."""
    width = min(shutil.get_terminal_size().columns, 100)
    click.echo(
        textwrap.fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    )
