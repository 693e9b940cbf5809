"""How often a score comes true: rows binned by their score, each bin's mean score beside the share that came true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import ConfigError, nearest
from medzoo.evaluation.predictions import FloatArray, Predictions

#: M of Guo et al. (2017) and of most papers since.
BINS = 15

#: The two-sided normal quantile of 95 %.
_Z = 1.959963984540054

#: Bins of one width, or of one number of rows.
Equal = Literal["width", "mass"]


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """M bins of rows by their score: what was said in each, and what was true.

    edges (M + 1,) from 0 to 1; confidence (M,), the mean score; observed (M,), the share that came true; counts
    (M,) of rows; low and high (M,), the 95 % interval of the share. Empty bins hold NaN. M may be less than was
    asked for where bins hold equal numbers of rows and scores are tied.

    >>> reliability_bins(Predictions(np.array(["a"]), np.eye(1, 2), np.array([[0.9, 0.1]]), ("no", "yes"),
    ...                              np.array(["test"])), bins=2).observed.tolist()
    [nan, 1.0]
    """

    edges: FloatArray
    confidence: FloatArray
    observed: FloatArray
    counts: NDArray[np.int64]
    low: FloatArray
    high: FloatArray


def reliability_bins(
    predictions: Predictions, column: int | None = None, bins: int = BINS, equal: Equal = "width"
) -> ReliabilityBins:
    """Bin the annotated rows by their score and say how often what was said came true: a reliability diagram.

    `column` is a class or label: its score against whether it is the row's. Without it, exclusive classes give
    the top label's score against whether it is right, and independent labels every annotated pair of row and
    label. A bin holds scores above its lower and up to its upper edge, the first one 0 too. Under `equal` "mass"
    the edges are quantiles of the scores, and equal scores stay together.

    Intervals are Wilson's (1927). Where patients are known, a bin counts as many rows as independent ones would
    give the same variance (Korn & Graubard 1998), since images of one patient resemble each other.

    Raises ConfigError for less than one bin, another `equal`, or a column that is none.

    >>> scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[0, 1, 1]], scores, ("no", "yes"),
    ...                    np.array(["test"] * 3))
    >>> found = reliability_bins(rows, 1, bins=2)
    >>> found.counts.tolist(), found.confidence.round(2).tolist(), found.observed.tolist()
    ([2, 1], [0.15, 0.6], [0.5, 1.0])
    """
    scores, came_true, rows = select_pairs(predictions, column)
    edges = find_edges(scores, bins, equal)
    places = find_bins(scores, edges)
    counts = np.bincount(places, minlength=len(edges) - 1)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(places, scores, len(counts)) / counts
        observed = np.bincount(places, came_true, len(counts)) / counts
    patients = None if predictions.patients is None else _name_patients(predictions)[rows]
    independent = _count_independent(came_true, places, observed, counts, patients)
    low, high = _enclose(observed, independent)
    return ReliabilityBins(edges, confidence, observed, counts.astype(np.int64), low, high)


def select_pairs(
    predictions: Predictions, column: int | None = None
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Give scores (m,), whether each came true (m,) of 0 and 1, and its row (m,), of what is annotated.

    Raises ConfigError for a column that the predictions do not have.

    >>> one = Predictions(np.array(["a"]), np.eye(1, 2), np.array([[0.3, 0.7]]), ("no", "yes"), np.array(["test"]))
    >>> [array.tolist() for array in select_pairs(one)]
    [[0.7], [0.0], [0]]
    """
    labels, scores = predictions.labels, predictions.scores
    if column is not None:
        if not 0 <= column < len(predictions.classes):
            raise ConfigError(f"column {column}", f"0 to {len(predictions.classes) - 1}, a class's place")
        rows = np.flatnonzero(~np.isnan(labels[:, column]))
        return scores[rows, column], labels[rows, column], rows
    if predictions.exclusive:
        rows = np.flatnonzero(~np.isnan(labels[:, 0]))
        top = scores[rows].argmax(axis=1)
        return scores[rows, top], labels[rows, top], rows
    rows, columns = np.nonzero(~np.isnan(labels))
    return scores[rows, columns], labels[rows, columns], rows


def find_edges(scores: FloatArray, bins: int, equal: Equal) -> FloatArray:
    """Give the edges (M + 1,) of bins of equal width, or of equal mass in these scores.

    Raises ConfigError for less than one bin or another `equal`.

    >>> find_edges(np.array([0.1, 0.2, 0.9]), 2, "mass").tolist()
    [0.0, 0.2, 1.0]
    """
    if bins < 1:
        raise ConfigError(f"{bins} bins", "1 or more", str(BINS))
    if equal not in get_args(Equal):
        raise ConfigError(f"there are no bins of equal {equal!r}", nearest(equal, get_args(Equal)))
    even = np.linspace(0, 1, bins + 1)
    if equal == "width" or not scores.size:
        return even
    inner = np.unique(np.quantile(scores, even[1:-1]))
    return np.concatenate([[0.0], inner[(inner > 0) & (inner < 1)], [1.0]])


def find_bins(scores: FloatArray, edges: FloatArray) -> NDArray[np.int64]:
    """Give the bin of each score, (m,): above its lower edge and up to its upper one, 0 in the first.

    >>> find_bins(np.array([0.0, 0.5, 0.6]), np.array([0.0, 0.5, 1.0])).tolist()
    [0, 0, 1]
    """
    return np.searchsorted(edges[1:-1], scores, side="left").astype(np.int64)


def _name_patients(predictions: Predictions) -> NDArray[np.int64]:
    """Number each row's patient, a row without one being a patient of its own."""
    from medzoo.evaluation.uncertainty.bootstrap import identify_patients  # which imports the metrics

    numbers = identify_patients(predictions)
    assert numbers is not None
    return numbers


def _count_independent(
    came_true: FloatArray,
    places: NDArray[np.int64],
    observed: FloatArray,
    counts: NDArray[np.int64],
    patients: NDArray[np.int64] | None,
) -> FloatArray:
    """Give the number of independent rows, (M,), whose share would vary as much as a bin's does over patients."""
    if patients is None or not places.size:
        return counts.astype(np.float64)
    pairs, which = np.unique(np.stack([places, patients]), axis=1, return_inverse=True)
    sums = np.bincount(which.ravel(), came_true - observed[places])
    spread = np.bincount(pairs[0], sums**2, len(counts))
    people = np.bincount(pairs[0], minlength=len(counts))
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = spread / counts**2 * people / (people - 1)
        equivalent = observed * (1 - observed) / variance
    # A bin where all rows came true, or one patient's alone, shows no variance: its patients are what is counted.
    equivalent = np.where(np.isfinite(equivalent), equivalent, people)
    return np.asarray(np.minimum(equivalent, counts), dtype=np.float64)


def _enclose(shares: FloatArray, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give Wilson's 95 % interval of shares (M,) of counts (M,), NaN where there is nothing to count."""
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = (shares + _Z**2 / (2 * counts)) / (1 + _Z**2 / counts)
        half = _Z / (1 + _Z**2 / counts) * np.sqrt(shares * (1 - shares) / counts + (_Z / (2 * counts)) ** 2)
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)
