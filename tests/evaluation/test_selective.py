"""Selective prediction: curves by hand, ties, labels, and thresholds that come from validation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.metrics.discrimination import accuracy, auroc
from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.selective import (
    choose_deferral,
    measure_confidence,
    measure_errors,
    metric_at_coverage,
    risk_coverage,
)

CONFIDENCES = ("max", "margin", "entropy")


def name_rows(labels: np.ndarray, scores: np.ndarray, exclusive: bool = True) -> Predictions:
    ids, splits = np.arange(len(labels)).astype(np.str_), np.full(len(labels), "validation")
    return Predictions(ids, labels, scores, tuple("abcdef"[: labels.shape[1]]), splits, exclusive=exclusive)


def make_binary(right: list[int], sureness: list[float]) -> Predictions:
    """Rows that are right or wrong with a given highest probability, all called the second class."""
    said = np.array(sureness)
    return name_rows(np.eye(2)[right], np.stack([1 - said, said], axis=1))


def draw(seed: int, exclusive: bool) -> Predictions:
    generator = np.random.default_rng(seed)
    scores = (
        generator.dirichlet(np.ones(3), 40) if exclusive else np.round(generator.uniform(0, 1, (40, 3)), 1)
    )
    labels = (
        np.eye(3)[generator.integers(0, 3, 40)]
        if exclusive
        else (scores + generator.normal(0, 0.4, (40, 3)) > 0.5)
    )
    labels = labels.astype(float)
    labels[::7] = np.nan
    return name_rows(labels, scores, exclusive)


def test_the_curve_and_its_area_by_hand() -> None:
    found = risk_coverage(make_binary([1, 0, 1, 1], [0.9, 0.8, 0.7, 0.6]))
    assert found.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert found.risk.tolist() == [0, 1 / 2, 1 / 3, 1 / 4]
    assert found.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    # The one error last of all would leave 0, 0, 0, 1/4.
    assert found.excess == pytest.approx(found.area - 1 / 16)


def test_errors_that_come_last_have_no_excess() -> None:
    found = risk_coverage(make_binary([1, 1, 1, 0, 0], [0.9, 0.85, 0.8, 0.6, 0.55]))
    assert found.excess == pytest.approx(0, abs=1e-12)
    assert found.area == pytest.approx((1 / 4 + 2 / 5) / 5)


def test_one_confidence_for_all_has_the_same_risk_everywhere() -> None:
    found = risk_coverage(make_binary([1, 0, 1, 0], [0.8] * 4))
    assert found.coverage.tolist() == [1.0]
    assert found.area == pytest.approx(0.5)


@pytest.mark.parametrize("confidence", CONFIDENCES)
@given(seed=st.integers(0, 10**6), exclusive=st.booleans())
def test_curves_end_at_the_error_and_do_not_see_the_order(confidence, seed: int, exclusive: bool) -> None:
    rows = draw(seed, exclusive)
    found = risk_coverage(rows, confidence)
    assert found.coverage[-1] == 1
    assert found.risk[-1] == pytest.approx(np.nanmean(measure_errors(rows)))
    assert (np.diff(found.thresholds) < 0).all()
    assert found.excess >= -1e-12
    assert 0 <= found.area <= 1
    shuffled = rows.take(np.random.default_rng(seed).permutation(len(rows)))
    assert risk_coverage(shuffled, confidence).area == pytest.approx(found.area, abs=1e-12)
    sureness = measure_confidence(rows, confidence)
    assert ((sureness >= -1e-12) & (sureness <= 1 + 1e-12)).all()
    # Every point of the curve is what its threshold gives, whatever is not annotated.
    rule = choose_deferral(rows, coverage=0.6, confidence=confidence)
    kept, deferred = rule.apply(rows)
    assert len(kept) + len(deferred) == len(rows)
    assert len(kept.annotated()) == pytest.approx(rule.coverage * found.n)
    assert np.nanmean(measure_errors(kept)) == pytest.approx(rule.risk)
    assert rule.coverage >= 0.6 - 1e-12


def test_labels_are_as_wrong_as_their_share_and_as_sure_as_their_mean() -> None:
    labels = np.array([[1.0, 0.0, np.nan], [1.0, 1.0, 1.0]])
    rows = name_rows(labels, np.array([[0.9, 0.7, 0.5], [0.2, 0.8, 0.9]]), exclusive=False)
    assert measure_errors(rows).tolist() == [1 / 2, 1 / 3]
    assert measure_confidence(rows).tolist() == pytest.approx([(0.9 + 0.7 + 0.5) / 3, (0.8 + 0.8 + 0.9) / 3])
    assert measure_confidence(rows, "margin") == pytest.approx(2 * measure_confidence(rows) - 1)


def test_three_classes_and_even_labels() -> None:
    three = name_rows(np.full((1, 3), np.nan), np.array([[0.5, 0.3, 0.2]]))
    assert measure_confidence(three, "margin").tolist() == pytest.approx([0.2])
    even = name_rows(np.full((1, 2), np.nan), np.full((1, 2), 0.5), exclusive=False)
    assert measure_confidence(even, "entropy").tolist() == pytest.approx([0])


def test_a_metric_on_the_surest() -> None:
    rows = make_binary([1, 1, 0, 0, 1], [0.9, 0.8, 0.7, 0.6, 0.6])
    assert metric_at_coverage(accuracy, rows, 0.4) == 1
    assert metric_at_coverage(accuracy, rows, 0.6) == pytest.approx(2 / 3)
    assert metric_at_coverage(accuracy, rows, 0.7) == pytest.approx(3 / 5)  # equals are kept together
    assert metric_at_coverage(accuracy, rows, 1) == accuracy(rows)
    assert metric_at_coverage(accuracy, rows, 1e-9) == 1
    assert np.isnan(metric_at_coverage(auroc, rows, 0.4))  # one class is left
    assert np.isnan(metric_at_coverage(accuracy, rows.take(np.array([], dtype=int)), 0.5))


def test_coverages_that_float64_cannot_say() -> None:
    rows = make_binary([1] * 10, list(np.linspace(0.55, 0.99, 10)))
    for count in range(1, 11):
        assert choose_deferral(rows, coverage=0.1 * count).coverage == count / 10
        assert metric_at_coverage(len, rows, 0.1 * count) == count  # 0.1 × 3 is a little more than 0.3


def test_a_risk_is_met_by_the_lowest_threshold_that_meets_it() -> None:
    rows = make_binary([1, 1, 0, 1, 1, 0], [0.99, 0.9, 0.8, 0.7, 0.6, 0.55])
    rule = choose_deferral(rows, risk=0.2)
    assert (rule.threshold, rule.coverage, rule.risk) == (0.6, 5 / 6, 0.2)
    assert choose_deferral(rows, risk=0).threshold == 0.9
    assert choose_deferral(rows, risk=1).coverage == 1
    assert len(rule.apply(rows)[0]) == 5  # a row that is as sure as the threshold is kept


def test_where_no_threshold_will_do_everything_is_deferred() -> None:
    rows = make_binary([0, 1, 1], [0.9, 0.8, 0.7])
    rule = choose_deferral(rows, risk=0.1)
    kept, deferred = rule.apply(rows)
    assert (len(kept), len(deferred), rule.coverage) == (0, 3, 0)
    assert rule.reason == "no threshold has a risk of 0.1 or less on 3 validation rows"


def test_the_threshold_is_used_on_rows_without_labels() -> None:
    rule = choose_deferral(make_binary([1, 1, 0, 0], [0.9, 0.8, 0.7, 0.6]), coverage=0.5)
    new = replace(make_binary([1, 1], [0.85, 0.75]), labels=np.full((2, 2), np.nan))
    kept, deferred = rule.apply(new)
    assert (kept.ids.tolist(), deferred.ids.tolist()) == (["0"], ["1"])


def test_refusals() -> None:
    rows = make_binary([1, 0], [0.9, 0.8])
    for arguments in (
        {},
        {"coverage": 0.5, "risk": 0.1},
        {"coverage": 0.0},
        {"coverage": 1.1},
        {"risk": -0.1},
    ):
        with pytest.raises(ConfigError):
            choose_deferral(rows, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'entropy'"):
        risk_coverage(rows, "entropie")  # type: ignore[arg-type]
    for coverage in (0, 1.5, float("nan")):
        with pytest.raises(ConfigError):
            metric_at_coverage(accuracy, rows, coverage)
    with pytest.raises(DataError, match="no annotated validation rows"):
        choose_deferral(rows.take(np.array([], dtype=int)), coverage=0.5)
    assert risk_coverage(rows.take(np.array([], dtype=int))).n == 0


@pytest.mark.parametrize("arguments", [{"coverage": 0.5}, {"risk": 0.2}])
def test_no_threshold_is_chosen_on_test_rows(arguments) -> None:
    rows = make_binary([1, 0], [0.9, 0.8])
    for splits in (["test", "test"], ["validation", "test"]):
        with pytest.raises(DataError, match=r"on test rows.*of_split\('validation'\)"):
            choose_deferral(replace(rows, splits=np.array(splits)), **arguments)
    choose_deferral(replace(rows, splits=np.array(["validation", "train"])), **arguments)
