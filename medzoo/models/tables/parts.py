"""What each part of every catalogue row costs, as one generated file: listing networks needs no Keras.

`costs.json` holds a list of parts per row, from bottom to top: name, output shape, parameters, multiply-accumulates,
receptive field. What follows the options is written as a word in shapes, and as [fixed, per channel, per class] in
counts. Everything is at the row's own input size, under its own head.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from medzoo.errors import ConfigError
from medzoo.models.cost import PartContents, PartCost, PartFigures, arrange_rows, collect_parts
from medzoo.models.receptive_field import ReceptiveField
from medzoo.models.tables import MOST
from medzoo.specs import ModelSpec, list_parts

#: Numbers of classes and input channels that no network has inside: what they divide follows that option.
CLASSES, CHANNELS = 7907, 7919

FILE = "costs.json"


@dataclass(frozen=True)
class Totals:
    """A whole network's weights and its multiply-accumulates of one image."""

    parameters: int
    macs: int


def make_parts(model: Any, spec: ModelSpec) -> list[list[Any]]:
    """Measure a row's parts in a model of it with `CLASSES` classes and `CHANNELS` input channels.

    Raises:
        ConfigError: a count that does not follow the options linearly, or a model that cannot be measured.
    """
    return [[name, *_make_part(name, part)] for name, part in collect_parts(model, spec.stages).items()]


def _make_part(name: str, part: PartContents) -> list[Any]:
    """Write one part's output shape, parameters, multiply-accumulates and receptive field."""
    words = {CLASSES: "classes", CHANNELS: "channels"}
    parameters, macs = [0, 0, 0], [0, 0, 0]
    for shape in part.weights.values():
        _add(parameters, math.prod(shape), shape, name)
    for call, count in part.calls:
        weights = (tuple(weight.shape) for weight in getattr(call.operation, "weights", ()))
        # Every size that a layer multiplies by is one of its inputs' or of its weights'.
        sizes = [size for shape in (*(wire.shape for wire in call.inputs), *weights) for size in shape]
        _add(macs, count, sizes, name)
    return [[words.get(size, size) for size in part.output_shape], parameters, macs, part.receptive_field]


def _add(counts: list[int], count: int, sizes: Iterable[int], name: str) -> None:
    """Add a count to [fixed, per channel, per class] by which of the two marks is among its sizes."""
    held = set(sizes) & {CLASSES, CHANNELS}
    mark = held.pop() if held else 1
    if held or count % mark:
        raise ConfigError(
            f"a count of {count} in {name!r} does not follow classes or channels alone",
            "layers that follow one of the options in proportion",
        )
    counts[{1: 0, CHANNELS: 1, CLASSES: 2}[mark]] += count // mark


def format_costs(rows: Mapping[str, list[list[Any]]]) -> str:
    """Write every row's parts as JSON with one part a line, so that a change reads as a diff."""
    blocks = (
        f"{json.dumps(name)}: [\n" + ",\n".join(f"  {json.dumps(part)}" for part in parts) + "\n]"
        for name, parts in rows.items()
    )
    return "{" + ",\n".join(blocks) + "}\n"


@cache
def _load() -> dict[str, list[list[Any]]]:
    """Load the file once."""
    loaded = json.loads((resources.files(__package__) / FILE).read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def _find_parts(spec: ModelSpec) -> list[list[Any]]:
    """Find a catalogue row's parts in the file.

    Raises:
        ConfigError: the file has no such row, or other parts than the row: it is older than the catalogue.
    """
    parts = _load().get(spec.name, [])
    if [part[0] for part in parts] != [part.name for part in list_parts(spec.stages)]:
        raise ConfigError(
            f"no measured costs of {spec.name!r}",
            f"a row of the catalogue that {FILE} holds",
            "python -m medzoo.models.tables.generate",
        )
    return parts


def read_parts(spec: ModelSpec, classes: int = 1000, channels: int = 3) -> tuple[PartCost, ...]:
    """Read a catalogue row's table, as `measure_costs` gives it for a built model; loads no framework.

    Raises:
        ConfigError: a count below 1 or beyond any use, or no row of the catalogue: derived networks are built.

    >>> from medzoo.models.catalog import find_model
    >>> read_parts(find_model("cbr_tiny"))[0].macs == 224 * 224 * 5 * 5 * 3 * 32
    True
    """
    if not (1 <= classes <= MOST and 1 <= channels <= MOST):
        raise ConfigError(
            f"{classes} classes and {channels} channels", f"at least 1 of each and at most {MOST:,}"
        )
    sizes = {"classes": classes, "channels": channels}
    figures = {
        name: PartFigures(
            tuple(sizes.get(size, size) for size in shape),
            _evaluate(parameters, classes, channels),
            _evaluate(macs, classes, channels),
            _read_sight(sight),
        )
        for name, shape, parameters, macs, sight in _find_parts(spec)
    }
    return arrange_rows(spec.stages, figures)


def _read_sight(sight: Any) -> ReceptiveField:
    """Read a receptive field: sides that differ are a list in JSON."""
    return tuple(sight) if isinstance(sight, list) else sight


def _evaluate(counts: list[int], classes: int, channels: int) -> int:
    """Put numbers of classes and channels into [fixed, per channel, per class]."""
    fixed, per_channel, per_class = counts
    return fixed + channels * per_channel + classes * per_class


def find_totals(spec: ModelSpec, classes: int = 1000, channels: int = 3) -> Totals:
    """Find a catalogue row's totals; loads no framework.

    Raises:
        ConfigError: no row of the catalogue has that name.

    >>> from medzoo.models.catalog import find_model
    >>> find_totals(find_model("cbr_tiny")).parameters
    1336520
    """
    parts = _find_parts(spec)
    return Totals(
        sum(_evaluate(parameters, classes, channels) for _, _, parameters, _, _ in parts),
        sum(_evaluate(macs, classes, channels) for _, _, _, macs, _ in parts),
    )
