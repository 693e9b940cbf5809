"""A predictions file as columns, whatever its format: texts and numbers that arrays are made of, and where a row is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
TextArray = NDArray[np.str_]

#: Texts that become an array at a time.
ROWS_AT_A_TIME = 2**14

#: What every predictions file must hold, for the `expected` part of an error.
EXPECTED = "a table with columns id, label and one score_<class> per class"


@dataclass(frozen=True)
class Table:
    """The columns of a predictions file, in the file's order.

    columns: pyarrow.ChunkedArray of n each: float64 with null where empty, or string, or dictionary of strings without
    null. find gives a zero-based row as a person finds it, and its cells as the file spells them.
    """

    path: Path
    columns: Mapping[str, Any]
    find: Callable[[int], tuple[str, Mapping[str, str]]]

    def __len__(self) -> int:
        """Count the rows below the header."""
        return len(next(iter(self.columns.values())))

    def locate(self, row: int) -> str:
        """Name the row of a zero-based index as a person finds it."""
        return f"{self.path}, {self.find(row)[0]}"

    def show(self, name: str, row: int) -> str:
        """Give a cell as the file spells it."""
        return self.find(row)[1][name]


def list_classes(names: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """Give what the classes of a header's names have, `score` or `logit`, and the classes in that order.

    >>> list_classes(["id", "logit_a", "score_b", "score_a"])
    ('score', ('b', 'a'))
    >>> list_classes(["id", "logit_a"])
    ('logit', ('a',))
    """
    header = list(names)
    for kind in ("score", "logit"):
        start = f"{kind}_"
        classes = tuple(
            name.removeprefix(start) for name in header if name.startswith(start) and name != start
        )
        if classes:
            return kind, classes
    return "score", ()


def list_numbers(names: Iterable[str]) -> set[str]:
    """Give the names of a header that hold numbers: the scores and logits of the classes.

    >>> sorted(list_numbers(["id", "score_a", "logit_a", "logit_other"]))
    ['logit_a', 'score_a']
    """
    header = list(names)
    _, classes = list_classes(header)
    return {f"{kind}_{name}" for kind in ("score", "logit") for name in classes} & set(header)


def to_numbers(column: Any) -> FloatArray:
    """Turn a column of n into float64, NaN where it is empty or holds no number."""
    import pyarrow

    if not pyarrow.types.is_floating(column.type):
        texts = (text for chunk in column.chunks for text in chunk.to_pylist())
        return np.fromiter(map(_parse_number, texts), np.float64, len(column))
    values: FloatArray = column.to_numpy()
    return values


def _parse_number(text: str) -> float:
    """Give the float64 a text stands for; NaN where it stands for none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def measure_texts(column: Any) -> int:
    """Count the characters of a text column's longest cell."""
    import pyarrow
    from pyarrow import compute

    longest = 1
    for chunk in column.chunks:
        texts = chunk.dictionary if pyarrow.types.is_dictionary(chunk.type) else chunk
        longest = max(longest, compute.max(compute.utf8_length(texts)).as_py() or 1)
    return longest


def to_texts(column: Any) -> TextArray:
    """Turn a text column of n into an array as wide as its longest cell."""
    import pyarrow

    width = measure_texts(column)
    texts = np.empty(len(column), dtype=f"U{width}")
    start = 0
    for chunk in column.chunks:
        is_coded = pyarrow.types.is_dictionary(chunk.type)
        if is_coded and len(chunk):
            names = np.array(chunk.dictionary.to_pylist(), dtype=np.str_)
        for first in range(0, len(chunk), ROWS_AT_A_TIME):
            part = chunk.slice(first, ROWS_AT_A_TIME)
            stop = start + len(part)
            texts[start:stop] = names[part.indices.to_numpy()] if is_coded else _spread(part, width)
            start = stop
    return texts


def _spread(texts: Any, width: int) -> NDArray[Any]:
    """Give an Arrow array of texts as one of NumPy: of bytes where all are ASCII, which takes no object per text."""
    from pyarrow import compute

    if not compute.all(compute.string_is_ascii(texts)).as_py():
        return np.array(texts.to_pylist(), dtype=np.str_)
    padded = compute.utf8_rpad(texts, width, padding="\0")
    return np.frombuffer(padded.buffers()[2], f"S{width}", count=len(texts))


def to_codes(column: Any) -> tuple[NDArray[np.int32], list[str]]:
    """Turn a text column of n with few different cells into places in a list of those cells."""
    import pyarrow

    if not pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries()
    codes = np.concatenate([np.empty(0, np.int32), *(chunk.indices.to_numpy() for chunk in column.chunks)])
    names: list[str] = column.chunk(0).dictionary.to_pylist() if column.num_chunks else []
    return codes.astype(np.int32, copy=False), names


def find_first(codes: NDArray[np.int32], names: list[str], known: Collection[str]) -> int | None:
    """Give the first row whose cell is none of the known ones.

    >>> find_first(np.array([0, 1, 1], np.int32), ["a", "b"], {"a"})
    1
    """
    strange = np.array([name not in known for name in names], dtype=bool)
    rows = np.flatnonzero(strange[codes])
    return int(rows[0]) if rows.size else None
