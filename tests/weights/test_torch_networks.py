"""torchvision's networks, described by hand, read as the networks of keras.applications that they are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import keras
import numpy as np
import pytest

import medzoo
from medzoo.tensors import LazyTensor
from medzoo.weights.dialects.table import speak

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def conv(name: str, outputs: int, inputs: int, *size: int) -> Shapes:
    yield f"{name}.weight", (outputs, inputs, *(size if len(size) == 2 else size * 2))


def norm(name: str, channels: int) -> Shapes:
    for variable in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{variable}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def linear(name: str, outputs: int, inputs: int) -> Shapes:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def resnet50() -> Shapes:
    yield from conv("conv1", 64, 3, 7)
    yield from norm("bn1", 64)
    inputs = 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            yield from conv(f"{name}.conv1", width, inputs, 1)
            yield from norm(f"{name}.bn1", width)
            yield from conv(f"{name}.conv2", width, width, 3)
            yield from norm(f"{name}.bn2", width)
            yield from conv(f"{name}.conv3", 4 * width, width, 1)
            yield from norm(f"{name}.bn3", 4 * width)
            if block == 0:
                yield from conv(f"{name}.downsample.0", 4 * width, inputs, 1)
                yield from norm(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    yield from linear("fc", 1000, inputs)


def densenet121() -> Shapes:
    yield from conv("features.conv0", 64, 3, 7)
    yield from norm("features.norm0", 64)
    channels = 64
    for block, layers in enumerate((6, 12, 24, 16), start=1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            yield from norm(f"{name}.norm1", channels)
            yield from conv(f"{name}.conv1", 128, channels, 1)
            yield from norm(f"{name}.norm2", 128)
            yield from conv(f"{name}.conv2", 32, 128, 3)
            channels += 32
        if block < 4:
            yield from norm(f"features.transition{block}.norm", channels)
            yield from conv(f"features.transition{block}.conv", channels // 2, channels, 1)
            channels //= 2
    yield from norm("features.norm5", channels)
    yield from linear("classifier", 1000, channels)


def mobilenet_v2() -> Shapes:
    yield from conv("features.0.0", 32, 3, 3)
    yield from norm("features.0.1", 32)
    yield from conv("features.1.conv.0.0", 32, 1, 3)
    yield from norm("features.1.conv.0.1", 32)
    yield from conv("features.1.conv.1", 16, 32, 1)
    yield from norm("features.1.conv.2", 16)
    inputs, number = 16, 2
    for outputs, blocks in ((24, 2), (32, 3), (64, 4), (96, 3), (160, 3), (320, 1)):
        for _ in range(blocks):
            name = f"features.{number}.conv"
            yield from conv(f"{name}.0.0", 6 * inputs, inputs, 1)
            yield from norm(f"{name}.0.1", 6 * inputs)
            yield from conv(f"{name}.1.0", 6 * inputs, 1, 3)
            yield from norm(f"{name}.1.1", 6 * inputs)
            yield from conv(f"{name}.2", outputs, 6 * inputs, 1)
            yield from norm(f"{name}.3", outputs)
            inputs, number = outputs, number + 1
    yield from conv("features.18.0", 1280, 320, 1)
    yield from norm("features.18.1", 1280)
    yield from linear("classifier.1", 1000, 1280)


def inception_units() -> Iterator[tuple[str, int, int, tuple[int, int]]]:
    """Give Inception v3's convolutions: name, outputs, inputs, size."""
    yield "Conv2d_1a_3x3", 32, 3, (3, 3)
    yield "Conv2d_2a_3x3", 32, 32, (3, 3)
    yield "Conv2d_2b_3x3", 64, 32, (3, 3)
    yield "Conv2d_3b_1x1", 80, 64, (1, 1)
    yield "Conv2d_4a_3x3", 192, 80, (3, 3)
    for unit, inputs, pool in (("Mixed_5b", 192, 32), ("Mixed_5c", 256, 64), ("Mixed_5d", 288, 64)):
        yield f"{unit}.branch1x1", 64, inputs, (1, 1)
        yield f"{unit}.branch5x5_1", 48, inputs, (1, 1)
        yield f"{unit}.branch5x5_2", 64, 48, (5, 5)
        yield f"{unit}.branch3x3dbl_1", 64, inputs, (1, 1)
        yield f"{unit}.branch3x3dbl_2", 96, 64, (3, 3)
        yield f"{unit}.branch3x3dbl_3", 96, 96, (3, 3)
        yield f"{unit}.branch_pool", pool, inputs, (1, 1)
    yield "Mixed_6a.branch3x3", 384, 288, (3, 3)
    yield "Mixed_6a.branch3x3dbl_1", 64, 288, (1, 1)
    yield "Mixed_6a.branch3x3dbl_2", 96, 64, (3, 3)
    yield "Mixed_6a.branch3x3dbl_3", 96, 96, (3, 3)
    for unit, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        yield f"{unit}.branch1x1", 192, 768, (1, 1)
        yield f"{unit}.branch7x7_1", width, 768, (1, 1)
        yield f"{unit}.branch7x7_2", width, width, (1, 7)
        yield f"{unit}.branch7x7_3", 192, width, (7, 1)
        yield f"{unit}.branch7x7dbl_1", width, 768, (1, 1)
        yield f"{unit}.branch7x7dbl_2", width, width, (7, 1)
        yield f"{unit}.branch7x7dbl_3", width, width, (1, 7)
        yield f"{unit}.branch7x7dbl_4", width, width, (7, 1)
        yield f"{unit}.branch7x7dbl_5", 192, width, (1, 7)
        yield f"{unit}.branch_pool", 192, 768, (1, 1)
    yield "Mixed_7a.branch3x3_1", 192, 768, (1, 1)
    yield "Mixed_7a.branch3x3_2", 320, 192, (3, 3)
    yield "Mixed_7a.branch7x7x3_1", 192, 768, (1, 1)
    yield "Mixed_7a.branch7x7x3_2", 192, 192, (1, 7)
    yield "Mixed_7a.branch7x7x3_3", 192, 192, (7, 1)
    yield "Mixed_7a.branch7x7x3_4", 192, 192, (3, 3)
    for unit, inputs in (("Mixed_7b", 1280), ("Mixed_7c", 2048)):
        yield f"{unit}.branch1x1", 320, inputs, (1, 1)
        yield f"{unit}.branch3x3_1", 384, inputs, (1, 1)
        yield f"{unit}.branch3x3_2a", 384, 384, (1, 3)
        yield f"{unit}.branch3x3_2b", 384, 384, (3, 1)
        yield f"{unit}.branch3x3dbl_1", 448, inputs, (1, 1)
        yield f"{unit}.branch3x3dbl_2", 384, 448, (3, 3)
        yield f"{unit}.branch3x3dbl_3a", 384, 384, (1, 3)
        yield f"{unit}.branch3x3dbl_3b", 384, 384, (3, 1)
        yield f"{unit}.branch_pool", 192, inputs, (1, 1)


