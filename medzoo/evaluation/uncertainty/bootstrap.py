"""Bootstrap intervals around any metric: percentile, and bias-corrected and accelerated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from medzoo.evaluation.calibration.chance import NO_INTERVAL, is_binned
from medzoo.evaluation.metrics.calls import Metric
from medzoo.evaluation.predictions import FloatArray, Predictions
from medzoo.evaluation.uncertainty.counted import Counted, prepare_counted
from medzoo.evaluation.uncertainty.draws import Units, draw_blocks, find_units, leave_out
from medzoo.evaluation.uncertainty.draws import identify_patients as identify_patients
from medzoo.evaluation.uncertainty.resampling import Kind, Resampling


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


@dataclass(frozen=True)
class Shift:
    """How BCa moves the ends of a percentile interval: its bias, in standard deviations, and its acceleration.

    >>> Shift(0.0, 0.0).find_shares(0.95).round(3).tolist()
    [0.025, 0.975]
    """

    bias: float
    acceleration: float

    def find_shares(self, level: float) -> FloatArray:
        """Give the shares of the resamples that lie below the two ends, (2,)."""
        ends = ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
        moved = self.bias + ends
        left = 1 - self.acceleration * moved
        # Towards 0 the share nears 0 or 1; beyond, the formula would come back from the other side.
        shares = ndtr(self.bias + moved / np.where(left > 0, left, 1))
        return np.asarray(np.where(left > 0, shares, moved > 0), dtype=np.float64)

    def find_level(self, share: float) -> float:
        """Give the share that the percentile interval would have in place of a share of the resamples below."""
        place = ndtri(share) - self.bias
        return float(ndtr(place / (1 + self.acceleration * place) - self.bias))


@dataclass(frozen=True, eq=False)
class Spread:
    """The defined values of resamples (m,), and how the interval that they enclose is moved."""

    values: FloatArray
    shift: Shift

    def find_interval(self, level: float) -> Interval:
        """Give the interval of a level.

        >>> list(Spread(np.array([0.0, 1.0]), Shift(0.0, 0.0)).find_interval(0.5))
        [0.25, 0.75]
        """
        low, high = np.quantile(self.values, self.shift.find_shares(level))
        return Interval(float(low), float(high))

    def test_zero(self) -> float:
        """Give the two-sided p-value of 0: one minus the level of the interval that just reaches it.

        One resample more is counted on the far side of 0, so that p is never 0. No shift takes p below that: so many
        resamples know nothing of what is rarer than one of them.

        >>> round(Spread(np.linspace(-0.1, 0.9, 999), Shift(0.0, 0.0)).test_zero(), 4)
        0.202
        """
        count = self.values.size + 1
        below, above = (1 + (self.values <= 0).sum()) / count, (1 + (self.values >= 0).sum()) / count
        low = self.shift.find_level(min(below, 1 - 1 / count))
        high = 1 - self.shift.find_level(max(1 - above, 1 / count))
        return min(1.0, max(2 * min(low, high), 2 / count))


def bootstrap(
    metric: Metric,
    predictions: Predictions,
    *,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    kind: Kind = "percentile",
    clustered: bool | None = None,
) -> Interval:
    """Give the bootstrap interval of a metric: Efron & Tibshirani (1993), percentile or BCa (chapters 13 and 14).

    Where patients are known, whole patients are drawn, since images of one patient resemble each other and
    drawing them one by one gives intervals that are too narrow; `clustered` False draws rows all the same. Else
    rows are drawn, within each class where classes are exclusive, so that every resample has the classes that the
    rows have.
    Resamples on which the metric is undefined are left out; with fewer than half of them left, a single patient
    or row, or the same value from every resample, the interval is NaN and says why. So is a BCa interval where
    every resample lies on one side of the value, or leaving out a patient or row leaves the metric undefined.
    The same seed gives the same draws for every metric. Calibration errors over bins have no interval, since theirs
    would not cover the truth; see `measure_chance`.
    Raises ConfigError for less than one replicate, a negative seed, a level outside 0 to 1 or another kind;
    DataError for `clustered` True without patients.

    >>> from medzoo.evaluation.metrics.discrimination import accuracy
    >>> true, said = np.eye(2)[[0, 0, 1, 1]], np.eye(2)[[0, 1, 1, 1]]
    >>> rows = Predictions(np.array(list("abcd")), true, said, ("no", "yes"), np.array(["test"] * 4))
    >>> low, high = bootstrap(accuracy, rows, replicates=200)
    >>> low, high
    (0.5, 1.0)
    """
    resampling = Resampling(replicates=replicates, seed=seed, level=level, kind=kind)
    return bootstrap_all({"": metric}, predictions, resampling, clustered)[""]


def bootstrap_all(
    metrics: Mapping[str, Metric],
    predictions: Predictions,
    resampling: Resampling,
    clustered: bool | None = None,
) -> dict[str, Interval]:
    """Give the bootstrap intervals of several metrics on one set of draws, as `bootstrap` gives each.

    `OfClass` makes the metric of one label one of the whole table, so that labels share their draws too.
    Raises DataError for `clustered` True without patients.

    >>> from medzoo.evaluation.metrics.discrimination import accuracy, auroc
    >>> true, said = np.eye(2)[[0, 0, 1, 1]], np.eye(2)[[0, 1, 1, 1]]
    >>> rows = Predictions(np.array(list("abcd")), true, said, ("no", "yes"), np.array(["test"] * 4))
    >>> sorted(bootstrap_all({"a": accuracy, "b": auroc}, rows, Resampling(replicates=20)))
    ['a', 'b']
    """
    rows = predictions.annotated()
    units = find_units(rows, clustered)
    refusal = refuse_units(units)
    if refusal is not None:
        return dict.fromkeys(metrics, refusal)
    counted = {
        name: prepare_counted(metric, rows, units.of_rows)
        for name, metric in metrics.items()
        if not is_binned(metric)
    }
    values = resample(list(counted.values()), units, resampling) if counted else ()
    found = {
        name: enclose(replicates, form, units, resampling)
        for (name, form), replicates in zip(counted.items(), values, strict=True)
    }
    return {name: found.get(name) or Interval(float("nan"), float("nan"), NO_INTERVAL) for name in metrics}


def resample(counted: Sequence[Counted], units: Units, resampling: Resampling) -> FloatArray:
    """Give each counted metric on each resample, (metrics, replicates), all on the same draws.

    >>> units = Units(np.arange(2), (np.arange(2),), "row")
    >>> resample([lambda counts: counts.sum(axis=0)], units, Resampling(replicates=3)).tolist()
    [[2.0, 2.0, 2.0]]
    """
    blocks = draw_blocks(units, resampling.replicates, resampling.seed)
    return np.concatenate([np.array([form(block) for form in counted]) for block in blocks], axis=1)


def enclose(values: FloatArray, counted: Counted, units: Units, resampling: Resampling) -> Interval:
    """Give the interval that the resamples' values (replicates,) of a counted metric enclose, or say why not.

    >>> one = Units(np.arange(2), (np.arange(2),), "row")
    >>> enclose(np.array([0.5, 0.5]), lambda counts: counts[0], one, Resampling(replicates=2)).reason
    'no interval: every resample gives 0.500'
    """
    spread = find_spread(values, counted, units, resampling)
    return spread if isinstance(spread, Interval) else spread.find_interval(resampling.level)


def find_spread(
    values: FloatArray, counted: Counted, units: Units, resampling: Resampling
) -> Spread | Interval:
    """Give the resamples' defined values with the shift of the kind of interval, or the refusal of an interval.

    >>> one = Units(np.arange(2), (np.arange(2),), "row")
    >>> find_spread(np.array([0.5, 0.7]), lambda counts: counts[0], one, Resampling(replicates=2)).shift
    Shift(bias=0.0, acceleration=0.0)
    """
    defined = values[~np.isnan(values)]
    if 2 * defined.size < values.size:
        return _refuse(f"undefined in {values.size - defined.size} of {values.size} resamples")
    if defined.min() == defined.max():
        # Perfect separation, or rows too alike: an interval of width 0 would read as certainty.
        return _refuse(f"every resample gives {defined[0]:.3f}")
    if resampling.kind == "percentile":
        return Spread(defined, Shift(0.0, 0.0))
    shift = find_shift(defined, counted, units, resampling.seed)
    return _refuse(shift) if isinstance(shift, str) else Spread(defined, shift)


def find_shift(defined: FloatArray, counted: Counted, units: Units, seed: int) -> Shift | str:
    """Find how BCa moves the interval of a counted metric's resamples (m,), or say why it cannot.

    The bias counts a resample that equals the value half. The acceleration comes from leaving out each row or
    patient; in a stratified draw each stratum's parts are weighted by its size, as SciPy does for several samples.

    >>> units = Units(np.arange(3), (np.arange(3),), "row")
    >>> mean = lambda counts: np.array([0.0, 0.0, 3.0]) @ counts / counts.sum(axis=0)
    >>> round(find_shift(np.array([0.0, 1.0, 2.0]), mean, units, 0).acceleration, 4)
    0.068
    """
    value = counted(np.ones((units.count, 1), dtype=np.float32))[0]
    share = ((defined < value).mean() + (defined <= value).mean()) / 2
    if not 0 < share < 1:
        return "every resample lies on one side of the value"
    without, kept, strata = _leave_each_out(counted, units, seed)
    if np.isnan(without).any():
        return f"undefined without one of the {units.noun}s"
    cubes = squares = 0.0
    for stratum in np.unique(strata):
        inside = strata == stratum
        pull = kept[inside] * (without[inside].mean() - without[inside])
        cubes += float((pull**3).sum())
        squares += float((pull**2).sum())
    if squares == 0:
        return f"no {units.noun} moves the value"
    return Shift(float(ndtri(share)), cubes / (6 * squares**1.5))


def refuse_units(units: Units) -> Interval | None:
    """Give the undefined interval of what cannot be drawn from: less than two units; None where it can.

    >>> refuse_units(Units(np.arange(1), (np.arange(1),), "row")).reason
    'no interval from a single row'
    """
    if units.count >= 2:
        return None
    which = "no" if units.count == 0 else "a single"
    return Interval(float("nan"), float("nan"), f"no interval from {which} {units.noun}")


def _leave_each_out(
    counted: Counted, units: Units, seed: int
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Give the metric without each unit or group, the share of its stratum that is kept, and the stratum, each (m,)."""
    parts = [(counted(block.counts), block.shares, block.strata) for block in leave_out(units, seed)]
    without, kept, strata = (np.concatenate(column) for column in zip(*parts, strict=True))
    return without, kept, strata


def _refuse(reason: str) -> Interval:
    """Give the interval that is undefined for a reason."""
    return Interval(float("nan"), float("nan"), f"no interval: {reason}")
