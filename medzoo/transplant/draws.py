"""Random values keyed by seed, tensor name and block: order, subset, format and thread count change nothing.

The key of block b of tensor t is `SFC64(SeedSequence([seed, first 128 bits of SHA-256(t), b]))`, one block for
every 2**20 values in C order, drawn in float32. This can never change: every published plan depends on it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import numpy as np
from numpy.random import SFC64, Generator, SeedSequence

BLOCK = 2**20

#: Standard deviation of a standard normal cut at ±2 (Keras's variance scaling divides by it).
_TRUNCATED_DEVIATION = 0.87962566103423978

DrawBlock = Callable[[Generator, int], np.ndarray]


def block_generator(seed: int, name: str, block: int) -> Generator:
    """Give the generator of one block of one tensor."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")
    return Generator(SFC64(SeedSequence([seed, key, block])))


def draw(seed: int, name: str, shape: tuple[int, ...], draw_block: DrawBlock) -> np.ndarray:
    """Draw a float32 tensor block by block with `draw_block(generator, count)`."""
    values = np.empty(math.prod(shape), np.float32)
    for block, start in enumerate(range(0, values.size, BLOCK)):
        stop = min(start + BLOCK, values.size)
        values[start:stop] = draw_block(block_generator(seed, name, block), stop - start)
    return values.reshape(shape)


def draw_normal(seed: int, name: str, shape: tuple[int, ...], mean: float, deviation: float) -> np.ndarray:
    """Draw i.i.d. normal values; mean and deviation are applied in float32.

    >>> bool(draw_normal(0, "a/kernel", (2,), 0.0, 1.0)[0] == draw_normal(0, "a/kernel", (9,), 0.0, 1.0)[0])
    True
    """
    values = draw(seed, name, shape, _standard_normal)
    values *= np.float32(deviation)
    values += np.float32(mean)
    return values


def draw_uniform(seed: int, name: str, shape: tuple[int, ...], half_width: float) -> np.ndarray:
    """Draw i.i.d. uniform values between −half_width and +half_width."""
    values = draw(seed, name, shape, _symmetric_uniform)
    values *= np.float32(half_width)
    return values


def draw_truncated_normal(seed: int, name: str, shape: tuple[int, ...], deviation: float) -> np.ndarray:
    """Draw normal values of a deviation before truncation, none beyond two deviations."""
    values = draw(seed, name, shape, _truncated_normal)
    values *= np.float32(deviation)
    return values


def _standard_normal(generator: Generator, count: int) -> np.ndarray:
    return generator.standard_normal(count, dtype=np.float32)


def _symmetric_uniform(generator: Generator, count: int) -> np.ndarray:
    return generator.random(count, dtype=np.float32) * np.float32(2) - np.float32(1)


def _truncated_normal(generator: Generator, count: int) -> np.ndarray:
    values = generator.standard_normal(count, dtype=np.float32)
    while (outside := np.flatnonzero(np.abs(values) > 2)).size:
        values[outside] = generator.standard_normal(outside.size, dtype=np.float32)
    return values


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
