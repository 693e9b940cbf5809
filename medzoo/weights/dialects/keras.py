"""Keras's own names: what changed between Keras 2 and 3, and how keras.applications names its heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medzoo.errors import WeightsError, nearest
from medzoo.specs import HEAD
from medzoo.tensors import LazyTensor, TensorSpec, role_of


@dataclass(frozen=True)
class Dialect:
    """How a family of files names its tensors: the layer that is the head, and how the family is recognised.

    `marks` are tensor names of which all must be present. A head stored as a 1×1 convolution is read as the
    dense layer that it is.
    """

    name: str
    marks: tuple[str, ...]
    head: str


#: Heads of keras.applications (its source: mobilenet.py `conv_preds`, resnet.py `predictions`).
APPLICATIONS = (
    Dialect(
        "keras.applications MobileNet",
        ("conv1/kernel", "conv_pw_1/kernel", "conv_preds/kernel"),
        "conv_preds",
    ),
    Dialect("keras.applications", ("predictions/kernel",), "predictions"),
)


#: The dialect in which every layer keeps its name.
PLAIN = "keras"


def translate(
    tensors: Mapping[str, LazyTensor], forced: str | None = None
) -> tuple[str, dict[str, LazyTensor]]:
    """Give the dialect's name and the same tensors under Keras 3's names, still unread.

    Keras 2 called a depthwise kernel `depthwise_kernel`, Keras 3 calls it `kernel` (but not in a separable
    convolution, which has a pointwise kernel beside it).

    `forced` names the dialect instead of finding it from the tensors' names.

    Raises:
        WeightsError: two tensors end up with one name, or no dialect has the forced name.
    """
    names = set(tensors)
    known_names = [PLAIN, *(known.name for known in APPLICATIONS)]
    if forced is not None and forced not in known_names:
        raise WeightsError(f"unknown dialect {forced!r}", nearest(forced, known_names))
    dialect = next((known for known in APPLICATIONS if names.issuperset(known.marks)), None)
    if forced is not None:
        dialect = next((known for known in APPLICATIONS if known.name == forced), None)
    renamed: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        layer, _, variable = name.rpartition("/")
        if variable == "depthwise_kernel" and f"{layer}/pointwise_kernel" not in names:
            variable = "kernel"
        if dialect and layer == dialect.head:
            layer = HEAD
        new = f"{layer}/{variable}" if layer else variable
        if new in renamed:
            raise WeightsError(f"{name!r} and another tensor are both {new!r}", "unique names")
        shape = _dense_shape(tensor.spec) if layer == HEAD else tensor.spec.shape
        renamed[new] = _view(tensor, new, shape)
    return dialect.name if dialect else PLAIN, renamed


def _dense_shape(spec: TensorSpec) -> tuple[int, ...]:
    """Give a 1×1 convolution's kernel (1, 1, inputs, classes) the shape of the dense kernel that it equals."""
    is_pointwise = len(spec.shape) == 4 and spec.shape[:2] == (1, 1)
    return spec.shape[2:] if is_pointwise else spec.shape


def _view(tensor: LazyTensor, name: str, shape: tuple[int, ...]) -> LazyTensor:
    """Rename and reshape a tensor without reading it."""
    old = tensor.spec
    if (name, shape) == (old.name, old.shape):
        return tensor

    def read() -> np.ndarray:
        return tensor.read().reshape(shape)

    spec = TensorSpec(name, shape, old.dtype, role_of(name))
    return LazyTensor(spec, read, tensor.moments, tensor.has_values)
