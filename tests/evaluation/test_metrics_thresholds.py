"""Thresholds chosen on validation, metrics at them, and the curves that they are points of."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.metrics.calls import call_columns, count_cells, list_decisions
from medzoo.evaluation.metrics.curves import confusion_matrix, precision_recall_points, roc_points
from medzoo.evaluation.metrics.registry import METRICS
from medzoo.evaluation.metrics.sweeps import sweep_scores
from medzoo.evaluation.metrics.thresholds import (
    DECISIONS,
    RULES,
    OperatingPoints,
    at_thresholds,
    choose_thresholds,
)

NAN = float("nan")


@pytest.fixture
def make_validation(make_predictions):
    def make(labels: object, scores: object, **options: object):
        return make_predictions(labels, scores, splits=["validation"] * len(labels), **options)

    return make


def choose_one(rows, rule: str) -> float:
    """Choose the single threshold of two classes or one label."""
    (threshold,) = choose_thresholds(rows, rule).thresholds
    return threshold


#: .1 −, .2 +, .4 −, .4 −, .6 +, .7 −, .8 +, .9 +: four of either, with a tie.
LABELS = [0, 1, 0, 0, 1, 0, 1, 1]
SCORES = [0.1, 0.2, 0.4, 0.4, 0.6, 0.7, 0.8, 0.9]


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        ("youden", 0.8),  # at .8: 2/4 of +, 0 of −; at .6: 3/4 and 1/4, as much, but lower
        ("f1", 0.6),  # 2·3 / (4 + 4); at .8: 2·2 / (2 + 4); at .2: 2·4 / (7 + 4)
        ("sensitivity=.75", 0.6),
        ("sensitivity=.76", 0.2),
        ("sensitivity=1", 0.2),
        ("specificity=.75", 0.6),
        ("specificity=.76", 0.8),
        ("specificity=.25", 0.2),
        ("specificity=1", 0.8),
        ("fixed=.3", 0.3),
    ],
)
def test_thresholds_counted_by_hand(make_validation, rule, threshold):
    rows = make_validation(LABELS, SCORES)
    assert choose_thresholds(rows, rule) == OperatingPoints(("b",), (threshold,), rule, 8)


@st.composite
def columns(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw one label's truth, with a row of each side, and scores in tenths."""
    truth = [0, 1, *draw(st.lists(st.integers(0, 1), max_size=12))]
    scores = draw(st.lists(st.integers(0, 10), min_size=len(truth), max_size=len(truth)))
    return np.array(truth, dtype=float)[:, np.newaxis], np.array(scores)[:, np.newaxis] / 10


@settings(max_examples=150, deadline=None)
@given(column=columns(), share=st.sampled_from([0.1, 0.5, 0.6, 0.75, 0.9, 1.0]))
def test_no_other_threshold_is_better_by_its_rule(make_predictions, column, share):
    labels, scores = column
    rows = make_predictions(labels, scores, exclusive=False, splits=["validation"] * len(labels))
    grid = [*(np.arange(11) / 10), 1.1]
    measured = {
        name: [at(name, threshold, rows) for threshold in grid]
        for name in ("sensitivity", "specificity", "f1")
    }
    sums = np.add(measured["sensitivity"], measured["specificity"])
    chosen = choose_one(rows, "youden")
    reached = at("sensitivity", chosen, rows) + at("specificity", chosen, rows)
    assert reached == pytest.approx(max(1, sums.max()), abs=1e-12)
    assert at("f1", choose_one(rows, "f1"), rows) == pytest.approx(max(measured["f1"]), abs=1e-12)
    for rule, other in (("sensitivity", "specificity"), ("specificity", "sensitivity")):
        chosen = choose_one(rows, f"{rule}={share}")
        assert at(rule, chosen, rows) >= share
        allowed = [b for a, b in zip(measured[rule], measured[other], strict=True) if a >= share]
        assert at(other, chosen, rows) == pytest.approx(max(allowed), abs=1e-12)


def at(name: str, threshold: float, rows) -> float:
    return DECISIONS[name](rows, [threshold])


def test_a_specificity_that_no_score_has_calls_nobody(make_validation):
    # The highest score is a negative's.
    rows = make_validation([0, 1], [1.0, 0.5])
    threshold = choose_one(rows, "specificity=.9")
    assert 1 < threshold < 1 + 1e-9
    assert at_thresholds("specificity", choose_thresholds(rows, "specificity=.9"))(rows) == 1


