"""The metrics on resampled rows, computed from how often each row was drawn.

A bootstrap asks for a metric a thousand times on the same rows with other counts. Sorting scores and
checking arrays once, and then only counting, makes that some fifty times faster than building each
resample; the values are the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from medzoo.evaluation.discrimination import (
    THRESHOLD,
    Metric,
    accuracy,
    auroc,
    balanced_accuracy,
    list_positive_columns,
)
from medzoo.evaluation.predictions import Predictions

#: How often each row was drawn, (n,) → the metric on those draws.
Weighted = Callable[[NDArray[np.int64]], float]


def prepare_weighted(metric: Metric, predictions: Predictions) -> Weighted:
    """Give a function from counts (n,) to the metric on each row repeated that often; any metric will do.

    The metrics of `discrimination` are counted; every other function of Predictions is given the repeated
    rows.

    >>> import numpy as np
    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), np.array([[0.6, 0.4], [0.7, 0.3]]), ("no", "yes"),
    ...                    np.array(["test", "test"]))
    >>> prepare_weighted(accuracy, rows)(np.array([3, 1]))
    0.75
    """
    if metric is auroc:
        return _prepare_auroc(predictions)
    if metric is accuracy:
        return _prepare_accuracy(predictions)
    if metric is balanced_accuracy:
        return _prepare_balanced_accuracy(predictions)
    every = np.arange(len(predictions))
    return lambda counts: metric(predictions.take(np.repeat(every, counts)))


def _prepare_auroc(predictions: Predictions) -> Weighted:
    """Average the areas of the positive columns."""
    labels, scores = predictions.labels, predictions.scores
    areas = [
        _prepare_area(labels[:, index], scores[:, index]) for index in list_positive_columns(predictions)
    ]
    return lambda counts: float(np.mean([area(counts) for area in areas]))


def _prepare_area(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> Weighted:
    """Count one column's pairs of a positive above a negative, ties half, in whole numbers: exact."""
    known = np.flatnonzero(~np.isnan(labels))
    order = known[np.argsort(scores[known], kind="stable")]
    ties = np.flatnonzero(np.diff(scores[order], prepend=-1.0) != 0)
    is_positive = labels[order] == 1

    def area(counts: NDArray[np.int64]) -> float:
        if not order.size:
            return float("nan")
        drawn = counts[order]
        positives = np.add.reduceat(drawn * is_positive, ties)
        negatives = np.add.reduceat(drawn, ties) - positives
        below = np.cumsum(negatives) - negatives
        pairs = int(positives.sum()) * int(negatives.sum())
        return int((positives * (2 * below + negatives)).sum()) / (2 * pairs) if pairs else float("nan")

    return area


def _prepare_accuracy(predictions: Predictions) -> Weighted:
    """Average the shares of right rows: of all annotated rows, or of each label's."""
    known, right = ~np.isnan(predictions.labels), _find_right(predictions)
    if predictions.exclusive:
        known, right = known[:, :1], right[:, :1]
    return _prepare_shares(right & known, known)


def _prepare_balanced_accuracy(predictions: Predictions) -> Weighted:
    """Average the shares of right rows over classes, or over each label's positives and negatives."""
    members = predictions.labels == 1
    right = _find_right(predictions)
    if not predictions.exclusive:
        members, right = np.hstack([members, predictions.labels == 0]), np.hstack([right, right])
    return _prepare_shares(right & members, members)


def _find_right(predictions: Predictions) -> NDArray[np.bool_]:
    """Tell which decisions are right, (n, k): of exclusive classes, the row's decision in every column."""
    labels, scores = predictions.labels, predictions.scores
    if not predictions.exclusive:
        right_sides: NDArray[np.bool_] = (scores >= THRESHOLD) == (labels == 1)
        return right_sides
    right = np.nan_to_num(labels).argmax(axis=1) == scores.argmax(axis=1)
    return np.broadcast_to(right[:, np.newaxis], labels.shape)


def _prepare_shares(hits: NDArray[np.bool_], members: NDArray[np.bool_]) -> Weighted:
    """Average hits / members over the columns (n, m); NaN when a column has no member drawn."""
    # float64 holds these counts exactly and, unlike whole numbers, multiplies through BLAS.
    hit, member = hits.astype(np.float64), members.astype(np.float64)

    def share(counts: NDArray[np.int64]) -> float:
        drawn = counts.astype(np.float64)
        totals = drawn @ member
        return float(np.mean(drawn @ hit / totals)) if totals.all() else float("nan")

    return share
