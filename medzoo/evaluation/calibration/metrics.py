"""How well probabilities are calibrated: metrics are functions from Predictions to a float, lower is better.

Rows that nobody annotated are left out. What the rows do not define is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medzoo.evaluation.calibration.bins import BINS, Equal, find_bins, find_edges, select_pairs
from medzoo.evaluation.predictions import FloatArray, Predictions

#: Probabilities are kept this far from 0 and 1 in a logarithm, as in scikit-learn's log_loss.
SMALLEST = float(np.finfo(np.float64).eps)


def ece(predictions: Predictions, bins: int = BINS) -> float:
    """Give the expected calibration error: the mean over rows of a bin's |mean score − share that came true|.

    Bins are of equal width. Exclusive classes: the score of the top label against whether it is right, for two
    classes too. Labels: each on its own score, then the mean over labels. NaN when there is no annotated row, or
    none for some label. It depends on the number of bins and, on few rows, is above 0 for perfect probabilities.
    Source: Naeini et al., AAAI (2015); Guo et al., ICML (2017). Raises ConfigError for less than one bin.

    >>> scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[0, 1, 1]], scores, ("no", "yes"),
    ...                    np.array(["test"] * 3))
    >>> round(ece(rows, bins=2), 4)
    0.1
    """
    return _average_gaps(predictions, list_top(predictions), bins, "width")


def ece_equal_mass(predictions: Predictions, bins: int = BINS) -> float:
    """Give the expected calibration error over bins that hold equal numbers of rows: the adaptive one.

    Edges are quantiles of the scores. Equal scores stay together, so that there may be fewer bins. Else as `ece`.
    Source: Nixon et al., CVPR workshops (2019).

    >>> scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[0, 1, 1]], scores, ("no", "yes"),
    ...                    np.array(["test"] * 3))
    >>> round(ece_equal_mass(rows, bins=3), 4)
    0.4333
    """
    return _average_gaps(predictions, list_top(predictions), bins, "mass")


def ece_classwise(predictions: Predictions, bins: int = BINS) -> float:
    """Give the mean over classes of the calibration error of each class's own score, in bins of equal width.

    It sees what `ece` does not: the scores of classes that are not on top. Of labels it is `ece`.
    Source: Kull et al., NeurIPS (2019).

    >>> scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[0, 1, 1]], scores, ("no", "yes"),
    ...                    np.array(["test"] * 3))
    >>> round(ece_classwise(rows, bins=2), 4)
    0.3667
    """
    return _average_gaps(predictions, range(len(predictions.classes)), bins, "width")


def mce(predictions: Predictions, bins: int = BINS) -> float:
    """Give the maximum calibration error: the gap of the worst bin of `ece` that is not empty, however few its rows.

    Labels: the mean over labels of each one's worst bin.
    Source: Naeini et al., AAAI (2015).

    >>> scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[0, 1, 1]], scores, ("no", "yes"),
    ...                    np.array(["test"] * 3))
    >>> round(mce(rows), 4)
    0.8
    """
    return _average_gaps(predictions, list_top(predictions), bins, "width", worst=True)


def brier(predictions: Predictions) -> float:
    """Give the mean squared distance of probabilities from what was true.

    Two exclusive classes: of the positive one's, from 0 to 1. More: summed over the classes, from 0 to 2. Labels:
    the mean over labels, each on the rows annotated for it. NaN as for `ece`.
    Source: Brier, Monthly Weather Review 78 (1950).

    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), np.array([[0.9, 0.1], [0.5, 0.5]]), ("no", "yes"),
    ...                    np.array(["test", "test"]))
    >>> round(brier(rows), 4)
    0.13
    """
    return _average_losses(brier_losses(predictions))


def nll(predictions: Predictions) -> float:
    """Give the negative log-likelihood: the mean of −log of the probability of what was true, in nats.

    Labels: the mean over labels of the binary one, each on the rows annotated for it. A probability of 0 or 1 that
    was wrong counts as 36.04 and not as infinity, as in scikit-learn. NaN as for `ece`.

    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), np.array([[0.9, 0.1], [0.5, 0.5]]), ("no", "yes"),
    ...                    np.array(["test", "test"]))
    >>> round(nll(rows), 4)
    0.3993
    """
    return _average_losses(nll_losses(predictions))


class BrierDecomposition(NamedTuple):
    """The three parts of the Brier score of binned forecasts, reliability − resolution + uncertainty."""

    reliability: float
    resolution: float
    uncertainty: float


def brier_decomposition(
    predictions: Predictions, column: int, bins: int = BINS, equal: Equal = "width"
) -> BrierDecomposition:
    """Split the Brier score of one class or label, each forecast taken as its bin's mean, into three parts.

    Reliability, 0 at best, is the squared distance of the bins' mean scores from what came true; resolution is how
    far what came true differs between bins; uncertainty is the variance of the label itself. Reliability −
    resolution + uncertainty is the Brier score of the binned forecasts. NaN when nothing is annotated.
    Source: Murphy, Journal of Applied Meteorology 12 (1973). Raises ConfigError as `reliability_bins` does.

    >>> scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    >>> rows = Predictions(np.array(list("abcd")), np.eye(2)[[0, 1, 1, 1]], scores, ("no", "yes"),
    ...                    np.array(["test"] * 4))
    >>> [round(part, 4) for part in brier_decomposition(rows, 1, bins=2)]
    [0.1225, 0.0625, 0.1875]
    """
    scores, came_true, _ = select_pairs(predictions, column)
    edges = find_edges(scores, bins, equal)
    if not scores.size:
        return BrierDecomposition(np.nan, np.nan, np.nan)
    places = find_bins(scores, edges)
    counts = np.bincount(places)
    filled = counts > 0
    counts = counts[filled]
    said = np.bincount(places, scores)[filled] / counts
    true = np.bincount(places, came_true)[filled] / counts
    share = float(came_true.mean())
    reliability = float(counts @ (said - true) ** 2) / scores.size
    resolution = float(counts @ (true - share) ** 2) / scores.size
    return BrierDecomposition(reliability, resolution, share * (1 - share))


def brier_losses(predictions: Predictions) -> FloatArray:
    """Give each row's Brier loss, (n, 1), or each label's, (n, k); NaN where not annotated.

    >>> one = Predictions(np.array(["a"]), np.eye(1, 2), np.array([[0.9, 0.1]]), ("no", "yes"), np.array(["test"]))
    >>> brier_losses(one).round(4).tolist()
    [[0.01]]
    """
    squares = (predictions.scores - predictions.labels) ** 2
    if not predictions.exclusive:
        return squares
    if squares.shape[1] == 2:
        return squares[:, 1:]
    return np.asarray(squares.sum(axis=1, keepdims=True))


def nll_losses(predictions: Predictions) -> FloatArray:
    """Give each row's −log probability of its class, (n, 1), or of each label's side, (n, k); NaN where not annotated.

    >>> one = Predictions(np.array(["a"]), np.eye(1, 2), np.array([[0.5, 0.5]]), ("no", "yes"), np.array(["test"]))
    >>> nll_losses(one).round(4).tolist()
    [[0.6931]]
    """
    labels = predictions.labels
    scores = np.clip(predictions.scores, SMALLEST, 1 - SMALLEST)
    if predictions.exclusive:
        return np.asarray(-(labels * np.log(scores)).sum(axis=1, keepdims=True))
    return -(labels * np.log(scores) + (1 - labels) * np.log1p(-scores))


def list_top(predictions: Predictions) -> Sequence[int | None]:
    """List what `ece` bins: the top label of exclusive classes, None, or each label's place.

    >>> list_top(Predictions(np.array(["a"]), np.eye(1, 2), np.eye(1, 2), ("no", "yes"), np.array(["test"])))
    [None]
    """
    return [None] if predictions.exclusive else range(len(predictions.classes))


def _average_gaps(
    predictions: Predictions, columns: Sequence[int | None], bins: int, equal: Equal, worst: bool = False
) -> float:
    """Average over columns the mean over rows of their bins' gaps, or the greatest gap alone."""
    values = []
    for column in columns:
        scores, came_true, _ = select_pairs(predictions, column)
        places = find_bins(scores, find_edges(scores, bins, equal))
        if not scores.size:
            return float("nan")
        gaps = np.abs(np.bincount(places, came_true - scores))
        counts = np.bincount(places)
        filled = counts > 0
        values.append((gaps[filled] / counts[filled]).max() if worst else gaps.sum() / scores.size)
    return float(np.mean(values))


def _average_losses(losses: FloatArray) -> float:
    """Average losses (n, m) over the annotated rows of each column, then over columns; NaN when one has none."""
    known = ~np.isnan(losses)
    if not known.any(axis=0).all():
        return float("nan")
    return float(np.mean([losses[known[:, column], column].mean() for column in range(losses.shape[1])]))
