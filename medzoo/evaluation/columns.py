"""What the columns of a predictions table mean: labels, scores, splits, patients and groups, each checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import DataError, nearest
from medzoo.evaluation.csv_table import CsvTable

#: How far the scores of exclusive classes may sum from 1: three decimals, as tables are often rounded.
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Columns:
    """The checked columns of a predictions table: lists of n, and labels and scores of (n, k)."""

    ids: list[str]
    labels: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: tuple[str, ...]
    splits: list[str]
    patients: list[str] | None
    groups: dict[str, list[str]]
    exclusive: bool


def read_columns(table: CsvTable, splits: tuple[str, ...]) -> Columns:
    """Give meaning to the columns of a table, or say which row or column has none.

    `splits` are the names a split may have; without a `split` column every row has the last one.
    Raises DataError, as listed for `read_predictions`.

    >>> from pathlib import Path
    >>> text = {"id": ["a"], "label_edema": [""], "score_edema": ["0.5"]}
    >>> read_columns(CsvTable(Path("p.csv"), text, (2,)), ("train", "test")).splits
    ['test']
    """
    named = _find_classes(table)
    exclusive = _is_exclusive(table, named)
    scores = np.stack([_read_scores(table, name) for name in named], axis=1)
    classes = named
    if exclusive and len(named) == 1:
        classes = (_name_other_class(table, named[0]), named[0])
        scores = np.hstack([1 - scores, scores])
    if exclusive:
        labels = _read_class_names(table, classes)
        _check_sums(table, scores)
    else:
        labels = np.stack([_read_label(table, name) for name in classes], axis=1)
    used = {"id", "patient", "split", "label"} | {
        f"{kind}_{name}" for name in classes for kind in ("score", "logit")
    }
    if not exclusive:
        used |= {f"label_{name}" for name in classes}
    patients = table.columns.get("patient")
    names = _read_splits(table, splits)
    return Columns(
        ids=_read_ids(table, names),
        labels=labels,
        scores=scores,
        classes=classes,
        splits=names,
        patients=patients if patients and any(patients) else None,
        groups={name: values for name, values in table.columns.items() if name not in used},
        exclusive=exclusive,
    )


def _find_classes(table: CsvTable) -> tuple[str, ...]:
    """Give the classes in the order of the score columns."""
    classes = tuple(
        name.removeprefix("score_")
        for name in table.columns
        if name.startswith("score_") and name != "score_"
    )
    if not classes:
        listed = ", ".join(repr(name) for name in list(table.columns)[:12])
        raise DataError(
            f"{table.path} has no score columns, only {listed}",
            "one score_<class> column of probabilities per class",
            "renaming them score_<class>",
        )
    return classes


def _is_exclusive(table: CsvTable, classes: tuple[str, ...]) -> bool:
    """Tell one class per row (`label`) from independent labels (`label_<name>`)."""
    independent = [name.removeprefix("label_") for name in table.columns if name.startswith("label_")]
    if "label" in table.columns:
        both = next((name for name in independent if name in classes), None)
        if both is None:
            return True
        found = f"{table.path} has a column 'label' and a column 'label_{both}'"
        raise DataError(found, "one or the other", "deleting one of them")
    if not independent:
        raise DataError(
            f"{table.path} has no label column",
            "a column 'label' with the class's name, or one label_<name> of 0 and 1 per label",
            f"adding a column 'label' or 'label_{classes[0]}'",
        )
    strange = next((name for name in independent if name not in classes), None)
    if strange is not None:
        found = f"{table.path} has a column 'label_{strange}' and no 'score_{strange}'"
        raise DataError(
            found, f"labels named as the scores, {nearest(strange, classes)}", "renaming one of them"
        )
    unlabelled = next((name for name in classes if name not in independent), None)
    if unlabelled is not None:
        found = f"{table.path} has a column 'score_{unlabelled}' and no 'label_{unlabelled}'"
        raise DataError(found, "one label column per score column", f"an empty column 'label_{unlabelled}'")
    return False


def _read_scores(table: CsvTable, name: str) -> NDArray[np.float64]:
    """Read one column of probabilities, (n,)."""
    column = f"score_{name}"
    values = np.array([_to_number(text) for text in table.columns[column]], dtype=np.float64)
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if wrong.size:
        row = int(wrong[0])
        found = f"{table.locate(row)}: {column} is {table.columns[column][row]!r}"
        if np.isnan(values[row]):
            raise DataError(
                found, "a probability, a number from 0 to 1", "predicting this row again, or deleting it"
            )
        remedy = (
            f"naming the column logit_{name} if it holds logits, beside {column}: their softmax or sigmoid"
        )
        raise DataError(found, "a probability from 0 to 1", remedy)
    return values


def _to_number(text: str) -> float:
    """Give the float64 a text stands for; NaN where it stands for none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _name_other_class(table: CsvTable, scored: str) -> str:
    """Name the class that has no score column in a binary table with one."""
    names = sorted({text for text in table.columns["label"] if text})
    others = [name for name in names if name != scored]
    if not others:
        return f"not {scored}"
    if len(others) > 1 or scored not in names:
        listed = ", ".join(repr(name) for name in names[:8])
        raise DataError(
            f"{table.path} has the single score column 'score_{scored}' and the labels {listed}",
            f"{scored!r} and one other name",
            f"a column label_{scored} of 0 and 1, or one score column per class",
        )
    return others[0]


