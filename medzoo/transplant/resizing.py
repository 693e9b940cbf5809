"""Other input sizes: position embeddings, Swin's bias tables and patch kernels brought from one grid to another.

All of it rests on one matrix: that of resizing a line of `old` samples to `new`, with half-pixel centres. It is
PyTorch's `interpolate(align_corners=False)`, which timm and transformers resize with, computed in float64.
"""

from __future__ import annotations

import math

import numpy as np

from medzoo.errors import ConfigError, PlanError, nearest
from medzoo.tensors import format_shape

#: Reach of each interpolation's kernel, in samples on either side of its centre.
_REACH = {"bilinear": 1, "bicubic": 2}


def make_resize_matrix(
    old: int, new: int, interpolation: str = "bicubic", antialias: bool = True
) -> np.ndarray:
    """Make the matrix (new, old), float64, that resizes a line of `old` samples to `new`; its rows sum to 1.

    Half-pixel centres. With `antialias` the kernel is stretched by old/new when shrinking, bicubic is Keys's cubic
    with a = −½, and the weights that fall outside the line are dropped and the others renormalised. Without, the
    kernel is never stretched, bicubic has a = −¾, and samples outside the line take the value of its end.

    Raises:
        ConfigError: the interpolation is not `bilinear` or `bicubic`.
        PlanError: a length is below 1.

    >>> make_resize_matrix(2, 4, "bilinear").tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    if interpolation not in _REACH:
        raise ConfigError(f"unknown interpolation {interpolation!r}", nearest(interpolation, _REACH))
    if old < 1 or new < 1:
        raise PlanError(f"a line of {old} samples cannot be resized to {new}", "lengths of 1 or more")
    scale = old / new
    centres = (np.arange(new) + 0.5) * scale
    if antialias:
        distances = (np.arange(old) + 0.5 - centres[:, None]) / max(scale, 1.0)
        weights = _weigh(distances, interpolation, -0.5)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))
    matrix = np.zeros((new, old))
    positions = centres - 0.5
    first = np.floor(positions).astype(int)
    for offset in range(1 - _REACH[interpolation], 1 + _REACH[interpolation]):
        weights = _weigh(positions - (first + offset), interpolation, -0.75)
        np.add.at(matrix, (np.arange(new), np.clip(first + offset, 0, old - 1)), weights)
    return matrix


def _weigh(distances: np.ndarray, interpolation: str, sharpness: float) -> np.ndarray:
    """Evaluate the triangle, or Keys's cubic with a = `sharpness`, at distances from its centre."""
    x = np.abs(distances)
    if interpolation == "bilinear":
        return np.asarray(np.maximum(1 - x, 0))
    inner = ((sharpness + 2) * x - (sharpness + 3)) * x * x + 1
    outer = ((x - 5) * x + 8) * x * sharpness - 4 * sharpness
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0.0))


def _apply(matrix: np.ndarray, values: np.ndarray, axis: int) -> np.ndarray:
    """Multiply one axis of `values` by a matrix, in float64 and always in the same order.

    A library's matrix product may add in another order on another machine or with more threads; a plan that is
    replayed must give the same bytes.
    """
    moved = np.moveaxis(values, axis, 0).astype(np.float64)
    result = np.zeros((len(matrix), *moved.shape[1:]))
    for row, weights in enumerate(matrix):
        for column in np.flatnonzero(weights):
            result[row] += weights[column] * moved[column]
    return np.moveaxis(result, 0, axis)


def resize_grid(
    values: np.ndarray, size: tuple[int, int], interpolation: str = "bicubic", antialias: bool = True
) -> np.ndarray:
    """Resize the first two axes of (h, w, …) to `size`, like an image; the dtype stays.

    An unchanged size gives the same array back.

    Raises:
        ConfigError: the interpolation is not `bilinear` or `bicubic`.
        PlanError: an axis is empty.

    >>> resize_grid(np.ones((2, 2, 5), "float32"), (4, 3)).shape
    (4, 3, 5)
    """
    if values.shape[:2] == tuple(size):
        return values
    rows = make_resize_matrix(values.shape[0], size[0], interpolation, antialias)
    columns = make_resize_matrix(values.shape[1], size[1], interpolation, antialias)
    return np.asarray(_apply(columns, _apply(rows, values, 0), 1), values.dtype)


