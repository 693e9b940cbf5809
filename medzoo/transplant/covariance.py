"""Filters drawn with the spatial covariance of trained ones (Trockman, Willmott, Kolter, ICLR 2023).

Everything here adds and multiplies number by number, without matrix products or decompositions of a library, whose
last digits depend on the processor and on the number of threads: a tensor that was drawn can be drawn again to the bit.
"""

from __future__ import annotations

import math

import numpy as np

from medzoo.errors import PlanError
from medzoo.tensors import measure_covariance as measure_covariance
from medzoo.transplant.draws import draw_normal

#: Filters made at once while drawing: 2**16 of 49 positions are 26 MB in float64.
FILTERS_AT_ONCE = 2**16

#: What counts as 0 beside the largest variance: a covariance of few filters leaves rounding errors of that size.
_ROUNDING = 1e-10


def resize_covariance(covariance: np.ndarray, old: tuple[int, ...], new: tuple[int, ...]) -> np.ndarray:
    """Bring a covariance (h·w, h·w) of windows `old` = (h, w) to windows `new` = (h′, w′): (h′·w′, h′·w′), float64.

    Bilinear by blocks, as the paper has it: seen as (h, w, h, w), it is interpolated along all four axes, with
    half-pixel centres and without antialiasing. That is R·Σ·Rᵀ, with R the bilinear resizing of one filter, so that
    what comes out is a covariance again: that of resized filters. A variance stays that of a single position; filters
    of more positions are larger in all.

    Raises:
        PlanError: no covariance of such windows, or windows without positions.

    >>> resize_covariance(np.ones((4, 4)), (2, 2), (3, 3)).shape
    (9, 9)
    """
    _check_covariance(covariance, old)
    if len(old) != 2 or len(new) != 2 or min(new) < 1:
        windows = " and ".join("×".join(map(str, window)) for window in (old, new))
        raise PlanError(f"windows of {windows}", "height × width, one position or more along each side")
    blocks = np.asarray(covariance, np.float64).reshape(*old, *old)
    for axis, size in enumerate((*new, *new)):
        blocks = _resize_axis(blocks, axis, size)
    resized = blocks.reshape(math.prod(new), math.prod(new))
    # Rows and columns are interpolated one after the other, and round differently.
    return np.asarray((resized + resized.T) / 2)


def _resize_axis(values: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Interpolate linearly along one axis, half-pixel centres, edges repeated."""
    length = values.shape[axis]
    places = np.clip((np.arange(size) + 0.5) * (length / size) - 0.5, 0, length - 1)
    before = np.floor(places).astype(np.intp)
    after = np.minimum(before + 1, length - 1)
    share = (places - before).reshape([-1 if other == axis else 1 for other in range(values.ndim)])
    return np.asarray(values.take(before, axis) * (1 - share) + values.take(after, axis) * share)


def draw_filters(seed: int, name: str, shape: tuple[int, ...], covariance: np.ndarray) -> np.ndarray:
    """Draw a kernel (h, w, …, …), whose filters are independent and N(0, Σ) over their h·w positions; float32.

    The filters are A·z with A·Aᵀ = Σ and z the tensor's keyed standard normal draw, at its own shape: the numbers that
    an i.i.d. draw of that seed and name scales, and the same ones where Σ is a multiple of the identity.

    Raises:
        PlanError: a shape without a window, or a Σ that is no covariance of it.

    >>> draw_filters(0, "conv_dw_1/kernel", (3, 3, 8, 1), np.ones((9, 9))).std(axis=(0, 1)).max() < 1e-6
    np.True_
    """
    if len(shape) != 4:
        raise PlanError(f"{name!r} of {len(shape)} axes", "a kernel (height, width, inputs, outputs)")
    _check_covariance(covariance, shape[:2])
    factor = _factor(np.asarray(covariance, np.float64), name)
    values = draw_normal(seed, name, shape, 0.0, 1.0)
    filters = values.reshape(len(factor), -1)
    for start in range(0, filters.shape[1], FILTERS_AT_ONCE):
        block = filters[:, start : start + FILTERS_AT_ONCE].astype(np.float64)
        mixed = np.zeros_like(block)
        for column, standard in zip(factor.T, block, strict=True):
            (rows,) = np.nonzero(column)
            mixed[rows] += column[rows, None] * standard
        filters[:, start : start + FILTERS_AT_ONCE] = mixed
    return values


def _check_covariance(covariance: np.ndarray, window: tuple[int, ...]) -> None:
    """Refuse what is no square of a window's positions, finite and symmetric.

    Raises:
        PlanError: it is none.
    """
    positions = math.prod(window)
    size = "×".join(map(str, window))
    if covariance.shape != (positions, positions):
        raise PlanError(
            f"a covariance of {'×'.join(map(str, covariance.shape))}",
            f"{positions}×{positions} for a window of {size}",
            "resize_covariance, for filters of another window",
        )
    if not np.isfinite(covariance).all() or not np.allclose(
        covariance, covariance.T, rtol=1e-9, atol=1e-12 * float(np.abs(covariance).max(initial=0))
    ):
        raise PlanError(f"numbers that are no covariance of a {size} window", "finite and symmetric ones")


def _factor(covariance: np.ndarray, name: str) -> np.ndarray:
    """Find A with A·Aᵀ = Σ: Cholesky's, which takes the position with the largest variance that is left each time.

    That order needs no full rank. Column p of A has the part of Σ that position p's normal number explains.

    Raises:
        PlanError: a combination of positions has a variance below 0.
    """
    left = covariance.copy()
    factor = np.zeros_like(left)
    smallest = _ROUNDING * max(float(left.diagonal().max(initial=0)), 0)
    for _ in range(len(left)):
        position = int(np.argmax(left.diagonal()))
        if left[position, position] <= smallest:
            break
        column = left[:, position] / math.sqrt(left[position, position])
        factor[:, position] = column
        left -= column[:, None] * column
        # What is explained is 0, and rounding must not make it a pivot again.
        left[position, :] = left[:, position] = 0
    # A covariance bounds |Σ_pq| by √(Σ_pp·Σ_qq): with no variance left, there is nothing else left either.
    if float(np.abs(left).max(initial=0)) > max(1e3 * smallest, np.finfo(np.float64).tiny):
        raise PlanError(
            f"the covariance for {name!r} gives some combination of positions a variance below 0",
            "a covariance that was measured from filters",
            "medzoo weights moments, to measure it again",
        )
    return factor
