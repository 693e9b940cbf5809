"""AUROC's interval and the paired test of two AUROCs without resampling: DeLong, DeLong & Clarke-Pearson (1988).

The variance comes from each positive's share of negatives below it, and each negative's share of positives above it.
They are found by sorting, as in Sun & Xu (IEEE Signal Processing Letters 21, 2014). Where patients have several rows,
their parts are summed by patient first (Obuchowski, Biometrics 53, 1997); with one row per patient the two are equal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri

from medzoo.errors import ConfigError
from medzoo.evaluation.metrics.calls import list_positive_columns
from medzoo.evaluation.predictions import FloatArray, Predictions
from medzoo.evaluation.score import count_rows
from medzoo.evaluation.uncertainty.bootstrap import Interval
from medzoo.evaluation.uncertainty.by_class import take_class
from medzoo.evaluation.uncertainty.draws import find_units
from medzoo.evaluation.uncertainty.paired import Difference, check_aligned
from medzoo.evaluation.uncertainty.resampling import Resampling


@dataclass(frozen=True, eq=False)
class Components:
    """A column's AUROC and what each positive and negative adds to it.

    positives (p,): the share of negatives below each positive, ties half; negatives (q,): the share of positives
    above each negative. positive_units (p,), negative_units (q,): their patients, or themselves, numbered from 0.
    """

    area: float
    positives: FloatArray
    negatives: FloatArray
    positive_units: NDArray[np.int64]
    negative_units: NDArray[np.int64]

    def find_variance(self) -> float:
        """Give the variance of the area; NaN with positives or negatives of less than two patients."""
        own, other = (
            _spread(parts - self.area, units)
            for parts, units in (
                (self.positives, self.positive_units),
                (self.negatives, self.negative_units),
            )
        )
        return own + other + 2 * self._find_covariance()

    def _find_covariance(self) -> float:
        """Give the covariance of the positives' part with the negatives', of patients who have both."""
        count = int(max(self.positive_units.max(initial=-1), self.negative_units.max(initial=-1))) + 1
        own = np.bincount(self.positive_units, self.positives - self.area, count)
        other = np.bincount(self.negative_units, self.negatives - self.area, count)
        everyone = np.unique(np.concatenate([self.positive_units, self.negative_units])).size
        weight = self.positives.size * self.negatives.size * (everyone - 1) / everyone
        return float(own @ other) / weight if weight else math.nan


def delong_interval(
    rows: Predictions, column: int | None = None, level: float = 0.95, clustered: bool | None = None
) -> Interval:
    """Give the interval of one column's AUROC from its variance on the logit scale, which no end of 0 or 1 leaves.

    `column` is a class's place; without it, the last of two exclusive classes or the only label is meant. Where
    patients are known the variance is the clustered one, unless `clustered` is False.
    NaN with the reason: no or a single patient (or row) with positives or negatives, perfect separation or its
    reverse, or scores that are all tied.
    Raises ConfigError for a level outside 0 to 1, and where there are several columns and none is given; DataError
    for `clustered` True without patients.

    >>> said = np.array([0.1, 0.4, 0.35, 0.8, 0.3, 0.7])
    >>> rows = Predictions(np.array(list("abcdef")), np.eye(2)[[0, 0, 1, 1, 0, 1]], np.stack([1 - said, said], axis=1),
    ...                    ("no", "yes"), np.array(["test"] * 6))
    >>> low, high = delong_interval(rows)
    >>> round(low, 3), round(high, 3)
    (0.261, 0.995)
    """
    Resampling(level=level)  # refuses a level that is none
    components = find_components(rows, column, clustered)
    if isinstance(components, str):
        return _refuse(components)
    area, variance = components.area, components.find_variance()
    if area in (0, 1):
        return _refuse(f"every positive scores {'above' if area else 'below'} every negative")
    if variance <= 0:
        return _refuse("no row moves the AUROC")
    # The logit's derivative is 1 / (a (1 − a)).
    half = ndtri((1 + level) / 2) * math.sqrt(variance) / (area * (1 - area))
    middle = math.log(area / (1 - area))
    return Interval(float(expit(middle - half)), float(expit(middle + half)))


def delong_test(
    a: Predictions,
    b: Predictions,
    column: int | None = None,
    level: float = 0.95,
    clustered: bool | None = None,
) -> Difference:
    """Test whether two models on the same rows have the same AUROC; give the difference a − b, interval and p-value.

    Column, patients and refusals are those of `delong_interval`. The interval is the difference ± its normal
    quantile, cut at −1 and 1. Two models that order all rows alike differ by 0 with p = 1 and no interval; where
    the variance is 0 and the difference is not, there is no p-value.
    Raises ConfigError as `delong_interval`; DataError for tables of different rows.

    >>> said = np.array([0.1, 0.4, 0.35, 0.8, 0.3, 0.7])
    >>> rows = Predictions(np.array(list("abcdef")), np.eye(2)[[0, 0, 1, 1, 0, 1]], np.stack([1 - said, said], axis=1),
    ...                    ("no", "yes"), np.array(["test"] * 6))
    >>> delong_test(rows, rows).p
    1.0
    """
    Resampling(level=level)
    check_aligned(a, b)
    counts = count_rows(a if column is None else take_class(a, column))
    first = find_components(a, column, clustered)
    second = find_components(replace(b, patients=a.patients), column, clustered)
    if isinstance(first, str) or isinstance(second, str):
        reason = first if isinstance(first, str) else str(second)
        return Difference(math.nan, math.nan, math.nan, math.nan, counts, f"no interval: {reason}")
    both = Components(
        first.area - second.area,
        first.positives - second.positives,
        first.negatives - second.negatives,
        first.positive_units,
        first.negative_units,
    )
    variance = both.find_variance()
    # Parts are shares of counts: differences below this are rounding.
    if not variance > 1e-20:
        p = 1.0 if abs(both.area) < 1e-12 else math.nan
        return Difference(
            both.area, math.nan, math.nan, p, counts, "no interval: the difference has no variance"
        )
    error = math.sqrt(variance)
    half = float(ndtri((1 + level) / 2)) * error
    p = 2 * float(ndtr(-abs(both.area) / error))
    return Difference(both.area, max(-1.0, both.area - half), min(1.0, both.area + half), p, counts)


def find_components(
    rows: Predictions, column: int | None = None, clustered: bool | None = None
) -> Components | str:
    """Give a column's AUROC and what each row adds to it, or the reason why it has no variance.

    Raises ConfigError where there are several columns and none is given, or no such column.

    >>> rows = Predictions(np.array(list("abcd")), np.eye(2)[[0, 1, 0, 1]], np.eye(2)[[0, 1, 1, 0]], ("no", "yes"),
    ...                    np.array(["test"] * 4))
    >>> found = find_components(rows)
    >>> found.area, found.positives.tolist(), found.negatives.tolist()
    (0.5, [0.75, 0.25], [0.75, 0.25])
    """
    index = _choose_column(rows, column)
    known = np.flatnonzero(~np.isnan(rows.labels[:, index]))
    units = find_units(rows, clustered).of_rows[known]
    positive = rows.labels[known, index] == 1
    own, other = rows.scores[known[positive], index], rows.scores[known[~positive], index]
    noun = "row" if clustered is False or rows.patients is None else "patient"
    for side, chosen in (("positive", positive), ("negative", ~positive)):
        count = np.unique(units[chosen]).size
        if count < 2:
            which = "no" if count == 0 else "a single"
            return (
                f"{which} {side} row" if noun == "row" or not count else f"{which} patient with {side} rows"
            )
    below, above = np.sort(other), np.sort(own)
    shares = sum(np.searchsorted(below, own, side) for side in ("left", "right")) / (2 * other.size)
    reverse = sum(np.searchsorted(above, other, side) for side in ("left", "right")) / (2 * own.size)
    # One mean for both sides, so that a perfect separation is exactly 1.
    return Components(float(shares.mean()), shares, 1 - reverse, units[positive], units[~positive])


def _choose_column(rows: Predictions, column: int | None) -> int:
    """Give the column that is meant."""
    columns = list_positive_columns(rows)
    names = ", ".join(f"{index}: {name}" for index, name in enumerate(rows.classes))
    if column is None:
        if len(columns) > 1:
            raise ConfigError(
                "DeLong's interval of several classes", f"one of the columns {names}", "column=0"
            )
        return columns[0]
    if not 0 <= column < len(rows.classes):
        raise ConfigError(f"there is no column {column}", f"one of {names}")
    return column


def _spread(parts: FloatArray, units: NDArray[np.int64]) -> float:
    """Give the variance of the mean of parts, summed by unit first."""
    sums = np.bincount(units, parts)[np.unique(units)]
    return float((sums**2).sum()) * sums.size / (sums.size - 1) / parts.size**2


def _refuse(reason: str) -> Interval:
    """Give the interval that is undefined for a reason."""
    return Interval(math.nan, math.nan, f"no interval: {reason}")
