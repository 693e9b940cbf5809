"""Every metric of the registry against scikit-learn, or where it has none against the definition written out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from sklearn import metrics as oracle

from medzoo.evaluation.metrics.curves import confusion_matrix, precision_recall_points, roc_points
from medzoo.evaluation.metrics.registry import METRICS, find_metric
from medzoo.evaluation.metrics.selection import auprc
from medzoo.evaluation.predictions import Predictions

TABLES = ("binary", "three", "six", "labels", "masked", "single")


def make_table(kind: str) -> Predictions:
    """Make rows with tied scores: two, three or six exclusive classes, or labels, some of them masked."""
    generator = np.random.default_rng(len(kind))
    if kind in ("labels", "masked", "single"):
        width = 1 if kind == "single" else 4
        labels = generator.integers(0, 2, (240, width)).astype(float)
        scores = np.round(np.clip(0.3 * labels + generator.uniform(0, 0.7, labels.shape), 0, 1), 2)
        if kind == "masked":
            labels[generator.uniform(size=labels.shape) < 0.3] = np.nan
    else:
        width = {"binary": 2, "three": 3, "six": 6}[kind]
        codes = np.concatenate([np.arange(width), generator.integers(0, width, 240)])
        # Whole-number logits tie many scores.
        logits = generator.integers(-2, 3, (len(codes), width)) + np.eye(width)[codes]
        labels, scores = np.eye(width)[codes], np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        labels[::7] = np.nan
    ids, splits = np.arange(len(labels)).astype(np.str_), np.full(len(labels), "test")
    exclusive = kind not in ("labels", "masked", "single")
    return Predictions(ids, labels, scores, tuple("abcdef"[:width]), splits, exclusive=exclusive)


def list_columns(rows: Predictions) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """List (truth, score, call) of the last of two classes, of each of more, or of each label, annotated rows only."""
    columns = [1] if rows.exclusive and len(rows.classes) == 2 else range(len(rows.classes))
    found = []
    for column in columns:
        known = ~np.isnan(rows.labels[:, column])
        scores = rows.scores[known, column]
        calls = rows.scores[known].argmax(axis=1) == column if rows.exclusive else scores >= 0.5
        found.append((rows.labels[known, column].astype(int), scores, calls.astype(int)))
    return found


def list_guesses(rows: Predictions) -> list[tuple[np.ndarray, np.ndarray]]:
    """List (class, guessed class) of annotated rows, or a pair of 0 and 1 per label."""
    if not rows.exclusive:
        return [(true, call) for true, _, call in list_columns(rows)]
    known = ~np.isnan(rows.labels[:, 0])
    return [(rows.labels[known].argmax(axis=1), rows.scores[known].argmax(axis=1))]


def of_scores(measure: Callable[..., float]) -> Callable[[Predictions], float]:
    return lambda rows: np.mean([measure(true, scores) for true, scores, _ in list_columns(rows)])


def of_calls(measure: Callable[..., float], flip: bool = False) -> Callable[[Predictions], float]:
    """Average a measure of 0 and 1 per column; flipped, negatives are what is looked for."""
    sign = (lambda values: 1 - values) if flip else (lambda values: values)
    return lambda rows: np.mean([measure(sign(true), sign(calls)) for true, _, calls in list_columns(rows)])


def of_guesses(measure: Callable[..., float], **options: object) -> Callable[[Predictions], float]:
    return lambda rows: np.mean([measure(true, guess, **options) for true, guess in list_guesses(rows)])


def measure_auroc(rows: Predictions) -> float:
    if rows.exclusive and len(rows.classes) > 2:
        known = ~np.isnan(rows.labels[:, 0])
        return oracle.roc_auc_score(rows.labels[known].argmax(axis=1), rows.scores[known], multi_class="ovr")
    return of_scores(oracle.roc_auc_score)(rows)


def measure_micro(rows: Predictions) -> float:
    if rows.exclusive and len(rows.classes) > 2:
        known, options = ~np.isnan(rows.labels[:, 0]), {"multi_class": "ovr", "average": "micro"}
        return oracle.roc_auc_score(rows.labels[known].argmax(axis=1), rows.scores[known], **options)
    true, scores = (np.concatenate(arrays) for arrays in list(zip(*list_columns(rows), strict=True))[:2])
    return oracle.roc_auc_score(true, scores)


def measure_trapezoids(true: np.ndarray, scores: np.ndarray) -> float:
    precision, recall, _ = oracle.precision_recall_curve(true, scores)
    return oracle.auc(recall, precision)


def read_roc(true: np.ndarray, scores: np.ndarray, least: float, flip: bool) -> float:
    """Look along all points of a ROC curve for the best of one side where the other is at least so much."""
    alarms, hits, _ = oracle.roc_curve(true, scores, drop_intermediate=False)
    sensitivity, specificity = hits, np.round(1 - alarms, 12)
    given, wanted = (sensitivity, specificity) if flip else (specificity, sensitivity)
    return wanted[given >= least].max()


def measure_top(rows: Predictions, count: int = 3) -> float:
    """Turn the classes round: of equal scores scikit-learn takes the last, and ours is the first."""
    if not rows.exclusive or len(rows.classes) <= count:
        return float("nan")
    known, width = ~np.isnan(rows.labels[:, 0]), len(rows.classes)
    true = width - 1 - rows.labels[known].argmax(axis=1)
    return oracle.top_k_accuracy_score(true, rows.scores[known][:, ::-1], k=count, labels=range(width))


def list_tops(rows: Predictions) -> list[tuple[np.ndarray, np.ndarray]]:
    """List (came true, score) of the top class of exclusive ones, or of each label."""
    if not rows.exclusive:
        return [(true, scores) for true, scores, _ in list_columns(rows)]
    true, guess = list_guesses(rows)[0]
    return [((true == guess).astype(int), rows.scores[~np.isnan(rows.labels[:, 0])].max(axis=1))]


def list_classes(rows: Predictions) -> list[tuple[np.ndarray, np.ndarray]]:
    """List (came true, score) of every class or label."""
    known = ~np.isnan(rows.labels)
    columns = range(len(rows.classes))
    return [(rows.labels[known[:, place], place], rows.scores[known[:, place], place]) for place in columns]


def measure_gaps(
    pairs: list[tuple[np.ndarray, np.ndarray]], worst: bool = False, mass: bool = False
) -> float:
    """Average |true − said| of 15 bins ]a, b], the first with 0, weighted by rows, or take the worst bin's."""
    averages = []
    for true, scores in pairs:
        edges = np.quantile(scores, np.linspace(0, 1, 16)) if mass else np.linspace(0, 1, 16)
        edges[0], edges[-1] = -1, 1
        bins = [(scores > low) & (scores <= high) for low, high in pairwise(edges)]
        gaps = [(rows.sum(), abs(true[rows].mean() - scores[rows].mean())) for rows in bins if rows.any()]
        averages.append(max(gap for _, gap in gaps) if worst else sum(n * g for n, g in gaps) / len(true))
    return np.mean(averages)


