"""Rows of the ResNets with norms before convolutions (He et al. 2016b) of keras.applications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medzoo.models.rows.options import read_numbers
from medzoo.models.rows.resnet import BlockWidths, lay_stages, list_widths
from medzoo.specs import HEAD_STAGE, PREPROCESSINGS, ModelSpec, Scalar, Stage

ROWS: Mapping[str, Mapping[str, Scalar]] = {
    f"resnet{depth}v2": {"constructor": f"ResNet{depth}V2", "depths": depths, "width": 1.0, "slim": ""}
    for depth, depths in ((50, "3-4-6-3"), (101, "3-4-23-3"), (152, "3-8-36-3"))
}
CHANGES: Mapping[str, str] = {
    "width": "a factor on all channels, such as 0.5 or 2",
    "slim": "STAGE:FACTOR, everything above the stage or block FACTOR times thinner",
}


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe a ResNet v2: a stem, four stages of blocks, and the norm after the last sum.

    Raises:
        ConfigError: an option that the family does not allow.
    """
    stem = Stage("conv1", "conv1_*|pool1_*", "pool1_pool")
    *stages, _ = lay_stages(stem, read_numbers(options["depths"]))
    laid = (*stages, Stage("post", "post_*", "post_relu"), HEAD_STAGE)
    list_block_widths(name, options, laid)
    return ModelSpec(name, "resnet_v2", options, laid, 224, 32, PREPROCESSINGS["tf"])


def list_block_widths(
    name: str, options: Mapping[str, Scalar], stages: Sequence[Stage]
) -> dict[str, BlockWidths]:
    """List the channels of every block, all bottlenecks, after scaling and thinning.

    Raises:
        ConfigError: channels are no whole numbers, or a stage that is not there.
    """
    # Above the last block there is only a norm: nothing to thin.
    blocks = tuple(stage for stage in stages if stage.name != "post")
    return list_widths(name, {**options, "block": "bottleneck"}, blocks)
