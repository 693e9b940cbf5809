"""Rows of ConvNeXt (Liu et al. 2022) of keras.applications."""

from __future__ import annotations

from collections.abc import Mapping

from medzoo.models.rows.options import read_numbers
from medzoo.specs import HEAD_STAGE, PREPROCESSINGS, ModelSpec, Scalar, Stage

ROWS: Mapping[str, Mapping[str, Scalar]] = {
    f"convnext_{size.lower()}": {
        "constructor": f"ConvNeXt{size}",
        "depths": "3-3-9-3" if size == "Tiny" else "3-3-27-3",
        # The epsilon of the head's layer norm, after pooling.
        "pooled_norm": 1e-6,
    }
    for size in ("Tiny", "Small", "Base", "Large", "XLarge")
}
CHANGES: Mapping[str, str] = {}


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe a ConvNeXt: a stem, and four stages of blocks with a downsampling between any two."""
    stages = [Stage("stem", "stem_*", "stem_layernorm")]
    for number, depth in enumerate(read_numbers(options["depths"])):
        if number:
            below = number - 1
            stages.append(
                Stage(f"downsampling_{below}", f"downsampling_*_{below}", f"downsampling_conv_{below}")
            )
        blocks = tuple(
            Stage(
                f"stage_{number}_block_{block}",
                f"stage_{number}_block_{block}_*",
                f"stage_{number}_block_{block}_add",
            )
            for block in range(depth)
        )
        stages.append(Stage(f"stage_{number}", f"stage_{number}_*", blocks[-1].output, blocks))
    return ModelSpec(
        name,
        "convnext",
        options,
        (*stages, HEAD_STAGE),
        224,
        32,
        PREPROCESSINGS["torch"],
        heads=("gap", "none"),
    )
