"""Every architecture, one line per variant; imports no framework."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from medzoo.errors import ConfigError, nearest
from medzoo.specs import HEAD, PREPROCESSINGS, ModelSpec, Scalar, Stage

HEAD_STAGE = Stage(HEAD, "head|head_*", HEAD)


def _cbr(name: str, kernel: int, channels: Sequence[int], pools: int) -> ModelSpec:
    """Describe a CBR network (Raghu et al. 2019): conv-norm-ReLU units, max-pooling after the first `pools`."""
    stages = tuple(
        Stage(f"block{unit}", f"block{unit}_*", f"block{unit}_{'pool' if unit <= pools else 'relu'}")
        for unit in range(1, len(channels) + 1)
    )
    options: dict[str, Scalar] = {"kernel": kernel, "channels": "-".join(map(str, channels)), "pools": pools}
    return ModelSpec(name, "cbr", options, (*stages, HEAD_STAGE), 224, 2)


def _mobilenet(name: str, alpha: float) -> ModelSpec:
    """Describe keras.applications' MobileNet of width `alpha`: a stem and 13 depthwise-separable blocks."""
    stem = Stage("stem", "conv1|conv1_*", "conv1_relu")
    blocks = (
        Stage(
            f"block{block}",
            f"conv_*_{block}|conv_*_{block}_bn|conv_*_{block}_relu",
            f"conv_pw_{block}_relu",
        )
        for block in range(1, 14)
    )
    return ModelSpec(name, "mobilenet", {"alpha": alpha}, (stem, *blocks, HEAD_STAGE), 224, 32)


def _resnet_stages(stem: Stage, depths: Sequence[int]) -> tuple[Stage, ...]:
    """List a ResNet's stages by the names of keras.applications: a stem, then stages of declared blocks."""
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


def _resnet(name: str, depths: Sequence[int]) -> ModelSpec:
    """Describe keras.applications' ResNet with bottlenecks, its 16 blocks declared within four stages."""
    stages = _resnet_stages(Stage("conv1", "conv1_*|pool1_*", "pool1_pool"), depths)
    return ModelSpec(name, "resnet", {"constructor": "ResNet50"}, stages, 224, 32, PREPROCESSINGS["caffe"])


def _cifar_resnet(name: str, depth: int) -> ModelSpec:
    """Describe the ResNet for CIFAR with `depth` layers (He et al. 2016): three stages of (depth − 2) / 6 blocks.

    The smallest input is the one whose two halvings leave one pixel.
    """
    stages = _resnet_stages(Stage("conv1", "conv1_*", "conv1_relu"), 3 * [(depth - 2) // 6])
    return ModelSpec(name, "cifar_resnet", {"depth": depth}, stages, 32, 4, PREPROCESSINGS["torch"])


@cache
def list_models() -> tuple[ModelSpec, ...]:
    """List every row of the catalogue.

    >>> [spec.name for spec in list_models()][:2]
    ['cbr_large_t', 'cbr_large_w']
    """
    return (
        _cbr("cbr_large_t", 7, (32, 64, 128, 256, 512), pools=4),
        _cbr("cbr_large_w", 7, (64, 128, 256, 512), pools=4),
        _cbr("cbr_small", 7, (32, 64, 128, 256), pools=4),
        # The only widths that give the published count of 1,076,480; the paper's text is read as 64…512.
        _cbr("cbr_tiny", 5, (32, 64, 128, 256), pools=4),
        _mobilenet("mobilenet_025", 0.25),
        _mobilenet("mobilenet_050", 0.5),
        _mobilenet("mobilenet_075", 0.75),
        _mobilenet("mobilenet_100", 1.0),
        _resnet("resnet50", (3, 4, 6, 3)),
        _cifar_resnet("resnet20", 20),
        _cifar_resnet("resnet32", 32),
        _cifar_resnet("resnet44", 44),
        _cifar_resnet("resnet56", 56),
        _cifar_resnet("resnet110", 110),
    )


def find_model(name: str) -> ModelSpec:
    """Find one row of the catalogue by name.

    Raises:
        ConfigError: no row has that name; the nearest names are given.

    >>> find_model("cbr_tiny").stages[0].output
    'block1_pool'
    """
    for spec in list_models():
        if spec.name == name:
            return spec
    known = [spec.name for spec in list_models()]
    raise ConfigError(
        f"unknown model {name!r}",
        nearest(name, known),
        "medzoo models for the whole list, --model for another",
    )
