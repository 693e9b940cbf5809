"""Rows of NASNet-A (Zoph et al. 2018) of keras.applications.

A cell takes the outputs of the two parts below it; in `nasnet_large`, the first cell after one that narrows takes
the output three parts below instead of two. A network cut after a cell holds all that this cell needs, which is
every part below it. Weights copied up to a cell are those of all parts up to it.
"""

from __future__ import annotations

from collections.abc import Mapping

from medzoo.specs import HEAD_STAGE, PREPROCESSINGS, ModelSpec, Scalar, Stage

ROWS: Mapping[str, Mapping[str, Scalar]] = {
    # How many cells each of the three groups has that keep the resolution.
    "nasnet_mobile": {"constructor": "NASNetMobile", "cells": 4},
    "nasnet_large": {"constructor": "NASNetLarge", "cells": 6},
}
#: Keras's constructors take no other widths or depths.
CHANGES: Mapping[str, str] = {}


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe a NASNet: a stem of a convolution and two narrowing cells, three groups of cells, a ReLU.

    Blocks are cells under Keras's numbers; the second and third group begin with a cell that narrows.
    """
    cells = int(options["cells"])
    size = 224 if options["constructor"] == "NASNetMobile" else 331
    stem = (
        Stage("stem_conv1", "stem_conv1|stem_bn1", "stem_bn1"),
        *(_lay_narrowing(f"stem_{number}") for number in (1, 2)),
    )
    groups = [
        tuple(_lay_cell(number) for number in range(cells)),
        (
            _lay_narrowing(f"reduce_{cells}"),
            *(_lay_cell(number) for number in range(cells + 1, 2 * cells + 1)),
        ),
        (
            _lay_narrowing(f"reduce_{2 * cells}"),
            *(_lay_cell(number) for number in range(2 * cells + 1, 3 * cells + 1)),
        ),
    ]
    stages = [
        _join("stem", stem),
        *(_join(f"group{number}", group) for number, group in enumerate(groups, 1)),
    ]
    stages += [Stage("top", "top_act", "top_act"), HEAD_STAGE]
    return ModelSpec(name, "nasnet", options, tuple(stages), size, 32, PREPROCESSINGS["tf"])


def _lay_cell(number: int) -> Stage:
    """Lay a cell that keeps the resolution; Keras's names end in its number, as do those of cells that narrow."""
    return Stage(f"cell_{number}", f"cell_{number}_*|*[!em]_{number}", f"normal_concat_{number}")


def _lay_narrowing(cell: str) -> Stage:
    """Lay a cell that halves the resolution: `stem_1`, `reduce_4`."""
    return Stage(cell, f"{cell}_*|*_{cell}", f"reduction_concat_{cell}")


def _join(name: str, blocks: tuple[Stage, ...]) -> Stage:
    """Make a stage of blocks."""
    return Stage(name, "|".join(block.layers for block in blocks), blocks[-1].output, blocks)
