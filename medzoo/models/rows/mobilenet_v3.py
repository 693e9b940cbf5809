"""Rows of MobileNetV3 (Howard et al. 2019) of keras.applications: large and small, also minimalistic."""

from __future__ import annotations

from collections.abc import Mapping

from medzoo.models.rows.mobilenet_v2 import CHANGES as CHANGES
from medzoo.models.rows.mobilenet_v2 import check_alpha, join_blocks, round_channels
from medzoo.specs import HEAD_STAGE, PREPROCESSINGS, ModelSpec, Scalar, Stage


def _row(constructor: str, alpha: float, minimalistic: bool) -> Mapping[str, Scalar]:
    """Give the options of one row."""
    return {"constructor": constructor, "alpha": alpha, "minimalistic": minimalistic}


ROWS: Mapping[str, Mapping[str, Scalar]] = {
    f"mobilenet_v3_{size.lower()}_{variant}": _row(f"MobileNetV3{size}", alpha, variant == "minimalistic")
    for size in ("Large", "Small")
    for variant, alpha in (("075", 0.75), ("100", 1.0), ("minimalistic", 1.0))
}

#: Of each stage: channels at full width, blocks, stride of the first (tables 1 and 2 of the paper).
_STAGES = {
    "MobileNetV3Large": ((16, 1, 1), (24, 2, 2), (40, 3, 2), (80, 4, 2), (112, 2, 1), (160, 3, 2)),
    "MobileNetV3Small": ((16, 1, 2), (24, 2, 2), (40, 3, 2), (48, 2, 1), (96, 3, 2)),
}


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe a MobileNetV3: a stem, stages of inverted residuals, a last convolution, and one after pooling.

    The convolution on pooled features lies in the stage `top`: above it there is one position.

    Raises:
        ConfigError: an alpha that is no factor.
    """
    alpha = float(options["alpha"])
    check_alpha(name, alpha)
    stages = [Stage("stem", "conv|conv_bn|conv_act", "conv_act")]
    # The stem has 16 channels at any width.
    below, number = 16, 0
    for index, (width, depth, stride) in enumerate(_STAGES[str(options["constructor"])], start=1):
        channels = round_channels(width * alpha)
        blocks = []
        for position in range(depth):
            block = f"expanded_conv_{number}" if number else "expanded_conv"
            layers = f"{block}_*" if number else "expanded_conv_[!0-9]*"
            sums = channels == below and (position > 0 or stride == 1)
            blocks.append(Stage(block, layers, f"{block}_{'add' if sums else 'project_bn'}"))
            below, number = channels, number + 1
        stages.append(join_blocks(f"stage{index}", blocks))
    stages += [
        Stage("last", "conv_1|conv_1_bn|conv_1_act", "conv_1_act"),
        Stage("top", "top_pool|conv_2|conv_2_act", "conv_2_act"),
        HEAD_STAGE,
    ]
    return ModelSpec(name, "mobilenet_v3", options, tuple(stages), 224, 32, PREPROCESSINGS["tf"])
