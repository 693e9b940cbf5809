"""What each metric needs of the rows that it is computed on, and what to say of rows that lack it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import ConfigError, nearest
from medzoo.evaluation.metrics.calls import call_columns, list_positive_columns
from medzoo.evaluation.metrics.naming import PARAMETERS, read_name
from medzoo.evaluation.predictions import Predictions

#: Rows must hold, for each label where there are several:
#: any: anything annotated. two: two classes at least. every: a row of every class, positives and negatives of a label.
#: positive, negative: a row that is, or is not, of each positive class or label. pooled: one of either kind anywhere.
#: called, cleared: a row that the scores call positive, or negative. top: exclusive classes, more than are looked at.
Needs = Literal["any", "two", "every", "positive", "negative", "pooled", "called", "cleared", "top"]

#: The one place that says what a metric needs; the registry and the metrics themselves read it.
NEEDS: Mapping[str, Needs] = MappingProxyType(
    {
        "auroc": "every",
        "auroc_micro": "pooled",
        "auprc": "every",
        "average_precision": "every",
        "partial_auroc": "every",
        "sensitivity@specificity": "every",
        "specificity@sensitivity": "every",
        "top": "top",
        "accuracy": "any",
        "balanced_accuracy": "every",
        "macro_recall": "every",
        "f1": "every",
        "kappa": "two",
        "kappa_linear": "two",
        "mcc": "two",
        "sensitivity": "positive",
        "specificity": "negative",
        "precision": "called",
        "npv": "cleared",
        "ece": "any",
        "ece_equal_mass": "any",
        "ece_classwise": "any",
        "mce": "any",
        "brier": "any",
        "nll": "any",
    }
)


def explain_undefined(
    metric_name: str, predictions: Predictions, thresholds: Sequence[float] | None = None
) -> str | None:
    """Say why a metric is undefined on these rows, naming the classes; None where it is defined.

    `thresholds`, one per positive column, are those that a metric of decisions is given.
    Raises ConfigError for a name that is not in NEEDS, a number in it that does not fit, or another number of
    thresholds.

    >>> one = Predictions(np.array(["a"]), np.array([[1.0, 0.0]]), np.array([[0.9, 0.1]]), ("no", "yes"),
    ...                   np.array(["test"]))
    >>> explain_undefined("auroc", one)
    "no row of class 'yes'"
    >>> explain_undefined("accuracy", one) is None
    True
    """
    base, number = read_name(metric_name)
    if base not in NEEDS:
        raise ConfigError(f"there is no metric {metric_name!r}", nearest(metric_name, NEEDS))
    annotated = ~np.isnan(predictions.labels)
    if not annotated.any():
        return "no annotated rows"
    if thresholds is not None and np.isnan(thresholds).any():
        return _name_columns("no threshold for", np.isnan(thresholds), predictions)
    needs = NEEDS[base]
    if needs == "top":
        return _explain_top(predictions, int(number or PARAMETERS["top"].default))
    if needs in ("called", "cleared"):
        reached = call_columns(predictions, thresholds)
        sides = annotated[:, list_positive_columns(predictions)] & (reached == (needs == "called"))
        what = "no row is called" if needs == "called" else "every row is called"
        return _name_columns(what, ~sides.any(axis=0), predictions)
    if predictions.exclusive:
        return _explain_classes(needs, predictions)
    return _explain_labels(needs, predictions)


def _explain_top(predictions: Predictions, count: int) -> str | None:
    """Say why the highest scores tell nothing: labels that exclude nothing, or no class that is left out."""
    if not predictions.exclusive:
        return "independent labels have no highest class"
    if count >= len(predictions.classes):
        return f"the top {count} of {len(predictions.classes)} classes are always right"
    return None


def _explain_classes(needs: Needs, predictions: Predictions) -> str | None:
    """Say which exclusive classes the annotated rows lack for a need."""
    rows = (predictions.labels == 1).sum(axis=0)
    chosen = np.isin(np.arange(len(rows)), list_positive_columns(predictions))
    absent, alone = rows == 0, rows == rows.sum()
    lacking: Mapping[str, tuple[NDArray[np.bool_], str]] = {
        "two": (alone, "no row but of class"),
        "every": (absent, "no row of class"),
        "positive": (absent & chosen, "no row of class"),
        "negative": (alone & chosen, "no row but of class"),
    }
    if (
        needs == "pooled" and len(rows) == 2
    ):  # of more classes, each row is a positive of one, a negative of others
        needs = "every"
    if needs not in lacking:
        return None
    columns, what = lacking[needs]
    return f"{what} {_list_names(predictions.classes, columns)}" if columns.any() else None


def _explain_labels(needs: Needs, predictions: Predictions) -> str | None:
    """Say which independent labels lack annotated rows for a need."""
    positives, negatives = (predictions.labels == 1).sum(axis=0), (predictions.labels == 0).sum(axis=0)
    if needs == "pooled":
        sides = (("positive", positives), ("negative", negatives))
        return "; ".join(f"no {side} row of any label" for side, rows in sides if not rows.any()) or None
    if needs == "any":
        lacks = [(positives + negatives == 0, "no annotated row of label")]
    else:
        lacks = [(positives == 0, "no positive row of label"), (negatives == 0, "no negative row of label")]
        lacks = {"positive": lacks[:1], "negative": lacks[1:]}.get(needs, lacks)
    reasons = [f"{what} {_list_names(predictions.classes, absent)}" for absent, what in lacks if absent.any()]
    return "; ".join(reasons) or None


def _name_columns(what: str, chosen: NDArray[np.bool_], predictions: Predictions) -> str | None:
    """Say something of the chosen positive columns; None where there is none."""
    if not chosen.any():
        return None
    names = tuple(predictions.classes[column] for column in list_positive_columns(predictions))
    return f"{what} {_list_names(names, chosen)}"


def _list_names(classes: tuple[str, ...], chosen: NDArray[np.bool_]) -> str:
    """List the chosen classes, the first three by name."""
    names = [repr(name) for name, taken in zip(classes, chosen, strict=True) if taken]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
