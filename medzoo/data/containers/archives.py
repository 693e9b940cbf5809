"""Zip and tar archives of class folders, read in place: nothing is unpacked to disk."""

from __future__ import annotations

import itertools
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medzoo.data.bundle import Bundle
from medzoo.data.containers.folder import DICOM_START, arrange_images, is_dicom_start, is_sidecar
from medzoo.data.containers.members import Member, check_size, clean_name
from medzoo.data.containers.tars import list_tar
from medzoo.data.dataset import Listing
from medzoo.data.splitting.splits import ALIASES
from medzoo.errors import DataError

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tbz")
ENCRYPTED = 0x1 | 0x40 | 0x2000  # a zip member's flags: encrypted, strongly, with its directory
LOCAL_HEADER = struct.Struct("<4s22xHH")  # a zip member's, up to the lengths of its name and extra field
LOCAL_MARK = b"PK\x03\x04"


def is_archive(path: Path) -> bool:
    """Tell whether a file's name is that of an archive read here.

    >>> is_archive(Path("pets.TAR.gz")), is_archive(Path("pets.npz"))
    (True, False)
    """
    return path.name.lower().endswith(ENDINGS)


def list_members(path: Path) -> dict[str, Member]:
    """List the images of a zip or tar archive by their names.

    Raises DataError for a broken, encrypted or dangerous archive, and for a name that comes twice.
    """
    try:
        members = list_zip(path) if path.name.lower().endswith(".zip") else list_tar(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"cannot read {path}: {reason}", "a whole zip or tar archive") from error
    known = {member.name: member for member in members}
    if len(known) < len(members):
        names = sorted(member.name for member in members)
        twice = next(name for name, after in itertools.pairwise(names) if name == after)
        raise DataError(f"{path} holds {twice!r} twice", "each name once")
    return known


def read_archive(path: Path) -> Listing:
    """List the images of a zip or tar archive: class/… or split/class/…, with the rules of folders.

    An image's id is its member's name.  One folder that holds all others is not part of the rules.  Zip and
    plain tar are read in place; a compressed tar is unpacked to memory, up to 2 GB.  Raises DataError for a
    broken, encrypted or dangerous archive (names that lead out of it, links, bombs, duplicates), and as
    `read_folder` does.
    """
    known = list_members(path)
    shared = find_shared_folder(list(known))
    table = arrange_images(
        [name.removeprefix(shared) for name in known],
        str(path),
        lambda name: is_dicom_member(path, known[shared + name]),
    )
    table["id"] = [shared + name for name in table["id"]]
    chosen = [known[name] for name in table["id"]]
    notes = (f"{path.name}: {shared[:-1]!r}, which holds everything, is no class",) if shared else ()
    return Listing(
        name=name_archive(path),
        table=table,
        paths=tuple(path / member.name for member in chosen),
        notes=notes,
        bundle=make_bundle(path, chosen),
    )


def list_zip(path: Path) -> list[Member]:
    """List a zip's visible files from its directory, and find each one's bytes.

    Raises DataError for what cannot or should not be read, OSError where the file cannot be.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        ValueError,
        EOFError,
        OverflowError,
        struct.error,
    ) as error:
        raise DataError(f"cannot read {path}: {error}", "a whole zip archive", "fetching it again") from error
    end = path.stat().st_size
    members = []
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for entry in entries:
            name = clean_name(entry.filename, path)
            if not name:
                continue
            place = f"{path}: {name!r}"
            if entry.flag_bits & ENCRYPTED:
                raise DataError(f"{place} is encrypted", "an open archive", "unpacking it to a folder")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(
                    f"{place} is compressed by method {entry.compress_type}",
                    "stored or deflated members",
                    "unpacking it to a folder",
                )
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise DataError(f"{place} is a link", "files only", "unpacking it to a folder")
            packed = entry.compress_type == zipfile.ZIP_DEFLATED
            if not packed and entry.compress_size != entry.file_size:
                raise DataError(f"{place} has two sizes", "a whole zip archive")
            offset = find_content(descriptor, entry.header_offset, place)
            if offset + entry.compress_size > end:
                raise DataError(f"{path} ends within {name!r}", "a whole zip archive", "fetching it again")
            members.append(Member(name, offset, entry.compress_size, entry.file_size, packed))
            check_size(members[-1], path)
    finally:
        os.close(descriptor)
    return members


def find_content(descriptor: int, offset: int, place: str) -> int:
    """Find where a zip member's bytes begin: after its local header, whose extra field the directory lacks."""
    # pread takes no offset beyond 2⁶³, which a forged directory may name.
    header = os.pread(descriptor, LOCAL_HEADER.size, offset) if offset < 2**62 else b""
    if len(header) == LOCAL_HEADER.size:
        mark, name, extra = LOCAL_HEADER.unpack(header)
        if mark == LOCAL_MARK:
            return offset + LOCAL_HEADER.size + int(name) + int(extra)
    raise DataError(f"{place} has no header where it should lie", "a whole zip archive", "fetching it again")


def find_shared_folder(names: Sequence[str]) -> str:
    """Find the folder, with a "/", that holds all image folders and is none itself; "" where there is none.

    >>> find_shared_folder(["pets/cat/1.png", "pets/dog/1.png", "readme.txt"])
    'pets/'
    >>> find_shared_folder(["cat/1.png", "dog/1.png"]), find_shared_folder(["train/cat/1.png"])
    ('', '')
    """
    files = [name.split("/") for name in names if not is_sidecar(name)]
    tops = {parts[0] for parts in files}
    if len(tops) != 1 or min(map(len, files)) < 3:
        return ""  # with two parts the folder is a class
    top = tops.pop()
    return "" if top.lower() in ALIASES else f"{top}/"


def is_dicom_member(path: Path, member: Member) -> bool:
    """Tell whether a member begins as DICOM does."""
    if member.content is not None:
        return is_dicom_start(member.content[:DICOM_START])
    with path.open("rb") as stream:
        stream.seek(member.offset)
        # DEFLATE's blocks open with their code tables; 4 kB hold those and the first 132 bytes.
        start = stream.read(min(member.length, 4096))
    if member.packed:
        try:
            start = zlib.decompressobj(-zlib.MAX_WBITS).decompress(start, DICOM_START)
        except zlib.error:
            return False
    return is_dicom_start(start[:DICOM_START])


def make_bundle(path: Path, members: Sequence[Member]) -> Bundle:
    """Make the bundle of some members of one archive, in that order."""
    blobs = tuple(member.content for member in members if member.content is not None)
    return Bundle(
        files=(path,),
        places=np.zeros(len(members), np.int32),
        offsets=np.array([member.offset for member in members], np.int64),
        lengths=np.array([member.length for member in members], np.int64),
        packed=np.array([member.packed for member in members], np.bool_),
        sizes=np.array([member.size for member in members], np.int64),
        blobs=blobs or None,
    )


def name_archive(path: Path) -> str:
    """Name a data set by its archive, without the endings.

    >>> name_archive(Path("pets.v2.tar.gz"))
    'pets.v2'
    """
    ending = max((ending for ending in ENDINGS if path.name.lower().endswith(ending)), key=len, default="")
    return path.name[: len(path.name) - len(ending)] or path.name
