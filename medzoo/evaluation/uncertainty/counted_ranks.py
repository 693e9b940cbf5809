"""Areas and points of ROC and precision–recall curves from counts: scores are sorted once, then only counted.

A column's steps are its distinct scores of one class. What lies between two steps is summed by a sparse product with
the counts, and the steps are walked through in slabs: step k of each of many runs of steps at once, so that an addition
covers thousands of numbers. Counts and their sums are whole numbers, which float64 holds exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from medzoo.evaluation.metrics.calls import list_positive_columns
from medzoo.evaluation.predictions import FloatArray, Predictions

#: How often each unit was drawn, (units, m) → the metric of each of the m resamples, (m,).
Counted = Callable[[NDArray[Any]], FloatArray]

#: Steps per run. More make slabs smaller and the loop over them longer.
_RUN = 64


@dataclass(frozen=True, eq=False)
class _Column:
    """One label's annotated rows: positive (n,), scores (n,), the unit of each (n,), and how many units there are."""

    positive: NDArray[np.bool_]
    scores: FloatArray
    units: NDArray[np.int64]
    unit_count: int


@dataclass(frozen=True)
class _Step:
    """One step down from the highest score, of many runs and resamples, each (runs, m).

    drawn: positives at the score; above: positives above it; alarms_above, alarms: negatives above it, and at or
    above it.
    """

    drawn: NDArray[Any]
    above: FloatArray
    alarms_above: FloatArray
    alarms: FloatArray


@dataclass(frozen=True)
class _Descent:
    """A column's steps from the highest positive score down, with all its positives and negatives (m,)."""

    positives: FloatArray
    negatives: FloatArray
    steps: Iterator[_Step]


#: One column's steps → its metric (m,).
_Measure = Callable[[_Descent], FloatArray]


def prepare_auroc(rows: Predictions, of_rows: NDArray[np.int64]) -> Counted:
    """Average the areas under the ROC curves of the positive columns; of_rows (n,) is the unit of each row."""
    return _average([_prepare_area(column) for column in _list_columns(rows, of_rows)])


def prepare_auroc_micro(rows: Predictions, of_rows: NDArray[np.int64]) -> Counted:
    """Give the area of all positive columns' entries thrown together."""
    columns = _list_columns(rows, of_rows)
    return _prepare_area(
        _Column(
            np.concatenate([column.positive for column in columns]),
            np.concatenate([column.scores for column in columns]),
            np.concatenate([column.units for column in columns]),
            columns[0].unit_count,
        )
    )


def prepare_auprc(rows: Predictions, of_rows: NDArray[np.int64]) -> Counted:
    """Average the areas under the precision–recall curves by trapezoids."""
    return _prepare_descents(_measure_trapezoids, rows, of_rows)


def prepare_average_precision(rows: Predictions, of_rows: NDArray[np.int64]) -> Counted:
    """Average the average precisions."""
    return _prepare_descents(_measure_precisions, rows, of_rows)


def prepare_partial_auroc(rows: Predictions, of_rows: NDArray[np.int64], maximum: float = 0.1) -> Counted:
    """Average the standardised areas up to a false-positive rate."""
    return _prepare_descents(lambda descent: _measure_partial(descent, maximum), rows, of_rows)


def prepare_sensitivity_at(
    rows: Predictions, of_rows: NDArray[np.int64], specificity: float = 0.9
) -> Counted:
    """Average the highest sensitivities at a specificity."""
    return _prepare_descents(lambda descent: _measure_sensitivity(descent, specificity), rows, of_rows)


def prepare_specificity_at(
    rows: Predictions, of_rows: NDArray[np.int64], sensitivity: float = 0.9
) -> Counted:
    """Average the highest specificities at a sensitivity."""
    return _prepare_descents(lambda descent: _measure_specificity(descent, sensitivity), rows, of_rows)


