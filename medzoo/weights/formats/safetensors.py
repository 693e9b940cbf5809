"""Safetensors files, whose keys are Keras paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import WeightsError
from medzoo.tensors import LazyTensor, TensorSpec, lazy_tensor, role_of

NAME = "safetensors"

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def read_headers(path: Path) -> dict[str, LazyTensor]:
    """Read the header through the safetensors library, which maps the file and checks every offset.

    Raises:
        WeightsError: the file is damaged, or holds a dtype that NumPy lacks.
    """
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = safe_open(path, framework="numpy")
        tensors = {}
        for name in file.offset_keys():  # the file's order; keys() sorts
            view = file.get_slice(name)
            if view.get_dtype() not in _DTYPES:
                raise WeightsError(f"{path} holds {view.get_dtype()} at {name!r}", "a dtype that NumPy has")
            spec = TensorSpec(name, tuple(view.get_shape()), _DTYPES[view.get_dtype()], role_of(name))
            tensors[name] = lazy_tensor(spec, lambda name=name: np.asarray(file.get_tensor(name)))  # type: ignore[misc]
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is a damaged safetensors file ({error})", "a whole file") from error
    return tensors
