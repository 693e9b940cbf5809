"""What an operation of a Keras graph does to channels: which leave it, given those that reach it.

Keras's own layers and operations are known by the names of their classes. A layer of ours or of anyone says it itself:

- `channels_like = "Identity"`: it treats channels, and names its weights, as Keras's layer of that class does.
- `relay_channels(*inputs: Channels) -> Channels`: the channels that leave it, where no layer of Keras's does the same.
- `weight_axes = {"cls_token": "..c"}`: a letter of `medzoo.wiring.AXES` for each axis of a weight, by its name.
- `standardizes_kernel = True`: a convolution that takes mean and deviation out of its kernel before use.
- `heads`: of a layer with `relay_channels`: the channels that reach it are that many equal blocks.

What is not known to keep channels in their order is taken to mix them.
"""

from __future__ import annotations

import math
from typing import Any

from medzoo.tensors import Role, role_of
from medzoo.wiring import IMAGE, Channels, join

#: A tensor's shape, with its batch; None where a size is not known.
Shape = tuple[int | None, ...]

NORMS = {"BatchNormalization", "GroupNormalization", "LayerNormalization", "RMSNormalization"}
CONVOLUTIONS = {"Conv1D", "Conv2D", "Conv3D"}
DEPTHWISE = {"DepthwiseConv1D", "DepthwiseConv2D"}
SEPARABLE = {"SeparableConv1D", "SeparableConv2D"}

#: What gives each channel to the same place of its output; in names with a `*`, for any number of dimensions.
_CARRYING = (
    NORMS
    | {"Normalization", "Rescaling", "UnitNormalization", "LayerScale", "CenterCrop", "Resizing"}
    | {"Activation", "ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax"}
    | {
        "ActivityRegularization",
        "AlphaDropout",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "StochasticDepth",
    }
    | {"Identity", "Masking", "RepeatVector"}
    | {
        f"{name}{dimensions}D"
        for name in (
            *("AveragePooling", "MaxPooling", "GlobalAveragePooling", "GlobalMaxPooling"),
            *("AdaptiveAveragePooling", "AdaptiveMaxPooling"),
            *("Cropping", "SpatialDropout", "UpSampling", "ZeroPadding"),
        )
        for dimensions in (1, 2, 3)
    }
    # Operations: those that treat each value alone, those of places.
    | {"Abs", "Absolute", "Cast", "Clip", "ConvertToTensor", "Copy", "Exp", "Log", "Negative", "Reciprocal"}
    | {"Rsqrt", "SaturateCast", "Sqrt", "Square", "StopGradient"}
    | {
        "Celu",
        "Elu",
        "Gelu",
        "HardSigmoid",
        "HardSilu",
        "HardTanh",
        "LeakyRelu",
        "LogSigmoid",
        "Relu",
        "Relu6",
    }
    | {"Selu", "Sigmoid", "Silu", "Softplus", "Softsign", "Tanh"}
    | {"AdaptiveAveragePool", "AdaptiveMaxPool", "AveragePool", "MaxPool"}
)
#: What puts its inputs on top of each other, value by value; Keras's Inception-ResNet adds by a layer of its own.
_SUMMING = {"Add", "Average", "Divide", "Maximum", "Minimum", "Multiply", "Subtract", "TrueDivide"} | {
    *("CustomScaleLayer", "ScaledSum")
}
_RESHAPING = {"ExpandDims", "Flatten", "Reshape", "Squeeze"}
_REDUCING = {"Amax", "Amin", "Max", "Mean", "Min", "Std", "Sum", "Var"}


def kind_of(operation: Any) -> str:
    """Give the name of the Keras class whose treatment of channels an operation follows."""
    return str(getattr(operation, "channels_like", type(operation).__name__))


def makes_channels(operation: Any) -> bool:
    """Tell whether a layer's output channels are its own: a dense layer, a full convolution, an unknown model.

    A grouped convolution's are, unless its groups are single channels.
    """
    if hasattr(operation, "relay_channels") or count_filters(operation):
        return False
    if kind_of(operation) == "Embedding":
        return True
    return any(role_of(weight.path) is Role.KERNEL for weight in getattr(operation, "weights", ()))


def count_filters(operation: Any) -> int:
    """Count the filters for each channel of a layer that filters each on its own; 0 for any other."""
    kind = kind_of(operation)
    if kind in DEPTHWISE:
        return int(operation.depth_multiplier)
    groups = getattr(operation, "groups", 1)
    if kind in CONVOLUTIONS and groups > 1 and operation.kernel.shape[-2] == 1:
        return int(operation.filters) // int(groups)
    return 0


