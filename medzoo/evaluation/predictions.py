"""Predictions: one row per image with what is true and what a model said, in memory and as a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import DataError, nearest
from medzoo.evaluation.tables.columns import read_columns
from medzoo.evaluation.tables.csv_table import read_csv_table
from medzoo.evaluation.tables.pairing import align as align
from medzoo.evaluation.tables.pairing import join as join
from medzoo.evaluation.tables.parquet_table import read_parquet_table
from medzoo.evaluation.tables.writing import CSV, PARQUET, write_file

SPLITS = ("train", "validation", "test")

#: The files that a run's predictions may be in.
IN_A_RUN = (f"predictions{CSV}", f"predictions{PARQUET}")

FloatArray = NDArray[np.float64]
TextArray = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What is true and what a model said of n images and k classes.

    ids (n,) str; labels (n, k) float64, one-hot if `exclusive`, else 0 or 1 per label, NaN = not annotated
    (the whole row where exclusive); scores (n, k) float64 probabilities; classes k names, the last one
    positive where there are two; splits (n,) of train, validation, test; patients (n,) str, "" where
    unknown, or None; groups: further columns, each (n,) str; logits (n, k) float64 as the network gave them, or None:
    the scores are their softmax or sigmoid unless they were calibrated. Raises DataError when these do not hold.

    >>> import numpy as np
    >>> one = Predictions(ids=np.array(["a"]), labels=np.array([[0.0, 1.0]]), scores=np.array([[0.3, 0.7]]),
    ...                   classes=("benign", "malignant"), splits=np.array(["test"]))
    >>> len(one), one.exclusive
    (1, True)
    """

    ids: TextArray = field(repr=False)
    labels: FloatArray = field(repr=False)
    scores: FloatArray = field(repr=False)
    classes: tuple[str, ...]
    splits: TextArray = field(repr=False)
    patients: TextArray | None = field(default=None, repr=False)
    groups: Mapping[str, TextArray] = field(default_factory=dict, repr=False)
    exclusive: bool = True
    logits: FloatArray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together, so that no metric is computed on them."""
        count, width = len(self.ids), len(self.classes)
        for name, array in (("labels", self.labels), ("scores", self.scores)):
            if array.shape != (count, width):
                raise DataError(f"{name} of shape {array.shape}", f"({count}, {width}): ids × classes")
        if self.logits is not None and self.logits.shape != (count, width):
            raise DataError(f"logits of shape {self.logits.shape}", f"({count}, {width}): ids × classes")
        columns = {"splits": self.splits, "patients": self.patients, **self.groups}
        for name, column in columns.items():
            if column is not None and column.shape != (count,):
                raise DataError(f"{name} of shape {column.shape}", f"({count},): one per id")
        _check_values(self.labels, self.scores, self.splits, self.exclusive)

    def __len__(self) -> int:
        """Count the rows, annotated or not."""
        return len(self.ids)

    def take(self, indices: NDArray[Any]) -> Predictions:
        """Give the rows of an index array (repeats allowed) or of a boolean mask, in that order.

        >>> import numpy as np
        >>> splits = np.array(["test", "test"])
        >>> two = Predictions(np.array(["a", "b"]), np.eye(2), np.eye(2), ("no", "yes"), splits)
        >>> two.take(np.array([1, 1, 0])).ids.tolist()
        ['b', 'b', 'a']
        """
        return Predictions(
            ids=self.ids[indices],
            labels=self.labels[indices],
            scores=self.scores[indices],
            classes=self.classes,
            splits=self.splits[indices],
            patients=None if self.patients is None else self.patients[indices],
            groups={name: column[indices] for name, column in self.groups.items()},
            exclusive=self.exclusive,
            logits=None if self.logits is None else self.logits[indices],
        )

    def of_split(self, name: str) -> Predictions:
        """Give the rows of train, validation or test; none where the file has no such rows.

        Raises DataError for any other name.

        >>> import numpy as np
        >>> splits = np.array(["train", "test"])
        >>> two = Predictions(np.array(["a", "b"]), np.eye(2), np.eye(2), ("no", "yes"), splits)
        >>> two.of_split("test").ids.tolist()
        ['b']
        """
        if name not in SPLITS:
            raise DataError(f"there is no split {name!r}", nearest(name, SPLITS))
        chosen = self.splits == name
        return self if chosen.all() else self.take(chosen)

    def annotated(self) -> Predictions:
        """Give the rows that have at least one label: the only ones that a metric can use.

        >>> import numpy as np
        >>> labels = np.array([[np.nan, np.nan], [0.0, 1.0]])
        >>> splits = np.array(["test", "test"])
        >>> two = Predictions(np.array(["a", "b"]), labels, np.eye(2), ("no", "yes"), splits)
        >>> two.annotated().ids.tolist()
        ['b']
        """
        known = np.flatnonzero(~np.isnan(self.labels).all(axis=1))
        return self if known.size == len(self) else self.take(known)


def _check_values(labels: FloatArray, scores: FloatArray, splits: TextArray, exclusive: bool) -> None:
    """Refuse labels other than 0, 1 and NaN, rows that are not one-hot, scores that are no probabilities."""
    unknown = np.isnan(labels)
    if not (unknown | (labels == 0) | (labels == 1)).all():
        raise DataError("labels hold other values than 0, 1 and NaN", "0, 1, or NaN for not annotated")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise DataError(
            "scores hold NaN or values outside 0 to 1", "probabilities", "a softmax or sigmoid of logits"
        )
    if not np.isin(splits, SPLITS).all():
        raise DataError("splits hold other names", "train, validation or test")
    if exclusive:
        if labels.shape[1] < 2:
            raise DataError("one exclusive class", "two or more", "exclusive=False for a single label")
        if not (unknown.all(axis=1) | (labels.sum(axis=1) == 1)).all():
            raise DataError("labels have rows that are not one-hot", "one 1 per row, or NaN throughout")


def read_predictions(path: str | Path) -> Predictions:
    r"""Read a table of predictions, from medzoo or from anywhere else: Parquet by the ending .parquet, else CSV.

    Columns: `id`; `patient` and `split` where known (no `split`: all rows are test); `label`, the class's
    name, or one `label_<name>` per independent label, 0 or 1; one `score_<class>` per class, in the order
    of the classes, or else one `logit_<class>`, of which the scores are the softmax, or the sigmoid of each
    label. An empty label is one that nobody annotated. Logits of every class beside scores are kept; every other
    column is a group. With `label` and a single score or logit, the other class is the labels' other name: it comes
    first, with the score 1 − p.

    Raises DataError, with the row where there is one: a file that is missing, empty, no table or without
    rows; no score or label column; a label without score; a score that is no probability, or exclusive
    scores that do not sum to 1 within 0.001; a logit that is no finite number; an id twice in a split; another
    split than train, validation and test; more rows than memory holds.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "p.csv"
    ...     _ = path.write_text("id,label,score_malignant,sex\na,benign,0.25,F\nb,malignant,0.5,M\n")
    ...     predictions = read_predictions(path)
    >>> predictions.classes, predictions.scores[0].tolist(), list(predictions.groups)
    (('benign', 'malignant'), [0.75, 0.25], ['sex'])
    """
    path = Path(path)
    table = read_parquet_table(path) if path.suffix.lower() == PARQUET else read_csv_table(path)
    columns = read_columns(table, SPLITS)
    return Predictions(
        ids=columns.ids,
        labels=columns.labels,
        scores=columns.scores,
        classes=columns.classes,
        splits=columns.splits,
        patients=columns.patients,
        groups=columns.groups,
        exclusive=columns.exclusive,
        logits=columns.logits,
    )


def load_predictions(path: str | Path) -> Predictions:
    r"""Read the predictions of a run's directory, or of a predictions file.

    Raises DataError when the run holds no predictions, and whatever `read_predictions` raises.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as run:
    ...     _ = (Path(run) / "predictions.csv").write_text("id,label,score_0,score_1\na,1,0.5,0.5\n")
    ...     len(load_predictions(run))
    1
    """
    if not str(path):
        raise DataError("an empty path", "a predictions file or a run")
    path = Path(path)
    if not path.is_dir():
        return read_predictions(path)
    inside = next((path / name for name in IN_A_RUN if (path / name).exists()), None)
    if inside is None:
        raise DataError(
            f"{path} holds no predictions: the run was interrupted, is still training, or this is not a run",
            "a folder with predictions.csv",
            _suggest_runs(path),
        )
    return read_predictions(inside)


def _suggest_runs(folder: Path) -> str:
    """Suggest the runs within a folder, or else to train."""
    runs = sorted(inside.parent for inside in folder.glob("*/predictions.csv"))
    return f"medzoo evaluate {runs[0]}" if runs else "the folder of a finished run"


def write_predictions(predictions: Predictions, path: str | Path, logits: FloatArray | None = None) -> None:
    """Write predictions with the logits they have, or with `logits` (n, k), as `read_predictions` reads them.

    A path that ends in .parquet gets a Parquet file, any other a CSV file with as many digits as it takes to read
    the same float64 back. The file appears whole or not at all. Raises DataError when two columns would have one
    name, OSError when the file cannot be written.

    >>> import numpy as np, tempfile
    >>> one = Predictions(np.array(["a"]), np.array([[0.0, 1.0]]), np.array([[0.3, 0.7]]), ("no", "yes"),
    ...                   np.array(["test"]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_predictions(one, Path(folder) / "p.csv")
    ...     print((Path(folder) / "p.csv").read_text(), end="")
    id,split,label,score_no,score_yes
    a,test,yes,0.3,0.7
    """
    write_file(predictions if logits is None else replace(predictions, logits=logits), Path(path))
