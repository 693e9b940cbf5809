"""torchvision's networks, and timm's where it keeps torchvision's names."""

from __future__ import annotations

from collections.abc import Iterable

from medzoo.specs import HEAD
from medzoo.weights.dialects.dialect import Dialect
from medzoo.weights.dialects.entry import Entry
from medzoo.weights.dialects.lines import COUNTERS, batch_norm, convolution, dense, depthwise


def list_resnet_block(theirs: str, ours: str) -> Iterable[Entry]:
    """Give the lines of a ResNet's blocks, basic and bottleneck, whose names begin so."""
    for unit in (1, 2, 3):
        yield from convolution(f"{theirs}.conv{unit}", f"{ours}_{unit}_conv")
        yield from batch_norm(f"{theirs}.bn{unit}", f"{ours}_{unit}_bn")
    yield from convolution(f"{theirs}.downsample.0", f"{ours}_0_conv")
    yield from batch_norm(f"{theirs}.downsample.1", f"{ours}_0_bn")


RESNET = Dialect(
    "torch_resnet",
    "ResNets of torchvision and timm (basic and bottleneck blocks, ResNeXt, Wide ResNet)",
    marks=("conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer4.0.conv1.weight"),
    # Stems of three convolutions, pooled shortcuts and squeeze-and-excitation are other networks.
    absent=("*.downsample.2.*", "conv1.*.weight", "*.se.*"),
    entries=(
        *convolution("conv1", "conv1_conv"),
        *batch_norm("bn1", "conv1_bn"),
        *list_resnet_block("layer{stage}.{block}", "conv{stage+1}_block{block+1}"),
        *dense("fc", HEAD),
    ),
    dropped=(COUNTERS,),
)


def list_densenet_features(features: str, dots: tuple[str, ...] = ("", ".")) -> tuple[Entry, ...]:
    """Give the lines of a DenseNet's features, whose names begin with `features`.

    Up to 0.2 torchvision named layers `norm.1` that it now names `norm1`; `dots` says which is written.
    """
    layer, ours = f"{features}denseblock{{block}}.denselayer{{layer}}", "conv{block+1}_block{layer}"
    return (
        *convolution(f"{features}conv0", "conv1_conv"),
        *batch_norm(f"{features}norm0", "conv1_bn"),
        *(
            entry
            for dot in dots
            for entry in (
                *batch_norm(f"{layer}.norm{dot}1", f"{ours}_0_bn"),
                *convolution(f"{layer}.conv{dot}1", f"{ours}_1_conv"),
                *batch_norm(f"{layer}.norm{dot}2", f"{ours}_1_bn"),
                *convolution(f"{layer}.conv{dot}2", f"{ours}_2_conv"),
            )
        ),
        *batch_norm(f"{features}transition{{block}}.norm", "pool{block+1}_bn"),
        *convolution(f"{features}transition{{block}}.conv", "pool{block+1}_conv"),
        *batch_norm(f"{features}norm5", "bn"),
    )


#: One channel and 18 outputs: torchxrayvision's, which has a dialect of its own.
XRV_SHAPES = (("features.conv0.weight", (None, 1, 7, 7)), ("classifier.weight", (18, None)))

DENSENET = Dialect(
    "torch_densenet",
    "DenseNets of torchvision (old names too) and timm",
    marks=(
        "features.conv0.weight",
        "features.denseblock1.denselayer1.norm1.weight|features.denseblock1.denselayer1.norm.1.weight",
        "features.norm5.weight",
    ),
    absent_shapes=XRV_SHAPES,
    entries=(*list_densenet_features("features."), *dense("classifier", HEAD)),
    dropped=(COUNTERS,),
)


def _list_inverted_residuals() -> Iterable[Entry]:
    """Give the lines of MobileNetV2's blocks; the first alone has no expansion."""
    yield from depthwise("features.1.conv.0.0", "expanded_conv_depthwise")
    yield from batch_norm("features.1.conv.0.1", "expanded_conv_depthwise_BN")
    yield from convolution("features.1.conv.1", "expanded_conv_project")
    yield from batch_norm("features.1.conv.2", "expanded_conv_project_BN")
    # Written out, since a pattern of numbers would take in the first block and the last convolution.
    for block in range(1, 17):
        theirs, ours = f"features.{block + 1}.conv", f"block_{block}"
        yield from convolution(f"{theirs}.0.0", f"{ours}_expand")
        yield from batch_norm(f"{theirs}.0.1", f"{ours}_expand_BN")
        yield from depthwise(f"{theirs}.1.0", f"{ours}_depthwise")
        yield from batch_norm(f"{theirs}.1.1", f"{ours}_depthwise_BN")
        yield from convolution(f"{theirs}.2", f"{ours}_project")
        yield from batch_norm(f"{theirs}.3", f"{ours}_project_BN")


