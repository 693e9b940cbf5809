"""A score: a metric's value with its interval and what it was computed on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.uncertainty.bootstrap import identify_patients


@dataclass(frozen=True)
class Counts:
    """What a score was computed on: annotated rows, patients where known, positives and negatives where those exist.

    >>> Counts(10, positives=4, negatives=6).describe()
    {'n': 10, 'positives': 4, 'negatives': 6}
    """

    n: int
    patients: int | None = None
    positives: int | None = None
    negatives: int | None = None

    def describe(self) -> dict[str, int]:
        """Give the counts that are known as a dict for JSON.

        >>> Counts(3, patients=2).describe()
        {'n': 3, 'patients': 2}
        """
        named = {
            "n": self.n,
            "patients": self.patients,
            "positives": self.positives,
            "negatives": self.negatives,
        }
        return {name: count for name, count in named.items() if count is not None}


@dataclass(frozen=True)
class Score:
    """A metric's value, its interval (NaN where there is none, with the reason) and its counts.

    >>> Score(0.75, 0.5, 1.0, Counts(4)).describe()
    {'value': 0.75, 'low': 0.5, 'high': 1.0, 'n': 4}
    """

    value: float
    low: float
    high: float
    counts: Counts
    reason: str | None = None

    def describe(self) -> dict[str, Any]:
        """Give the score as an entry for JSON, None where a number is undefined.

        >>> Score(float("nan"), float("nan"), float("nan"), Counts(0), "no annotated rows").describe()
        {'value': None, 'low': None, 'high': None, 'n': 0, 'reason': 'no annotated rows'}
        """
        entry: dict[str, Any] = {
            name: None if math.isnan(number) else number
            for name, number in (("value", self.value), ("low", self.low), ("high", self.high))
        }
        entry |= self.counts.describe()
        return entry if self.reason is None else entry | {"reason": self.reason}


def count_rows(rows: Predictions) -> Counts:
    """Count annotated rows, their patients, and positives and negatives where there are two classes or one label.

    >>> true = np.eye(2)[[0, 0, 1]]
    >>> rows = Predictions(np.array(list("abc")), true, true, ("no", "yes"), np.array(["test"] * 3))
    >>> count_rows(rows)
    Counts(n=3, patients=None, positives=1, negatives=2)
    """
    annotated = rows.annotated()
    patients = identify_patients(annotated)
    has_positives = len(annotated.classes) == (2 if annotated.exclusive else 1)
    last = annotated.labels[:, -1]
    return Counts(
        n=len(annotated),
        patients=None if patients is None else len(np.unique(patients)),
        positives=int((last == 1).sum()) if has_positives else None,
        negatives=int((last == 0).sum()) if has_positives else None,
    )
