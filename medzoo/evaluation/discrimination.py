"""How well scores tell classes apart: metrics are functions from Predictions to a float.

scikit-learn does the arithmetic. Rows that nobody annotated are left out. A metric that the rows do not
define is NaN, never a number that looks like a result; `explain_undefined` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from medzoo.errors import ConfigError, DataError, nearest
from medzoo.evaluation.predictions import Predictions

Metric = Callable[[Predictions], float]

#: The score from which an independent label counts as predicted.
THRESHOLD = 0.5


def auroc(predictions: Predictions) -> float:
    """Give the area under the ROC curve: the chance that a positive scores above a negative, ties half.

    Two exclusive classes: the last one is positive. More: the unweighted mean of each class versus the rest
    (scikit-learn's macro average). Labels: the mean over labels, each on the rows annotated for it. NaN when
    a class or label has no positive or no negative row. Source: Hanley & McNeil, Radiology 143 (1982).

    >>> import numpy as np
    >>> scores = np.array([[0.6, 0.4], [0.7, 0.3], [0.1, 0.9]])
    >>> rows = Predictions(np.array(["a", "b", "c"]), np.eye(2)[[0, 1, 1]], scores, ("no", "yes"),
    ...                    np.array(["test"] * 3))
    >>> auroc(rows)
    0.5
    """
    if explain_undefined("auroc", predictions):
        return float("nan")
    areas = []
    for index in list_positive_columns(predictions):
        known = ~np.isnan(predictions.labels[:, index])
        areas.append(roc_auc_score(predictions.labels[known, index], predictions.scores[known, index]))
    return float(np.mean(areas))


def accuracy(predictions: Predictions) -> float:
    """Give the share of rows whose highest score (the first of equals) is their class.

    Labels: the mean over labels of the share of annotated rows on the right side of 0.5 (0.5 counts as
    predicted). NaN when there is no annotated row, or none for some label.

    >>> import numpy as np
    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), np.array([[0.6, 0.4], [0.7, 0.3]]), ("no", "yes"),
    ...                    np.array(["test", "test"]))
    >>> accuracy(rows)
    0.5
    """
    if explain_undefined("accuracy", predictions):
        return float("nan")
    return float(np.mean([accuracy_score(true, guess) for true, guess in list_decisions(predictions)]))


def balanced_accuracy(predictions: Predictions) -> float:
    """Give the mean over classes of the share of the class's rows whose highest score is that class.

    Labels: the mean over labels of (sensitivity + specificity) / 2 at 0.5. NaN when a class has no row, or
    a label no positive or no negative row: fewer classes are not averaged in silence. Brodersen et al.,
    ICPR (2010).

    >>> import numpy as np
    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), np.array([[0.6, 0.4], [0.7, 0.3]]), ("no", "yes"),
    ...                    np.array(["test", "test"]))
    >>> balanced_accuracy(rows)
    0.5
    """
    if explain_undefined("balanced_accuracy", predictions):
        return float("nan")
    return float(
        np.mean([balanced_accuracy_score(true, guess) for true, guess in list_decisions(predictions)])
    )


METRICS: Mapping[str, Metric] = MappingProxyType(
    {"auroc": auroc, "accuracy": accuracy, "balanced_accuracy": balanced_accuracy}
)


#: What a metric's rows must hold, for those of METRICS and of `selection`: anything annotated, two classes at
#: least, or a row of every class.
NEEDS: Mapping[str, str] = MappingProxyType(
    {
        "auroc": "every",
        "accuracy": "any",
        "balanced_accuracy": "every",
        "auprc": "every",
        "average_precision": "every",
        "kappa": "two",
        "macro_recall": "every",
    }
)


def explain_undefined(metric_name: str, predictions: Predictions) -> str | None:
    """Say why a metric of NEEDS is undefined on these rows, naming the classes; None where it is defined.

    Raises ConfigError for a name that is not in NEEDS.

    >>> import numpy as np
    >>> one = Predictions(np.array(["a"]), np.array([[1.0, 0.0]]), np.array([[0.9, 0.1]]), ("no", "yes"),
    ...                   np.array(["test"]))
    >>> explain_undefined("auroc", one)
    "no row of class 'yes'"
    >>> explain_undefined("accuracy", one) is None
    True
    """
    if metric_name not in NEEDS:
        raise ConfigError(f"there is no metric {metric_name!r}", nearest(metric_name, NEEDS))
    positives, negatives = (predictions.labels == 1).sum(axis=0), (predictions.labels == 0).sum(axis=0)
    if not (positives + negatives).any():
        return "no annotated rows"
    if NEEDS[metric_name] == "any":
        lacks = [] if predictions.exclusive else [(positives + negatives == 0, "no annotated row of label")]
    elif predictions.exclusive and NEEDS[metric_name] == "two":
        lacks = [(positives > 0, "no row but of class")] if (positives > 0).sum() == 1 else []
    elif predictions.exclusive:
        lacks = [(positives == 0, "no row of class")]
    else:
        lacks = [(positives == 0, "no positive row of label"), (negatives == 0, "no negative row of label")]
    reasons = [f"{what} {_list_names(predictions.classes, absent)}" for absent, what in lacks if absent.any()]
    return "; ".join(reasons) or None


def list_positive_columns(predictions: Predictions) -> list[int]:
    """Give the columns whose AUROCs are averaged: the last of two exclusive classes, else all.

    >>> import numpy as np
    >>> list_positive_columns(Predictions(np.array(["a"]), np.eye(1, 2), np.eye(1, 2), ("no", "yes"),
    ...                                   np.array(["test"])))
    [1]
    """
    count = len(predictions.classes)
    return [1] if predictions.exclusive and count == 2 else list(range(count))


def by_group(metric: Metric, predictions: Predictions, column: str) -> dict[str, float]:
    """Give a metric on the rows of each value of a group column, in the order of the values.

    Rows whose value is empty are the group "". A group on which the metric is undefined is NaN.
    Raises DataError for a column that the predictions do not have, naming the nearest.

    >>> import numpy as np
    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), np.array([[0.6, 0.4], [0.7, 0.3]]), ("no", "yes"),
    ...                    np.array(["test", "test"]), groups={"sex": np.array(["M", "F"])})
    >>> by_group(accuracy, rows, "sex")
    {'F': 0.0, 'M': 1.0}
    """
    if column not in predictions.groups:
        known = nearest(column, predictions.groups) if predictions.groups else "a group column; there is none"
        raise DataError(
            f"there is no group column {column!r}", known, "a column that the predictions file has"
        )
    values = predictions.groups[column]
    return {str(value): metric(predictions.take(values == value)) for value in np.unique(values)}


def _list_names(classes: tuple[str, ...], chosen: np.ndarray) -> str:
    """List the chosen classes, the first three by name."""
    names = [repr(name) for name, taken in zip(classes, chosen, strict=True) if taken]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def list_decisions(predictions: Predictions) -> list[tuple[np.ndarray, np.ndarray]]:
    """Give (truth, guess) of annotated rows: one pair of class numbers, or of 0 and 1 per label."""
    labels, scores = predictions.labels, predictions.scores
    known = ~np.isnan(labels)
    if predictions.exclusive:
        rows = known[:, 0]
        return [(labels[rows].argmax(axis=1), scores[rows].argmax(axis=1))]
    guesses = scores >= THRESHOLD
    return [
        (labels[known[:, index], index].astype(int), guesses[known[:, index], index].astype(int))
        for index in range(len(predictions.classes))
    ]
