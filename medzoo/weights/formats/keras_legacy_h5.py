"""Keras's legacy HDF5 layout: one group a layer, attributes `layer_names` and `weight_names`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from medzoo.errors import WeightsError
from medzoo.tensors import LazyTensor, TensorSpec, lazy_tensor, role_of
from medzoo.weights.contents import Contents
from medzoo.weights.formats.hdf5 import (
    check_dataset,
    dataset_reader,
    member,
    name_dtype,
    open_hdf5,
    read_metadata,
    refuse_damage,
)

NAME = "keras_legacy_h5"

#: The group of weights that a subclassed model holds outside its layers.
_OWN_WEIGHTS = "top_level_model_weights"

#: Keras 1's ends of names (its source: `'{}_W'.format(self.name)`, …); its running_std holds the variance.
_KERAS_1 = {
    "_W": "kernel",
    "_b": "bias",
    "_gamma": "gamma",
    "_beta": "beta",
    "_running_mean": "moving_mean",
    "_running_std": "moving_variance",
}

#: Names that Keras 1 gave to arrays that had none: their initialiser's, numbered.
_INITIALIZER = re.compile(r"(uniform|normal|zero|one|identity|orthogonal|(glorot|he|lecun)_\w+?)\d*")

Layers = dict[str, list[tuple[str, h5py.Dataset]]]


def matches(file: h5py.File) -> bool:
    """Tell whether an open HDF5 file has this layout, as weights alone or as a whole model."""
    # layer_names0: Keras splits a list of names that exceeds HDF5's 64 kB for one attribute.
    return any(name in file.attrs for name in ("layer_names", "layer_names0")) or "model_weights" in file


def read_headers(path: Path) -> Contents:
    """Read names, shapes and dtypes of every layer's tensors; a whole model's optimiser state is left out.

    Names come from `weight_names` without Keras 2's `:0`: `conv1/kernel`; Keras 1's `conv1_W` becomes the
    same. Convolution kernels in Theano's order, told by the shapes of the whole file, read as TensorFlow's;
    where the file has no attribute `backend`, they are assumed to be rotated as well, which a note says.

    Raises:
        WeightsError: the file is damaged, or lists tensors that it does not hold.
    """
    file = open_hdf5(path)
    with refuse_damage(path):
        root = member(file, "model_weights", path) if "model_weights" in file else file
        metadata = read_metadata(root) | read_metadata(file)
        layers = _read_layers(root, path)
        # Later versions name every variable as its layer does; what looks old in them is a layer of one's own.
        is_old = metadata.get("keras_version", "1").startswith(("0", "1"))
        tensors, notes = _name_tensors(layers, is_old, metadata.get("backend", ""), path)
        if "optimizer_weights" in file:
            notes.append("optimiser state left out")
    return Contents(tensors, notes=tuple(notes), metadata=metadata)


def _read_layers(root: h5py.Group, path: Path) -> Layers:
    """Read the headers of every layer's datasets below a group, under the names written for them."""
    names = _names(root, "layer_names", path)
    if _OWN_WEIGHTS in root and _OWN_WEIGHTS not in names:
        names.append(_OWN_WEIGHTS)
    layers: Layers = {}
    for layer in names:
        group = member(root, layer, path)
        layers[layer] = [
            (written, check_dataset(member(group, written, path), path))
            for written in _names(group, "weight_names", path)
        ]
    return layers


