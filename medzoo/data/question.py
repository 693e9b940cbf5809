"""`Question`: which classes images are judged on, and what a data set's own labels say about these."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from medzoo.data.dataset import Dataset, join_labels
from medzoo.data.options import SourceOptions
from medzoo.errors import DataError, nearest

WITHOUT_LABELS = "--unlabelled, which takes the images alone"


@dataclass(frozen=True)
class Question:
    """What data are to be judged on: `classes`, one an image if `exclusive`, and how the training data were read.

    `habits` are the options of the training data: they hold for a new table where it has the columns they name.
    If `ignore_labels`, what the data say themselves is left out.
    """

    classes: tuple[str, ...]
    exclusive: bool = True
    habits: SourceOptions = field(default_factory=SourceOptions)
    ignore_labels: bool = False


def answer(dataset: Dataset, question: Question) -> Dataset:
    """Give a data set the question's classes, and marks (n, k) of what its labels say about them.

    Raises DataError for labels of other classes, and for several labels an image where the classes are exclusive.
    """
    marks = np.full((len(dataset), len(question.classes)), np.nan, np.float32)
    if not question.ignore_labels:
        if dataset.marks is None:
            mark_classes(dataset, question, marks)
        else:
            mark_labels(dataset, question, marks)
    if question.exclusive:
        hits = [np.flatnonzero(row == 1) for row in marks]
        texts = [question.classes[hit[0]] if len(hit) else "" for hit in hits]
    else:
        texts = join_labels(marks, question.classes)
    table = dataset.table.assign(label=np.array(texts, object))
    return replace(dataset, classes=question.classes, table=table, marks=marks)


def mark_classes(dataset: Dataset, question: Question, marks: NDArray[np.float32]) -> None:
    """Fill marks from a class an image; an empty one stays unknown."""
    labels = dataset.table["label"].to_numpy(object)
    known = np.flatnonzero(labels != "")
    for row in known.tolist():
        if labels[row] not in question.classes:
            others = len({*labels[known]} - {*question.classes}) - 1
            raise DataError(
                f"{describe_row(dataset, row)} has the label {labels[row]!r}, which is no class of the run"
                + (f" (and {others} more such labels)" if others else ""),
                nearest(labels[row], question.classes),
                f"--label-column NAME, or {WITHOUT_LABELS}" if dataset.rows else WITHOUT_LABELS,
            )
    if len(known) and not question.exclusive:
        raise DataError(
            f"{dataset.name} has one class an image",
            f"several labels, as the run has: {', '.join(question.classes)}",
            WITHOUT_LABELS,
        )
    positions = {name: position for position, name in enumerate(question.classes)}
    marks[known] = np.eye(len(positions), dtype=np.float32)[[positions[name] for name in labels[known]]]


def mark_labels(dataset: Dataset, question: Question, marks: NDArray[np.float32]) -> None:
    """Fill marks from several labels an image; a label that the data do not have stays unknown."""
    assert dataset.marks is not None
    if question.exclusive:
        raise DataError(
            f"{dataset.name} has several labels an image: {', '.join(dataset.classes)}",
            f"one class an image, as the run has: {', '.join(question.classes)}",
            f"--label-column NAME, or {WITHOUT_LABELS}" if dataset.rows else WITHOUT_LABELS,
        )
    for place, name in enumerate(dataset.classes):
        if name not in question.classes:
            raise DataError(
                f"{dataset.name} has the label {name!r}, which is none of the run's",
                nearest(name, question.classes),
                f"--label-columns NAMES, or {WITHOUT_LABELS}" if dataset.rows else WITHOUT_LABELS,
            )
        marks[:, question.classes.index(name)] = dataset.marks[:, place]


def describe_row(dataset: Dataset, row: int) -> str:
    """Name a row as its user finds it: by the table and its number, else by the image."""
    if dataset.rows:
        return f"{dataset.name}, row {dataset.rows[row]}"
    return f"{dataset.name}: {dataset.table['id'].iloc[row]!r}"
