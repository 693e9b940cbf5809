"""Calibration errors and losses against scikit-learn, netcal and a loop that follows the definition word by word."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from medzoo.evaluation.calibration.bins import reliability_bins
from medzoo.evaluation.calibration.metrics import (
    brier,
    brier_decomposition,
    ece,
    ece_classwise,
    ece_equal_mass,
    mce,
    nll,
)
from medzoo.evaluation.predictions import Predictions

ROWS = 400


def make_exclusive(classes: int, seed: int = 0) -> Predictions:
    """Rows whose scores are too sure of themselves."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, (ROWS, classes))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    codes = np.array([generator.choice(classes, p=row) for row in true])
    said = np.exp(2 * logits) / np.exp(2 * logits).sum(axis=1, keepdims=True)
    return name_rows(np.eye(classes)[codes], said)


def make_labels(width: int, seed: int = 0, masked: float = 0.0) -> Predictions:
    generator = np.random.default_rng(seed)
    said = generator.uniform(0, 1, (ROWS, width))
    labels = (generator.uniform(0, 1, said.shape) < said**2).astype(float)
    labels[generator.uniform(0, 1, said.shape) < masked] = np.nan
    return name_rows(labels, said, exclusive=False)


def name_rows(labels: np.ndarray, scores: np.ndarray, exclusive: bool = True) -> Predictions:
    ids, splits = np.arange(len(labels)).astype(np.str_), np.full(len(labels), "test")
    return Predictions(ids, labels, scores, tuple("abcdef"[: labels.shape[1]]), splits, exclusive=exclusive)


def list_gaps(said: list[float], true: list[float], bins: int) -> list[tuple[int, float]]:
    """Count rows and gap of each bin that is not empty, one row at a time: bins (0, 1/M], (1/M, 2/M], …"""
    rows: dict[int, list[tuple[float, float]]] = {}
    for score, label in zip(said, true, strict=True):
        place = max(0, math.ceil(score * bins) - 1)
        rows.setdefault(place, []).append((score, label))
    found = []
    for inside in rows.values():
        confidence = math.fsum(score for score, _ in inside) / len(inside)
        observed = math.fsum(label for _, label in inside) / len(inside)
        found.append((len(inside), abs(confidence - observed)))
    return found


def loop_ece(said: list[float], true: list[float], bins: int = 15) -> float:
    return sum(count * gap for count, gap in list_gaps(said, true, bins)) / len(said)


def take_top(rows: Predictions) -> tuple[list[float], list[float]]:
    pairs = [(max(said), said.index(max(said))) for said in rows.scores.tolist()]
    return [score for score, _ in pairs], [float(rows.labels[row, top]) for row, (_, top) in enumerate(pairs)]


@pytest.mark.parametrize("bins", [1, 7, 15])
@pytest.mark.parametrize("classes", [2, 5])
def test_errors_of_exclusive_classes_follow_the_definition(classes: int, bins: int) -> None:
    rows = make_exclusive(classes)
    said, true = take_top(rows)
    assert ece(rows, bins) == pytest.approx(loop_ece(said, true, bins), abs=1e-12)
    assert mce(rows, bins) == pytest.approx(max(gap for _, gap in list_gaps(said, true, bins)), abs=1e-12)
    each = [loop_ece(rows.scores[:, j].tolist(), rows.labels[:, j].tolist(), bins) for j in range(classes)]
    assert ece_classwise(rows, bins) == pytest.approx(np.mean(each), abs=1e-12)
    assert ece(rows, bins) > 0.05


def test_errors_of_labels_are_means_over_labels_of_what_is_annotated() -> None:
    rows = make_labels(4, masked=0.3)
    each, worst = [], []
    for column in range(4):
        known = ~np.isnan(rows.labels[:, column])
        assert 0 < known.sum() < ROWS
        said, true = rows.scores[known, column].tolist(), rows.labels[known, column].tolist()
        each.append(loop_ece(said, true))
        worst.append(max(gap for _, gap in list_gaps(said, true, 15)))
    assert ece(rows) == ece_classwise(rows) == pytest.approx(np.mean(each), abs=1e-12)
    assert mce(rows) == pytest.approx(np.mean(worst), abs=1e-12)


