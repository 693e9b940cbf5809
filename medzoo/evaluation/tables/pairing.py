"""Several predictions of one kind: two of the same images brought into one order, parts put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from medzoo.errors import DataError
from medzoo.evaluation.tables.repeats import find_repeat
from medzoo.evaluation.tables.table import FloatArray, TextArray

if TYPE_CHECKING:
    from medzoo.evaluation.predictions import Predictions

#: Ids that a refusal names; the others are counted.
_SHOWN = 3


def align(
    a: Predictions, b: Predictions, names: tuple[str, str] = ("the first", "the second")
) -> tuple[Predictions, Predictions]:
    """Give two models' predictions of the same images, row by row of the same image: the order of `a`.

    Both must have the same ids in the same splits, the same labels, and the same classes, whose columns are brought
    into the order of `a` too. Where one alone knows the patients, both get them. `names` are what a refusal calls
    the two.

    Raises DataError when ids, labels, classes or patients differ, or a split has an id twice.

    >>> import numpy as np
    >>> from medzoo.evaluation.predictions import Predictions
    >>> a = Predictions(np.array(["x", "y"]), np.eye(2), np.eye(2), ("no", "yes"), np.array(["test", "test"]))
    >>> _, b = align(a, a.take(np.array([1, 0])))
    >>> b.ids.tolist()
    ['x', 'y']
    """
    if a.exclusive != b.exclusive or set(a.classes) != set(b.classes) or len(a.classes) != len(b.classes):
        raise DataError(
            f"{names[0]} predictions have {_describe_classes(a)}, {names[1]} {_describe_classes(b)}",
            "the same classes in both",
            "predictions of models that were trained on the same classes",
        )
    for name, rows in zip(names, (a, b), strict=True):
        _refuse_repeat(f"{name} predictions", rows)
    if a.classes != b.classes:
        b = _order_classes(b, a.classes)
    if not _have_same_ids(a, b):
        first, second = np.lexsort((a.ids, a.splits)), np.lexsort((b.ids, b.splits))
        if len(a) != len(b) or not _have_same_ids(a.take(first), b.take(second)):
            raise _explain_ids(a, b, names)
        order = np.empty(len(a), dtype=np.intp)
        order[first] = second
        b = b.take(order)
    _compare_labels(a, b, names)
    return _share_patients(a, b, names)


def join(parts: Iterable[Predictions]) -> Predictions:
    """Put predictions of different images together, in the order of the parts: of several splits, folds or files.

    Groups and patients that a part has not are empty there; logits are kept where every part has them.

    Raises DataError when there is no part, classes differ or a split has an id twice.

    >>> import numpy as np
    >>> from medzoo.evaluation.predictions import Predictions
    >>> rows = Predictions(np.array(["x", "y"]), np.eye(2), np.eye(2), ("no", "yes"), np.array(["train", "test"]))
    >>> join([rows.of_split("test"), rows.of_split("train")]).ids.tolist()
    ['y', 'x']
    """
    listed = list(parts)
    if not listed:
        raise DataError("no predictions to join", "one part or more")
    whole = listed[0]
    for part in listed[1:]:
        if part.classes != whole.classes or part.exclusive != whole.exclusive:
            raise DataError(
                f"parts with {_describe_classes(whole)} and with {_describe_classes(part)}",
                "the same classes in the same order in every part",
            )
    logits = [part.logits for part in listed if part.logits is not None]
    groups = list(dict.fromkeys(name for part in listed for name in part.groups))
    is_known = any(part.patients is not None for part in listed)
    joined = replace(
        whole,
        ids=np.concatenate([part.ids for part in listed]),
        labels=np.concatenate([part.labels for part in listed]),
        scores=np.concatenate([part.scores for part in listed]),
        splits=np.concatenate([part.splits for part in listed]),
        patients=_concatenate([part.patients for part in listed], listed) if is_known else None,
        groups={name: _concatenate([part.groups.get(name) for part in listed], listed) for name in groups},
        logits=np.concatenate(logits) if len(logits) == len(listed) else None,
    )
    _refuse_repeat("the parts together", joined)
    return joined


def _concatenate(columns: Sequence[TextArray | None], parts: Sequence[Predictions]) -> TextArray:
    """Put a column's parts together, empty texts where a part has none."""
    filled = [
        np.full(len(part), "") if column is None else column
        for column, part in zip(columns, parts, strict=True)
    ]
    return np.concatenate(filled)


