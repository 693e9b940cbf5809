"""DeLong's variance and test against their definition over all pairs, a published example, and another package."""

from __future__ import annotations

import math

import numpy as np
import pytest
from foreign import require
from scipy.special import ndtri
from scipy.stats import norm

from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.uncertainty.delong import delong_interval, delong_test, find_components

#: 43 patients: albumin, total protein, Krebs–Goplerud score, and 1 where surgery did not help. The data are those of
#: DeLong, DeLong & Clarke-Pearson (Biometrics 44, 1988) without missing values, as printed in the SAS/STAT User's
#: Guide, The LOGISTIC Procedure, "Comparing Receiver Operating Characteristic Curves".
PATIENTS = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1
3.8 5.7 5 1   3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0
2.3 4.4 6 1   4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1
3.1 6.6 6 1   4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0
3.7 6.1 5 1   3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1
3.3 5.7 6 1   3.7 6.9 5 1  3.6 6.6 5 1
"""

#: Area, standard error and 95 % Wald limits of each index, from the same page.
PUBLISHED = {
    "albumin": (0.7366, 0.0927, 0.5549, 0.9182),
    "protein": (0.6478, 0.1000, 0.4518, 0.8439),
    "score": (0.7258, 0.1028, 0.5243, 0.9273),
}

#: Difference from the K-G score: estimate, standard error, 95 % limits, p-value; from the same page.
PUBLISHED_DIFFERENCES = {
    "albumin": (0.0108, 0.0953, -0.1761, 0.1976, 0.9102),
    "protein": (-0.0780, 0.1046, -0.2830, 0.1271, 0.4561),
}


def make_table(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray | None = None) -> Predictions:
    return Predictions(
        ids=np.arange(len(labels)).astype(np.str_),
        labels=np.asarray(labels, dtype=float)[:, np.newaxis],
        scores=np.asarray(scores, dtype=float)[:, np.newaxis],
        classes=("yes",),
        splits=np.full(len(labels), "test"),
        patients=None if patients is None else patients.astype(np.str_),
        exclusive=False,
    )


def read_example() -> dict[str, Predictions]:
    """Read the indices as scores of benefit: high protein and albumin, and a low Krebs–Goplerud score."""
    numbers = np.array(PATIENTS.split(), dtype=float).reshape(-1, 4)
    labels = numbers[:, 3]
    return {
        "albumin": make_table(labels, numbers[:, 0] / 10),
        "protein": make_table(labels, numbers[:, 1] / 10),
        "score": make_table(labels, 1 - numbers[:, 2] / 12),
    }


def compare_pairs(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Compare every positive with every negative, (positives, negatives): 1 above, ½ tied, 0 below."""
    above = scores[labels == 1][:, np.newaxis] - scores[labels == 0]
    return (np.sign(above) + 1) / 2


