"""Writers of whole weights files, streamed: one tensor in memory at a time.

Every format is laid out first, as a file that is whole but for its values, and then filled: where each tensor's values
go is known before the first of them, and all else of the file is final.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np

from medzoo.errors import ConfigError, PlanError
from medzoo.tensors import Target, TensorSpec
from medzoo.weights.filling import Values as Values
from medzoo.weights.filling import count_bytes, fill
from medzoo.weights.formats.keras_v3 import PATH_ATTRIBUTE

Tensors = Iterable[tuple[str, Values]]
Writer = Callable[[Path, Target, Tensors, Mapping[str, str]], None]

#: (path, target, provenance) → each tensor's first byte in the file, which is there but for the tensors' values.
LayOut = Callable[[Path, Target, Mapping[str, str]], Mapping[str, int]]

#: The endings of the files that are written; the first that fits decides.
SUFFIXES = (".weights.h5", ".safetensors", ".h5")

#: The attribute of an HDF5 file that holds where its tensors came from, as JSON.
PROVENANCE_ATTRIBUTE = "medzoo"

_SAFETENSORS_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}

#: HDF5 keeps an object's attributes in 64 kB; Keras splits longer lists of names over numbered attributes.
_ATTRIBUTE_BYTES = 64_512


def find_writer(path: Path) -> Writer:
    """Find the writer for a path by its suffix.

    Raises:
        ConfigError: no writer for that suffix.
    """
    writers = {".weights.h5": write_keras, ".safetensors": write_safetensors, ".h5": write_legacy}
    return writers[find_suffix(path)]


def find_layout(path: Path) -> LayOut:
    """Find what lays a file out, by its path's suffix; `medzoo.weights.filling` then fills it.

    Raises:
        ConfigError: nothing for that suffix.
    """
    layouts = {".weights.h5": lay_out_keras, ".safetensors": lay_out_safetensors, ".h5": lay_out_legacy}
    return layouts[find_suffix(path)]


def find_suffix(path: Path) -> str:
    """Find which of the known endings a path has.

    Raises:
        ConfigError: none of them.
    """
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return suffix
    raise ConfigError(
        f"output {path.name!r}", f"a name ending in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
    )


def write_keras(path: Path, target: Target, tensors: Tensors, provenance: Mapping[str, str]) -> None:
    """Write a `.weights.h5` that `keras.Model.load_weights` of the target's model restores exactly.

    Raises:
        PlanError: the target's place of each tensor in such a file is not known, or the tensors are not its own.
    """
    fill(path, lay_out_keras(path, target, provenance), target.tensors, tensors)


def lay_out_keras(path: Path, target: Target, provenance: Mapping[str, str]) -> dict[str, int]:
    """Lay out a `.weights.h5` and give each tensor's first byte.

    Raises:
        PlanError: the target's place of each tensor in such a file is not known, or HDF5 cannot hold one.
    """
    if len(target.storage) != len(target.tensors):
        raise PlanError(
            "this model's layout in a .weights.h5 is not known",
            "a functional or sequential model",
            "--out FILE.safetensors, or medzoo.apply and model.save_weights",
        )
    _check_tensors(target)
    with h5py.File(path, "w") as file:
        file.attrs[PROVENANCE_ATTRIBUTE] = json.dumps(dict(provenance))
        places = {}
        for name, spec in target.tensors.items():
            dataset = _make_room(file, target.storage[name], spec)
            dataset.attrs[PATH_ATTRIBUTE] = name
            dataset.parent.attrs["name"] = name.rpartition("/")[0]
            places[name] = dataset.id.get_offset() or 0
    return places


def _make_room(group: h5py.Group, name: str, spec: TensorSpec) -> h5py.Dataset:
    """Make a dataset that has its bytes in the file at once, whatever they hold until they are filled."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_layout(h5py.h5d.CONTIGUOUS)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    links.set_char_encoding(h5py.h5t.CSET_UTF8)
    kind = h5py.h5t.py_create(np.dtype(spec.dtype).newbyteorder("<"), logical=True)
    space = h5py.h5s.create_simple(spec.shape) if spec.shape else h5py.h5s.create(h5py.h5s.SCALAR)
    return h5py.Dataset(h5py.h5d.create(group.id, name.encode(), kind, space, settings, links))


def write_legacy(path: Path, target: Target, tensors: Tensors, provenance: Mapping[str, str]) -> None:
    """Write the `.h5` layout of Keras 1 and 2: a group a layer, in the target's order, names with `:0`.

    `load_weights` of TensorFlow up to 2.15 reads it, by order or `by_name=True`. Within a layer it always goes by
    order, so that variables stand in the order in which Keras's layers make them, whatever the target's.

    Raises:
        PlanError: a tensor without a layer, of a dtype that HDF5 lacks, or the tensors are not the target's.
    """
    fill(path, lay_out_legacy(path, target, provenance), target.tensors, tensors)


