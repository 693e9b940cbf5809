"""From images to volumes: kernels of two-dimensional convolutions made three-dimensional."""

from __future__ import annotations

import numpy as np

from medzoo.errors import ConfigError, PlanError, nearest
from medzoo.tensors import format_shape

#: Ways to fill the depth of a kernel.
WAYS = ("mean", "centre", "acs")


def inflate(kernel: np.ndarray, shape: tuple[int, ...], how: str) -> np.ndarray:
    """Make a kernel (height, width, in, out) three-dimensional: `shape` is (depth, height, width, in, out).

    - `mean` (I3D): the kernel divided by the depth T at every depth, so that a volume whose slices are all the
      same gets the two-dimensional answer wherever the kernel reaches over no end of it.
    - `centre`: the kernel at depth T//2 and zeros elsewhere, so that every slice gets the two-dimensional answer.
    - `acs` (axial, coronal, sagittal): the outputs in three parts, the remainder to the first ones. The first
      part's kernels lie in the plane of height and width, the second's in that of depth and width, the third's in
      that of depth and height, each through the middle of a cube that is zero elsewhere. Under `same` padding and
      stride 1, or padding by half the kernel on every side, that is what convolutions by 1×k×k, k×1×k and k×k×1
      answer.

    A bias stays as it is: it is added once. The values keep their dtype; memory is that of the result.

    Raises:
        ConfigError: there is no such way.
        PlanError: the two shapes differ in more than the depth, or `acs` is asked for a kernel that is no odd cube.

    >>> inflate(np.ones((1, 1, 1, 1)), (4, 1, 1, 1, 1), "mean").ravel().tolist()
    [0.25, 0.25, 0.25, 0.25]
    >>> inflate(np.ones((1, 1, 1, 1)), (4, 1, 1, 1, 1), "centre").ravel().tolist()
    [0.0, 0.0, 1.0, 0.0]
    """
    if how not in WAYS:
        raise ConfigError(f"unknown way {how!r} to inflate a kernel", nearest(how, WAYS))
    if kernel.ndim != 4 or len(shape) != 5 or kernel.shape != tuple(shape[1:]) or shape[0] < 1:
        raise PlanError(
            f"a kernel of {format_shape(kernel.shape)} does not inflate to {format_shape(shape)}",
            "height×width×in×out, and depth before the same four",
            "a target whose layers differ from the source's in depth alone",
        )
    inflated = np.zeros(shape, kernel.dtype)
    if how == "mean":
        inflated[:] = kernel.astype(np.float64) / shape[0]
    elif how == "centre":
        inflated[shape[0] // 2] = kernel
    else:
        _fill_planes(inflated, kernel)
    return inflated


def _fill_planes(cube: np.ndarray, kernel: np.ndarray) -> None:
    """Lay three thirds of the filters into the three planes through the middle of a cube of zeros."""
    depth, height, width = cube.shape[:3]
    if not depth == height == width or depth % 2 == 0:
        raise PlanError(
            f"'acs' cannot turn a kernel to {depth}×{height}×{width}",
            "as many values in depth as in height and width, and an odd number",
            "'mean' or 'centre'",
        )
    middle = depth // 2
    axial, coronal, sagittal = np.array_split(np.arange(cube.shape[-1]), 3)
    cube[middle, :, :, :, axial] = np.moveaxis(kernel[..., axial], -1, 0)
    cube[:, middle, :, :, coronal] = np.moveaxis(kernel[..., coronal], -1, 0)
    cube[:, :, middle, :, sagittal] = np.moveaxis(kernel[..., sagittal], -1, 0)
