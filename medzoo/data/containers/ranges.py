"""Arrays of images: their shape, and which of their values are black and white."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medzoo.data.dataset import BYTE_RANGE
from medzoo.errors import DataError

#: Black and white in the images' units; "auto" finds them, None: the values are the network's own.
Range = Literal["auto"] | tuple[float, float] | None
SHAPES = "(n, height, width), (n, height, width, channels) or (n, depth, height, width, channels)"
MOST_CHANNELS = 4  # of common images; more in the last axis and few in the second are channels put first


def shape_images(pixels: NDArray[Any], name: str) -> NDArray[Any]:
    """Give images their channel axis, and refuse what is no array of images."""
    if pixels.dtype.kind not in "iubf":
        raise DataError(f"{name}: the images are {pixels.dtype}", "an array of numbers, all of one size")
    if pixels.ndim not in (3, 4, 5) or 0 in pixels.shape:
        raise DataError(f"{name}: the images have the shape {pixels.shape}", SHAPES)
    if pixels.ndim > 3 and pixels.shape[1] in (1, 3) and pixels.shape[-1] > MOST_CHANNELS:
        raise DataError(
            f"{name}: the images have the shape {pixels.shape}, with the channels first",
            SHAPES,
            "np.moveaxis(images, 1, -1)",
        )
    return pixels[..., None] if pixels.ndim == 3 else pixels


def scale_images(pixels: NDArray[Any], value_range: Range, name: str) -> tuple[NDArray[Any], list[str]]:
    """Bring pixels to 0…255, uint8 where they are already and else float32; say how in notes.

    Raises DataError for values that are not finite, lie outside the declared range, or tell no range.
    """
    if pixels.dtype.kind == "f":
        check_finite(pixels, name)
    if value_range is None:
        return pixels.astype(np.float32), []
    if not isinstance(value_range, str) or value_range != "auto":  # an array would be compared by element
        return stretch(pixels, *check_range(value_range, name), name), []
    if pixels.dtype == np.uint8:
        small = pixels.max() <= 1
        hint = f"{name}: no value is above 1, almost black as 0…255; masks have value_range=(0, 1)"
        return pixels, [hint] if small else []
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255), [f"{name}: masks: False is read as 0, True as 255"]
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 65535 or (pixels.dtype.kind == "f" and high > BYTE_RANGE[1]):
        raise DataError(
            f"{name}: the images are {pixels.dtype} of {low:g} to {high:g}, which tells no range",
            "8 or 16 bits, or fractions of 0…1 or 0…255",
            "value_range=(black, white), or value_range=None for values in the network's own units",
        )
    if pixels.dtype.kind != "f" and (pixels.dtype == np.uint16 or high > BYTE_RANGE[1]):
        note = f"{name}: 16-bit images: 0…65535 is read as 0…255, with fractions kept"
        if high < 4096:
            note += f"; the highest value is {high:g}: value_range=(0, 4095) if 12 bits were stored"
        return stretch(pixels, 0, 65535, name), [note]
    if pixels.dtype.kind != "f":
        return pixels.astype(np.uint8), [
            f"{name}: {pixels.dtype} images of {low:g} to {high:g}: read as 0…255"
        ]
    top = 1.0 if high <= 1 else BYTE_RANGE[1]
    note = f"{name}: {pixels.dtype} images of {low:g} to {high:g}: 0…{top:g} is read as 0…255"
    return stretch(pixels, 0, top, name), [note]


def check_range(value_range: Any, name: str) -> tuple[float, float]:
    """Give a declared range of values, black before white; refuse what is none."""
    try:
        low, high = (float(value) for value in value_range)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: value_range={value_range!r}", "'auto', None, or (black, white)") from error
    if not (np.isfinite([low, high]).all() and low < high):
        raise DataError(f"{name}: value_range={value_range!r}", "a lower and a higher number")
    return low, high


def check_finite(pixels: NDArray[Any], name: str) -> None:
    """Refuse images with NaN or infinity, naming the first."""
    broken = [row for row in range(len(pixels)) if not np.isfinite(pixels[row]).all()]
    if broken:
        raise DataError(
            f"{name}: image {broken[0]} has values that are not finite ({len(broken)} images have)",
            "finite numbers",
            "np.nan_to_num(images), or leaving these images out",
        )


def stretch(pixels: NDArray[Any], low: float, high: float, name: str) -> NDArray[Any]:
    """Map the declared range to 0…255; values outside of it are refused, since clipping hides them."""
    found = float(pixels.min()), float(pixels.max())
    if found[0] < low or found[1] > high:
        raise DataError(
            f"{name}: values of {found[0]:g} to {found[1]:g} for value_range=({low:g}, {high:g})",
            "no value outside the range",
            f"np.clip(images, {low:g}, {high:g})",
        )
    if pixels.dtype == np.uint8 and (low, high) == BYTE_RANGE:
        return pixels
    stretched: NDArray[np.float32] = pixels.astype(np.float32)
    stretched -= np.float32(low)
    stretched *= np.float32(BYTE_RANGE[1] / (high - low))
    # Rounding may leave the range by the last digit.
    return np.clip(stretched, *BYTE_RANGE, out=stretched)
