"""Write the tables of every catalogue row: `python -m medzoo.models.tables.generate [FOLDER]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from medzoo.errors import ConfigError
from medzoo.models.catalog import list_models
from medzoo.models.describe import describe_abstractly
from medzoo.outputs import write_text
from medzoo.specs import ModelSpec

#: Two builds that differ in both options; a dimension that follows one shows it by changing with it.
_FIRST = {"classes": 997, "channels": 5}
_SECOND = {"classes": 991, "channels": 7}


def make_table(spec: ModelSpec) -> dict[str, Any]:
    """Describe one row twice, with other classes and channels, and write what changed as a word."""
    first, second = (describe_abstractly(spec, **options) for options in (_FIRST, _SECOND))
    initializers: list[list[Any] | None] = []
    rows = []
    for name, tensor in first.tensors.items():
        pairs = zip(tensor.shape, second.tensors[name].shape, strict=True)
        shape = [_symbol(name, *pair) for pair in pairs]
        declared = tensor.initializer
        initializer = [declared.distribution, declared.scale, declared.mode] if declared else None
        if initializer not in initializers:
            initializers.append(initializer)
        rows.append([name, tensor.role, shape, initializers.index(initializer), first.storage[name]])
    return {"model": spec.name, "initializers": initializers, "tensors": rows, "feeds": first.feeds}


def _symbol(name: str, first: int, second: int) -> int | str:
    """Give a dimension, or the word for the option that it follows."""
    if first == second:
        return first
    for word in _FIRST:
        if (first, second) == (_FIRST[word], _SECOND[word]):
            return word
    raise ConfigError(f"a dimension of {name!r} is {first} and {second}", "one that follows one option")


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
    """Write one JSON file per catalogue row."""
    for spec in list_models():
        write_text(folder / f"{spec.name}.json", format_table(make_table(spec)))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
