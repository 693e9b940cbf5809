"""What a report is about: a finished run or a table of predictions, read once."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from medzoo.errors import DataError
from medzoo.evaluation.metrics.thresholds import choose_thresholds
from medzoo.evaluation.predictions import Predictions, load_predictions
from medzoo.evaluation.scores import Metrics, evaluate
from medzoo.evaluation.uncertainty.resampling import Resampling

#: Splits in the order in which a reader wants them: what was not trained or chosen on first.
FIRST_TO_LAST = ("test", "validation", "train")

#: How thresholds are chosen: the highest sensitivity + specificity.
RULE = "youden"


@dataclass(frozen=True, eq=False)
class Subject:
    """A run or a table: its predictions and, of a run, what its files say; `by` are the columns of subgroups.

    `config`, `environment` and `recorded` (its metrics) are empty where there is no run, or the file cannot be read.
    """

    path: Path
    predictions: Predictions
    is_run: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    recorded: Mapping[str, Any] = field(default_factory=dict)
    by: tuple[str, ...] = ()
    resampling: Resampling = field(default_factory=Resampling)

    @property
    def name(self) -> str:
        """What the page is called."""
        return self.path.resolve().name

    @cached_property
    def split(self) -> str:
        """The split that figures are drawn of: test, or else the next that has labels."""
        for split in FIRST_TO_LAST:
            if len(self.predictions.of_split(split).annotated()):
                return split
        return next(split for split in FIRST_TO_LAST if (self.predictions.splits == split).any())

    @cached_property
    def rows(self) -> Predictions:
        """The annotated rows of that split."""
        return self.predictions.of_split(self.split).annotated()

    @cached_property
    def metrics(self) -> Metrics:
        """Every metric on every split, with its interval; decisions at thresholds where validation chose them."""
        return evaluate(
            self.predictions,
            replicates=self.resampling.replicates,
            seed=self.resampling.seed,
            threshold=self.rule or (),
        )

    @cached_property
    def rule(self) -> str | None:
        """The rule by which thresholds are chosen on validation; None where its labels choose none."""
        validation = self.predictions.of_split("validation").annotated()
        if not len(validation) or choose_thresholds(validation, RULE).reason is not None:
            return None
        return RULE

    def find_entry(self, metric: str, class_name: str = "") -> Mapping[str, Any]:
        """Find a metric's entry on the split that is drawn, or that of one of its classes or labels."""
        entry: Mapping[str, Any] = self.metrics.get(self.split, {}).get(metric, {})
        inside: Mapping[str, Mapping[str, Any]] = entry.get("labels") or entry.get("classes") or {}
        return inside.get(class_name, {}) if inside and class_name else entry

    @property
    def is_binary(self) -> bool:
        """Whether there are two exclusive classes, of which the last is positive."""
        return self.predictions.exclusive and len(self.predictions.classes) == 2


def read_subject(path: Path, by: tuple[str, ...], resampling: Resampling) -> Subject:
    """Read a run's folder or a table of predictions.

    Raises:
        DataError: there is nothing to report on: no predictions, or a table without labels.
    """
    predictions = load_predictions(path)
    is_run = path.is_dir()
    if not is_run and not len(predictions.annotated()):
        raise DataError(f"{path} has no labels", "a label in some rows", "medzoo predict on labelled data")
    for column in by:
        _check_column(column, predictions)
    if not is_run:
        return Subject(path, predictions, by=by, resampling=resampling)
    return Subject(
        path,
        predictions,
        is_run=True,
        config=_read_mapping(path / "config.toml", tomllib.loads),
        environment=_read_mapping(path / "environment.json", json.loads),
        recorded=_read_mapping(path / "metrics.json", json.loads),
        by=by,
        resampling=resampling,
    )


def _check_column(column: str, predictions: Predictions) -> None:
    """Refuse a group column, or a crossing of several, that the predictions do not have."""
    from medzoo.evaluation.grouping import group_rows

    group_rows(predictions, column)


def _read_mapping(path: Path, parse: Callable[[str], Any]) -> Mapping[str, Any]:
    """Read a file of nested keys; one that is missing or damaged is empty, and the page says what it lacks."""
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
