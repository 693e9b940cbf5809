"""Rows of Swin (Liu et al. 2021, arXiv 2103.14030): transformers whose attention stays within shifted windows."""

from __future__ import annotations

from collections.abc import Mapping

from medzoo.models.rows.options import read_numbers
from medzoo.models.rows.vit import check_epsilon, count_heads
from medzoo.specs import HEAD_STAGE, PREPROCESSINGS, ModelSpec, Scalar, Stage

#: Sides of the patches, which is also how far the first stage reduces its input.
PATCH = 4


def _row(depths: str, heads: int) -> dict[str, Scalar]:
    """Give the options of one row: blocks per stage, heads of the first stage (each further one has twice as many)."""
    return {
        "depths": depths,
        "heads": heads,
        "head_size": 32,
        "window": 7,
        "width": 1.0,
        "epsilon": 1e-5,
    }


ROWS: Mapping[str, Mapping[str, Scalar]] = {
    "swin_t": _row("2-2-6-2", 3),
    "swin_s": _row("2-2-18-2", 3),
    "swin_b": _row("2-2-18-2", 4),
    "swin_l": _row("2-2-18-2", 6),
}

CHANGES: Mapping[str, str] = {
    "width": "a factor of all widths that leaves the first stage a whole number of heads, such as 2",
    "epsilon": "the layer norms' epsilon, above 0 and at most 0.001",
}


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Lay the stages of a Swin: `embed`, `stage1`, `downsample1` … `stage4`, the final `norm`, the head.

    Patch merging after a stage is a stage of its own, since it may be treated apart from the blocks below it;
    its layers are named `stage1_downsample_*` nevertheless, as weights files place them.

    Raises:
        ConfigError: an option outside its allowed values, which are named.

    >>> [stage.name for stage in describe_row("swin_t", ROWS["swin_t"]).stages][:4]
    ['embed', 'stage1', 'downsample1', 'stage2']
    """
    count_heads(name, int(options["heads"]), float(options["width"]))
    check_epsilon(name, float(options["epsilon"]))
    depths = read_numbers(options["depths"])
    stages = [Stage("embed", "patch_*", "patch_norm")]
    for number, depth in enumerate(depths, start=1):
        names = [f"stage{number}_block{block}" for block in range(1, depth + 1)]
        blocks = tuple(Stage(block, f"{block}_*", f"{block}_add2") for block in names)
        stages.append(Stage(f"stage{number}", f"stage{number}_block*", blocks[-1].output, blocks))
        if number < len(depths):
            merging = f"stage{number}_downsample"
            stages.append(Stage(f"downsample{number}", f"{merging}_*", f"{merging}_reduction"))
    return ModelSpec(
        name,
        "swin",
        options,
        (*stages, Stage("norm", "norm", "norm"), HEAD_STAGE),
        input_size=224,
        # One patch: windows shrink to the map, and merging pads a lone row or column.
        smallest_input=PATCH,
        preprocessing=PREPROCESSINGS["torch"],
        multiple=PATCH,
    )
