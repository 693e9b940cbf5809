"""Writers of whole weights files, streamed: one tensor in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from medzoo.errors import ConfigError, PlanError
from medzoo.tensors import Target
from medzoo.weights.formats.keras_v3 import PATH_ATTRIBUTE

Tensors = Iterable[tuple[str, np.ndarray]]
#: A tensor's values, or their bytes (little-endian, C order) block by block where they only pass through.
Values = np.ndarray | Iterator[memoryview]
Writer = Callable[[Path, Target, Tensors, Mapping[str, str]], None]

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
        PlanError: the target's place of each tensor in such a file is not known.
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
        for name, values in tensors:
            dataset = file.create_dataset(target.storage[name], data=values)
            dataset.attrs[PATH_ATTRIBUTE] = name
            dataset.parent.attrs["name"] = name.rpartition("/")[0]


def write_legacy(path: Path, target: Target, tensors: Tensors, provenance: Mapping[str, str]) -> None:
    """Write the `.h5` layout of Keras 1 and 2: a group a layer, in the target's order, names with `:0`.

    `load_weights` of TensorFlow up to 2.15 reads it, by order or `by_name=True`. Within a layer it always goes by
    order, so that variables stand in the order in which Keras's layers make them, whatever the target's.

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
        for name, values in tensors:
            file[name.split("/")[0]].create_dataset(f"{name}:0", data=values)


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


def write_safetensors(
    path: Path, target: Target, tensors: Iterable[tuple[str, Values]], provenance: Mapping[str, str]
) -> None:
    """Write a `.safetensors` whose keys are the target's names; the library's own writer would hold all of them.

    Raises:
        PlanError: a dtype that the format lacks.
    """
    header: dict[str, object] = {"__metadata__": dict(provenance)}
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
        length = spec.size * (2 if spec.dtype == "bfloat16" else np.dtype(spec.dtype).itemsize)
        header[name] = {
            "dtype": _SAFETENSORS_DTYPES[spec.dtype],
            "shape": list(spec.shape),
            "data_offsets": [offset, offset + length],
        }
        offset += length
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the data to 8 bytes
    expected = iter(target.tensors)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little"))
        stream.write(text)
        for name, values in tensors:
            if name != next(expected):
                raise PlanError(f"tensor {name!r} came out of order", "the target's order")
            if not isinstance(values, np.ndarray):
                for block in values:
                    stream.write(block)
                continue
            if values.dtype.byteorder == ">":
                values = values.astype(values.dtype.newbyteorder("<"))
            spec = target.tensors[name]
            if (values.shape, values.dtype.name) != (spec.shape, spec.dtype):
                raise PlanError(
                    f"{name!r} has {values.dtype} values of shape {values.shape}",
                    f"{spec.dtype} of shape {spec.shape}, as its header says",
                )
            # A view of the bytes, not a copy of them: a tensor may be as large as half the memory.
            stream.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)


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
