"""Calibration fitted on validation rows: by temperature, by Platt's logistic curve, or by isotonic regression."""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from medzoo.errors import ConfigError, DataError, nearest
from medzoo.evaluation.calibration.calibration import (
    Calibration,
    Method,
    find_log_odds,
    find_logits,
    list_calibrated,
)
from medzoo.evaluation.calibration.maps import Isotonic, Map, Platt, Temperature, Unchanged
from medzoo.evaluation.predictions import FloatArray, Predictions
from medzoo.evaluation.score import count_rows

#: Temperatures beyond these say that the rows were too few or the scores no logits.
LEAST, MOST = 1e-3, 1e3

_ONE_SCORE = "all validation rows have one score"

#: Why a map of the wrong direction is not made.
_REVERSED = "on validation its scores are no higher where it is true: no calibration mends an order"


def fit_calibration(validation: Predictions, method: Method = "temperature") -> Calibration:
    """Fit a calibration on validation rows; pass rows that the network was not trained on, and no test rows.

    temperature: one number that logits are divided by, at the least NLL.  platt: a logistic curve over log odds,
    without penalty, towards Platt's targets (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2) instead of 1 and 0.  isotonic:
    the rising steps of least squares.  Labels are fitted one by one, each on the rows annotated for it; two classes
    by the last one; more by one temperature, or else each class against the rest, after which rows sum to 1 again.

    A label or class without positive or without negative rows stays as it is, and so does one whose scores are no
    higher where it is true, or (temperature) that no validation row gets wrong; `uncalibrated` gives the reasons.

    Raises:
        ConfigError: another method.
        DataError: rows of the test split, no annotated rows, or nothing that can be calibrated.

    >>> labels = np.eye(2)[[0, 0, 0, 1, 1, 1]]
    >>> said = np.array([0.01, 0.02, 0.99, 0.01, 0.98, 0.99])
    >>> rows = Predictions(np.array(list("abcdef")), labels, np.stack([1 - said, said], 1), ("no", "yes"),
    ...                    np.array(["validation"] * 6))
    >>> calibration = fit_calibration(rows)
    >>> calibration.maps[0].temperature > 1  # it was far too sure
    True
    """
    if method not in get_args(Method):
        raise ConfigError(f"there is no calibration {method!r}", nearest(method, get_args(Method)))
    if (validation.splits == "test").any():
        raise DataError(
            "a calibration to be fitted on test rows", "validation rows", "predictions.of_split('validation')"
        )
    rows = validation.annotated()
    if not len(rows):
        raise DataError(
            "no annotated validation rows", "rows to fit a calibration on", "a run with validation"
        )
    names = list_calibrated(method, rows.classes, rows.exclusive)
    counts = count_rows(rows)
    maps = _fit_maps(rows, method, names)
    calibration = Calibration(method, rows.classes, rows.exclusive, maps, counts.n, counts.patients)
    if len(calibration.uncalibrated) == len(maps):
        reasons = "; ".join(f"{name!r}: {reason}" for name, reason in calibration.uncalibrated.items())
        raise DataError(
            f"nothing can be calibrated on {len(rows)} validation rows: {reasons}",
            "validation rows of both kinds, some right and some wrong",
            "--method platt, or more validation data" if method == "temperature" else "more validation data",
        )
    return calibration


def _fit_maps(rows: Predictions, method: Method, names: tuple[str, ...]) -> tuple[Map, ...]:
    """Fit the map of everything that has one of its own, on annotated rows."""
    if method == "temperature" and rows.exclusive and len(rows.classes) > 2:
        codes = rows.labels.argmax(axis=1)
        if len(np.unique(codes)) == 1:
            return (Unchanged(f"no validation row but of class {rows.classes[codes[0]]!r}"),)
        return (fit_temperature(find_logits(rows), codes),)
    odds = find_log_odds(rows)
    fitted = []
    for name in names:
        column = rows.classes.index(name)
        known = ~np.isnan(rows.labels[:, column])
        labels = rows.labels[known, column].astype(np.int64)
        fitted.append(_fit_column(labels, rows.scores[known, column], odds[known, column], method))
    return tuple(fitted)


