"""Scores of two tables that are drawn each by itself, and of what is computed from several tables of the same rows."""

from __future__ import annotations

import math

import numpy as np

from medzoo.evaluation.predictions import FloatArray
from medzoo.evaluation.score import Counts, Score
from medzoo.evaluation.uncertainty.bootstrap import enclose, refuse_units
from medzoo.evaluation.uncertainty.counted import Counted
from medzoo.evaluation.uncertainty.draws import Units
from medzoo.evaluation.uncertainty.resampling import Resampling


def join_units(first: Units, second: Units) -> Units:
    """Join what is drawn of two tables, rows of the first and then of the second: each in strata of its own.

    The draws of the first are those that it has by itself; the second's are independent of them.

    >>> rows = Units(np.arange(2), (np.arange(2),), "row")
    >>> joined = join_units(rows, rows)
    >>> joined.of_rows.tolist(), [stratum.tolist() for stratum in joined.strata]
    ([0, 1, 2, 3], [[0, 1], [2, 3]])
    """
    shifted = tuple(first.count + stratum for stratum in second.strata)
    noun = first.noun if first.noun == second.noun else "row"
    return Units(np.concatenate([first.of_rows, first.count + second.of_rows]), first.strata + shifted, noun)


def make_score(
    value: float, values: FloatArray, counted: Counted, units: Units, counts: Counts, resampling: Resampling
) -> Score:
    """Make a score of a value and its resamples' values (R,), with the interval of `bootstrap` or why there is none."""
    refusal = refuse_units(units)
    interval = enclose(values, counted, units, resampling) if refusal is None else refusal
    return Score(value, interval.low, interval.high, counts, interval.reason)


def make_undefined(counts: Counts, reason: str) -> Score:
    """Make the score of what is undefined for a reason.

    >>> make_undefined(Counts(0), "no annotated rows").describe()["value"] is None
    True
    """
    return Score(math.nan, math.nan, math.nan, counts, reason)