def measure_brier(rows: Predictions) -> float:
    if rows.exclusive and len(rows.classes) > 2:
        known = ~np.isnan(rows.labels[:, 0])
        return oracle.brier_score_loss(rows.labels[known].argmax(axis=1), rows.scores[known])
    return of_scores(oracle.brier_score_loss)(rows)


def measure_nll(rows: Predictions) -> float:
    if rows.exclusive:
        known = ~np.isnan(rows.labels[:, 0])
        return oracle.log_loss(rows.labels[known].argmax(axis=1), rows.scores[known])
    return of_scores(oracle.log_loss)(rows)


#: One per metric of the registry: the test below fails for a metric without.
ORACLES: dict[str, Callable[[Predictions], float]] = {
    "auroc": measure_auroc,
    "auroc_micro": measure_micro,
    "auprc": of_scores(measure_trapezoids),
    "average_precision": of_scores(oracle.average_precision_score),
    "partial_auroc": of_scores(lambda true, scores: oracle.roc_auc_score(true, scores, max_fpr=0.1)),
    "sensitivity@specificity": of_scores(lambda true, scores: read_roc(true, scores, 0.9, flip=False)),
    "specificity@sensitivity": of_scores(lambda true, scores: read_roc(true, scores, 0.9, flip=True)),
    "top": measure_top,
    "accuracy": of_guesses(oracle.accuracy_score),
    "balanced_accuracy": of_guesses(oracle.balanced_accuracy_score),
    "macro_recall": of_guesses(oracle.recall_score, average="macro"),
    "f1": of_calls(oracle.f1_score),
    "kappa": of_guesses(oracle.cohen_kappa_score, weights="quadratic"),
    "kappa_linear": of_guesses(oracle.cohen_kappa_score, weights="linear"),
    "mcc": of_guesses(oracle.matthews_corrcoef),
    "sensitivity": of_calls(oracle.recall_score),
    "specificity": of_calls(oracle.recall_score, flip=True),
    "precision": of_calls(oracle.precision_score),
    "npv": of_calls(oracle.precision_score, flip=True),
    "ece": lambda rows: measure_gaps(list_tops(rows)),
    "ece_equal_mass": lambda rows: measure_gaps(list_tops(rows), mass=True),
    "ece_classwise": lambda rows: measure_gaps(list_classes(rows)),
    "mce": lambda rows: measure_gaps(list_tops(rows), worst=True),
    "brier": measure_brier,
    "nll": measure_nll,
}


