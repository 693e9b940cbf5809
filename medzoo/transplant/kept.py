"""Chosen channels as indices of the source's: choosing, combining, splitting into groups and heads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medzoo.transplant.draws import block_generator
from medzoo.wiring import Channels


@dataclass(frozen=True)
class Kept:
    """Of how many source channels which are kept, in the target's order."""

    size: int
    indices: np.ndarray

    def __eq__(self, other: object) -> bool:
        """Compare sizes and indices."""
        return (
            isinstance(other, Kept)
            and self.size == other.size
            and np.array_equal(self.indices, other.indices)
        )

    @property
    def is_whole(self) -> bool:
        """Whether every channel is kept, once and in order."""
        return np.array_equal(self.indices, np.arange(self.size))

    @property
    def repeats(self) -> bool:
        """Whether any channel is kept more than once."""
        return len(np.unique(self.indices)) < len(self.indices)


def choose(pick: str, size: int, count: int) -> np.ndarray:
    """Choose `count` of `size` channels: the first, or evenly spread (weight selection, Xu et al. 2024).

    Evenly: every (size/count)-th where that is a whole number, else rounded even steps from the first to the last.

    >>> choose("even", 12, 4).tolist(), choose("even", 12, 5).tolist(), choose("first", 12, 3).tolist()
    ([0, 3, 6, 9], [0, 3, 6, 8, 11], [0, 1, 2])
    """
    if pick == "first":
        return np.arange(count)
    if size % count == 0:
        return np.arange(count) * (size // count)
    return np.round(np.linspace(0, size - 1, count)).astype(int)


def choose_blocks(pick: str, size: int, count: int, known: int, blocks: int) -> np.ndarray:
    """Choose `blocks` of the `known` equal blocks of `size` channels, and the same `count / blocks` of each.

    >>> choose_blocks("even", 12, 4, 3, 1).tolist(), choose_blocks("first", 12, 4, 4, 2).tolist()
    ([0, 1, 2, 3], [0, 1, 3, 4])
    """
    width = size // known
    outer, inner = choose(pick, known, blocks), choose(pick, width, count // blocks)
    return np.asarray((outer[:, None] * width + inner).reshape(-1))


def repeat(key: str, seed: int, size: int, count: int) -> np.ndarray:
    """Give every channel once, then some again, drawn evenly by seed and key (Net2WiderNet, Chen et al. 2016).

    >>> len(repeat("conv", 0, 3, 5)), repeat("conv", 0, 3, 5)[:3].tolist()
    (5, [0, 1, 2])
    """
    digest = hashlib.sha256(f"{key}:widen".encode()).hexdigest()
    again = block_generator(seed, digest, 0).integers(0, size, count - size)
    return np.concatenate([np.arange(size), again])


def combine(channels: Channels, parts: Sequence[Kept]) -> Kept:
    """Give what is kept of a concatenation, a flattening or a spread whose parts keep these.

    >>> a, b = Kept(3, np.array([0, 2])), Kept(2, np.array([1]))
    >>> combine(Channels("concat"), [a, b]).indices.tolist()
    [0, 2, 4]
    >>> combine(Channels("flatten", times=2), [a]).indices.tolist()
    [0, 2, 3, 5]
    >>> combine(Channels("spread", times=2), [a]).indices.tolist()
    [0, 1, 4, 5]
    """
    if channels.kind == "concat":
        starts = np.cumsum([0, *(part.size for part in parts)])
        moved = [part.indices + start for part, start in zip(parts, starts, strict=False)]
        return Kept(int(starts[-1]), np.concatenate(moved))
    (inner,) = parts
    places = np.arange(channels.times)
    if channels.kind == "flatten":
        indices = places[:, None] * inner.size + inner.indices
    else:
        indices = inner.indices[:, None] * channels.times + places
    return Kept(inner.size * channels.times, indices.reshape(-1))


def keep_in_groups(reaching: Kept, made: Kept, size: int, count: int) -> Kept | None:
    """Give what each group of a convolution keeps of the `size` channels that it reads; None where that differs.

    One kernel serves all groups: they must keep alike, and what each makes must come from the group that it reads.

    >>> both = Kept(8, np.array([0, 1, 4, 5]))
    >>> keep_in_groups(both, both, 4, 2).indices.tolist()
    [0, 1]
    >>> keep_in_groups(Kept(8, np.array([0, 1, 2, 3])), both, 4, 2)
    """
    known, groups = reaching.size // size, len(reaching.indices) // count
    fits = known * size == reaching.size and groups * count == len(reaching.indices)
    if not fits or not groups or made.size % known or len(made.indices) % groups:
        return None
    inputs = reaching.indices.reshape(groups, count)
    outputs = made.indices.reshape(groups, -1) // (made.size // known)
    read, within = inputs // size, inputs % size
    if (read != read[:, :1]).any() or (within != within[:1]).any() or (outputs != read[:, :1]).any():
        return None
    return Kept(size, within[0])


def keep_heads(reaching: Kept, size: int, count: int) -> Kept | None:
    """Give which of `size` heads are kept, where whole ones of the channels that reach a layer are; None elsewhere.

    >>> keep_heads(Kept(6, np.array([0, 1, 4, 5])), 3, 2).indices.tolist()
    [0, 2]
    """
    if reaching.size % size or len(reaching.indices) % count:
        return None
    rows = reaching.indices.reshape(count, -1) // (reaching.size // size)
    return None if (rows != rows[:, :1]).any() else Kept(size, rows[:, 0])
