"""What the columns of a predictions table mean: labels, scores, splits, patients and groups, each checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medzoo.errors import DataError, nearest
from medzoo.evaluation.tables.memory import check_room
from medzoo.evaluation.tables.numbers import read_logits, read_scores, squash
from medzoo.evaluation.tables.repeats import find_repeat
from medzoo.evaluation.tables.table import (
    FloatArray,
    Table,
    TextArray,
    find_first,
    list_classes,
    measure_texts,
    to_codes,
    to_texts,
)

#: What a cell of a column label_<name> says.
MEANINGS = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "": float("nan")}


@dataclass(frozen=True)
class Columns:
    """The checked columns of a predictions table: arrays of n, and labels, scores and logits of (n, k)."""

    ids: TextArray
    labels: FloatArray
    scores: FloatArray
    logits: FloatArray | None
    classes: tuple[str, ...]
    splits: TextArray
    patients: TextArray | None
    groups: dict[str, TextArray]
    exclusive: bool


def read_columns(table: Table, splits: tuple[str, ...]) -> Columns:
    """Give meaning to the columns of a table, or say which row or column has none.

    `splits` are the names a split may have; without a `split` column every row has the last one.
    Raises DataError, as listed for `read_predictions`.
    """
    kind, named = _find_classes(table)
    exclusive = _is_exclusive(table, kind, named)
    texts = _list_texts(table, named, exclusive)
    check_room(table.path, estimate_bytes(table, max(2, len(named)), texts), f"its {len(table):,} rows")
    classes = (_name_other_class(table, kind, named[0]), named[0]) if exclusive and len(named) == 1 else named
    texts = [name for name in texts if name not in {f"logit_{other}" for other in classes}]
    logits = read_logits(table, classes, named, is_only=kind == "logit")
    if kind == "logit":
        assert logits is not None
        scores = squash(logits, exclusive)
    else:
        scores = read_scores(table, named, classes, exclusive)
    labels = _read_class_names(table, kind, classes) if exclusive else _read_labels(table, classes)
    split_names = _read_splits(table, splits)
    return Columns(
        ids=_read_ids(table, split_names),
        labels=labels,
        scores=scores,
        logits=logits,
        classes=classes,
        splits=split_names,
        patients=_read_patients(table),
        groups={name: to_texts(table.columns[name]) for name in texts},
        exclusive=exclusive,
    )


def estimate_bytes(table: Table, width: int, groups: list[str]) -> int:
    """Estimate the bytes that the rows take as arrays of `width` classes, and while they are checked."""
    numbers = {name for name in table.columns if name.startswith("logit_")}
    characters = sum(
        measure_texts(table.columns[name]) for name in ("id", "patient", *groups) if name in table.columns
    )
    split = measure_texts(table.columns["split"]) if "split" in table.columns else len("test")
    # Labels, scores and logits of 8 bytes; the checks of their values at a byte each, several at a time; 24 for the
    # ids' hashes, sorted, and the labels' places.
    row = (2 + bool(numbers)) * 8 * width + 4 * width + 4 * (characters + split) + 24
    return row * len(table)


def _find_classes(table: Table) -> tuple[str, tuple[str, ...]]:
    """Give what the classes have, `score` or `logit`, and the classes in the order of those columns."""
    kind, classes = list_classes(table.columns)
    if not classes:
        raise DataError(
            f"{table.path} has no score columns, only {list_names(table)}",
            "one score_<class> column of probabilities per class, or one logit_<class> column",
            "renaming them score_<class>",
        )
    return kind, classes


def _is_exclusive(table: Table, kind: str, classes: tuple[str, ...]) -> bool:
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
            f"{table.path} has no label column, only {list_names(table)}",
            "a column 'label' with the class's name, or one label_<name> of 0 and 1 per label",
            f"adding a column 'label' or 'label_{classes[0]}'",
        )
    strange = next((name for name in independent if name not in classes), None)
    if strange is not None:
        found = f"{table.path} has a column 'label_{strange}' and no '{kind}_{strange}'"
        raise DataError(
            found, f"labels named as the {kind}s, {nearest(strange, classes)}", "renaming one of them"
        )
    unlabelled = next((name for name in classes if name not in independent), None)
    if unlabelled is not None:
        found = f"{table.path} has a column '{kind}_{unlabelled}' and no 'label_{unlabelled}'"
        raise DataError(found, f"one label column per {kind} column", f"an empty column 'label_{unlabelled}'")
    return False


def _list_texts(table: Table, classes: tuple[str, ...], exclusive: bool) -> list[str]:
    """Name the columns that have no meaning of their own: the groups."""
    used = {"id", "patient", "split", "label"}
    used |= {f"{kind}_{name}" for name in classes for kind in ("score", "logit")}
    if not exclusive:
        used |= {f"label_{name}" for name in classes}
    return [name for name in table.columns if name not in used]


def _name_other_class(table: Table, kind: str, only: str) -> str:
    """Name the class that has no column in a binary table with one score or logit."""
    names = sorted(name for name in to_codes(table.columns["label"])[1] if name)
    others = [name for name in names if name != only]
    if not others:
        return f"not {only}"
    if any(name.strip() == only for name in others):
        found = f"{table.path} has labels that differ from {only!r} by spaces alone"
        raise DataError(found, "each class under one name", "removing the spaces")
    if len(others) > 1 or only not in names:
        listed = ", ".join(repr(name) for name in names[:8])
        raise DataError(
            f"{table.path} has the single {kind} column '{kind}_{only}' and the labels {listed}",
            f"{only!r} and one other name",
            f"a column label_{only} of 0 and 1, or one {kind} column per class",
        )
    return others[0]


def _read_class_names(table: Table, kind: str, classes: tuple[str, ...]) -> FloatArray:
    """Read the column of class names as one-hot rows (n, k), NaN where it is empty."""
    codes, names = to_codes(table.columns["label"])
    row = find_first(codes, names, {*classes, ""})
    if row is not None:
        text = table.show("label", row)
        found = f"{table.locate(row)}: label {text!r} has no column '{kind}_{text}'"
        raise DataError(found, nearest(text, classes), f"correcting the label, or adding the {kind} column")
    meanings = {name: np.eye(len(classes))[place] for place, name in enumerate(classes)}
    unknown = np.full(len(classes), np.nan)
    rows: FloatArray = np.array([meanings.get(name, unknown) for name in names])[codes]
    return rows


def _read_labels(table: Table, classes: tuple[str, ...]) -> FloatArray:
    """Read the columns of 0, 1 or empty as (n, k), NaN where they are empty."""
    labels = np.empty((len(table), len(classes)))
    for place, name in enumerate(classes):
        codes, texts = to_codes(table.columns[f"label_{name}"])
        row = find_first(codes, texts, MEANINGS)
        if row is not None:
            found = f"{table.locate(row)}: label_{name} is {table.show(f'label_{name}', row)!r}"
            raise DataError(found, "0, 1, or nothing where not annotated", "correcting or emptying it")
        labels[:, place] = np.array([MEANINGS.get(text, np.nan) for text in texts])[codes]
    return labels


def _read_splits(table: Table, splits: tuple[str, ...]) -> TextArray:
    """Give each row's split; the last of `splits` throughout where the table has no such column."""
    if "split" not in table.columns:
        return np.full(len(table), splits[-1])
    codes, names = to_codes(table.columns["split"])
    row = find_first(codes, names, splits)
    if row is not None:
        name = table.show("split", row)
        raise DataError(
            f"{table.locate(row)}: there is no split {name!r}",
            f"one of {', '.join(map(repr, splits))}",
            f"renaming it {_guess_split(name, splits)}",
        )
    return np.array(names, dtype=np.str_)[codes]


