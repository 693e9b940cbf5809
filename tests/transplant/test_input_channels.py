"""Input channels: each way of bringing a kernel to another number, maps, and contracts folded into weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.contracts import PREPROCESSINGS, Preprocessing
from medzoo.errors import ConfigError, PlanError
from medzoo.transplant.input_channels import (
    HOWS,
    adapt_channels,
    fold_contract,
    map_channels,
    read_channel_map,
)


def make_kernel(channels: int, seed: int = 0, side: int = 3) -> np.ndarray:
    """Make a kernel of four filters."""
    return np.random.default_rng(seed).normal(size=(side, side, channels, 4)).astype("float32")


def convolve(image: np.ndarray, kernel: np.ndarray, padding: int = 0) -> np.ndarray:
    """Answer an image (height, width, C) in float64: without padding, or with zeros around it."""
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], axis=(0, 1))
    return np.einsum("hwcyx,yxcf->hwf", windows, kernel.astype("float64"))


# --- numbers of channels -------------------------------------------------------------------------------------


@given(st.integers(2, 6), st.integers(0, 1000))
def test_the_sum_answers_a_grey_image_as_all_channels_did(channels: int, seed: int) -> None:
    kernel = make_kernel(channels, seed)
    grey = np.random.default_rng(seed + 1).uniform(-1, 1, (8, 8, 1))
    expected = convolve(np.repeat(grey, channels, axis=-1), kernel)
    assert np.abs(convolve(grey, adapt_channels(kernel, 1)) - expected).max() <= 1e-5


@pytest.mark.parametrize("channels", [2, 4, 5, 6, 7, 9])
def test_another_number_repeats_cuts_and_scales(channels: int) -> None:
    """timm's `adapt_input_conv`: repeat RGB ⌈n/3⌉ times, cut to n, multiply by 3/n."""
    kernel = make_kernel(3)
    tiled = np.tile(kernel.astype("float64"), (1, 1, math.ceil(channels / 3), 1))[:, :, :channels]
    assert np.array_equal(adapt_channels(kernel, channels), (tiled * (3 / channels)).astype("float32"))
    assert np.array_equal(
        adapt_channels(kernel, channels, "tile"), (tiled * (3 / channels)).astype("float32")
    )
    assert np.array_equal(adapt_channels(kernel, channels, "first"), tiled.astype("float32"))


def test_one_channel_of_three() -> None:
    kernel = make_kernel(3)
    red, green, blue = (kernel[:, :, [channel]].astype("float64") for channel in range(3))
    expected = {
        "sum": red + green + blue,
        "mean": (red + green + blue) / 3,
        "first": red,
        "tile": red * 3,
        "luminance": 3 * (0.299 * red + 0.587 * green + 0.114 * blue),
    }
    assert set(expected) == set(HOWS)
    for how, values in expected.items():
        assert np.allclose(adapt_channels(kernel, 1, how), values, rtol=1e-6, atol=1e-7), how
    from_bgr = adapt_channels(kernel[:, :, ::-1], 1, "luminance", order="bgr")
    assert np.allclose(from_bgr, expected["luminance"], rtol=1e-6, atol=1e-7)


@given(st.sampled_from(HOWS), st.integers(1, 7), st.integers(0, 99))
def test_equal_slices_are_one_answer_whatever_the_way(how: str, channels: int, seed: int) -> None:
    """Where a kernel treats its channels alike, only `mean` and `first` change the scale, by n/C."""
    kernel = np.repeat(make_kernel(1, seed), 3, axis=2)
    scale = channels / 3 if how in ("mean", "first") else 1
    adapted = adapt_channels(kernel, channels, how).astype("float64").sum(axis=2)
    assert np.allclose(adapted, kernel.astype("float64").sum(axis=2) * scale, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_shape_and_dtype_are_kept_and_the_same_number_changes_nothing(how: str, dtype: str) -> None:
    kernel = make_kernel(3).astype(dtype)
    assert adapt_channels(kernel, 3, how).tobytes() == kernel.tobytes()
    before = kernel.copy()
    for channels in (1, 2, 5):
        adapted = adapt_channels(kernel, channels, how)
        assert (adapted.shape, adapted.dtype) == ((3, 3, channels, 4), np.dtype(dtype))
    assert np.array_equal(kernel, before)


def test_impossible_adaptations_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"input channels 'summ'; expected one of 'sum'"):
        adapt_channels(make_kernel(3), 1, "summ")
    with pytest.raises(ConfigError, match=r"channel order 'grb'; expected one of rgb, bgr"):
        adapt_channels(make_kernel(3), 1, "luminance", "grb")
    with pytest.raises(PlanError, match=r"luminance of 4 source channels; expected 3"):
        adapt_channels(make_kernel(4), 1, "luminance")
    with pytest.raises(PlanError, match=r"for 0 input channels; expected one channel or more"):
        adapt_channels(make_kernel(3), 0)
    with pytest.raises(PlanError, match=r"a kernel of 1 axes"):
        adapt_channels(np.zeros(3, "float32"), 1)


