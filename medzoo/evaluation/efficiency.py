"""Scores over fractions of the training data, and the fraction that reaches another run's score with all of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medzoo.errors import ConfigError
from medzoo.evaluation.calibration.chance import NO_INTERVAL, is_binned
from medzoo.evaluation.gaps import none_for_nan
from medzoo.evaluation.metrics.calls import Metric
from medzoo.evaluation.metrics.registry import MetricSpec
from medzoo.evaluation.predictions import FloatArray, Predictions
from medzoo.evaluation.score import Counts, Score, count_rows
from medzoo.evaluation.series import align_all, measure_series, replicate_series, score_series
from medzoo.evaluation.subgroups import find_spec
from medzoo.evaluation.uncertainty.resampling import Resampling

NOT_REACHED = "not reached"
AT_SMALLEST = "reached with the smallest fraction already"

#: (percent of the training patients, predictions of a run trained on it); a fraction may be there with several seeds.
Points = Sequence[tuple[float, Predictions]]


@dataclass(frozen=True)
class EfficiencyPoint:
    """The score of runs trained on one fraction: the mean over seeds, their sample sd (NaN for one), and how many."""

    fraction: float
    score: Score
    seeds: int
    deviation: float


@dataclass(frozen=True)
class EfficiencyCurve:
    """Scores over fractions in percent, in rising order."""

    metric: str
    points: tuple[EfficiencyPoint, ...]

    def describe(self) -> dict[str, Any]:
        """Give everything as plain JSON, None where a number is undefined."""
        return {
            "metric": self.metric,
            "points": [
                {"fraction": point.fraction, "seeds": point.seeds, "deviation": none_for_nan(point.deviation)}
                | point.score.describe()
                for point in self.points
            ],
        }


@dataclass(frozen=True)
class LabelsSaved:
    """The percent of the training patients with which A reaches B's score, and its interval.

    NaN with the reason where A does not reach it. An end of the interval is infinite where the score is not reached in
    so many resamples; `reached` is the share of resamples in which it is. `target` is B's score.
    """

    fraction: float
    low: float
    high: float
    target: float
    reached: float
    counts: Counts
    reason: str | None = None

    @property
    def saved(self) -> float:
        """The percent of B's training patients that A can do without."""
        return 100 - self.fraction

    def describe(self) -> dict[str, Any]:
        """Give everything as plain JSON: None where a number is undefined, "not reached" for an infinite end."""
        ends = {"low": self.low, "high": self.high}
        entry: dict[str, Any] = {"fraction": none_for_nan(self.fraction), "saved": none_for_nan(self.saved)}
        entry |= {name: NOT_REACHED if math.isinf(end) else none_for_nan(end) for name, end in ends.items()}
        entry |= {"target": none_for_nan(self.target), "reached": none_for_nan(self.reached)}
        entry |= self.counts.describe()
        return entry if self.reason is None else entry | {"reason": self.reason}


def efficiency_curve(points: Points, metric: Metric | str, resampling: Resampling) -> EfficiencyCurve:
    """Score runs that were trained on fractions of the same data, each on the same test images.

    Raises:
        ConfigError: no such metric, no points, or a fraction outside 0 to 100.
        DataError: runs that were not tested on the same images.

    >>> true = np.array([0, 0, 1, 1] * 5)
    >>> def predict(said):
    ...     said = np.tile(said, 5)
    ...     return Predictions(np.arange(20).astype(str), np.eye(2)[true], np.stack([1 - said, said], axis=1),
    ...                        ("no", "yes"), np.array(["test"] * 20))
    >>> points = [(100, predict([0.1, 0.2, 0.8, 0.9])), (10, predict([0.1, 0.8, 0.2, 0.9]))]
    >>> [(point.fraction, point.score.value) for point in efficiency_curve(points, "auroc", Resampling()).points]
    [(10, 0.75), (100, 1.0)]
    """
    spec = find_spec(metric)
    series = _sort_points(points)
    return EfficiencyCurve(
        spec.name, tuple(_score_point(spec, *entry, resampling) for entry in series.items())
    )