def _read_patients(table: Table) -> TextArray | None:
    """Give each row's patient, or None where no row has one."""
    if "patient" not in table.columns:
        return None
    patients = to_texts(table.columns["patient"])
    return patients if (patients != "").any() else None


def list_names(table: Table) -> str:
    """List the first dozen columns of a table, for a refusal."""
    names = list(table.columns)
    return ", ".join(map(repr, names[:12])) + (" and more" if len(names) > 12 else "")


def _guess_split(name: str, splits: tuple[str, ...]) -> str:
    """Guess which split a name stands for; without a guess, all of them."""
    return next(
        (repr(split) for split in splits if name and split.startswith(name.strip().lower()[:3])),
        "to one of them",
    )


def _read_ids(table: Table, splits: TextArray) -> TextArray:
    """Give each row's id, refusing an empty one and one that a split has twice."""
    if "id" not in table.columns:
        raise DataError(
            f"{table.path} has no column 'id', only {list_names(table)}",
            "one name per image",
            "renaming the column of names id",
        )
    ids = to_texts(table.columns["id"])
    empty = np.flatnonzero(ids == "")
    if empty.size:
        found = f"{table.locate(int(empty[0]))}: the id is empty"
        raise DataError(found, "one name per image", "filling it in")
    repeat = find_repeat(ids, splits)
    if repeat is not None:
        row, earlier = repeat
        raise DataError(
            f"{table.locate(row)}: id {str(ids[row])!r} is in row {earlier + 1} too, also of split"
            f" {str(splits[row])!r}",
            "each image once per split",
            "deleting one of the two rows",
        )
    return ids
