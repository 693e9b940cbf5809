from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.metrics.discrimination import (
    accuracy,
    auroc,
    balanced_accuracy,
    by_group,
)
from medzoo.evaluation.metrics.needs import explain_undefined

METRICS = {"auroc": auroc, "accuracy": accuracy, "balanced_accuracy": balanced_accuracy}

NAN = float("nan")


def test_values_counted_by_hand_binary(make_predictions):
    # Pairs (negative, positive): .1<.4, .1<.8, .4=.4 (half), .4<.8, .7>.4 (none), .7<.8: 4.5 of 6.
    predictions = make_predictions([0, 0, 0, 1, 1], [0.1, 0.4, 0.7, 0.4, 0.8])
    assert auroc(predictions) == pytest.approx(4.5 / 6, abs=1e-15)
    assert accuracy(predictions) == 3 / 5
    assert balanced_accuracy(predictions) == pytest.approx((2 / 3 + 1 / 2) / 2, abs=1e-15)


def test_values_counted_by_hand_three_classes(make_predictions):
    labels = np.eye(3)[[0, 0, 1, 2]]
    scores = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8]]
    predictions = make_predictions(labels, scores)
    # a: .6, .2 against .3, .1: 3 of 4.  b: .4 against .3, .5, .1: 2 of 3.  c: .8 above all.
    assert auroc(predictions) == pytest.approx((3 / 4 + 2 / 3 + 1) / 3, abs=1e-15)
    assert accuracy(predictions) == 3 / 4
    assert balanced_accuracy(predictions) == pytest.approx((1 / 2 + 1 + 1) / 3, abs=1e-15)


def test_values_counted_by_hand_labels_each_on_its_annotated_rows(make_predictions):
    labels = [[1, 0], [0, NAN], [0, 1], [NAN, 1]]
    scores = [[0.5, 0.4], [0.7, 0.0], [0.2, 0.3], [0.0, 0.9]]
    predictions = make_predictions(labels, scores, exclusive=False)
    # a: .5 against .7, .2: 1 of 2.  b: .3, .9 against .4: 1 of 2.
    assert auroc(predictions) == 0.5
    # a at .5: right, wrong, right.  b: right, wrong, right.
    assert accuracy(predictions) == pytest.approx(2 / 3, abs=1e-15)
    # a: 1 of 1 and 1 of 2.  b: 1 of 2 and 1 of 1.
    assert balanced_accuracy(predictions) == 0.75


@pytest.mark.parametrize("name", METRICS)
def test_rows_that_nobody_annotated_change_nothing(make_predictions, noisy, name):
    labels = np.vstack([noisy.labels, np.full((3, 2), NAN)])
    scores = np.vstack([noisy.scores, [[1, 0], [0, 1], [0.5, 0.5]]])
    assert METRICS[name](make_predictions(labels, scores)) == METRICS[name](noisy)


def test_one_class_is_undefined_not_zero(make_predictions):
    predictions = make_predictions([1, 1], [0.2, 0.9])
    assert math.isnan(auroc(predictions))
    assert math.isnan(balanced_accuracy(predictions))
    assert accuracy(predictions) == 0.5
    for name in ("auroc", "balanced_accuracy"):
        assert explain_undefined(name, predictions) == "no row of class 'a'"
    assert explain_undefined("accuracy", predictions) is None


def test_an_absent_class_of_three_is_named_and_not_left_out_of_the_mean(make_predictions):
    predictions = make_predictions(np.eye(3)[[0, 1, 0]], np.eye(3)[[0, 1, 0]])
    assert math.isnan(auroc(predictions))
    assert math.isnan(balanced_accuracy(predictions))
    assert explain_undefined("auroc", predictions) == "no row of class 'c'"
    assert accuracy(predictions) == 1


def test_an_undefined_label_is_named(make_predictions):
    predictions = make_predictions([[1, 0, NAN], [0, 0, NAN]], np.full((2, 3), 0.5), exclusive=False)
    assert [math.isnan(metric(predictions)) for metric in METRICS.values()] == [True] * 3
    reason = explain_undefined("auroc", predictions)
    assert reason == "no positive row of label 'b', 'c'; no negative row of label 'c'"
    assert explain_undefined("accuracy", predictions) == "no annotated row of label 'c'"


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("count", [0, 2])
def test_no_annotated_rows(make_predictions, exclusive, name, count):
    predictions = make_predictions(np.full((count, 2), NAN), np.full((count, 2), 0.5), exclusive=exclusive)
    assert math.isnan(METRICS[name](predictions))
    assert explain_undefined(name, predictions) == "no annotated rows"


def test_an_unknown_metric_is_refused_with_the_nearest(noisy):
    with pytest.raises(ConfigError, match="'auroc'"):
        explain_undefined("auc_roc", noisy)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=4, max_size=30), st.sampled_from([0.25, 0.5, 2, 3]))
def test_auroc_is_invariant_under_a_monotone_transform(make_predictions, grades, power):
    # In twentieths, x → x**power keeps every order and every tie in float64.
    scores = np.array(grades) / 20
    labels = np.arange(len(scores)) % 2
    # Independent labels, so that the other class's score plays no part.
    before = make_predictions(labels[:, np.newaxis], scores[:, np.newaxis], exclusive=False)
    after = make_predictions(labels[:, np.newaxis], scores[:, np.newaxis] ** power, exclusive=False)
    assert auroc(after) == pytest.approx(auroc(before), abs=1e-12)


def test_by_group_gives_each_group_its_own_value(make_predictions):
    predictions = make_predictions(
        [0, 1, 0, 1, 1], [0.1, 0.9, 0.9, 0.1, 0.5], groups={"sex": ["F", "F", "M", "M", ""]}
    )
    values = by_group(auroc, predictions, "sex")
    assert list(values) == ["", "F", "M"]
    assert (values["F"], values["M"]) == (1, 0)
    assert math.isnan(values[""])


def test_by_group_refuses_an_unknown_column(make_predictions, noisy):
    with pytest.raises(DataError, match="'sex'"):
        by_group(auroc, make_predictions([0], [0], groups={"sex": ["F"]}), "Sex")
    with pytest.raises(DataError, match="there is none"):
        by_group(auroc, noisy, "sex")
