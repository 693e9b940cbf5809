"""What calibration does to the score of one class or label: four maps from a probability to a better one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from medzoo.errors import DataError
from medzoo.evaluation.predictions import FloatArray


@dataclass(frozen=True)
class Temperature:
    """Logits divided by a number above 0: Guo et al., ICML (2017).  Above 1 it takes confidence away.

    >>> Temperature(2.0).apply(np.array([0.9]), np.array([2.1972])).round(2).tolist()
    [0.75]
    """

    temperature: float

    def __post_init__(self) -> None:
        """Refuse a number that no logits can be divided by."""
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise DataError(f"a temperature of {self.temperature}", "a number above 0")

    def apply(self, scores: FloatArray, log_odds: FloatArray) -> FloatArray:
        """Give probabilities (n,) from scores (n,) and their log odds (n,)."""
        del scores
        return np.asarray(expit(log_odds / self.temperature))


@dataclass(frozen=True)
class Platt:
    """A logistic curve over the log odds, slope × log odds + offset: Platt (1999).

    >>> Platt(1.0, -1.0).apply(np.array([0.5]), np.array([0.0])).round(2).tolist()
    [0.27]
    """

    slope: float
    offset: float

    def __post_init__(self) -> None:
        """Refuse a curve that turns the order of scores round."""
        if not (np.isfinite(self.slope) and self.slope > 0 and np.isfinite(self.offset)):
            raise DataError(f"a slope of {self.slope} and an offset of {self.offset}", "a slope above 0")

    def apply(self, scores: FloatArray, log_odds: FloatArray) -> FloatArray:
        """Give probabilities (n,) from scores (n,) and their log odds (n,)."""
        del scores
        return np.asarray(expit(self.slope * log_odds + self.offset))


@dataclass(frozen=True)
class Isotonic:
    """A rising line through points of scores and probabilities, level beyond both ends: Zadrozny & Elkan (2002).

    >>> Isotonic((0.2, 0.6), (0.0, 0.5)).apply(np.array([0.1, 0.4, 0.9]), np.zeros(3)).round(2).tolist()
    [0.0, 0.25, 0.5]
    """

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse points that are no rising line of probabilities."""
        said, true = np.array(self.scores), np.array(self.probabilities)
        fits = said.size > 0 and said.shape == true.shape and bool(((true >= 0) & (true <= 1)).all())
        if not fits or not (np.diff(said) > 0).all() or not (np.diff(true) >= 0).all():
            raise DataError("points that are no rising line", "rising scores and probabilities from 0 to 1")

    def apply(self, scores: FloatArray, log_odds: FloatArray) -> FloatArray:
        """Give probabilities (n,) from scores (n,)."""
        del log_odds
        return np.asarray(np.interp(scores, self.scores, self.probabilities))


@dataclass(frozen=True)
class Unchanged:
    """Scores as they are, since nothing could be fitted, and why.

    >>> Unchanged("no positive row").apply(np.array([0.3]), np.zeros(1)).tolist()
    [0.3]
    """

    reason: str

    def apply(self, scores: FloatArray, log_odds: FloatArray) -> FloatArray:
        """Give the scores (n,)."""
        del log_odds
        return scores


Map = Temperature | Platt | Isotonic | Unchanged


def describe_map(fitted: Map) -> dict[str, Any]:
    """Give a map as plain data for JSON.

    >>> describe_map(Platt(2.0, 0.5))
    {'slope': 2.0, 'offset': 0.5}
    """
    if isinstance(fitted, Temperature):
        return {"temperature": fitted.temperature}
    if isinstance(fitted, Platt):
        return {"slope": fitted.slope, "offset": fitted.offset}
    if isinstance(fitted, Isotonic):
        return {"scores": list(fitted.scores), "probabilities": list(fitted.probabilities)}
    return {"uncalibrated": fitted.reason}


def make_map(entry: Mapping[str, Any]) -> Map:
    """Make a map of the data that `describe_map` gave.

    Raises:
        DataError: the data are no map.

    >>> make_map({"temperature": 1.5})
    Temperature(temperature=1.5)
    """
    try:
        match sorted(entry):
            case ["temperature"]:
                return Temperature(float(entry["temperature"]))
            case ["offset", "slope"]:
                return Platt(float(entry["slope"]), float(entry["offset"]))
            case ["probabilities", "scores"]:
                points = [tuple(float(x) for x in entry[name]) for name in ("scores", "probabilities")]
                return Isotonic(points[0], points[1])
            case ["uncalibrated"]:
                return Unchanged(str(entry["uncalibrated"]))
    except (TypeError, ValueError):
        pass
    raise DataError(
        f"a calibration map of {str(entry)[:60]}", "a temperature, a slope and an offset, or points"
    )
