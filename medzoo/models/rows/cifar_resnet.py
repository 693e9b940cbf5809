"""Rows of the ResNets for CIFAR (He et al. 2016, arXiv 1512.03385, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping

from medzoo.models.rows.options import scale_width
from medzoo.models.rows.resnet import lay_stages
from medzoo.specs import PREPROCESSINGS, ModelSpec, Scalar, Stage

ROWS: Mapping[str, Mapping[str, Scalar]] = {
    f"resnet{depth}": {"depth": depth, "width": 1.0} for depth in (20, 32, 44, 56, 110)
}
CHANGES: Mapping[str, str] = {"width": "a factor on all channels, such as 0.5 or 2"}


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe the ResNet for CIFAR of a depth: three stages of (depth − 2) / 6 blocks.

    The smallest input is the one whose two halvings leave one pixel.

    Raises:
        ConfigError: a width that leaves no whole number of channels.
    """
    stem = Stage("conv1", "conv1_*", "conv1_relu")
    stages = lay_stages(stem, 3 * [(int(options["depth"]) - 2) // 6])
    list_widths(name, options)
    return ModelSpec(name, "cifar_resnet", options, stages, 32, 4, PREPROCESSINGS["torch"])


def list_widths(name: str, options: Mapping[str, Scalar]) -> list[int]:
    """List the channels of the three stages.

    Raises:
        ConfigError: a width that leaves no whole number of channels.
    """
    return [scale_width(name, width, float(options["width"])) for width in (16, 32, 64)]
