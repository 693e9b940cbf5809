"""Work in blocks: the threads change nothing, and sums have NumPy's own bits."""

from __future__ import annotations

import math
import threading

import ml_dtypes
import numpy as np
import pytest

from medzoo import blocks
from medzoo.blocks import add_pairwise, count_threads, run_blocks
from medzoo.moments import MEASURING_BLOCK, Moments, measure_moments

THREADS = pytest.mark.parametrize("threads", [1, 2, 5])
DTYPES = ("float32", "float16", ml_dtypes.bfloat16, "float64", "int32", "bool")

#: Around every size at which NumPy's sum or our blocks change what they do.
SIZES = (
    *(1, 2, 7, 8, 9, 127, 128, 129, 136, 1000),
    *(2**16 - 1, 2**16, 2**16 + 1, 2**16 + 7, 2**17 + 9, 2**17 + 135, 99_999),
    *(2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20 + 12_345),
)


def measure_plainly(values: np.ndarray) -> Moments:
    """Measure as the formula was first written, one NumPy call after the other."""
    flat = values.reshape(-1)
    parts = [flat[start : start + MEASURING_BLOCK] for start in range(0, flat.size, MEASURING_BLOCK)]
    mean = math.fsum(float(np.sum(part.astype(np.float64))) for part in parts) / flat.size
    squares = math.fsum(float(np.sum(np.square(part.astype(np.float64) - mean))) for part in parts)
    return Moments(mean, math.sqrt(squares / flat.size))


def draw_values(seed: int, size: int, dtype: object) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(size) * 7 + 0.3).astype(dtype)  # type: ignore[call-overload]


@THREADS
def test_results_come_in_the_blocks_order(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(blocks, "count_threads", lambda: threads)
    barrier = threading.Barrier(threads, timeout=30)
    seen = set()

    def work(block: int) -> int:
        if block < threads:
            barrier.wait()  # passes only if so many blocks are worked on at once
        seen.add(threading.get_ident())
        return block * block

    assert run_blocks(work, 20) == [block * block for block in range(20)]
    assert len(seen) == threads
    assert run_blocks(work, 0) == []


@THREADS
def test_an_error_in_a_block_is_raised(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(blocks, "count_threads", lambda: threads)

    def work(block: int) -> int:
        return 1 // (block - 3)

    with pytest.raises(ZeroDivisionError):
        run_blocks(work, 6)


def test_the_caller_s_error_state_holds_in_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "count_threads", lambda: 2)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        run_blocks(lambda _: np.float32(3e38) * np.float32(10), 2)


def test_there_are_as_many_threads_as_cores_at_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= count_threads() <= blocks.MOST_THREADS
    monkeypatch.setattr(blocks, "MOST_THREADS", 1)
    assert count_threads() == 1


@pytest.mark.parametrize("size", SIZES)
def test_a_sum_has_the_bits_of_numpy_s(size: int) -> None:
    values = draw_values(size, size, "float64")
    found = add_pairwise(size, lambda start, room: np.copyto(room, values[start : start + room.size]))
    assert found == float(np.sum(values))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@THREADS
def test_moments_have_the_bits_of_the_formula(
    monkeypatch: pytest.MonkeyPatch, threads: int, dtype: object
) -> None:
    monkeypatch.setattr(blocks, "count_threads", lambda: threads)
    sizes = (*SIZES, *np.random.default_rng(threads).integers(1, 2**18, 10))
    for size in map(int, sizes):
        values = draw_values(size, size, dtype)
        assert measure_moments(values) == measure_plainly(values), size


def test_values_that_are_not_finite_have_moments_that_are_not() -> None:
    assert math.isnan(measure_moments(np.array([1.0, np.nan])).mean)
    assert measure_moments(-np.zeros(9, "float32")) == Moments(0.0, 0.0)
