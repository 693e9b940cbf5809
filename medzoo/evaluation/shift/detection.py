"""How well a score tells other images from those like the training's: AUROC and FPR95, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import DataError
from medzoo.evaluation.predictions import FloatArray
from medzoo.evaluation.score import Counts, Score
from medzoo.evaluation.shift.scoring import join_units, make_score, make_undefined
from medzoo.evaluation.uncertainty.bootstrap import refuse_units, resample
from medzoo.evaluation.uncertainty.draws import Units
from medzoo.evaluation.uncertainty.resampling import Resampling

#: The part of in-distribution images that a threshold keeps: 19 of 20, exact in whole numbers.
KEPT = (19, 20)


@dataclass(frozen=True)
class Detection:
    """How well a score tells out-of-distribution images from in-distribution ones.

    `auroc` is the chance that one out of the distribution scores above one in it, ties half.  `fpr95` is the share
    of images out of the distribution that are taken for in it, at the lowest threshold that keeps 95 % of those in
    it.  Positives are the images out of the distribution.
    """

    auroc: Score
    fpr95: Score

    def describe(self) -> dict[str, Any]:
        """Give both as entries for JSON."""
        return {"auroc": self.auroc.describe(), "fpr95": self.fpr95.describe()}


def detection_scores(
    inside: FloatArray,
    outside: FloatArray,
    resampling: Resampling | None = None,
    *,
    inside_patients: NDArray[np.int64] | None = None,
    outside_patients: NDArray[np.int64] | None = None,
) -> Detection:
    """Measure a score (n,) of images in and (m,) out of the distribution, the higher the stranger.

    Images in and out are drawn each by themselves; whole patients, where their numbers (n,), (m,) are given.

    Raises:
        DataError: a score is NaN or infinite.

    >>> found = detection_scores(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.35, 0.8, 0.9]))
    >>> round(found.auroc.value, 3), round(found.fpr95.value, 3)
    (0.917, 0.333)
    """
    resampling = resampling or Resampling()
    if not (np.isfinite(inside).all() and np.isfinite(outside).all()):
        raise DataError("scores of strangeness hold NaN or infinity", "finite numbers")
    patients = None
    if inside_patients is not None and outside_patients is not None:
        patients = len(np.unique(inside_patients)) + len(np.unique(outside_patients))
    counts = Counts(len(inside) + len(outside), patients, positives=len(outside), negatives=len(inside))
    if not len(inside) or not len(outside):
        side = "out of" if len(inside) else "in"
        nothing = make_undefined(counts, f"no images {side} the distribution")
        return Detection(nothing, nothing)
    sides = _find_units(len(inside), inside_patients), _find_units(len(outside), outside_patients)
    units = join_units(*sides)
    ranked = _Ranked(inside, outside, units.of_rows)
    forms = (ranked.measure_auroc, ranked.measure_fpr95)
    values = [float(form(np.ones((units.count, 1)))[0]) for form in forms]
    for refusal in map(refuse_units, sides):
        if refusal is not None:
            return Detection(*(Score(value, math.nan, math.nan, counts, refusal.reason) for value in values))
    drawn = resample(forms, units, resampling)
    return Detection(
        *(
            make_score(value, replicates, form, units, counts, resampling)
            for value, replicates, form in zip(values, drawn, forms, strict=True)
        )
    )


def _find_units(count: int, patients: NDArray[np.int64] | None) -> Units:
    """Say what is drawn of one side: rows, or whole patients."""
    numbers = np.arange(count) if patients is None else np.unique(patients, return_inverse=True)[1]
    noun = "row" if patients is None else "patient"
    return Units(numbers.astype(np.int64), (np.arange(int(numbers.max()) + 1),), noun)


class _Ranked:
    """Scores in and out of the distribution, sorted once, to be measured under any counts of their units."""

    def __init__(self, inside: FloatArray, outside: FloatArray, of_rows: NDArray[np.int64]) -> None:
        values = np.concatenate([inside, outside])
        order = np.argsort(values, kind="stable")
        self._units = of_rows[order]
        self._is_inside = (order < len(inside))[:, None]
        ordered = values[order]
        # Where each level of equal scores begins.
        self._levels = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))

    def measure_auroc(self, counts: NDArray[Any]) -> FloatArray:
        """Give the AUROC of resamples (r,), from counts of units (units, r)."""
        stays, strays = self._count(counts)
        kept = np.cumsum(stays, axis=0)
        pairs = 2 * kept[-1] * strays.sum(axis=0)
        area: FloatArray = (strays * (2 * kept - stays)).sum(axis=0) / pairs
        return area

    def measure_fpr95(self, counts: NDArray[Any]) -> FloatArray:
        """Give the share let in by resamples (r,), from counts of units (units, r)."""
        stays, strays = self._count(counts)
        kept, let_in = np.cumsum(stays, axis=0), np.cumsum(strays, axis=0)
        first = (KEPT[1] * kept >= KEPT[0] * kept[-1]).argmax(axis=0)
        share: FloatArray = np.take_along_axis(let_in, first[None], axis=0)[0] / let_in[-1]
        return share

    def _count(self, counts: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
        """Count the rows drawn at each level of scores, in and out of the distribution: (levels, r) twice."""
        drawn = counts.astype(np.float64)[self._units]  # exact for whole numbers up to 2⁵³
        every = np.add.reduceat(drawn, self._levels, axis=0)
        stays = np.add.reduceat(drawn * self._is_inside, self._levels, axis=0)
        return stays, every - stays
