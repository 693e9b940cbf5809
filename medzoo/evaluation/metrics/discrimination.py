"""How well scores tell classes apart: the first metrics, AUROC and two accuracies, and any metric per group.

A metric is a function from Predictions to a float. scikit-learn does the arithmetic. Rows that nobody annotated are
left out. A metric that the rows do not define is NaN, never a number that looks like a result; `explain_undefined`
says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from medzoo.errors import DataError, nearest
from medzoo.evaluation.metrics.calls import Metric, list_decisions, list_positive_columns
from medzoo.evaluation.metrics.needs import explain_undefined
from medzoo.evaluation.predictions import Predictions


def auroc(predictions: Predictions) -> float:
    """Give the area under the ROC curve: the chance that a positive scores above a negative, ties half.

    Two exclusive classes: the last one is positive. More: the unweighted mean of each class versus the rest
    (scikit-learn's macro average). Labels: the mean over labels, each on the rows annotated for it. NaN when
    a class or label has no positive or no negative row. Source: Hanley & McNeil, Radiology 143 (1982).

    >>> scores = np.array([[0.6, 0.4], [0.7, 0.3], [0.1, 0.9]])
    >>> rows = Predictions(np.array(["a", "b", "c"]), np.eye(2)[[0, 1, 1]], scores, ("no", "yes"),
    ...                    np.array(["test"] * 3))
    >>> auroc(rows)
    0.5
    """
    return average_columns("auroc", roc_auc_score, predictions)


def accuracy(predictions: Predictions, thresholds: Sequence[float] | None = None) -> float:
    """Give the share of rows whose highest score (the first of equals) is their class.

    Labels: the mean over labels of the share of annotated rows on the right side of 0.5 (0.5 counts as
    predicted). With thresholds: the last of two classes, or a label, is predicted from its threshold. NaN when
    there is no annotated row, or none for some label.

    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), np.array([[0.6, 0.4], [0.7, 0.3]]), ("no", "yes"),
    ...                    np.array(["test", "test"]))
    >>> accuracy(rows), accuracy(rows, [0.35])
    (0.5, 0.0)
    """
    if explain_undefined("accuracy", predictions, thresholds):
        return float("nan")
    decisions = list_decisions(predictions, thresholds)
    return float(np.mean([accuracy_score(true, guess) for true, guess in decisions]))


def balanced_accuracy(predictions: Predictions, thresholds: Sequence[float] | None = None) -> float:
    """Give the mean over classes of the share of the class's rows whose highest score is that class.

    Labels: the mean over labels of (sensitivity + specificity) / 2 at 0.5. With thresholds: the last of two
    classes, or a label, is predicted from its threshold. NaN when a class has no row, or a label no positive or
    no negative row: fewer classes are not averaged in silence. Source: Brodersen et al., ICPR (2010).

    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), np.array([[0.6, 0.4], [0.7, 0.3]]), ("no", "yes"),
    ...                    np.array(["test", "test"]))
    >>> balanced_accuracy(rows)
    0.5
    """
    if explain_undefined("balanced_accuracy", predictions, thresholds):
        return float("nan")
    decisions = list_decisions(predictions, thresholds)
    return float(np.mean([balanced_accuracy_score(true, guess) for true, guess in decisions]))


def by_group(metric: Metric, predictions: Predictions, column: str) -> dict[str, float]:
    """Give a metric on the rows of each value of a group column, in the order of the values.

    Rows whose value is empty are the group "". A group on which the metric is undefined is NaN.
    Raises DataError for a column that the predictions do not have, naming the nearest.

    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), np.array([[0.6, 0.4], [0.7, 0.3]]), ("no", "yes"),
    ...                    np.array(["test", "test"]), groups={"sex": np.array(["M", "F"])})
    >>> by_group(accuracy, rows, "sex")
    {'F': 0.0, 'M': 1.0}
    """
    if column not in predictions.groups:
        known = nearest(column, predictions.groups) if predictions.groups else "a group column; there is none"
        raise DataError(
            f"there is no group column {column!r}", known, "a column that the predictions file has"
        )
    values = predictions.groups[column]
    return {str(value): metric(predictions.take(values == value)) for value in np.unique(values)}


def average_columns(name: str, measure: Callable[[Any, Any], float], predictions: Predictions) -> float:
    """Average a measure of (true, scores) over the positive columns, each on the rows annotated for it.

    NaN where the metric of that name is undefined.

    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), np.array([[0.6, 0.4], [0.7, 0.3]]), ("no", "yes"),
    ...                    np.array(["test", "test"]))
    >>> average_columns("auroc", roc_auc_score, rows)
    0.0
    """
    if explain_undefined(name, predictions):
        return float("nan")
    values = []
    for index in list_positive_columns(predictions):
        known = ~np.isnan(predictions.labels[:, index])
        values.append(measure(predictions.labels[known, index], predictions.scores[known, index]))
    return float(np.mean(values))
