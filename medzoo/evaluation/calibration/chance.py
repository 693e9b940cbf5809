"""What a binned calibration error would be if the scores were right: it is above 0 by chance alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from medzoo.evaluation.calibration.metrics import ece, ece_classwise, ece_equal_mass, mce
from medzoo.evaluation.metrics.calls import Metric
from medzoo.evaluation.predictions import Predictions

#: Keys the draws, beside the seed, so that no other use of the same seed sees them.
_STREAM = int.from_bytes(b"chance", "big")

#: Draws where none are asked for: of so many entries in all, since chance is small, and the same, where rows are many.
MOST_DRAWS, LEAST_DRAWS, ENTRIES = 200, 40, 20_000_000

#: Errors over bins, whose bootstrap does not cover the truth: what chance alone gives stands in its place.
BINNED: tuple[Metric, ...] = (ece, ece_equal_mass, ece_classwise, mce)

#: Why a binned error has no bootstrap interval.
NO_INTERVAL = "no interval: resamples of a binned error are worse calibrated than the rows"


def is_binned(metric: Metric) -> bool:
    """Tell whether a metric is an error over bins, also with options of its own or of one class alone.

    >>> from functools import partial
    >>> from medzoo.evaluation.calibration.metrics import brier
    >>> is_binned(partial(ece, bins=10)), is_binned(brier)
    (True, False)
    """
    # `partial` and `OfClass` are told by what they have: the latter's module must not be needed here.
    inner = getattr(metric, "func", None) or getattr(metric, "metric", None)
    return metric in BINNED if inner is None else is_binned(inner)


def measure_chance(
    metric: Callable[[Predictions], float],
    predictions: Predictions,
    *,
    draws: int | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> float:
    """Give what a metric stays below, at a level, where what is true is drawn from the scores themselves.

    A calibration error above it is not chance. It stands where an interval would: on few rows bins are off by
    chance, resampling adds as much again, and a percentile interval of `ece` need not even hold the value.
    Rows are drawn one by one; where images of one patient resemble each other, chance reaches higher.
    Source: Bröcker & Smith, Weather and Forecasting 22 (2007).  NaN without annotated rows.

    >>> scores = np.full((10, 2), 0.5)
    >>> rows = Predictions(np.arange(10).astype(str), np.eye(2)[[0, 1] * 5], scores, ("no", "yes"),
    ...                    np.array(["test"] * 10))
    >>> round(measure_chance(ece, rows), 2)
    0.3
    """
    rows = predictions.annotated()
    if not len(rows):
        return float("nan")
    draws = draws or min(MOST_DRAWS, max(LEAST_DRAWS, ENTRIES // rows.labels.size))
    generator = np.random.default_rng([seed, _STREAM])
    return float(np.nanquantile([metric(_draw(rows, generator)) for _ in range(draws)], level))


def _draw(rows: Predictions, generator: np.random.Generator) -> Predictions:
    """Draw labels from the scores; what is not annotated stays so."""
    if rows.exclusive:
        shares = np.cumsum(rows.scores, axis=1)
        codes = (generator.uniform(0, shares[:, -1:], (len(rows), 1)) > shares[:, :-1]).sum(axis=1)
        return replace(rows, labels=np.eye(len(rows.classes))[codes])
    drawn = (generator.uniform(size=rows.scores.shape) < rows.scores).astype(np.float64)
    return replace(rows, labels=np.where(np.isnan(rows.labels), np.nan, drawn))
