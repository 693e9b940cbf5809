"""Scores of strangeness against direct formulas; AUROC and FPR95 of them; what no score can be made of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medzoo.errors import DataError
from medzoo.evaluation.shift import detectors
from medzoo.evaluation.shift.detection import detection_scores
from medzoo.evaluation.shift.detectors import energy, k_nearest, mahalanobis, max_softmax
from medzoo.evaluation.uncertainty.resampling import Resampling

QUICK = Resampling(replicates=200)


def test_energy_and_softmax_are_their_formulas() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (20, 4))
    np.testing.assert_allclose(energy(logits), -np.log(np.exp(logits).sum(axis=1)))
    np.testing.assert_allclose(energy(logits, exclusive=False), -np.log1p(np.exp(logits)).sum(axis=1))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(max_softmax(probabilities), 1 - probabilities.max(axis=1))
    assert np.isfinite(energy(np.array([[-2000.0, 2000.0]]))).all()
    assert np.isfinite(energy(np.array([[-2000.0, 2000.0]]), exclusive=False)).all()


def test_mahalanobis_is_the_nearest_class_under_one_covariance() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(3, 3))
    groups = np.repeat([0, 1], 4000)
    means = np.array([[0.0, 0.0, 0.0], [9.0, -3.0, 5.0]])
    training = rng.normal(size=(8000, 3)) @ mixing + means[groups]
    asked = rng.normal(0, 6, (50, 3))
    inverse = np.linalg.inv(mixing.T @ mixing)
    exact = np.min([np.einsum("ni,ij,nj->n", asked - mean, inverse, asked - mean) for mean in means], axis=0)
    labels = np.eye(2)[groups]
    np.testing.assert_allclose(mahalanobis(training, asked, labels), exact, rtol=0.15)
    # A class that nothing was annotated of has no mean, and unannotated rows belong to none.
    padded = np.hstack([labels, np.zeros((8000, 1))])
    np.testing.assert_array_equal(mahalanobis(training, asked, padded), mahalanobis(training, asked, labels))
    unknown = np.vstack([labels, np.full((10, 2), np.nan)])
    more = np.vstack([training, np.full((10, 3), 100.0)])
    np.testing.assert_array_equal(mahalanobis(more, asked, unknown), mahalanobis(training, asked, labels))
    # Without labels there is one mean: the midst between two classes is then near.
    midst = means.mean(axis=0, keepdims=True)
    assert mahalanobis(training, midst)[0] < 0.1 < mahalanobis(training, midst, labels)[0]


def test_mahalanobis_does_with_fewer_images_than_features() -> None:
    rng = np.random.default_rng(0)
    training = rng.normal(size=(20, 200))
    near, far = mahalanobis(training, np.stack([training[0] * 0.5, training[0] * 5]))
    assert 0 < near < far
    with pytest.raises(DataError, match="all alike"):
        mahalanobis(np.ones((5, 3)), np.ones((2, 3)))
    with pytest.raises(DataError, match="1 training images"):
        mahalanobis(np.ones((1, 3)), np.ones((2, 3)))
    with pytest.raises(DataError, match="8,193 features"):
        mahalanobis(np.ones((2, 8193)), np.ones((2, 8193)))


@pytest.mark.parametrize("neighbours", [1, 7, 50])
def test_k_nearest_counts_neighbours_by_angle(monkeypatch: pytest.MonkeyPatch, neighbours: int) -> None:
    rng = np.random.default_rng(0)
    training, asked = rng.normal(size=(60, 5)), rng.normal(size=(33, 5))
    lengths = [np.linalg.norm(some, axis=1, keepdims=True) for some in (training, asked)]
    distances = np.linalg.norm((asked / lengths[1])[:, None] - (training / lengths[0])[None], axis=2)
    wanted = np.sort(distances, axis=1)[:, neighbours - 1]
    np.testing.assert_allclose(k_nearest(training, asked, neighbours), wanted, atol=1e-6)
    monkeypatch.setattr(detectors, "BLOCK", 60 * 4)
    np.testing.assert_allclose(k_nearest(training, asked * 9, neighbours), wanted, atol=1e-6)


def test_k_nearest_keeps_to_the_images_there_are() -> None:
    training = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert k_nearest(training, np.array([[2.0, 0.0]]), 50)[0] == pytest.approx(math.sqrt(2))
    assert k_nearest(training, np.zeros((1, 2)))[0] == 1
    for wrong in (0, -1):
        with pytest.raises(DataError, match="neighbour"):
            k_nearest(training, training, wrong)
    with pytest.raises(DataError, match="features of shapes"):
        k_nearest(training, np.zeros((2, 3)))


def test_fpr95_is_the_share_let_in_where_19_of_20_are_kept() -> None:
    inside = np.arange(20.0)  # the threshold that keeps 19 of them is 18
    outside = np.array([17.0, 18.0, 18.5, 19.0])
    found = detection_scores(inside, outside, QUICK)
    assert found.fpr95.value == 0.5
    assert found.auroc.value == pytest.approx((17.5 + 18.5 + 19 + 19.5) / 80)
    described = found.describe()
    assert described["auroc"]["n"] == 24
    assert (described["fpr95"]["positives"], described["fpr95"]["negatives"]) == (4, 20)


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=20), st.lists(st.integers(0, 9), min_size=1, max_size=20)
)
def test_only_the_order_counts_and_sides_swap(inside: list[int], outside: list[int]) -> None:
    first, second = np.array(inside, float), np.array(outside, float)
    quick = Resampling(replicates=2)
    plain = detection_scores(first, second, quick)
    curved = detection_scores(np.exp(first), np.exp(second), quick)
    assert (plain.auroc.value, plain.fpr95.value) == (curved.auroc.value, curved.fpr95.value)
    swapped = detection_scores(second, first, quick)
    assert swapped.auroc.value == pytest.approx(1 - plain.auroc.value)
    pairs = [(b > a) + (b == a) / 2 for a in inside for b in outside]
    assert plain.auroc.value == pytest.approx(np.mean(pairs))
    assert 0 <= plain.fpr95.value <= 1


def test_intervals_hold_the_value_and_widen_with_patients() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(30), 10)
    inside = rng.normal(0, 1, 30)[patients] + rng.normal(0, 0.2, 300)
    outside = rng.normal(1, 1, 30)[patients] + rng.normal(0, 0.2, 300)
    rows = detection_scores(inside, outside, QUICK)
    whole = detection_scores(inside, outside, QUICK, inside_patients=patients, outside_patients=patients)
    for one in (rows, whole):
        for score in (one.auroc, one.fpr95):
            assert score.low < score.value < score.high
    assert whole.auroc.high - whole.auroc.low > 2 * (rows.auroc.high - rows.auroc.low)
    assert whole.auroc.counts.patients == 60
    assert rows.auroc.counts.patients is None
    assert detection_scores(inside, outside, QUICK) == rows
    moved = detection_scores(inside, outside, Resampling(replicates=200, kind="bca"))
    assert moved.auroc.value == rows.auroc.value
    assert moved.auroc.low < moved.auroc.value < moved.auroc.high


def test_what_cannot_be_measured_is_said() -> None:
    found = detection_scores(np.array([]), np.array([1.0]), QUICK)
    assert math.isnan(found.auroc.value)
    assert found.auroc.reason == "no images in the distribution"
    parted = detection_scores(np.array([0.0, 1.0]), np.array([2.0, 3.0]), QUICK)
    assert (parted.auroc.value, parted.fpr95.value) == (1.0, 0.0)
    assert math.isnan(parted.auroc.low)
    assert "every resample gives 1.000" in str(parted.auroc.reason)
    alone = detection_scores(np.arange(9.0), np.array([5.5]), QUICK)
    assert alone.auroc.value == pytest.approx(6 / 9)
    assert alone.auroc.reason == alone.fpr95.reason == "no interval from a single row"
    with pytest.raises(DataError, match="NaN or infinity"):
        detection_scores(np.array([np.nan]), np.array([1.0]))
