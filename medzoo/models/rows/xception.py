"""Rows of Xception (Chollet 2017) of keras.applications."""

from __future__ import annotations

from collections.abc import Mapping

from medzoo.models.rows.options import scale_width
from medzoo.specs import HEAD_STAGE, PREPROCESSINGS, ModelSpec, Scalar, Stage

#: Blocks whose shortcut is a convolution, which Keras numbers; those between them add what they got.
SHORTCUTS = ("block2", "block3", "block4", "block13")

#: All blocks that end in a sum, bottom-up.
SUMS = tuple(f"block{number}" for number in range(2, 14))

#: Every convolution's channels are a multiple of this.
_STEP = 8

ROWS: Mapping[str, Mapping[str, Scalar]] = {"xception": {"constructor": "Xception", "width": 1.0}}
CHANGES: Mapping[str, str] = {"width": "a factor on all channels, such as 0.5 or 2"}


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe Xception: fourteen blocks, each a stage.

    Raises:
        ConfigError: a width that leaves no whole number of channels.
    """
    scale_width(name, _STEP, float(options["width"]))
    stages = [
        Stage("block1", "block1_*", "block1_conv2_act"),
        *(Stage(block, f"{block}_*", f"{block}_add") for block in SUMS),
        Stage("block14", "block14_*", "block14_sepconv2_act"),
    ]
    return ModelSpec(name, "xception", options, (*stages, HEAD_STAGE), 299, 71, PREPROCESSINGS["tf"])
