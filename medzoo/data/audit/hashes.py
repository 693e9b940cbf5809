"""What two copies of a picture share: a thumbnail's coarse structure and its detail, whatever the brightness.

A thumbnail has 32×32 pixels.  Its hash is the lowest 8×8 coefficients of its cosine transform, after mean 0 and
norm 1: the distance of two hashes is never more than that of the thumbnails, so that a search by hashes misses
nothing.  The detail is what a Gaussian blur of one pixel takes away; pictures of one kind (chests, cells) agree in
coarse structure, but only copies agree in detail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32
COEFFICIENTS = 8
BLUR = 1.0  # pixels of a thumbnail
FLAT = 1e-3  # of the range of values: less contrast or detail than this is noise, and not compared
CHUNK = 4096  # thumbnails worked on at a time, 16 MB as float32

Array = NDArray[np.float32]

#: How a copy may have been turned, and how to turn it back; the last two axes are height and width.
TURNS: Mapping[str, Callable[[Array], Array]] = {
    "mirrored": lambda images: images[..., ::-1],
    "upside down": lambda images: images[..., ::-1, :],
    "turned by 180°": lambda images: images[..., ::-1, ::-1],
    "turned by 90°": lambda images: np.rot90(images, 1, (-2, -1)),
    "turned by 270°": lambda images: np.rot90(images, 3, (-2, -1)),
    "transposed": lambda images: np.swapaxes(images, -2, -1),
    "transposed, turned by 180°": lambda images: np.swapaxes(images, -2, -1)[..., ::-1, ::-1],
}


def make_thumbnail(pixels: NDArray[Any]) -> Array:
    """Average an image (h, w, c) or (d, h, w, c) over areas, to grey (32, 32) in the image's own units.

    Of a volume, the middle slices along its three axes and the mean over its depth make the four quarters.
    """
    grey = make_grey(pixels)
    if grey.ndim == 2:
        return _shrink(grey, SIDE)
    depth, height, width = (length // 2 for length in grey.shape)
    quarters = (grey[depth], grey[:, height], grey[:, :, width], grey.mean(axis=0))
    first, second, third, fourth = (_shrink(quarter, SIDE // 2) for quarter in quarters)
    return np.block([[first, second], [third, fourth]])


def make_grey(pixels: NDArray[Any]) -> Array:
    """Give an image's luminance, without the channel axis; channels that are no colours are averaged."""
    if pixels.shape[-1] == 3:
        return np.asarray(pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32), np.float32)
    return np.asarray(pixels.astype(np.float32).mean(axis=-1), np.float32)


def _shrink(grey: Array, side: int) -> Array:
    """Average a grey image over areas to a square."""
    image = Image.fromarray(np.ascontiguousarray(grey, dtype=np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BOX), dtype=np.float32)


def standardise(images: NDArray[Any]) -> Array:
    """Give each image (n, h, w) mean 0 and norm 1, flattened to (n, h·w); a constant one becomes zeros."""
    flat: Array = images.reshape(len(images), -1).astype(np.float32)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    flat /= np.where(norm > 0, norm, 1)
    return flat


def hash_thumbnails(thumbnails: NDArray[Any]) -> Array:
    """Hash thumbnails (n, 32, 32) to the lowest coefficients (n, 64) of their standardised cosine transforms.

    >>> thumbnails = np.random.default_rng(0).random((2, 32, 32))
    >>> hashes, flat = hash_thumbnails(thumbnails), standardise(thumbnails)
    >>> bool(np.linalg.norm(hashes[0] - hashes[1]) <= np.linalg.norm(flat[0] - flat[1]))
    True
    """
    basis = _cosine_basis()
    hashes = np.empty((len(thumbnails), COEFFICIENTS**2), np.float32)
    for start in range(0, len(thumbnails), CHUNK):
        squares = standardise(thumbnails[start : start + CHUNK]).reshape(-1, SIDE, SIDE)
        hashes[start : start + CHUNK] = (basis @ squares @ basis.T).reshape(len(squares), -1)
    return hashes


def extract_detail(thumbnails: NDArray[Any]) -> Array:
    """Give what a blur takes away from thumbnails (n, 32, 32), in their units."""
    blur = _blur_matrix()
    images = thumbnails.astype(np.float32)
    return np.asarray(images - blur @ images @ blur.T, np.float32)


def count_effective(detail: NDArray[Any]) -> Array:
    """Count on how many pixels the detail (n, 32, 32) stands: (Σd²)² / Σd⁴, a third of all for Gaussian noise.

    >>> count_effective(np.eye(32)[None]).tolist()
    [32.0]
    """
    squares = detail.reshape(len(detail), -1).astype(np.float64) ** 2
    total, fourth = squares.sum(axis=1) ** 2, (squares**2).sum(axis=1)
    return np.asarray(total / np.where(fourth > 0, fourth, 1), np.float32)


def find_comparable(thumbnails: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which thumbnails (n, 32, 32), in units of the range of values, have contrast and detail to compare."""
    comparable = np.empty(len(thumbnails), bool)
    for start in range(0, len(thumbnails), CHUNK):
        part = thumbnails[start : start + CHUNK]
        contrast = part.astype(np.float32).std(axis=(1, 2))
        comparable[start : start + CHUNK] = (contrast > FLAT) & (extract_detail(part).std(axis=(1, 2)) > FLAT)
    return comparable


def _cosine_basis() -> Array:
    """Make the lowest rows (8, 32) of the orthonormal cosine transform."""
    order = np.arange(COEFFICIENTS)[:, None]
    basis = np.cos(np.pi * order * (np.arange(SIDE) + 0.5) / SIDE) * np.sqrt(2 / SIDE)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float32)


def _blur_matrix() -> Array:
    """Make the matrix (32, 32) of a Gaussian blur along one axis; at the margin the image is mirrored."""
    reach = int(4 * BLUR)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / BLUR) ** 2)
    weights /= weights.sum()
    matrix = np.zeros((SIDE, SIDE), np.float32)
    for row in range(SIDE):
        for offset, weight in zip(range(-reach, reach + 1), weights, strict=True):
            column = row + offset
            column = -1 - column if column < 0 else 2 * SIDE - 1 - column if column >= SIDE else column
            matrix[row, column] += weight
    return matrix
