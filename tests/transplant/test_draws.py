"""Draws: the threads change nothing, and every block has the values of its own key."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.random import Generator

from medzoo import blocks
from medzoo.transplant.draws import (
    BLOCK,
    block_generator,
    draw,
    draw_normal,
    draw_truncated_normal,
    draw_uniform,
    fill_blocks,
)

NAME = "conv/kernel"
SHAPES = [(), (0,), (3,), (5, 7), (2**15 + 1,), (BLOCK,), (BLOCK + 1,), (3, BLOCK - 5)]
THREADS = pytest.mark.parametrize("threads", [1, 2, 5])


def draw_plainly(shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Draw as the scheme was first written: a block in one call, then scaled as a whole."""
    values = np.empty(math.prod(shape), np.float32)
    for block, start in enumerate(range(0, values.size, BLOCK)):
        part = values[start : start + BLOCK]
        generator = block_generator(7, NAME, block)
        if kind == "uniform":
            part[:] = generator.random(part.size, dtype=np.float32) * np.float32(2) - np.float32(1)
            continue
        part[:] = generator.standard_normal(part.size, dtype=np.float32)
        while kind == "truncated" and (outside := np.flatnonzero(np.abs(part) > 2)).size:
            part[outside] = generator.standard_normal(outside.size, dtype=np.float32)
    values *= np.float32(0.3)
    if kind == "normal":
        values += np.float32(0.1)
    return values.reshape(shape)


@THREADS
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_thread_count_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], threads: int
) -> None:
    monkeypatch.setattr(blocks, "count_threads", lambda: threads)
    found = {
        "normal": draw_normal(7, NAME, shape, 0.1, 0.3),
        "uniform": draw_uniform(7, NAME, shape, 0.3),
        "truncated": draw_truncated_normal(7, NAME, shape, 0.3),
    }
    for kind, values in found.items():
        assert (values.shape, values.dtype) == (shape, np.float32)
        assert values.tobytes() == draw_plainly(shape, kind).tobytes(), kind


@THREADS
def test_what_draws_a_block_gets_its_generator_and_its_size(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(blocks, "count_threads", lambda: threads)
    shape = (2, BLOCK + 3)

    def draw_block(generator: Generator, count: int) -> np.ndarray:
        return generator.integers(0, 9, count).astype(np.float64)

    values = draw(1, NAME, shape, draw_block).reshape(-1)
    assert values.dtype == np.float32
    for block in range(3):
        part = values[block * BLOCK : (block + 1) * BLOCK]
        assert np.array_equal(part, draw_block(block_generator(1, NAME, block), part.size))


def test_a_part_of_a_block_is_filled_in_its_place() -> None:
    sizes = []
    fill_blocks(0, NAME, (BLOCK + 2,), lambda _, values: sizes.append(values.size))
    assert sorted(sizes) == [2, BLOCK]
