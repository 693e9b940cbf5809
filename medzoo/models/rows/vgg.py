"""Rows of the VGGs (Simonyan and Zisserman 2015) of keras.applications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medzoo.models.rows.options import check_choice, divide_width, read_numbers, read_slim, scale_width
from medzoo.specs import HEAD_STAGE, PREPROCESSINGS, ModelSpec, Scalar, Stage, list_parts

#: `fc` flattens the features for two dense layers; `gap` goes without, so that the head averages over positions.
TOPS = ("fc", "gap")

#: Channels of the five stages, and of the dense layers.
_WIDTHS = (64, 128, 256, 512, 512)
_DENSE = 4096

ROWS: Mapping[str, Mapping[str, Scalar]] = {
    f"vgg{depth}": {"constructor": f"VGG{depth}", "depths": depths, "top": "fc", "width": 1.0, "slim": ""}
    for depth, depths in ((16, "2-2-3-3-3"), (19, "2-2-4-4-4"))
}
CHANGES: Mapping[str, str] = {
    "top": "fc, the two dense layers of 4096 units below the head, or gap, none of them",
    "width": "a factor on all channels and units, such as 0.5 or 2",
    "slim": "STAGE:FACTOR, everything above the stage or convolution FACTOR times thinner",
}


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe a VGG: five stages whose blocks are single convolutions, and the dense layers.

    Raises:
        ConfigError: an option that the family does not allow.
    """
    check_choice(name, "top", options["top"], TOPS)
    stages = [
        _lay_stage(f"block{number}", depth) for number, depth in enumerate(read_numbers(options["depths"]), 1)
    ]
    has_dense = options["top"] == "fc"
    if has_dense:
        stages.append(Stage("top", "flatten|fc1|fc2", "fc2"))
    laid = (*stages, HEAD_STAGE)
    list_widths(name, options, laid)
    return ModelSpec(name, "vgg", options, laid, 224, 32, PREPROCESSINGS["caffe"], sized=has_dense)


def _lay_stage(name: str, depth: int) -> Stage:
    """Lay a stage of convolutions, the last one with the pooling after it."""
    blocks = [
        Stage(f"{name}_conv{index}", f"{name}_conv{index}", f"{name}_conv{index}")
        for index in range(1, depth)
    ]
    last = f"{name}_conv{depth}"
    blocks.append(Stage(last, f"{last}|{name}_pool", f"{name}_pool"))
    return Stage(name, f"{name}_*", f"{name}_pool", tuple(blocks))


def list_widths(name: str, options: Mapping[str, Scalar], stages: Sequence[Stage]) -> dict[str, int]:
    """List the channels of every part below the head after scaling and thinning.

    Raises:
        ConfigError: channels are no whole numbers, or a stage that is not there.
    """
    above, factor = read_slim(name, str(options["slim"]), stages)
    last = next((stage.blocks[-1].name for stage in stages if stage.name == above and stage.blocks), above)
    widths: dict[str, int] = {}
    thin = False
    for part in list_parts(stages)[:-1]:
        full = _DENSE if part.name == "top" else _WIDTHS[int(part.name[len("block")]) - 1]
        width = scale_width(name, full, float(options["width"]))
        widths[part.name] = divide_width(name, width, factor) if thin else width
        thin = thin or part.name == last
    return widths
