"""The metrics that the best weights are chosen by, against their definitions written out."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from sklearn.metrics import recall_score

from medzoo.errors import ConfigError
from medzoo.evaluation.metrics.needs import explain_undefined
from medzoo.evaluation.metrics.selection import SCORES, auprc, average_precision, kappa, macro_recall

NAN = float("nan")


def list_points(labels: np.ndarray, scores: np.ndarray) -> list[tuple[float, float]]:
    """List (recall, precision) at every threshold from the highest score down, after (0, 1)."""
    points = [(0.0, 1.0)]
    for threshold in sorted(set(scores.tolist()), reverse=True):
        taken = scores >= threshold
        hits = (labels[taken] == 1).sum()
        points.append((hits / (labels == 1).sum(), hits / taken.sum()))
    return points


def trapezoids(labels: np.ndarray, scores: np.ndarray) -> float:
    points = list_points(labels, scores)
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))


def steps(labels: np.ndarray, scores: np.ndarray) -> float:
    points = list_points(labels, scores)
    return sum((b[0] - a[0]) * b[1] for a, b in pairwise(points))


def weighted_kappa(true: np.ndarray, guess: np.ndarray, classes: int) -> float:
    """1 − Σ w·observed / Σ w·expected with w = (i − j)², entry by entry."""
    observed = expected = 0.0
    for i in range(classes):
        for j in range(classes):
            observed += (i - j) ** 2 * ((true == i) & (guess == j)).mean()
            expected += (i - j) ** 2 * (true == i).mean() * (guess == j).mean()
    return 1 - observed / expected


MEASURES = [(auprc, trapezoids), (average_precision, steps)]


@pytest.mark.parametrize(("metric", "oracle"), MEASURES)
def test_areas_of_two_classes_are_those_of_the_last(make_predictions, noisy, metric, oracle):
    assert metric(noisy) == pytest.approx(oracle(noisy.labels[:, 1], noisy.scores[:, 1]), abs=1e-12)
    # .9 is right; at .4 one of two; at .3 two of three.
    small = make_predictions([1, 0, 1], [0.9, 0.4, 0.3])
    expected = {auprc: 0.5 + 0.5 * (1 / 2 + 2 / 3) / 2, average_precision: 0.5 + 0.5 * 2 / 3}
    assert metric(small) == pytest.approx(expected[metric], abs=1e-15)


@pytest.mark.parametrize(("metric", "oracle"), MEASURES)
def test_areas_of_more_classes_are_the_mean_of_each_versus_the_rest(make_predictions, metric, oracle):
    generator = np.random.default_rng(1)
    codes = np.arange(40) % 3
    scores = generator.dirichlet([1, 1, 1], 40)
    each = [oracle(np.eye(3)[codes][:, index], scores[:, index]) for index in range(3)]
    assert metric(make_predictions(np.eye(3)[codes], scores)) == pytest.approx(np.mean(each), abs=1e-12)


@pytest.mark.parametrize(("metric", "oracle"), MEASURES)
def test_areas_of_labels_are_each_on_its_annotated_rows(make_predictions, metric, oracle):
    generator = np.random.default_rng(2)
    labels = generator.integers(0, 2, (30, 2)).astype(float)
    scores = np.round(generator.random((30, 2)), 1)
    labels[:5, 0], labels[20:, 1] = NAN, NAN
    each = [
        oracle(labels[known, index], scores[known, index])
        for index, known in enumerate((~np.isnan(labels)).T)
    ]
    found = metric(make_predictions(labels, scores, exclusive=False))
    assert found == pytest.approx(np.mean(each), abs=1e-12)


def test_kappa_weighs_by_the_square_of_the_distance(make_predictions):
    generator = np.random.default_rng(3)
    true, scores = generator.integers(0, 5, 60), generator.dirichlet([1] * 5, 60)
    expected = weighted_kappa(true, scores.argmax(axis=1), 5)
    assert kappa(make_predictions(np.eye(5)[true], scores)) == pytest.approx(expected, abs=1e-12)


def test_kappa_keeps_the_place_of_a_class_that_nobody_has(make_predictions):
    true, guess = np.array([0, 0, 1, 3]), np.array([0, 1, 1, 1])
    expected = weighted_kappa(true, guess, 4)
    assert expected != pytest.approx(weighted_kappa(np.array([0, 0, 1, 2]), guess, 3))
    assert kappa(make_predictions(np.eye(4)[true], np.eye(4)[guess])) == pytest.approx(expected, abs=1e-12)


def test_kappa_of_labels_is_the_mean_of_theirs(make_predictions):
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, NAN], [NAN, 0]])
    scores = np.array([[0.5, 0.1], [0.4, 0.9], [0.2, 0.6], [0.7, 1.0], [1.0, 0.8]])
    first = weighted_kappa(np.array([1, 0, 1, 0]), np.array([1, 0, 0, 1]), 2)
    second = weighted_kappa(np.array([0, 1, 1, 0]), np.array([0, 1, 1, 1]), 2)
    found = kappa(make_predictions(labels, scores, exclusive=False))
    assert found == pytest.approx((first + second) / 2, abs=1e-12)


def test_macro_recall_is_the_mean_of_the_classes(make_predictions):
    generator = np.random.default_rng(4)
    true, scores = np.arange(50) ** 2 % 4 % 3, generator.dirichlet([1, 1, 1], 50)
    true[:3] = [0, 1, 2]
    expected = recall_score(true, scores.argmax(axis=1), average="macro")
    assert macro_recall(make_predictions(np.eye(3)[true], scores)) == pytest.approx(expected, abs=1e-12)


def test_macro_recall_does_not_reward_calling_everything_positive(make_predictions):
    labels = np.array([[1.0], [0.0], [0.0]])
    assert macro_recall(make_predictions(labels, np.ones((3, 1)), exclusive=False)) == 0.5


@pytest.mark.parametrize("name", ["auprc", "average_precision", "kappa", "macro_recall"])
@pytest.mark.parametrize("exclusive", [True, False])
def test_undefined_is_nan_with_a_reason(make_predictions, name, exclusive):
    metric = {**SCORES, "average_precision": average_precision}[name]
    rows = make_predictions(np.full((2, 2), NAN), np.full((2, 2), 0.5), exclusive=exclusive)
    assert math.isnan(metric(rows))
    assert explain_undefined(name, rows) == "no annotated rows"
    rows = make_predictions([[0, 1], [0, 1]], np.eye(2), exclusive=exclusive)
    assert math.isnan(metric(rows))
    reason = explain_undefined(name, rows)
    expected = "no row but of class 'b'" if name == "kappa" else "no row of class 'a'"
    assert reason == (expected if exclusive else "no positive row of label 'a'; no negative row of label 'b'")


def test_kappa_needs_two_classes_and_not_all(make_predictions):
    rows = make_predictions(np.eye(3)[[0, 2]], np.eye(3)[[0, 2]])
    assert kappa(rows) == 1
    assert explain_undefined("kappa", rows) is None
    assert math.isnan(macro_recall(rows))


def test_every_setting_has_its_metric():
    from medzoo.training.settings import MetricName

    assert {*SCORES, "loss"} == set(get_args(MetricName))


def test_an_unknown_name_is_refused_with_the_nearest(noisy):
    with pytest.raises(ConfigError, match="'kappa'"):
        explain_undefined("kapa", noisy)
