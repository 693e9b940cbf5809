"""Metrics that are made of sums over rows, from counts: calls right and wrong, losses, bins of scores.

What a row adds is summed over its unit once; a resample's sums are then one sparse product with the counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from medzoo.evaluation.calibration.bins import BINS, find_bins, find_edges, select_pairs
from medzoo.evaluation.calibration.metrics import list_top
from medzoo.evaluation.metrics.calls import call_columns, list_decisions, list_positive_columns
from medzoo.evaluation.predictions import FloatArray, Predictions
from medzoo.evaluation.uncertainty.counted_ranks import Counted, average, divide

#: Tables of counts, (tables, true, called, m) → the metric of each of the m resamples (m,).
Finish = Callable[[FloatArray], FloatArray]


def prepare_decisions(
    finish: Finish, rows: Predictions, of_rows: NDArray[np.int64], thresholds: Sequence[float] | None = None
) -> Counted:
    """Count true and called classes: one table of exclusive classes, or one of two sides for each label."""
    known = ~np.isnan(rows.labels)
    tables = [
        (of_rows[known[:, index]], true, guess)
        for index, (true, guess) in enumerate(list_decisions(rows, thresholds))
    ]
    codes = len(rows.classes) if rows.exclusive else 2
    return _prepare_tables(finish, tables, codes, of_rows, thresholds)


def prepare_calls(
    finish: Finish, rows: Predictions, of_rows: NDArray[np.int64], thresholds: Sequence[float] | None = None
) -> Counted:
    """Count the sides and calls of each positive column: a table of two sides for each."""
    called = call_columns(rows, thresholds)
    tables = []
    for place, index in enumerate(list_positive_columns(rows)):
        known = np.flatnonzero(~np.isnan(rows.labels[:, index]))
        true = rows.labels[known, index].astype(np.int64)
        tables.append((of_rows[known], true, called[known, place].astype(np.int64)))
    return _prepare_tables(finish, tables, 2, of_rows, thresholds)


def prepare_top(rows: Predictions, of_rows: NDArray[np.int64], count: int = 3) -> Counted:
    """Average over rows whether their class is among the highest scores, the first of equals first."""
    if not rows.exclusive or count >= len(rows.classes):
        return lambda counts: np.full(counts.shape[1], np.nan)

    def find_hits(rows: Predictions) -> FloatArray:
        """Tell which rows' class is among the highest scores, (n, 1)."""
        true = np.nan_to_num(rows.labels).argmax(axis=1)[:, np.newaxis]
        # A stable sort keeps the order of equal scores.
        order = np.argsort(-rows.scores, axis=1, kind="stable")[:, :count]
        hits = (order == true).any(axis=1, keepdims=True).astype(np.float64)
        return np.where(np.isnan(rows.labels[:, :1]), np.nan, hits)

    return prepare_losses(find_hits, rows, of_rows)


def prepare_losses(
    measure: Callable[[Predictions], FloatArray], rows: Predictions, of_rows: NDArray[np.int64]
) -> Counted:
    """Average losses (n, m), NaN where not annotated, over rows, then over columns."""
    losses = measure(rows)
    known = ~np.isnan(losses)
    width = losses.shape[1]
    row, column = np.nonzero(known)
    sums = _sum_units(column, of_rows[row], losses[known], width, of_rows)
    counted = _sum_units(column, of_rows[row], np.ones(row.size), width, of_rows)
    return lambda counts: average(divide(sums @ counts, counted @ counts))


def prepare_gaps(
    rows: Predictions,
    of_rows: NDArray[np.int64],
    bins: int = BINS,
    by_class: bool = False,
    worst: bool = False,
) -> Counted:
    """Sum the gaps of bins of equal width, whose edges no resample moves; or find the worst one."""
    columns: Sequence[int | None] = range(len(rows.classes)) if by_class else list_top(rows)
    places, units, gaps = [], [], []
    for index, column in enumerate(columns):
        scores, came_true, chosen = select_pairs(rows, column)
        places.append(index * bins + find_bins(scores, find_edges(scores, bins, "width")))
        units.append(of_rows[chosen])
        gaps.append(came_true - scores)
    place, unit = np.concatenate(places), np.concatenate(units)
    size = len(columns) * bins
    sums = _sum_units(place, unit, np.concatenate(gaps), size, of_rows)
    counted = _sum_units(place, unit, np.ones(place.size), size, of_rows)

    def gap(counts: NDArray[Any]) -> FloatArray:
        shape = (len(columns), bins, counts.shape[1])
        gaps, rows_of_bins = np.abs(sums @ counts).reshape(shape), np.asarray(counted @ counts).reshape(shape)
        totals = rows_of_bins.sum(axis=1)
        if worst:
            greatest = np.where(rows_of_bins > 0, divide(gaps, rows_of_bins), 0).max(axis=1)
            return average(np.where(totals > 0, greatest, np.nan))
        return average(divide(gaps.sum(axis=1), totals))

    return gap


