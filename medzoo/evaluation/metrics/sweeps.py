"""One class's or label's calls at every threshold: what curves, operating points and areas are read from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import ConfigError
from medzoo.evaluation.predictions import Predictions


@dataclass(frozen=True, eq=False)
class Sweep:
    """How many positives and negatives reach each threshold, the distinct scores from the highest down, each (m,).

    `positives` and `negatives` count all annotated rows of the column.

    >>> sweep = Sweep(np.array([0.5]), np.array([2]), np.array([1]), 2, 1)
    >>> sweep.sensitivities.tolist(), sweep.specificities.tolist()
    ([1.0], [0.0])
    """

    thresholds: NDArray[np.float64] = field(repr=False)
    true_positives: NDArray[np.int64] = field(repr=False)
    false_positives: NDArray[np.int64] = field(repr=False)
    positives: int
    negatives: int

    @property
    def sensitivities(self) -> NDArray[np.float64]:
        """The share of positives at or above each threshold (m,); there must be a positive."""
        return self.true_positives / self.positives

    @property
    def specificities(self) -> NDArray[np.float64]:
        """The share of negatives below each threshold (m,); there must be a negative."""
        return (self.negatives - self.false_positives) / self.negatives


def sweep_scores(predictions: Predictions, column: int) -> Sweep:
    """Count the positives and negatives of a column that reach each of its scores.

    Raises ConfigError for a column that the predictions do not have.

    >>> said = np.array([[0.6, 0.4], [0.3, 0.7], [0.6, 0.4]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[1, 1, 0]], said, ("no", "yes"), np.array(["test"] * 3))
    >>> sweep = sweep_scores(rows, 1)
    >>> sweep.thresholds.tolist(), sweep.true_positives.tolist(), sweep.false_positives.tolist()
    ([0.7, 0.4], [1, 2], [0, 1])
    """
    width = len(predictions.classes)
    if not 0 <= column < width:
        raise ConfigError(
            f"the column {column}", f"0 to {width - 1}, one of {', '.join(predictions.classes)}"
        )
    known = np.flatnonzero(~np.isnan(predictions.labels[:, column]))
    order = known[np.argsort(-predictions.scores[known, column], kind="stable")]
    scores = predictions.scores[order, column]
    hits = np.cumsum(predictions.labels[order, column] == 1)
    # The last row of each tie; scores are never −1, so the very last row is one.
    last = np.flatnonzero(np.diff(scores, append=-1.0) != 0)
    positives = int(hits[-1]) if hits.size else 0
    return Sweep(scores[last], hits[last], last + 1 - hits[last], positives, len(order) - positives)
