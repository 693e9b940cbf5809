"""Gabor banks: the formula, the order of filters, the scale; sizes that cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.errors import ConfigError, PlanError
from medzoo.transplant.gabor import list_places, make_gabor

SHAPES = st.tuples(st.integers(3, 12), st.integers(3, 12), st.integers(1, 4), st.integers(1, 100))


def sample(shape: tuple[int, ...], theta: float, frequency: float, phase: float, aspect: float) -> np.ndarray:
    """Evaluate METHODS' formula at one pixel after the other, and subtract the mean."""
    sigma = 1 / (math.pi * frequency) * math.sqrt(math.log(2) / 2) * (2**1 + 1) / (2**1 - 1)
    values = np.empty(shape[:2])
    for row in range(shape[0]):
        for column in range(shape[1]):
            x, y = column - (shape[1] - 1) / 2, row - (shape[0] - 1) / 2
            across = x * math.cos(theta) + y * math.sin(theta)
            along = -x * math.sin(theta) + y * math.cos(theta)
            envelope = math.exp(-(across**2 + aspect**2 * along**2) / (2 * sigma**2))
            values[row, column] = envelope * math.cos(2 * math.pi * frequency * across + phase)
    return values - values.mean()


@pytest.mark.parametrize("shape", [(7, 7, 3, 64), (3, 3, 1, 10), (5, 11, 2, 40)])
@pytest.mark.parametrize("aspect", [0.5, 1.0])
def test_every_filter_is_the_formula_up_to_one_scale(shape: tuple[int, ...], aspect: float) -> None:
    bank = make_gabor(shape, deviation=0.2, aspect=aspect)
    expected = np.stack([sample(shape, *place, aspect) for place in list_places(shape)], axis=-1)
    expected *= 0.2 / expected.std()
    assert np.abs(bank - expected[:, :, None, :]).max() < 1e-6


def test_sixty_four_filters_are_eight_orientations_of_four_frequencies_and_two_phases() -> None:
    places = list_places((7, 7, 3, 64))
    frequencies = [0.08 * 4 ** (step / 3) for step in range(4)]
    expected = [
        (math.pi * orientation / 8, frequency, phase)
        for orientation in range(8)
        for frequency in frequencies
        for phase in (0.0, math.pi / 2)
    ]
    assert np.allclose(places, expected, rtol=1e-12)
    bank = make_gabor((7, 7, 3, 64), 0.1)
    flat = np.array([bank[:, :, 0, index].ravel() for index in range(64)])
    # No filter is another one, nor its negative.
    assert (np.abs(np.corrcoef(flat)) - np.eye(64)).max() < 0.999


@pytest.mark.parametrize(
    ("count", "orientations", "frequencies"), [(8, 4, 1), (16, 4, 2), (24, 4, 3), (32, 4, 4), (128, 16, 4)]
)
def test_other_numbers_have_other_orientations(count: int, orientations: int, frequencies: int) -> None:
    places = list_places((7, 7, 3, count))
    assert len(set(places)) == count
    assert len({theta for theta, _, _ in places}) == orientations
    assert len({frequency for _, frequency, _ in places}) == frequencies


@given(st.integers(3, 31), st.integers(1, 300))
def test_any_number_is_filled_without_repeats_and_below_the_limit_of_sampling(side: int, count: int) -> None:
    places = list_places((side, side, 3, count))
    assert len(places) == len(set(places)) == count
    assert all(0.55 / side < frequency < 0.3201 for _, frequency, _ in places)
    assert all(0 <= theta < math.pi for theta, _, _ in places)
    if count >= 8:
        assert len({theta for theta, _, _ in places}) >= 4


@settings(deadline=None, max_examples=50)
@given(SHAPES, st.floats(1e-3, 10), st.floats(-1, 1), st.sampled_from(["tensor", "filter"]))
def test_the_scale_is_as_asked_and_every_input_channel_the_same(
    shape: tuple[int, ...], deviation: float, mean: float, per: str
) -> None:
    bank = make_gabor(shape, deviation, mean, per)
    assert (bank.shape, bank.dtype) == (shape, np.dtype("float32"))
    assert bank.tobytes() == make_gabor(shape, deviation, mean, per).tobytes()
    values = bank.astype("float64")
    # float32 keeps 7 digits of a value of the size of mean and deviation together.
    slack = 1e-6 * (abs(mean) + 10 * deviation)
    assert np.abs(values.mean(axis=(0, 1)) - mean).max() < slack
    found = values.std(axis=(0, 1, 2)) if per == "filter" else values.std()
    assert np.abs(found - deviation).max() < slack
    assert np.array_equal(bank, np.repeat(bank[:, :, :1], shape[2], axis=2))


def test_per_tensor_leaves_filters_of_different_strength_and_per_filter_does_not() -> None:
    strengths = make_gabor((7, 7, 3, 64), 1.0).std(axis=(0, 1, 2))
    assert strengths.max() > 1.5 * strengths.min()
    assert np.allclose(make_gabor((7, 7, 3, 64), 1.0, per="filter").std(axis=(0, 1, 2)), 1, atol=1e-6)


def test_a_filter_answers_its_own_stripes_most() -> None:
    """The odd filter at the highest frequency, upright stripes (θ = 0): which side x is on, and which way θ turns."""
    bank = make_gabor((7, 7, 1, 64), 1.0, per="filter")[:, :, 0]
    y, x = np.mgrid[:7, :7] - 3.0
    for theta, first in ((0.0, 0), (math.pi / 4, 16), (math.pi / 2, 32)):
        stripes = np.cos(2 * math.pi * 0.32 * (x * math.cos(theta) + y * math.sin(theta)) + math.pi / 2)
        answers = (bank * stripes[:, :, None]).sum(axis=(0, 1))
        assert np.argmax(answers) == first + 7


@pytest.mark.parametrize(
    "shape", [(7, 7, 64), (2, 7, 3, 64), (1, 1, 3, 64), (7, 7, 0, 64), (7, 7, 3, 0), (3, 3, 3, 1, 8), ()]
)
def test_a_shape_without_a_window_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PlanError, match=r"a Gabor bank of .*; expected height × width × inputs × filters"):
        make_gabor(shape, 0.1)


@pytest.mark.parametrize(
    "numbers",
    [
        {"deviation": -0.1},
        {"deviation": math.nan},
        {"deviation": 0.1, "mean": math.inf},
        {"deviation": 0.1, "aspect": 0},
        {"deviation": 0.1, "aspect": math.nan},
    ],
)
def test_impossible_numbers_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(PlanError, match="expected finite numbers, the deviation 0 or more"):
        make_gabor((7, 7, 3, 64), **numbers)


def test_another_scale_is_refused() -> None:
    with pytest.raises(ConfigError, match="a scale per 'channel'; expected one of tensor, filter"):
        make_gabor((7, 7, 3, 64), 0.1, per="channel")
