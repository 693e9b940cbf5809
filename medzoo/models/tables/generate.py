"""Write the tables of every catalogue row: `python -m medzoo.models.tables.generate [FOLDER]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medzoo.models.catalog import list_models
from medzoo.models.describe import build_abstractly, describe_network
from medzoo.models.tables.parts import CHANNELS, CLASSES, FILE, format_costs, make_parts
from medzoo.outputs import write_text
from medzoo.specs import ModelSpec
from medzoo.wiring import Channels

#: Numbers that occur in no network: a dimension equal to one follows that option.
MARKS = {CLASSES: "classes", CHANNELS: "channels"}


def make_table(spec: ModelSpec, network: Any) -> dict[str, Any]:
    """Describe one row, built with the marks, and write the dimensions that follow an option as a word."""
    target = describe_network(network)
    initializers: list[list[Any] | None] = []
    rows = []
    for name, tensor in target.tensors.items():
        shape = [MARKS.get(size, size) for size in tensor.shape]
        declared = tensor.initializer
        initializer = [declared.distribution, declared.scale, declared.mode] if declared else None
        if initializer not in initializers:
            initializers.append(initializer)
        place = target.storage[name]
        rows.append([name, tensor.role, shape, target.axes[name], initializers.index(initializer), place])
    return {
        "model": spec.name,
        "initializers": initializers,
        "tensors": rows,
        "feeds": shorten_feeds(target.feeds),
        "blocks": target.blocks,
        "epsilons": target.epsilons,
    }


def shorten_feeds(feeds: Mapping[str, Channels]) -> dict[str, str]:
    """Write channels as text, with `=layer` for all that reach an earlier layer, wherever they occur.

    Sums and concatenations hand on what they got: without this, tables grow with the square of the depth.

    >>> a, b, c = (Channels("layer", name) for name in "abc")
    >>> shorten_feeds({"bn1": Channels("sum", parts=(a, b)), "bn2": Channels("sum", parts=(a, b, c))})
    {'bn1': 'sum(a,b)', 'bn2': 'sum(=bn1,c)'}
    """
    earlier: dict[Channels, str] = {}
    short = {}
    for layer, channels in feeds.items():
        short[layer] = str(_shorten(channels, earlier))
        if channels.kind != "layer":
            earlier.setdefault(channels, layer)
    return short


def _shorten(channels: Channels, earlier: Mapping[Channels, str]) -> Channels:
    """Put references to earlier layers in the places of what reached them, the longest first."""
    if channels in earlier:
        return Channels("layer", f"={earlier[channels]}")
    if channels.kind == "layer":
        return channels
    parts = channels.parts
    if channels.kind in ("sum", "concat"):
        for length in range(len(parts) - 1, 1, -1):
            begin = Channels(channels.kind, parts=parts[:length])
            if begin in earlier:
                parts = (begin, *parts[length:])
                break
    return replace(channels, parts=tuple(_shorten(part, earlier) for part in parts))


def format_table(table: dict[str, Any]) -> str:
    """Write a table as JSON with one tensor a line, so that a change reads as a diff."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in table["tensors"])
    return (
        f'{{"model": {json.dumps(table["model"])},\n"initializers": {json.dumps(table["initializers"])},\n'
        f'"tensors": [\n{rows}\n],\n"feeds": {_format_layers(table["feeds"])},\n'
        f'"blocks": {_format_layers(table["blocks"])},\n"epsilons": {_format_layers(table["epsilons"])}}}\n'
    )


def _format_layers(values: Mapping[str, Any]) -> str:
    """Write a value for each layer as JSON, a layer a line."""
    lines = ",\n".join(f"  {json.dumps(layer)}: {json.dumps(value)}" for layer, value in values.items())
    return f"{{\n{lines}\n}}" if lines else "{}"


def main(folder: Path) -> None:
    """Write one JSON file per catalogue row, and one of what all their parts cost."""
    costs = {}
    for spec in list_models():
        network = build_abstractly(spec, CLASSES, CHANNELS)
        write_text(folder / f"{spec.name}.json", format_table(make_table(spec, network)))
        costs[spec.name] = make_parts(network, spec)
    write_text(folder / FILE, format_costs(costs))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
