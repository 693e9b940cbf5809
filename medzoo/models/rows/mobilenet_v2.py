"""Rows of MobileNetV2 (Sandler et al. 2018) of keras.applications: every width with published weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medzoo.errors import ConfigError
from medzoo.specs import HEAD_STAGE, ModelSpec, Scalar, Stage

ROWS: Mapping[str, Mapping[str, Scalar]] = {
    f"mobilenet_v2_{round(100 * alpha):03}": {"alpha": alpha} for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
}
#: Larger factors than this are a slip of the pen.
_WIDEST = 8.0
_ALPHAS = f"a factor on all channels, above 0 and at most {_WIDEST:g}, such as 0.5"
CHANGES: Mapping[str, str] = {"alpha": _ALPHAS}

#: Of each stage: channels at full width, blocks, stride of the first (table 2 of the paper).
_STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe a MobileNetV2: a stem, seven stages of inverted residuals, and a last convolution.

    Raises:
        ConfigError: an alpha that is no factor.
    """
    alpha = float(options["alpha"])
    check_alpha(name, alpha)
    stages = [Stage("stem", "Conv1|bn_Conv1|Conv1_relu", "Conv1_relu")]
    below, number = round_channels(32 * alpha), 0
    for index, (width, depth, stride) in enumerate(_STAGES, start=1):
        channels = round_channels(int(width * alpha))
        blocks = []
        for position in range(depth):
            block = f"block_{number}" if number else "expanded_conv"
            # Narrow networks sum where wide ones do not: all below 8 channels are rounded to 8.
            sums = channels == below and (position > 0 or stride == 1)
            blocks.append(Stage(block, f"{block}_*", f"{block}_{'add' if sums else 'project_BN'}"))
            below, number = channels, number + 1
        stages.append(join_blocks(f"stage{index}", blocks))
    stages += [Stage("last", "Conv_1|Conv_1_bn|out_relu", "out_relu"), HEAD_STAGE]
    return ModelSpec(name, "mobilenet_v2", options, tuple(stages), 224, 32)


def check_alpha(name: str, alpha: float) -> None:
    """Refuse a width factor that leaves nothing, or that nobody means.

    Raises:
        ConfigError: it is not above 0, or beyond any use.
    """
    if not 0.0 < alpha <= _WIDEST:
        raise ConfigError(f"alpha={alpha:g} for {name}", _ALPHAS)


def round_channels(channels: float) -> int:
    """Round to the nearest multiple of 8, at least 8, but up where more than a tenth would be lost.

    >>> round_channels(11.2), round_channels(20)
    (16, 24)
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def join_blocks(name: str, blocks: Sequence[Stage]) -> Stage:
    """Make a stage of its blocks.

    >>> join_blocks("stage1", [Stage("a", "a_*", "a_add"), Stage("b", "b_*", "b_add")]).layers
    'a_*|b_*'
    """
    return Stage(name, "|".join(block.layers for block in blocks), blocks[-1].output, tuple(blocks))
