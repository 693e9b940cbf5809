"""PyTorch's own files (`.pt`, `.pth`, `.th`, `.bin`), read without PyTorch: zip archives and the older stream."""

from __future__ import annotations

import io
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from medzoo.errors import WeightsError
from medzoo.weights.contents import Contents
from medzoo.weights.formats.byte_ranges import ZIP_DAMAGE, check_members, locate_member, read_member
from medzoo.weights.formats.torch_pickle import unpickle
from medzoo.weights.formats.torch_scan import LARGEST_PICKLE, REMEDY
from medzoo.weights.formats.torch_state import find_state
from medzoo.weights.formats.torch_tensors import ITEM_SIZES, Place, Storage, Unreadable, open_tensor

NAME = "torch"

#: The stream's first pickle, a number of ten bytes (LONG1), and its second.
_MAGIC = 0x1950A86A20F9469CFC6C
_MAGIC_BYTES = b"\x8a\x0a" + _MAGIC.to_bytes(10, "little")
_PROTOCOL = 1001

#: A compressed pickle of more bytes than the first has at most so many times its compressed size; 20 times is usual.
LARGEST_STEEP_PICKLE, STEEPEST_PICKLE = 2**22, 200


def matches(path: Path) -> bool:
    """Tell whether a file is PyTorch's, by its content: an archive with a `data.pkl`, a pickle, or a tar archive.

    Pickles and tar archives that `torch.save` did not write match as well; `read_headers` says why they are refused.
    A zip archive that is cut off has no directory left; it matches by its first member's name.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(512)
        if not start.startswith(b"PK\x03\x04"):
            return bool(re.match(rb"\x80[\x02-\x05]", start)) or start[257:262] == b"ustar"
        length = int.from_bytes(start[26:28], "little")
        if _is_pickle(start[30 : 30 + length].decode("latin-1")):
            return True
        with zipfile.ZipFile(path) as archive:
            return any(_is_pickle(name) for name in archive.namelist())
    except ZIP_DAMAGE:
        return False


def _is_pickle(name: str) -> bool:
    """Tell whether an archive's member is the pickle that PyTorch writes, one folder down."""
    return name.count("/") == 1 and name.endswith("/data.pkl")


def read_headers(path: Path) -> Contents:
    """Read what a PyTorch file says of its tensors; PyTorch is not needed, and nothing in the file is run.

    Takes state dictionaries, checkpoints that hold one under a usual key, and whole models of PyTorch's,
    torchvision's and torchxrayvision's own layers. Tensors keep PyTorch's names, shapes and order of axes.

    Raises:
        WeightsError: the file is damaged, asks for what no weights file needs, or holds no state dictionary.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(512)
            stream.seek(0)
            if start.startswith(b"PK"):
                root, find_place = _open_archive(path, stream)
            elif start[257:262] == b"ustar":
                raise _refuse_tar(path)
            else:
                root, find_place = _open_stream(path, stream)
            return _give_contents(root, find_place, path)
    except ZIP_DAMAGE as error:
        raise WeightsError(
            f"{path} is a damaged PyTorch file ({error})", "a whole file", "to copy or download it again"
        ) from error


def _give_contents(root: Any, find_place: Callable[[Storage], Place], path: Path) -> Contents:
    """Check every tensor of the state dictionary, and no other."""
    state = find_state(root, path)
    tensors = {}
    for name, tensor in state.tensors.items():
        if isinstance(tensor, Unreadable):
            raise WeightsError(
                f"{path} holds a {tensor.kind} tensor at {name!r}",
                "plain tensors",
                "saving it dense, as float32",
            )
        tensors[name] = open_tensor(tensor, name, find_place(tensor.storage))
    return Contents(tensors, tuple(state.notes), state.metadata)


def _open_archive(path: Path, stream: IO[bytes]) -> tuple[Any, Callable[[Storage], Place]]:
    """Unpickle a zip archive's `data.pkl`; storages are its members `data/<key>`."""
    archive = zipfile.ZipFile(path)
    pickles = [name for name in archive.namelist() if _is_pickle(name)]
    if len(pickles) != 1:
        raise WeightsError(f"{path} is no PyTorch archive", "one data.pkl in its only folder", REMEDY)
    check_members(archive, path)
    top = pickles[0].removesuffix("data.pkl")
    names = set(archive.namelist())
    if f"{top}constants.pkl" in names or any(name.startswith(f"{top}code/") for name in names):
        raise WeightsError(
            f"{path} is a TorchScript archive, a program with its weights", "a state dictionary", REMEDY
        )
    entry = archive.getinfo(pickles[0])
    if entry.file_size > LARGEST_PICKLE:
        raise WeightsError(
            f"{path} holds a pickle of {entry.file_size:,} bytes", f"at most {LARGEST_PICKLE:,}"
        )
    is_folded = entry.compress_type != zipfile.ZIP_STORED
    if is_folded and entry.file_size > max(LARGEST_STEEP_PICKLE, STEEPEST_PICKLE * entry.compress_size):
        raise WeightsError(
            f"{path} claims a pickle of {entry.file_size:,} bytes and stores {entry.compress_size:,}",
            "a pickle, which does not shrink so far",
            REMEDY,
        )
    content = io.BytesIO(read_member(archive, stream, entry, path))
    root, _ = unpickle(content, f"{path}/{pickles[0]}")
    order = b"little"
    if f"{top}byteorder" in names:
        order = read_member(archive, stream, archive.getinfo(f"{top}byteorder"), path)
    if order not in (b"little", b"big"):
        raise WeightsError(f"{path} has the byte order {order[:20]!r}", "little or big")
    if all(item.compress_type == zipfile.ZIP_STORED for item in archive.infolist()):
        archive.close()  # the directory stays known, and values are read from the file itself
    places: dict[str, Place] = {}

    def find_place(storage: Storage) -> Place:
        if storage.key not in places:
            member = f"{top}data/{storage.key}"
            places[storage.key] = _locate_storage(archive, member, storage, path, stream, order == b"big")
        return places[storage.key]

    return root, find_place


