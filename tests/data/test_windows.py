"""Windows: names, spellings, DICOM's three functions, ranges, frames."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medzoo.data.formats.windows import (
    WINDOWS,
    choose_frames,
    find_range,
    fit_channels,
    map_band,
    map_given,
    map_window,
    parse_window,
)
from medzoo.data.reading import Reading, Window
from medzoo.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("lung", Window(-600, 1500)),
        ("Soft Tissue", Window(50, 400)),
        ("soft_tissue", Window(50, 400)),
        ("40/400", Window(40, 400)),
        ("-600/1500", Window(-600, 1500)),
        (" 0.5 / 0.25 ", Window(0.5, 0.25)),
    ],
)
def test_windows_are_read_by_name_and_by_numbers(text: str, window: Window) -> None:
    assert parse_window(text) == window


@pytest.mark.parametrize("text", ["40/0", "40/-3", "nan/4", "4/inf", "a/b", "/", "1/2/3"])
def test_numbers_that_are_no_window_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no window; expected two numbers centre/width"):
        parse_window(text)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'lungs' names no window; expected one of 'lung'"):
        parse_window("lungs")


def test_every_name_is_a_window_within_the_range_of_ct() -> None:
    for name, window in WINDOWS.items():
        assert parse_window(name) == window
        low, high = window.limits
        assert -1400 <= low < high <= 2000, name


def expect(value: float, centre: float, width: float, function: str) -> float:
    """Compute one value by the formulas of PS3.3, C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2, as written there."""
    if function == "SIGMOID":
        return 255 / (1 + math.exp(-4 * (value - centre) / width))
    if function == "LINEAR_EXACT":
        if value <= centre - width / 2:
            return 0
        return 255 if value > centre + width / 2 else ((value - centre) / width + 0.5) * 255
    if value <= centre - 0.5 - (width - 1) / 2:
        return 0
    if value > centre - 0.5 + (width - 1) / 2:
        return 255
    return ((value - (centre - 0.5)) / (width - 1) + 0.5) * 255


@given(
    values=st.lists(st.integers(-5000, 5000), min_size=1, max_size=8),
    centre=st.integers(-2000, 2000),
    width=st.integers(1, 5000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_functions_are_those_of_the_standard(
    values: list[int], centre: int, width: int, function: str
) -> None:
    if function == "SIGMOID":  # math.exp of the formula overflows where the result is 0
        values = [value for value in values if abs(value - centre) < 100 * width]
    expected = [expect(value, centre, width, function) for value in values]
    found = map_window(np.array(values, np.int16), Window(centre, width), function)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("function", "width"), [("LINEAR", 0.5), ("LINEAR_EXACT", 0), ("SIGMOID", -1), ("CUBIC", 4)]
)
def test_widths_and_functions_that_the_standard_forbids_are_refused(function: str, width: float) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{function} of width {width}")):
        map_window(np.zeros(3), Window(0, width), function)


def test_given_windows_become_channels_between_their_exact_limits() -> None:
    values = np.array([[-1350, -600], [150, 40]], np.int16)
    pixels = map_given(values, (Window(-600, 1500), Window(40, 400)))
    assert pixels.shape == (2, 2, 2)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[..., 0], [[0, 127.5], [255, 255 * 1390 / 1500]], atol=1e-4)
    np.testing.assert_allclose(pixels[..., 1], [[0, 0], [255 * 310 / 400, 127.5]], atol=1e-4)


def test_bands_hold_for_infinities_nan_and_no_width() -> None:
    values = np.array([np.nan, -np.inf, np.inf, 5.0, 6.0], np.float32)
    assert map_band(values, 0, 10).tolist() == [0, 0, 255, 127.5, 153]
    assert map_band(values, 5, 5).tolist() == [0, 0, 255, 0, 255]


def test_ranges_leave_out_what_is_not_finite() -> None:
    assert find_range(np.array([np.nan, 3, np.inf, -2]), "a") == (-2, 3)
    assert find_range(np.array([7, 9], np.uint16), "a") == (7, 9)
    with pytest.raises(DataError, match="'a' holds no finite number"):
        find_range(np.array([np.nan]), "a")


def test_channels_are_repeated_or_weighed() -> None:
    colour = np.array([[[255, 0, 0], [0, 255, 0], [10, 10, 10]]], np.float32)
    np.testing.assert_allclose(fit_channels(colour, Reading(1))[..., 0], [[76.245, 149.685, 10]], rtol=1e-6)
    assert fit_channels(colour[..., :1], Reading(3)).tolist() == np.repeat(colour[..., :1], 3, -1).tolist()
    two = np.zeros((1, 1, 2), np.float32)
    assert fit_channels(two, Reading(1, windows=(Window(0, 1), Window(0, 2)))).shape == (1, 1, 2)


def test_frames_are_chosen() -> None:
    assert choose_frames(1, Reading(), "a") == (0,)
    assert choose_frames(5, Reading(), "a") == (2,)
    assert choose_frames(4, Reading(frame="first"), "a") == (0,)
    assert choose_frames(3, Reading(frame="all"), "a") == (0, 1, 2)
    assert choose_frames(3, Reading(frame=2), "a") == (2,)
    for frame in (3, -1):
        with pytest.raises(
            DataError, match=f"'a' has no frame {frame}: it has 3; expected a frame from 0 to 2"
        ):
            choose_frames(3, Reading(frame=frame), "a")