def _fit_column(labels: NDArray[np.int64], scores: FloatArray, odds: FloatArray, method: Method) -> Map:
    """Fit the map of one label, or of one class against the rest; all arrays (m,)."""
    positives = int(labels.sum())
    if positives in (0, len(labels)):
        missing = "annotated" if not len(labels) else "negative" if positives else "positive"
        return Unchanged(f"no {missing} validation row")
    if method == "temperature":
        # A sigmoid of z is a softmax of (0, z).
        return fit_temperature(np.stack([np.zeros_like(odds), odds], axis=1), labels)
    return fit_platt(odds, labels) if method == "platt" else fit_isotonic(scores, labels)


def fit_temperature(logits: FloatArray, codes: NDArray[np.int64]) -> Temperature | Unchanged:
    """Give the temperature of least NLL of logits (n, k) and class numbers (n,), or why there is none above 0.

    In 1 / T the NLL is convex, so that its slope is 0 at one place at most.  It has no such place where every row's
    class has the highest logit (T would be 0), or where logits are no higher at the true class (T would be
    infinite or negative).

    >>> fitted = fit_temperature(np.array([[0.0, 2.0], [0.0, 2.0], [0.0, 2.0]]), np.array([1, 1, 0]))
    >>> round(fitted.temperature, 6)  # so that the score is 2 in 3
    2.88539
    """
    true = np.take_along_axis(logits, codes[:, np.newaxis], axis=1)
    # Differences to the true logit lose no digits to a large common part.
    gaps = logits - true
    if gaps.max(axis=1).sum() <= 0:
        return Unchanged("no validation row is wrong: the temperature would be 0")
    if gaps.mean(axis=1).sum() >= 0:
        return Unchanged(_REVERSED)

    def slope(inverse: float) -> float:
        """Give the derivative of the summed NLL by 1 / T."""
        return float((softmax(inverse * gaps, axis=1) * gaps).sum())

    for inverse, beyond in ((1 / MOST, slope(1 / MOST) > 0), (1 / LEAST, slope(1 / LEAST) < 0)):
        if beyond:
            return Unchanged(
                f"the temperature would be {'above' if inverse < 1 else 'below'} {1 / inverse:g}"
            )
    return Temperature(1 / float(brentq(slope, 1 / MOST, 1 / LEAST, xtol=1e-300, rtol=1e-14)))


def fit_platt(odds: FloatArray, labels: NDArray[np.int64]) -> Platt | Unchanged:
    """Give the logistic curve over log odds (n,) that is nearest to labels (n,), or why it would not rise.

    Towards Platt's targets a curve exists even where a threshold separates all rows; few rows take more from it.

    >>> fitted = fit_platt(np.array([-1.0, 0.0, 0.0, 1.0]), np.array([0, 1, 0, 1]))
    >>> round(fitted.slope, 3), abs(round(fitted.offset, 6))
    (1.099, 0.0)
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if np.ptp(odds) == 0:
        return Unchanged(_ONE_SCORE)
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # A target of .9 is a positive row of weight .9 and a negative one of weight .1.
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    model.fit(
        np.concatenate([odds, odds])[:, np.newaxis],
        np.repeat([1, 0], len(odds)),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    return Platt(slope, offset) if slope > 0 else Unchanged(_REVERSED)


def fit_isotonic(scores: FloatArray, labels: NDArray[np.int64]) -> Isotonic | Unchanged:
    """Give the rising steps over scores (n,) of least squared distance from labels (n,).

    >>> fit_isotonic(np.array([0.1, 0.2, 0.3]), np.array([0, 1, 0])).probabilities
    (0.0, 0.5, 0.5)
    """
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, labels)
    said, true = model.X_thresholds_, model.y_thresholds_
    if true[0] == true[-1]:
        return Unchanged(_ONE_SCORE if np.ptp(scores) == 0 else _REVERSED)
    return Isotonic(tuple(map(float, said)), tuple(map(float, np.clip(true, 0, 1))))
