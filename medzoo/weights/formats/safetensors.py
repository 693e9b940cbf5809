"""Safetensors files: names, shapes and places of the tensors are in a JSON header, the values behind it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medzoo.errors import WeightsError
from medzoo.tensors import LazyTensor, TensorSpec, lazy_tensor, role_of
from medzoo.weights.contents import Contents
from medzoo.weights.formats.byte_ranges import read_blocks, read_values

NAME = "safetensors"

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


def read_headers(path: Path) -> Contents:
    """Read the header, which the safetensors library checks first: every offset, and the file's length.

    Values are read from their places in the file, each tensor's once and into its own array. The header's
    `__metadata__` becomes `Contents.metadata`.

    Raises:
        WeightsError: the file is damaged, or holds a dtype that is not read.
    """
    header, data = _read_header(path)
    metadata = header.pop("__metadata__", None) or {}
    tensors = {}
    # In the order of the file; the header may be sorted by name.
    for name, entry in sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"])):
        if entry["dtype"] not in _DTYPES:
            raise WeightsError(
                f"{path} holds {entry['dtype']} at {name!r}",
                f"one of {', '.join(_DTYPES)}",
                "saving it as F32 where it was made",
            )
        spec = TensorSpec(name, tuple(entry["shape"]), _DTYPES[entry["dtype"]], role_of(name))
        tensors[name] = _open_tensor(path, data, entry["data_offsets"], spec)
    return Contents(tensors, metadata=metadata)


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Give the checked header, and the place of the first value.

    Raises:
        WeightsError: the library refuses the file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        # Opening maps the file and checks it; the library's own reading would hold every tensor twice.
        with safe_open(path, framework="numpy"):
            pass
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path} is a damaged safetensors file ({error})", "a whole file", "to copy or download it again"
        ) from error
    return header, 8 + length


def _open_tensor(path: Path, data: int, offsets: tuple[int, int], spec: TensorSpec) -> LazyTensor:
    """Give one tensor, unread."""
    start, length = data + offsets[0], offsets[1] - offsets[0]
    return lazy_tensor(
        spec,
        lambda: read_values(path, start, spec.size, spec.dtype).reshape(spec.shape),
        # A byte of a bool that is neither 0 nor 1 must not pass through.
        None if spec.dtype == "bool" else lambda: read_blocks(path, start, length),
    )
