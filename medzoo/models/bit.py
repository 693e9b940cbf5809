"""BiT's ResNets (Kolesnikov et al. 2020, arXiv 1912.11370): standardised convolutions, group norms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from medzoo.models.rows.bit import GROUPS, Unit, list_units, scale_root
from medzoo.specs import ModelSpec


@keras.saving.register_keras_serializable("medzoo")
class StandardizedConv2D(keras.layers.Conv2D):  # type: ignore[misc]  # Keras ships no types
    """A convolution whose kernel is standardised at every call (Qiao et al. 2019, arXiv 1903.10520).

    Ŵ = (W − μ) / √(σ² + ε), with the mean and population variance of each output channel over height, width and
    input channels. They are computed in float32 or better, whatever the layer's precision; the layer saves W.
    Takes what `keras.layers.Conv2D` takes, and ε.

    >>> StandardizedConv2D(8, 3, use_bias=False, name="conv").epsilon
    1e-10
    """

    channels_like = "Conv2D"
    standardizes_kernel = True

    def __init__(self, filters: int, kernel_size: Any, epsilon: float = 1e-10, **options: Any) -> None:
        """Take Conv2D's own options, by whose names Keras restores the layer, and the ε."""
        super().__init__(filters, kernel_size, **options)
        self.epsilon = epsilon

    def add_weight(self, *positional: Any, **options: Any) -> Any:
        """Add a variable that is read as it is stored, under mixed precision too.

        Autocast would round the kernel to 16 bits before its statistics are taken. The layer's own argument
        `autocast` does not prevent it: Keras 3.15 heeds that only within another layer's call.
        """
        return super().add_weight(*positional, **{**options, "autocast": False})

    def call(self, inputs: Any) -> Any:
        """Convolve inputs (batch, height, width, channels) in the layer's compute precision."""
        return keras.ops.cast(super().call(inputs), self.compute_dtype)

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolve with the standardised kernel: Keras's hook, between the kernel's reading and its use."""
        standardized = keras.ops.cast(self.standardize(kernel), self.compute_dtype)
        return super().convolution_op(inputs, standardized)

    def standardize(self, kernel: Any) -> Any:
        """Give the standardised kernel (height, width, inputs, outputs), in float32 or better."""
        kernel = keras.ops.cast(kernel, keras.backend.result_type(self.variable_dtype, "float32"))
        centred = kernel - keras.ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
        variance = keras.ops.mean(keras.ops.square(centred), axis=(0, 1, 2), keepdims=True)
        # ε within the root: a channel of equal values gives zeros, and finite gradients.
        return centred * keras.ops.rsqrt(variance + self.epsilon)

    def get_config(self) -> dict[str, Any]:
        """Give Conv2D's configuration and the ε."""
        return {**super().get_config(), "epsilon": self.epsilon}


def build_parts(spec: ModelSpec, inputs: Any, drop_path: float) -> Iterator[Any]:
    """Build a BiT on `inputs` (batch, height, width, channels); yield the outputs of root, units and last norm.

    There are no paths to drop.
    """
    del drop_path
    features = keras.layers.ZeroPadding2D(3, name="root_pad")(inputs)
    features = _convolve(features, scale_root(spec.name, spec.options), 7, 2, "root")
    # No ReLU came before: where all else is negative, the zeros around the image are the maximum, and SAME
    # padding, which never is, would give other values.
    features = keras.layers.ZeroPadding2D(1, name="root_pool_pad")(features)
    features = keras.layers.MaxPooling2D(3, 2, name="root_pool")(features)
    yield features
    for unit in list_units(spec.name, spec.options, spec.stages):
        features = _add_unit(features, unit)
        yield features
    yield _normalise(features, "final")


def _add_unit(features: Any, unit: Unit) -> Any:
    """Build a 1×1, a 3×3 and a 1×1 convolution, a norm and ReLU before each, and the sum with the shortcut.

    A shortcut that projects reads the normed features; any other reads them as they came.
    """
    name = unit.name
    inner = _normalise(features, f"{name}_a")
    shortcut = _convolve(inner, unit.outer, 1, unit.stride, f"{name}_proj") if unit.projects else features
    inner = _normalise(_convolve(inner, unit.inner, 1, 1, f"{name}_a"), f"{name}_b")
    if unit.stride > 1:
        # With strides, SAME pads an even side at its end only: the kernel would sit a pixel off.
        inner = keras.layers.ZeroPadding2D(1, name=f"{name}_b_pad")(inner)
    inner = _normalise(_convolve(inner, unit.inner, 3, unit.stride, f"{name}_b"), f"{name}_c")
    inner = _convolve(inner, unit.outer, 1, 1, f"{name}_c")
    return keras.layers.Add(name=f"{name}_add")([inner, shortcut])


def _normalise(features: Any, name: str) -> Any:
    """Build a group norm and the ReLU after it."""
    features = keras.layers.GroupNormalization(GROUPS, epsilon=1e-5, name=f"{name}_gn")(features)
    return keras.layers.ReLU(name=f"{name}_relu")(features)


def _convolve(features: Any, width: int, size: int, stride: int, name: str) -> Any:
    """Build a standardised convolution without bias; one without stride keeps the sides as they are."""
    # Standardising takes the scale of the start values out of the outputs, but not out of the gradients, which
    # are as many times larger as the kernel is smaller. The released code leaves it to each framework's default
    # (Glorot's, LeCun's), which knows of no ReLU; He's is the one for inputs that come from a ReLU.
    return StandardizedConv2D(
        width,
        size,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(features)
