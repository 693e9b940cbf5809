"""Rows of Inception v3 (Szegedy et al. 2016) of keras.applications, under torchvision's names."""

from __future__ import annotations

from collections.abc import Mapping

from medzoo.models.rows.options import divide_width, read_slim, scale_width
from medzoo.specs import HEAD_STAGE, PREPROCESSINGS, ModelSpec, Scalar, Stage

#: The branches of the five kinds of blocks, each with its convolutions in Keras's order of creation.
_BLOCK_A = ("1x1", "5x5_1", "5x5_2", "3x3dbl_1", "3x3dbl_2", "3x3dbl_3", "_pool")
_BLOCK_B = ("3x3", "3x3dbl_1", "3x3dbl_2", "3x3dbl_3")
_BLOCK_C = (
    *("1x1", "7x7_1", "7x7_2", "7x7_3"),
    *("7x7dbl_1", "7x7dbl_2", "7x7dbl_3", "7x7dbl_4", "7x7dbl_5", "_pool"),
)
_BLOCK_D = ("3x3_1", "3x3_2", "7x7x3_1", "7x7x3_2", "7x7x3_3", "7x7x3_4")
_BLOCK_E = (
    *("1x1", "3x3_1", "3x3_2a", "3x3_2b"),
    *("3x3dbl_1", "3x3dbl_2", "3x3dbl_3a", "3x3dbl_3b", "_pool"),
)
#: The single convolutions at the bottom, and the blocks above them, bottom-up.
STEM = ("conv2d_1a_3x3", "conv2d_2a_3x3", "conv2d_2b_3x3", "conv2d_3b_1x1", "conv2d_4a_3x3")
BLOCKS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("mixed_5b", "mixed_5c", "mixed_5d"), _BLOCK_A),
    "mixed_6a": _BLOCK_B,
    **dict.fromkeys(("mixed_6b", "mixed_6c", "mixed_6d", "mixed_6e"), _BLOCK_C),
    "mixed_7a": _BLOCK_D,
    **dict.fromkeys(("mixed_7b", "mixed_7c"), _BLOCK_E),
}
#: Convolutions that a pooling follows.
POOLED = ("conv2d_2b", "conv2d_4a")

#: Every convolution's channels are a multiple of this.
_STEP = 16

ROWS: Mapping[str, Mapping[str, Scalar]] = {
    "inception_v3": {"constructor": "InceptionV3", "width": 1.0, "slim": ""}
}
CHANGES: Mapping[str, str] = {
    "width": "a factor on all channels, such as 0.5 or 2",
    "slim": "STAGE:FACTOR, every convolution above the stage or block FACTOR times thinner",
}


def list_convolutions() -> tuple[str, ...]:
    """List the convolutions in Keras's order of creation: `conv2d_1a_3x3`, …, `mixed_5b_branch1x1`, …"""
    return (*STEM, *(f"{block}_branch{branch}" for block, branches in BLOCKS.items() for branch in branches))


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe Inception v3: five convolutions, each a stage with the pooling after it, and three groups of blocks.

    Raises:
        ConfigError: an option that the family does not allow.
    """
    stages = []
    for unit in STEM:
        stage = unit[: len("conv2d_1a")]
        stages.append(Stage(stage, f"{stage}_*", f"{stage}_pool" if stage in POOLED else f"{unit}_act"))
    for group in ("mixed_5", "mixed_6", "mixed_7"):
        blocks = tuple(
            Stage(block, f"{block}|{block}_*", block) for block in BLOCKS if block.startswith(group)
        )
        stages.append(Stage(group, f"{group}*", blocks[-1].output, blocks))
    laid = (*stages, HEAD_STAGE)
    _, factor = read_slim(name, str(options["slim"]), laid)
    divide_width(name, scale_width(name, _STEP, float(options["width"])), factor)
    return ModelSpec(name, "inception_v3", options, laid, 299, 75, PREPROCESSINGS["tf"])
