"""What a resample is made of: rows within their classes, or whole patients, as counts of how often each was drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import DataError
from medzoo.evaluation.predictions import Predictions

#: Keys the draws, beside the seed, so that no other use of the same seed sees them.
_STREAM = int.from_bytes(b"bootstrap", "big")

#: How many counts of rows a block of resamples stands for at most: 64 resamples of 100,000 rows. It bounds the memory.
BLOCK = 6_400_000

#: More units than this are left out in as many groups: the acceleration of BCa strays by less than 0.001 from it.
GROUPS = 1000

#: Up to so many rows, float32 holds every sum of counts exactly.
_SMALL = 2**18


@dataclass(frozen=True, eq=False)
class Units:
    """What is drawn: the unit of each row (n,), from 0; the units of each stratum, drawn within it; their noun.

    >>> Units(np.array([0, 0, 1]), (np.array([0, 1]),), "patient").count
    2
    """

    of_rows: NDArray[np.int64]
    strata: tuple[NDArray[np.int64], ...]
    noun: str

    @property
    def count(self) -> int:
        """Count the units."""
        return sum(stratum.size for stratum in self.strata)


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Resamples that each lack some units of one stratum.

    counts (units, m): 1, or 0 where left out; shares (m,): the part of the stratum that is kept; strata (m,).
    """

    counts: NDArray[Any]
    shares: NDArray[np.float64]
    strata: NDArray[np.int64]


def identify_patients(predictions: Predictions) -> NDArray[np.int64] | None:
    """Number the patient of each row, (n,), or give None where no patient is known.

    A row whose patient is empty is a patient of its own.

    >>> true, said = np.eye(2)[[0, 0, 1, 1]], np.eye(2)[[0, 1, 1, 1]]
    >>> rows = Predictions(np.array(list("abcd")), true, said, ("no", "yes"), np.array(["test"] * 4),
    ...                    np.array(["p", "p", "", ""]))
    >>> identify_patients(rows).tolist()
    [0, 0, 1, 2]
    """
    if predictions.patients is None:
        return None
    unnamed = predictions.patients == ""
    numbers = np.unique(predictions.patients, return_inverse=True)[1].astype(np.int64)
    # Above every number in use: each unnamed row gets its own.
    numbers[unnamed] = len(numbers) + np.arange(unnamed.sum())
    return np.unique(numbers, return_inverse=True)[1].astype(np.int64)


def find_units(rows: Predictions, clustered: bool | None = None) -> Units:
    """Say what is drawn: whole patients where they are known, else rows, within each class if exclusive.

    `clustered` False draws rows even where patients are known. Raises DataError when it is True and they are not.

    >>> rows = Predictions(np.array(list("abc")), np.eye(2)[[0, 1, 1]], np.eye(2)[[0, 0, 1]], ("no", "yes"),
    ...                    np.array(["test"] * 3))
    >>> [stratum.tolist() for stratum in find_units(rows).strata]
    [[0], [1, 2]]
    """
    patients = None if clustered is False else identify_patients(rows)
    if patients is not None:
        return Units(patients, (np.arange(patients.max(initial=-1) + 1),), "patient")
    if clustered:
        raise DataError("the predictions name no patients", "a column patient", "clustered=False")
    classes = rows.labels.argmax(axis=1) if rows.exclusive else np.zeros(len(rows), dtype=np.int64)
    strata = tuple(np.flatnonzero(classes == index) for index in np.unique(classes))
    return Units(np.arange(len(rows)), strata, "row")


def draw_blocks(units: Units, replicates: int, seed: int) -> Iterator[NDArray[Any]]:
    """Draw as many units of each stratum as it has, with replacement, `replicates` times; give blocks of counts.

    A block is (units, m): how often each unit was drawn in each of m resamples, as whole numbers in float32, or
    float64 where that could not hold their sums. The draws do not depend on how they are split into blocks.

    >>> units = Units(np.arange(4), (np.array([0, 2]), np.array([1, 3])), "row")
    >>> [block.sum(axis=0).tolist() for block in draw_blocks(units, 3, seed=0)]
    [[4.0, 4.0, 4.0]]
    """
    generators = [_make_generator(seed, index) for index in range(len(units.strata))]
    width = choose_width(units)
    for start in range(0, replicates, width):
        yield _draw_block(units, generators, min(width, replicates - start))


def leave_out(units: Units, seed: int = 0) -> Iterator[LeftOut]:
    """Leave out each unit in turn, or where there are more than GROUPS, as many groups of them; give blocks.

    Groups lie within strata and hold units in an order drawn from the seed.

    >>> [block.counts.tolist() for block in leave_out(Units(np.arange(2), (np.arange(2),), "row"))]
    [[[0.0, 1.0], [1.0, 0.0]]]
    """
    share = min(1.0, GROUPS / max(1, units.count))
    groups = []
    for index, stratum in enumerate(units.strata):
        # A stratum left out whole would leave the metric undefined; two groups at least, where it has two units.
        wanted = min(stratum.size, max(2, round(share * stratum.size)))
        order = stratum if wanted == stratum.size else _make_generator(seed, -1 - index).permutation(stratum)
        groups += [(index, part) for part in np.array_split(order, wanted)]
    width = choose_width(units)
    for start in range(0, len(groups), width):
        block = groups[start : start + width]
        counts = np.ones((units.count, len(block)), dtype=_choose_type(units))
        for column, (_, part) in enumerate(block):
            counts[part, column] = 0
        strata = np.array([index for index, _ in block])
        sizes = np.array([stratum.size for stratum in units.strata])[strata]
        yield LeftOut(counts, 1 - np.array([part.size for _, part in block]) / sizes, strata)


def choose_width(units: Units) -> int:
    """Say how many resamples a block holds.

    >>> choose_width(Units(np.arange(100_000), (np.arange(100_000),), "row"))
    64
    """
    return max(1, BLOCK // max(1, units.of_rows.size))


def _choose_type(units: Units) -> type[np.float32] | type[np.float64]:
    """Choose the type of the counts: the one in which every sum over rows is exact."""
    return np.float32 if units.of_rows.size <= _SMALL else np.float64


def _make_generator(seed: int, index: int) -> np.random.Generator:
    """Make a stratum's generator, or for a negative index that of its groups."""
    key = [seed, _STREAM, *([abs(index)] if index else []), *([1] if index < 0 else [])]
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(key)))


def _draw_block(units: Units, generators: list[np.random.Generator], width: int) -> NDArray[Any]:
    """Draw `width` resamples: counts (units, width)."""
    counts = np.empty((units.count, width), dtype=_choose_type(units))
    for stratum, generator in zip(units.strata, generators, strict=True):
        size = stratum.size
        drawn = generator.integers(0, size, (width, size))
        # One count of all resamples: each has numbers of its own.
        drawn += np.arange(width)[:, np.newaxis] * size
        counts[stratum] = np.bincount(drawn.ravel(), minlength=width * size).reshape(width, size).T
    return counts
