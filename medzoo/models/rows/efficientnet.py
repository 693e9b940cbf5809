"""Rows of EfficientNet B0–B7 (Tan and Le 2019) of keras.applications."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from medzoo.specs import HEAD_STAGE, PREPROCESSINGS, ModelSpec, Scalar, Stage

ROWS: Mapping[str, Mapping[str, Scalar]] = {
    f"efficientnetb{size}": {"constructor": f"EfficientNetB{size}"} for size in range(8)
}
CHANGES: Mapping[str, str] = {}

#: The blocks of B0's seven stages.
_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
#: Of B0 to B7: the factor on the blocks, the input's size.
_SIZES = ((1.0, 224), (1.1, 240), (1.2, 260), (1.4, 300), (1.8, 380), (2.2, 456), (2.6, 528), (3.1, 600))


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe an EfficientNet: a stem, seven stages of inverted residuals, and a last convolution."""
    deeper, input_size = _SIZES[int(str(options["constructor"])[-1])]
    # No first block of a stage keeps its channels: the sum with its input is the later blocks'.
    depths, firsts = scale_depths(_DEPTHS, deeper), ("project_bn",) * len(_DEPTHS)
    stages = lay_stages(depths, firsts)
    return ModelSpec(name, "efficientnet", options, stages, input_size, 32, PREPROCESSINGS["torch"])


def scale_depths(depths: Sequence[int], factor: float) -> list[int]:
    """Multiply the blocks of stages, rounding up.

    >>> scale_depths((1, 2, 4), 1.1)
    [2, 3, 5]
    """
    return [math.ceil(factor * depth) for depth in depths]


def lay_stages(depths: Sequence[int], firsts: Sequence[str]) -> tuple[Stage, ...]:
    """Lay an EfficientNet's stages by the names of keras.applications: `block1` with `block1a`, `block1b`, ….

    `firsts` are the ends of the names of the layers that the stages' first blocks end with.
    """
    stages = [Stage("stem", "stem_*", "stem_activation")]
    for number, (depth, first) in enumerate(zip(depths, firsts, strict=True), start=1):
        names = [f"block{number}{chr(ord('a') + position)}" for position in range(depth)]
        blocks = tuple(
            Stage(name, f"{name}_*", f"{name}_{first if position == 0 else 'add'}")
            for position, name in enumerate(names)
        )
        stages.append(Stage(f"block{number}", f"block{number}[a-z]_*", blocks[-1].output, blocks))
    return (*stages, Stage("top", "top_*", "top_activation"), HEAD_STAGE)
