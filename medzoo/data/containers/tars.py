"""Tar archives: plain ones read in place, compressed ones from memory."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from medzoo.data.containers.folder import is_sidecar
from medzoo.data.containers.members import Member, check_size, clean_name
from medzoo.errors import DataError

BLOB_LIMIT = 2 * 10**9  # bytes that a compressed archive may unpack to in memory
END_BLOCK = bytes(tarfile.BLOCKSIZE)  # what closes a tar
MAGICS: Mapping[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}

#: What the readers raise for a broken file.
BROKEN = (
    *(tarfile.TarError, EOFError, OverflowError, ValueError),
    *(struct.error, zlib.error, lzma.LZMAError),
)


def list_tar(path: Path) -> list[Member]:
    """List a tar's visible files: their places in a plain one, their bytes from a compressed one.

    Which of the two it is, its first bytes say and not its name.  Raises DataError for what cannot or should
    not be read, OSError where the file cannot be.
    """
    with path.open("rb") as stream:
        start = stream.read(8)
    unpack = next((opener for magic, opener in MAGICS.items() if start.startswith(magic)), None)
    try:
        if unpack is None:
            return list_plain(path)
        with unpack(path, "rb") as content:
            return load_members(path, content)
    except BROKEN as error:
        raise DataError(f"cannot read {path}: {error}", "a whole tar archive", "fetching it again") from error


def list_plain(path: Path) -> list[Member]:
    """Find the place of every visible file in an uncompressed tar."""
    members = []
    size = path.stat().st_size
    with tarfile.open(path, "r:") as archive:
        for entry in archive:
            name = check_entry(entry, path)
            if entry.offset_data + entry.size > size:
                raise DataError(
                    f"{path} ends within {entry.name!r}", "a whole tar archive", "fetching it again"
                )
            if name:
                members.append(Member(name, entry.offset_data, entry.size, entry.size))
                check_size(members[-1], path)
        end = archive.offset
    # Cut between two members, a tar looks whole but for the block that closes it.
    with path.open("rb") as stream:
        stream.seek(end)
        if stream.read(tarfile.BLOCKSIZE) != END_BLOCK:
            raise DataError(f"{path} ends before its end mark", "a whole tar archive", "fetching it again")
    return members


def load_members(path: Path, content: IO[bytes]) -> list[Member]:
    """Load every visible file but texts from a compressed tar, whose members have no place of their own."""
    members = []
    total = 0
    with tarfile.open(fileobj=content, mode="r|") as archive:
        for entry in archive:
            name = check_entry(entry, path)
            total += entry.size
            if total > BLOB_LIMIT:
                raise DataError(
                    f"{path} unpacks to more than {BLOB_LIMIT:,} bytes",
                    "a compressed archive that fits the memory, or an uncompressed one, which is read in place",
                    f"unpacking it: tar -xf {path}",
                )
            if not name or is_sidecar(name):
                continue
            stream = archive.extractfile(entry)
            blob = stream.read() if stream is not None else b""
            if len(blob) != entry.size:
                raise EOFError(f"it ends within {entry.name!r}")
            members.append(Member(name, 0, entry.size, entry.size, content=blob))
    while rest := content.read(2**20):  # to the checksum, which tells a whole file from a cut one
        total += len(rest)
        if total > BLOB_LIMIT:
            raise DataError(f"{path} goes on after its end mark", "a whole tar archive")
    return members


def check_entry(entry: tarfile.TarInfo, path: Path) -> str:
    """Give the name of a tar's file, or "" for a folder or a hidden file; refuse all else."""
    name = clean_name(entry.name, path)
    if entry.size < 0:  # tarfile itself would go back and read the same members without end
        raise DataError(f"{path}: {entry.name!r} has {entry.size} bytes", "a whole tar archive")
    if not name or entry.isdir():
        return ""
    if not entry.isfile() or entry.issparse():
        kind = "a link" if entry.issym() or entry.islnk() else "no plain file"
        raise DataError(f"{path}: {entry.name!r} is {kind}", "files and folders", "unpacking it to a folder")
    return name
