"""A metric in groups of images: each with its interval, how far they are apart, and which one is worst."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from medzoo.errors import ConfigError
from medzoo.evaluation.calibration.chance import is_binned
from medzoo.evaluation.gaps import (
    Bands,
    Gap,
    Groups,
    Kinds,
    Measure,
    Measured,
    describe_gaps,
    list_sides,
    measure_groups,
    none_for_nan,
    sort_groups,
)
from medzoo.evaluation.metrics.calls import Metric, call_columns, list_positive_columns
from medzoo.evaluation.metrics.registry import METRICS, MetricSpec, explain_undefined, find_metric
from medzoo.evaluation.metrics.thresholds import AtThresholds
from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.score import Counts, Score
from medzoo.evaluation.uncertainty.by_class import OfClass, take_class
from medzoo.evaluation.uncertainty.counted import prepare_counted
from medzoo.evaluation.uncertainty.resampling import Resampling

#: Groups of fewer patients are counted and not measured.
SMALLEST = 20


@dataclass(frozen=True)
class Subgroups:
    """A metric per group, and the largest difference between two groups of one column.

    `gaps` holds the gap of each column or crossing, `gap` the largest of them, with an interval and a p-value that
    know of all; it is never negative, and `chance` is the gap to expect where all groups are equal. A group with too
    few patients of a class that the metric needs has a score whose reason says so, and no part in the gap. `worst` and
    `best` are None where fewer than two groups have a part. `too_small` groups have fewer than `smallest` patients
    (images where no patient is known); they and rows of which a column is not known are no part of any gap. `not_known`
    counts such rows by column, `unplaced` all of them.
    """

    metric: str
    groups: Mapping[str, Score]
    gap: Score
    p: float
    chance: float
    gaps: Mapping[str, Gap]
    worst: str | None
    best: str | None
    too_small: Mapping[str, Counts]
    not_known: Mapping[str, Counts]
    unplaced: Counts | None
    smallest: int

    @property
    def title(self) -> str:
        """The columns and crossings."""
        return ", ".join(self.gaps)

    @property
    def deviation(self) -> float:
        """The sample standard deviation of the groups' values; NaN for fewer than two."""
        values = [score.value for score in self.groups.values() if not math.isnan(score.value)]
        return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan

    def describe(self) -> dict[str, Any]:
        """Give everything as plain JSON, None where a number is undefined."""
        return {
            "metric": self.metric,
            "by": list(self.gaps),
            "groups": {name: score.describe() for name, score in self.groups.items()},
            "gap": Gap(self.gap, self.p, self.chance).describe(),
            "gaps": describe_gaps(self.gaps, self.not_known),
            "worst": self.worst,
            "best": self.best,
            "deviation": none_for_nan(self.deviation),
            "smallest": self.smallest,
            "too_small": {name: counts.describe() for name, counts in self.too_small.items()},
            "not_known": None if self.unplaced is None else self.unplaced.describe(),
        }


def score_groups(
    rows: Predictions,
    columns: Sequence[str],
    metric: Metric | str,
    resampling: Resampling,
    smallest: int = SMALLEST,
    bands: Bands | None = None,
) -> Subgroups:
    """Measure a metric in each group of each column, or of a crossing of columns: ["sex", "age", "sex × age"].

    `bands` gives the edges for columns of numbers; see `band`. All groups see the same draws, of whole patients where
    patients are known. A function that is no metric of the registry counts as better where it is higher, and as one
    that needs no classes. Of a metric that needs classes, a group with fewer than `LEAST_OF_A_CLASS` patients of one
    has a score and no part in the gap.

    Raises:
        ConfigError: no such metric, an error over bins, no columns, or edges that do not rise.
        DataError: no such column, or one of too many values.

    >>> true, said = np.eye(2)[[0, 1] * 40], np.tile([0.2, 0.6, 0.7, 0.8], 20)
    >>> rows = Predictions(np.arange(80).astype(str), true, np.stack([1 - said, said], axis=1), ("no", "yes"),
    ...                    np.array(["test"] * 80), groups={"sex": np.repeat(["F", "M"], 40)})
    >>> found = score_groups(rows, ["sex"], "auroc", Resampling(replicates=200))
    >>> found.groups["sex=F"].value, found.gap.value, found.gap.low
    (0.75, 0.0, 0.0)
    """
    spec = _refuse_binned(find_spec(metric))
    rows = rows.annotated()
    groups = sort_groups(rows, columns, bands, smallest)
    measure = Measure(
        spec.measure,
        partial(prepare_counted, spec.measure),
        partial(explain_spec, spec),
        partial(_list_kinds, spec),
    )
    measured = measure_groups(rows, groups, [measure], resampling)
    sign = 1 if spec.higher_is_better else -1
    merits = {name: sign * score.value for name, score in measured.scores[0].items()}
    return join_subgroups(spec.name, groups, measured, merits, smallest)


