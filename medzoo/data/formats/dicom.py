"""DICOM images: stored values, then their meaning, then the window, then the inversion of MONOCHROME1.

The order is the standard's (PS3.4, N.2): a file's modality LUT or rescale; its VOI LUT, else the first of its
windows; last, the inversion.  Without either, up to 8 unsigned bits are shown as they are, and other values from
the lowest to the highest of the file, padding left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.data.formats.dicom_file import (
    GREY,
    PALETTE,
    READABLE,
    check_image,
    count_frames,
    decode,
    read_dataset,
)
from medzoo.data.formats.lookup import look_up_colours, look_up_modality, look_up_view
from medzoo.data.formats.quiet import refuse_broken
from medzoo.data.formats.raster import Header, Source, refuse_windows
from medzoo.data.formats.windows import (
    WHITE,
    find_range,
    fit_channels,
    map_band,
    map_given,
    map_window,
)
from medzoo.data.reading import Reading, Window

# The functional groups of enhanced images that say what values mean and how they are viewed.
MEANING, VIEW = "PixelValueTransformationSequence", "FrameVOILUTSequence"


def describe_dicom(source: Source, name: str, reading: Reading) -> Header:
    """Read the header of one file, or of its bytes, up to the pixels.

    Raises DataError naming the file where it is no image, or one that could not be decoded.
    """
    with refuse_broken(name, READABLE):
        dataset = read_dataset(source, name, stop_before_pixels=True)
        frames = check_image(dataset, name, reading)
        is_grey = dataset.PhotometricInterpretation in GREY
        if reading.windows and not is_grey:
            raise refuse_windows(name)
        volume = (len(frames),) if reading.frame == "all" else ()
        size = (*volume, int(dataset.Rows), int(dataset.Columns))
        return Header(size, channels=1 if is_grey else 3, depth="own units", is_display=True)


def read_dicom(source: Source, name: str, reading: Reading) -> NDArray[np.float32]:
    """Decode one file or its bytes to float32 (height, width, channels), or (depth, …) of all frames, in 0…255.

    Raises DataError naming the file where it is broken, or in a compression for which a package is missing.
    """
    with refuse_broken(name, READABLE):
        dataset = read_dataset(source, name)
        frames = check_image(dataset, name, reading)
        photometric = dataset.PhotometricInterpretation
        if photometric not in GREY:
            if reading.windows:
                raise refuse_windows(name)
            stored = decode(dataset, name, frames)
            if photometric == PALETTE:
                pixels = look_up_colours(stored, dataset)
            else:
                pixels = map_band(stored, 0, 2 ** int(dataset.BitsStored) - 1)
        else:
            pixels = show_grey(dataset, frames, reading, name)
            if photometric == "MONOCHROME1":
                pixels = np.float32(WHITE) - pixels
        pixels = fit_channels(pixels, reading)
        return pixels if reading.frame == "all" else pixels[0]


def show_grey(dataset: Any, frames: tuple[int, ...], reading: Reading, name: str) -> NDArray[np.float32]:
    """Map grey frames to (n, h, w, c) in 0…255, by the windows given, else as the file says; not yet inverted."""
    stored = decode(dataset, name, frames)
    limits: list[tuple[float, float]] = []  # found where they are needed, once for all frames

    def show(levels: NDArray[np.generic], frame: int) -> NDArray[np.float32]:
        """Map stored values (…) of one frame to (…, c)."""
        values = look_up_modality(levels, find_part(dataset, frame, MEANING))
        if reading.windows:
            return map_given(values, reading.windows)
        grey = show_view(values, find_part(dataset, frame, VIEW))
        if grey is None:
            if not limits:
                limits.append(find_limits(dataset, stored, frames, name))
            grey = map_band(values, *limits[0])
        return grey[..., None]

    return np.stack([map_levels(show, page, frame) for page, frame in zip(stored, frames, strict=True)])


def map_levels(
    show: Callable[[NDArray[np.generic], int], NDArray[np.float32]], page: NDArray[np.generic], frame: int
) -> NDArray[np.float32]:
    """Map a frame (h, w) by each value there may be rather than by each pixel, where there are fewer of these.

    A radiograph of 10 bits has 1,024 values and 3 million pixels.
    """
    if page.dtype.kind not in "iu":
        return show(page, frame)
    low, high = int(page.min()), int(page.max())
    if high - low >= page.size:
        return show(page, frame)
    shown: NDArray[np.float32] = show(np.arange(low, high + 1), frame)
    pixels: NDArray[np.float32] = shown[np.subtract(page, low, dtype=np.intp, casting="unsafe")]
    return pixels


def find_part(dataset: Any, frame: int, sequence: str) -> Any:
    """Find the dataset that says what a frame's values mean, or how they are viewed.

    Enhanced images say it for each frame or for all in functional groups, others at the top.
    """
    each = dataset.get("PerFrameFunctionalGroupsSequence")
    shared = dataset.get("SharedFunctionalGroupsSequence")
    groups = [*([each[frame]] if each and frame < len(each) else []), *([shared[0]] if shared else [])]
    found = (group.get(sequence) for group in groups)
    return next((items[0] for items in found if items), dataset)


def show_view(values: NDArray[np.generic], view: Any) -> NDArray[np.float32] | None:
    """Map a frame's values (h, w) by the file's VOI LUT, else the first of its windows; None where it has neither.

    A window that the standard forbids, such as one of width 0, is none.
    """
    table = look_up_view(values, view)
    if table is not None:
        return table
    centre, width = (first_of(view.get(key)) for key in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None:
        return None
    function = str(view.get("VOILUTFunction") or "LINEAR").upper()
    try:
        return map_window(values, Window(float(centre), float(width)), function)
    except ValueError:
        return None


def first_of(value: Any) -> Any:
    """Give a value of DICOM, or the first of several."""
    is_several = hasattr(value, "__iter__") and not isinstance(value, str)
    return next(iter(value), None) if is_several else value


def find_limits(
    dataset: Any, stored: NDArray[np.generic], frames: tuple[int, ...], name: str
) -> tuple[float, float]:
    """Find what becomes black and white where the file does not say, from the stored values (n, h, w) of its frames.

    Up to 8 unsigned bits without another meaning are grey levels already.  For others the range is that of all
    frames, so that a frame looks the same whether it is read alone or with the rest.
    """
    if len(frames) < (count := count_frames(dataset)):
        stored, frames = decode(dataset, name), tuple(range(count))
    values = np.stack(
        [
            look_up_modality(page, find_part(dataset, frame, MEANING))
            for page, frame in zip(stored, frames, strict=True)
        ]
    )
    bits = int(dataset.get("BitsStored") or 64)
    if bits <= 8 and not dataset.get("PixelRepresentation") and np.array_equal(values, stored):
        return 0.0, float(2**bits - 1)
    padding = dataset.get("PixelPaddingValue")
    if padding is not None:
        last = dataset.get("PixelPaddingRangeLimit")
        ends = sorted([int(padding), int(padding if last is None else last)])
        kept = np.less(stored, ends[0]) | np.greater(stored, ends[1])
        if kept.any():
            values = values[kept]
    return find_range(values, name)
