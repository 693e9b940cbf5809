"""`Bundle`: encoded images that lie inside larger files, each at a known place, read there without unpacking."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import DataError


@dataclass(frozen=True, eq=False)
class Bundle:
    """Where the encoded bytes of n images lie: a file, an offset and a length for each, or the bytes themselves.

    `places` (n,) says which of `files` holds an image; `lengths` count stored bytes; `packed` says whether these
    are raw DEFLATE streams, as in a zip, that unpack to `sizes` bytes.  With `blobs` the bytes are in memory, and
    the places mean nothing.
    """

    files: tuple[Path, ...]
    places: NDArray[np.int32]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    packed: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    blobs: tuple[bytes, ...] | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: NDArray[np.int_]) -> Bundle:
        """Give the bundle of some rows, in that order."""
        columns = ("places", "offsets", "lengths", "packed", "sizes")
        blobs = None if self.blobs is None else tuple(self.blobs[row] for row in rows)
        return replace(self, **{name: getattr(self, name)[rows] for name in columns}, blobs=blobs)

    def read(self, rows: Sequence[int] | NDArray[np.int_]) -> list[bytes]:
        """Read some images' encoded bytes, in that order.

        Files are opened for the call alone, so that processes and threads share no position.  Raises DataError
        where a file is gone, ends before an image does, or does not unpack to the size it declares.
        """
        if self.blobs is not None:
            return [self.blobs[row] for row in rows]
        opened: dict[int, int] = {}
        try:
            return [self._read_one(int(row), opened) for row in rows]
        finally:
            for descriptor in opened.values():
                os.close(descriptor)

    def _read_one(self, row: int, opened: dict[int, int]) -> bytes:
        """Read one image's bytes; files stay open in `opened` until the caller is done."""
        place = int(self.places[row])
        path = self.files[place]
        length, size = int(self.lengths[row]), int(self.sizes[row])
        where = f"at byte {int(self.offsets[row]):,}"  # rows are renumbered when some are taken
        try:
            if place not in opened:
                opened[place] = os.open(path, os.O_RDONLY)
            stored = os.pread(opened[place], length, int(self.offsets[row]))
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}", "the file that was opened") from error
        if len(stored) != length:
            raise DataError(f"{path} ends within the image {where}", "the whole file", "fetching it again")
        if not self.packed[row]:
            return stored
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = unpacker.decompress(stored, size + 1)  # never more than declared: no bomb goes off here
        except zlib.error as error:
            raise DataError(f"{path}: the image {where} does not unpack", "a whole archive") from error
        if len(content) != size:
            raise DataError(f"{path}: the image {where} does not unpack to {size} bytes", "a whole archive")
        return content
