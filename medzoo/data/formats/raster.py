"""JPEG, PNG, TIFF, BMP and WebP: what their headers say, and their pixels, read with Pillow.

Alpha is dropped, a palette becomes colour.  A photograph's EXIF orientation is left alone, as TensorFlow leaves
it; a TIFF's orientation tag, which is part of the format, is followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from medzoo.data.formats.quiet import keep_quiet
from medzoo.data.formats.windows import choose_frames, find_range, fit_channels, map_band, map_given
from medzoo.data.reading import Reading
from medzoo.errors import DataError

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
READABLE = "a JPEG, PNG, TIFF, BMP, WebP, DICOM or NIfTI image"
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr"})
# What TensorFlow decodes to Pillow's values; it drops the low byte of 16-bit grey.
GRAPH_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
GRAPH_FORMATS = frozenset({"JPEG", "MPO", "PNG"})  # MPO: a JPEG with more pictures behind it
# Pillow warns from here and refuses from twice as many; a warning about an attack should not scroll by.
MOST_PIXELS = 89_478_485
MOST_VALUES = 2**29  # of a volume: 2,048 slices of 512 × 512
BITS_PER_SAMPLE, PHOTOMETRIC, EXIF_ORIENTATION = 258, 262, 274

#: What is said of images that Pillow, like TensorFlow, reads at less than their depth.
DEEP_COLOUR = "have 16 bits in a channel, of which 8 are read, as they have colours or alpha"

#: What a stored value means: a grey level of 8 or 16 bits, or a number in units of its own.
Depth = Literal["8-bit", "16-bit", "own units"]
Source = Path | bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What an image file says about itself before its pixels are read."""

    size: tuple[int, ...]  # height and width, or depth, height and width, of what is read
    channels: int  # 1 or 3, before windows
    depth: Depth
    in_graph: bool = False  # TensorFlow decodes it to the reader's values
    is_display: bool = False  # it says itself how its values are shown: DICOM, NIfTI
    remark: str = ""  # what is lost or ignored


def describe_raster(source: Source, name: str, reading: Reading) -> Header:
    """Read the header of one file, or of its encoded bytes.

    Raises DataError naming the file where it cannot be read, or its pixels could not be.
    """
    with open_raster(source, name) as image:
        format_name = image.format or ""
        frames = list_frames(image, reading, name)
        depth = find_depth(image)
        if reading.windows and (image.mode not in GREY_MODES or depth == "8-bit"):
            raise refuse_windows(name)
        volume = (len(frames),) if reading.frame == "all" else ()
        return Header(
            (*volume, image.height, image.width),
            channels=1 if image.mode in GREY_MODES else 3,
            depth=depth,
            in_graph=format_name in GRAPH_FORMATS and image.mode in GRAPH_MODES and not volume,
            remark=find_remark(image),
        )


def read_raster(source: Source, name: str, reading: Reading) -> NDArray[np.float32]:
    """Decode one file or its bytes to float32 (height, width, channels), or (depth, …) of all frames, in 0…255.

    16 bits keep fractions.  Values in units of their own are mapped by the windows given, else from the lowest
    to the highest of the frames read.  Raises DataError naming the file where it is broken.
    """
    with open_raster(source, name) as image:
        frames = list_frames(image, reading, name)
        pages = []
        for frame in frames:
            if frame or len(frames) > 1:
                image.seek(frame)
                check_pixels(image, name)
            pages.append(read_page(image, reading))
        depth, inverted = find_depth(image), is_inverted(image)
        wide = read_most(image)
    stack = np.stack(pages)
    if depth == "8-bit":
        if reading.windows:
            raise refuse_windows(name)
        pixels = stack.astype(np.float32)
    elif reading.windows:
        pixels = map_given(stack[..., 0], reading.windows)
    else:
        pixels = map_band(stack, 0, wide) if depth == "16-bit" else map_band(stack, *find_range(stack, name))
    if inverted:
        pixels = 255 - pixels
    pixels = fit_channels(pixels, reading)
    return pixels if reading.frame == "all" else pixels[0]


