"""Writers of whole weights files, streamed: one tensor in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np

from medzoo.errors import ConfigError, PlanError
from medzoo.tensors import Target
from medzoo.weights.formats.keras_v3 import PATH_ATTRIBUTE

Tensors = Iterable[tuple[str, np.ndarray]]
Writer = Callable[[Path, Target, Tensors, Mapping[str, str]], None]

_SAFETENSORS_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "uint8": "U8",
    "bool": "BOOL",
}


def find_writer(path: Path) -> Writer:
    """Find the writer for a path by its suffix.

    Raises:
        ConfigError: no writer for that suffix.
    """
    if path.name.endswith(".weights.h5"):
        return write_keras
    if path.name.endswith(".safetensors"):
        return write_safetensors
    raise ConfigError(f"output {path.name!r}", "a name ending in .weights.h5 or .safetensors")


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
    with h5py.File(path, "w") as file:
        file.attrs["medzoo"] = json.dumps(dict(provenance))
        for name, values in tensors:
            dataset = file.create_dataset(target.storage[name], data=values)
            dataset.attrs[PATH_ATTRIBUTE] = name
            dataset.parent.attrs["name"] = name.rpartition("/")[0]


def write_safetensors(path: Path, target: Target, tensors: Tensors, provenance: Mapping[str, str]) -> None:
    """Write a `.safetensors` whose keys are Keras paths; the library's own writer would hold all of them.

    Raises:
        PlanError: a dtype that the format lacks.
    """
    header: dict[str, object] = {"__metadata__": dict(provenance)}
    offset = 0
    for name, spec in target.tensors.items():
        if spec.dtype not in _SAFETENSORS_DTYPES:
            raise PlanError(
                f"{name!r} is {spec.dtype}", "a dtype that safetensors has", "--out FILE.weights.h5"
            )
        length = spec.size * np.dtype(spec.dtype).itemsize
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
            stream.write(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
