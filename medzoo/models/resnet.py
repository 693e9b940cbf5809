"""ResNets (He et al. 2016, arXiv 1512.03385), as keras.applications builds them and as torchvision does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from medzoo.models.rows.resnet import BlockWidths, list_widths, scale_stem
from medzoo.specs import ModelSpec, list_parts


def build_parts(spec: ModelSpec, inputs: Any, drop_path: float) -> Iterator[Any]:
    """Build a ResNet on `inputs` (batch, height, width, channels); yield the output of its stem and every block.

    keras.applications' variant has biases, the stride in a bottleneck's first convolution and ε 1.001e-5;
    torchvision's has no biases, the stride in the 3×3 convolution, padded by zeros on every side, and ε 1e-5.
    Both carry the names of keras.applications. There are no paths to drop.
    """
    del drop_path
    is_torch = spec.options["variant"] == "torch"
    features = keras.layers.ZeroPadding2D(3, name="conv1_pad")(inputs)
    features = _convolve(features, scale_stem(spec.name, spec.options), 7, 2, "conv1", is_torch)
    features = keras.layers.ReLU(name="conv1_relu")(features)
    # After a ReLU, zeros around the image change no maximum: both variants pool alike.
    features = keras.layers.ZeroPadding2D(1, name="pool1_pad")(features)
    features = keras.layers.MaxPooling2D(3, 2, name="pool1_pool")(features)
    yield features
    widths = list_widths(spec.name, spec.options, spec.stages)
    add_block = _add_bottleneck if spec.options["block"] == "bottleneck" else _add_basic
    for part in list_parts(spec.stages)[1:-1]:
        stride = 2 if part.name.endswith("_block1") and not part.name.startswith("conv2_") else 1
        features = add_block(features, widths[part.name], stride, part.name, is_torch)
        yield features


def _add_bottleneck(features: Any, widths: BlockWidths, stride: int, name: str, is_torch: bool) -> Any:
    """Build a 1×1, a 3×3 and a 1×1 convolution with their norms, the shortcut's sum and the ReLU after it."""
    shortcut = _shorten(features, widths.outer, stride, name, is_torch, is_bottleneck=True)
    features = _convolve(features, widths.inner, 1, 1 if is_torch else stride, f"{name}_1", is_torch)
    features = keras.layers.ReLU(name=f"{name}_1_relu")(features)
    features = _convolve(features, widths.inner, 3, stride if is_torch else 1, f"{name}_2", is_torch)
    features = keras.layers.ReLU(name=f"{name}_2_relu")(features)
    features = _convolve(features, widths.outer, 1, 1, f"{name}_3", is_torch)
    features = keras.layers.Add(name=f"{name}_add")([shortcut, features])
    return keras.layers.ReLU(name=f"{name}_out")(features)


def _add_basic(features: Any, widths: BlockWidths, stride: int, name: str, is_torch: bool) -> Any:
    """Build two 3×3 convolutions with their norms, the shortcut's sum and the ReLU after it."""
    shortcut = _shorten(features, widths.outer, stride, name, is_torch, is_bottleneck=False)
    features = _convolve(features, widths.inner, 3, stride, f"{name}_1", is_torch)
    features = keras.layers.ReLU(name=f"{name}_1_relu")(features)
    features = _convolve(features, widths.outer, 3, 1, f"{name}_2", is_torch)
    features = keras.layers.Add(name=f"{name}_add")([shortcut, features])
    return keras.layers.ReLU(name=f"{name}_out")(features)


def _shorten(features: Any, width: int, stride: int, name: str, is_torch: bool, is_bottleneck: bool) -> Any:
    """Build the 1×1 convolution of a shortcut where the sum's shape changes, and in a bottleneck's first block.

    A stage's first bottleneck projects whatever the widths are: names do not depend on them.
    """
    is_first = name.endswith("_block1") and is_bottleneck
    if stride == 1 and features.shape[-1] == width and not is_first:
        return features
    return _convolve(features, width, 1, stride, f"{name}_0", is_torch)


def _convolve(features: Any, width: int, size: int, stride: int, name: str, is_torch: bool) -> Any:
    """Build a convolution and its batch norm, by the constants of the variant."""
    padding = "valid"
    if size == 3 and stride == 1:
        padding = "same"
    elif size == 3:
        # With strides, SAME pads an even side at its end only: the kernel would sit a pixel off PyTorch's.
        features = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(features)
    features = keras.layers.Conv2D(
        width,
        size,
        stride,
        padding=padding,
        use_bias=not is_torch,
        kernel_initializer=_start() if is_torch else "glorot_uniform",
        name=f"{name}_conv",
    )(features)
    if is_torch:
        return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(features)
    return keras.layers.BatchNormalization(epsilon=1.001e-5, name=f"{name}_bn")(features)


def _start() -> Any:
    """Give torchvision's start values: He et al. 2015, by the fan out."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
