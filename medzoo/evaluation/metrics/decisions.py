"""Metrics of decisions beside accuracy and κ: sensitivity, specificity, predictive values, F1, Matthews' coefficient.

Each counts right and wrong calls. Two exclusive classes: those of the last one. More classes: the unweighted mean of
each class versus the rest. Labels: the unweighted mean over labels, each on the rows annotated for it. A call is the
class of the highest score, or a label from 0.5, unless thresholds are given: one per class or label that is averaged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medzoo.evaluation.metrics.calls import count_cells, count_pairs, list_decisions
from medzoo.evaluation.metrics.needs import explain_undefined
from medzoo.evaluation.predictions import Predictions


def sensitivity(predictions: Predictions, thresholds: Sequence[float] | None = None) -> float:
    """Give the share of positives that are called positive: the recall. NaN without a positive row.

    >>> said = np.array([[0.6, 0.4], [0.3, 0.7], [0.7, 0.3]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[1, 1, 0]], said, ("no", "yes"), np.array(["test"] * 3))
    >>> sensitivity(rows), sensitivity(rows, [0.35])
    (0.5, 1.0)
    """
    if explain_undefined("sensitivity", predictions, thresholds):
        return float("nan")
    cells = count_cells(predictions, thresholds)
    return _average_shares(cells.true_positives, cells.false_negatives)


def specificity(predictions: Predictions, thresholds: Sequence[float] | None = None) -> float:
    """Give the share of negatives that are called negative. NaN without a negative row.

    >>> said = np.array([[0.6, 0.4], [0.3, 0.7], [0.7, 0.3]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[1, 1, 0]], said, ("no", "yes"), np.array(["test"] * 3))
    >>> specificity(rows), specificity(rows, [0.3])
    (1.0, 0.0)
    """
    if explain_undefined("specificity", predictions, thresholds):
        return float("nan")
    cells = count_cells(predictions, thresholds)
    return _average_shares(cells.true_negatives, cells.false_positives)


def precision(predictions: Predictions, thresholds: Sequence[float] | None = None) -> float:
    """Give the share of those called positive that are: the positive predictive value. NaN without such a call.

    It moves with the share of positives among the rows: one from a test set with half positives says nothing
    about a clinic with one in a hundred.

    >>> said = np.array([[0.6, 0.4], [0.3, 0.7], [0.7, 0.3]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[1, 1, 0]], said, ("no", "yes"), np.array(["test"] * 3))
    >>> precision(rows), round(precision(rows, [0.3]), 4), precision(rows, [0.8])
    (1.0, 0.6667, nan)
    """
    if explain_undefined("precision", predictions, thresholds):
        return float("nan")
    cells = count_cells(predictions, thresholds)
    return _average_shares(cells.true_positives, cells.false_positives)


def npv(predictions: Predictions, thresholds: Sequence[float] | None = None) -> float:
    """Give the share of those called negative that are: the negative predictive value. NaN without such a call.

    It moves with the share of positives among the rows, as `precision` does.

    >>> said = np.array([[0.6, 0.4], [0.3, 0.7], [0.7, 0.3]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[1, 1, 0]], said, ("no", "yes"), np.array(["test"] * 3))
    >>> npv(rows), npv(rows, [0.35])
    (0.5, 1.0)
    """
    if explain_undefined("npv", predictions, thresholds):
        return float("nan")
    cells = count_cells(predictions, thresholds)
    return _average_shares(cells.true_negatives, cells.false_negatives)


def f1(predictions: Predictions, thresholds: Sequence[float] | None = None) -> float:
    """Give the harmonic mean of precision and sensitivity: that of the last of two classes, else the macro average.

    0 where no positive is called so. NaN when a class or label has no positive or no negative row.
    Source: van Rijsbergen, Information Retrieval (1979).

    >>> said = np.array([[0.6, 0.4], [0.3, 0.7], [0.7, 0.3]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[1, 1, 0]], said, ("no", "yes"), np.array(["test"] * 3))
    >>> round(f1(rows), 4), round(f1(rows, [0.3]), 4)
    (0.6667, 0.8)
    """
    if explain_undefined("f1", predictions, thresholds):
        return float("nan")
    cells = count_cells(predictions, thresholds)
    wrong = cells.false_positives + cells.false_negatives
    return _average_shares(2 * cells.true_positives, wrong)


def mcc(predictions: Predictions, thresholds: Sequence[float] | None = None) -> float:
    """Give Matthews' correlation of true and called classes, of more than two in Gorodkin's form.

    1 is agreement, 0 no relation; 0 also where every row is called the same, which has none. Labels: the mean over
    labels. Of more than two exclusive classes thresholds play no part. NaN when all rows are of one class, or a
    label has no positive or no negative row. Sources: Matthews, Biochimica et Biophysica Acta 405 (1975);
    Gorodkin, Computational Biology and Chemistry 28 (2004).

    >>> said = np.array([[0.6, 0.4], [0.3, 0.7], [0.7, 0.3]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[1, 1, 0]], said, ("no", "yes"), np.array(["test"] * 3))
    >>> mcc(rows), mcc(rows, [0.3])
    (0.5, 0.0)
    """
    if explain_undefined("mcc", predictions, thresholds):
        return float("nan")
    codes = len(predictions.classes) if predictions.exclusive else 2
    decisions = list_decisions(predictions, thresholds)
    return float(np.mean([_correlate(count_pairs(true, guess, codes)) for true, guess in decisions]))


def _average_shares(hits: NDArray[np.int64], misses: NDArray[np.int64]) -> float:
    """Average hits / (hits + misses) over columns, none of which is empty."""
    return float(np.mean(hits / (hits + misses)))


def _correlate(pairs: NDArray[np.int64]) -> float:
    """Correlate the true and guessed codes of a table of counts; 0 where one of them is constant."""
    # float64: the products of four counts of ten million rows do not fit into 64-bit whole numbers.
    counts = pairs.astype(np.float64)
    total, true, guessed = counts.sum(), counts.sum(axis=1), counts.sum(axis=0)
    covariance = np.trace(counts) * total - true @ guessed
    spread = np.sqrt(total**2 - true @ true) * np.sqrt(total**2 - guessed @ guessed)
    return float(covariance / spread) if spread > 0 else 0.0
