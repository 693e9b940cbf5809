"""Keras 3's `.weights.h5`: groups by class and order, the layer's name as an attribute, variables numbered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import h5py

from medzoo.errors import WeightsError
from medzoo.tensors import LazyTensor, TensorSpec, lazy_tensor, role_of
from medzoo.weights.formats.hdf5 import check_dataset, dataset_reader, member, open_hdf5, refuse_damage

NAME = "keras_v3"

#: Attribute that our own writer puts on each dataset: the tensor's Keras path, which Keras itself omits.
PATH_ATTRIBUTE = "medzoo_path"

#: What each layer class stores, in order. Keras numbers variables; the file does not name them.
_VARIABLES = {
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "layer_normalization": ("gamma", "beta"),
    "group_normalization": ("gamma", "beta"),
    "dense": ("kernel", "bias"),
    "conv1_d": ("kernel", "bias"),
    "conv2_d": ("kernel", "bias"),
    "conv3_d": ("kernel", "bias"),
    "conv1d": ("kernel", "bias"),
    "conv2d": ("kernel", "bias"),
    "conv3d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "depthwise_conv2_d": ("kernel", "bias"),
    "separable_conv2d": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "separable_conv2_d": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "conv2d_transpose": ("kernel", "bias"),
    "embedding": ("embeddings",),
}


def matches(file: h5py.File) -> bool:
    """Tell whether an open HDF5 file has this layout."""
    return "layers" in file or "vars" in file or "_layer_checkpoint_dependencies" in file


def read_headers(path: Path) -> dict[str, LazyTensor]:
    """Read names, shapes and dtypes; names are Keras paths (`conv1_bn/gamma`) as far as the file tells them.

    A file that medzoo wrote carries the exact paths. One that Keras wrote carries layer names; variables are
    named by the layer's class, and by number (`layer/0`) for classes without a fixed list, or when the count
    does not fit it.

    Raises:
        WeightsError: the file is damaged, or two tensors share a name.
    """
    file = open_hdf5(path)
    tensors: dict[str, LazyTensor] = {}
    with refuse_damage(path):
        for name, dataset in _walk(file, "", path):
            if name in tensors:
                raise WeightsError(f"{path} holds two tensors named {name!r}", "unique names")
            spec = TensorSpec(name, dataset.shape, str(dataset.dtype), role_of(name))
            tensors[name] = lazy_tensor(spec, dataset_reader(dataset, path))
    return tensors


def _walk(group: h5py.Group, prefix: str, path: Path) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield every tensor below a group with its name."""
    variables = member(group, "vars", path) if "vars" in group else None
    layer = str(variables.attrs.get("name", "")) if variables is not None else ""
    if variables is not None and len(variables):
        yield from _name_variables(variables, f"{prefix}{layer or group.name.rsplit('/', 1)[-1]}", path)
    # A nested model's name is not part of its layers' Keras paths; a composite layer's name is.
    inner = (
        prefix if "layers" in group or not group.name.strip("/") else f"{prefix}{layer}/" if layer else prefix
    )
    for child in sorted(group, key=_natural):
        if child != "vars" and isinstance(member(group, child, path), h5py.Group):
            if child == "optimizer" and group.name == "/":
                continue
            yield from _walk(member(group, child, path), inner, path)


def _name_variables(group: h5py.Group, layer: str, path: Path) -> Iterator[tuple[str, h5py.Dataset]]:
    """Name one layer's numbered variables."""
    numbers = sorted(group, key=_natural)
    known = _VARIABLES.get(re.sub(r"_\d+$", "", group.parent.name.rsplit("/", 1)[-1]), ())
    names: tuple[str, ...] = known[: len(numbers)]
    if known and known[0] == "gamma" and len(numbers) == len(known) - 1:
        names = ()  # a norm without scale or one without shift: the file does not tell which
    for index, number in enumerate(numbers):
        dataset = check_dataset(member(group, number, path), path)
        fallback = f"{layer}/{names[index] if index < len(names) else number}"
        yield str(dataset.attrs.get(PATH_ATTRIBUTE, fallback)), dataset


def _natural(name: str) -> tuple[str, int]:
    """Sort conv2d_2 before conv2d_10."""
    stem, number = re.fullmatch(r"(.*?)_?(\d*)", name).groups()  # type: ignore[union-attr]
    return stem, int(number or 0)
