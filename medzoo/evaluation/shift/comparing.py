"""The same network on its own test images and on other data: each metric on both, and the difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from medzoo.errors import DataError
from medzoo.evaluation.calibration.chance import NO_INTERVAL, is_binned
from medzoo.evaluation.metrics.needs import explain_undefined
from medzoo.evaluation.metrics.registry import MetricSpec, find_metric
from medzoo.evaluation.predictions import FloatArray, Predictions
from medzoo.evaluation.score import Counts, Score, count_rows
from medzoo.evaluation.shift.scoring import join_units, make_score, make_undefined
from medzoo.evaluation.uncertainty.bootstrap import refuse_units, resample
from medzoo.evaluation.uncertainty.counted import Counted, prepare_counted
from medzoo.evaluation.uncertainty.draws import Units, find_units
from medzoo.evaluation.uncertainty.resampling import Resampling

#: Metrics that are compared where nobody names any.
USUAL = ("auroc", "accuracy", "balanced_accuracy", "brier")


@dataclass(frozen=True)
class Shifted:
    """One metric in the distribution that a network was trained on, out of it, and the second less the first."""

    inside: Score
    outside: Score
    difference: Score

    def describe(self) -> dict[str, Any]:
        """Give the three as entries for JSON."""
        return {
            "in_distribution": self.inside.describe(),
            "out_of_distribution": self.outside.describe(),
            "difference": self.difference.describe(),
        }


def compare_shift(
    inside: Predictions,
    outside: Predictions,
    metrics: Sequence[str] = USUAL,
    resampling: Resampling | None = None,
) -> dict[str, Shifted]:
    """Compare a network's predictions in and out of its distribution, metric by metric.

    The two are other images of other patients: each is drawn by itself, and the interval of the difference is that of
    the differences of independent draws.  Rows without labels are left out.  All rows count, whatever their split.

    Raises:
        DataError: the classes differ, or one has exclusive classes and the other has not.
        ConfigError: a metric that does not exist.

    >>> import numpy as np
    >>> true, said, splits = np.eye(2)[[0, 0, 1, 1]], np.eye(2)[[0, 1, 1, 1]], np.array(["test"] * 4)
    >>> rows = Predictions(np.array(list("abcd")), true, said, ("no", "yes"), splits)
    >>> compare_shift(rows, rows.take(np.array([1, 2])), ["accuracy"])["accuracy"].difference.value
    -0.25
    """
    resampling = resampling or Resampling()
    if inside.classes != outside.classes or inside.exclusive != outside.exclusive:
        raise DataError(
            f"predictions of {', '.join(outside.classes)} beside those of {', '.join(inside.classes)}",
            "the same classes in the same order",
        )
    specs = [find_metric(name) for name in metrics]
    tables = inside.annotated(), outside.annotated()
    first, second = (find_units(rows) for rows in tables)
    units = join_units(first, second)
    sides = (
        _Side("in the distribution", tables[0], first, slice(None, first.count)),
        _Side("out of the distribution", tables[1], second, slice(first.count, None)),
    )
    return {spec.name: _compare(spec, *sides, units, resampling) for spec in specs}


@dataclass(frozen=True, eq=False)
class _Side:
    """One of the two tables: where it is from, its rows, what is drawn of them, and which of all units that is."""

    where: str
    rows: Predictions
    units: Units
    part: slice

    def prepare(self, spec: MetricSpec) -> Counted:
        """Give a metric of this table that is handed the counts of both tables' units."""
        counted = prepare_counted(spec.measure, self.rows, self.units.of_rows)
        return lambda counts: counted(counts[self.part])

    def refuse(self, spec: MetricSpec) -> Score | None:
        """Give the score of a metric that is undefined here, or cannot have an interval; None for any other."""
        counts = count_rows(self.rows)
        reason = explain_undefined(spec.name, self.rows)
        if reason is not None:
            return make_undefined(counts, reason)
        refusal = refuse_units(self.units)
        why = NO_INTERVAL if is_binned(spec.measure) else None if refusal is None else refusal.reason
        return None if why is None else Score(spec.measure(self.rows), math.nan, math.nan, counts, why)


def _compare(
    spec: MetricSpec, inside: _Side, outside: _Side, units: Units, resampling: Resampling
) -> Shifted:
    """Score one metric on both tables, and the difference where both have an interval."""
    sides = inside, outside
    refusals = [side.refuse(spec) for side in sides]
    forms = {place: side.prepare(spec) for place, side in enumerate(sides) if refusals[place] is None}
    drawn = dict(zip(forms, resample(list(forms.values()), units, resampling), strict=True)) if forms else {}
    scores = [
        refusal
        or make_score(
            spec.measure(side.rows), drawn[place], forms[place], units, count_rows(side.rows), resampling
        )
        for place, (side, refusal) in enumerate(zip(sides, refusals, strict=True))
    ]
    first, second = scores
    value, counts = second.value - first.value, _add(first.counts, second.counts)
    for side, score in zip(sides, scores, strict=True):
        if score.reason is not None:  # an interval of the other side's variation alone would be too narrow
            reason = f"{side.where}: {score.reason}"
            return Shifted(first, second, Score(value, math.nan, math.nan, counts, reason))

    def subtract(drawn_units: NDArray[Any]) -> FloatArray:
        """Give the difference on each resample."""
        return forms[1](drawn_units) - forms[0](drawn_units)

    return Shifted(first, second, make_score(value, drawn[1] - drawn[0], subtract, units, counts, resampling))


def _add(first: Counts, second: Counts) -> Counts:
    """Add the counts of two tables; what one of them does not know stays unknown."""

    def add(one: int | None, other: int | None) -> int | None:
        """Add two counts."""
        return None if one is None or other is None else one + other

    return Counts(
        n=first.n + second.n,
        patients=add(first.patients, second.patients),
        positives=add(first.positives, second.positives),
        negatives=add(first.negatives, second.negatives),
    )
