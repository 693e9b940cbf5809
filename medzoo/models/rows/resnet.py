"""Rows of the ResNets (He et al. 2016): keras.applications' variant, torchvision's, and those for CIFAR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medzoo.errors import ConfigError
from medzoo.models.rows.options import check_choice, divide_width, read_numbers, read_slim, scale_width
from medzoo.specs import HEAD_STAGE, PREPROCESSINGS, ModelSpec, Scalar, Stage

BLOCKS = ("basic", "bottleneck")
VARIANTS = ("keras", "torch")

_DEPTHS = {
    18: ("basic", "2-2-2-2"),
    34: ("basic", "3-4-6-3"),
    50: ("bottleneck", "3-4-6-3"),
    101: ("bottleneck", "3-4-23-3"),
    152: ("bottleneck", "3-8-36-3"),
}

ROWS: Mapping[str, Mapping[str, Scalar]] = {
    f"resnet{depth}{'_torch' if variant == 'torch' else ''}": {
        "block": block,
        "depths": depths,
        "variant": variant,
        "width": 1.0,
        "slim": "",
    }
    for variant in VARIANTS
    for depth, (block, depths) in _DEPTHS.items()
}
CHANGES: Mapping[str, str] = {
    "width": "a factor on all channels, such as 0.5 or 2",
    "slim": "STAGE:FACTOR, everything above the stage or block FACTOR times thinner",
}


@dataclass(frozen=True)
class BlockWidths:
    """The channels within one block and those that leave it."""

    inner: int
    outer: int


def lay_stages(stem: Stage, depths: Sequence[int]) -> tuple[Stage, ...]:
    """Lay a ResNet's stages by the names of keras.applications: a stem, then stages of declared blocks."""
    stages = [stem]
    for number, depth in enumerate(depths, start=2):
        blocks = tuple(
            Stage(
                f"conv{number}_block{block}", f"conv{number}_block{block}_*", f"conv{number}_block{block}_out"
            )
            for block in range(1, depth + 1)
        )
        stages.append(Stage(f"conv{number}", f"conv{number}_*", blocks[-1].output, blocks))
    return (*stages, HEAD_STAGE)


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe a ResNet: a stem, and four stages of blocks.

    Raises:
        ConfigError: an option that the family does not allow.
    """
    check_choice(name, "block", options["block"], BLOCKS)
    check_choice(name, "variant", options["variant"], VARIANTS)
    stem = Stage("conv1", "conv1_*|pool1_*", "pool1_pool")
    stages = lay_stages(stem, read_numbers(options["depths"]))
    list_widths(name, options, stages)
    contract = PREPROCESSINGS["torch" if options["variant"] == "torch" else "caffe"]
    return ModelSpec(name, "resnet", options, stages, 224, 32, contract)


def scale_stem(name: str, options: Mapping[str, Scalar]) -> int:
    """Give the channels of the stem, 64 at full width."""
    return scale_width(name, 64, float(options["width"]))


def list_widths(
    name: str, options: Mapping[str, Scalar], stages: tuple[Stage, ...]
) -> dict[str, BlockWidths]:
    """List the channels of every block after scaling and thinning (Peng et al. 2021, TF(k)).

    Above a stage all channels are divided. Above a block within a stage, the later blocks of that stage are
    thinner inside and keep the channels of their sum; later stages are thinner as a whole.

    Raises:
        ConfigError: channels are no whole numbers, or a stage that is not there.
    """
    above, factor = read_slim(name, str(options["slim"]), stages)
    expansion = 4 if options["block"] == "bottleneck" else 1
    widths = {}
    thin_inside = thin_whole = False
    for number, stage in enumerate(stage for stage in stages if stage.blocks):
        planes = scale_width(name, 64 * 2**number, float(options["width"]))
        for block in stage.blocks:
            inner = divide_width(name, planes, factor) if thin_inside else planes
            outer = expansion * (divide_width(name, planes, factor) if thin_whole else planes)
            widths[block.name] = BlockWidths(inner, outer)
            thin_inside = thin_inside or block.name == above
        thin_inside = thin_whole = thin_inside or stage.name == above
    if above == stages[0].name and options["block"] == "basic" and factor > 1:
        raise ConfigError(
            f"slim={options['slim']} for {name}, whose first blocks add the stem's channels unprojected",
            f"one of {', '.join(stage.name for stage in stages[1:-2])}",
        )
    if above == stages[0].name:
        widths = {
            block: BlockWidths(divide_width(name, pair.inner, factor), divide_width(name, pair.outer, factor))
            for block, pair in widths.items()
        }
    return widths