def test_each_label_has_its_own_threshold_on_its_own_rows(make_validation):
    labels = [[1, 0], [0, 1], [NAN, 1], [NAN, NAN]]
    rows = make_validation(labels, [[0.3, 0.6], [0.2, 0.8], [0.9, 0.7], [1, 1]], exclusive=False)
    points = choose_thresholds(rows, "youden")
    assert points == OperatingPoints(("a", "b"), (0.3, 0.7), "youden", 3)
    assert at_thresholds("accuracy", points)(rows) == 1
    assert METRICS["accuracy"].measure(rows) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_several_classes_are_called_each_against_the_rest(make_validation):
    labels = np.eye(3)[[0, 1, 2, 2]]
    rows = make_validation(labels, [[0.5, 0.3, 0.2], [0.5, 0.4, 0.1], [0.5, 0.2, 0.3], [0.4, 0.2, 0.4]])
    points = choose_thresholds(rows, "youden")
    assert points.thresholds == (0.5, 0.4, 0.3)
    # The first row is a alone, the second a and b, the third a and c, the fourth c alone.
    assert call_columns(rows, points.thresholds).sum(axis=1).tolist() == [1, 2, 2, 1]
    assert at_thresholds("sensitivity", points)(rows) == 1
    assert at_thresholds("precision", points)(rows) == pytest.approx((1 / 3 + 1 + 1) / 3)
    # One class per row: that of the highest score, the first of equals, whatever the thresholds.
    assert at_thresholds("accuracy", points)(rows) == 1 / 4
    assert list_decisions(rows, points.thresholds)[0][1].tolist() == [0, 0, 0, 0]
    np.testing.assert_array_equal(confusion_matrix(rows, points), [[1, 0, 0], [1, 0, 0], [2, 0, 0]])


@pytest.mark.parametrize("name", DECISIONS)
def test_thresholds_of_a_half_change_no_label(make_predictions, name):
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 2, (50, 3)).astype(float)
    labels[generator.uniform(size=labels.shape) < 0.2] = NAN
    rows = make_predictions(labels, generator.integers(0, 11, labels.shape) / 10, exclusive=False)
    points = choose_thresholds(rows, "fixed=.5")
    assert at_thresholds(name, points)(rows) == METRICS[name].measure(rows)
    assert at_thresholds(name, choose_thresholds(rows, "fixed=.3"))(rows) != METRICS[name].measure(rows)


@pytest.mark.parametrize("name", DECISIONS)
def test_two_classes_are_decided_by_the_last_one_s_threshold(make_predictions, noisy, name):
    points = OperatingPoints(("b",), (0.3,), "fixed=.3", 0)
    # A label of the same rows has the same decisions; averaged over one label where the metric is of one class.
    label = make_predictions(noisy.labels[:, 1:], noisy.scores[:, 1:], exclusive=False)
    expected = DECISIONS[name](label, [0.3])
    assert at_thresholds(name, points)(noisy) == pytest.approx(expected, abs=1e-12)
    assert at_thresholds(name, points)(noisy) != METRICS[name].measure(noisy)


def test_a_label_without_positives_has_no_threshold_and_says_so(make_validation):
    rows = make_validation([[1, 0], [0, 0], [1, NAN]], np.full((3, 2), 0.5), exclusive=False)
    points = choose_thresholds(rows, "f1")
    assert points.thresholds[0] == 0.5
    assert math.isnan(points.thresholds[1])
    assert points.reason == "no positive row of label 'b'"
    described = json.dumps(points.describe(), allow_nan=False)
    assert json.loads(described)["thresholds"] == {"a": 0.5, "b": None}
    metric = at_thresholds("specificity", points)
    assert math.isnan(metric(rows))
    assert (
        metric.explain(rows)
        == "no threshold for 'b': no positive row of label 'b' where thresholds are chosen"
    )
    with pytest.raises(DataError, match="without a threshold: no positive row of label 'b'"):
        confusion_matrix(rows, points)


