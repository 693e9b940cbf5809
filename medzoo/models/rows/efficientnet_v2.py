"""Rows of EfficientNetV2 (Tan and Le 2021) of keras.applications: B0–B3, S, M and L."""

from __future__ import annotations

from collections.abc import Mapping

from medzoo.models.rows.efficientnet import lay_stages, scale_depths
from medzoo.specs import PREPROCESSINGS, ModelSpec, Scalar

ROWS: Mapping[str, Mapping[str, Scalar]] = {
    f"efficientnetv2_{size.lower()}": {"constructor": f"EfficientNetV2{size}"}
    for size in ("B0", "B1", "B2", "B3", "S", "M", "L")
}
CHANGES: Mapping[str, str] = {}

#: The blocks of B0's stages.
_DEPTHS = (1, 2, 2, 3, 5, 8)
#: The blocks of each network's stages, and its input's size.
_SIZES = {
    "EfficientNetV2B0": (_DEPTHS, 224),
    "EfficientNetV2B1": (scale_depths(_DEPTHS, 1.1), 240),
    "EfficientNetV2B2": (scale_depths(_DEPTHS, 1.2), 260),
    "EfficientNetV2B3": (scale_depths(_DEPTHS, 1.4), 300),
    "EfficientNetV2S": ((2, 4, 4, 6, 9, 15), 384),
    "EfficientNetV2M": ((3, 5, 5, 7, 14, 18, 5), 480),
    "EfficientNetV2L": ((4, 7, 7, 10, 19, 25, 7), 480),
}


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe an EfficientNetV2: a stem, stages of fused and of inverted residuals, and a last convolution."""
    depths, input_size = _SIZES[str(options["constructor"])]
    is_b = "V2B" in str(options["constructor"])
    # The first block of S, M and L keeps the stem's channels: it sums. B's has an activation at its end.
    firsts = ("project_activation" if is_b else "add", *("project_bn",) * (len(depths) - 1))
    contract = PREPROCESSINGS["torch" if is_b else "tf128"]
    return ModelSpec(name, "efficientnet_v2", options, lay_stages(depths, firsts), input_size, 32, contract)
