"""How far groups are apart, with an interval that does not forget that the furthest two were picked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import ConfigError, nearest
from medzoo.evaluation.grouping import IndexArray, check_bands, group_rows
from medzoo.evaluation.metrics.calls import Metric
from medzoo.evaluation.predictions import FloatArray, Predictions
from medzoo.evaluation.score import Counts, Score, count_rows
from medzoo.evaluation.uncertainty.bootstrap import enclose, resample
from medzoo.evaluation.uncertainty.counted import Counted
from medzoo.evaluation.uncertainty.draws import find_units, identify_patients
from medzoo.evaluation.uncertainty.resampling import Resampling

Bands = Mapping[str, Sequence[float]]

#: What a measure rests on: kinds of rows, named so that "3 patients …" reads on, each a mask (n,).
Kinds = Mapping[str, NDArray[np.bool_]]

#: A group with fewer patients of a kind that a measure rests on has no part in its gap. Resamples of a few patients
#: vary less than such groups do, and equal groups would be called different.
LEAST_OF_A_CLASS = 20


@dataclass(frozen=True)
class Gap:
    """The largest difference between groups with its interval, and what equal groups of these sizes would show.

    `p` is of the hypothesis that all groups are equal; `chance` is the gap to expect then.
    """

    score: Score
    p: float
    chance: float

    def describe(self) -> dict[str, Any]:
        """Give the gap as an entry for JSON, None where a number is undefined."""
        return self.score.describe() | {"p": none_for_nan(self.p), "chance": none_for_nan(self.chance)}


@dataclass(frozen=True)
class Measure:
    """What is measured in each group: its value, how to get it from counts of the rows' units, why a group has none.

    `list_kinds` names the kinds of rows of which a group must have enough to have a part in the gap.
    """

    value: Metric
    prepare: Callable[[Predictions, IndexArray], Counted]
    explain: Callable[[Predictions], str | None]
    list_kinds: Callable[[Predictions], Kinds]


@dataclass(frozen=True, eq=False)
class Groups:
    """Groupings by title, each with the rows of its groups that are large enough; the others are counted.

    `not_known` counts by title the rows of which a column is not known, `unplaced` all of them, each once.
    """

    members: Mapping[str, Mapping[str, IndexArray]]
    too_small: Mapping[str, Counts]
    not_known: Mapping[str, Counts]
    unplaced: Counts | None


@dataclass(frozen=True)
class Measured:
    """Scores by group for each measure; the largest gap of all groupings and measures, and that of each grouping.

    `widest` is the place of the measure that the largest gap is in, None where there is no gap. `comparable` are the
    groups that have a part in the gaps: all measures are defined there, on enough patients.
    """

    scores: tuple[Mapping[str, Score], ...]
    gap: Gap
    gaps: Mapping[str, Gap]
    widest: int | None
    comparable: frozenset[str]


def sort_groups(rows: Predictions, columns: Sequence[str], bands: Bands | None, smallest: int) -> Groups:
    """Group rows by each column or crossing, and set apart groups of fewer than `smallest` patients.

    Where no patient is known, annotated images are counted instead.

    Raises:
        ConfigError: no columns, bands of another column, or edges that do not rise.
        DataError: no such column, or one of too many values.
    """
    if not columns:
        known = nearest("", rows.groups) if rows.groups else "a group column; these predictions have none"
        raise ConfigError("no group column", known)
    check_bands(columns, bands or {}, rows.groups)
    members: dict[str, dict[str, IndexArray]] = {}
    too_small, not_known = {}, {}
    unplaced = np.zeros(len(rows), dtype=bool)
    for column in columns:
        grouping = group_rows(rows, column, bands)
        members[grouping.title] = {}
        for name, indices in grouping.members.items():
            counts = count_rows(rows.take(indices))
            if (counts.n if counts.patients is None else counts.patients) < smallest:
                too_small[name] = counts
            else:
                members[grouping.title][name] = indices
        if grouping.not_known.size:
            not_known[grouping.title] = count_rows(rows.take(grouping.not_known))
            unplaced[grouping.not_known] = True
    return Groups(members, too_small, not_known, count_rows(rows.take(unplaced)) if unplaced.any() else None)


def measure_groups(
    rows: Predictions, groups: Groups, measures: Sequence[Measure], resampling: Resampling
) -> Measured:
    """Measure every group of annotated rows by every measure, all on the same draws.

    A group in which a measure is undefined, or rests on fewer patients of a kind than `LEAST_OF_A_CLASS` (images, where
    no patient is known), has no part in the gap; its score says so.
    """
    members = {name: indices for inside in groups.members.values() for name, indices in inside.items()}
    parts = {name: rows.take(indices) for name, indices in members.items()}
    values = {
        (m, name): measure.value(part) for m, measure in enumerate(measures) for name, part in parts.items()
    }
    units = find_units(rows)
    counted = {
        (m, name): _look_within(measures[m], parts[name], units.of_rows[members[name]])
        for (m, name), value in values.items()
        if not math.isnan(value)
    }
    resampled = resample(list(counted.values()), units, resampling) if counted else ()
    drawn = dict(zip(counted, resampled, strict=True))
    lacks = {(m, name): _find_lack(measures[m].list_kinds(parts[name]), parts[name]) for m, name in counted}
    scores: tuple[dict[str, Score], ...] = tuple({} for _ in measures)
    for (m, name), value in values.items():
        if (m, name) in drawn:
            interval = enclose(drawn[m, name], counted[m, name], units, resampling)
            low, high = interval.low, interval.high
            reason = "; ".join(filter(None, (interval.reason, lacks[m, name]))) or None
        else:
            low = high = math.nan
            reason = measures[m].explain(parts[name]) or "undefined"
        scores[m][name] = Score(value, low, high, count_rows(parts[name]), reason)
    tables: list[tuple[FloatArray, FloatArray]] = []
    gaps = {}
    comparable = frozenset(
        name
        for name in members
        if all(lacks.get((m, name), "undefined") is None for m in range(len(measures)))
    )
    for title, inside in groups.members.items():
        whole = [name for name in inside if name in comparable]
        own = [
            (np.array([values[m, name] for name in whole]), np.stack([drawn[m, name] for name in whole]))
            for m in range(len(measures))
            if len(whole) > 1
        ]
        tables += own
        gaps[title] = find_gap(own, resampling.level, _count_together(rows, [inside[name] for name in whole]))
    ranges = [float(np.ptp(values)) for values, _ in tables]
    widest = ranges.index(max(ranges)) % len(measures) if ranges else None  # the tables take turns
    gap = find_gap(tables, resampling.level, _count_together(rows, [members[name] for name in comparable]))
    return Measured(scores, gap, gaps, widest, comparable)


def find_gap(tables: Sequence[tuple[FloatArray, FloatArray]], level: float, counts: Counts) -> Gap:
    """Find the largest difference between groups within any of several tables: values (g,), resampled values (g, R).

    The range of numbers never changes by more than the range of what is added to them. So a bound on the range of the
    resamples' deviations holds for whichever groups are furthest apart: the gap ± that bound covers the true gap with
    the level, as nearly as the resamples vary like the groups do, also where all groups are equal, which percentiles of
    the resampled gap never would. The lower end is 0 where the difference is not significant.

    >>> deviations = np.random.default_rng(0).normal(0, 0.01, (2, 999))
    >>> values = np.array([0.9, 0.6])
    >>> gap = find_gap([(values, values[:, np.newaxis] + deviations)], 0.95, Counts(80))
    >>> round(gap.score.value, 3), 0.25 < gap.score.low < 0.3 < gap.score.high < 0.35, gap.p
    (0.3, True, 0.001)
    """
    if not tables:
        return _refuse("no gap: fewer than two groups with a part in it", counts)
    observed = max(float(np.ptp(values)) for values, _ in tables)
    noise = np.max([np.ptp(drawn - values[:, np.newaxis], axis=0) for values, drawn in tables], axis=0)
    defined = noise[~np.isnan(noise)]
    if 2 * defined.size < noise.size:
        lost = noise.size - defined.size
        return _refuse(f"no interval: undefined in {lost} of {noise.size} resamples", counts, observed)
    if defined.max() == 0:
        return _refuse("no interval: every resample gives the same", counts, observed)
    bound = float(np.quantile(defined, level))
    high = observed + bound
    if all((values >= 0).all() and np.nanmax(drawn) <= 1 for values, drawn in tables):
        high = min(high, 1.0)  # shares are not further apart
    # The value itself counts as one of the resamples, so that p is never 0.
    p = (1 + int((defined >= observed).sum())) / (1 + defined.size)
    return Gap(Score(observed, max(0.0, observed - bound), high, counts), p, float(defined.mean()))


def describe_gaps(gaps: Mapping[str, Gap], not_known: Mapping[str, Counts]) -> dict[str, Any]:
    """Give the gap of each column as JSON, with how many rows the column is not known of."""
    unknown = {title: {"not_known": counts.describe()} for title, counts in not_known.items()}
    return {title: gap.describe() | unknown.get(title, {}) for title, gap in gaps.items()}


def list_sides(rows: Predictions, columns: Sequence[int], sides: Sequence[int] = (1, 0)) -> Kinds:
    """Name the rows that are (1) and are not (0) of each of some classes or labels.

    >>> true = np.eye(2)[[0, 0, 1]]
    >>> rows = Predictions(np.array(list("abc")), true, true, ("no", "yes"), np.array(["test"] * 3))
    >>> {name: int(mask.sum()) for name, mask in list_sides(rows, [1]).items()}
    {"of 'yes'": 1, "not of 'yes'": 2}
    """
    names = {1: "of", 0: "not of"}
    return {
        f"{names[side]} {rows.classes[column]!r}": rows.labels[:, column] == side
        for column in columns
        for side in sides
    }


def none_for_nan(number: float) -> float | None:
    """Give None for NaN, which JSON cannot say.

    >>> none_for_nan(0.5), none_for_nan(math.nan)
    (0.5, None)
    """
    return None if math.isnan(number) else number


def _look_within(measure: Measure, part: Predictions, units: IndexArray) -> Counted:
    """Give a function of the counts of all units (units, R) that looks at those of a group's rows (m,) alone."""
    own, of_rows = np.unique(units, return_inverse=True)
    counted = measure.prepare(part, of_rows.astype(np.int64))
    return lambda counts: counted(counts[own])


def _find_lack(kinds: Kinds, part: Predictions) -> str | None:
    """Say of which kind of rows a group has too few patients (images, where none is known) for a gap, else None."""
    patients = identify_patients(part)
    for name, mask in kinds.items():
        count = int(mask.sum()) if patients is None else len(np.unique(patients[mask]))
        if count < LEAST_OF_A_CLASS:
            noun = ("image" if patients is None else "patient") + "s" * (count != 1)
            return f"no part in the gap: {count} {noun} {name}, fewer than {LEAST_OF_A_CLASS}"
    return None


def _count_together(rows: Predictions, members: Sequence[IndexArray]) -> Counts:
    """Count the rows of all groups, each once."""
    every = np.concatenate([np.empty(0, dtype=np.int64), *members])
    return count_rows(rows.take(np.unique(every)))


def _refuse(reason: str, counts: Counts, value: float = math.nan) -> Gap:
    """Give a gap without an interval."""
    return Gap(Score(value, math.nan, math.nan, counts, reason), math.nan, math.nan)
