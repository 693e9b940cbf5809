"""The ResNets for CIFAR of He et al. 2016 (arXiv 1512.03385, section 4.2), shortcuts without parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from medzoo.models.rows.cifar_resnet import list_widths
from medzoo.specs import ModelSpec, list_parts


def build_parts(spec: ModelSpec, inputs: Any, drop_path: float) -> Iterator[Any]:
    """Build a CIFAR ResNet of the row's depth (6n + 2) on `inputs` (batch, height, width, channels).

    Three stages of n blocks with 16, 32 and 64 channels; the second and third stage halve both sides, odd
    ones rounded up. Padding, epsilon and momentum are those of PyTorch: its weights give the same outputs.
    Yields the output of the stem and of every block. All layers are Keras's own, named as in
    keras.applications' ResNet. There are no paths to drop.
    """
    del drop_path
    widths = list_widths(spec.name, spec.options)
    features = _convolve(inputs, widths[0], 1, "conv1")
    features = keras.layers.ReLU(name="conv1_relu")(features)
    yield features
    for part in list_parts(spec.stages)[1:-1]:
        stage, block = (int(number) for number in part.name.removeprefix("conv").split("_block"))
        stride = 2 if stage > 2 and block == 1 else 1
        features = _add_block(features, widths[stage - 2], stride, part.name)
        yield features


def _add_block(features: Any, width: int, stride: int, name: str) -> Any:
    """Build two 3×3 convolutions with their norms, the shortcut's sum and the ReLU after it."""
    shortcut = features if stride == 1 else _shorten(features, width, stride, name)
    features = _convolve(features, width, stride, f"{name}_1")
    features = keras.layers.ReLU(name=f"{name}_1_relu")(features)
    features = _convolve(features, width, 1, f"{name}_2")
    features = keras.layers.Add(name=f"{name}_add")([shortcut, features])
    return keras.layers.ReLU(name=f"{name}_out")(features)


def _convolve(features: Any, width: int, stride: int, name: str) -> Any:
    """Build a 3×3 convolution without bias, padded by a pixel of zeros on every side, and its batch norm."""
    if stride > 1:
        # With strides, SAME pads an even side at its end only: the kernel would sit a pixel off PyTorch's.
        features = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(features)
    features = keras.layers.Conv2D(
        width,
        3,
        stride,
        padding="valid" if stride > 1 else "same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(features)
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(features)


def _shorten(features: Any, width: int, stride: int, name: str) -> Any:
    """Build the paper's shortcut A: every second row and column, and as many zero channels on either side."""
    # A window of one pixel takes exactly x[:, ::stride, ::stride], of odd sides too.
    shorter = keras.layers.AveragePooling2D(1, stride, name=f"{name}_0_pool")(features)
    # Keras has no layer that pads channels. Told "channels first", this one pads the last two axes: here
    # columns, by nothing, and channels. A layer of our own would be unknown wherever else the file is opened.
    extra = (width - features.shape[-1]) // 2
    return keras.layers.ZeroPadding2D(
        ((0, 0), (extra, extra)), data_format="channels_first", name=f"{name}_0_pad"
    )(shorter)
