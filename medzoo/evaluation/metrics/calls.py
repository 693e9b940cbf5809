"""What rows are called: columns, thresholds and the counts of right and wrong calls that decision metrics rest on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import ConfigError
from medzoo.evaluation.predictions import Predictions

Metric = Callable[[Predictions], float]

#: The score from which an independent label counts as predicted, unless thresholds were chosen.
THRESHOLD = 0.5


class DecisionMetric(Protocol):
    """A metric of decisions: from the highest score, or 0.5 per label, unless it is given thresholds."""

    def __call__(self, predictions: Predictions, thresholds: Sequence[float] | None = None) -> float:
        """Give the metric; `thresholds` has one entry per column of `list_positive_columns`."""


class Cells(NamedTuple):
    """Right and wrong calls of each positive column, each (m,) whole numbers."""

    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    false_negatives: NDArray[np.int64]
    true_negatives: NDArray[np.int64]


def list_positive_columns(predictions: Predictions) -> list[int]:
    """Give the columns that a metric is averaged over: the last of two exclusive classes, else all.

    >>> list_positive_columns(Predictions(np.array(["a"]), np.eye(1, 2), np.eye(1, 2), ("no", "yes"),
    ...                                   np.array(["test"])))
    [1]
    """
    count = len(predictions.classes)
    return [1] if predictions.exclusive and count == 2 else list(range(count))


def call_columns(predictions: Predictions, thresholds: Sequence[float] | None = None) -> NDArray[np.bool_]:
    """Tell which rows are called positive in each positive column, (n, m).

    With thresholds, one per positive column: where the score reaches the column's threshold; of more than two
    exclusive classes a row may then be called several of them, or none. Without: the class of the highest score
    (the first of equals), or each label from 0.5.
    Raises ConfigError for another number of thresholds.

    >>> said = np.array([[0.6, 0.4], [0.2, 0.8]])
    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), said, ("no", "yes"), np.array(["test"] * 2))
    >>> call_columns(rows).tolist(), call_columns(rows, [0.4]).tolist()
    ([[False], [True]], [[True], [True]])
    """
    columns = list_positive_columns(predictions)
    if thresholds is not None:
        _check_thresholds(predictions, thresholds)
        return _reach(predictions.scores[:, columns], np.asarray(thresholds, dtype=np.float64))
    if not predictions.exclusive:
        return _reach(predictions.scores, np.float64(THRESHOLD))
    highest = predictions.scores.argmax(axis=1)
    called: NDArray[np.bool_] = highest[:, np.newaxis] == np.array(columns)
    return called


def count_cells(predictions: Predictions, thresholds: Sequence[float] | None = None) -> Cells:
    """Count true and false positives and negatives of each positive column, on the rows annotated for it.

    Raises ConfigError for another number of thresholds than positive columns.

    >>> said = np.array([[0.6, 0.4], [0.2, 0.8]])
    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), said, ("no", "yes"), np.array(["test"] * 2))
    >>> [int(count[0]) for count in count_cells(rows)]
    [1, 0, 0, 1]
    """
    called = call_columns(predictions, thresholds)
    labels = predictions.labels[:, list_positive_columns(predictions)]
    positive, negative = labels == 1, labels == 0
    return Cells(
        (called & positive).sum(axis=0),
        (called & negative).sum(axis=0),
        (~called & positive).sum(axis=0),
        (~called & negative).sum(axis=0),
    )


def list_decisions(
    predictions: Predictions, thresholds: Sequence[float] | None = None
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Give (truth, guess) of annotated rows: one pair of class numbers, or of 0 and 1 per label.

    Each row of exclusive classes has one class: of two, thresholds decide; of more, the highest score does, and
    thresholds play no part.
    Raises ConfigError for another number of thresholds than positive columns.

    >>> said = np.array([[0.6, 0.4], [0.2, 0.8]])
    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), said, ("no", "yes"), np.array(["test"] * 2))
    >>> [(true.tolist(), guess.tolist()) for true, guess in list_decisions(rows, [0.9])]
    [([0, 1], [0, 0])]
    """
    labels, scores = predictions.labels, predictions.scores
    known = ~np.isnan(labels)
    if predictions.exclusive:
        rows = known[:, 0]
        if thresholds is None or len(predictions.classes) > 2:
            guesses = scores.argmax(axis=1)
        else:
            guesses = call_columns(predictions, thresholds)[:, 0].astype(np.int64)
        return [(labels[rows].argmax(axis=1), guesses[rows])]
    called = call_columns(predictions, thresholds)
    return [
        (labels[known[:, index], index].astype(np.int64), called[known[:, index], index].astype(np.int64))
        for index in range(len(predictions.classes))
    ]


def count_pairs(true: NDArray[np.int64], guess: NDArray[np.int64], codes: int) -> NDArray[np.int64]:
    """Count the pairs of true and guessed codes, (codes, codes): a row per truth, a column per guess.

    >>> count_pairs(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
    [[1, 0], [1, 1]]
    """
    return np.bincount(true * codes + guess, minlength=codes * codes).reshape(codes, codes)


def _reach(scores: NDArray[np.float64], thresholds: Any) -> NDArray[np.bool_]:
    """Tell which scores reach their threshold: one that equals it does."""
    reached: NDArray[np.bool_] = scores >= thresholds
    return reached


def _check_thresholds(predictions: Predictions, thresholds: Sequence[float]) -> None:
    """Refuse another number of thresholds than there are positive columns."""
    expected = len(list_positive_columns(predictions))
    if len(thresholds) != expected:
        raise ConfigError(f"{len(thresholds)} thresholds", f"{expected}, one per positive class or label")