def join_subgroups(
    metric: str, groups: Groups, measured: Measured, merits: Mapping[str, float], smallest: int
) -> Subgroups:
    """Join what was measured in groups; of those with a part in the gap, that of the lowest merit is the worst."""
    known = {name: merit for name, merit in merits.items() if name in measured.comparable}
    comparable = len(known) > 1
    return Subgroups(
        metric=metric,
        groups=measured.scores[0],
        gap=measured.gap.score,
        p=measured.gap.p,
        chance=measured.gap.chance,
        gaps=measured.gaps,
        worst=min(known, key=lambda name: known[name]) if comparable else None,
        best=max(known, key=lambda name: known[name]) if comparable else None,
        too_small=groups.too_small,
        not_known=groups.not_known,
        unplaced=groups.unplaced,
        smallest=smallest,
    )


def worst_group(
    columns: Sequence[str], metric: Metric | str, smallest: int = SMALLEST, bands: Bands | None = None
) -> Metric:
    """Give a metric of its own: the value in the worst group of those that are large enough; NaN where one is NaN.

    With `paired_bootstrap` it tells whether one run serves its worst group better than another does.

    Raises:
        ConfigError: no such metric, or an error over bins.

    >>> true = np.eye(2)[[0, 1, 0, 1]]
    >>> rows = Predictions(np.array(list("abcd")), true, np.eye(2)[[0, 1, 1, 1]], ("no", "yes"),
    ...                    np.array(["test"] * 4), groups={"sex": np.array(["F", "F", "M", "M"])})
    >>> worst_group(["sex"], "accuracy", smallest=1)(rows)
    0.5
    """
    spec = _refuse_binned(find_spec(metric))
    choose = min if spec.higher_is_better else max

    def measure(rows: Predictions) -> float:
        """Measure the worst group."""
        annotated = rows.annotated()
        groups = sort_groups(annotated, columns, bands, smallest).members.values()
        values = [spec.measure(annotated.take(indices)) for inside in groups for indices in inside.values()]
        return math.nan if not values or any(map(math.isnan, values)) else choose(values)

    return measure


def find_spec(metric: Metric | str) -> MetricSpec:
    """Find a metric by name or function; a function that the registry lacks is taken for one that should be high.

    Raises:
        ConfigError: no such name.

    >>> find_spec("auroc").higher_is_better
    True
    """
    if isinstance(metric, str):
        return find_metric(metric)
    if isinstance(metric, AtThresholds):
        return replace(METRICS[metric.name], measure=metric)
    known = next((spec for spec in METRICS.values() if spec.measure is metric), None)
    if known is not None:
        return known
    inner = metric.metric if isinstance(metric, OfClass) else getattr(metric, "func", None)
    if inner is not None:  # what it needs, and which way is better, is that of the metric inside
        return replace(find_spec(inner), measure=metric)
    name = getattr(metric, "__name__", "metric")
    return MetricSpec(name, name, metric, "any", higher_is_better=True, kind="decision")


def explain_spec(spec: MetricSpec, rows: Predictions) -> str | None:
    """Say why a metric is undefined on these rows, where it is one of the registry's; else None.

    >>> one = Predictions(np.array(["a"]), np.eye(2)[:1], np.eye(2)[:1], ("no", "yes"), np.array(["test"]))
    >>> explain_spec(find_spec("auroc"), one)
    "no row of class 'yes'"
    """
    if isinstance(spec.measure, AtThresholds):
        return spec.measure.explain(rows)
    try:
        return explain_undefined(spec.name, rows)
    except ConfigError:
        return None


def _refuse_binned(spec: MetricSpec) -> MetricSpec:
    """Refuse a calibration error over bins; give back any other metric."""
    if is_binned(spec.measure):
        raise ConfigError(
            f"{spec.name} of groups, which grows as a group shrinks",
            "a metric that does not",
            "brier; how far mean scores are from shares of positives is compared by itself",
        )
    return spec


def _list_kinds(spec: MetricSpec, rows: Predictions) -> Kinds:
    """Name the kinds of rows that a metric rests on: those of each class it needs, or those that are called."""
    measure = spec.measure
    if isinstance(measure, OfClass):
        rows = take_class(rows, measure.index)
    columns = list_positive_columns(rows)
    several = rows.exclusive and len(rows.classes) > 2
    if spec.needs in ("called", "cleared"):
        thresholds = measure.list_thresholds(rows) if isinstance(measure, AtThresholds) else None
        called = call_columns(rows, thresholds) == (spec.needs == "called")
        known = ~np.isnan(rows.labels[:, columns])
        what = "called" if spec.needs == "called" else "not called"
        return {
            f"{what} {rows.classes[column]!r}": (called & known)[:, place]
            for place, column in enumerate(columns)
        }
    if spec.needs in ("positive", "negative"):
        return list_sides(rows, columns, [int(spec.needs == "positive")])
    if spec.needs == "two" and several:  # any two classes will do
        commonest = int((rows.labels == 1).sum(axis=0).argmax())
        return list_sides(rows, [commonest], [0])
    if spec.needs == "pooled" and not rows.exclusive:
        sides = {"of some label": 1, "not of some label": 0}
        return {name: (rows.labels == side).any(axis=1) for name, side in sides.items()}
    if spec.needs == "every":
        return list_sides(rows, columns, [1] if several else [1, 0])
    return list_sides(rows, columns) if spec.needs in ("two", "pooled") and not several else {}