def make_models(seed: int, count: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make labels and two models' scores in twentieths, so that many are tied."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(count) < 0.35).astype(float)
    shared = generator.random(count)
    scores = [
        np.round(0.3 * labels + 0.4 * shared + 0.3 * generator.random(count), 2) * 20 // 1 / 20 for _ in "ab"
    ]
    return labels, *scores


@pytest.mark.parametrize("seed", range(5))
def test_the_variance_is_that_of_the_structural_components(seed):
    labels, scores, _ = make_models(seed)
    pairs = compare_pairs(labels, scores)
    area = pairs.mean()
    own, other = pairs.mean(axis=1), pairs.mean(axis=0)
    variance = own.var(ddof=1) / own.size + other.var(ddof=1) / other.size
    found = find_components(make_table(labels, scores))
    assert found.area == pytest.approx(area, abs=1e-14)
    assert found.find_variance() == pytest.approx(variance, rel=1e-12)
    np.testing.assert_allclose(found.positives, own, atol=1e-14)
    np.testing.assert_allclose(found.negatives, other, atol=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_the_paired_test_is_that_of_the_covariance_matrix(seed):
    labels, first, second = make_models(seed)
    tables = [compare_pairs(labels, scores) for scores in (first, second)]
    own, other = (np.array([pairs.mean(axis=axis) for pairs in tables]) for axis in (1, 0))
    covariance = np.cov(own) / own.shape[1] + np.cov(other) / other.shape[1]
    contrast = np.array([1.0, -1.0])
    value = contrast @ [pairs.mean() for pairs in tables]
    error = math.sqrt(contrast @ covariance @ contrast)
    found = delong_test(make_table(labels, first), make_table(labels, second))
    assert found.value == pytest.approx(value, abs=1e-14)
    assert found.p == pytest.approx(2 * norm.sf(abs(value) / error), rel=1e-9)
    np.testing.assert_allclose([found.low, found.high], value + np.array([-1, 1]) * norm.ppf(0.975) * error)


@pytest.mark.parametrize("seed", range(3))
def test_the_clustered_variance_is_obuchowski_s(seed):
    labels, scores, _ = make_models(seed)
    patients = np.random.default_rng(seed).integers(0, 25, labels.size)
    pairs = compare_pairs(labels, scores)
    area, (positives, negatives) = pairs.mean(), pairs.shape
    own = [pairs[patients[labels == 1] == one] for one in range(25)]
    other = [pairs[:, patients[labels == 0] == one] for one in range(25)]
    # Equations of Obuchowski, Biometrics 53 (1997): sums over patients of what their rows add.
    first = np.array([part.mean(axis=1).sum() - len(part) * area for part in own])
    second = np.array([part.mean(axis=0).sum() - part.shape[1] * area for part in other])
    with_own, with_other = sum(len(part) > 0 for part in own), sum(part.shape[1] > 0 for part in other)
    everyone = len(np.unique(patients))
    variance = with_own / (with_own - 1) / positives * (first**2).sum() / positives
    variance += with_other / (with_other - 1) / negatives * (second**2).sum() / negatives
    variance += 2 * everyone / (everyone - 1) * (first * second).sum() / (positives * negatives)
    found = find_components(make_table(labels, scores, patients))
    assert found.find_variance() == pytest.approx(variance, rel=1e-12)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_areas_and_errors_of_the_paper_s_patients(name):
    area, error, low, high = PUBLISHED[name]
    rows = read_example()[name]
    found = find_components(rows)
    assert found.area == pytest.approx(area, abs=5e-5)
    assert math.sqrt(found.find_variance()) == pytest.approx(error, abs=5e-5)
    # The published limits are the area ± 1.96 errors; ours are those on the logit scale.
    half = ndtri(0.975) * math.sqrt(found.find_variance())
    assert [found.area - half, found.area + half] == pytest.approx([low, high], abs=5e-5)
    logit, slope = math.log(area / (1 - area)), 1 / (area * (1 - area))
    ends = [1 / (1 + math.exp(-(logit + side * 1.959964 * error * slope))) for side in (-1, 1)]
    assert list(delong_interval(rows)) == pytest.approx(ends, abs=5e-4)


@pytest.mark.parametrize("name", PUBLISHED_DIFFERENCES)
def test_the_differences_of_the_paper_s_patients(name):
    value, error, low, high, p = PUBLISHED_DIFFERENCES[name]
    example = read_example()
    found = delong_test(example[name], example["score"])
    assert [found.value, found.low, found.high, found.p] == pytest.approx([value, low, high, p], abs=5e-5)
    assert (found.high - found.low) / 2 / ndtri(0.975) == pytest.approx(error, abs=5e-5)


@pytest.mark.parametrize("seed", range(5))
def test_confidenceinterval_has_the_same_variance(seed):
    theirs = require("confidenceinterval.delong")
    labels, scores, _ = make_models(seed)
    area, variance = theirs.delong_roc_variance(labels == 1, scores)
    found = find_components(make_table(labels, scores))
    # It keeps the components in float32.
    assert found.area == pytest.approx(float(np.squeeze(area)), abs=1e-6)
    assert found.find_variance() == pytest.approx(float(variance), rel=1e-5)


def test_where_confidenceinterval_leaves_0_to_1_or_has_nothing_to_divide_ours_does_not():
    # Its reports 14 and 15: an area with one positive, and a limit above 1.
    theirs = require("confidenceinterval.auc")
    labels = np.array([0, 0, 0, 0, 1, 1, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.75, 0.7, 0.8, 0.9])
    assert theirs.roc_auc_score(labels == 1, scores)[1][1] > 1
    assert delong_interval(make_table(labels, scores)).high < 1
    assert delong_interval(make_table(labels[:5], scores[:5])).reason == "no interval: a single positive row"
