"""Ids that a split has twice, found among millions without a dictionary of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medzoo.evaluation.tables.table import TextArray

#: Rows that are hashed at a time: so many stay in the processor's cache.
_ROWS_AT_A_TIME = 2**14

# Fowler, Noll and Vo's 64-bit FNV-1a, taken over code points: what it begins with, and what it multiplies by.
_OFFSET, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


def find_repeat(ids: TextArray, splits: TextArray) -> tuple[int, int] | None:
    """Give the first row whose id and split an earlier row has too, and that row; None where there is none.

    >>> splits = np.array(["test", "train", "test"])
    >>> find_repeat(np.array(["a", "a", "a"]), splits), find_repeat(np.array(["a", "a", "b"]), splits)
    ((2, 0), None)
    """
    hashes = hash_texts(splits, hash_texts(ids))
    ordered = np.sort(hashes)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if not repeated.size:
        return None
    seen: dict[tuple[str, str], int] = {}
    # Different texts may share a hash, so that equal hashes are suspects and no more.
    for row in np.flatnonzero(np.isin(hashes, repeated)).tolist():
        key = (str(splits[row]), str(ids[row]))
        if key in seen:
            return row, seen[key]
        seen[key] = row
    return None


def hash_texts(texts: TextArray, hashes: NDArray[np.uint64] | None = None) -> NDArray[np.uint64]:
    """Give a 64-bit hash of each text (n,); with `hashes` (n,), of each text together with those.

    >>> first, second, third = hash_texts(np.array(["a", "b", "a"])).tolist()
    >>> first == third, first == second
    (True, False)
    """
    given = np.full(len(texts), _OFFSET) if hashes is None else hashes.copy()
    width = texts.dtype.itemsize // 4
    points = np.ascontiguousarray(texts).view(np.uint32).reshape(len(texts), width) if width else None
    for start in range(0, len(texts), _ROWS_AT_A_TIME):
        part = given[start : start + _ROWS_AT_A_TIME]
        for place in range(width):
            assert points is not None
            part ^= points[start : start + _ROWS_AT_A_TIME, place]
            part *= _PRIME
    return given