# --- maps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "channels", "order", "expected"),
    [
        ("0:R,1:R,2:G", 3, "rgb", (0, 0, 1)),
        ("0:R,1:R,2:G", 3, "bgr", (2, 2, 1)),
        (" 1 : b , 0 : 2 ", 3, "rgb", (2, 2)),
        ("0:0", 1, "rgb", (0,)),
        ("3:4,2:3,1:2,0:1", 5, "rgb", (1, 2, 3, 4)),
    ],
)
def test_a_map_is_read(text: str, channels: int, order: str, expected: tuple[int, ...]) -> None:
    assert read_channel_map(text, channels, order) == expected
    kernel = make_kernel(channels)
    mapped = map_channels(kernel, expected)
    assert mapped.dtype == kernel.dtype
    for target, source in enumerate(expected):
        assert np.array_equal(mapped[:, :, target], kernel[:, :, source])


@given(st.lists(st.integers(0, 6), min_size=1, max_size=9), st.randoms())
def test_a_map_in_any_order_says_the_same(sources: list[int], random: object) -> None:
    parts = [f"{target}:{source}" for target, source in enumerate(sources)]
    random.shuffle(parts)  # type: ignore[attr-defined]
    assert read_channel_map(",".join(parts), 7) == tuple(sources)


@pytest.mark.parametrize(
    ("text", "channels", "message"),
    [
        ("", 3, "channel map entry ''; expected TARGET:SOURCE"),
        ("0:R,", 3, "channel map entry ''"),
        ("R:0", 3, "channel map entry 'R:0'"),
        ("0", 3, "channel map entry '0'"),
        ("-1:R", 3, "channel map entry '-1:R'"),
        ("²:R", 3, "channel map entry '²:R'"),
        ("99999:R", 3, "channel map entry '99999:R'"),
        ("0:R,0:G", 3, "gives target channel 0 twice; expected each target channel once"),
        ("0:R,2:G", 3, "leaves out target channel 1; expected all of 0 to 2; try to add 1:0"),
        ("1:R", 3, "leaves out target channel 0"),
        ("0:3", 3, "asks for source channel '3', and the source has 3; expected 0 to 2, or R, G or B"),
        ("0:X", 3, "asks for source channel 'X', and the source has 3"),
        ("0:RG", 3, "asks for source channel 'RG'"),
        ("0:", 3, "asks for source channel ''"),
        ("0:1", 1, "asks for source channel '1', and the source has 1; expected 0 to 0"),
        ("0:R", 1, "source channel 'R' of 1; expected R, G and B of three channels, or 0 to 0"),
        ("0:G", 4, "source channel 'G' of 4"),
    ],
)
def test_an_impossible_map_is_refused(text: str, channels: int, message: str) -> None:
    with pytest.raises(PlanError) as refusal:
        read_channel_map(text, channels)
    assert message in str(refusal.value)


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(ConfigError, match="channel order 'RGB'"):
        read_channel_map("0:R", 3, "RGB")


# --- contracts -----------------------------------------------------------------------------------------------

CONTRACTS = sorted(PREPROCESSINGS)


def apply(contract: Preprocessing, pixels: np.ndarray) -> np.ndarray:
    """Apply a contract to pixels (height, width, channels) that are in its order."""
    scale, offset = contract.for_channels(pixels.shape[-1])
    return pixels * np.asarray(scale) + np.asarray(offset)


@pytest.mark.parametrize("before", CONTRACTS)
@pytest.mark.parametrize("after", CONTRACTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_folded_kernel_answers_the_same_pixels_alike(before: str, after: str, channels: int) -> None:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 3, 4))
    pixels = rng.integers(0, 256, (9, 10, channels)).astype("float64")
    old, new = PREPROCESSINGS[before], PREPROCESSINGS[after]
    folded, shift = fold_contract(kernel, *old.for_channels(3), *new.for_channels(channels))
    assert folded.shape == (3, 3, channels, 4)
    expected = convolve(apply(old, np.broadcast_to(pixels, (9, 10, 3))), kernel)
    found = convolve(apply(new, pixels), folded) + shift
    assert np.abs(found - expected).max() <= 1e-10 * np.abs(expected).max()


numbers = st.floats(-100, 100).filter(lambda value: abs(value) > 1e-2)