MOBILENET_V2 = Dialect(
    "torch_mobilenet_v2",
    "MobileNetV2 of torchvision",
    marks=(
        "features.0.0.weight",
        "features.1.conv.0.0.weight",
        "features.2.conv.1.0.weight",
        "features.18.0.weight",
    ),
    # MobileNetV2 of other depths and MobileNetV3 number their blocks alike.
    absent=("features.19.*", "features.18.conv.*"),
    entries=(
        *convolution("features.0.0", "Conv1"),
        *batch_norm("features.0.1", "bn_Conv1"),
        *_list_inverted_residuals(),
        *convolution("features.18.0", "Conv_1"),
        *batch_norm("features.18.1", "Conv_1_bn"),
        *dense("classifier.1", HEAD),
    ),
    dropped=(COUNTERS,),
)

#: The branches of Inception's five kinds of blocks.
_BLOCK_A = ("1x1", "5x5_1", "5x5_2", "3x3dbl_1", "3x3dbl_2", "3x3dbl_3", "_pool")
_BLOCK_B = ("3x3", "3x3dbl_1", "3x3dbl_2", "3x3dbl_3")
_BLOCK_C = (
    *("1x1", "7x7_1", "7x7_2", "7x7_3"),
    *("7x7dbl_1", "7x7dbl_2", "7x7dbl_3", "7x7dbl_4", "7x7dbl_5", "_pool"),
)
_BLOCK_D = ("3x3_1", "3x3_2", "7x7x3_1", "7x7x3_2", "7x7x3_3", "7x7x3_4")
_BLOCK_E = (
    *("1x1", "3x3_1", "3x3_2a", "3x3_2b"),
    *("3x3dbl_1", "3x3dbl_2", "3x3dbl_3a", "3x3dbl_3b", "_pool"),
)
#: Inception v3's units from bottom to top, each with its branches; a unit without is one convolution.
INCEPTION_UNITS: dict[str, tuple[str, ...]] = {
    "Conv2d_1a_3x3": (),
    "Conv2d_2a_3x3": (),
    "Conv2d_2b_3x3": (),
    "Conv2d_3b_1x1": (),
    "Conv2d_4a_3x3": (),
    **dict.fromkeys(("Mixed_5b", "Mixed_5c", "Mixed_5d"), _BLOCK_A),
    "Mixed_6a": _BLOCK_B,
    **dict.fromkeys(("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"), _BLOCK_C),
    "Mixed_7a": _BLOCK_D,
    **dict.fromkeys(("Mixed_7b", "Mixed_7c"), _BLOCK_E),
}


def list_inception_unit(theirs: str, unit: str) -> Iterable[Entry]:
    """Give the lines of one unit of Inception v3 that is called `theirs` in the file.

    Our names are torchvision's own in lower case, joined by `_`: keras.applications numbers these layers by
    their order of creation, from wherever the process has got to.
    """
    branches = INCEPTION_UNITS[unit]
    for branch in [f".branch{branch}" for branch in branches] or [""]:
        ours = (unit + branch.replace(".", "_")).lower()
        yield from convolution(f"{theirs}{branch}.conv", f"{ours}_conv")
        yield from batch_norm(f"{theirs}{branch}.bn", f"{ours}_bn")


INCEPTION_V3 = Dialect(
    "torch_inception_v3",
    "Inception v3 of torchvision and timm",
    marks=("Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch1x1.conv.weight", "Mixed_7c.branch1x1.conv.weight"),
    entries=(
        *(entry for unit in INCEPTION_UNITS for entry in list_inception_unit(unit, unit)),
        *(
            entry
            for unit in ("conv0", "conv1")
            for entry in (
                *convolution(f"AuxLogits.{unit}.conv", f"aux_{unit}_conv"),
                *batch_norm(f"AuxLogits.{unit}.bn", f"aux_{unit}_bn"),
            )
        ),
        *dense("AuxLogits.fc", "aux_head"),
        *dense("fc", HEAD),
    ),
    dropped=(COUNTERS,),
)
