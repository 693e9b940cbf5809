"""Operating points: thresholds chosen on validation, and metrics of decisions at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from medzoo.errors import ConfigError, DataError, nearest
from medzoo.evaluation.metrics.calls import DecisionMetric, list_positive_columns
from medzoo.evaluation.metrics.decisions import f1, mcc, npv, precision, sensitivity, specificity
from medzoo.evaluation.metrics.discrimination import accuracy, balanced_accuracy
from medzoo.evaluation.metrics.needs import explain_undefined
from medzoo.evaluation.metrics.selection import kappa, kappa_linear, macro_recall
from medzoo.evaluation.metrics.sweeps import Sweep, sweep_scores
from medzoo.evaluation.predictions import Predictions

#: The metrics that thresholds can be given to.
DECISIONS: Mapping[str, DecisionMetric] = MappingProxyType(
    {
        "accuracy": accuracy,
        "balanced_accuracy": balanced_accuracy,
        "macro_recall": macro_recall,
        "f1": f1,
        "kappa": kappa,
        "kappa_linear": kappa_linear,
        "mcc": mcc,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": precision,
        "npv": npv,
    }
)

#: Those of them that give each row one class, so that of more than two classes the highest score decides.
WHOLE_ROW = ("accuracy", "balanced_accuracy", "macro_recall", "kappa", "kappa_linear", "mcc")

#: The rules that thresholds are chosen by, as they are written.
RULES = ("youden", "f1", "sensitivity=.90", "specificity=.90", "fixed=.5")


@dataclass(frozen=True)
class OperatingPoints:
    """The score from which each class or label is called, the rule that chose it, and on how many rows.

    `classes` are those that a metric is averaged over: the last of two exclusive classes, else all, each called
    against the rest. A threshold is NaN where the rule had nothing to choose from; `reason` says why.

    >>> OperatingPoints(("malignant",), (0.25,), "youden", 80).describe()
    {'rule': 'youden', 'n': 80, 'thresholds': {'malignant': 0.25}}
    """

    classes: tuple[str, ...]
    thresholds: tuple[float, ...]
    rule: str
    n: int
    reason: str | None = None

    def describe(self) -> dict[str, Any]:
        """Give the points as an entry for JSON, None where a threshold is undefined.

        >>> OperatingPoints(("rare",), (float("nan"),), "f1", 3, "no positive row of label 'rare'").describe()
        {'rule': 'f1', 'n': 3, 'thresholds': {'rare': None}, 'reason': "no positive row of label 'rare'"}
        """
        numbers = [None if np.isnan(threshold) else threshold for threshold in self.thresholds]
        thresholds = dict(zip(self.classes, numbers, strict=True))
        entry: dict[str, Any] = {"rule": self.rule, "n": self.n, "thresholds": thresholds}
        return entry if self.reason is None else entry | {"reason": self.reason}


@dataclass(frozen=True)
class AtThresholds:
    """A metric of decisions at operating points: call it with predictions of the same classes.

    >>> points = OperatingPoints(("yes",), (0.35,), "fixed=.35", 0)
    >>> said = np.array([[0.6, 0.4], [0.7, 0.3]])
    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2)[[1, 0]], said, ("no", "yes"), np.array(["test"] * 2))
    >>> AtThresholds("accuracy", points)(rows)
    1.0
    """

    name: str
    points: OperatingPoints

    def __call__(self, predictions: Predictions) -> float:
        """Give the metric, NaN where it or a threshold is undefined; DataError for other classes."""
        return DECISIONS[self.name](predictions, self.list_thresholds(predictions))

    def explain(self, predictions: Predictions) -> str | None:
        """Say why the metric is undefined on these rows at these thresholds; None where it is defined.

        Raises DataError for predictions of other classes.

        >>> points = OperatingPoints(("yes",), (0.9,), "fixed=.9", 0)
        >>> said = np.array([[0.6, 0.4], [0.7, 0.3]])
        >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), said, ("no", "yes"), np.array(["test"] * 2))
        >>> AtThresholds("precision", points).explain(rows)
        "no row is called 'yes'"
        """
        thresholds = self.list_thresholds(predictions)
        reason = explain_undefined(self.name, predictions, thresholds)
        if thresholds is None or not np.isnan(thresholds).any() or self.points.reason is None:
            return reason
        return f"{reason}: {self.points.reason} where thresholds are chosen"

    def list_thresholds(self, predictions: Predictions) -> tuple[float, ...] | None:
        """Give the thresholds for these predictions; None where their highest scores decide.

        Raises DataError for predictions of other classes.

        >>> points = OperatingPoints(("a", "b", "c"), (0.5, 0.4, 0.3), "youden", 9)
        >>> rows = Predictions(np.array(["r"]), np.eye(3)[:1], np.eye(3)[:1], tuple("abc"), np.array(["test"]))
        >>> AtThresholds("accuracy", points).list_thresholds(rows) is None
        True
        """
        names = _name_columns(predictions)
        if names != self.points.classes:
            raise DataError(
                f"thresholds for {', '.join(self.points.classes)}, predictions of {', '.join(names)}",
                "the same classes in the same order",
            )
        if self.name in WHOLE_ROW and predictions.exclusive and len(predictions.classes) > 2:
            return None
        return self.points.thresholds


def choose_thresholds(validation: Predictions, rule: str) -> OperatingPoints:
    """Choose a threshold per class or label on validation rows: the last of two classes, else each versus the rest.

    Rules, each over the scores of the annotated rows (a row is called when its score reaches the threshold):
    youden: the highest sensitivity + specificity; f1: the highest F1; both take the highest of equal thresholds.
    sensitivity=.90: the highest threshold with at least this sensitivity. specificity=.90: the lowest with at least
    this specificity, just above every score where none has it. fixed=.5: this threshold; the rows play no part.
    A class or label without positives or negatives has NaN, and the points say so.
    Raises ConfigError for another rule or a share that is not above 0 and up to 1; DataError for rows of the test
    split, since a score at thresholds chosen on the same rows is too good.

    >>> said = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    >>> rows = Predictions(np.array(list("abcd")), np.eye(2)[[0, 1, 0, 1]], said, ("no", "yes"),
    ...                    np.array(["validation"] * 4))
    >>> choose_thresholds(rows, "youden")
    OperatingPoints(classes=('yes',), thresholds=(0.4,), rule='youden', n=4, reason=None)
    """
    kind, share = _read_rule(rule)
    names, columns = _name_columns(validation), list_positive_columns(validation)
    count = int((~np.isnan(validation.labels)).any(axis=1).sum())
    if kind == "fixed":
        return OperatingPoints(names, (share,) * len(names), rule, count)
    if (validation.splits == "test").any():
        raise DataError(
            "thresholds to be chosen on test rows", "validation rows", "predictions.of_split('validation')"
        )
    thresholds = tuple(_choose(sweep_scores(validation, column), kind, share) for column in columns)
    # A threshold needs what AUROC needs: positives and negatives of the column.
    reason = explain_undefined("auroc", validation)
    return OperatingPoints(names, thresholds, rule, count, reason)


def at_thresholds(name: str, points: OperatingPoints) -> AtThresholds:
    """Give a metric of decisions at operating points, as a function from Predictions to a float.

    Two exclusive classes: the last is called where its score reaches its threshold. Labels: each at its own. More
    exclusive classes: sensitivity, specificity, precision, npv and f1 call each class versus the rest at its own
    threshold; the others give a row one class, that of the highest score, and do not depend on the thresholds.
    Raises ConfigError for a metric that takes no thresholds.

    >>> said = np.array([[0.6, 0.4], [0.7, 0.3]])
    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2)[[1, 0]], said, ("no", "yes"),
    ...                    np.array(["validation"] * 2))
    >>> at_thresholds("sensitivity", choose_thresholds(rows, "fixed=.5"))(rows)
    0.0
    """
    if name not in DECISIONS:
        raise ConfigError(f"{name!r} takes no thresholds", nearest(name, DECISIONS))
    return AtThresholds(name, points)


def _name_columns(predictions: Predictions) -> tuple[str, ...]:
    """Name the classes that have a threshold."""
    return tuple(predictions.classes[column] for column in list_positive_columns(predictions))


def _read_rule(rule: str) -> tuple[str, float]:
    """Split a rule into its kind and its share, NaN for the rules that have none."""
    kind, equals, text = rule.partition("=")
    if rule in ("youden", "f1"):
        return rule, float("nan")
    if kind not in ("sensitivity", "specificity", "fixed") or not equals:
        raise ConfigError(f"there is no rule {rule!r} for thresholds", nearest(rule, RULES))
    try:
        share = float(text)
    except ValueError:
        share = float("nan")
    if not 0 < share <= 1:
        raise ConfigError(f"the rule {rule!r}", "a share above 0 and up to 1", f"{kind}=.90")
    return kind, share


def _choose(sweep: Sweep, kind: str, share: float) -> float:
    """Choose one column's threshold by a rule; NaN without positives or negatives."""
    if not sweep.positives or not sweep.negatives:
        return float("nan")
    hits, alarms = sweep.true_positives, sweep.false_positives
    if kind == "youden":  # in whole numbers, so that equals are equal
        return float(sweep.thresholds[np.argmax(hits * sweep.negatives - alarms * sweep.positives)])
    if kind == "f1":
        return float(sweep.thresholds[np.argmax(2 * hits / (hits + alarms + sweep.positives))])
    if kind == "sensitivity":
        return float(sweep.thresholds[np.argmax(sweep.sensitivities >= share)])
    allowed = np.flatnonzero(sweep.specificities >= share)
    return float(sweep.thresholds[allowed[-1]] if allowed.size else np.nextafter(sweep.thresholds[0], np.inf))
