"""A fitted calibration: what turns a network's scores into probabilities that come true as often as they say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from scipy.special import logsumexp, softmax

from medzoo.errors import DataError
from medzoo.evaluation.calibration.maps import Map, Temperature, Unchanged, describe_map, make_map
from medzoo.evaluation.predictions import FloatArray, Predictions
from medzoo.outputs import write_text

Method = Literal["temperature", "platt", "isotonic"]

#: Of the file's layout.
VERSION = 1

_REMEDY = "medzoo calibrate RUN --overwrite"


@dataclass(frozen=True)
class Calibration:
    """Maps of scores, fitted on validation rows: one for each label, or those of exclusive classes.

    Two exclusive classes have one map, of the last one; more have one temperature of all logits, or a map for each
    class against the rest, after which a row is divided by its sum (Zadrozny & Elkan 2002).  n and patients (None:
    not known) count the validation rows; source is the digest of the file that they are from, "" where unknown.

    >>> rows = Predictions(np.array(["a"]), np.eye(1, 2), np.array([[0.1, 0.9]]), ("no", "yes"), np.array(["test"]))
    >>> calibration = Calibration("temperature", ("no", "yes"), True, (Temperature(2.0),), n=100)
    >>> calibration.apply(rows).scores.round(2).tolist()
    [[0.25, 0.75]]
    """

    method: Method
    classes: tuple[str, ...]
    exclusive: bool
    maps: tuple[Map, ...]
    n: int
    patients: int | None = None
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse a number of maps that does not fit the classes."""
        if self.method not in get_args(Method):
            raise DataError(
                f"there is no calibration {self.method!r}", f"one of {', '.join(get_args(Method))}"
            )
        expected = len(list_calibrated(self.method, self.classes, self.exclusive))
        if len(self.maps) != expected:
            raise DataError(f"{len(self.maps)} maps for {len(self.classes)} classes", f"{expected}")

    @property
    def uncalibrated(self) -> dict[str, str]:
        """The classes or labels whose scores stay as they are, with the reasons."""
        names = list_calibrated(self.method, self.classes, self.exclusive)
        return {
            name: fitted.reason
            for name, fitted in zip(names, self.maps, strict=True)
            if isinstance(fitted, Unchanged)
        }

    def summarise(self) -> str:
        """Say in a few words what was fitted on what.

        >>> Calibration("temperature", ("no", "yes"), True, (Temperature(2.0),), n=100).summarise()
        'temperature 2.000, fitted on 100 validation images'
        """
        first = self.maps[0]
        what: str = self.method
        if len(self.maps) > 1:
            done, kind = len(self.maps) - len(self.uncalibrated), "classes" if self.exclusive else "labels"
            what += (
                f" of {len(self.maps)} {kind}"
                if not self.uncalibrated
                else f" of {done} of {len(self.maps)} {kind}"
            )
        elif isinstance(first, Temperature):
            what += f" {first.temperature:.3f}"
        return f"{what}, fitted on {self.n:,} validation images"

    def apply(self, predictions: Predictions) -> Predictions:
        """Give predictions with calibrated scores, and without the logits, which no longer belong to them.

        It is for scores as the network gave them: calibrating twice is not noticed and is wrong.
        Raises DataError for other classes than those it was fitted on.

        >>> rows = Predictions(np.array(["a"]), np.eye(1), np.array([[0.5]]), ("edema",), np.array(["test"]),
        ...                    exclusive=False)
        >>> only = Calibration("temperature", ("edema",), False, (Temperature(2.0),), n=100)
        >>> only.apply(rows).scores.tolist()
        [[0.5]]
        """
        if (predictions.classes, predictions.exclusive) != (self.classes, self.exclusive):
            raise DataError(
                f"predictions of {_name_classes(predictions.classes, predictions.exclusive)}",
                f"{_name_classes(self.classes, self.exclusive)}, which the calibration was fitted on",
                "the calibration of the same run",
            )
        return replace(predictions, scores=self._map(predictions), logits=None)

    def _map(self, predictions: Predictions) -> FloatArray:
        """Give the calibrated scores (n, k)."""
        scores = predictions.scores
        if not self.exclusive:
            odds = find_log_odds(predictions)
            columns = [fitted.apply(scores[:, j], odds[:, j]) for j, fitted in enumerate(self.maps)]
            return np.stack(columns, axis=1)
        if len(self.classes) == 2:
            positive = self.maps[0].apply(scores[:, 1], find_log_odds(predictions)[:, 1])
            return np.stack([1 - positive, positive], axis=1)
        first = self.maps[0]
        if self.method == "temperature":
            assert isinstance(first, Temperature)
            return np.asarray(softmax(find_logits(predictions) / first.temperature, axis=1))
        odds = find_log_odds(predictions)
        columns = [fitted.apply(scores[:, j], odds[:, j]) for j, fitted in enumerate(self.maps)]
        return normalise(np.stack(columns, axis=1))

    def describe(self) -> dict[str, Any]:
        """Give the calibration as plain data for JSON.

        >>> Calibration("temperature", ("no", "yes"), True, (Temperature(2.0),), n=100).describe()["maps"]
        {'yes': {'temperature': 2.0}}
        """
        names = list_calibrated(self.method, self.classes, self.exclusive)
        return {
            "version": VERSION,
            "method": self.method,
            "classes": list(self.classes),
            "exclusive": self.exclusive,
            "maps": {name: describe_map(fitted) for name, fitted in zip(names, self.maps, strict=True)},
            "n": self.n,
            "patients": self.patients,
            "source": self.source,
        }


