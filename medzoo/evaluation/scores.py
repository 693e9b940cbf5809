"""What a file of predictions is worth: every metric on every split, with its interval, as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import DataError
from medzoo.evaluation.calibration.bins import BINS
from medzoo.evaluation.calibration.chance import is_binned, measure_chance
from medzoo.evaluation.metrics.calls import Metric, list_positive_columns
from medzoo.evaluation.metrics.needs import explain_undefined
from medzoo.evaluation.metrics.registry import find_metric
from medzoo.evaluation.metrics.thresholds import AtThresholds, OperatingPoints, choose_thresholds
from medzoo.evaluation.predictions import SPLITS, Predictions
from medzoo.evaluation.score import Score, count_rows
from medzoo.evaluation.uncertainty.bootstrap import Interval, bootstrap_all
from medzoo.evaluation.uncertainty.by_class import OfClass, take_class
from medzoo.evaluation.uncertainty.resampling import Kind, Resampling
from medzoo.outputs import write_text

#: {split: {metric: {"value", "low", "high", "n", …}}}: only dicts, lists, strings, whole numbers, floats and None.
Metrics = dict[str, dict[str, dict[str, Any]]]

#: What is reported where nothing else is asked for: order, decisions, probabilities.
DEFAULT_METRICS = ("auroc", "auprc", "accuracy", "balanced_accuracy", "f1", "mcc", "ece", "brier")

#: Also reported for each label, and for each of several exclusive classes against the rest.
BY_CLASS = ("auroc", "auprc")

#: What is reported at thresholds that were chosen on validation rows.
AT_THRESHOLDS = ("sensitivity", "specificity", "precision", "npv")


def evaluate(
    predictions: Predictions,
    *,
    replicates: int = 1000,
    seed: int = 0,
    metrics: Sequence[str] = DEFAULT_METRICS,
    threshold: str | Sequence[str] = (),
    kind: Kind = "percentile",
) -> Metrics:
    """Give metrics with their 95 % intervals on each split that the predictions have.

    Each entry holds `value`, `low`, `high` (None where undefined, with a `reason`) and `n`, the annotated
    rows; `patients` where they are known; `positives` and `negatives` where there are two classes or one
    label. Errors over bins have no interval, but `bins` and `chance`, what they stay below in 95 % of cases where the
    scores are right. With several labels the entries of AUROC and AUPRC hold such an entry for each under `labels`,
    with several exclusive classes under `classes`, each against the rest. `threshold` is a rule or several, such as
    "youden" or "sensitivity=.9", by which thresholds are chosen on the validation rows: sensitivity, specificity and
    predictive values at them are added to the other splits. Raises ConfigError for a metric or rule that does not
    exist, less than one replicate or a negative seed, DataError for a rule without validation rows.

    >>> import numpy as np
    >>> true, said = np.eye(2)[[0, 0, 1, 1]], np.eye(2)[[0, 1, 1, 1]]
    >>> rows = Predictions(np.array(list("abcd")), true, said, ("no", "yes"), np.array(["test"] * 4))
    >>> evaluate(rows, replicates=100)["test"]["accuracy"]
    {'value': 0.75, 'low': 0.5, 'high': 1.0, 'n': 4, 'positives': 2, 'negatives': 2}
    """
    resampling = Resampling(replicates=replicates, seed=seed, kind=kind)
    for name in metrics:
        find_metric(name)
    points = _choose_points(predictions.of_split("validation"), threshold)
    present = [name for name in SPLITS if (predictions.splits == name).any()]
    return {
        name: _score_split(
            predictions.of_split(name).annotated(),
            metrics,
            # Thresholds are too good on the rows that they were chosen on; a fixed one is not chosen.
            [one for one in points if name != "validation" or _is_fixed(one.rule)],
            resampling,
        )
        for name in present
    }


def measure(
    metrics: Mapping[str, Metric],
    rows: Predictions,
    resampling: Resampling,
    reasons: Mapping[str, str] | None = None,
) -> dict[str, Score]:
    """Give the score of each metric on the same draws of rows; the registry's are explained where undefined.

    `reasons` are further ones, by the metrics' names.

    >>> from medzoo.evaluation.metrics.discrimination import accuracy
    >>> true, said = np.eye(2)[[0, 0, 1, 1]], np.eye(2)[[0, 1, 1, 1]]
    >>> rows = Predictions(np.array(list("abcd")), true, said, ("no", "yes"), np.array(["test"] * 4))
    >>> measure({"accuracy": accuracy}, rows, Resampling(replicates=100))["accuracy"].value
    0.75
    """
    annotated = rows.annotated()
    counts = count_rows(annotated)
    values = {name: metric(annotated) for name, metric in metrics.items()}
    defined = {name: metric for name, metric in metrics.items() if not np.isnan(values[name])}
    intervals = bootstrap_all(defined, annotated, resampling) if defined else {}
    scores = {}
    for name, value in values.items():
        if name in intervals:
            interval = intervals[name]
        else:
            reason = (reasons or {}).get(name) or "undefined on these rows"
            interval = Interval(float("nan"), float("nan"), reason)
        scores[name] = Score(value, interval.low, interval.high, counts, interval.reason)
    return scores


def format_metrics(metrics: Mapping[str, Any]) -> str:
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


def write_metrics(metrics: Mapping[str, Any], path: str | Path) -> None:
    """Write metrics as a JSON file that appears whole or not at all.

    Raises DataError when it cannot be written, ValueError for NaN or infinity.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_metrics({}, Path(folder) / "metrics.json")
    ...     (Path(folder) / "metrics.json").read_text()
    '{}\\n'
    """
    write_text(Path(path), format_metrics(metrics))


def _choose_points(validation: Predictions, rules: str | Sequence[str]) -> list[OperatingPoints]:
    """Choose thresholds on validation rows by each rule.

    Raises:
        DataError: there are none, and the rule needs some.
    """
    found = []
    for rule in (rules,) if isinstance(rules, str) else rules:
        if not _is_fixed(rule) and not len(validation.annotated()):
            raise DataError(
                f"no annotated validation rows to choose a threshold on by {rule!r}",
                "rows of split validation",
                "--threshold fixed=.5",
            )
        found.append(choose_thresholds(validation, rule))
    return found


def _is_fixed(rule: str) -> bool:
    """Tell whether a rule looks at no rows."""
    return rule.startswith("fixed")


def _score_split(
    rows: Predictions, names: Sequence[str], points: Sequence[OperatingPoints], resampling: Resampling
) -> dict[str, dict[str, Any]]:
    """Give the entry of each metric on one split; those of labels and classes within it."""
    wanted = {name: find_metric(name).measure for name in names}
    reasons = {name: explain_undefined(name, rows) or "" for name in names}
    found = measure(wanted, rows, resampling, reasons)
    entries = {name: score.describe() for name, score in found.items()}
    for name in (name for name, metric in wanted.items() if is_binned(metric)):
        if entries[name]["value"] is not None:
            entries[name]["bins"] = getattr(wanted[name], "keywords", {}).get("bins", BINS)
            entries[name]["chance"] = measure_chance(wanted[name], rows, seed=resampling.seed)
    if len(list_positive_columns(rows)) > 1:
        for name in (name for name in BY_CLASS if name in entries):
            entries[name]["classes" if rows.exclusive else "labels"] = _score_classes(name, rows, resampling)
    for one in points:
        entries |= _score_at(rows, one, resampling)
    return entries


def _score_classes(name: str, rows: Predictions, resampling: Resampling) -> dict[str, dict[str, Any]]:
    """Give one metric's entry on each label or class, all on the same draws."""
    metric = find_metric(name).measure
    parts = [take_class(rows, index) for index in range(len(rows.classes))]
    reasons = {part.classes[0]: explain_undefined(name, part) or "" for part in parts}
    return _measure_parts([metric] * len(parts), parts, rows, resampling, reasons)


