"""The phantom against its closed form; every bound is a multiple of a derived standard error."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from medzoo.data.dataset import Dataset
from medzoo.data.phantom import (
    detectability,
    draw_noise,
    ideal_auroc,
    lesion,
    make_phantom,
    matched_filter,
    noise_power,
    scale_lesion,
)

COUNT = 20_000
FEW = {"train": 6, "validation": 4, "test": 4}


@pytest.fixture(scope="module")
def many() -> Dataset:
    return make_phantom(seed=3, counts={"test": COUNT})


def take_pixels(dataset: Dataset) -> np.ndarray:
    assert dataset.images is not None
    return dataset.images[..., 0]


def test_noise_has_the_power_it_is_said_to_have(many: Dataset) -> None:
    noise = take_pixels(many)[0::2].astype(np.float64)
    ratio = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=0) / noise_power(32, 3.0)
    # |DFT|² is P times an exponential, of standard deviation 1, but χ²₁, of √2, in the four real bins.
    bins_error = 1 / math.sqrt(len(noise))
    assert np.abs(ratio - 1).max() < 5 * math.sqrt(2) * bins_error  # the largest of 514 independent bins
    # Conjugate bins agree, so the mean of 1024 has the error of about 512 independent ones.
    assert abs(ratio.mean() - 1) < 4 * bins_error / math.sqrt(512)


def test_noise_is_stationary_with_unit_variance_and_zero_mean(many: Dataset) -> None:
    noise = take_pixels(many)[0::2].astype(np.float64)
    count = len(noise)
    assert np.abs(noise.mean(axis=0)).max() < 5 / math.sqrt(count)
    assert np.abs(noise.var(axis=0) - 1).max() < 5 * math.sqrt(2 / count)


def test_power_falls_as_the_cube_of_frequency() -> None:
    power = noise_power(32, 3.0)
    assert power[0, 1] / power[0, 2] == pytest.approx(8)
    assert power[3, 4] == pytest.approx(power[0, 5])
    assert power[0, 0] == power[0, 1]
    assert power.sum() / 32**4 == pytest.approx(1)


def test_the_matched_filter_reaches_the_limit(many: Dataset) -> None:
    power = noise_power(32, 3.0)
    signal = scale_lesion(lesion(32, 2.0), power, 2.0)
    scores = matched_filter(take_pixels(many), signal, power)
    present = many.table["label"].to_numpy() == "present"
    half = COUNT // 2
    assert present.sum() == half
    # Scores are normal with variance d′² = 4 and means 0 and d′² = 4.
    assert abs(scores[~present].mean()) < 4 * 2 / math.sqrt(half)
    assert abs(scores[present].mean() - 4) < 4 * 2 / math.sqrt(half)
    for group in (scores[present], scores[~present]):
        assert abs(group.std() - 2) < 4 * 2 / math.sqrt(2 * half)
    limit = many.limit
    assert limit is not None
    assert limit == pytest.approx(norm.cdf(math.sqrt(2)), abs=1e-12)
    # Hanley & McNeil (1982): the standard error of an AUROC, here .0019.
    first, second = limit / (2 - limit), 2 * limit**2 / (1 + limit)
    error = math.sqrt((limit * (1 - limit) + (half - 1) * (first + second - 2 * limit**2)) / half**2)
    assert abs(roc_auc_score(present, scores) - limit) < 4 * error


def test_no_pixel_sum_beats_the_limit(many: Dataset) -> None:
    present = many.table["label"].to_numpy() == "present"
    unwhitened = take_pixels(many).reshape(COUNT, -1) @ lesion(32, 2.0).reshape(-1)
    assert many.limit is not None
    assert 0.5 < roc_auc_score(present, unwhitened) < many.limit - 0.02


def test_detectability_is_linear_in_the_amplitude_and_agrees_with_the_covariance() -> None:
    power = noise_power(16, 3.0)
    shape = lesion(16, 2.0)
    unit = detectability(shape, power)
    assert detectability(2.5 * shape, power) == pytest.approx(2.5 * unit)
    assert detectability(scale_lesion(shape, power, 2.0), power) == pytest.approx(2.0)
    # The same d′ from the pixels: sᵀK⁻¹s with the circulant covariance K of the noise.
    correlation = np.fft.ifft2(power).real / 16**2
    rows, columns = np.divmod(np.arange(256), 16)
    covariance = correlation[(rows[:, None] - rows) % 16, (columns[:, None] - columns) % 16]
    flat = shape.reshape(-1)
    assert math.sqrt(flat @ np.linalg.solve(covariance, flat)) == pytest.approx(unit)


def test_lesion_is_centred_between_the_middle_pixels() -> None:
    shape = lesion(32, 2.0)
    assert np.allclose(shape, shape[::-1, ::-1])
    assert np.allclose(shape, shape.T)
    assert shape[15, 15] == pytest.approx(math.exp(-0.5 / 8))
    assert shape[15, 17] / shape[15, 15] == pytest.approx(math.exp(-(1.5**2 - 0.5**2) / 8))


def test_same_seed_same_bytes_and_splits_differ() -> None:
    def digest(dataset: Dataset) -> str:
        return hashlib.sha256(take_pixels(dataset).tobytes()).hexdigest()

    assert digest(make_phantom(1, FEW)) == digest(make_phantom(1, FEW))
    assert digest(make_phantom(1, FEW)) != digest(make_phantom(2, FEW))
    phantom = make_phantom(1, FEW)
    parts = [take_pixels(phantom.of_split(split))[:4] for split in FEW]
    assert not any(np.array_equal(parts[one], parts[other]) for one, other in [(0, 1), (0, 2), (1, 2)])
    # A split's images do not depend on the others.
    assert np.array_equal(take_pixels(make_phantom(1, {"test": 4})), parts[2])


def test_the_data_set_is_as_described() -> None:
    phantom = make_phantom()
    assert phantom.table["split"].value_counts().to_dict() == {
        "train": 4000,
        "validation": 1000,
        "test": 4000,
    }
    assert (phantom.table.groupby("split")["label"].value_counts(normalize=True) == 0.5).all()
    assert phantom.table["id"].is_unique
    assert phantom.classes == ("absent", "present")
    assert phantom.images is not None
    assert phantom.images.dtype == np.float32
    assert phantom.value_range is None
    assert ideal_auroc(2.0) == pytest.approx(0.9213504)


def test_noise_of_odd_size_has_its_power_too() -> None:
    power = noise_power(5, 1.0)
    noise = draw_noise(4000, power, np.random.default_rng(0))
    ratio = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=0) / power
    assert np.abs(ratio - 1).max() < 5 * math.sqrt(2 / 4000)
