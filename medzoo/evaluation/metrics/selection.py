"""The metrics that the best weights of a run may be chosen by, beside AUROC: functions from Predictions to a float.

In the manner of `discrimination`: scikit-learn does the arithmetic, rows that nobody annotated are left out, and what
the rows do not define is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
from sklearn.metrics import auc, average_precision_score, cohen_kappa_score, precision_recall_curve

from medzoo.evaluation.metrics.calls import Metric, list_decisions
from medzoo.evaluation.metrics.discrimination import auroc, average_columns, balanced_accuracy
from medzoo.evaluation.metrics.needs import explain_undefined
from medzoo.evaluation.predictions import Predictions


def auprc(predictions: Predictions) -> float:
    """Give the area under the precision–recall curve by trapezoids, as Peng et al. (2021) measure it.

    Its columns are AUROC's: the last of two exclusive classes, the mean of each of more versus the rest, the mean
    over labels. No threshold keeps to the straight line between two points of the curve, so that
    `average_precision`, which takes steps, is another number. NaN when a class or label has no positive or no
    negative row.
    Source: Davis & Goadrich, ICML (2006).

    >>> scores = np.array([[0.6, 0.4], [0.7, 0.3], [0.1, 0.9]])
    >>> rows = Predictions(np.array(["a", "b", "c"]), np.eye(2)[[0, 1, 1]], scores, ("no", "yes"),
    ...                    np.array(["test"] * 3))
    >>> round(auprc(rows), 4)
    0.7917
    """
    return average_columns("auprc", _measure_trapezoids, predictions)


def average_precision(predictions: Predictions) -> float:
    """Give the mean of the precisions at each positive, weighted by the recall that it adds: a sum of steps.

    Its columns are those of `auprc`; NaN when a class or label has no positive or no negative row.

    >>> scores = np.array([[0.6, 0.4], [0.7, 0.3], [0.1, 0.9]])
    >>> rows = Predictions(np.array(["a", "b", "c"]), np.eye(2)[[0, 1, 1]], scores, ("no", "yes"),
    ...                    np.array(["test"] * 3))
    >>> round(average_precision(rows), 4)
    0.8333
    """
    return average_columns("average_precision", average_precision_score, predictions)


def kappa(predictions: Predictions, thresholds: Sequence[float] | None = None) -> float:
    """Give Cohen's κ of the classes in their order, disagreement weighted by the square of its distance.

    A row's class is that of its highest score. 1 is agreement, 0 what chance gives to the same counts. Labels:
    the mean over labels of κ of the two sides of 0.5. With thresholds: the last of two classes, or a label, is
    predicted from its threshold. NaN when all rows are of one class, or a label has no positive or no negative
    row. Source: Cohen, Psychological Bulletin 70 (1968).

    >>> scores = np.eye(3)[[0, 1, 1]]
    >>> rows = Predictions(np.array(["a", "b", "c"]), np.eye(3)[[0, 1, 2]], scores, ("0", "1", "2"),
    ...                    np.array(["test"] * 3))
    >>> round(kappa(rows), 4)
    0.6667
    """
    return _measure_kappa("kappa", "quadratic", predictions, thresholds)


def kappa_linear(predictions: Predictions, thresholds: Sequence[float] | None = None) -> float:
    """Give Cohen's κ of the classes in their order, disagreement weighted by its distance.

    In all else as `kappa`; of two classes and of labels the two are equal.

    >>> scores = np.eye(3)[[0, 1, 1]]
    >>> rows = Predictions(np.array(["a", "b", "c"]), np.eye(3)[[0, 1, 2]], scores, ("0", "1", "2"),
    ...                    np.array(["test"] * 3))
    >>> round(kappa_linear(rows), 4)
    0.5714
    """
    return _measure_kappa("kappa_linear", "linear", predictions, thresholds)


def macro_recall(predictions: Predictions, thresholds: Sequence[float] | None = None) -> float:
    """Give the unweighted mean of the classes' recalls, of a label those of its two sides: the balanced accuracy.

    A label's recall of positives alone would be 1 of a network that calls every image positive. NaN when a class
    has no row, or a label no positive or no negative row.

    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), np.array([[0.6, 0.4], [0.7, 0.3]]), ("no", "yes"),
    ...                    np.array(["test", "test"]))
    >>> macro_recall(rows)
    0.5
    """
    return balanced_accuracy(predictions, thresholds)


#: What the best weights may be chosen by, apart from the loss.
SCORES: Mapping[str, Metric] = MappingProxyType(
    {"auroc": auroc, "auprc": auprc, "kappa": kappa, "macro_recall": macro_recall}
)


def _measure_kappa(
    name: str,
    weights: Literal["linear", "quadratic"],
    predictions: Predictions,
    thresholds: Sequence[float] | None,
) -> float:
    """Average κ with a weight over the decisions; NaN where the κ of that name is undefined."""
    if explain_undefined(name, predictions, thresholds):
        return float("nan")
    # A class that no row has or is taken for keeps its place, and so the distances between the others.
    codes = np.arange(len(predictions.classes) if predictions.exclusive else 2)
    values = [
        cohen_kappa_score(true, guess, labels=codes, weights=weights)
        for true, guess in list_decisions(predictions, thresholds)
    ]
    return float(np.mean(values))


def _measure_trapezoids(true: np.ndarray, scores: np.ndarray) -> float:
    """Measure the area under one column's precision–recall curve."""
    precision, recall, _ = precision_recall_curve(true, scores)
    return float(auc(recall, precision))
