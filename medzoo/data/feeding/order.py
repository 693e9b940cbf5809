"""The order of an epoch and the seeds of its random choices: NumPy, from the seed and the epoch's number alone.

Nothing depends on an epoch before, so that a run that is resumed sees the batches it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medzoo.data.draws import make_generator
from medzoo.errors import DataError

#: epoch → the rows of that epoch, in order.
Sampler = Callable[[int], NDArray[np.int64]]

SEEDS = np.iinfo(np.int32)


class Epoch(NamedTuple):
    """One epoch: its rows (n,), the seeds of their images (n, 2) and those of its batches (steps, 2)."""

    rows: NDArray[np.int64]
    image_seeds: NDArray[np.int32]
    batch_seeds: NDArray[np.int32]


def keep_order(count: int) -> Sampler:
    """Make the sampler of every row once, in the table's order.

    >>> keep_order(3)(7)
    array([0, 1, 2])
    """

    def sample(_: int) -> NDArray[np.int64]:
        """List all rows."""
        return np.arange(count, dtype=np.int64)

    return sample


def shuffle_order(count: int, seed: int) -> Sampler:
    """Make the sampler of every row once, in an order drawn by the seed and the epoch.

    >>> sample = shuffle_order(100, seed=0)
    >>> bool((sample(1) == sample(1)).all()), bool((sample(1) == sample(2)).all())
    (True, False)
    """

    def sample(epoch: int) -> NDArray[np.int64]:
        """List all rows in the epoch's order."""
        return make_generator(seed, f"epoch {epoch}").permutation(count).astype(np.int64)

    return sample


def plan_epoch(
    sampler: Sampler, epoch: int, *, count: int, seed: int, batch_size: int, first_step: int = 0
) -> Epoch:
    """Plan an epoch of a data set of `count` rows, without its first batches.

    An image's seed follows from (seed, epoch, row), and for a row that comes again from how often it came before;
    a batch's from (seed, epoch, step).  What is left out changes nothing in what is left.
    Raises DataError for rows that the data set does not have.
    """
    rows = np.asarray(sampler(epoch), dtype=np.int64)
    if len(rows) and not (rows.min() >= 0 and rows.max() < count):
        raise DataError(
            f"epoch {epoch} has the rows {rows.min()}…{rows.max()}", f"rows 0…{count - 1} of the data set"
        )
    steps = -(-len(rows) // batch_size)
    image_seeds = draw_image_seeds(rows, seed, epoch)
    generator = make_generator(seed, f"batches of epoch {epoch}")
    batch_seeds = generator.integers(SEEDS.min, SEEDS.max, (steps, 2), dtype=np.int32, endpoint=True)
    start = first_step * batch_size
    return Epoch(rows[start:], image_seeds[start:], batch_seeds[first_step:])


def draw_image_seeds(rows: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int32]:
    """Draw the seeds (n, 2) of an epoch's rows (n,): numbers scattered by the row and by how often it came before.

    A hash and not a table of draws: a single image of a rare class may come as often as all others together.
    """
    key = make_generator(seed, f"images of epoch {epoch}").integers(2**64, dtype=np.uint64)
    scattered = _scatter(_scatter(rows.astype(np.uint64) ^ key) + count_earlier(rows).astype(np.uint64))
    return scattered.view(np.int32).reshape(-1, 2)


def _scatter(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter 64-bit numbers one to one, neighbours far apart: SplitMix64 (Steele et al., 2014)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)  # arrays wrap around without a word
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def count_earlier(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count for each row how often it came before, (n,).

    >>> count_earlier(np.array([4, 2, 4, 4]))
    array([0, 0, 1, 2])
    """
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    is_new = np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(rows)]
    starts = np.maximum.accumulate(np.where(is_new, np.arange(len(rows)), 0))
    earlier = np.empty(len(rows), np.int64)
    earlier[order] = np.arange(len(rows)) - starts
    return earlier
