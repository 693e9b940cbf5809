"""Image files: which formats are read, a header check of every file, and decoding with Pillow."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medzoo.data.dataset import Dataset, Decoder
from medzoo.errors import DataError

FORMATS = ("JPEG", "PNG", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
READABLE = "JPEG, PNG or BMP images, the formats read so far"
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"})
WIDE_MODES = frozenset({"I", "I;16", "I;16B", "I;16L"})  # 16-bit PNG, whatever Pillow's version calls it
# What TensorFlow decodes to Pillow's values; it drops the low byte of 16-bit grey and knows few kinds of BMP.
GRAPH_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
# Pillow warns from here and refuses from twice as many; a warning about an attack should not scroll by.
MOST_PIXELS = 89_478_485
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Header:
    """What an image file says about itself before its pixels are read."""

    size: tuple[int, int]  # height, width
    mode: str  # Pillow's
    format: str


@dataclass(frozen=True)
class Survey:
    """What the headers of a data set's files say together."""

    size: tuple[int, int]  # of the first file
    channels: int
    decoder: Decoder
    wide: int  # how many files have 16 bits


def survey_images(paths: Sequence[Path], rows: Sequence[int] = ()) -> Survey:
    """Read the header of every file, and decide the number of channels and the decoder.

    `rows` are the files' spreadsheet rows, for the messages.  Raises DataError naming the first file that is
    missing, and how many are, or the first that is empty, of another format, not an image, or too large.
    """
    places = [f"row {row}: " for row in rows] or [""] * len(paths)
    absent = [number for number, there in enumerate(map_files(is_file, paths)) if not there]
    if absent:
        raise DataError(
            f"{places[absent[0]]}no file {str(paths[absent[0]])!r} ({len(absent)} of {len(paths)} absent)",
            "a file for every image",
            "--image-folder FOLDER or --image-column NAME",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MOST_PIXELS is the stricter rule
        headers = map_files(read_header, paths)
    for place, header in zip(places, headers, strict=True):
        if isinstance(header, DataError):
            raise DataError(place + header.found, header.expected, header.remedy)
    return summarise([header for header in headers if isinstance(header, Header)])


def summarise(headers: Sequence[Header]) -> Survey:
    """Join headers into a survey: grey only if every file is, TensorFlow only if it reads all rightly."""
    in_graph = all(header.mode in GRAPH_MODES and header.format != "BMP" for header in headers)
    return Survey(
        size=headers[0].size,
        channels=1 if all(header.mode in GREY_MODES for header in headers) else 3,
        decoder="tensorflow" if in_graph else "pillow",
        wide=sum(header.mode in WIDE_MODES for header in headers),
    )


def read_header(path: Path) -> Header | DataError:
    """Read one file's header; a refusal is returned, not raised, so that the first row's can be raised."""
    try:
        if path.stat().st_size == 0:
            return DataError(f"{str(path)!r} is empty", READABLE)
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                return DataError(
                    f"{str(path)!r} has {width}×{height} pixels", f"at most {MOST_PIXELS:,} pixels"
                )
            return Header((height, width), image.mode, image.format or "")
    except Image.DecompressionBombError:
        return DataError(f"{str(path)!r} would unpack to too many pixels", f"at most {MOST_PIXELS:,} pixels")
    except (OSError, SyntaxError, ValueError) as error:
        reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        return DataError(f"cannot read {str(path)!r}{reason}", READABLE, "converting it to PNG")


def read_image(path: Path, channels: int) -> NDArray[np.float32]:
    """Decode one file with Pillow to float32 (height, width, channels) in 0…255; 16 bits keep fractions.

    Raises OSError, SyntaxError or ValueError where the file is broken.
    """
    with Image.open(path, formats=FORMATS) as image:
        if image.mode in WIDE_MODES:
            grey = np.asarray(image, dtype=np.float32)[..., None] / 257  # 65535 / 255
            return np.repeat(grey, channels, axis=-1)
        pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"), dtype=np.float32)
        return pixels.reshape(*pixels.shape[:2], channels)


def find_unreadable(dataset: Dataset) -> str | None:
    """Decode every file fully and name the first that cannot be, with the reason; None if all can.

    For use after a decoding error, whose message names no file.
    """

    def try_image(path: Path) -> str | None:
        try:
            read_image(path, dataset.channels)
        except (OSError, SyntaxError, ValueError) as error:
            return f"{str(path)!r}: {error}"
        return None

    return next((fault for fault in map_files(try_image, dataset.paths) if fault), None)


def is_file(path: Path) -> bool:
    """Tell whether a path is a file; a cell of text too long to be a name is not."""
    try:
        return path.is_file()
    except OSError:
        return False


def map_files(ask: Callable[[Path], Answer], paths: Sequence[Path]) -> list[Answer]:
    """Ask something of every file, several at a time: on network disks most of the time is waiting."""
    with ThreadPoolExecutor(max_workers=min(32, 4 * (os.cpu_count() or 1))) as pool:
        return list(pool.map(ask, paths))
