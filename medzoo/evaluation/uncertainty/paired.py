"""Two models on the same rows: the difference of any metric, its interval, and whether chance explains it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.calibration.chance import NO_INTERVAL, is_binned
from medzoo.evaluation.metrics.calls import Metric
from medzoo.evaluation.metrics.discrimination import auroc
from medzoo.evaluation.metrics.ranking import (
    partial_auroc,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
)
from medzoo.evaluation.metrics.selection import auprc, average_precision
from medzoo.evaluation.predictions import FloatArray, Predictions
from medzoo.evaluation.score import Counts, count_rows
from medzoo.evaluation.uncertainty.bootstrap import Interval, find_spread, refuse_units, resample
from medzoo.evaluation.uncertainty.by_class import OfClass
from medzoo.evaluation.uncertainty.counted import Counted, prepare_counted
from medzoo.evaluation.uncertainty.draws import choose_width, find_units
from medzoo.evaluation.uncertainty.resampling import Resampling

#: Keys the swaps, beside the seed.
_STREAM = int.from_bytes(b"swaps", "big")

#: Metrics that see the order of each column's scores alone.
_BY_ORDER = (
    auroc,
    auprc,
    average_precision,
    partial_auroc,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
)


@dataclass(frozen=True)
class Difference:
    """How much higher a metric is of a than of b: value, interval, two-sided p-value, and counts.

    NaN where there is none, with the reason.

    >>> Difference(0.25, 0.125, 0.375, 0.01, Counts(40)).describe()
    {'value': 0.25, 'low': 0.125, 'high': 0.375, 'p': 0.01, 'n': 40}
    """

    value: float
    low: float
    high: float
    p: float
    counts: Counts
    reason: str | None = None

    def describe(self) -> dict[str, Any]:
        """Give the difference as an entry for JSON, None where a number is undefined.

        >>> nan = float("nan")
        >>> Difference(0.0, nan, nan, 1.0, Counts(3), "no interval: every resample gives 0.000").describe()["low"]
        """
        numbers = {"value": self.value, "low": self.low, "high": self.high, "p": self.p}
        entry: dict[str, Any] = {
            name: None if math.isnan(number) else number for name, number in numbers.items()
        }
        entry |= self.counts.describe()
        return entry if self.reason is None else entry | {"reason": self.reason}


def paired_bootstrap(
    metric: Metric, a: Predictions, b: Predictions, resampling: Resampling, clustered: bool | None = None
) -> Difference:
    """Give the difference of a metric between two models on the same rows, metric(a) − metric(b).

    Rows or patients are drawn once for both, as `bootstrap` draws them, and the interval is of the kind asked for.
    The p-value is one minus the level of the interval that just reaches 0, with one resample more on its far side;
    1 where every resample gives 0. Calibration errors over bins have neither: resamples add to them what chance does.
    Raises DataError for tables of different rows, and for `clustered` True without patients.

    >>> from medzoo.evaluation.metrics.discrimination import accuracy
    >>> true = np.eye(2)[[0, 0, 1, 1]]
    >>> a = Predictions(np.array(list("abcd")), true, true, ("no", "yes"), np.array(["test"] * 4))
    >>> b = replace(a, scores=np.eye(2)[[0, 1, 1, 0]])
    >>> found = paired_bootstrap(accuracy, a, b, Resampling(replicates=200))
    >>> found.value, found.low, found.high
    (0.5, 0.0, 1.0)
    """
    check_aligned(a, b)
    a, b = a.annotated(), b.annotated()
    value, counts = metric(a) - metric(b), count_rows(a)
    if math.isnan(value):
        return Difference(value, math.nan, math.nan, math.nan, counts, "undefined on these rows")
    if is_binned(metric):
        return Difference(value, math.nan, math.nan, math.nan, counts, NO_INTERVAL)
    units = find_units(a, clustered)
    refusal = refuse_units(units)
    if refusal is not None:
        return Difference(value, math.nan, math.nan, math.nan, counts, refusal.reason)
    first, second = (prepare_counted(metric, rows, units.of_rows) for rows in (a, b))

    def subtract(drawn: NDArray[Any]) -> FloatArray:
        """Give the difference on each resample."""
        return first(drawn) - second(drawn)

    values = resample([subtract], units, resampling)[0]
    spread = find_spread(values, subtract, units, resampling)
    if isinstance(spread, Interval):
        p = 1.0 if value == 0 and not np.nan_to_num(values, nan=1.0).any() else math.nan
        return Difference(value, math.nan, math.nan, p, counts, spread.reason)
    low, high = spread.find_interval(resampling.level)
    return Difference(value, low, high, spread.test_zero(), counts)


def permutation_test(
    metric: Metric,
    a: Predictions,
    b: Predictions,
    *,
    permutations: int = 2000,
    seed: int = 0,
    clustered: bool | None = None,
) -> float:
    """Give the two-sided p-value of the difference of a metric, by swapping predictions between the two models.

    Each permutation swaps a's and b's scores of whole patients, where they are known, else of rows, each with
    chance one half. The p-value is the share of permutations, the observed one among them, whose difference is as
    far from 0. What it tests is that the two sets of scores could change places. For metrics of order, such as
    AUROC, scores are first replaced by their ranks within each model, so that their scale plays no part (Bandos,
    Rockette & Gur, Statistics in Medicine 24, 2005); for other metrics the scale is part of what is compared.
    NaN where the metric is undefined on the rows or on more than half of the permutations, and for calibration errors
    over bins: of two calibrated models the one whose scores fill more bins has the larger error by chance.
    Raises ConfigError for less than one permutation or a negative seed; DataError as `paired_bootstrap`.

    >>> from medzoo.evaluation.metrics.discrimination import accuracy
    >>> true = np.eye(2)[[0, 0, 1, 1]]
    >>> a = Predictions(np.array(list("abcd")), true, true, ("no", "yes"), np.array(["test"] * 4))
    >>> permutation_test(accuracy, a, a)
    1.0
    """
    if permutations < 1:
        raise ConfigError(f"{permutations} permutations", "1 or more", "2000")
    if seed < 0:
        raise ConfigError(f"the seed {seed}", "0 or more", "0")
    check_aligned(a, b)
    a, b = a.annotated(), b.annotated()
    if math.isnan(metric(a) - metric(b)) or is_binned(metric):
        return math.nan
    if _sees_order_alone(metric):
        a, b = _rank_scores(a), _rank_scores(b)
    units = find_units(a, clustered)
    # Both tables in one: the swapped a is the rows of a that stay and those of b that come.
    both = np.concatenate([units.of_rows, units.of_rows + units.count])
    counted = prepare_counted(metric, _stack(a, b), both)
    generator = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, _STREAM])))
    observed = _find_distances(counted, np.zeros((units.count, 1), dtype=np.float32))[0]
    width = max(1, choose_width(units) // 2)
    distances = []
    for start in range(0, permutations, width):
        swapped = generator.integers(0, 2, (min(width, permutations - start), units.count), dtype=np.uint8)
        distances.append(_find_distances(counted, np.ascontiguousarray(swapped.T, dtype=np.float32)))
    values = np.concatenate(distances)
    defined = values[~np.isnan(values)]
    if 2 * defined.size < permutations:
        return math.nan
    # Sums in another order stray in the last digits; what equals the observed one must count.
    return float((1 + (defined >= observed - 1e-12).sum()) / (1 + defined.size))


def check_aligned(a: Predictions, b: Predictions) -> None:
    """Refuse two tables that are not of the same rows in the same order, with the same truth.

    Raises DataError, naming the first row that differs.

    >>> rows = Predictions(np.array(["x"]), np.eye(1, 2), np.eye(1, 2), ("no", "yes"), np.array(["test"]))
    >>> check_aligned(rows, rows)
    """
    if a.classes != b.classes or a.exclusive != b.exclusive:
        raise DataError(
            f"classes {', '.join(b.classes)}", f"{', '.join(a.classes)}, those of the other table"
        )
    if len(a) != len(b):
        raise DataError(f"tables of {len(a)} and {len(b)} rows", "the same rows in both", "align(a, b)")
    row = _find_first((a.ids != b.ids) | (a.splits != b.splits))
    if row is not None:
        names = " and ".join(f"{rows.ids[row].item()!r} of {rows.splits[row].item()}" for rows in (a, b))
        raise DataError(f"row {row + 1} is {names}", "the same ids in the same order", "align(a, b)")
    row = _find_first(((a.labels != b.labels) & ~(np.isnan(a.labels) & np.isnan(b.labels))).any(axis=1))
    if row is not None:
        raise DataError(f"the labels of {a.ids[row].item()!r} differ between the two tables", "one truth")
    if a.patients is not None and b.patients is not None:
        row = _find_first(a.patients != b.patients)
        if row is not None:
            names = " and ".join(
                repr(rows.patients[row].item()) for rows in (a, b) if rows.patients is not None
            )
            raise DataError(f"{a.ids[row].item()!r} is of the patients {names}", "one patient in both tables")


def _find_first(differs: NDArray[np.bool_]) -> int | None:
    """Give the first row that differs, None where none does."""
    return int(differs.argmax()) if differs.any() else None


def _find_distances(counted: Counted, swapped: NDArray[np.float32]) -> FloatArray:
    """Give the metric's distance between the two models, (m,), where units (u, m) are swapped between them."""
    kept = 1 - swapped
    first, second = np.concatenate([kept, swapped]), np.concatenate([swapped, kept])
    return np.abs(counted(first) - counted(second))


def _stack(a: Predictions, b: Predictions) -> Predictions:
    """Put the rows of b below those of a."""
    return Predictions(
        ids=np.concatenate([a.ids, b.ids]),
        labels=np.concatenate([a.labels, b.labels]),
        scores=np.concatenate([a.scores, b.scores]),
        classes=a.classes,
        splits=np.concatenate([a.splits, b.splits]),
        exclusive=a.exclusive,
    )


def _sees_order_alone(metric: Metric) -> bool:
    """Tell whether a metric depends on nothing but the order of each column's scores."""
    base: Any = metric.metric if isinstance(metric, OfClass) else metric
    base = base.func if isinstance(base, partial) else base
    return any(base is known for known in _BY_ORDER)


def _rank_scores(rows: Predictions) -> Predictions:
    """Replace each column's scores by the share of its annotated rows that they reach, ties at their middle."""
    ranks = np.zeros_like(rows.scores)
    for column in range(len(rows.classes)):
        known = ~np.isnan(rows.labels[:, column])
        if known.any():
            ranks[known, column] = rankdata(rows.scores[known, column]) / known.sum()
    return replace(rows, scores=ranks, logits=None)