@settings(deadline=None)
@given(st.data(), st.integers(1, 5), st.booleans(), st.integers(0, 99))
def test_any_contract_can_be_folded(data: st.DataObject, channels: int, grey: bool, seed: int) -> None:
    kernel = make_kernel(channels, seed, side=2).astype("float64")
    many = st.lists(numbers, min_size=channels, max_size=channels)
    few = st.lists(numbers, min_size=1, max_size=1) if grey else many
    s, o, t, u = (np.array(data.draw(each)) for each in (many, many, few, few))
    pixels = np.random.default_rng(seed).uniform(0, 1, (4, 5, len(t)))
    folded, shift = fold_contract(kernel, s, o, t, u)
    expected = convolve(np.broadcast_to(pixels, (4, 5, channels)) * s + o, kernel)
    found = convolve(pixels * t + u, folded) + shift
    # u·s/t reaches 10**6 and cancels.
    assert np.abs(found - expected).max() <= 1e-6


@given(st.lists(numbers, min_size=3, max_size=3), numbers, st.floats(-5, 5))
def test_zero_padding_is_kept_where_zero_is_the_same_pixel(
    scales: list[float], scale: float, zero: float
) -> None:
    """With o_c/s_c = u/t there is no shift, and the border is answered alike."""
    kernel = make_kernel(3).astype("float64")
    s = np.array(scales)
    folded, shift = fold_contract(kernel, s, s * zero, (scale,), (scale * zero,))
    assert np.abs(shift).max() < 1e-9
    grey = np.random.default_rng(1).uniform(0, 1, (6, 6, 1))
    expected = convolve(np.repeat(grey, 3, axis=-1) * s + s * zero, kernel, padding=1)
    assert np.allclose(convolve(grey * scale + scale * zero, folded, padding=1), expected, atol=1e-8)


def test_zero_padding_differs_at_the_border_alone_where_it_is_another_pixel() -> None:
    kernel = make_kernel(3).astype("float64")
    tf, unit = PREPROCESSINGS["tf"], PREPROCESSINGS["unit"]
    folded, shift = fold_contract(kernel, *tf.for_channels(3), *unit.for_channels(1))
    grey = np.random.default_rng(1).integers(0, 256, (6, 6, 1)).astype("float64")
    before = convolve(apply(tf, np.repeat(grey, 3, axis=-1)), kernel, padding=1)
    after = convolve(apply(unit, grey), folded, padding=1) + shift
    assert np.allclose(after[1:-1, 1:-1], before[1:-1, 1:-1])
    border = np.ones((6, 6), bool)
    border[1:-1, 1:-1] = False
    assert np.abs(after - before)[border].max() > 0.1


def test_the_same_contract_on_grey_is_the_sum_without_a_shift() -> None:
    kernel = make_kernel(3)
    contract = PREPROCESSINGS["tf"]
    folded, shift = fold_contract(kernel, *contract.for_channels(3), *contract.for_channels(1))
    assert np.array_equal(folded, adapt_channels(kernel, 1))
    assert folded.dtype == "float32"
    assert shift.dtype == "float64"
    assert np.abs(shift).max() < 1e-12


def test_the_shift_goes_into_a_batch_norm_s_moving_mean() -> None:
    rng = np.random.default_rng(2)
    kernel, mean, deviation = rng.normal(size=(3, 3, 3, 4)), rng.normal(size=4), rng.uniform(1, 2, 4)
    old, new = PREPROCESSINGS["torch"], PREPROCESSINGS["unit"]
    folded, shift = fold_contract(kernel, *old.for_channels(3), *new.for_channels(1))
    grey = rng.integers(0, 256, (6, 6, 1)).astype("float64")
    before = (convolve(apply(old, np.repeat(grey, 3, axis=-1)), kernel) - mean) / deviation
    after = (convolve(apply(new, grey), folded) - (mean - shift)) / deviation
    assert np.allclose(after, before)


@pytest.mark.parametrize(
    ("given_numbers", "message"),
    [
        (
            ((1.0,), (0.0,), (1.0,), (0.0,)),
            "contracts of 1 and 1 channels for a kernel of 3; expected 3 and 3, or 3 and 1",
        ),
        (((1.0,) * 3, (0.0,) * 3, (1.0,) * 2, (0.0,) * 2), "contracts of 3 and 2 channels"),
        (((1.0,) * 3, (0.0,) * 3, (1.0,), (0.0,) * 3), "contracts of 3 and 1 channels"),
        (((1.0,) * 3, (0.0,) * 3, (0.0,), (0.0,)), "with a scale of 0"),
        (((1.0, 0.0, 1.0), (0.0,) * 3, (1.0,), (0.0,)), "with a scale of 0"),
        (((1.0,) * 3, (0.0, math.nan, 0.0), (1.0,), (0.0,)), "not finite"),
        (((1.0,) * 3, (0.0,) * 3, (math.inf,), (0.0,)), "not finite"),
    ],
)
def test_contracts_that_cannot_be_folded_are_refused(
    given_numbers: tuple[tuple[float, ...], ...], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        fold_contract(make_kernel(3), *given_numbers)