def divide(above: FloatArray, below: FloatArray) -> FloatArray:
    """Divide, NaN where that has no value.

    >>> divide(np.array([1.0, 0.0]), np.array([2.0, 0.0])).tolist()
    [0.5, nan]
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(above / below)


def average(parts: FloatArray | list[FloatArray]) -> FloatArray:
    """Average over the first axis, NaN where a part has no value.

    >>> average(np.array([[1.0, np.nan], [2.0, 3.0]])).tolist()
    [1.5, nan]
    """
    return np.asarray(np.mean(parts, axis=0))


def _list_columns(rows: Predictions, of_rows: NDArray[np.int64]) -> list[_Column]:
    """List the positive columns, each with the rows annotated for it."""
    columns = []
    unit_count = int(of_rows.max(initial=-1)) + 1
    for index in list_positive_columns(rows):
        known = np.flatnonzero(~np.isnan(rows.labels[:, index]))
        positive = rows.labels[known, index] == 1
        columns.append(_Column(positive, rows.scores[known, index], of_rows[known], unit_count))
    return columns


def _average(parts: list[Counted]) -> Counted:
    """Average the columns' values; a resample in which one is undefined has none."""
    return lambda counts: average([part(counts) for part in parts])


def _prepare_area(column: _Column) -> Counted:
    """Count one column's pairs of a positive above a negative, ties half, in whole numbers: exact."""
    # The smaller class makes the steps; the pairs that it loses are those that the other one wins.
    few_positive = 2 * int(column.positive.sum()) <= column.positive.size
    few = column.positive == few_positive
    steps = np.unique(column.scores[few])
    # A row of the other class counts 2 from the first step above it on, 1 at a step that it is tied with.
    others = column.scores[~few]
    reached = np.concatenate([np.searchsorted(steps, others, side) for side in ("left", "right")])
    runs = _count_runs(steps.size + 1)
    below = _sum_units(reached, np.tile(column.units[~few], 2), runs, column.unit_count)
    members = _sum_units(
        np.searchsorted(steps, column.scores[few]), column.units[few], runs, column.unit_count
    )

    def area(counts: NDArray[Any]) -> FloatArray:
        drawn, added = _fold(members, counts, runs), _fold(below, counts, runs)
        twice = _start_runs(added)
        won = np.zeros_like(twice)
        for step in range(len(drawn)):
            twice += added[step]
            won += drawn[step] * twice
        pairs = drawn.sum(axis=(0, 1), dtype=np.float64) * twice[-1]
        wins = won.sum(axis=0)
        return divide(wins if few_positive else pairs - wins, pairs)

    return area


def _prepare_descents(measure: _Measure, rows: Predictions, of_rows: NDArray[np.int64]) -> Counted:
    """Average a measure of the positive columns' descents."""
    return _average([_prepare_descent(measure, column) for column in _list_columns(rows, of_rows)])


def _prepare_descent(measure: _Measure, column: _Column) -> Counted:
    """Give the measure of one column; NaN without a positive or a negative."""
    falling = -column.scores
    steps = np.unique(falling[column.positive])
    negatives, units = falling[~column.positive], column.units[~column.positive]
    runs = _count_runs(steps.size + 1)
    members = _sum_units(
        np.searchsorted(steps, falling[column.positive]),
        column.units[column.positive],
        runs,
        column.unit_count,
    )
    first, after = (np.searchsorted(steps, negatives, side) for side in ("left", "right"))
    reaching = _sum_units(first, units, runs, column.unit_count)
    passing = None if (first == after).all() else _sum_units(after, units, runs, column.unit_count)

    def descend(counts: NDArray[Any]) -> FloatArray:
        drawn, at = _fold(members, counts, runs), _fold(reaching, counts, runs)
        above = at if passing is None else _fold(passing, counts, runs)
        positives, total = (part.sum(axis=(0, 1), dtype=np.float64) for part in (drawn, at))
        values = measure(_Descent(positives, total, _walk(drawn, at, above)))
        return np.where((positives > 0) & (total > 0), values, np.nan)

    return descend


