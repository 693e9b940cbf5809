"""What an audit keeps of every image after decoding it once: a digest, a thumbnail, and a few numbers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.data.audit.hashes import FLAT, SIDE, make_thumbnail
from medzoo.data.dataset import BYTE_RANGE, Dataset
from medzoo.errors import DataError

Fetch = Callable[[int], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class PixelFacts:
    """What is kept of n images; rows of images that could not be read mean nothing but `faults`."""

    digests: tuple[bytes, ...]  # SHA-256 of shape and pixels; b"" where unreadable
    thumbnails: NDArray[np.float16]  # (n, 32, 32), in units of the range of values
    shapes: NDArray[np.int32]  # (n, 3): depth (0 without), height, width
    deviations: NDArray[np.float32]  # standard deviation over all pixels, in units of the range
    between_levels: NDArray[np.bool_]  # whether a value lies between the 256 levels of 8 bits
    coloured: NDArray[np.bool_]  # whether channels differ
    faults: tuple[tuple[int, str], ...]  # row and reason of every image that cannot be read

    @property
    def blank(self) -> NDArray[np.bool_]:
        """Which images could be read and show nothing: all pixels are alike, but for noise."""
        return self.readable & (self.deviations < FLAT)

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which images could be read."""
        good = np.ones(len(self.digests), bool)
        good[[row for row, _ in self.faults]] = False
        return good


def gather_facts(dataset: Dataset) -> PixelFacts:
    """Decode every image once, several at a time, and keep little of it.

    An image that cannot be decoded, or holds NaN or infinity, is listed and does not stop the others.
    """
    count = len(dataset)
    low, high = find_range(dataset)
    facts = PixelFacts(
        digests=(),
        thumbnails=np.zeros((count, SIDE, SIDE), np.float16),
        shapes=np.zeros((count, 3), np.int32),
        deviations=np.zeros(count, np.float32),
        between_levels=np.zeros(count, bool),
        coloured=np.zeros(count, bool),
        faults=(),
    )

    def look(row: int) -> bytes | str:
        """Look at one image: its digest, or in words why it cannot be read."""
        try:
            pixels = fetch(row)
        except DataError as error:
            return str(error)
        if not np.isfinite(pixels).all():
            return f"{dataset.table['id'].iat[row]!r} holds NaN or infinity"
        facts.thumbnails[row] = (make_thumbnail(pixels) - low) / (high - low)
        facts.shapes[row, -len(pixels.shape[:-1]) :] = pixels.shape[:-1]
        facts.deviations[row] = pixels.std(dtype=np.float64) / (high - low)
        facts.coloured[row] = bool((pixels != pixels[..., :1]).any())
        whole = _drop_empty_digits(pixels)
        facts.between_levels[row] = not np.issubdtype(whole.dtype, np.integer)
        return digest_pixels(whole)

    with open_fetch(dataset) as fetch, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        answers = list(pool.map(look, range(count)))
    return replace(
        facts,
        digests=tuple(answer if isinstance(answer, bytes) else b"" for answer in answers),
        faults=tuple((row, answer) for row, answer in enumerate(answers) if isinstance(answer, str)),
    )


@contextmanager
def open_fetch(dataset: Dataset) -> Iterator[Fetch]:
    """Give a function that fetches the pixels (h, w, c) or (d, h, w, c) of one row; several threads may call it.

    It raises DataError for an image that cannot be decoded.
    """
    from medzoo.data.formats.decoding import read_pixels
    from medzoo.data.formats.workers import ReaderProcesses

    if dataset.images is not None:
        images = dataset.images
        yield lambda row: images[row]
        return

    def find_source(row: int) -> Path | bytes:
        """Give a row's file, or its bytes in a bundle."""
        return dataset.paths[row] if dataset.bundle is None else dataset.bundle.read([row])[0]

    if dataset.decoder == "tensorflow":  # Pillow decodes these without the interpreter's lock
        yield lambda row: read_pixels(find_source(row), str(dataset.paths[row]), dataset.reading)
        return
    processes = ReaderProcesses(dataset.reading, os.cpu_count() or 1)
    try:
        yield lambda row: processes([find_source(row)], [str(dataset.paths[row])])[0]
    finally:
        processes.close()


def find_range(dataset: Dataset) -> tuple[float, float]:
    """Give the range of values that differences are judged by: that of all arrays together, or of 8 bits."""
    if dataset.images is None or dataset.images.dtype == np.uint8 or dataset.images.size == 0:
        return BYTE_RANGE
    low, high = float(np.nanmin(dataset.images)), float(np.nanmax(dataset.images))
    return (low, high) if np.isfinite([low, high]).all() and low < high else BYTE_RANGE


def digest_pixels(pixels: NDArray[Any]) -> bytes:
    """Digest an image's type, shape and pixels; equal pixels give equal digests whatever the file's format."""
    head = f"{pixels.dtype.str} {pixels.shape}".encode()
    return hashlib.sha256(head + b"\n" + np.ascontiguousarray(pixels).tobytes()).digest()


def _drop_empty_digits(pixels: NDArray[Any]) -> NDArray[Any]:
    """Give floats that are whole numbers of 0…255 as bytes, a quarter of what is to be digested."""
    if pixels.dtype.kind != "f":
        return pixels
    with np.errstate(invalid="ignore"):
        levels = pixels.astype(np.uint8)
    return levels if np.array_equal(levels, pixels) else pixels