def _read_class_names(table: CsvTable, classes: tuple[str, ...]) -> NDArray[np.float64]:
    """Read the column of class names as one-hot rows (n, k), NaN where it is empty."""
    rows = {name: np.eye(len(classes))[index] for index, name in enumerate(classes)}
    rows[""] = np.full(len(classes), np.nan)
    for row, text in enumerate(table.columns["label"]):
        if text not in rows:
            found = f"{table.locate(row)}: label {text!r} has no column 'score_{text}'"
            raise DataError(found, nearest(text, classes), "correcting the label, or adding the score column")
    return np.stack([rows[text] for text in table.columns["label"]])


def _read_label(table: CsvTable, name: str) -> NDArray[np.float64]:
    """Read one column of 0, 1 or empty, (n,), NaN where it is empty."""
    meanings = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "": float("nan")}
    column = table.columns[f"label_{name}"]
    for row, text in enumerate(column):
        if text not in meanings:
            found = f"{table.locate(row)}: label_{name} is {text!r}"
            raise DataError(found, "0, 1, or nothing where not annotated", "correcting or emptying it")
    return np.array([meanings[text] for text in column], dtype=np.float64)


def _check_sums(table: CsvTable, scores: NDArray[np.float64]) -> None:
    """Refuse exclusive classes whose probabilities do not sum to 1."""
    sums = scores.sum(axis=1)
    # The slack keeps 1.001, as typed, inside the tolerance whatever its float64 sum rounds to.
    wrong = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE + 1e-9)
    if wrong.size:
        row = int(wrong[0])
        raise DataError(
            f"{table.locate(row)}: the scores sum to {sums[row]:.6g}",
            "1, since each row has one class",
            "a softmax, or label_<name> columns if the labels are independent",
        )


def _read_splits(table: CsvTable, splits: tuple[str, ...]) -> list[str]:
    """Give each row's split; the last of `splits` throughout where the table has no such column."""
    names = table.columns.get("split", [splits[-1]] * len(table))
    row = next((index for index, name in enumerate(names) if name not in splits), None)
    if row is not None:
        found = f"{table.locate(row)}: there is no split {names[row]!r}"
        raise DataError(
            found, nearest(names[row], splits), "correcting it, or deleting the column: all rows are test"
        )
    return names


def _read_ids(table: CsvTable, splits: list[str]) -> list[str]:
    """Give each row's id, refusing an empty one and one that a split has twice."""
    if "id" not in table.columns:
        raise DataError(f"{table.path} has no column 'id'", "one name per image", "adding a column 'id'")
    seen: dict[tuple[str, str], int] = {}
    for row, key in enumerate(zip(splits, table.columns["id"], strict=True)):
        if not key[1]:
            raise DataError(f"{table.locate(row)}: the id is empty", "one name per image", "filling it in")
        if key in seen:
            found = (
                f"{table.locate(row)}: id {key[1]!r} is in row {seen[key] + 1} too, also of split {key[0]!r}"
            )
            raise DataError(found, "each image once per split", "deleting one of the two rows")
        seen[key] = row
    return table.columns["id"]
