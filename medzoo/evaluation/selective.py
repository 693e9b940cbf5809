"""Selective prediction: the rows that a model is surest of are its own, the others are deferred to a person."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import ConfigError, DataError, nearest
from medzoo.evaluation.predictions import FloatArray, Predictions

#: The highest probability, its distance to the second, or how far the probabilities are from even.
Confidence = Literal["max", "margin", "entropy"]


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """The risk of the rows kept, for every threshold that keeps others.

    thresholds (m,), falling confidences; coverage (m,), the share of rows kept at each, and risk (m,), the mean
    error of those; area, the mean risk over the n coverages 1/n … 1 (AURC); excess, area less that of a confidence
    that puts every error last; n rows.  Rows of one confidence are kept or deferred together.  All NaN without rows.

    >>> risk_coverage(Predictions(np.array(["a"]), np.eye(1, 2), np.array([[0.9, 0.1]]), ("no", "yes"),
    ...                           np.array(["test"]))).area
    0.0
    """

    thresholds: FloatArray
    coverage: FloatArray
    risk: FloatArray
    area: float
    excess: float
    n: int


@dataclass(frozen=True)
class Deferral:
    """A rule fitted on validation: rows whose confidence is below the threshold go to a person.

    coverage and risk are those of the n validation rows; on others they are to be measured.  A threshold of infinity
    defers everything, with the reason.

    >>> Deferral(0.8, "max", coverage=0.75, risk=0.02, n=100).threshold
    0.8
    """

    threshold: float
    confidence: Confidence
    coverage: float
    risk: float
    n: int
    reason: str | None = None

    def apply(self, predictions: Predictions) -> tuple[Predictions, Predictions]:
        """Give the rows that are kept and those that are deferred, annotated or not, in their order.

        >>> scores = np.array([[0.9, 0.1], [0.6, 0.4]])
        >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), scores, ("no", "yes"), np.array(["test"] * 2))
        >>> kept, deferred = Deferral(0.8, "max", coverage=0.75, risk=0.02, n=100).apply(rows)
        >>> kept.ids.tolist(), deferred.ids.tolist()
        (['a'], ['b'])
        """
        kept = measure_confidence(predictions, self.confidence) >= self.threshold
        return predictions.take(kept), predictions.take(~kept)


def measure_confidence(predictions: Predictions, confidence: Confidence = "max") -> FloatArray:
    """Give how sure the model is of each row, (n,), from its scores alone.

    max: the highest probability; of labels, the mean over labels of the greater of p and 1 − p, which is the share of
    labels expected to be right.  margin: the highest less the second; of labels, the mean of |2 p − 1|, the same
    order as max.  entropy: 1 less the entropy as a share of the greatest one; of labels, its mean.

    Raises:
        ConfigError: another confidence.

    >>> two = Predictions(np.array(["a"]), np.eye(1, 2), np.array([[0.75, 0.25]]), ("no", "yes"), np.array(["test"]))
    >>> [measure_confidence(two, name).round(4).tolist() for name in ("max", "margin", "entropy")]
    [[0.75], [0.5], [0.1887]]
    """
    if confidence not in get_args(Confidence):
        raise ConfigError(f"there is no confidence {confidence!r}", nearest(confidence, get_args(Confidence)))
    scores = predictions.scores
    if not predictions.exclusive:
        if confidence == "entropy":
            sides = np.stack([scores, 1 - scores], axis=2)
            return np.asarray(1 - _measure_entropy(sides).mean(axis=1) / math.log(2))
        surest = np.maximum(scores, 1 - scores).mean(axis=1)
        return np.asarray(surest if confidence == "max" else 2 * surest - 1)
    if confidence == "max":
        return np.asarray(scores.max(axis=1))
    if confidence == "margin":
        highest = np.sort(scores, axis=1)
        return np.asarray(highest[:, -1] - highest[:, -2])
    return np.asarray(1 - _measure_entropy(scores) / math.log(scores.shape[1]))


def measure_errors(predictions: Predictions) -> FloatArray:
    """Give each annotated row's error, (n,): 1 where the highest score is not its class, NaN where not annotated.

    Of labels: the share of the row's annotated labels on the wrong side of 0.5.

    >>> two = Predictions(np.array(["a"]), np.eye(1, 2), np.array([[0.75, 0.25]]), ("no", "yes"), np.array(["test"]))
    >>> measure_errors(two).tolist()
    [0.0]
    """
    labels, scores = predictions.labels, predictions.scores
    known = ~np.isnan(labels)
    if predictions.exclusive:
        right = np.take_along_axis(labels, scores.argmax(axis=1)[:, np.newaxis], axis=1)[:, 0]
        return np.asarray(1 - right)
    wrong = ((scores >= 0.5) != (labels == 1)) & known
    with np.errstate(invalid="ignore"):
        return np.asarray(wrong.sum(axis=1) / known.sum(axis=1))


def risk_coverage(predictions: Predictions, confidence: Confidence = "max") -> RiskCoverage:
    """Give the risk at every coverage of the annotated rows, the surest first, and the area below it.

    Among rows of one confidence no order is better than another: inside such a group errors are spread evenly.
    Source: Geifman & El-Yaniv, NeurIPS (2017); Geifman, Uziel & El-Yaniv, ICLR (2019) for the excess.

    Raises:
        ConfigError: another confidence.

    >>> scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.45, 0.55]])
    >>> rows = Predictions(np.array(list("abcd")), np.eye(2)[[0, 1, 1, 1]], scores, ("no", "yes"),
    ...                    np.array(["test"] * 4))
    >>> found = risk_coverage(rows)
    >>> found.coverage.tolist(), found.risk.round(2).tolist(), round(found.area, 4)
    ([0.25, 0.5, 0.75, 1.0], [0.0, 0.5, 0.33, 0.25], 0.2708)
    """
    rows = predictions.annotated()
    sureness, errors = measure_confidence(rows, confidence), measure_errors(rows)
    count = len(rows)
    if not count:
        nothing = np.empty(0)
        return RiskCoverage(nothing, nothing, nothing, math.nan, math.nan, 0)
    order = np.argsort(-sureness, kind="stable")
    falling = sureness[order]
    ends = np.flatnonzero(np.append(np.diff(falling) != 0, True))
    kept = ends + 1
    total = np.cumsum(errors[order])[ends]
    ranks = np.arange(1, count + 1)
    # Linear between the ends of groups of one confidence: the expected errors over all orders inside them.
    spread = np.interp(ranks, np.append(0, kept), np.append(0.0, total))
    best = np.cumsum(np.sort(errors))
    area = float(np.mean(spread / ranks))
    return RiskCoverage(
        falling[ends], kept / count, total / kept, area, area - float(np.mean(best / ranks)), count
    )


def metric_at_coverage(
    metric: Callable[[Predictions], float],
    predictions: Predictions,
    coverage: float,
    confidence: Confidence = "max",
) -> float:
    """Give a metric on the share of annotated rows that the model is surest of, from 0 to 1.

    Rows as sure as the last one kept are kept too, so that the order of rows is nothing.  NaN where the metric is
    undefined on what is kept.

    Raises:
        ConfigError: a coverage that is not above 0 and up to 1, or another confidence.

    >>> from medzoo.evaluation.metrics.discrimination import accuracy
    >>> scores = np.array([[0.9, 0.1], [0.4, 0.6]])
    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2)[[0, 0]], scores, ("no", "yes"), np.array(["test"] * 2))
    >>> metric_at_coverage(accuracy, rows, 0.5), metric_at_coverage(accuracy, rows, 1.0)
    (1.0, 0.5)
    """
    _check_share("coverage", coverage)
    rows = predictions.annotated()
    if not len(rows):
        return math.nan
    sureness = measure_confidence(rows, confidence)
    return metric(rows.take(np.flatnonzero(sureness >= _find_threshold(sureness, coverage))))


def choose_deferral(
    validation: Predictions,
    *,
    coverage: float | None = None,
    risk: float | None = None,
    confidence: Confidence = "max",
) -> Deferral:
    """Choose on validation rows, never on test rows, from which confidence on a row is kept.

    By `coverage`: the highest threshold that keeps at least this share.  By `risk`: the lowest threshold whose rows
    have at most this mean error; where none has, everything is deferred and the reason is given.  A risk met on
    validation is no promise: what is kept of the test rows has to be measured.

    Raises:
        ConfigError: both or neither of coverage and risk, one outside 0 to 1, or another confidence.
        DataError: rows of the test split, or no annotated rows.

    >>> scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.45, 0.55]])
    >>> rows = Predictions(np.array(list("abcd")), np.eye(2)[[0, 0, 1, 1]], scores, ("no", "yes"),
    ...                    np.array(["validation"] * 4))
    >>> rule = choose_deferral(rows, risk=0.1)
    >>> rule.threshold, rule.coverage, rule.risk
    (0.8, 0.5, 0.0)
    """
    if (coverage is None) == (risk is None):
        raise ConfigError(
            "both a coverage and a risk" if risk is not None else "neither a coverage nor a risk",
            "one of them",
            "coverage=.8 or risk=.05",
        )
    if (validation.splits == "test").any():
        raise DataError(
            "a threshold to be chosen on test rows", "validation rows", "predictions.of_split('validation')"
        )
    if not len(validation.annotated()):
        raise DataError("no annotated validation rows", "rows to choose a threshold on")
    curve = risk_coverage(validation, confidence)
    if coverage is not None:
        _check_share("coverage", coverage)
        # A share typed as .3 of 10 rows is 3 rows, whatever its float64 times 10 rounds to.
        fits = np.flatnonzero(curve.coverage * curve.n >= coverage * curve.n - 1e-9)[:1]
    else:
        assert risk is not None
        if not 0 <= risk <= 1:
            raise ConfigError(f"the risk {risk}", "a share from 0 to 1", "0.05")
        fits = np.flatnonzero(curve.risk <= risk)[-1:]
    if not fits.size:
        reason = f"no threshold has a risk of {risk:g} or less on {curve.n} validation rows"
        return Deferral(math.inf, confidence, 0.0, math.nan, curve.n, reason)
    chosen = int(fits[0])
    return Deferral(
        float(curve.thresholds[chosen]),
        confidence,
        float(curve.coverage[chosen]),
        float(curve.risk[chosen]),
        curve.n,
    )


def _find_threshold(sureness: FloatArray, coverage: float) -> float:
    """Give the highest confidence from which on at least a share of the rows is kept."""
    kept = max(1, math.ceil(coverage * len(sureness) - 1e-9))
    return float(np.partition(sureness, len(sureness) - kept)[len(sureness) - kept])


def _check_share(name: str, share: float) -> None:
    """Refuse a share that keeps nothing or more than everything."""
    if not 0 < share <= 1:
        raise ConfigError(f"the {name} {share}", "a share above 0 and up to 1", "0.8")


def _measure_entropy(probabilities: NDArray[np.float64]) -> FloatArray:
    """Give the entropy over the last axis, in nats; a probability of 0 adds nothing."""
    logs = np.log(np.where(probabilities > 0, probabilities, 1))
    return np.asarray(-(probabilities * logs).sum(axis=-1))
