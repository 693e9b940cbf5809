"""Values read straight from a span of a file, and where a zip archive's members begin."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from medzoo.errors import WeightsError

#: Beyond 100 MB, a compressed member may not unfold to more than 1000 times its size: no weights shrink so far.
LARGEST_STEEP, STEEPEST = 100_000_000, 1000

#: Bytes read at once where values only pass through.
BLOCK = 2**20

#: What zipfile and zlib raise on damaged archives.
ZIP_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,
    NotImplementedError,
    OverflowError,
)


def numpy_dtype(name: str) -> np.dtype:
    """Give the dtype of a name, `bfloat16` included, which NumPy itself lacks.

    >>> numpy_dtype("float16").itemsize
    2
    """
    if name == "bfloat16":
        import ml_dtypes

        found: np.dtype = np.dtype(ml_dtypes.bfloat16)
        return found
    return np.dtype(name)


@dataclass(frozen=True)
class Checksum:
    """The CRC-32 that an archive gives of a member, and that of the bytes before the values, if there are any."""

    expected: int
    before: int = 0


def read_values(
    path: Path,
    start: int,
    count: int,
    dtype: str,
    big_endian: bool = False,
    checksum: Checksum | None = None,
) -> np.ndarray:
    """Read `count` values that begin at a byte of a file into a new, flat array; nothing else is held.

    Raises:
        WeightsError: the file cannot be read, ends before, or the values are not those of the checksum.
    """
    if count == 0:
        return np.empty(0, numpy_dtype(dtype))
    wanted = numpy_dtype(dtype)
    try:
        # NumPy makes room for what is asked for before it reads, so that a file cut since would cost memory.
        if start + count * wanted.itemsize > path.stat().st_size:
            raise EOFError
        values = np.fromfile(path, f"u{wanted.itemsize}", count, offset=start)
    except (OSError, EOFError) as error:
        raise WeightsError(
            f"{path} can no longer be read at byte {start}", "the file as it was when opened"
        ) from error
    if values.size != count:
        raise WeightsError(f"{path} ends within the values from byte {start}", "a whole file")
    if checksum is not None and zlib.crc32(values.data, checksum.before) != checksum.expected:
        raise WeightsError(
            f"{path} is damaged in the values from byte {start}",
            "a whole file",
            "to copy or download it again",
        )
    return give_dtype(values, dtype, big_endian)


def read_blocks(
    path: Path, start: int, length: int, checksum: Checksum | None = None
) -> Iterator[memoryview]:
    """Read a span of a file through one small buffer, which stays in the processor's cache.

    Raises:
        WeightsError: the file cannot be read, ends before, or the bytes are not those of the checksum.
    """
    buffer = memoryview(bytearray(min(length, BLOCK)))
    found = checksum.before if checksum else 0
    try:
        with path.open("rb", buffering=0) as stream:
            stream.seek(start)
            left = length
            while left:
                count = stream.readinto(buffer[: min(left, BLOCK)]) or 0
                if count == 0:
                    raise WeightsError(f"{path} ends within the values from byte {start}", "a whole file")
                if checksum is not None:
                    found = zlib.crc32(buffer[:count], found)
                left -= count
                yield buffer[:count]
    except OSError as error:
        raise WeightsError(
            f"{path} can no longer be read at byte {start}", "the file as it was when opened"
        ) from error
    if checksum is not None and found != checksum.expected:
        raise _damage(path, start)


def _damage(path: Path, start: int) -> WeightsError:
    """Give the error for values that are not those of their checksum."""
    return WeightsError(
        f"{path} is damaged in the values from byte {start}", "a whole file", "to copy or download it again"
    )


def give_dtype(values: np.ndarray, dtype: str, big_endian: bool = False) -> np.ndarray:
    """Take whole numbers of the right size, owned by the caller, as the bytes of another dtype, in place."""
    if big_endian:
        values.byteswap(inplace=True)
    if dtype == "bool":
        np.minimum(values, 1, out=values)  # any other byte would be a truth value that NumPy cannot compare
    return values.view(numpy_dtype(dtype))


def locate_member(stream: IO[bytes], entry: zipfile.ZipInfo, path: Path) -> int:
    """Find where a stored member's bytes begin: behind its own header, whose length the directory lacks.

    `stream` is the archive's file, opened for reading.

    Raises:
        WeightsError: the header is not there, or the bytes reach past the end of the file.
    """
    size = stream.seek(0, io.SEEK_END)
    stream.seek(min(entry.header_offset, size))
    header = stream.read(30)
    if len(header) == 30:
        signature, name_length, extra_length = struct.unpack("<4s22xHH", header)
        start: int = entry.header_offset + len(header) + name_length + extra_length
        is_whole = entry.compress_size == entry.file_size and start + entry.file_size <= size
        if signature == b"PK\x03\x04" and is_whole:
            return start
    raise WeightsError(
        f"{path} is damaged at {entry.filename!r}", "a whole file", "to copy or download it again"
    )


def read_member(archive: zipfile.ZipFile, stream: IO[bytes], entry: zipfile.ZipInfo, path: Path) -> bytes:
    """Read a small member whole.

    A checksum of 0 was not computed: PyTorch leaves it out where it is told to save time.

    Raises:
        WeightsError: the member is damaged.
        BadZipFile: so is a compressed one.
    """
    if entry.compress_type != zipfile.ZIP_STORED:
        return archive.read(entry)
    stream.seek(locate_member(stream, entry, path))
    content = stream.read(entry.file_size)
    if entry.CRC and zlib.crc32(content) != entry.CRC:
        raise WeightsError(
            f"{path} is damaged at {entry.filename!r}", "a whole file", "to copy or download it again"
        )
    return content


def check_members(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse an archive whose members share a name, lead out of it, are locked or claim what they cannot hold.

    Raises:
        WeightsError: a member is so.
    """
    names: set[str] = set()
    for entry in archive.infolist():
        name = entry.filename
        if name in names:
            raise WeightsError(f"{path} holds {name!r} twice", "unique names")
        names.add(name)
        if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or name[1:2] == ":":
            raise WeightsError(f"{path} holds a member named {name!r}", "names that stay in the archive")
        if entry.flag_bits & 1:
            raise WeightsError(f"{path} is encrypted at {name!r}", "an archive that needs no password")
        if entry.compress_type == zipfile.ZIP_STORED:
            continue
        if entry.file_size > max(LARGEST_STEEP, STEEPEST * entry.compress_size):
            raise WeightsError(
                f"{path} claims {entry.file_size:,} bytes at {name!r} and stores {entry.compress_size:,}",
                "weights, which do not shrink so far",
                "to save it again uncompressed, where it was made",
            )