@contextmanager
def open_raster(source: Source, name: str) -> Iterator[Any]:
    """Open a file or its bytes as a Pillow image of a size and mode that are read; what fails inside is refused.

    Raises DataError naming the file.
    """
    bomb = DataError(f"{name!r} would unpack to too many pixels", f"at most {MOST_PIXELS:,} pixels")
    try:
        opened = BytesIO(source) if isinstance(source, bytes) else source
        with keep_quiet(), Image.open(opened, formats=FORMATS) as image:
            check_pixels(image, name)
            yield image
    except Image.DecompressionBombError as error:
        raise bomb from error
    except MemoryError as error:
        raise bomb from error
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"no file {name!r}", "a file for every image") from error
    except Exception as error:  # there is no list of what broken files raise
        known = isinstance(error, OSError) and not isinstance(error, UnidentifiedImageError)
        reason = f": {getattr(error, 'strerror', None) or error}" if known else ""
        raise DataError(f"cannot read {name!r}{reason}", READABLE, "converting it to PNG") from error


def check_pixels(image: Any, name: str) -> None:
    """Refuse an image with too many pixels, none, or another number of channels than 1 or 3.

    Raises DataError naming the file.
    """
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise DataError(f"{name!r} has {width}×{height} pixels", f"at most {MOST_PIXELS:,} pixels")
    if not width * height:
        raise DataError(f"{name!r} has {width}×{height} pixels", "at least one pixel", "leaving it out")
    if image.mode not in GREY_MODES | COLOUR_MODES:
        raise DataError(
            f"{name!r} has {len(image.getbands())} channels ({image.mode})",
            "1 (grey) or 3 (red, green, blue), with or without alpha",
            "converting it to RGB",
        )


def list_frames(image: Any, reading: Reading, name: str) -> tuple[int, ...]:
    """List the frames to be read of an image; a PNG's or JPEG's further pictures are not images of the set.

    Raises DataError where pages of different sizes lie in one file and none was chosen: it may be a pyramid.
    """
    count = getattr(image, "n_frames", 1) if image.format in ("TIFF", "WEBP") else 1
    chosen = choose_frames(count, reading, name)
    if image.format == "TIFF" and count > 1 and reading.frame in ("middle", "all"):
        sizes = []
        for page in range(count):
            image.seek(page)
            sizes.append((image.size, image.mode))
        if len(set(sizes)) > 1:
            raise DataError(
                f"{name!r} has {count} pages of different sizes or kinds", "equal pages", "--frame first"
            )
        if reading.frame == "all" and count * image.width * image.height > MOST_VALUES:
            raise DataError(
                f"{name!r} has {count} pages", f"at most {MOST_VALUES:,} pixels", "--frame middle"
            )
    image.seek(chosen[0])
    return chosen


def find_depth(image: Any) -> Depth:
    """Tell what the stored values of an opened image mean."""
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        return "own units"
    return "16-bit" if image.mode.startswith("I") else "8-bit"


def find_remark(image: Any) -> str:
    """Tell what is lost or ignored of an image, in words that can follow "3 images "; "" for nothing."""
    rawmode = image.tile[0].args if image.tile else ""
    rawmode = rawmode if isinstance(rawmode, str) else str(rawmode[0]) if rawmode else ""
    if ";16" in rawmode and not image.mode.startswith("I"):
        return DEEP_COLOUR
    # Asked only where there is any EXIF: parsing costs more than the rest of the header.
    if image.format in GRAPH_FORMATS and "exif" in image.info:
        orientation = image.getexif().get(EXIF_ORIENTATION, 1)
        if orientation not in (0, 1):
            return "carry an EXIF orientation, which is not applied"
    return ""


def read_page(image: Any, reading: Reading) -> NDArray[np.generic]:
    """Decode the current frame to (height, width, c): stored grey values wider than 8 bits, else 8-bit pixels."""
    if find_depth(image) != "8-bit":
        return np.asarray(image)[..., None].copy()
    image.info.pop("transparency", None)  # Pillow would warn that it is dropped
    pixels = np.asarray(image.convert("L" if reading.channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)


def read_most(image: Any) -> float:
    """Give the highest value that 16-bit grey can hold: 65535, or 4095 in a TIFF of 12 bits."""
    bits = image.tag_v2.get(BITS_PER_SAMPLE, (16,)) if image.format == "TIFF" else (16,)
    return float(2 ** bits[0] - 1)


def is_inverted(image: Any) -> bool:
    """Tell whether 0 is white: Pillow heeds that of a TIFF of 8 bits and overlooks it in wider ones."""
    return image.format == "TIFF" and find_depth(image) != "8-bit" and image.tag_v2.get(PHOTOMETRIC) == 0


def refuse_windows(name: str) -> DataError:
    """Make the error for windows on values that have no units."""
    return DataError(
        f"{name!r} has 8-bit or colour pixels, to which a window does not apply",
        "DICOM, NIfTI, or grey images of 16 bits or more",
        "leaving out --window",
    )