def _locate_storage(
    archive: zipfile.ZipFile, member: str, storage: Storage, path: Path, stream: IO[bytes], big_endian: bool
) -> Place:
    """Find a storage's member, and check that it has the size that the pickle claims.

    Raises:
        WeightsError: it is missing, cut off, or of another size.
    """
    size = storage.count * ITEM_SIZES[storage.dtype]
    try:
        entry = archive.getinfo(member)
    except KeyError as error:
        if size == 0:
            return Place(path, 0, 0)
        raise WeightsError(f"{path} lacks {member!r}", "a whole file") from error
    if entry.file_size != size:
        raise WeightsError(
            f"{path} holds {entry.file_size:,} bytes in {member!r}", f"{size:,}, as its data.pkl says"
        )
    if entry.compress_type == zipfile.ZIP_STORED:
        return Place(path, locate_member(stream, entry, path), size, big_endian, checksum=entry.CRC)

    def unfold() -> bytearray:
        content = bytearray(size)
        view, filled = memoryview(content), 0
        try:
            with archive.open(entry) as compressed:
                while filled < size and (part := compressed.read(min(2**20, size - filled))):
                    view[filled : filled + len(part)] = part
                    filled += len(part)
        except ZIP_DAMAGE as error:
            raise WeightsError(f"{path} is damaged at {member!r}", "a whole file") from error
        if filled < size:
            raise WeightsError(f"{path} is damaged at {member!r}", "a whole file")
        return content

    return Place(path, 0, size, big_endian, unfold)


def _open_stream(path: Path, stream: IO[bytes]) -> tuple[Any, Callable[[Storage], Place]]:
    """Unpickle the older layout: five pickles, then each storage's count and its bytes, least byte first."""
    if _MAGIC_BYTES not in stream.read(64):
        raise WeightsError(
            f"{path} is a Python pickle, but none that torch.save wrote", "a PyTorch file", REMEDY
        )
    stream.seek(0)
    magic, _ = unpickle(stream, str(path))
    protocol, _ = unpickle(stream, str(path))
    if magic != _MAGIC or protocol != _PROTOCOL:
        raise WeightsError(f"{path} is of a PyTorch protocol that is not known", str(_PROTOCOL), REMEDY)
    unpickle(stream, str(path))  # sizes of types on the machine that wrote it, of no use
    root, storages = unpickle(stream, str(path))
    keys, _ = unpickle(stream, str(path))
    places = _locate_in_stream(path, stream, keys, storages)

    def find_place(storage: Storage) -> Place:
        if storage.key not in places:
            raise WeightsError(f"{path} lacks the storage {storage.key!r}", "a whole file")
        return places[storage.key]

    return root, find_place


def _locate_in_stream(
    path: Path, stream: IO[bytes], keys: Any, storages: Mapping[str, Storage]
) -> dict[str, Place]:
    """Walk over the storages that follow one another, checking each count.

    Raises:
        WeightsError: one is cut off, unknown, or of another size than the pickle claims.
    """
    places: dict[str, Place] = {}
    start = stream.tell()
    end = stream.seek(0, io.SEEK_END)
    for key in keys if isinstance(keys, list) else [None]:
        if not isinstance(key, str) or key not in storages:
            raise WeightsError(f"{path} stores values that none of its tensors has", "a whole file")
        storage = storages[key]
        stream.seek(start)
        header = stream.read(8)
        size = storage.count * ITEM_SIZES[storage.dtype]
        if len(header) < 8 or struct.unpack("<q", header) != (storage.count,) or start + 8 + size > end:
            raise WeightsError(
                f"{path} is damaged at byte {start}: the storage {key!r} is not whole",
                f"{storage.count:,} values",
                "to copy or download it again",
            )
        places[key] = Place(path, start + 8, size)
        start += 8 + size
    return places


def _refuse_tar(path: Path) -> WeightsError:
    """Say what a tar archive is: PyTorch's first format, or a folder packed together."""
    try:
        with tarfile.open(path, "r:") as archive:
            first = archive.next()
            name = first.name if first else ""
    except (tarfile.TarError, ValueError, OSError, EOFError):
        name = ""
    if name in ("sys_info", "pickle", "tensors", "storages"):
        return WeightsError(
            f"{path} was written by PyTorch before 0.1.10, whose format is not read",
            "a file of a later PyTorch",
            "torch.save(torch.load(…)) with a PyTorch that reads it",
        )
    return WeightsError(f"{path} is a tar archive", "a weights file", "unpacking it first: tar -xf")
