"""Keras's legacy HDF5 layout: one group a layer, attributes `layer_names` and `weight_names`."""

from __future__ import annotations

from pathlib import Path

import h5py

from medzoo.errors import WeightsError
from medzoo.tensors import LazyTensor, TensorSpec, lazy_tensor, role_of
from medzoo.weights.formats.hdf5 import check_dataset, dataset_reader, member, open_hdf5, refuse_damage

NAME = "keras_legacy_h5"


def matches(file: h5py.File) -> bool:
    """Tell whether an open HDF5 file has this layout, as weights alone or as a whole model."""
    # layer_names0: Keras splits a list of names that exceeds HDF5's 64 kB for one attribute.
    return any(name in file.attrs for name in ("layer_names", "layer_names0")) or "model_weights" in file


def read_headers(path: Path) -> dict[str, LazyTensor]:
    """Read names, shapes and dtypes of every layer's tensors; a whole model's optimiser state is ignored.

    Names come from `weight_names` without Keras 2's `:0`: `conv1/kernel`.

    Raises:
        WeightsError: the file is damaged, or lists tensors that it does not hold.
    """
    file = open_hdf5(path)
    with refuse_damage(path):
        return _read_layers(member(file, "model_weights", path) if "model_weights" in file else file, path)


def _read_layers(root: h5py.Group, path: Path) -> dict[str, LazyTensor]:
    """Read the headers of every layer's tensors below a group."""
    tensors: dict[str, LazyTensor] = {}
    for layer in _names(root, "layer_names", path):
        group = member(root, layer, path)
        for written in _names(group, "weight_names", path):
            dataset = check_dataset(member(group, written, path), path)
            name = written.removesuffix(":0")
            # Keras 3 puts a Sequential model's own name before its layers': sequential/dense/kernel.
            if f"/{layer}/" in name:
                name = name[name.index(f"/{layer}/") + 1 :]
            if name in tensors:
                name = f"{layer}/{name}"
            if name in tensors:
                raise WeightsError(f"{path} holds two tensors named {name!r}", "unique names")
            spec = TensorSpec(name, dataset.shape, str(dataset.dtype), role_of(name))
            tensors[name] = lazy_tensor(spec, dataset_reader(dataset, path))
    return tensors


def _names(group: h5py.Group, attribute: str, path: Path) -> list[str]:
    """Read a list of names; Keras splits long ones over `attribute0`, `attribute1`, …"""
    if attribute in group.attrs:
        chunks = [group.attrs[attribute]]
    else:
        count = 0
        chunks = []
        while f"{attribute}{count}" in group.attrs:
            chunks.append(group.attrs[f"{attribute}{count}"])
            count += 1
        if not chunks:
            raise WeightsError(f"{path} has no {attribute} at {group.name}", "a Keras weights file")
    return [name.decode() if isinstance(name, bytes) else str(name) for chunk in chunks for name in chunk]