def resize_positions(
    values: np.ndarray,
    new_tokens: int,
    prefix: int,
    interpolation: str = "bicubic",
    antialias: bool = True,
    old_grid: tuple[int, int] | None = None,
    new_grid: tuple[int, int] | None = None,
) -> np.ndarray:
    """Resize position embeddings (1, tokens, channels) to `new_tokens`, the `prefix` tokens included.

    The first `prefix` tokens (of the class, of distillation) stay as they are; the others are a grid in reading
    order, square unless `old_grid` or `new_grid` (height, width) says otherwise. An unchanged grid gives the same
    array back.

    Raises:
        ConfigError: the interpolation is not `bilinear` or `bicubic`.
        PlanError: the tokens after the prefix are not a square, or not the grid given.

    >>> resize_positions(np.zeros((1, 1 + 14 * 14, 8), "float32"), 1 + 24 * 24, prefix=1).shape
    (1, 577, 8)
    """
    if values.ndim != 3 or values.shape[0] != 1:
        raise PlanError(f"position embeddings are {format_shape(values.shape)}", "1×tokens×channels")
    if new_tokens == values.shape[1] and old_grid == new_grid:
        return values
    old = _find_grid(values.shape[1], prefix, old_grid)
    new = _find_grid(new_tokens, prefix, new_grid)
    if old == new:
        return values
    grid = values[0, prefix:].reshape(*old, -1)
    resized = resize_grid(grid, new, interpolation, antialias)
    return np.concatenate([values[:, :prefix], resized.reshape(1, new[0] * new[1], -1)], axis=1)


def _find_grid(tokens: int, prefix: int, grid: tuple[int, int] | None) -> tuple[int, int]:
    """Give the grid that the tokens after the prefix form: the one stated, or a square."""
    count = tokens - prefix
    if grid is None:
        side = math.isqrt(max(count, 0))
        grid = (side, side)
    if prefix < 0 or min(grid) < 1 or grid[0] * grid[1] != count:
        raise PlanError(
            f"positions of {tokens} tokens, {prefix} of them prefix, do not form a grid of {format_shape(grid)}",
            "as many other tokens as the grid has cells",
            "the right number of prefix tokens, or the grid's height and width",
        )
    return grid


def resize_table(
    values: np.ndarray, new_rows: int, interpolation: str = "bicubic", antialias: bool = True
) -> np.ndarray:
    """Resize Swin's relative position biases ((2w−1)², heads) to `new_rows` rows, as a square grid per head.

    Raises:
        ConfigError: the interpolation is not `bilinear` or `bicubic`.
        PlanError: a number of rows is not (2w−1)² for any window w.

    >>> resize_table(np.zeros((13 * 13, 3), "float32"), 23 * 23).shape
    (529, 3)
    """
    if values.ndim != 2:
        raise PlanError(f"a relative position table is {format_shape(values.shape)}", "(2w−1)²×heads")
    sides = [math.isqrt(max(rows, 0)) for rows in (values.shape[0], new_rows)]
    for side, rows in zip(sides, (values.shape[0], new_rows), strict=True):
        if side * side != rows or side % 2 == 0:
            raise PlanError(
                f"a relative position table of {rows} rows belongs to no window",
                "(2w−1)² rows for a window of w×w",
                "a table without the extra rows of class tokens",
            )
    grid = values.reshape(sides[0], sides[0], -1)
    return resize_grid(grid, (sides[1], sides[1]), interpolation, antialias).reshape(new_rows, -1)


def resize_patches(
    kernel: np.ndarray, size: int | tuple[int, int], interpolation: str = "bicubic", antialias: bool = True
) -> np.ndarray:
    """Resize a patch kernel (h, w, in, out) to `size`, so that it answers resized patches as it did the old ones.

    FlexiViT's pi-resize: with B the matrix of resizing an image of the old size to the new one, each filter w
    becomes (Bᵀ)⁺w. Then ⟨Bx, ŵ⟩ = ⟨x, w⟩ for every patch x where no side shrinks; where one does, ŵ is the
    least-squares answer. FlexiViT itself resizes bilinearly without antialias, timm bicubically with it.

    Raises:
        ConfigError: the interpolation is not `bilinear` or `bicubic`.
        PlanError: the kernel has not four axes, or a size is below 1.

    >>> resize_patches(np.zeros((16, 16, 3, 8), "float32"), 32).shape
    (32, 32, 3, 8)
    """
    if kernel.ndim != 4:
        raise PlanError(f"a patch kernel is {format_shape(kernel.shape)}", "height×width×in×out")
    sizes = (size, size) if isinstance(size, int) else size
    if kernel.shape[:2] == tuple(sizes):
        return kernel
    values = kernel
    # B is the Kronecker product of two small matrices, and the pseudo-inverse of a product of that kind is the
    # product of the pseudo-inverses: the matrix of p²×p*² values is never made.
    for axis, (old, new) in enumerate(zip(kernel.shape[:2], sizes, strict=True)):
        if old != new:
            matrix = make_resize_matrix(old, new, interpolation, antialias)
            values = _apply(np.linalg.pinv(matrix.T), values, axis)
    return np.asarray(values, kernel.dtype)