def _walk(drawn: NDArray[Any], at: NDArray[Any], above: NDArray[Any]) -> Iterator[_Step]:
    """Walk down the steps (steps, runs, m); what a step holds is overwritten by the next one."""
    positives, alarms, alarms_above = _start_runs(drawn), _start_runs(at), _start_runs(above)
    for step in range(len(drawn)):
        alarms += at[step]
        alarms_above += above[step]
        yield _Step(drawn[step], positives, alarms_above, alarms)
        positives += drawn[step]


def _measure_precisions(descent: _Descent) -> FloatArray:
    """Sum the precision at each step times the recall that it adds."""
    gained: Any = 0.0
    for step in descent.steps:
        reached = step.above + step.drawn
        gained += step.drawn * (reached / np.maximum(reached + step.alarms, 1))
    return divide(gained.sum(axis=0), descent.positives)


def _measure_trapezoids(descent: _Descent) -> FloatArray:
    """Sum the trapezoids between each step and the point of the curve before it, which starts at precision 1."""
    gained: Any = 0.0
    for step in descent.steps:
        reached, before = step.above + step.drawn, step.above + step.alarms_above
        start = np.where(before == 0, 1.0, step.above / np.maximum(before, 1))
        gained += step.drawn * (start + reached / np.maximum(reached + step.alarms, 1))
    return divide(gained.sum(axis=0), 2 * descent.positives)


def _measure_partial(descent: _Descent, maximum: float) -> FloatArray:
    """Sum what each positive adds to the area left of a false-positive rate, and standardise it (McClish 1989)."""
    gained: Any = 0.0
    limit = maximum * descent.negatives
    for step in descent.steps:
        tied = step.alarms - step.alarms_above
        # Through a tie the curve rises along a diagonal, which the limit may cut.
        part = np.clip(limit - step.alarms_above, 0, tied)
        gained += step.drawn * (np.maximum(limit - step.alarms, 0) + part**2 / (2 * np.maximum(tied, 1)))
    area = divide(gained.sum(axis=0), descent.positives * descent.negatives)
    if maximum == 1:
        return area
    least = maximum**2 / 2
    return np.asarray((1 + (area - least) / (maximum - least)) / 2)


def _measure_sensitivity(descent: _Descent, specificity: float) -> FloatArray:
    """Find the most positives that a threshold with this specificity reaches."""
    best: Any = 0.0
    for step in descent.steps:
        specificities = divide(descent.negatives - step.alarms, descent.negatives)
        best = np.maximum(best, np.where(specificities >= specificity, step.above + step.drawn, 0))
    return divide(best.max(axis=0), descent.positives)


def _measure_specificity(descent: _Descent, sensitivity: float) -> FloatArray:
    """Find the fewest negatives that a threshold with this sensitivity reaches."""
    fewest: Any = np.inf
    for step in descent.steps:
        sensitivities = divide(step.above + step.drawn, descent.positives)
        fewest = np.minimum(fewest, np.where(sensitivities >= sensitivity, step.alarms, np.inf))
    return divide(descent.negatives - fewest.min(axis=0), descent.negatives)


def _count_runs(steps: int) -> int:
    """Say into how many runs the steps are split."""
    return -(-steps // _RUN)


def _sum_units(steps: NDArray[np.intp], units: NDArray[np.int64], runs: int, unit_count: int) -> csr_array:
    """Make the matrix that sums rows by step, (steps, units); a run's steps lie `runs` apart."""
    place = steps % _RUN * runs + steps // _RUN
    ones = np.ones(len(steps), dtype=np.float32)
    return csr_array((ones, (place, units)), shape=(_RUN * runs, unit_count))


def _fold(sums: csr_array, counts: NDArray[Any], runs: int) -> NDArray[Any]:
    """Sum the counts by step, (steps of a run, runs, m)."""
    return np.asarray(sums @ counts).reshape(_RUN, runs, counts.shape[1])


def _start_runs(added: NDArray[Any]) -> FloatArray:
    """Give what all earlier runs add up to at the start of each, (runs, m)."""
    totals = added.sum(axis=0, dtype=np.float64)
    return np.asarray(np.cumsum(totals, axis=0) - totals)