def filters_apart(operation: Any) -> bool:
    """Tell whether no filter of a layer reads all the channels that reach it."""
    kind = kind_of(operation)
    return kind in DEPTHWISE | SEPARABLE or (kind in CONVOLUTIONS and operation.groups > 1)


def reach(operation: Any, inputs: tuple[Channels, ...]) -> Channels:
    """Give the channels that a layer's own weights meet.

    Those of an image that a layer filters each on its own are unknown: kernels that are summed over the image's
    channels would not answer as they did.
    """
    if hasattr(operation, "relay_channels"):
        return relayed(operation, inputs)
    together = inputs[0] if len(set(inputs)) == 1 else join("mixed", inputs)
    return Channels("mixed") if together == IMAGE and filters_apart(operation) else together


def relayed(operation: Any, inputs: tuple[Channels, ...]) -> Channels:
    """Ask a layer which channels leave it."""
    channels = operation.relay_channels(*inputs)
    assert isinstance(channels, Channels), operation
    return channels


def leave(operation: Any, node: Any, inputs: tuple[Channels, ...]) -> Channels:
    """Give the channels that leave an operation at one place of a graph."""
    if makes_channels(operation) or (filters_apart(operation) and inputs == (IMAGE,)):
        channels = Channels("layer", operation.name)
    elif hasattr(operation, "relay_channels"):
        return relayed(operation, inputs)
    else:
        channels = _relay(operation, node, inputs)
    if getattr(operation, "data_format", None) == "channels_first":
        return join("mixed", (channels,))
    return channels


def _relay(operation: Any, node: Any, inputs: tuple[Channels, ...]) -> Channels:
    """Give the channels that leave an operation that makes none."""
    kind = kind_of(operation)
    shapes: list[Shape] = [tuple(tensor.shape) for tensor in node.input_tensors]
    output: Shape = tuple(node.output_tensors[0].shape)
    if filters := count_filters(operation):
        return inputs[0] if filters == 1 else Channels("spread", parts=inputs, times=filters)
    if kind in _SUMMING:
        # A part of one channel is the same factor or summand for all, and says nothing of their order.
        full = tuple(part for part, shape in zip(inputs, shapes, strict=True) if shape[-1:] == output[-1:])
        return join("sum", full) if full else join("mixed", inputs)
    if kind == "Concatenate":
        return _concatenate(operation.axis % len(output) == len(output) - 1, inputs)
    if len(inputs) == 1:
        if kind in _CARRYING or kind.startswith("Random") or _keeps_last(operation, node, shapes[0]):
            return inputs[0]
        if kind in _RESHAPING:
            return _reshape(shapes[0], output, inputs[0])
    return join("mixed", inputs)


def _concatenate(is_last: bool, inputs: tuple[Channels, ...]) -> Channels:
    """Give the channels of a concatenation: one after the other, or, along another axis, those that all have."""
    return join("concat" if is_last else "sum", inputs)


def _reshape(before: Shape, after: Shape, channels: Channels) -> Channels:
    """Give the channels after a reshaping: as they were while the last axis stays, or those of every place."""
    if before[-1] == after[-1] is not None:
        return channels
    if len(after) == 2 and None not in before[1:] and after[-1] == math.prod(before[1:]):  # type: ignore[arg-type]
        return Channels("flatten", parts=(channels,), times=math.prod(before[1:-1]))  # type: ignore[arg-type]
    return join("mixed", (channels,))


def _keeps_last(operation: Any, node: Any, shape: Shape) -> bool:
    """Tell whether an operation leaves the last axis of its one input (batch, …, channels) alone."""
    kind, last = kind_of(operation), len(shape) - 1
    if kind == "Permute":
        return bool(operation.dims[-1] == last)
    if kind == "Transpose":
        return operation.axes is not None and operation.axes[-1] % len(shape) == last
    if kind in _REDUCING and operation.axis is not None:
        axes = operation.axis if isinstance(operation.axis, (list, tuple)) else [operation.axis]
        return all(axis % len(shape) != last for axis in axes)
    if kind == "GetItem":
        key = node.arguments.args[1] if len(node.arguments.args) > 1 else node.arguments.kwargs["key"]
        places = key if isinstance(key, tuple) else (key,)
        plain = all(isinstance(place, (int, slice)) for place in places)
        return plain and (len(places) <= last or places[last] == slice(None))
    return False
