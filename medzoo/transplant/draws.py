"""Random values keyed by seed, tensor name and block: order, subset, format and thread count change nothing.

The key of block b of tensor t is `SFC64(SeedSequence([seed, first 128 bits of SHA-256(t), b]))`, one block for
every 2**20 values in C order, drawn in float32. This can never change: every published plan depends on it.
Blocks are drawn in several threads, each scaled by the thread that drew it, while it is in that core's cache.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import numpy as np
from numpy.random import SFC64, Generator, SeedSequence

from medzoo.blocks import run_blocks

BLOCK = 2**20

#: Values drawn at once within a block, from its one generator: they stay in a core's own cache until they are scaled.
_DRAWN_AT_ONCE = 2**15

#: Standard deviation of a standard normal cut at ±2 (Keras's variance scaling divides by it).
_TRUNCATED_DEVIATION = 0.87962566103423978

DrawBlock = Callable[[Generator, int], np.ndarray]


def block_generator(seed: int, name: str, block: int) -> Generator:
    """Give the generator of one block of one tensor."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")
    return Generator(SFC64(SeedSequence([seed, key, block])))


def draw(seed: int, name: str, shape: tuple[int, ...], draw_block: DrawBlock) -> np.ndarray:
    """Draw a float32 tensor block by block with `draw_block(generator, count)`, which several threads may call."""

    def fill(generator: Generator, values: np.ndarray) -> None:
        values[:] = draw_block(generator, values.size)

    return fill_blocks(seed, name, shape, fill)


def fill_blocks(
    seed: int, name: str, shape: tuple[int, ...], fill: Callable[[Generator, np.ndarray], object]
) -> np.ndarray:
    """Draw a float32 tensor with `fill(generator, values)`, which puts one block's values into its place.

    Several threads may call it at once, each with a generator and a part of the tensor of its own.

    >>> fill_blocks(0, "a/kernel", (2, 2), lambda generator, values: values.fill(1))
    array([[1., 1.],
           [1., 1.]], dtype=float32)
    """
    values = np.empty(math.prod(shape), np.float32)

    def fill_block(block: int) -> None:
        fill(block_generator(seed, name, block), values[block * BLOCK : (block + 1) * BLOCK])

    run_blocks(fill_block, -(-values.size // BLOCK))
    return values.reshape(shape)


def draw_normal(seed: int, name: str, shape: tuple[int, ...], mean: float, deviation: float) -> np.ndarray:
    """Draw i.i.d. normal values; mean and deviation are applied in float32.

    >>> bool(draw_normal(0, "a/kernel", (2,), 0.0, 1.0)[0] == draw_normal(0, "a/kernel", (9,), 0.0, 1.0)[0])
    True
    """

    def fill(generator: Generator, values: np.ndarray) -> None:
        for start in range(0, values.size, _DRAWN_AT_ONCE):
            part = values[start : start + _DRAWN_AT_ONCE]
            generator.standard_normal(dtype=np.float32, out=part)
            part *= np.float32(deviation)
            part += np.float32(mean)

    return fill_blocks(seed, name, shape, fill)


def draw_uniform(seed: int, name: str, shape: tuple[int, ...], half_width: float) -> np.ndarray:
    """Draw i.i.d. uniform values between −half_width and +half_width."""

    def fill(generator: Generator, values: np.ndarray) -> None:
        generator.random(dtype=np.float32, out=values)
        values *= np.float32(2)
        values -= np.float32(1)
        values *= np.float32(half_width)

    return fill_blocks(seed, name, shape, fill)


def draw_truncated_normal(seed: int, name: str, shape: tuple[int, ...], deviation: float) -> np.ndarray:
    """Draw normal values of a deviation before truncation, none beyond two deviations."""

    def fill(generator: Generator, values: np.ndarray) -> None:
        generator.standard_normal(dtype=np.float32, out=values)
        # Only those drawn again can be outside again: as many draws, in the same order, as in looking at all.
        outside = np.flatnonzero(np.abs(values) > 2)
        while outside.size:
            again = generator.standard_normal(outside.size, dtype=np.float32)
            values[outside] = again
            outside = outside[np.abs(again) > 2]
        values *= np.float32(deviation)

    return fill_blocks(seed, name, shape, fill)


def scale_of_fans(shape: tuple[int, ...], mode: str) -> float:
    """Give the divisor of variance scaling for a kernel's shape (Keras's `compute_fans`)."""
    if len(shape) < 2:
        fan_in = fan_out = shape[0] if shape else 1
    else:
        field = math.prod(shape[:-2])
        fan_in, fan_out = shape[-2] * field, shape[-1] * field
    fans = {"fan_in": float(fan_in), "fan_out": float(fan_out), "fan_avg": (fan_in + fan_out) / 2}
    return max(1.0, fans[mode])


def draw_initial(
    seed: int, name: str, shape: tuple[int, ...], distribution: str, scale: float, mode: str
) -> np.ndarray:
    """Draw a fresh tensor as its layer's Keras initializer would, with our keyed generator.

    >>> draw_initial(0, "a/gamma", (2,), "constant", 1.0, "absolute")
    array([1., 1.], dtype=float32)
    """
    if distribution == "constant":
        return np.full(shape, scale, np.float32)
    variance = scale if mode == "absolute" else scale / scale_of_fans(shape, mode)
    deviation = scale if mode == "absolute" else math.sqrt(variance)
    if distribution == "uniform":
        half_width = scale if mode == "absolute" else math.sqrt(3 * variance)
        return draw_uniform(seed, name, shape, half_width)
    if distribution == "normal":
        return draw_normal(seed, name, shape, 0.0, deviation)
    if mode != "absolute":
        deviation /= _TRUNCATED_DEVIATION
    return draw_truncated_normal(seed, name, shape, deviation)