def inception_v3(prefix: str = "") -> Shapes:
    for name, outputs, inputs, size in inception_units():
        yield from conv(f"{prefix}{name}.conv", outputs, inputs, *size)
        yield from norm(f"{prefix}{name}.bn", outputs)


def read(shapes: Shapes) -> tuple[str, dict[str, LazyTensor]]:
    """Read a described file; no values are made, only broadcast."""
    arrays = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes}
    dialect, tensors, notes = speak(medzoo.source_from_arrays(arrays), "a file")
    assert not any("unknown" in note for note in notes)
    return dialect, tensors


@pytest.mark.parametrize(
    ("shapes", "network", "dialect"),
    [
        (resnet50, "ResNet50", "torch_resnet"),
        (densenet121, "DenseNet121", "torch_densenet"),
        (mobilenet_v2, "MobileNetV2", "torch_mobilenet_v2"),
    ],
)
def test_names_and_shapes_are_those_of_keras_applications(shapes, network: str, dialect: str) -> None:
    name, tensors = read(shapes())
    assert name == dialect
    model = getattr(keras.applications, network)(weights=None)
    expected = {
        weight.path.replace("predictions/", "head/"): tuple(weight.shape)
        for weight in model.weights
        # torchvision's convolutions have no bias where keras.applications' ResNet has one.
        if not (network == "ResNet50" and weight.path.endswith("_conv/bias"))
    }
    assert {name: tensor.spec.shape for name, tensor in tensors.items()} == expected


def test_inception_s_convolutions_are_keras_applications_in_the_order_that_it_makes_them() -> None:
    name, tensors = read(itertools.chain(inception_v3(), linear("fc", 1000, 2048)))
    assert name == "torch_inception_v3"
    model = keras.applications.InceptionV3(weights=None)
    made = sorted(
        (layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)),
        key=lambda layer: int(("0" + layer.name.removeprefix("conv2d")).replace("_", "")),
    )
    kernels = [tensor.spec.shape for name, tensor in tensors.items() if name.endswith("_conv/kernel")]
    assert kernels == [tuple(layer.kernel.shape) for layer in made]
    assert tensors["head/kernel"].spec.shape == (2048, 1000)


#: torchvision's modules in order; None has no tensors. RadImageNet's files number them.
SEQUENCES = {
    "radimagenet": (resnet50, ["conv1", "bn1", None, None, "layer1", "layer2", "layer3", "layer4"]),
    "radimagenet_densenet": (densenet121, ["features"]),
    "radimagenet_inception_v3": (
        inception_v3,
        [
            *(
                "Conv2d_1a_3x3",
                "Conv2d_2a_3x3",
                "Conv2d_2b_3x3",
                None,
                "Conv2d_3b_1x1",
                "Conv2d_4a_3x3",
                None,
            ),
            *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
            *("Mixed_7a", "Mixed_7b", "Mixed_7c"),
        ],
    ),
}


@pytest.mark.parametrize("dialect", SEQUENCES)
def test_radimagenet_s_numbers_are_torchvision_s_modules(dialect: str) -> None:
    shapes, modules = SEQUENCES[dialect]
    plain = {name: shape for name, shape in shapes() if name.split(".")[0] in modules}
    numbered = {}
    for name, shape in plain.items():
        module, _, rest = name.partition(".")
        numbered[f"backbone.{modules.index(module)}.{rest}"] = shape
    name, tensors = read(iter(numbered.items()))
    assert name == dialect
    # The same network under torchvision's own names, in the same order.
    _, expected = read(iter(plain.items()))
    assert [(key, tensor.spec.shape) for key, tensor in tensors.items()] == [
        (key, tensor.spec.shape) for key, tensor in expected.items()
    ]
