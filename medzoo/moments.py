"""A tensor's moments over all its values, and the covariance of a kernel's window: exact sums, whatever the threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from medzoo.blocks import add_pairwise, run_blocks

#: Values held in memory at once while measuring: 2**20 float64 values are 8 MB.
MEASURING_BLOCK = 2**20

#: The most positions that a kernel's window may have for its covariance to be measured: 15×15, 50,625 numbers.
LARGEST_WINDOW = 225


@dataclass(frozen=True)
class Moments:
    """A tensor's mean and standard deviation over all its values (population, 1/n), in float64."""

    mean: float
    deviation: float


def measure_moments(values: np.ndarray) -> Moments:
    """Measure mean and population standard deviation of any array in float64, in two passes over blocks.

    The blocks have a fixed size and their sums are added exactly, so that the result does not depend on the
    memory layout or on how the values were read. An empty array has mean 0 and deviation 0.

    >>> measure_moments(np.array([1.0, 3.0]))
    Moments(mean=2.0, deviation=1.0)
    """
    flat = np.asarray(values).reshape(-1)

    def take_part(start: int, room: np.ndarray) -> None:
        np.copyto(room, flat[start : start + room.size], casting="unsafe")

    return measure_parts(flat.size, lambda _: nullcontext(take_part))


#: Puts as many values as a float64 array holds into it, from one of the tensor's values on.
TakePart = Callable[[int, np.ndarray], object]


def measure_parts(size: int, open_block: Callable[[int], AbstractContextManager[TakePart]]) -> Moments:
    """Measure what `measure_moments` does of values that are taken part by part, as from a file.

    `open_block(n)` opens the n-th `MEASURING_BLOCK` of `size` values: what it gives then takes the block's parts, in
    their order. Blocks are opened in several threads, each twice, and all of them once before one is opened again.
    """
    if size == 0:
        return Moments(0.0, 0.0)

    def add_block(block: int, mean: float | None) -> float:
        first = block * MEASURING_BLOCK
        with open_block(block) as take_part:

            def take(start: int, room: np.ndarray) -> None:
                take_part(first + start, room)
                if mean is not None:
                    np.subtract(room, mean, out=room)
                    np.square(room, out=room)

            return add_pairwise(min(MEASURING_BLOCK, size - first), take)

    count = -(-size // MEASURING_BLOCK)
    mean = math.fsum(run_blocks(lambda block: add_block(block, None), count)) / size
    squares = math.fsum(run_blocks(lambda block: add_block(block, mean), count))
    return Moments(mean, math.sqrt(squares / size))


def has_window(shape: tuple[int, ...]) -> bool:
    """Tell whether a shape is (height, width, …, …) with a window of 2 positions up to `LARGEST_WINDOW`.

    >>> has_window((3, 3, 24, 1)), has_window((1, 1, 24, 48))
    (True, False)
    """
    return len(shape) == 4 and 1 < shape[0] * shape[1] <= LARGEST_WINDOW and min(shape) > 0


def measure_covariance(values: np.ndarray) -> np.ndarray:
    """Measure how the positions of a kernel's window vary together over its filters, in float64.

    `values` is (height, width, inputs, outputs) or, depthwise, (height, width, channels, multiplier); every one of
    the last two axes' pairs is a filter f of height·width numbers, in row order. The result is
    E[(f − μ)(f − μ)ᵀ], square, with height·width rows, population (1/n) as `Moments` are, and exactly symmetric; zeros
    where there are no filters.
    As there, products are added within blocks of a fixed size and the blocks' sums exactly: no matrix product, whose
    last digits would depend on the processor.

    >>> measure_covariance(np.array([1.0, 3.0, 5.0, 3.0]).reshape(2, 1, 2, 1)).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    positions, count = values.shape[0] * values.shape[1], values.shape[2] * values.shape[3]
    filters = values.reshape(positions, count)
    if count == 0:
        return np.zeros((positions, positions))
    step = max(1, MEASURING_BLOCK // positions)
    blocks = [slice(start, start + step) for start in range(0, count, step)]
    means = _add_rows(np.ascontiguousarray(filters[:, block], np.float64) for block in blocks) / count
    covariance = np.empty((positions, positions))
    for row in range(positions):
        products = _add_rows(
            (filters[row:, block].astype(np.float64) - means[row:, None])
            * (filters[row, block].astype(np.float64) - means[row])
            for block in blocks
        )
        covariance[row, row:] = covariance[row:, row] = products / count
    return covariance


def _add_rows(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Add up the rows of blocks that lie side by side, NumPy's sums within a block, exactly over the blocks."""
    sums = [np.sum(np.ascontiguousarray(block), axis=1) for block in blocks]
    return np.array([math.fsum(parts) for parts in zip(*sums, strict=True)])
