"""Copies: images with equal pixels, and images of one picture that was scaled, recompressed, brightened or turned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.data.audit.findings import Pair
from medzoo.data.audit.hashes import (
    TURNS,
    count_effective,
    extract_detail,
    find_comparable,
    hash_thumbnails,
    standardise,
)
from medzoo.data.audit.pixels import PixelFacts
from medzoo.data.dataset import SPLITS, Dataset

# The first three are 1 − a correlation of thumbnails.  All hold for every data set.
COARSE = 0.1  # of the whole thumbnails: anything above cannot be a copy
DETAIL = 0.25  # of their details: a copy shares more than half (0.75²) of its detail's variance
TURNED = 0.15  # of their details where one is turned: seven more chances to agree ask for more agreement
SPREAD = 128  # pixels: detail on fewer (an outline, one cell) says less, and must agree so much more

MOST_TURNED = 20_000  # images; turned copies are looked for among so many, as it takes eight times as long
MOST_PAIRS = 100_000
BLOCK = 2048

Link = tuple[int, int, float, str]  # two rows, their distance, how the second is turned


@dataclass(frozen=True)
class Copies:
    """The pairs found, and what was left undone."""

    pairs: tuple[Pair, ...]
    capped: bool = False  # whether there are more than MOST_PAIRS
    turned: bool = True  # whether turned copies were looked for


def find_copies(dataset: Dataset, facts: PixelFacts) -> Copies:
    """Find the pairs of equal and of nearly equal images; blank and unreadable ones are no copies of anything.

    Of images with equal pixels, each is paired with the first in the order of splits.
    """
    splits = dataset.table["split"].tolist()
    labels = dataset.table["label"].tolist()
    rank = np.array([SPLITS.index(split) for split in splits], np.int64)
    seen = facts.readable & ~facts.blank
    rows = np.flatnonzero(seen)
    rows = rows[np.argsort(rank[rows], kind="stable")]  # whoever comes first stands in the earlier split
    groups: dict[bytes, list[int]] = {}
    for row in rows.tolist():
        groups.setdefault(facts.digests[row], []).append(row)
    exact = [(members[0], row, 0.0, "") for members in groups.values() for row in members[1:]]
    # One image for each way in which equal ones are filed stands for the others.
    standing = {(facts.digests[row], splits[row], labels[row]): row for row in reversed(rows.tolist())}
    chosen = np.array(sorted(standing.values(), key=lambda row: (rank[row], row)), np.int64)
    turned = len(chosen) <= MOST_TURNED and not dataset.is_volume
    near = find_near(facts, chosen, turned)
    links = [*((link, True) for link in exact), *((link, False) for link in near)]
    ids = dataset.table["id"].tolist()
    patients = dataset.table["patient"].tolist() if "patient" in dataset.table else [""] * len(ids)
    pairs = [
        Pair(
            first=ids[first],
            second=ids[second],
            rows=(first, second),
            splits=(splits[first], splits[second]),
            labels=(labels[first], labels[second]),
            patients=(patients[first], patients[second]),
            conflicts=find_conflict(dataset, first, second),
            distance=distance,
            exact=is_exact,
            turned=turn,
        )
        for (first, second, distance, turn), is_exact in links[:MOST_PAIRS]
    ]
    pairs.sort(key=lambda pair: (not pair.crosses, not pair.exact, pair.distance, pair.rows))
    return Copies(tuple(pairs), capped=len(links) > MOST_PAIRS, turned=turned or dataset.is_volume)


def find_conflict(dataset: Dataset, first: int, second: int) -> bool:
    """Tell whether two images have different labels; of several labels, those that both are annotated for count."""
    if dataset.marks is None:
        labels = dataset.table["label"]
        return bool(labels.iat[first] != labels.iat[second])
    marks = dataset.marks[[first, second]]
    return bool((np.abs(marks[0] - marks[1]) > 0.5).any())  # NaN compares as equal


def find_near(facts: PixelFacts, rows: NDArray[np.int64], turned: bool) -> list[Link]:
    """Find nearly equal images among some rows, the closest first; those of equal pixels are left out."""
    rows = rows[find_comparable(facts.thumbnails[rows])]
    if len(rows) < 2:
        return []
    thumbnails = facts.thumbnails[rows]
    best: dict[tuple[int, int], tuple[float, str]] = {}
    turns: Sequence[tuple[str, Callable[..., NDArray[np.float32]] | None]] = [("", None)]
    if turned:
        turns = [*turns, *TURNS.items()]
    for name, turn in turns:
        others = thumbnails if turn is None else np.ascontiguousarray(turn(thumbnails))
        for first, second, distance in search_blocks(thumbnails, others, TURNED if name else DETAIL):
            key = (int(rows[first]), int(rows[second]))
            if facts.digests[key[0]] == facts.digests[key[1]]:
                continue
            if key not in best or distance < best[key][0]:
                best[key] = (distance, name)
        if len(best) > MOST_PAIRS:
            break
    return sorted(((*key, *value) for key, value in best.items()), key=lambda link: (link[2], link[:2]))


def search_blocks(
    thumbnails: NDArray[Any], others: NDArray[Any], limit: float
) -> list[tuple[int, int, float]]:
    """Find i < j where thumbnails[i] and others[j] (n, 32, 32) agree: (i, j, distance of detail), every one.

    The hashes are compared first, block by block; only the thumbnails whose hashes are near are compared in full.
    Stops once there are more than MOST_PAIRS.
    """
    left, right = _extend(hash_thumbnails(thumbnails), False), _extend(hash_thumbnails(others), True)
    found: list[tuple[int, int, float]] = []
    for start in range(0, len(left), BLOCK):
        for other in range(start, len(right), BLOCK):
            # The product is −½ of the squared distance of hashes: the rows are extended to make it so.
            near = left[start : start + BLOCK] @ right[other : other + BLOCK].T > -COARSE - 1e-4
            first, second = np.divmod(np.flatnonzero(near), near.shape[1])
            first, second = first + start, second + other
            first, second = first[first < second], second[first < second]
            if len(first):
                found += compare_thumbnails(thumbnails, others, first, second, limit)
        if len(found) > MOST_PAIRS:
            break
    return found


def _extend(hashes: NDArray[np.float32], other: bool) -> NDArray[np.float32]:
    """Append to hashes (n, k) what makes a dot product of two −½ of their squared distance: (n, k + 2)."""
    half = -0.5 * (hashes**2).sum(axis=1, keepdims=True)
    ones = np.ones_like(half)
    return np.concatenate([hashes, ones, half] if other else [hashes, half, ones], axis=1)


def compare_thumbnails(
    thumbnails: NDArray[Any],
    others: NDArray[Any],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    limit: float,
) -> list[tuple[int, int, float]]:
    """Keep of the candidates those whose thumbnails and details agree, with the distance of details."""
    rows, at = np.unique(first, return_inverse=True)
    columns, across = np.unique(second, return_inverse=True)
    left, right = thumbnails[rows], others[columns]
    left_detail, right_detail = extract_detail(left), extract_detail(right)
    coarse = 1 - (standardise(left) @ standardise(right).T)[at, across]
    detail = 1 - (standardise(left_detail) @ standardise(right_detail).T)[at, across]
    spread = np.minimum(count_effective(left_detail)[at], count_effective(right_detail)[across])
    kept = (coarse <= COARSE) & (detail <= limit * np.minimum(1, spread / SPREAD))
    distances = np.maximum(detail[kept], 0).tolist()
    return list(zip(first[kept].tolist(), second[kept].tolist(), distances, strict=True))
