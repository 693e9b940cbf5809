"""NumPy `.npz` archives: one member a tensor, named by Keras paths (`conv1/kernel.npy`)."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from medzoo.errors import WeightsError
from medzoo.tensors import LazyTensor, TensorSpec, lazy_tensor, role_of

NAME = "npz"

#: What zipfile, zlib and NumPy (which parses headers as Python literals) raise on a damaged archive.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    SyntaxError,
    ValueError,
    EOFError,
    OSError,
    RuntimeError,
    KeyError,
)


def read_headers(path: Path) -> dict[str, LazyTensor]:
    """Read each member's NumPy header; values are read one member at a time, object arrays never.

    Raises:
        WeightsError: the archive is damaged, or a member is no array of numbers.
    """
    try:
        archive = zipfile.ZipFile(path)
        if not any(entry.endswith(".npy") for entry in archive.namelist()):
            raise WeightsError(
                f"{path} is a zip archive without NumPy arrays",
                "an .npz file",
                "model.save_weights(…) for a .keras archive",
            )
        tensors = {}
        for entry in archive.namelist():
            name = entry.removesuffix(".npy")
            with archive.open(entry) as stream:
                shape, dtype = _read_header(stream)
                size = stream.tell() + math.prod(shape) * dtype.itemsize
            # A header that claims more than the member holds would be allocated before it is found out.
            if min(shape, default=0) < 0 or (
                dtype.kind in "fiub" and size != archive.getinfo(entry).file_size
            ):
                raise WeightsError(
                    f"{path} holds a header at {name!r} that its data do not fit", "a whole file"
                )
            if dtype.kind not in "fiub":
                raise WeightsError(f"{path} holds {dtype} at {name!r}", "arrays of numbers")
            spec = TensorSpec(name, shape, str(dtype), role_of(name))
            tensors[name] = lazy_tensor(spec, _reader(archive, entry, path))
    except _DAMAGE as error:
        raise WeightsError(f"{path} is a damaged .npz file ({error})", "a whole file") from error
    return tensors


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Read shape and dtype from a member's first bytes."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _reader(archive: zipfile.ZipFile, entry: str, path: Path) -> Callable[[], np.ndarray]:
    """Give a function that reads one member; the archive checks its CRC."""

    def read() -> np.ndarray:
        try:
            with archive.open(entry) as stream:
                return np.lib.format.read_array(stream, allow_pickle=False)
        except _DAMAGE as error:
            raise WeightsError(f"{path} is damaged at {entry!r}", "a whole file") from error

    return read