def labels_saved(
    points: Points,
    full: Predictions | Sequence[Predictions],
    metric: Metric | str,
    resampling: Resampling,
) -> LabelsSaved:
    """Find the fraction of the training patients with which A's runs reach the score of B with all of them.

    A's scores are made monotone over the fractions (pool adjacent violators: a lucky small run does not count for more
    than its neighbours), and joined by straight lines over the logarithm of the fraction; the first crossing of B's
    score is the answer. Each resample draws test patients once for all runs and, where there are several seeds, seeds;
    the whole of it is repeated in each. `full` is B: one run, or several seeds. By a calibration error over bins the
    fraction has no interval.

    Raises:
        ConfigError: no such metric, fewer than two fractions, or a fraction outside 0 to 100.
        DataError: runs that were not tested on the same images.
    """
    spec = find_spec(metric)
    series = _sort_points(points)
    if len(series) < 2:
        raise ConfigError(
            "one fraction of the training data", "two or more", "runs of medzoo train --fraction"
        )
    seeds = [full] if isinstance(full, Predictions) else list(full)
    named = {f"the run of {fraction:g} %": runs for fraction, runs in series.items()}
    whole = align_all({**named, "the run to be reached": seeds})
    sign = 1.0 if spec.higher_is_better else -1.0
    values = {name: sign * measure_series(spec.measure, runs) for name, runs in whole.items()}
    *curve, target = values.values()
    rows = next(iter(whole.values()))[0]
    counts = count_rows(rows)
    if any(map(math.isnan, values.values())):
        undefined = next(name for name, value in values.items() if math.isnan(value))
        unknown = math.nan
        return LabelsSaved(
            unknown, unknown, unknown, sign * target, unknown, counts, f"undefined for {undefined}"
        )
    fractions = np.array(list(series), dtype=np.float64)
    fraction = find_crossing(fractions, np.array(curve), target)
    reason = NOT_REACHED if math.isinf(fraction) else AT_SMALLEST if fraction == fractions[0] else None
    found = math.nan if math.isinf(fraction) else fraction
    if is_binned(spec.measure):
        unknown = math.nan
        return LabelsSaved(found, unknown, unknown, sign * target, unknown, counts, reason or NO_INTERVAL)
    drawn = replicate_series(spec.measure, whole, resampling)
    *resampled, targets = (sign * column for column in drawn.values())
    crossings = _find_crossings(fractions, np.stack(resampled, axis=1), targets)
    low, high, share = _summarise(crossings, resampling.level)
    return LabelsSaved(found, low, high, sign * target, share, counts, reason)


def find_crossing(fractions: FloatArray, scores: FloatArray, target: float) -> float:
    """Find the first fraction at which the monotone curve through (fractions, scores), both (m,), reaches a target.

    Fractions rise. The smallest one where the curve begins at the target or above; infinity where it never reaches it.

    >>> find_crossing(np.array([1.0, 10.0, 100.0]), np.array([0.6, 0.7, 0.8]), 0.7)
    10.0
    >>> find_crossing(np.array([1.0, 100.0]), np.array([0.6, 0.8]), 0.9)
    inf
    """
    rising = make_monotone(scores)
    reached = np.flatnonzero(rising >= target)
    if not reached.size:
        return math.inf
    after = int(reached[0])
    if after == 0 or rising[after] == target:
        return float(fractions[after])
    share = (target - rising[after - 1]) / (rising[after] - rising[after - 1])
    low, high = math.log(fractions[after - 1]), math.log(fractions[after])
    return math.exp(low + share * (high - low))


def make_monotone(scores: FloatArray) -> FloatArray:
    """Give the non-decreasing numbers (m,) nearest to `scores` in squares, by pooling adjacent violators.

    Source: Ayer, Brunk, Ewing, Reid & Silverman, Annals of Mathematical Statistics 26 (1955).

    >>> make_monotone(np.array([0.5, 0.75, 0.25, 1.0])).tolist()
    [0.5, 0.5, 0.5, 1.0]
    """
    pools: list[tuple[float, int]] = []
    for score in scores.tolist():
        mean, size = float(score), 1
        while pools and pools[-1][0] > mean:
            before, count = pools.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        pools.append((mean, size))
    return np.repeat([mean for mean, _ in pools], [size for _, size in pools])


def _sort_points(points: Points) -> dict[float, list[Predictions]]:
    """Gather predictions by fraction, rising; check the fractions."""
    if not points:
        raise ConfigError("no runs", "one or more", "medzoo train --fraction 10")
    wrong = next((fraction for fraction, _ in points if not 0 < fraction <= 100), None)
    if wrong is not None:
        raise ConfigError(
            f"the fraction {wrong:g}", "percent of the training patients, above 0 and up to 100"
        )
    series: dict[float, list[Predictions]] = {}
    for fraction, predictions in sorted(points, key=lambda point: point[0]):
        series.setdefault(fraction, []).append(predictions)
    named = {f"the run of {fraction:g} %": runs for fraction, runs in series.items()}
    return dict(zip(series, align_all(named).values(), strict=True))


def _score_point(
    spec: MetricSpec, fraction: float, runs: Sequence[Predictions], resampling: Resampling
) -> EfficiencyPoint:
    """Score the runs of one fraction."""
    score, deviation = score_series([spec], runs, resampling)[spec.name]
    return EfficiencyPoint(fraction, score, len(runs), deviation)


def _find_crossings(fractions: FloatArray, curves: FloatArray, targets: FloatArray) -> FloatArray:
    """Find the crossing in each resample: curves (R, m), targets (R,) → fractions (R,), NaN where one is undefined."""
    pairs = zip(curves, targets.tolist(), strict=True)
    return np.array(
        [
            math.nan
            if math.isnan(target) or np.isnan(curve).any()
            else find_crossing(fractions, curve, target)
            for curve, target in pairs
        ]
    )


def _summarise(crossings: FloatArray, level: float) -> tuple[float, float, float]:
    """Give the ends of the interval, infinite where not reached, and the share of resamples that reach."""
    defined = np.sort(crossings[~np.isnan(crossings)])
    if 2 * defined.size < crossings.size or not defined.size:
        return math.nan, math.nan, math.nan
    # No interpolation between order statistics: half-way to infinity is nowhere.
    low = defined[math.floor((1 - level) / 2 * (defined.size - 1))]
    high = defined[math.ceil((1 + level) / 2 * (defined.size - 1))]
    return float(low), float(high), float(np.isfinite(defined).mean())
