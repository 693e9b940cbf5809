"""Write the tables of every catalogue row: `python -m medzoo.models.tables.generate [FOLDER]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medzoo.models.catalog import list_models
from medzoo.models.describe import build_abstractly, describe_network
from medzoo.models.tables.parts import CHANNELS, CLASSES, FILE, format_costs, make_parts
from medzoo.outputs import write_text
from medzoo.specs import ModelSpec

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
        rows.append([name, tensor.role, shape, initializers.index(initializer), target.storage[name]])
    return {
        "model": spec.name,
        "initializers": initializers,
        "tensors": rows,
        "feeds": shorten_feeds(target.feeds),
    }


def shorten_feeds(feeds: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Write suppliers that begin with all of an earlier layer's as a reference to it: `=layer`, then the rest.

    Sums and concatenations hand on what they got: without this, tables grow with the square of the depth.
    """
    earlier: dict[tuple[str, ...], str] = {}
    short = {}
    for layer, suppliers in feeds.items():
        whole = tuple(suppliers)
        length = next((size for size in range(len(whole), 1, -1) if whole[:size] in earlier), 0)
        short[layer] = ([f"={earlier[whole[:length]]}"] if length else []) + list(whole[length:])
        earlier.setdefault(whole, layer)
    return short


def format_table(table: dict[str, Any]) -> str:
    """Write a table as JSON with one tensor a line, so that a change reads as a diff."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in table["tensors"])
    feeds = ",\n".join(
        f"  {json.dumps(layer)}: {json.dumps(list(by))}" for layer, by in table["feeds"].items()
    )
    return (
        f'{{"model": {json.dumps(table["model"])},\n"initializers": {json.dumps(table["initializers"])},\n'
        f'"tensors": [\n{rows}\n],\n"feeds": {{\n{feeds}\n}}}}\n'
    )


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