def _describe_classes(rows: Predictions) -> str:
    """Name what rows are predicted of."""
    listed = ", ".join(repr(name) for name in rows.classes[:8]) + ", …" * (len(rows.classes) > 8)
    return f"the {'classes' if rows.exclusive else 'independent labels'} {listed}"


def _refuse_repeat(what: str, rows: Predictions) -> None:
    """Refuse an id that a split has twice: which row belongs to which would be a guess."""
    repeat = find_repeat(rows.ids, rows.splits)
    if repeat is not None:
        found = f"{what} have id {str(rows.ids[repeat[0]])!r} twice in split {str(rows.splits[repeat[0]])!r}"
        raise DataError(found, "each image once per split", "taking one of the two")


def _order_classes(rows: Predictions, classes: tuple[str, ...]) -> Predictions:
    """Bring the columns of classes into another order."""
    places = [rows.classes.index(name) for name in classes]

    def order(values: FloatArray) -> FloatArray:
        """Order columns (n, k)."""
        return values[:, places]

    logits = None if rows.logits is None else order(rows.logits)
    return replace(rows, labels=order(rows.labels), scores=order(rows.scores), classes=classes, logits=logits)


def _have_same_ids(a: Predictions, b: Predictions) -> bool:
    """Tell whether each row of two is of the same id and split."""
    return bool(np.array_equal(a.ids, b.ids) and np.array_equal(a.splits, b.splits))


def _explain_ids(a: Predictions, b: Predictions, names: tuple[str, str]) -> DataError:
    """Name ids that one of two has and the other has not, or has in another split."""
    keys = [set(zip(rows.splits.tolist(), rows.ids.tolist(), strict=True)) for rows in (a, b)]
    told = []
    for name, mine, others in zip(names, keys, reversed(keys), strict=True):
        alone = sorted(mine - others)
        if alone:
            listed = ", ".join(f"{image!r} ({split})" for split, image in alone[:_SHOWN])
            more = f" and {len(alone) - _SHOWN:,} more" if len(alone) > _SHOWN else ""
            told.append(f"only {name} predictions have {listed}{more}")
    return DataError(
        "; ".join(told), "the same images in the same splits", "predicting the same data with both models"
    )


def _compare_labels(a: Predictions, b: Predictions, names: tuple[str, str]) -> None:
    """Refuse labels that differ: one of the two would be measured against something untrue."""
    differ = np.flatnonzero(~((a.labels == b.labels) | (np.isnan(a.labels) & np.isnan(b.labels))).all(axis=1))
    if differ.size:
        more = f", and {differ.size - 1:,} more rows" if differ.size > 1 else ""
        row = int(differ[0])
        said = (
            f"{_spell_label(rows, row)} in {name} predictions"
            for name, rows in zip(names, (a, b), strict=True)
        )
        raise DataError(
            f"image {str(a.ids[row])!r} is {' and '.join(said)}{more}",
            "the same labels in both",
            "correcting one of the two",
        )


def _spell_label(rows: Predictions, row: int) -> str:
    """Name what is true of a row."""
    values = rows.labels[row]
    if rows.exclusive:
        return "not annotated" if np.isnan(values[0]) else repr(rows.classes[int(values.argmax())])
    marks = ["unknown" if np.isnan(value) else str(int(value)) for value in values]
    return ", ".join(f"{name} {mark}" for name, mark in zip(rows.classes, marks, strict=True))


def _share_patients(
    a: Predictions, b: Predictions, names: tuple[str, str]
) -> tuple[Predictions, Predictions]:
    """Give both the patients that one knows; refuse two that differ, since patients are drawn for both at once."""
    if a.patients is None or b.patients is None:
        patients = b.patients if a.patients is None else a.patients
        return replace(a, patients=patients), replace(b, patients=patients)
    differ = np.flatnonzero(a.patients != b.patients)
    if differ.size:
        row = int(differ[0])
        said = (
            f"{str(rows.patients[row])!r} in {name} predictions"
            for name, rows in zip(names, (a, b), strict=True)
            if rows.patients is not None
        )
        raise DataError(
            f"image {str(a.ids[row])!r} is of patient {' and '.join(said)}",
            "the same patients in both",
            "leaving the column patient out of one of the two",
        )
    return a, b