def list_calibrated(method: str, classes: tuple[str, ...], exclusive: bool) -> tuple[str, ...]:
    """List what has a map of its own: labels, the last of two classes, classes, or "all classes" for one temperature.

    >>> list_calibrated("temperature", ("no", "yes"), True)
    ('yes',)
    """
    if not exclusive:
        return classes
    if len(classes) == 2:
        return classes[1:]
    return ("all classes",) if method == "temperature" else classes


def find_logits(predictions: Predictions) -> FloatArray:
    """Give the logits (n, k) that predictions have, or else logits that give the same scores.

    >>> one = Predictions(np.array(["a"]), np.eye(1), np.array([[0.5]]), ("edema",), np.array(["test"]),
    ...                   exclusive=False)
    >>> find_logits(one).tolist()
    [[0.0]]
    """
    if predictions.logits is not None:
        return predictions.logits
    least = np.finfo(np.float64)
    # A softmax does not see what is added to a row; a score of 0 has the logit of the smallest number there is.
    scores = np.maximum(predictions.scores, least.tiny)
    if predictions.exclusive:
        return np.log(scores)
    return np.log(scores) - np.log1p(-np.minimum(scores, 1 - least.epsneg))


def find_log_odds(predictions: Predictions) -> FloatArray:
    """Give the log odds (n, k) of each class against the rest, or of each label.

    >>> one = Predictions(np.array(["a"]), np.eye(1, 2), np.array([[0.5, 0.5]]), ("no", "yes"), np.array(["test"]))
    >>> find_log_odds(one).tolist()
    [[0.0, 0.0]]
    """
    logits = find_logits(predictions)
    if not predictions.exclusive:
        return logits
    others = [logsumexp(np.delete(logits, j, axis=1), axis=1) for j in range(logits.shape[1])]
    return np.asarray(logits - np.stack(others, axis=1))


def normalise(scores: FloatArray) -> FloatArray:
    """Divide rows (n, k) by their sums; a row of zeros, which no class wants, becomes even, as in scikit-learn.

    >>> normalise(np.array([[0.25, 0.75], [0.0, 0.0]])).tolist()
    [[0.25, 0.75], [0.5, 0.5]]
    """
    sums = scores.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(sums > 0, scores / sums, 1 / scores.shape[1]))


def write_calibration(calibration: Calibration, path: str | Path) -> None:
    """Write a calibration as a JSON file that appears whole or not at all.

    >>> import tempfile
    >>> made = Calibration("temperature", ("no", "yes"), True, (Temperature(2.0),), n=100)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_calibration(made, Path(folder) / "calibration.json")
    ...     read_calibration(Path(folder) / "calibration.json") == made
    True
    """
    text = json.dumps(calibration.describe(), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(Path(path), text + "\n")


def read_calibration(path: str | Path) -> Calibration:
    """Read the file that `write_calibration` wrote.

    Raises:
        DataError: it does not exist, or is no calibration.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _make_calibration(content)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", "a calibrated run", "medzoo calibrate RUN") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:120]
        raise DataError(f"{path} is no calibration: {reason}", "an unedited file", _REMEDY) from error


def _make_calibration(content: Mapping[str, Any]) -> Calibration:
    """Make a calibration of the data that `describe` gave; many kinds of error where they are others."""
    if content["version"] != VERSION:
        raise DataError(f"version {content['version']}", f"{VERSION}, which this medzoo reads")
    classes = tuple(str(name) for name in content["classes"])
    method, exclusive = content["method"], bool(content["exclusive"])
    maps = content["maps"]
    names = list_calibrated(method, classes, exclusive)
    if tuple(maps) != names:
        raise DataError(f"maps of {', '.join(maps)}", ", ".join(names))
    patients = content["patients"]
    return Calibration(
        method=method,
        classes=classes,
        exclusive=exclusive,
        maps=tuple(make_map(maps[name]) for name in names),
        n=int(content["n"]),
        patients=None if patients is None else int(patients),
        source=str(content["source"]),
    )


def _name_classes(classes: tuple[str, ...], exclusive: bool) -> str:
    """Name classes or labels for a message."""
    return f"{'classes' if exclusive else 'labels'} {', '.join(map(repr, classes[:6]))}"
