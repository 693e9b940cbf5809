"""Keras's own names: what changed between Keras 2 and 3, and how keras.applications names its heads."""

from __future__ import annotations

import re
from collections.abc import Mapping

from medzoo.errors import WeightsError
from medzoo.specs import HEAD
from medzoo.tensors import LazyTensor
from medzoo.weights.dialects.dialect import Dialect
from medzoo.weights.dialects.entry import Entry, view

#: The dialect in which every layer keeps its name.
KERAS = Dialect("keras", "names as stored", marks=(), entries=(), keeps_rest=True)

#: A batch norm's variables, in Keras's order.
_BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def _head(theirs: str, beside: str = "") -> tuple[Entry, ...]:
    """Give the lines of a dense head."""
    return (
        Entry(f"{theirs}/kernel", f"{HEAD}/kernel", beside=beside),
        Entry(f"{theirs}/bias", f"{HEAD}/bias", beside=beside),
    )


def _convolved_head(theirs: str) -> tuple[Entry, ...]:
    """Give the lines of a head that is a 1×1 convolution after pooling, which is a dense layer."""
    return (
        Entry(f"{theirs}/kernel", f"{HEAD}/kernel", ones=2, rank=4),
        Entry(f"{theirs}/bias", f"{HEAD}/bias"),
    )


#: Heads of keras.applications (its source: mobilenet.py `conv_preds`, resnet.py `predictions`).
APPLICATIONS_MOBILENET = Dialect(
    "keras_applications_mobilenet",
    "keras.applications' MobileNet: the head `conv_preds`, a 1×1 convolution, becomes the dense layer `head`",
    marks=("conv1/kernel", "conv_pw_1/kernel", "conv_preds/kernel"),
    entries=_convolved_head("conv_preds"),
    keeps_rest=True,
)
#: `fc1000` is the head of the ResNet50 of Keras 2.0 to 2.2, whose first norm was `bn_conv1`; `probs` is that of
#: its deeper ResNets and of ResNetV2 in the package keras_applications (resnet_common.py).
APPLICATIONS = Dialect(
    "keras_applications",
    "other networks of keras.applications: the head `predictions` becomes `head`",
    marks=("predictions/kernel|fc1000/kernel|probs/kernel",),
    # DenseNet of Keras 2, and EfficientNet, which has a dialect of its own.
    absent=("conv1/conv/kernel", "normalization/*", "normalization_*/*"),
    entries=(*_head("fc1000", beside="bn_conv1/gamma"), *_head("predictions"), *_head("probs")),
    keeps_rest=True,
)
#: densenet.py of Keras 2 named the first two layers `conv1/conv` and `conv1/bn`; Keras 3 forbids the slash.
APPLICATIONS_DENSENET = Dialect(
    "keras_applications_densenet",
    "keras.applications' DenseNet of Keras 2: `conv1/conv` becomes `conv1_conv`, the head `head`",
    marks=("conv1/conv/kernel", "conv1/bn/gamma", "conv2_block1_0_bn/gamma"),
    entries=(
        Entry("conv1/conv/kernel", "conv1_conv/kernel"),
        *(Entry(f"conv1/bn/{variable}", f"conv1_bn/{variable}") for variable in _BATCH_NORM),
        *_head("predictions"),
        *_head("fc1000"),
    ),
    keeps_rest=True,
)


#: Keras 1 joined a separable convolution's layer and variable by an underscore.
_SEPARABLE = re.compile(r"([^/]+)_((?:depthwise|pointwise)_kernel)")


def modernise(tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Give tensors Keras 3's names of variables.

    Keras 2 called a depthwise kernel `depthwise_kernel`, Keras 3 calls it `kernel` (but not in a separable
    convolution, which has a pointwise kernel beside it). Keras 1 wrote `block2_sepconv1_depthwise_kernel`.

    Raises:
        WeightsError: two tensors end up with one name.
    """
    renamed: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        layer, _, variable = name.rpartition("/")
        joined = _SEPARABLE.fullmatch(name)
        new = name
        if variable == "depthwise_kernel" and f"{layer}/pointwise_kernel" not in tensors:
            new = f"{layer}/kernel" if layer else "kernel"
        elif joined:
            new = f"{joined[1]}/{joined[2]}"
        if new != name and new in tensors:
            raise WeightsError(f"{name!r} and another tensor are both {new!r}", "unique names")
        renamed[new] = tensor if new == name else view(tensor, Entry(name, new), new)
    return renamed
