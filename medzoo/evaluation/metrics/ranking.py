"""Metrics of the order of scores beside AUROC and the precision–recall areas; no threshold is chosen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.metrics import roc_auc_score

from medzoo.errors import ConfigError
from medzoo.evaluation.metrics.calls import list_positive_columns
from medzoo.evaluation.metrics.discrimination import average_columns
from medzoo.evaluation.metrics.naming import PARAMETERS
from medzoo.evaluation.metrics.needs import explain_undefined
from medzoo.evaluation.metrics.sweeps import Sweep, sweep_scores
from medzoo.evaluation.predictions import Predictions


def auroc_micro(predictions: Predictions) -> float:
    """Give the AUROC of all labels' annotated entries thrown together; of classes, of each versus the rest.

    Of two exclusive classes it is the AUROC. It compares scores of different labels, so that labels of different
    frequency raise it: a network that gives each label its frequency is above 0.5. NaN without any positive or
    any negative entry.

    >>> said = np.array([[0.9, 0.1], [0.8, 0.3]])
    >>> rows = Predictions(np.array(["a", "b"]), np.array([[1.0, 0.0], [0.0, np.nan]]), said, ("a", "b"),
    ...                    np.array(["test"] * 2), exclusive=False)
    >>> auroc_micro(rows)
    1.0
    """
    if explain_undefined("auroc_micro", predictions):
        return float("nan")
    columns = list_positive_columns(predictions)
    labels, scores = predictions.labels[:, columns], predictions.scores[:, columns]
    known = ~np.isnan(labels)
    return float(roc_auc_score(labels[known], scores[known]))


def partial_auroc(predictions: Predictions, maximum: float = PARAMETERS["partial_auroc"].default) -> float:
    """Give the area under the ROC curve up to a false-positive rate, standardised: 0.5 is chance, 1 perfect.

    Its columns are AUROC's. NaN when a class or label has no positive or no negative row. Raises ConfigError for a
    rate that is not above 0 and up to 1. Source: McClish, Medical Decision Making 9 (1989).

    >>> said = np.array([[0.6, 0.4], [0.3, 0.7], [0.5, 0.5]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[1, 1, 0]], said, ("no", "yes"), np.array(["test"] * 3))
    >>> round(partial_auroc(rows, 0.5), 4), partial_auroc(rows, 1.0)
    (0.6667, 0.5)
    """
    _check_share(maximum, "the highest false-positive rate")
    return average_columns(
        "partial_auroc", lambda true, scores: roc_auc_score(true, scores, max_fpr=maximum), predictions
    )


def sensitivity_at_specificity(
    predictions: Predictions, specificity: float = PARAMETERS["sensitivity@specificity"].default
) -> float:
    """Give the highest sensitivity of any threshold whose specificity is at least this: a point of the ROC curve.

    The threshold is that of these very rows, as for every point of a ROC curve. What a clinic would see is the
    sensitivity at a threshold chosen on validation: `choose_thresholds`. Its columns are AUROC's. NaN when a class
    or label has no positive or no negative row. Raises ConfigError for a share that is not above 0 and up to 1.

    >>> said = np.array([[0.6, 0.4], [0.3, 0.7], [0.5, 0.5]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[1, 1, 0]], said, ("no", "yes"), np.array(["test"] * 3))
    >>> sensitivity_at_specificity(rows)
    0.5
    """
    _check_share(specificity, "the specificity")

    def measure(sweep: Sweep) -> float:
        allowed = sweep.sensitivities[sweep.specificities >= specificity]
        return float(allowed.max(initial=0.0))

    return _average_sweeps("sensitivity@specificity", measure, predictions)


def specificity_at_sensitivity(
    predictions: Predictions, sensitivity: float = PARAMETERS["specificity@sensitivity"].default
) -> float:
    """Give the highest specificity of any threshold whose sensitivity is at least this: a point of the ROC curve.

    The threshold is that of these very rows: see `sensitivity_at_specificity`.

    >>> said = np.array([[0.6, 0.4], [0.3, 0.7], [0.7, 0.3]])
    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[1, 1, 0]], said, ("no", "yes"), np.array(["test"] * 3))
    >>> specificity_at_sensitivity(rows)
    1.0
    """
    _check_share(sensitivity, "the sensitivity")

    def measure(sweep: Sweep) -> float:
        return float(sweep.specificities[sweep.sensitivities >= sensitivity].max())

    return _average_sweeps("specificity@sensitivity", measure, predictions)


def top(predictions: Predictions, count: int = int(PARAMETERS["top"].default)) -> float:
    """Give the share of rows whose class is among the highest scores, the first of equals first.

    `count` 1 is the accuracy. NaN without annotated rows, where `count` covers every class, and for independent
    labels, which have no highest. Raises ConfigError for less than 1.

    >>> said = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    >>> rows = Predictions(np.array(["a", "b"]), np.eye(3)[[1, 2]], said, tuple("abc"), np.array(["test"] * 2))
    >>> top(rows, 2)
    0.5
    """
    if explain_undefined(f"top@{count}", predictions):
        return float("nan")
    known = ~np.isnan(predictions.labels[:, 0])
    true, scores = predictions.labels[known].argmax(axis=1), predictions.scores[known]
    own = np.take_along_axis(scores, true[:, np.newaxis], axis=1)
    earlier = np.arange(scores.shape[1]) < true[:, np.newaxis]
    before = (scores > own) | ((scores == own) & earlier)
    return float((before.sum(axis=1) < count).mean())


def _average_sweeps(name: str, measure: Callable[[Sweep], float], predictions: Predictions) -> float:
    """Average a measure over the positive columns' sweeps; NaN where the metric of that name is undefined."""
    if explain_undefined(name, predictions):
        return float("nan")
    columns = list_positive_columns(predictions)
    return float(np.mean([measure(sweep_scores(predictions, column)) for column in columns]))


def _check_share(share: float, what: str) -> None:
    """Refuse a share that no point of a ROC curve can be asked for."""
    if not 0 < share <= 1:
        raise ConfigError(f"{what} {share}", "a share above 0 and up to 1", "0.9")
