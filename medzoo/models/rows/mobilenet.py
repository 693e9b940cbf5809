"""Rows of MobileNet (Howard et al. 2017) of keras.applications: every width with published weights."""

from __future__ import annotations

from collections.abc import Mapping

from medzoo.errors import ConfigError
from medzoo.specs import HEAD_STAGE, ModelSpec, Scalar, Stage

ROWS: Mapping[str, Mapping[str, Scalar]] = {
    f"mobilenet_{round(100 * alpha):03}": {"alpha": alpha} for alpha in (0.25, 0.5, 0.75, 1.0)
}
#: No MobileNet that anyone trains is wider.
WIDEST_ALPHA = 8

CHANGES: Mapping[str, str] = {"alpha": "a factor on all channels above 0, such as 0.35"}


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe a MobileNet: a stem and 13 depthwise-separable blocks.

    Raises:
        ConfigError: an alpha that leaves no channels.
    """
    if not 1 / 32 <= float(options["alpha"]) <= WIDEST_ALPHA:
        raise ConfigError(f"alpha={options['alpha']:g} for {name}", f"1/32 or more, at most {WIDEST_ALPHA}")
    stem = Stage("stem", "conv1|conv1_*", "conv1_relu")
    blocks = (
        Stage(
            f"block{block}",
            f"conv_*_{block}|conv_*_{block}_bn|conv_*_{block}_relu|conv_pad_{block}",
            f"conv_pw_{block}_relu",
        )
        for block in range(1, 14)
    )
    return ModelSpec(name, "mobilenet", options, (stem, *blocks, HEAD_STAGE), 224, 32)
