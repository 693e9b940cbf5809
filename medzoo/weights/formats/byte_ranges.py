"""Values read straight from a span of a file, and where a zip archive's members begin."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from medzoo.blocks import run_blocks
from medzoo.errors import WeightsError
from medzoo.moments import MEASURING_BLOCK, Moments, TakePart, measure_parts
from medzoo.weights.formats.checksums import join_checksums

#: Beyond 100 MB, a compressed member may not unfold to more than 1000 times its size: no weights shrink so far.
LARGEST_STEEP, STEEPEST = 100_000_000, 1000

#: Bytes read at once; they are still in the processor's cache when they are checked and passed on.
BLOCK = 2**20

#: Bytes that one thread reads and checks of a tensor before it takes its next share.
_SHARE = 4 * BLOCK

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
        values = np.empty(count, f"u{wanted.itemsize}")
        found = _read_into(values.view(np.uint8).data, path, start, checksum is not None)
    except (OSError, EOFError) as error:
        raise WeightsError(
            f"{path} can no longer be read at byte {start}", "the file as it was when opened"
        ) from error
    if checksum is not None and join_checksums(checksum.before, found, values.nbytes) != checksum.expected:
        raise _damage(path, start)
    return give_dtype(values, dtype, big_endian)


def _read_into(room: memoryview, path: Path, start: int, is_checked: bool) -> int:
    """Read a span of a file into memory, in several threads, and give its CRC-32 (0 where it is not wanted).

    Raises:
        OSError, EOFError: it cannot be read, or ends before.
    """

    def read_share(share: int) -> tuple[int, int]:
        part = room[share * _SHARE : (share + 1) * _SHARE]
        found = 0
        with path.open("rb", buffering=0) as stream:
            stream.seek(start + share * _SHARE)
            for begin in range(0, len(part), BLOCK):
                block = part[begin : begin + BLOCK]
                if _read_whole(stream, block) < len(block):
                    raise EOFError
                if is_checked:
                    found = zlib.crc32(block, found)
        return found, len(part)

    total = 0
    for found, length in run_blocks(read_share, -(-len(room) // _SHARE)):
        total = join_checksums(total, found, length) if is_checked else 0
    return total


def _read_whole(stream: IO[bytes], room: memoryview) -> int:
    """Read into memory until it is full or the file ends, and count the bytes; a raw file may give fewer at once."""
    count = 0
    while count < len(room) and (more := stream.readinto(room[count:])):  # type: ignore[attr-defined]
        count += more
    return count


def read_blocks(
    path: Path, start: int, length: int, checksum: Checksum | None = None
) -> Iterator[memoryview]:
    """Read a span of a file through one small buffer, which stays in the processor's cache.

    Every block but the last is `BLOCK` bytes long, so that none ends within a value.

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
                count = min(left, BLOCK)
                if _read_whole(stream, buffer[:count]) < count:
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


def measure_values(
    path: Path, start: int, count: int, dtype: str, checksum: Checksum | None = None
) -> Moments:
    """Measure `count` little-endian values that begin at a byte of a file, without ever holding all of them.

    Raises:
        WeightsError: the file cannot be read, ends before, or the values are not those of the checksum.
    """
    wanted = numpy_dtype(dtype).newbyteorder("<")
    size = MEASURING_BLOCK * wanted.itemsize
    found: dict[int, int] = {}

    @contextmanager
    def open_block(block: int) -> Iterator[TakePart]:
        """Open a block; the first time, its checksum is noted once all of it was taken."""
        is_new = checksum is not None and block not in found
        total = 0
        buffer = memoryview(bytearray())

        def take_part(begin: int, room: np.ndarray) -> None:
            nonlocal total, buffer
            length = room.size * wanted.itemsize
            if len(buffer) < length:
                buffer = memoryview(bytearray(length))
            stream.seek(start + begin * wanted.itemsize)
            if _read_whole(stream, buffer[:length]) < length:
                raise EOFError
            if is_new:
                total = zlib.crc32(buffer[:length], total)
            np.copyto(room, np.frombuffer(buffer[:length], wanted))

        with path.open("rb", buffering=0) as stream:
            yield take_part
        if is_new:
            found[block] = total

    try:
        moments = measure_parts(count, open_block)
    except (OSError, EOFError) as error:
        raise WeightsError(
            f"{path} can no longer be read at byte {start}", "the file as it was when opened"
        ) from error
    if checksum is not None:
        total = checksum.before
        for block in range(len(found)):
            total = join_checksums(total, found[block], min(size, count * wanted.itemsize - block * size))
        if total != checksum.expected:
            raise _damage(path, start)
    return moments


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