def _score_at(
    rows: Predictions, points: OperatingPoints, resampling: Resampling
) -> dict[str, dict[str, Any]]:
    """Give the entries of decisions at thresholds, which each says; those of labels and classes within it."""
    wanted = {name: AtThresholds(name, points) for name in AT_THRESHOLDS}
    reasons = {name: metric.explain(rows) or "" for name, metric in wanted.items()}
    found = measure(wanted, rows, resampling, reasons)
    entries = {name: score.describe() | {"at": points.describe()} for name, score in found.items()}
    if len(points.classes) > 1:
        parts = [take_class(rows, index) for index in range(len(rows.classes))]
        alone = [
            replace(points, classes=(name,), thresholds=(threshold,))
            for name, threshold in zip(points.classes, points.thresholds, strict=True)
        ]
        for name, entry in entries.items():
            metrics = [AtThresholds(name, point) for point in alone]
            why = {
                part.classes[0]: metric.explain(part) or ""
                for metric, part in zip(metrics, parts, strict=True)
            }
            within = _measure_parts(metrics, parts, rows, resampling, why)
            entry["classes" if rows.exclusive else "labels"] = within
    return {f"{name} ({points.rule})": entry for name, entry in entries.items()}


def _measure_parts(
    metrics: Sequence[Metric],
    parts: Sequence[Predictions],
    rows: Predictions,
    resampling: Resampling,
    reasons: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """Give the entry of a metric on each label or class, counted on the label's own rows."""
    names = [part.classes[0] for part in parts]
    wanted = {name: OfClass(metrics[index], index) for index, name in enumerate(names)}
    found = measure(wanted, rows, resampling, reasons)
    return {
        name: replace(found[name], counts=count_rows(part)).describe()
        for name, part in zip(names, parts, strict=True)
    }
