"""PyTorch's tensors as views of storages: what a file says of one is checked, then its values are read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np

from medzoo.errors import WeightsError
from medzoo.tensors import LazyTensor, TensorSpec, lazy_tensor, role_of
from medzoo.weights.formats.byte_ranges import (
    Checksum,
    give_dtype,
    numpy_dtype,
    read_blocks,
    read_values,
)

#: A view that repeats its storage (a stride of 0) may unfold to this many bytes, whatever the storage's size.
LARGEST_UNFOLDED = 10**9

#: NumPy's arrays have no more axes.
MOST_AXES = 64

#: Bytes a value, by PyTorch's name of the dtype; those that are not read are listed to pass over their storages.
ITEM_SIZES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint64": 8,
    "uint32": 4,
    "uint16": 2,
    "uint8": 1,
    "bool": 1,
    "complex32": 4,
    "complex64": 8,
    "complex128": 16,
    "qint8": 1,
    "quint8": 1,
    "qint32": 4,
    "quint4x2": 1,
    "quint2x4": 1,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
}

READABLE = frozenset(name for name in ITEM_SIZES if not name.startswith(("complex", "q", "float8")))


class Sealed:
    """An object that a pickle can make, and then not change."""

    def __setstate__(self, state: object) -> None:
        """Refuse a state: without this, unpickling would write into the object's attributes."""
        raise UnpicklingError(f"a state for {type(self).__name__}, which takes none")


@dataclass(frozen=True, eq=False)
class Dtype(Sealed):
    """A dtype, or a typed storage's class, by PyTorch's name of the dtype."""

    name: str


@dataclass(frozen=True, eq=False)
class Storage(Sealed):
    """A run of values in the file: `count` of them under a key, of which a view takes `length` from `start`."""

    key: str
    dtype: str
    count: int
    start: int
    length: int


@dataclass(frozen=True, eq=False)
class Tensor(Sealed):
    """A tensor as the file describes it, unchecked; offset and strides count values."""

    storage: Storage
    dtype: str
    offset: object
    shape: object
    strides: object


@dataclass(frozen=True, eq=False)
class Unreadable(Sealed):
    """A tensor of a kind that is not read, such as `sparse`."""

    kind: str


@dataclass(frozen=True)
class Place:
    """Where a storage's bytes are: from `start` in a file, or given by `unfold` where they are compressed.

    `checksum` is their CRC-32, or 0 where there is none.
    """

    path: Path
    start: int
    size: int
    big_endian: bool = False
    unfold: Callable[[], bytearray] | None = None
    checksum: int = 0


def open_tensor(tensor: Tensor, name: str, place: Place) -> LazyTensor:
    """Check a tensor's description against its storage's bytes, and give it unread.

    Reading costs the tensor's bytes: a contiguous one is read in place, any other is copied from a map of the file.

    Raises:
        WeightsError: the description is damaged, claims more than the file holds, or is of a dtype not read.
    """
    path = place.path
    if tensor.dtype not in READABLE:
        raise WeightsError(
            f"{path} holds {tensor.dtype} at {name!r}",
            "real numbers, neither quantised nor of 8 bits",
            "saving it as float32 where it was made",
        )
    shape, strides = _whole_numbers(tensor.shape), _whole_numbers(tensor.strides)
    (offset,) = _whole_numbers((tensor.offset,)) or (-1,)
    item_size = ITEM_SIZES[tensor.dtype]
    known, start = ITEM_SIZES[tensor.storage.dtype], tensor.storage.start
    available = place.size // item_size
    limit = min(available, (start + tensor.storage.length) * known // item_size)
    if shape is None or strides is None or len(shape) != len(strides) or offset < 0:
        raise WeightsError(f"{path} describes {name!r} in a way that makes no tensor", "a whole file")
    first = start * known // item_size + offset
    # NumPy multiplies the lengths of an empty tensor's other axes, and none may pass what it can count.
    size, empty = math.prod(shape), math.prod(max(1, length) for length in shape)
    span = 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    if size and first + span > limit:
        raise WeightsError(f"{path} claims more values at {name!r} than it holds", "a whole file")
    if size * item_size > max(LARGEST_UNFOLDED, place.size) or empty >= 2**60:
        raise WeightsError(
            f"{path} claims {size * item_size:,} bytes at {name!r} and stores {place.size:,}",
            "a tensor that is not repeated over and over",
            "saving tensor.contiguous() where it was made",
        )
    read = _reader(place, tensor.dtype, first, span if size else 0, shape, strides)
    spec = TensorSpec(name, shape, tensor.dtype, role_of(name))
    is_plain = place.unfold is None and not place.big_endian and tensor.dtype != "bool"
    if not (is_plain and _is_contiguous(shape, strides)):
        return lazy_tensor(spec, read)
    length, checksum = size * item_size, _find_checksum(place, first, size * item_size)
    return lazy_tensor(
        spec, read, lambda: read_blocks(path, place.start + first * item_size, length, checksum)
    )


def _find_checksum(place: Place, first: int, length: int) -> Checksum | None:
    """Give the checksum of a tensor's bytes where they are the whole of its storage."""
    return Checksum(place.checksum) if place.checksum and (first, length) == (0, place.size) else None


def _whole_numbers(values: object) -> tuple[int, ...] | None:
    """Take up to 64 whole numbers from 0 on; None for anything else."""
    if not isinstance(values, tuple | list) or len(values) > MOST_AXES:
        return None
    return tuple(values) if all(type(value) is int and 0 <= value < 2**60 for value in values) else None


def _reader(
    place: Place, dtype: str, first: int, span: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> Callable[[], np.ndarray]:
    """Give a function that reads a checked tensor into a new contiguous array."""
    item_size = ITEM_SIZES[dtype]

    def read() -> np.ndarray:
        if span == 0:
            return np.empty(shape, numpy_dtype(dtype))
        start = place.start + first * item_size
        if place.unfold is None and _is_contiguous(shape, strides):
            checksum = _find_checksum(place, first, span * item_size)
            return read_values(place.path, start, span, dtype, place.big_endian, checksum).reshape(shape)
        if place.unfold is None:
            try:
                stored: np.ndarray = np.memmap(place.path, f"u{item_size}", "r", start, (span,))
            except (OSError, ValueError) as error:  # NumPy maps nothing beyond the file's end
                raise WeightsError(f"{place.path} can no longer be read", "the file as opened") from error
        else:
            stored = np.frombuffer(place.unfold(), f"u{item_size}", span, first * item_size)
        view = np.lib.stride_tricks.as_strided(stored, shape, [stride * item_size for stride in strides])
        return give_dtype(np.array(view, order="C", subok=False), dtype, place.big_endian)

    return read


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Tell whether values follow one another as in C; strides along axes of one value do not matter."""
    expected = 1
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length != 1 and stride != expected:
            return False
        expected *= length
    return True