def test_equal_mass_without_ties_has_equal_counts() -> None:
    rows = make_labels(1)
    said, true = rows.scores[:, 0], rows.labels[:, 0]
    order = np.argsort(said)
    parts = np.array_split(order, 8)
    expected = sum(abs((true[part] - said[part]).sum()) for part in parts) / ROWS
    assert ece_equal_mass(rows, 8) == pytest.approx(expected, abs=1e-12)
    assert reliability_bins(rows, 0, 8, "mass").counts.tolist() == [50] * 8


@pytest.mark.parametrize("equal", ["width", "mass"])
def test_bins_are_those_of_calibration_curve(equal: str) -> None:
    rows = make_labels(1)
    found = reliability_bins(rows, 0, 10, equal)  # type: ignore[arg-type]
    strategy = {"width": "uniform", "mass": "quantile"}[equal]
    observed, confidence = calibration_curve(
        rows.labels[:, 0], rows.scores[:, 0], n_bins=10, strategy=strategy
    )
    np.testing.assert_allclose(found.observed, observed, atol=1e-12)
    np.testing.assert_allclose(found.confidence, confidence, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_losses_of_exclusive_classes_are_scikit_learns(classes: int) -> None:
    rows = make_exclusive(classes)
    codes = rows.labels.argmax(axis=1)
    assert nll(rows) == pytest.approx(log_loss(codes, rows.scores), abs=1e-10)
    said = rows.scores[:, 1] if classes == 2 else rows.scores
    assert brier(rows) == pytest.approx(brier_score_loss(codes, said), abs=1e-12)


def test_losses_of_labels_are_scikit_learns_means() -> None:
    rows = make_labels(3, masked=0.3)
    known = [~np.isnan(rows.labels[:, column]) for column in range(3)]
    pairs = [(rows.labels[mask, j], rows.scores[mask, j]) for j, mask in enumerate(known)]
    assert nll(rows) == pytest.approx(np.mean([log_loss(*pair) for pair in pairs]), abs=1e-12)
    assert brier(rows) == pytest.approx(np.mean([brier_score_loss(*pair) for pair in pairs]), abs=1e-12)


def test_what_was_certain_and_wrong_is_as_bad_as_scikit_learn_says() -> None:
    rows = name_rows(np.eye(2)[[0, 1, 1]], np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]))
    assert nll(rows) == pytest.approx(log_loss([0, 1, 1], rows.scores), rel=1e-9)
    assert np.isfinite(nll(rows))


@pytest.mark.parametrize("equal", ["width", "mass"])
@pytest.mark.parametrize("seed", range(3))
def test_the_parts_of_the_brier_score_are_that_of_binned_forecasts(equal: str, seed: int) -> None:
    rows = make_labels(2, seed, masked=0.2)
    for column in range(2):
        known = ~np.isnan(rows.labels[:, column])
        said, true = rows.scores[known, column], rows.labels[known, column]
        reliability, resolution, uncertainty = brier_decomposition(rows, column, 12, equal)  # type: ignore[arg-type]
        found = reliability_bins(rows, column, 12, equal)  # type: ignore[arg-type]
        binned = found.confidence[np.searchsorted(found.edges[1:-1], said)]
        expected = brier_score_loss(true, binned)
        assert reliability - resolution + uncertainty == pytest.approx(expected, abs=1e-12)
        assert uncertainty == pytest.approx(np.var(true), abs=1e-12)
        assert min(reliability, resolution) > 0


def test_errors_are_netcals() -> None:
    netcal = pytest.importorskip(
        "netcal.metrics.confidence",
        reason="netcal is not installed: it needs torch and does no more than compare",
    )
    rows = make_exclusive(4)
    codes = rows.labels.argmax(axis=1)
    assert ece(rows) == pytest.approx(netcal.ECE(15).measure(rows.scores, codes), abs=1e-9)
    assert mce(rows) == pytest.approx(netcal.MCE(15).measure(rows.scores, codes), abs=1e-9)
    # Of two classes netcal bins the last one's score, as of a label, and not that of the top one.
    two = make_exclusive(2)
    expected = netcal.ECE(15).measure(two.scores, two.labels.argmax(axis=1))
    assert ece(name_rows(two.labels[:, 1:], two.scores[:, 1:], exclusive=False)) == pytest.approx(
        expected, abs=1e-9
    )
    one = make_labels(1)
    labels = one.labels[:, 0].astype(int)
    assert ece(one) == pytest.approx(netcal.ECE(15).measure(one.scores[:, 0], labels), abs=1e-9)
