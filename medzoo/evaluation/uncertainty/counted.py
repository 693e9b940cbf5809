"""The metrics on resampled rows, computed from how often each row, or its patient, was drawn.

A bootstrap asks for a metric a thousand times on the same rows with other counts. Sorting scores and
checking arrays once, and then only counting, many resamples at a time, makes that a hundred times faster than
building each resample; the values are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.evaluation.calibration.metrics import (
    brier,
    brier_losses,
    ece,
    ece_classwise,
    mce,
    nll,
    nll_losses,
)
from medzoo.evaluation.metrics.calls import Metric
from medzoo.evaluation.metrics.discrimination import auroc
from medzoo.evaluation.metrics.ranking import (
    auroc_micro,
    partial_auroc,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
    top,
)
from medzoo.evaluation.metrics.selection import auprc, average_precision
from medzoo.evaluation.metrics.thresholds import DECISIONS, AtThresholds
from medzoo.evaluation.predictions import FloatArray, Predictions
from medzoo.evaluation.uncertainty import counted_sums as sums
from medzoo.evaluation.uncertainty.by_class import OfClass, take_class
from medzoo.evaluation.uncertainty.counted_ranks import (
    Counted,
    prepare_auprc,
    prepare_auroc,
    prepare_auroc_micro,
    prepare_average_precision,
    prepare_partial_auroc,
    prepare_sensitivity_at,
    prepare_specificity_at,
)

__all__ = ["Counted", "prepare_counted"]

#: Metric → what makes its counted form of (rows, the unit of each row, the keywords of a `partial`).
_FORMS: Mapping[Any, Callable[..., Counted]] = MappingProxyType(
    {
        auroc: prepare_auroc,
        auroc_micro: prepare_auroc_micro,
        auprc: prepare_auprc,
        average_precision: prepare_average_precision,
        partial_auroc: prepare_partial_auroc,
        sensitivity_at_specificity: prepare_sensitivity_at,
        specificity_at_sensitivity: prepare_specificity_at,
        top: sums.prepare_top,
        brier: partial(sums.prepare_losses, brier_losses),
        nll: partial(sums.prepare_losses, nll_losses),
        ece: sums.prepare_gaps,
        ece_classwise: partial(sums.prepare_gaps, by_class=True),
        mce: partial(sums.prepare_gaps, worst=True),
    }
)

#: Metric of decisions by its name → what makes its counted form of (rows, units, thresholds).
_DECISION_FORMS: Mapping[str, Callable[..., Counted]] = MappingProxyType(
    {
        "accuracy": partial(sums.prepare_decisions, sums.finish_accuracy),
        "balanced_accuracy": partial(sums.prepare_decisions, sums.finish_balanced_accuracy),
        "macro_recall": partial(sums.prepare_decisions, sums.finish_balanced_accuracy),
        "kappa": partial(sums.prepare_decisions, partial(sums.finish_kappa, power=2)),
        "kappa_linear": partial(sums.prepare_decisions, partial(sums.finish_kappa, power=1)),
        "mcc": partial(sums.prepare_decisions, sums.finish_mcc),
        "f1": partial(sums.prepare_calls, sums.finish_f1),
        "sensitivity": partial(sums.prepare_calls, sums.finish_sensitivity),
        "specificity": partial(sums.prepare_calls, sums.finish_specificity),
        "precision": partial(sums.prepare_calls, sums.finish_precision),
        "npv": partial(sums.prepare_calls, sums.finish_npv),
    }
)


def prepare_counted(metric: Metric, rows: Predictions, units: NDArray[np.int64] | None = None) -> Counted:
    """Give a function from counts (units, m) to the metric of m resamples, (m,); any metric will do.

    A resample repeats each row as often as its unit counts: that of `units` (n,), numbered from 0, or else the row
    itself. Counts are whole numbers of any type; float32 and float64 are not copied. The metrics of the registry
    are counted, but for `ece_equal_mass`, whose bins move; every other function of Predictions is given the
    repeated rows.

    >>> from medzoo.evaluation.metrics.discrimination import accuracy
    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), np.array([[0.6, 0.4], [0.7, 0.3]]), ("no", "yes"),
    ...                    np.array(["test", "test"]))
    >>> prepare_counted(accuracy, rows)(np.array([[3, 1], [1, 1]])).tolist()
    [0.75, 0.5]
    """
    of_rows = np.arange(len(rows)) if units is None else units
    if isinstance(metric, OfClass):
        return prepare_counted(metric.metric, take_class(rows, metric.index), of_rows)
    if isinstance(metric, AtThresholds):
        return _DECISION_FORMS[metric.name](rows, of_rows, metric.list_thresholds(rows))
    for name, decision in DECISIONS.items():
        if metric is decision:
            return _DECISION_FORMS[name](rows, of_rows)
    base: Any = metric
    options: dict[str, Any] = {}
    if isinstance(metric, partial) and not metric.args:
        base, options = metric.func, metric.keywords
    if isinstance(base, Hashable) and base in _FORMS:
        return _FORMS[base](rows, of_rows, **options)
    return _repeat_rows(metric, rows, of_rows)


def _repeat_rows(metric: Metric, rows: Predictions, of_rows: NDArray[np.int64]) -> Counted:
    """Give each resample's rows to the metric."""
    every = np.arange(len(rows))

    def measure(counts: NDArray[Any]) -> FloatArray:
        whole = counts.astype(np.int64)
        return np.array([metric(rows.take(np.repeat(every, drawn[of_rows]))) for drawn in whole.T])

    return measure
