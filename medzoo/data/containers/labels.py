"""Labels as arrays hold them (numbers, names, one-hot or multi-hot rows) → the label column, classes and marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.data.dataset import JOINT, join_labels, sort_classes
from medzoo.errors import DataError

SHAPES = "numbers or names (n,), or one-hot or multi-hot rows (n, k) of 1, 0 and NaN"


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of n images: the texts of the table's column, the classes, and the marks of several labels."""

    texts: list[str]
    classes: tuple[str, ...]
    marks: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()


def read_labels(
    labels: Any, count: int, place: str, classes: Sequence[str] = (), exclusive: bool | None = None
) -> Labels:
    """Read the labels of `count` images: numbers or names (n,) or (n, 1), one-hot or multi-hot rows (n, k).

    Numbers count from 0 into `classes` where these are given.  Rows that each hold a single 1 are taken as
    one-hot unless `exclusive` is False.  NaN in a row is a label that nobody annotated.  Raises DataError for
    anything else.

    >>> read_labels([1, 0, 1], 3, "toy", ("no", "yes")).texts
    ['yes', 'no', 'yes']
    >>> read_labels([[1, 1], [0, float("nan")]], 2, "toy", ("mass", "cyst")).texts
    ['mass|cyst', '']
    """
    array = make_array(labels, f"{place}: the labels")
    if array.ndim not in (1, 2) or 0 in array.shape[1:]:
        raise DataError(f"{place}: the labels have the shape {array.shape}", SHAPES)
    if len(array) != count:
        raise DataError(f"{place}: {len(array)} labels for {count} images", "labels for each image")
    if isinstance(classes, str) or not all(isinstance(name, str) and name for name in classes):
        raise DataError(f"{place}: the classes are {classes!r}", "a list of names")
    known = tuple(classes)
    if len(set(known)) < len(known):
        raise DataError(f"{place}: a class is named twice: {known}", "each name once")
    if array.ndim == 2 and (array.shape[1] > 1 or exclusive is False):
        return read_rows(array, place, known, exclusive)
    if exclusive is False:
        raise DataError(f"{place}: the labels have the shape {array.shape}", "rows (n, k) of 1, 0 and NaN")
    return read_names(array.reshape(-1), place, known)


def read_names(array: NDArray[Any], place: str, classes: tuple[str, ...]) -> Labels:
    """Read one number or name for each image."""
    if array.dtype.kind in "OSUT":
        texts = [read_text(value, f"{place}: label {row}") for row, value in enumerate(array.tolist())]
        strange = sorted(set(texts) - set(classes)) if classes else []
        if strange:
            raise DataError(f"{place}: label {strange[0]!r} is not among the classes", f"one of {classes}")
        return Labels(texts, classes or sort_classes(texts), notes=tuple(list_absent(texts, classes, place)))
    if array.dtype.kind not in "iubf":
        raise DataError(f"{place}: the labels are {array.dtype}", SHAPES)
    whole = np.isfinite(array) & (array == np.floor(array)) if array.dtype.kind == "f" else True
    if not np.all(whole):
        row = int(np.flatnonzero(~np.asarray(whole))[0])
        raise DataError(f"{place}: label {row} is {array[row]}", "a whole number for each image")
    numbers = [int(number) for number in array.tolist()]  # of any length, where int64 would wrap around
    if not classes:
        texts = [str(number) for number in numbers]
        return Labels(texts, sort_classes(texts))
    beyond = [number for number in numbers if not 0 <= number < len(classes)]
    if beyond:
        raise DataError(f"{place}: label {beyond[0]} for {len(classes)} classes", f"0 to {len(classes) - 1}")
    texts = [classes[number] for number in numbers]
    return Labels(texts, classes, notes=tuple(list_absent(texts, classes, place)))


def read_rows(array: NDArray[Any], place: str, classes: tuple[str, ...], exclusive: bool | None) -> Labels:
    """Read a row of 1, 0 and NaN for each image, one-hot or multi-hot."""
    if array.dtype.kind not in "iubf":
        raise DataError(f"{place}: the labels' rows are {array.dtype}", "1, 0 and NaN")
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        marks: NDArray[np.float32] = array.astype(np.float32)
    wrong = ~(np.isnan(marks) | (marks == 0) | (marks == 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise DataError(f"{place}: label {column} of image {row} is {array[row, column]}", "1, 0 or NaN")
    names = classes or tuple(map(str, range(marks.shape[1])))
    if len(names) != marks.shape[1]:
        raise DataError(f"{place}: {len(names)} classes for rows of {marks.shape[1]} labels", "as many")
    if any(JOINT in name for name in names):
        raise DataError(
            f"{place}: a class's name holds {JOINT!r}", f"names without {JOINT!r}, which joins them"
        )
    single = not np.isnan(marks).any() and bool((marks.sum(axis=1) == 1).all())
    if exclusive and not single:
        row = int(np.flatnonzero(~(np.nan_to_num(marks, nan=2).sum(axis=1) == 1))[0])
        raise DataError(
            f"{place}: the labels of image {row} are {marks[row].tolist()}", "a single 1 in each row"
        )
    if single and exclusive is not False:
        texts = [names[number] for number in marks.argmax(axis=1).tolist()]
        notes = list_absent(texts, names, place)
        if exclusive is None:
            notes = [
                f"{place}: every image has a single label, so that its labels are taken as classes",
                *notes,
            ]
        return Labels(texts, names, notes=tuple(notes))
    return Labels(join_labels(marks, names), names, marks)


def list_absent(texts: Sequence[str], classes: Sequence[str], place: str) -> list[str]:
    """Say which of the named classes no image has."""
    absent = [repr(name) for name in classes if name not in set(texts)]
    return [f"{place}: no image of class {', '.join(absent)}"] if absent else []


def read_text(value: object, place: str) -> str:
    """Read a name: text, UTF-8 bytes or a whole number."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{place} is not UTF-8: {value!r}", "text") from error
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not value:
        raise DataError(f"{place} is {value!r}", "a name or a number")
    return value


def make_array(values: Any, place: str) -> NDArray[Any]:
    """Make an array of what NumPy takes for one: arrays, tensors, nested lists of one length.

    Raises DataError for ragged lists and for what is no array at all.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{place} make no array: {error}", "an array, or lists of one length") from error
    if array.ndim == 0:
        raise DataError(f"{place} are a {type(values).__name__}, no array", "an array")
    return array