def _name_tensors(
    layers: Layers, is_old: bool, backend: str, path: Path
) -> tuple[dict[str, LazyTensor], list[str]]:
    """Give every dataset its Keras path, and turn kernels that another backend ordered or rotated."""
    tensors: dict[str, LazyTensor] = {}
    in_theano_order = is_old and _has_theano_order(list(layers.values()))
    # Theano convolves where TensorFlow correlates: its kernels are rotated by 180°, in later Keras too. Keras 1
    # on TensorFlow could have Theano's order of axes without the rotation; shapes cannot tell which one wrote.
    is_rotated = backend == "theano" or (in_theano_order and backend != "tensorflow")
    turned = False
    for layer, datasets in layers.items():
        for (_, dataset), name in zip(datasets, _name_layer(layer, datasets, is_old), strict=True):
            if name in tensors:
                name = f"{layer}/{name}"
            if name in tensors:
                raise WeightsError(f"{path} holds two tensors named {name!r}", "unique names")
            read, shape = dataset_reader(dataset, path), dataset.shape
            is_kernel = name.rpartition("/")[2] == "kernel" and len(shape) in (3, 4, 5)
            is_swapped = in_theano_order and len(shape) in (4, 5)
            if is_kernel and (is_swapped or is_rotated):
                read = _turned_reader(read, _make_turn(len(shape), is_swapped, is_rotated))
                shape = (*shape[2:], shape[1], shape[0]) if is_swapped else shape
                turned = True
            spec = TensorSpec(name, shape, name_dtype(dataset), role_of(name))
            tensors[name] = lazy_tensor(spec, read)
    notes = []
    if turned:
        notes.append("kernels stored in Theano's order: turned to TensorFlow's")
        if not backend:
            notes.append("no backend is written: that Theano's kernels are rotated too was assumed")
        if any(name.endswith("/kernel") and len(tensor.spec.shape) == 2 for name, tensor in tensors.items()):
            notes.append("a dense kernel behind a flattened map keeps Theano's order of rows")
    return tensors, notes


def _name_layer(layer: str, datasets: Sequence[tuple[str, h5py.Dataset]], is_old: bool) -> list[str]:
    """Give one layer's tensors their Keras paths."""
    names = []
    for written, _ in datasets:
        name = written.removesuffix(":0")
        # Keras 3 puts a Sequential model's own name before its layers': sequential/dense/kernel.
        if f"/{layer}/" in name:
            name = name[name.index(f"/{layer}/") + 1 :]
        names.append(name)
    if not is_old or any(name.startswith(f"{layer}/") or role_of(name) != "other" for name in names):
        return names
    endings = [next((new for old, new in _KERAS_1.items() if name.endswith(old)), None) for name in names]
    shapes = [dataset.shape for _, dataset in datasets]
    if len(shapes) == 2 and len(shapes[0]) > 1 == len(shapes[1]) and shapes[1][0] in _outputs(shapes[0]):
        endings = ["kernel", "bias"]
    elif len(shapes) == 1 and len(shapes[0]) > 3 and _INITIALIZER.fullmatch(names[0]):
        endings = ["kernel"]
    elif len(shapes) == 1 and endings == ["kernel"] and "embedding" in layer:
        endings = ["embeddings"]
    return [f"{layer}/{end}" if end else name for name, end in zip(names, endings, strict=True)]


def _outputs(shape: tuple[int, ...]) -> tuple[int, int]:
    """Give the sizes of the axes that may be a kernel's output: Theano's first, TensorFlow's last."""
    return shape[0], shape[-1]


def _has_theano_order(layers: Sequence[Sequence[tuple[str, h5py.Dataset]]]) -> bool:
    """Tell whether a file's convolution kernels are (filters, channels, rows, columns), by their biases' lengths.

    Every layer with a convolution kernel and a bias must allow it, and at least one must rule out every order of
    TensorFlow's: (rows, columns, channels, filters), a transposed convolution's (rows, columns, filters,
    channels) and a depthwise one's (rows, columns, channels, multiplier). Else the file stays as it is stored.
    """
    ruled_out = False
    for datasets in layers:
        shapes = [dataset.shape for _, dataset in datasets]
        if len(shapes) != 2 or len(shapes[0]) not in (4, 5) or len(shapes[1]) != 1:
            continue
        if "depthwise" in datasets[0][0]:
            continue  # never in Theano's order; the number of rows may be the bias's length by chance
        (*_, before, last), (count,) = shapes
        if shapes[0][0] != count:
            return False
        ruled_out = ruled_out or count not in (last, before, before * last)
    return ruled_out


def _make_turn(axes: int, is_swapped: bool, is_rotated: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Make the function that puts a kernel's axes into TensorFlow's order and rotates it, as needed."""

    def turn(values: np.ndarray) -> np.ndarray:
        if is_swapped:
            values = values.transpose((*range(2, axes), 1, 0))
        if is_rotated:
            values = np.flip(values, tuple(range(axes - 2)))
        return values

    return turn


def _turned_reader(
    read: Callable[[], np.ndarray], turn: Callable[[np.ndarray], np.ndarray]
) -> Callable[[], np.ndarray]:
    """Give a function that reads a kernel and turns it."""
    return lambda: np.ascontiguousarray(turn(read()))


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