def test_every_metric_has_an_oracle():
    assert set(ORACLES) == set(METRICS)


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("name", METRICS)
def test_the_value_is_the_oracle_s(name, kind):
    rows = make_table(kind)
    expected = ORACLES[name](rows)
    assert METRICS[name].measure(rows) == pytest.approx(expected, abs=1e-12, nan_ok=name == "top")


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("number", [0.05, 0.37, 1])
def test_the_number_in_a_name_is_used(kind, number):
    rows = make_table(kind)

    def measure(true: np.ndarray, scores: np.ndarray) -> float:
        return oracle.roc_auc_score(true, scores, max_fpr=number)

    assert find_metric(f"partial_auroc@{number}").measure(rows) == pytest.approx(
        of_scores(measure)(rows), abs=1e-12
    )
    for name, flip in (("sensitivity@specificity", False), ("specificity@sensitivity", True)):
        expected = of_scores(lambda true, scores, flip=flip: read_roc(true, scores, number, flip))(rows)
        assert find_metric(f"{name}={number}").measure(rows) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_tops_of_six_classes(count):
    rows = make_table("six")
    assert find_metric(f"top@{count}").measure(rows) == pytest.approx(measure_top(rows, count), abs=1e-12)


@pytest.mark.parametrize("kind", TABLES)
def test_confusion_matrices(kind):
    rows = make_table(kind)
    tables = [oracle.confusion_matrix(true, guess) for true, guess in list_guesses(rows)]
    np.testing.assert_array_equal(confusion_matrix(rows), tables[0] if rows.exclusive else np.stack(tables))


@pytest.mark.parametrize("kind", TABLES)
def test_curves_are_scikit_learn_s(kind):
    rows = make_table(kind)
    for column in range(len(rows.classes)):
        known = ~np.isnan(rows.labels[:, column])
        true, scores = rows.labels[known, column], rows.scores[known, column]
        curve = roc_points(rows, column)
        alarms, hits, thresholds = oracle.roc_curve(true, scores, drop_intermediate=False)
        # Ours leaves out what lies on a straight line; what it keeps are their points, and the area is theirs.
        kept = np.isin(thresholds, curve.thresholds)
        np.testing.assert_allclose(curve.x, alarms[kept], atol=1e-15)
        np.testing.assert_allclose(curve.y, hits[kept], atol=1e-15)
        assert len(curve.x) == kept.sum()
        assert np.trapezoid(curve.y, curve.x) == pytest.approx(oracle.roc_auc_score(true, scores), abs=1e-12)
        curve = precision_recall_points(rows, column)
        precision, recall, thresholds = oracle.precision_recall_curve(true, scores)
        np.testing.assert_allclose(curve.y[::-1], precision, atol=1e-15)
        np.testing.assert_allclose(curve.x[::-1], recall, atol=1e-15)
        np.testing.assert_array_equal(curve.thresholds[:0:-1], thresholds)


def test_trapezoids_under_the_curve_are_the_area():
    rows = make_table("binary")
    curve = precision_recall_points(rows, 1)
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(auprc(rows), abs=1e-12)
