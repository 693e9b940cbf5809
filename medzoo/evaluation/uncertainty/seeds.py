"""Several runs that differ by their seed alone: the mean, how much they differ, and an interval for both causes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medzoo.errors import DataError
from medzoo.evaluation.calibration.chance import NO_INTERVAL, is_binned
from medzoo.evaluation.metrics.calls import Metric
from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.score import Counts, count_rows
from medzoo.evaluation.uncertainty.bootstrap import refuse_units, resample
from medzoo.evaluation.uncertainty.counted import prepare_counted
from medzoo.evaluation.uncertainty.draws import find_units
from medzoo.evaluation.uncertainty.paired import check_aligned
from medzoo.evaluation.uncertainty.resampling import Resampling

#: Keys the draws of seeds, beside the seed.
_STREAM = int.from_bytes(b"seeds", "big")


@dataclass(frozen=True)
class SeedSummary:
    """A metric over several runs: mean, sample standard deviation, interval, number of runs, counts of each run's rows.

    NaN where undefined, with the reason.

    >>> SeedSummary(0.75, 0.125, 0.5, 1.0, 3, Counts(40)).describe()
    {'value': 0.75, 'deviation': 0.125, 'low': 0.5, 'high': 1.0, 'seeds': 3, 'n': 40}
    """

    mean: float
    deviation: float
    low: float
    high: float
    seeds: int
    counts: Counts
    reason: str | None = None

    def describe(self) -> dict[str, Any]:
        """Give the summary as an entry for JSON, None where a number is undefined.

        >>> nan = float("nan")
        >>> SeedSummary(0.5, nan, nan, nan, 1, Counts(4), "no interval from a single run").describe()["deviation"]
        """
        numbers = {"value": self.mean, "deviation": self.deviation, "low": self.low, "high": self.high}
        entry: dict[str, Any] = {
            name: None if math.isnan(number) else number for name, number in numbers.items()
        }
        entry |= {"seeds": self.seeds} | self.counts.describe()
        return entry if self.reason is None else entry | {"reason": self.reason}


def summarise_seeds(
    metric: Metric, runs: Sequence[Predictions], resampling: Resampling, clustered: bool | None = None
) -> SeedSummary:
    """Give the mean of a metric over runs on the same rows, its deviation, and an interval over seeds and patients.

    Each resample draws runs, and patients (or rows, as `bootstrap` draws them) once for all runs: they were tested
    on the same ones, and drawing others for each run would average away what the patients contribute. One run less
    is drawn than there are, so that the variance of the mean is not too small by (s − 1) / s, which at three runs
    would be a third (McCarthy & Snowden 1985). The interval is a percentile one, whatever kind is asked for.
    With one run there is no deviation and no interval: the seed's part of it is unknown.
    Nor have calibration errors over bins an interval, as in `bootstrap`.
    Raises DataError for no run, runs on different rows, and `clustered` True without patients.

    >>> from dataclasses import replace
    >>> from medzoo.evaluation.metrics.discrimination import accuracy
    >>> true = np.eye(2)[[0, 0, 1, 1]]
    >>> one = Predictions(np.array(list("abcd")), true, true, ("no", "yes"), np.array(["test"] * 4))
    >>> found = summarise_seeds(accuracy, [one, replace(one, scores=np.eye(2)[[0, 1, 1, 0]])], Resampling())
    >>> found.mean, round(found.deviation, 4), found.seeds
    (0.75, 0.3536, 2)
    """
    if not runs:
        raise DataError("no runs to summarise", "one or more")
    for other in runs[1:]:
        check_aligned(runs[0], other)
    tables = [run.annotated() for run in runs]
    counts = count_rows(tables[0])
    values = np.array([metric(rows) for rows in tables])
    mean = float(values.mean())
    deviation = float(values.std(ddof=1)) if len(runs) > 1 else math.nan

    def refuse(reason: str | None) -> SeedSummary:
        """Give the summary without an interval."""
        return SeedSummary(mean, deviation, math.nan, math.nan, len(runs), counts, reason)

    if math.isnan(mean):
        return refuse("undefined on these rows")
    if is_binned(metric):
        return refuse(NO_INTERVAL)
    units = find_units(tables[0], clustered)
    refusal = refuse_units(units)
    if refusal is not None:
        return refuse(refusal.reason)
    if len(runs) == 1:
        return refuse("no interval from a single run")
    resampled = resample([prepare_counted(metric, rows, units.of_rows) for rows in tables], units, resampling)
    generator = np.random.Generator(np.random.SFC64(np.random.SeedSequence([resampling.seed, _STREAM])))
    drawn = generator.integers(0, len(runs), (len(runs) - 1, resampling.replicates))
    means = np.take_along_axis(resampled, drawn, axis=0).mean(axis=0)
    defined = means[~np.isnan(means)]
    if 2 * defined.size < means.size:
        return refuse(f"no interval: undefined in {means.size - defined.size} of {means.size} resamples")
    if defined.min() == defined.max():
        return refuse(f"no interval: every resample gives {defined[0]:.3f}")
    low, high = np.quantile(defined, [(1 - resampling.level) / 2, (1 + resampling.level) / 2])
    return SeedSummary(mean, deviation, float(low), float(high), len(runs), counts)
