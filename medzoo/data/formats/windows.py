"""From a file's own units to grey levels: CT windows by name, DICOM's window functions, ranges of values."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medzoo.data.reading import Reading, Window
from medzoo.errors import ConfigError, DataError, nearest

WHITE = 255.0

#: Usual windows of CT in Hounsfield units, centre and width, as Radiopaedia's article "Windowing (CT)" gives them
#: (https://radiopaedia.org/articles/windowing-ct); where it gives a band, its middle.
WINDOWS = {
    "lung": Window(-600, 1500),
    "mediastinum": Window(50, 350),
    "soft-tissue": Window(50, 400),
    "abdomen": Window(50, 400),
    "liver": Window(30, 150),
    "spine": Window(50, 250),
    "bone": Window(400, 1800),
    "temporal-bone": Window(600, 2800),
    "brain": Window(40, 80),
    "subdural": Window(75, 215),
    "stroke": Window(40, 40),
}


def parse_window(text: str) -> Window:
    """Read a window: one of the names in `WINDOWS`, or centre/width in the files' units.

    Raises ConfigError for another name, or a width that is not above 0.

    >>> parse_window("lung")
    Window(centre=-600, width=1500)
    >>> parse_window("40/400").limits
    (-160.0, 240.0)
    """
    name = re.sub(r"[\s_-]+", "-", text.strip().lower())
    if name in WINDOWS:
        return WINDOWS[name]
    centre, slash, width = text.partition("/")
    if not slash:
        raise ConfigError(
            f"{text!r} names no window", f"{nearest(name, WINDOWS)}, or centre/width such as 40/400"
        )
    try:
        window = Window(float(centre), float(width))
    except ValueError:
        window = Window(math.nan, math.nan)
    if not (math.isfinite(window.centre) and math.isfinite(window.width) and window.width > 0):
        raise ConfigError(f"{text!r} is no window", "two numbers centre/width, the width above 0", "40/400")
    return window


def map_band(values: NDArray[np.generic], low: float, high: float) -> NDArray[np.float32]:
    """Map values of any shape to 0…255: `low` and below become black, `high` and above white.

    A band without width is a threshold: what lies above it is white.  NaN becomes black.

    >>> map_band(np.array([-200.0, 40.0, np.nan]), -160, 240).tolist()
    [0.0, 127.5, 0.0]
    """
    exact = values.astype(np.float64)
    if high <= low:
        return np.where(exact > low, np.float32(WHITE), np.float32(0))
    exact -= low
    exact *= WHITE / (high - low)
    grey = np.clip(exact, 0, WHITE, out=exact).astype(np.float32)
    return np.nan_to_num(grey, copy=False, nan=0.0)


def map_window(values: NDArray[np.generic], window: Window, function: str = "LINEAR") -> NDArray[np.float32]:
    """Map values of any shape to 0…255 by DICOM's LINEAR, LINEAR_EXACT or SIGMOID (PS3.3, C.11.2.1.2 and .3).

    Raises ValueError for another function, and for a width that the function does not take.

    >>> map_window(np.array([-160, 39.5, 240]), Window(40, 400)).tolist()
    [0.0, 127.5, 255.0]
    """
    centre, width = window.centre, window.width
    if function == "LINEAR" and width >= 1:  # whole values: the band of w values is w - 1 wide
        return map_band(values, centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2)
    if function == "LINEAR_EXACT" and width > 0:
        return map_band(values, *window.limits)
    if function == "SIGMOID" and width > 0:
        with np.errstate(over="ignore"):  # far below the centre it is 0, which is what infinity gives
            return (WHITE / (1 + np.exp(-4 * (values.astype(np.float64) - centre) / width))).astype(
                np.float32
            )
    raise ValueError(f"{function} of width {width}")


def map_given(values: NDArray[np.generic], windows: Sequence[Window]) -> NDArray[np.float32]:
    """Map values (…) by each window given, exactly between its limits, to (…, number of windows)."""
    return np.stack([map_band(values, *window.limits) for window in windows], axis=-1)


def find_range(values: NDArray[np.generic], name: str) -> tuple[float, float]:
    """Find the lowest and the highest finite value of an array.

    Raises DataError naming the file where it has none.
    """
    if np.issubdtype(values.dtype, np.floating):
        values = values[np.isfinite(values)]
    if not values.size:
        raise DataError(f"{name!r} holds no finite number", "an image", "leaving it out")
    return float(values.min()), float(values.max())


def fit_channels(pixels: NDArray[np.float32], reading: Reading) -> NDArray[np.float32]:
    """Bring grey or colour pixels (…, c) to the reading's channels: repeated, or luminance as Pillow weighs it.

    Several windows are channels of their own, and stay.
    """
    wanted = reading.channels if len(reading.windows) < 2 else len(reading.windows)
    if pixels.shape[-1] == wanted:
        return pixels
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, wanted, axis=-1)
    weights = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601-2
    return (pixels[..., :3] @ weights)[..., None]


def choose_frames(count: int, reading: Reading, name: str) -> tuple[int, ...]:
    """Choose which of a file's frames, counted from 0, are read; the middle of an even number is its later one.

    Raises DataError naming the file where it has fewer frames than asked for.

    >>> choose_frames(10, Reading(frame="middle"), "cine.dcm")
    (5,)
    """
    if reading.frame == "all":
        return tuple(range(count))
    if reading.frame == "first":
        return (0,)
    if reading.frame == "middle":
        return (count // 2,)
    if not 0 <= reading.frame < count:
        raise DataError(
            f"{name!r} has no frame {reading.frame}: it has {count}", f"a frame from 0 to {count - 1}"
        )
    return (reading.frame,)
