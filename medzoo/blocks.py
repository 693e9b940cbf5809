"""Large arrays worked on block by block in a few threads; the blocks, never the threads, decide the result."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable
from typing import TypeVar

import numpy as np

Result = TypeVar("Result")

#: More threads wait for the memory instead of working.
MOST_THREADS = 16

#: Values that NumPy adds at once, in float64: half a megabyte stays in a processor's own cache.
_ADDED_AT_ONCE = 2**16


def count_threads() -> int:
    """Count the threads that work on one array: one for each processor core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, MOST_THREADS))


def run_blocks(work: Callable[[int], Result], count: int) -> list[Result]:
    """Give `[work(0), …, work(count - 1)]`, worked out in threads where there are several blocks and cores.

    `work` must be safe to run beside itself for another block, and gains only as far as NumPy releases the
    interpreter. An exception in any block is raised here, after the blocks that had begun.

    >>> run_blocks(lambda block: block * 10, 3)
    [0, 10, 20]
    """
    threads = min(count_threads(), count)
    if threads <= 1:
        return [work(block) for block in range(count)]
    from concurrent.futures import ThreadPoolExecutor

    # A thread of its own would not know the caller's np.errstate, which is part of the context.
    contexts = [contextvars.copy_context() for _ in range(count)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda block: contexts[block].run(work, block), range(count)))


def add_pairwise(count: int, take: Callable[[int, np.ndarray], object]) -> float:
    """Add `count` float64 numbers, to the very bits of `np.sum` over all of them at once.

    `take(start, room)` puts as many of the numbers as `room` holds into it, from number `start` on; it is called for
    one part after the other. NumPy adds pairwise: it halves what it adds, rounding the first half down to a multiple
    of 8, until 128 or fewer numbers are left. Halving in the same places here lets each part stay in a processor's
    cache from its making to its sum.

    >>> add_pairwise(10**6, lambda start, room: room.fill(2.0))
    2000000.0
    """
    room = np.empty(min(count, _ADDED_AT_ONCE))

    def add(start: int, count: int) -> float:
        if count <= _ADDED_AT_ONCE:
            take(start, room[:count])
            return float(np.add.reduce(room[:count]))
        half = count // 2
        half -= half % 8
        return add(start, half) + add(start + half, count - half)

    return add(0, count)
