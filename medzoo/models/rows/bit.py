"""Rows of BiT's ResNets (Kolesnikov et al. 2020, arXiv 1912.11370): pre-activation, group norm, wide."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from medzoo.errors import ConfigError
from medzoo.models.rows.options import read_numbers, read_slim, scale_width
from medzoo.specs import HEAD_STAGE, PREPROCESSINGS, ModelSpec, Scalar, Stage

#: Every group norm has so many groups, and so every width is a multiple of it.
GROUPS = 32

_DEPTHS = {50: "3-4-6-3", 101: "3-4-23-3", 152: "3-8-36-3"}
_RELEASED = ((50, 1), (50, 3), (101, 1), (101, 3), (152, 2), (152, 4))

ROWS: Mapping[str, Mapping[str, Scalar]] = {
    f"bit_r{depth}x{width}": {
        "depths": _DEPTHS[depth],
        "width": float(width),
        "slim": "",
        # A new task's head starts at zero, as in the released code.
        "head_start": "zeros",
    }
    for depth, width in _RELEASED
}
CHANGES: Mapping[str, str] = {
    "width": "a factor on all channels in steps of 0.5, such as 0.5 or 2 (1 is 64 channels at the root)",
    "slim": "STAGE:FACTOR, everything above the stage or unit FACTOR times thinner",
}


@dataclass(frozen=True)
class Unit:
    """One residual unit: the channels inside it, those that leave it, its stride, and if its shortcut projects."""

    name: str
    inner: int
    outer: int
    stride: int
    projects: bool


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe a BiT: a root, stages of units, the last norm.

    Every stride pads so far that one pixel stays one pixel: no input is too small.

    Raises:
        ConfigError: an option that the family does not allow.

    >>> describe_row("bit_r50x1", ROWS["bit_r50x1"]).stages[1].blocks[0].output
    'block1_unit1_add'
    """
    depths = str(options["depths"])
    if not re.fullmatch(r"[1-9][0-9]*(-[1-9][0-9]*)*", depths):
        raise ConfigError(
            f"depths={depths!r} for {name}", "units per stage joined by dashes, such as 3-4-6-3"
        )
    stages = (
        Stage("root", "root_*", "root_pool"),
        *(_lay_stage(f"block{number}", depth) for number, depth in enumerate(read_numbers(depths), start=1)),
        Stage("final", "final_*", "final_relu"),
        HEAD_STAGE,
    )
    list_units(name, options, stages)
    return ModelSpec(name, "bit", options, stages, 224, 1, PREPROCESSINGS["tf"])


def scale_root(name: str, options: Mapping[str, Scalar]) -> int:
    """Give the channels of the root: 64 times the width.

    Raises:
        ConfigError: the group norms cannot divide them.
    """
    width = float(options["width"])
    channels = scale_width(name, 64, width)
    if channels % GROUPS:
        below, above = channels // GROUPS / 2, (channels // GROUPS + 1) / 2
        raise ConfigError(
            f"width={width:g} gives the root of {name} {channels} channels",
            f"a multiple of the {GROUPS} groups of its norms",
            " or ".join(f"width={near:g}" for near in (below, above) if near),
        )
    return channels


def list_units(name: str, options: Mapping[str, Scalar], stages: tuple[Stage, ...]) -> tuple[Unit, ...]:
    """List the residual units bottom-up after scaling and thinning (Peng et al. 2021, TF(k)).

    Above a stage all channels are divided. Above a unit within a stage, the later units of that stage are
    thinner inside and keep the channels of their sum; later stages are thinner as a whole.

    Raises:
        ConfigError: channels that the group norms cannot divide, or a stage to thin above that is not there.
    """
    # The last norm has the channels of what is below it: above the last unit there is nothing to thin.
    above, factor = read_slim(name, str(options["slim"]), (*stages[:-2], stages[-1]))
    return tuple(_walk_units(name, scale_root(name, options), stages, above, factor))


def _lay_stage(name: str, depth: int) -> Stage:
    """Lay a stage of `depth` units."""
    units = tuple(
        Stage(f"{name}_unit{unit}", f"{name}_unit{unit}_*", f"{name}_unit{unit}_add")
        for unit in range(1, depth + 1)
    )
    return Stage(name, f"{name}_*", units[-1].output, units)


def _walk_units(name: str, width: int, stages: tuple[Stage, ...], above: str, factor: int) -> Iterator[Unit]:
    """Yield the units of all stages; the first stage is `width` wide inside, each later one twice as wide."""
    thin_inside = thin_whole = above == stages[0].name
    for number, stage in enumerate(stage for stage in stages if stage.blocks):
        planes = width * 2**number
        for index, unit in enumerate(stage.blocks):
            inner = _thin(name, planes, factor) if thin_inside else planes
            outer = 4 * (_thin(name, planes, factor) if thin_whole else planes)
            # The first unit projects whatever the widths are: names of layers do not hang on them.
            yield Unit(unit.name, inner, outer, 2 if number and not index else 1, projects=not index)
            thin_inside = thin_inside or unit.name == above
        thin_inside = thin_whole = thin_inside or stage.name == above


def _thin(name: str, planes: int, factor: int) -> int:
    """Divide the inner channels of a unit.

    Raises:
        ConfigError: the group norms cannot divide what is left; the factors that leave enough are named.
    """
    if factor < 1 or planes % (factor * GROUPS):
        allowed = (number for number in range(1, planes // GROUPS + 1) if planes % (number * GROUPS) == 0)
        raise ConfigError(
            f"slim factor {factor} on {planes} channels of {name}",
            f"one of {', '.join(map(str, allowed))}, that leaves a multiple of the {GROUPS} groups of its norms",
        )
    return planes // factor