@pytest.mark.parametrize("rule", RULES)
def test_rows_without_annotation_choose_nothing(make_validation, rule):
    points = choose_thresholds(make_validation([NAN, NAN], [0.1, 0.2]), rule)
    assert points.n == 0
    assert math.isnan(points.thresholds[0]) == (rule != "fixed=.5")
    assert points.reason == (None if rule == "fixed=.5" else "no annotated rows")


def test_what_is_undefined_at_thresholds_names_its_own_reason(make_validation):
    rows = make_validation([0, 1], [0.2, 0.6])
    metric = at_thresholds("precision", OperatingPoints(("b",), (0.7,), "youden", 9))
    assert math.isnan(metric(rows))
    assert metric.explain(rows) == "no row is called 'b'"
    assert at_thresholds("npv", metric.points).explain(rows) is None


@pytest.mark.parametrize("rule", [rule for rule in RULES if not rule.startswith("fixed")])
def test_test_rows_choose_no_threshold(make_predictions, rule):
    rows = make_predictions([0, 1, 1], [0.1, 0.9, 0.8], splits=["validation", "validation", "test"])
    with pytest.raises(DataError, match=r"of_split\('validation'\)"):
        choose_thresholds(rows, rule)
    assert choose_thresholds(rows.of_split("validation"), rule).n == 2


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("yuden", "'youden'"),
        ("", "one of"),
        ("sensitivity", "'sensitivity=.90'"),
        ("sensitivity=90", "a share above 0 and up to 1; try sensitivity=.90"),
        ("specificity=x", "a share above 0 and up to 1"),
        ("fixed=nan", "a share above 0 and up to 1"),
        ("youden=.5", "'youden'"),
    ],
)
def test_rules_that_are_refused(make_validation, rule, expected):
    with pytest.raises(ConfigError, match=expected):
        choose_thresholds(make_validation(LABELS, SCORES), rule)


def test_thresholds_that_do_not_fit_are_refused(make_predictions, noisy):
    points = OperatingPoints(("malignant",), (0.5,), "fixed=.5", 0)
    with pytest.raises(DataError, match="thresholds for malignant, predictions of b"):
        at_thresholds("f1", points)(noisy)
    with pytest.raises(ConfigError, match="'auroc' takes no thresholds"):
        at_thresholds("auroc", points)
    with pytest.raises(ConfigError, match="2 thresholds"):
        count_cells(noisy, [0.5, 0.5])


def test_points_on_a_straight_line_are_left_out(make_predictions):
    rows = make_predictions([1, 1, 1, 0, 0, 1, 0], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.4])
    curve = roc_points(rows, 1)
    assert curve.thresholds.tolist() == [math.inf, 0.7, 0.5, 0.4]
    assert curve.x.tolist() == [0, 0, 2 / 3, 1]
    assert curve.y.tolist() == [0, 3 / 4, 3 / 4, 1]


@settings(max_examples=100, deadline=None)
@given(column=columns())
def test_curves_rise_from_nobody_to_everybody(make_predictions, column):
    rows = make_predictions(*column, exclusive=False)
    curve = roc_points(rows, 0)
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)
    assert (np.diff(curve.x) >= 0).all()
    assert (np.diff(curve.y) >= 0).all()
    assert (np.diff(curve.thresholds) < 0).all()
    for x, y, threshold in zip(curve.x[1:], curve.y[1:], curve.thresholds[1:], strict=True):
        assert y == at("sensitivity", threshold, rows)
        assert x == pytest.approx(1 - at("specificity", threshold, rows), abs=1e-12)
    curve = precision_recall_points(rows, 0)
    assert (curve.x[0], curve.y[0], curve.x[-1]) == (0, 1, 1)
    for y, threshold in zip(curve.y[1:], curve.thresholds[1:], strict=True):
        assert y == at("precision", threshold, rows)


@pytest.mark.parametrize("points", [roc_points, precision_recall_points])
def test_a_curve_that_the_rows_do_not_define_has_no_points(make_predictions, points):
    rows = make_predictions([[1, NAN], [1, NAN]], np.full((2, 2), 0.5), exclusive=False)
    assert points(rows, 0).reason == "no negative row of 'a'"
    assert points(rows, 1).reason == "no positive row of 'b'; no negative row of 'b'"
    assert len(points(rows, 0).x) == 0
    with pytest.raises(ConfigError, match="column 2"):
        points(rows, 2)
    with pytest.raises(ConfigError, match="column -1"):
        sweep_scores(rows, -1)
