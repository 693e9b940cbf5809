"""Percentile bootstrap intervals around any metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import ConfigError
from medzoo.evaluation.discrimination import Metric
from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.weighted import prepare_weighted

#: Keys the draws, beside the seed, so that no other use of the same seed sees them.
_STREAM = int.from_bytes(b"bootstrap", "big")


@dataclass(frozen=True)
class Interval:
    """The two ends of an interval, NaN with a reason where it is undefined; unpacks as `low, high`.

    >>> low, high = Interval(0.25, 0.75)
    >>> low, high
    (0.25, 0.75)
    """

    low: float
    high: float
    reason: str | None = None

    def __iter__(self) -> Iterator[float]:
        """Give low, then high."""
        return iter((self.low, self.high))


def bootstrap(
    metric: Metric, predictions: Predictions, *, replicates: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Give the percentile bootstrap interval of a metric: Efron & Tibshirani (1993), chapter 13.

    Where patients are known, whole patients are drawn, since images of one patient resemble each other and
    drawing them one by one gives intervals that are too narrow. Else rows are drawn, within each class where
    classes are exclusive, so that every resample has the classes that the rows have.
    Resamples on which the metric is undefined are left out; with fewer than half of them left, a single patient
    or row, or the same value from every resample, the interval is NaN and says why.
    The same seed gives the same draws for every metric.
    Raises ConfigError for less than one replicate, a negative seed, or a level outside 0 to 1.

    >>> import numpy as np
    >>> from medzoo.evaluation.discrimination import accuracy
    >>> true, said = np.eye(2)[[0, 0, 1, 1]], np.eye(2)[[0, 1, 1, 1]]
    >>> rows = Predictions(np.array(list("abcd")), true, said, ("no", "yes"), np.array(["test"] * 4))
    >>> low, high = bootstrap(accuracy, rows, replicates=200)
    >>> low, high
    (0.5, 1.0)
    """
    _check_options(replicates, seed, level)
    rows = predictions.annotated()
    units = identify_patients(rows)
    unit_count = len(rows) if units is None else len(np.unique(units))
    if unit_count < 2:
        unit = "row" if units is None else "patient"
        return _refuse(f"no interval from {'no' if unit_count == 0 else 'a single'} {unit}")
    generator = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, _STREAM])))
    draw = _draw_rows(rows, generator) if units is None else _draw_units(units, generator)
    weighted = prepare_weighted(metric, rows)
    values = np.array([weighted(draw()) for _ in range(replicates)])
    defined = values[~np.isnan(values)]
    if 2 * defined.size < replicates:
        return _refuse(f"no interval: undefined in {replicates - defined.size} of {replicates} resamples")
    if defined.min() == defined.max():
        # Perfect separation, or rows too alike: an interval of width 0 would read as certainty.
        return _refuse(f"no interval: every resample gives {defined[0]:.3f}")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def identify_patients(predictions: Predictions) -> NDArray[np.int64] | None:
    """Number the patient of each row, (n,), or give None where no patient is known.

    A row whose patient is empty is a patient of its own.

    >>> import numpy as np
    >>> true, said = np.eye(2)[[0, 0, 1, 1]], np.eye(2)[[0, 1, 1, 1]]
    >>> rows = Predictions(np.array(list("abcd")), true, said, ("no", "yes"), np.array(["test"] * 4),
    ...                    np.array(["p", "p", "", ""]))
    >>> identify_patients(rows).tolist()
    [0, 0, 1, 2]
    """
    if predictions.patients is None:
        return None
    unnamed = predictions.patients == ""
    numbers = np.unique(predictions.patients, return_inverse=True)[1].astype(np.int64)
    # Above every number in use: each unnamed row gets its own.
    numbers[unnamed] = len(numbers) + np.arange(unnamed.sum())
    return np.unique(numbers, return_inverse=True)[1].astype(np.int64)


def _check_options(replicates: int, seed: int, level: float) -> None:
    """Refuse options that no interval can be made of."""
    if replicates < 1:
        raise ConfigError(f"{replicates} bootstrap replicates", "1 or more", "1000")
    if seed < 0:
        raise ConfigError(f"the seed {seed}", "0 or more", "0")
    if not 0 < level < 1:
        raise ConfigError(f"the level {level}", "a share between 0 and 1", "0.95")


def _refuse(reason: str) -> Interval:
    """Give the interval that is undefined for a reason."""
    return Interval(float("nan"), float("nan"), reason)


def _draw_units(units: NDArray[np.int64], generator: np.random.Generator) -> Callable[[], NDArray[np.int64]]:
    """Draw as many patients as there are, with replacement; each row counts as often as its patient (n,)."""
    count = int(units.max()) + 1
    return lambda: np.bincount(generator.integers(0, count, count), minlength=count)[units]


def _draw_rows(rows: Predictions, generator: np.random.Generator) -> Callable[[], NDArray[np.int64]]:
    """Draw as many rows as there are, with replacement, within each class if exclusive; counts (n,)."""
    classes = rows.labels.argmax(axis=1) if rows.exclusive else np.zeros(len(rows), dtype=np.int64)
    strata = [np.flatnonzero(classes == index) for index in np.unique(classes)]

    def draw() -> NDArray[np.int64]:
        counts = np.zeros(len(rows), dtype=np.int64)
        for stratum in strata:
            drawn = generator.integers(0, stratum.size, stratum.size)
            counts[stratum] = np.bincount(drawn, minlength=stratum.size)
        return counts

    return draw
