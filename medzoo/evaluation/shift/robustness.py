"""Robustness: a metric on the same images under growing corruption, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import DataError
from medzoo.evaluation.calibration.chance import NO_INTERVAL, is_binned
from medzoo.evaluation.metrics.needs import explain_undefined
from medzoo.evaluation.metrics.registry import find_metric
from medzoo.evaluation.predictions import FloatArray, Predictions
from medzoo.evaluation.score import Score, count_rows
from medzoo.evaluation.shift.scoring import make_score, make_undefined
from medzoo.evaluation.uncertainty.bootstrap import resample
from medzoo.evaluation.uncertainty.counted import prepare_counted
from medzoo.evaluation.uncertainty.draws import find_units
from medzoo.evaluation.uncertainty.resampling import Resampling

#: The images as they are, among tables of corrupted ones.
CLEAN = ""


@dataclass(frozen=True)
class Curve:
    """A metric at strength 0, 1, … of one corruption, its mean over the strengths from 1 on, and what that loses.

    `change` is the mean less the score at strength 0; it is drawn on the same images, so that its interval is much
    narrower than those of the two.
    """

    scores: tuple[Score, ...]
    mean: Score
    change: Score

    def describe(self) -> dict[str, Any]:
        """Give the scores by strength, the mean and the change as entries for JSON."""
        return {
            "strengths": [score.describe() for score in self.scores],
            "mean": self.mean.describe(),
            "change": self.change.describe(),
        }


@dataclass(frozen=True)
class Robustness:
    """Curves by corruption, and the mean over all corruptions and strengths with what it loses.

    `mean` and `change` are those of a curve over everything: every corruption weighs the same.
    """

    metric: str
    curves: Mapping[str, Curve]
    mean: Score
    change: Score

    def describe(self) -> dict[str, Any]:
        """Give everything as an entry for JSON."""
        return {
            "metric": self.metric,
            "corruptions": {name: curve.describe() for name, curve in self.curves.items()},
            "mean": self.mean.describe(),
            "change": self.change.describe(),
        }


def measure_robustness(
    clean: Predictions,
    corrupted: Mapping[str, Sequence[Predictions]],
    metric: str = "auroc",
    resampling: Resampling | None = None,
) -> Robustness:
    """Measure predictions of the same images, as they are and by corruption at strengths 1, 2, ….

    All tables have the same draws of patients or rows. Calibration errors over bins have no intervals.

    Raises:
        DataError: no corruption, one without any strength, or tables of other images, labels or classes.
        ConfigError: a metric that does not exist.
    """
    resampling = resampling or Resampling()
    measure = find_metric(metric).measure
    rows = clean.annotated()
    if not corrupted:
        raise DataError("no corruptions", "one or more")
    tables, curves = {CLEAN: rows}, dict[str, list[str]]()
    for name, steps in corrupted.items():
        if not steps:
            raise DataError(f"no strength of {name!r}", "one or more")
        curves[name] = [f"{name} {strength}" for strength in range(1, len(steps) + 1)]
        for table, predictions in zip(curves[name], steps, strict=True):
            tables[table] = _check_rows(rows, predictions.annotated(), table)
    reasons = {table: explain_undefined(metric, part) for table, part in tables.items()}
    defined = {table: part for table, part in tables.items() if reasons[table] is None}
    units = find_units(rows)
    binned = is_binned(measure)
    forms = {
        table: prepare_counted(measure, part, units.of_rows) for table, part in defined.items() if not binned
    }
    drawn = dict(zip(forms, resample(list(forms.values()), units, resampling), strict=True)) if forms else {}
    values = {table: measure(part) for table, part in defined.items()}
    counts = count_rows(rows)

    def score(weights: Mapping[str, float]) -> Score:
        """Score a weighted sum of tables."""
        reason = next((reasons[table] for table in weights if reasons[table]), None)
        if reason is not None:
            return make_undefined(counts, reason)

        def add(of: Mapping[str, Any]) -> Any:
            """Add up the tables' numbers."""
            return sum(weight * of[table] for table, weight in weights.items())

        def add_counted(drawn_units: NDArray[Any]) -> FloatArray:
            """Give the sum on each resample."""
            return np.asarray(add({table: forms[table](drawn_units) for table in weights}))

        if binned:
            return Score(float(add(values)), math.nan, math.nan, counts, NO_INTERVAL)
        return make_score(float(add(values)), add(drawn), add_counted, units, counts, resampling)

    def average(groups: Sequence[Sequence[str]]) -> tuple[Score, Score]:
        """Average tables within groups and then the groups, and subtract the score of the images as they are."""
        weights = {table: 1 / (len(groups) * len(group)) for group in groups for table in group}
        return score(weights), score({CLEAN: -1.0, **weights})

    scores = {
        name: Curve(tuple(score({table: 1.0}) for table in (CLEAN, *group)), *average([group]))
        for name, group in curves.items()
    }
    return Robustness(metric, scores, *average(list(curves.values())))


def _check_rows(clean: Predictions, other: Predictions, name: str) -> Predictions:
    """Refuse a table that is not of the same images in the same order."""
    same = (
        np.array_equal(clean.ids, other.ids)
        and clean.classes == other.classes
        and np.array_equal(clean.labels, other.labels, equal_nan=True)
    )
    if not same:
        raise DataError(
            f"predictions of {name} are not of the same images", "the same ids, labels and classes"
        )
    return other