def lay_out_legacy(path: Path, target: Target, provenance: Mapping[str, str]) -> dict[str, int]:
    """Lay out an `.h5` of Keras 1 and 2 and give each tensor's first byte.

    Raises:
        PlanError: a tensor without a layer, or of a dtype that HDF5 lacks.
    """
    layers: dict[str, list[str]] = {}
    _check_tensors(target)
    for name in target.tensors:
        layer = name.split("/")[0]
        if layer == name:
            reason = "has no layer"
            raise PlanError(f"{name!r} {reason}", "float32 tensors of named layers", "a name in .safetensors")
        layers.setdefault(layer, []).append(name)
    with h5py.File(path, "w") as file:
        file.attrs[PROVENANCE_ATTRIBUTE] = json.dumps(dict(provenance))
        # Keras 2 reads a file without these as Keras 1's, whose kernels it would turn round.
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.15.0"
        _write_names(file, "layer_names", list(layers))
        for layer, names in layers.items():
            ordered = sorted(names, key=_variable_rank)
            _write_names(file.create_group(layer), "weight_names", [f"{name}:0" for name in ordered])
        places = {}
        for name, spec in target.tensors.items():
            place = f"{name.split('/')[0]}/{name}:0"
            places[name] = _make_room(file, place, spec).id.get_offset() or 0
    return places


#: The order in which Keras's layers make their variables, by kind of layer.
_VARIABLE_ORDER = (
    *("gamma", "beta", "moving_mean", "moving_variance"),
    *("depthwise_kernel", "pointwise_kernel", "kernel", "recurrent_kernel", "embeddings", "bias"),
)


def _variable_rank(name: str) -> tuple[str, int]:
    """Sort one layer's variables as Keras makes them; unknown ones stay last, in the order they came in."""
    inner, _, variable = name.rpartition("/")
    known = variable in _VARIABLE_ORDER
    return inner, _VARIABLE_ORDER.index(variable) if known else len(_VARIABLE_ORDER)


def _check_tensors(target: Target) -> None:
    """Refuse what an HDF5 file cannot hold.

    Raises:
        PlanError: a dtype that HDF5 lacks, or a name that is no path.
    """
    for name, spec in target.tensors.items():
        if spec.dtype == "bfloat16":
            raise PlanError(f"{name!r} is bfloat16", "a dtype that HDF5 has", "a name in .safetensors")
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise PlanError(f"{name!r} is no path of groups", "layer/variable", "a name in .safetensors")


def _write_names(group: h5py.Group, attribute: str, names: list[str]) -> None:
    """Write a list of names as Keras does, over several attributes where one is too small."""
    encoded = [name.encode() for name in names]
    width = max(map(len, encoded), default=1)
    step = max(1, _ATTRIBUTE_BYTES // width)
    chunks = [np.asarray(encoded[start : start + step], f"S{width}") for start in range(0, len(names), step)]
    for index, chunk in enumerate(chunks):
        group.attrs[attribute if len(chunks) == 1 else f"{attribute}{index}"] = chunk


def write_safetensors(path: Path, target: Target, tensors: Tensors, provenance: Mapping[str, str]) -> None:
    """Write a `.safetensors` whose keys are the target's names; the library's own writer would hold all of them.

    Raises:
        PlanError: a dtype that the format lacks, or the tensors are not the target's.
    """
    fill(path, lay_out_safetensors(path, target, provenance), target.tensors, tensors)


def lay_out_safetensors(path: Path, target: Target, provenance: Mapping[str, str]) -> dict[str, int]:
    """Lay out a `.safetensors` and give each tensor's first byte.

    Raises:
        PlanError: a dtype that the format lacks, or a name that it keeps for itself.
    """
    header: dict[str, object] = {"__metadata__": dict(provenance)}
    starts = {}
    offset = 0
    for name, spec in target.tensors.items():
        if name in header:
            raise PlanError(
                f"a tensor is called {name!r}", "another name, which safetensors keeps for itself"
            )
        if spec.dtype not in _SAFETENSORS_DTYPES:
            raise PlanError(
                f"{name!r} is {spec.dtype}", "a dtype that safetensors has", "--out FILE.weights.h5"
            )
        length = count_bytes(spec)
        header[name] = {
            "dtype": _SAFETENSORS_DTYPES[spec.dtype],
            "shape": list(spec.shape),
            "data_offsets": [offset, offset + length],
        }
        starts[name] = offset
        offset += length
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the data to 8 bytes
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little"))
        stream.write(text)
        stream.truncate(8 + len(text) + offset)
    return {name: 8 + len(text) + start for name, start in starts.items()}


def amend_provenance(path: Path, provenance: Mapping[str, str]) -> None:
    """Replace the provenance in a file that was just written by one that is not longer.

    A source is hashed while it is converted, so that its digest is known only after its last tensor.
    """
    if find_suffix(path) != ".safetensors":
        with h5py.File(path, "r+") as file:
            file.attrs[PROVENANCE_ATTRIBUTE] = json.dumps(dict(provenance))
        return
    with path.open("rb+") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length)) | {"__metadata__": dict(provenance)}
        stream.seek(8)
        stream.write(json.dumps(header).encode().ljust(length))