def finish_accuracy(tables: FloatArray) -> FloatArray:
    """Average the shares of right calls; tables (tables, true, called, m)."""
    return average(divide(np.trace(tables, axis1=1, axis2=2), tables.sum(axis=(1, 2))))


def finish_balanced_accuracy(tables: FloatArray) -> FloatArray:
    """Average the classes' shares of right calls, then the tables."""
    right = np.diagonal(tables, axis1=1, axis2=2)  # (tables, m, classes)
    return average(np.mean(divide(right, np.moveaxis(tables.sum(axis=2), 1, 2)), axis=2))


def finish_kappa(tables: FloatArray, power: int) -> FloatArray:
    """Average Cohen's κ with weights |i − j| to a power; undefined where all rows are of one class."""
    codes = np.arange(tables.shape[1])
    weights = np.abs(codes[:, np.newaxis] - codes).astype(np.float64) ** power
    true, called, total = tables.sum(axis=2), tables.sum(axis=1), tables.sum(axis=(1, 2))
    seen = np.einsum("ij,tijm->tm", weights, tables)
    expected = divide(np.einsum("ij,tim,tjm->tm", weights, true, called), total)
    return _average_mixed(1 - divide(seen, expected), true, total)


def finish_mcc(tables: FloatArray) -> FloatArray:
    """Average Matthews' correlation; 0 where every row is called the same, undefined where all are of one class."""
    true, called, total = tables.sum(axis=2), tables.sum(axis=1), tables.sum(axis=(1, 2))
    covariance = np.trace(tables, axis1=1, axis2=2) * total - (true * called).sum(axis=1)
    spread = np.sqrt(total**2 - (true**2).sum(axis=1)) * np.sqrt(total**2 - (called**2).sum(axis=1))
    return _average_mixed(np.where(spread > 0, divide(covariance, spread), 0.0), true, total)


def finish_f1(tables: FloatArray) -> FloatArray:
    """Average F1; undefined where a column has no positive or no negative."""
    twice = 2 * tables[:, 1, 1]
    values = divide(twice, twice + tables[:, 0, 1] + tables[:, 1, 0])
    return _average_mixed(values, tables.sum(axis=2), tables.sum(axis=(1, 2)))


def finish_sensitivity(tables: FloatArray) -> FloatArray:
    """Average the shares of positives that are called."""
    return average(divide(tables[:, 1, 1], tables[:, 1].sum(axis=1)))


def finish_specificity(tables: FloatArray) -> FloatArray:
    """Average the shares of negatives that are not called."""
    return average(divide(tables[:, 0, 0], tables[:, 0].sum(axis=1)))


def finish_precision(tables: FloatArray) -> FloatArray:
    """Average the shares of calls that are right."""
    return average(divide(tables[:, 1, 1], tables[:, :, 1].sum(axis=1)))


def finish_npv(tables: FloatArray) -> FloatArray:
    """Average the shares of rows not called that are negative."""
    return average(divide(tables[:, 0, 0], tables[:, :, 0].sum(axis=1)))


def _prepare_tables(
    finish: Finish,
    tables: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]],
    codes: int,
    of_rows: NDArray[np.int64],
    thresholds: Sequence[float] | None,
) -> Counted:
    """Sum rows, given as (units, true, called) of each table, into the cells of their table."""
    if thresholds is not None and np.isnan(thresholds).any():
        return lambda counts: np.full(counts.shape[1], np.nan)
    cells = [(index * codes + true) * codes + called for index, (_, true, called) in enumerate(tables)]
    units = np.concatenate([part for part, _, _ in tables])
    cell = np.concatenate(cells)
    sums = _sum_units(cell, units, np.ones(cell.size), len(tables) * codes**2, of_rows)
    shape = (len(tables), codes, codes)
    return lambda counts: finish(np.asarray(sums @ counts, dtype=np.float64).reshape(*shape, counts.shape[1]))


def _sum_units(
    cells: NDArray[np.int64],
    units: NDArray[np.int64],
    values: FloatArray,
    size: int,
    of_rows: NDArray[np.int64],
) -> csr_array:
    """Make the matrix that sums values by cell, (cells, units)."""
    return csr_array((values, (cells, units)), shape=(size, int(of_rows.max(initial=-1)) + 1))


def _average_mixed(values: FloatArray, true: FloatArray, total: FloatArray) -> FloatArray:
    """Average the tables' values (tables, m), undefined where one has rows of a single class."""
    return average(np.where((true == total[:, np.newaxis]).any(axis=1), np.nan, values))
