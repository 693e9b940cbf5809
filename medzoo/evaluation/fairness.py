"""Whether decisions and probabilities mean the same in every group: equalised odds, and calibration in the large."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import ConfigError, DataError, nearest
from medzoo.evaluation.gaps import (
    Bands,
    Gap,
    Measure,
    describe_gaps,
    list_sides,
    measure_groups,
    none_for_nan,
    sort_groups,
)
from medzoo.evaluation.grouping import IndexArray
from medzoo.evaluation.metrics.calls import list_positive_columns
from medzoo.evaluation.metrics.thresholds import OperatingPoints
from medzoo.evaluation.predictions import FloatArray, Predictions
from medzoo.evaluation.score import Counts, Score
from medzoo.evaluation.subgroups import SMALLEST, Subgroups, join_subgroups
from medzoo.evaluation.uncertainty.counted import Counted
from medzoo.evaluation.uncertainty.resampling import Resampling


@dataclass(frozen=True)
class EqualisedOdds:
    """True- and false-positive rates per group at one threshold, and the largest difference of either between groups.

    `gaps` holds the gap of each column or crossing, `gap` the largest of them. `p` is of the hypothesis that all groups
    have the same two rates, `chance` the gap to expect then. `decided_by` names the rate that the gap is in.
    """

    label: str
    threshold: float
    rule: str
    true_positive_rates: Mapping[str, Score]
    false_positive_rates: Mapping[str, Score]
    gap: Score
    p: float
    chance: float
    gaps: Mapping[str, Gap]
    decided_by: Literal["true-positive", "false-positive"] | None
    too_small: Mapping[str, Counts]
    not_known: Mapping[str, Counts]
    unplaced: Counts | None
    smallest: int

    @property
    def title(self) -> str:
        """The columns and crossings."""
        return ", ".join(self.gaps)

    def describe(self) -> dict[str, Any]:
        """Give everything as plain JSON, None where a number is undefined."""
        rates = {
            "true_positive_rate": self.true_positive_rates,
            "false_positive_rate": self.false_positive_rates,
        }
        return {
            "by": list(self.gaps),
            "label": self.label,
            "threshold": none_for_nan(self.threshold),
            "rule": self.rule,
            "groups": {
                name: {rate: scores[name].describe() for rate, scores in rates.items()}
                for name in self.true_positive_rates
            },
            "gap": Gap(self.gap, self.p, self.chance).describe(),
            "gaps": describe_gaps(self.gaps, self.not_known),
            "decided_by": self.decided_by,
            "smallest": self.smallest,
            "too_small": {name: counts.describe() for name, counts in self.too_small.items()},
            "not_known": None if self.unplaced is None else self.unplaced.describe(),
        }


def measure_equalised_odds(
    rows: Predictions,
    columns: Sequence[str],
    points: OperatingPoints,
    resampling: Resampling,
    *,
    label: str | None = None,
    smallest: int = SMALLEST,
    bands: Bands | None = None,
) -> EqualisedOdds:
    """Measure the equalised-odds gap: the largest difference between groups in true- or in false-positive rates.

    The threshold is that of `points`, which were chosen on validation images, so that no group's own test images set
    it. `label` is needed where there are several. A group of fewer than `LEAST_OF_A_CLASS` patients with positives, or
    with negatives, has no part in the gap. 0 is what equalised odds asks for: Hardt, Price & Srebro, NeurIPS
    (2016), definition 2.1.

    Raises:
        ConfigError: no such label, or none given of several.
        DataError: no such group column, or points of other classes.
    """
    names = tuple(rows.classes[place] for place in list_positive_columns(rows))
    if points.classes != names:
        raise DataError(
            f"thresholds for {', '.join(points.classes)}, predictions of {', '.join(names)}",
            "the same classes in the same order",
            "thresholds chosen on the validation images of these predictions",
        )
    name, column = find_label(rows, label)
    threshold = points.thresholds[names.index(name)]
    known = _take_annotated(rows, column)
    groups = sort_groups(known, columns, bands, smallest)
    measures = [_measure_rate(column, threshold, side) for side in (1, 0)]
    measured = measure_groups(known, groups, measures, resampling)
    return EqualisedOdds(
        label=name,
        threshold=threshold,
        rule=points.rule,
        true_positive_rates=measured.scores[0],
        false_positive_rates=measured.scores[1],
        gap=measured.gap.score,
        p=measured.gap.p,
        chance=measured.gap.chance,
        gaps=measured.gaps,
        decided_by=None if measured.widest is None else ("true-positive", "false-positive")[measured.widest],
        too_small=groups.too_small,
        not_known=groups.not_known,
        unplaced=groups.unplaced,
        smallest=smallest,
    )


def measure_calibration_gap(
    rows: Predictions,
    columns: Sequence[str],
    resampling: Resampling,
    *,
    label: str | None = None,
    smallest: int = SMALLEST,
    bands: Bands | None = None,
) -> Subgroups:
    """Measure the calibration gap: the largest difference between groups of mean score − share of positives.

    That is calibration in the large: above 0 a group's risk is overstated, below 0 understated. Unlike a calibration
    error over bins it has no bias that grows as a group shrinks, so groups of different sizes may be compared. The
    worst group is the one furthest from 0. A group of fewer than `LEAST_OF_A_CLASS` patients with positives, or with
    negatives, has no part in the gap. `label` is needed where there are several.

    Raises:
        ConfigError: no such label, or none given of several.
        DataError: no such group column.

    >>> true, said = np.array([0, 1] * 40), np.repeat([0.5, 0.75], 40)
    >>> rows = Predictions(np.arange(80).astype(str), np.eye(2)[true], np.stack([1 - said, said], axis=1),
    ...                    ("no", "yes"), np.array(["test"] * 80), groups={"sex": np.repeat(["F", "M"], 40)})
    >>> found = measure_calibration_gap(rows, ["sex"], Resampling(replicates=200))
    >>> found.gap.value, found.worst
    (0.25, 'sex=M')
    """
    _, column = find_label(rows, label)
    known = _take_annotated(rows, column)
    groups = sort_groups(known, columns, bands, smallest)
    measured = measure_groups(known, groups, [_measure_excess(column)], resampling)
    merits = {name: -abs(score.value) for name, score in measured.scores[0].items()}
    return join_subgroups("mean score − share of positives", groups, measured, merits, smallest)


def find_label(rows: Predictions, label: str | None) -> tuple[str, int]:
    """Give the name and column of a class or label; of two classes and of a single label, the positive one is meant.

    Raises:
        ConfigError: no such label, or none given where there are several.
    """
    names = {rows.classes[column]: column for column in list_positive_columns(rows)}
    if label is None and len(names) == 1:
        label = next(iter(names))
    if label is None:
        raise ConfigError(f"no label of {len(names)}", nearest("", names), f"{next(iter(names))!r}")
    if label not in rows.classes:
        raise ConfigError(f"there is no label {label!r}", nearest(label, names))
    if label not in names:
        raise ConfigError(f"{label!r} is the negative class", nearest(label, names))
    return label, names[label]


def _take_annotated(rows: Predictions, column: int) -> Predictions:
    """Give the rows that are annotated for one column."""
    return rows.take(np.flatnonzero(~np.isnan(rows.labels[:, column])))


def _measure_rate(column: int, threshold: float, side: int) -> Measure:
    """Measure the share of the rows whose label is `side` that are called positive."""

    def split(part: Predictions) -> tuple[FloatArray, FloatArray]:
        members = part.labels[:, column] == side
        called = members & (part.scores[:, column] >= threshold)
        return called.astype(np.float64), members.astype(np.float64)

    def explain(part: Predictions) -> str | None:
        if math.isnan(threshold):
            return "no threshold"
        lacking = not split(part)[1].any()
        return f"no {'positive' if side else 'negative'} row" if lacking else None

    def value(part: Predictions) -> float:
        return math.nan if explain(part) else _divide(*(float(array.sum()) for array in split(part)))

    return Measure(
        value,
        lambda part, units: _prepare_ratio(*split(part), units),
        explain,
        lambda part: list_sides(part, [column], [side]),
    )


def _measure_excess(column: int) -> Measure:
    """Measure the mean of score − label."""

    def split(part: Predictions) -> tuple[FloatArray, FloatArray]:
        return part.scores[:, column] - part.labels[:, column], np.ones(len(part))

    def value(part: Predictions) -> float:
        return _divide(*(float(array.sum()) for array in split(part)))

    return Measure(
        value,
        lambda part, units: _prepare_ratio(*split(part), units),
        lambda _: "no rows",
        lambda part: list_sides(part, [column]),
    )


def _divide(above: float, below: float) -> float:
    """Divide, NaN by zero."""
    return above / below if below else math.nan


def _prepare_ratio(above: FloatArray, below: FloatArray, units: IndexArray) -> Counted:
    """Give a function of counts (units, R) to Σ count·above / Σ count·below over rows, NaN where the latter is 0."""
    both = np.stack([np.bincount(units, weights=column) for column in (above, below)])

    def ratio(counts: NDArray[Any]) -> FloatArray:
        """Divide the weighted sums."""
        sums = both @ counts.astype(np.float64)
        ratios: FloatArray = np.divide(
            sums[0], sums[1], out=np.full(sums.shape[1], np.nan), where=sums[1] > 0
        )
        return ratios

    return ratio
