"""NumPy `.npz` archives: one member a tensor, named by Keras paths (`conv1/kernel.npy`)."""

from __future__ import annotations

import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np

from medzoo.errors import WeightsError
from medzoo.tensors import LazyTensor, TensorSpec, lazy_tensor, role_of
from medzoo.weights.contents import Contents
from medzoo.weights.formats.byte_ranges import (
    ZIP_DAMAGE,
    Checksum,
    check_members,
    locate_member,
    measure_values,
    read_blocks,
    read_values,
)

NAME = "npz"

#: NumPy's headers take about 120 bytes; a longer one describes a structure, and could claim 4 GB.
LONGEST_HEADER = 2**16

#: What zipfile, zlib and NumPy (which parses headers as Python literals) raise on a damaged archive.
_DAMAGE = (*ZIP_DAMAGE, tokenize.TokenError, SyntaxError, MemoryError)


@dataclass(frozen=True)
class _Header:
    """What a member's header says, and its own length in bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype
    is_fortran: bool
    length: int


def read_headers(path: Path) -> Contents:
    """Read each member's NumPy header; values are read one member at a time, object arrays never.

    Raises:
        WeightsError: the archive is damaged or claims more than it can hold, or a member is no array of numbers.
    """
    try:
        archive = zipfile.ZipFile(path)
        if not any(entry.endswith(".npy") for entry in archive.namelist()):
            raise WeightsError(
                f"{path} is a zip archive without NumPy arrays",
                "an .npz file",
                "model.save_weights(…) for a .keras archive",
            )
        check_members(archive, path)
        tensors = {}
        with path.open("rb") as file:
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                if name in tensors:
                    raise WeightsError(f"{path} holds {name!r} twice", "unique names")
                with archive.open(entry) as stream:
                    header = _read_header(stream)
                _check_header(header, entry, name, path)
                # Values are given in the machine's own byte order, whatever the file's.
                spec = TensorSpec(name, header.shape, header.dtype.newbyteorder("=").name, role_of(name))
                if entry.compress_type == zipfile.ZIP_STORED:
                    start = locate_member(file, entry, path)
                    file.seek(start)
                    checksum = Checksum(entry.CRC, zlib.crc32(file.read(header.length)))
                    start += header.length
                    tensors[name] = _open_stored(path, start, header, spec, checksum)
                else:
                    tensors[name] = lazy_tensor(spec, _compressed_reader(archive, entry, spec, path))
    except _DAMAGE as error:
        raise WeightsError(
            f"{path} is a damaged .npz file ({error})", "a whole file", "to copy or download it again"
        ) from error
    if all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist()):
        archive.close()  # values are read from the file itself
    return Contents(tensors)


def _read_header(stream: IO[bytes]) -> _Header:
    """Read shape and dtype from a member's first bytes.

    Raises:
        ValueError: it is no NumPy array, or its header is longer than any real one.
    """
    start = stream.read(8)
    version = np.lib.format.read_magic(io.BytesIO(start))
    count = stream.read(2 if version == (1, 0) else 4)
    length = int.from_bytes(count, "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"a header of {length:,} bytes")
    content = io.BytesIO(count + stream.read(length))
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(content)
    return _Header(shape, dtype, is_fortran, len(start) + len(count) + length)


def _check_header(header: _Header, entry: zipfile.ZipInfo, name: str, path: Path) -> None:
    """Refuse what is no array of numbers, and a header that claims more than the member holds.

    Raises:
        WeightsError: the header is so.
    """
    dtype = header.dtype
    if dtype.kind == "V" and dtype.names is None and dtype.itemsize == 2:
        raise WeightsError(
            f"{path} holds values of 2 raw bytes at {name!r}, as NumPy writes bfloat16",
            "arrays of numbers",
            "saving them as .safetensors, or values.astype('float32')",
        )
    if dtype.kind not in "fiub" or dtype.name in ("float96", "float128", "longdouble"):
        raise WeightsError(f"{path} holds {dtype} at {name!r}", "arrays of numbers")
    size = header.length + math.prod(header.shape) * dtype.itemsize
    room = math.prod(max(1, length) for length in header.shape) * dtype.itemsize
    if min(header.shape, default=0) < 0 or size != entry.file_size or room >= 2**62:
        raise WeightsError(f"{path} holds a header at {name!r} that its data do not fit", "a whole file")


def _open_stored(path: Path, start: int, header: _Header, spec: TensorSpec, checksum: Checksum) -> LazyTensor:
    """Give an uncompressed member, to be read from its place in the file."""
    is_big = header.dtype.newbyteorder("=") != header.dtype

    def read() -> np.ndarray:
        values = read_values(path, start, spec.size, spec.dtype, is_big, checksum)
        if header.is_fortran:
            return values.reshape(spec.shape[::-1]).transpose()
        return values.reshape(spec.shape)

    if is_big or header.is_fortran or spec.dtype == "bool":
        return lazy_tensor(spec, read)
    length = spec.size * header.dtype.itemsize
    tensor = lazy_tensor(spec, read, lambda: read_blocks(path, start, length, checksum))
    return replace(tensor, moments=lambda: measure_values(path, start, spec.size, spec.dtype, checksum))


def _compressed_reader(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, spec: TensorSpec, path: Path
) -> Callable[[], np.ndarray]:
    """Give a function that reads one compressed member; the archive checks its CRC."""

    def read() -> np.ndarray:
        try:
            with archive.open(entry) as stream:
                values = np.lib.format.read_array(stream, allow_pickle=False)
                if values.shape != spec.shape:
                    raise ValueError("another header than when it was opened")
                return values.astype(spec.dtype, copy=False)
        except _DAMAGE as error:
            raise WeightsError(f"{path} is damaged at {entry.filename!r}", "a whole file") from error

    return read
