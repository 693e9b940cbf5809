"""ROC and precision–recall curves of one class or label, and confusion matrices."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import DataError
from medzoo.evaluation.metrics.calls import count_pairs, list_decisions
from medzoo.evaluation.metrics.sweeps import Sweep, sweep_scores
from medzoo.evaluation.metrics.thresholds import AtThresholds, OperatingPoints
from medzoo.evaluation.predictions import Predictions

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """Points of a curve from the strictest threshold down: x, y and the score from which a row is called, each (n,).

    The first point, at threshold infinity, calls no row. No points, and the reason, where the rows define no curve.

    >>> len(Curve(np.empty(0), np.empty(0), np.empty(0), "no positive row of 'yes'").x)
    0
    """

    x: FloatArray = field(repr=False)
    y: FloatArray = field(repr=False)
    thresholds: FloatArray = field(repr=False)
    reason: str | None = None


def roc_points(rows: Predictions, column: int) -> Curve:
    """Give a class's or label's ROC curve: x the false-positive rate (1 − specificity), y the sensitivity.

    A point on the straight line between its neighbours is left out; area and shape are those of all points.
    Raises ConfigError for a column that the predictions do not have.

    >>> said = np.array([[0.6, 0.4], [0.3, 0.7], [0.5, 0.5]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[1, 1, 0]], said, ("no", "yes"), np.array(["test"] * 3))
    >>> curve = roc_points(rows, 1)
    >>> curve.x.tolist(), curve.y.tolist(), curve.thresholds.tolist()
    ([0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.5, 1.0], [inf, 0.7, 0.5, 0.4])
    """
    sweep = sweep_scores(rows, column)
    reason = _explain(sweep, rows.classes[column])
    if reason:
        return Curve(np.empty(0), np.empty(0), np.empty(0), reason)
    alarms, hits = np.append(0, sweep.false_positives), np.append(0, sweep.true_positives)
    right, up = np.diff(alarms), np.diff(hits)
    # In whole numbers: two steps of one direction have a cross product of exactly 0.
    turns = right[:-1] * up[1:] != right[1:] * up[:-1]
    kept = np.concatenate([[True], turns, [True]])
    thresholds = np.append(np.inf, sweep.thresholds)
    return Curve(alarms[kept] / sweep.negatives, hits[kept] / sweep.positives, thresholds[kept])


def precision_recall_points(rows: Predictions, column: int) -> Curve:
    """Give a class's or label's precision–recall curve: x the recall (sensitivity), y the precision.

    It starts at recall 0 with precision 1, which no threshold has, as scikit-learn's does; trapezoids under it are
    `auprc`, steps `average_precision`.
    Raises ConfigError for a column that the predictions do not have.

    >>> said = np.array([[0.6, 0.4], [0.3, 0.7], [0.5, 0.5]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[1, 1, 0]], said, ("no", "yes"), np.array(["test"] * 3))
    >>> curve = precision_recall_points(rows, 1)
    >>> curve.x.tolist(), curve.y.round(2).tolist()
    ([0.0, 0.5, 0.5, 1.0], [1.0, 1.0, 0.5, 0.67])
    """
    sweep = sweep_scores(rows, column)
    reason = _explain(sweep, rows.classes[column])
    if reason:
        return Curve(np.empty(0), np.empty(0), np.empty(0), reason)
    precisions = sweep.true_positives / (sweep.true_positives + sweep.false_positives)
    return Curve(
        np.append(0.0, sweep.sensitivities),
        np.append(1.0, precisions),
        np.append(np.inf, sweep.thresholds),
    )


def confusion_matrix(rows: Predictions, points: OperatingPoints | None = None) -> NDArray[np.int64]:
    """Count annotated rows by true class (first axis) and called class (second): (k, k).

    Labels: one such table of 0 and 1 per label, (k, 2, 2). A row's class is that of its highest score, a label is
    called from 0.5; operating points decide for two classes and for labels, and play no part for more classes.
    Raises DataError for points of other classes, or without a threshold for a label that is counted.

    >>> said = np.array([[0.6, 0.4], [0.3, 0.7], [0.5, 0.5]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[1, 1, 0]], said, ("no", "yes"), np.array(["test"] * 3))
    >>> confusion_matrix(rows).tolist()
    [[1, 0], [1, 1]]
    """
    thresholds = None
    if points is not None:
        thresholds = AtThresholds("accuracy", points).list_thresholds(rows)
        if thresholds is not None and np.isnan(thresholds).any():
            raise DataError(f"operating points without a threshold: {points.reason}", "one for every label")
    codes = len(rows.classes) if rows.exclusive else 2
    tables = [count_pairs(true, guess, codes) for true, guess in list_decisions(rows, thresholds)]
    return tables[0] if rows.exclusive else np.stack(tables)


def _explain(sweep: Sweep, name: str) -> str | None:
    """Say which side of a column has no rows; None where both have."""
    sides = (("positive", sweep.positives), ("negative", sweep.negatives))
    return "; ".join(f"no {side} row of {name!r}" for side, count in sides if not count) or None
