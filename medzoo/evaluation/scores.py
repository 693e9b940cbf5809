"""What a file of predictions is worth: every metric on every split, with its interval, as plain JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.evaluation.bootstrap import bootstrap, identify_patients
from medzoo.evaluation.discrimination import METRICS, explain_undefined
from medzoo.evaluation.predictions import SPLITS, Predictions
from medzoo.outputs import write_text

#: {split: {metric: {"value", "low", "high", "n", …}}}: only dicts, strings, whole numbers, floats and None.
Metrics = dict[str, dict[str, dict[str, Any]]]


def evaluate(predictions: Predictions, *, replicates: int = 1000, seed: int = 0) -> Metrics:
    """Give every metric with its 95 % interval on each split that the predictions have.

    Each entry holds `value`, `low`, `high` (None where undefined, with a `reason`) and `n`, the annotated
    rows; `patients` where they are known; `positives` and `negatives` where there are two classes or one
    label. With several labels, the entry `auroc` holds such an entry for each under `labels`. Raises
    ConfigError for less than one replicate or a negative seed.

    >>> import numpy as np
    >>> true, said = np.eye(2)[[0, 0, 1, 1]], np.eye(2)[[0, 1, 1, 1]]
    >>> rows = Predictions(np.array(list("abcd")), true, said, ("no", "yes"), np.array(["test"] * 4))
    >>> evaluate(rows, replicates=100)["test"]["accuracy"]
    {'value': 0.75, 'low': 0.5, 'high': 1.0, 'n': 4, 'positives': 2, 'negatives': 2}
    """
    present = [name for name in SPLITS if (predictions.splits == name).any()]
    return {name: _score_split(predictions.of_split(name), replicates, seed) for name in present}


def format_metrics(metrics: Metrics) -> str:
    """Give metrics as JSON text that is the same whenever the metrics are.

    Raises ValueError for NaN or infinity, which JSON does not have: undefined is None.

    >>> print(format_metrics({"test": {"auroc": {"value": None}}}), end="")
    {
      "test": {
        "auroc": {
          "value": null
        }
      }
    }
    """
    return json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_metrics(metrics: Metrics, path: str | Path) -> None:
    """Write metrics as a JSON file that appears whole or not at all.

    Raises DataError when it cannot be written, ValueError for NaN or infinity.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_metrics({}, Path(folder) / "metrics.json")
    ...     (Path(folder) / "metrics.json").read_text()
    '{}\\n'
    """
    write_text(Path(path), format_metrics(metrics))


def _score_split(rows: Predictions, replicates: int, seed: int) -> dict[str, dict[str, Any]]:
    """Give the entry of each metric; that of AUROC with its labels where there are several."""
    entries = {name: _score(name, rows, replicates, seed) for name in METRICS}
    if not rows.exclusive and len(rows.classes) > 1:
        entries["auroc"]["labels"] = {
            name: _score("auroc", _take_label(rows, index), replicates, seed)
            for index, name in enumerate(rows.classes)
        }
    return entries


def _score(name: str, rows: Predictions, replicates: int, seed: int) -> dict[str, Any]:
    """Give one metric's entry; no interval is drawn around a value that is undefined."""
    annotated = rows.annotated()
    reason = explain_undefined(name, annotated)
    value = low = high = math.nan
    if reason is None:
        value = METRICS[name](annotated)
        interval = bootstrap(METRICS[name], annotated, replicates=replicates, seed=seed)
        low, high, reason = interval.low, interval.high, interval.reason
    entry: dict[str, Any] = {"value": _or_none(value), "low": _or_none(low), "high": _or_none(high)}
    entry |= _count(annotated)
    return entry if reason is None else entry | {"reason": reason}


def _or_none(value: float) -> float | None:
    """Give None for NaN, which JSON cannot say."""
    return None if math.isnan(value) else value


def _count(annotated: Predictions) -> dict[str, int]:
    """Count the rows, the patients where known, and the positives and negatives where that has a meaning."""
    counts = {"n": len(annotated)}
    patients = identify_patients(annotated)
    if patients is not None:
        counts["patients"] = len(np.unique(patients))
    if len(annotated.classes) == (2 if annotated.exclusive else 1):
        counts["positives"] = int((annotated.labels[:, -1] == 1).sum())
        counts["negatives"] = int((annotated.labels[:, -1] == 0).sum())
    return counts


def _take_label(rows: Predictions, index: int) -> Predictions:
    """Give one independent label as predictions of that label alone."""
    return Predictions(
        ids=rows.ids,
        labels=rows.labels[:, [index]],
        scores=rows.scores[:, [index]],
        classes=(rows.classes[index],),
        splits=rows.splits,
        patients=rows.patients,
        exclusive=False,
    )
