"""Images that look wrong: unreadable, blank, inverted, of odd shape, or of another kind than the rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medzoo.data.audit.findings import Finding
from medzoo.data.audit.hashes import find_comparable, hash_thumbnails
from medzoo.data.audit.pixels import PixelFacts
from medzoo.data.audit.tables import count_noun, list_some
from medzoo.data.dataset import Dataset

# Correlations with the mean of all images.  Radiographs and sonograms of one body part correlate by 0.7 with it.
ALIKE = 0.5  # the median image of a set in which "inverted" means something
INVERTED = -0.3  # an image below this is likely a negative
ENOUGH = 20  # images, to have a mean
ODD = 2.0  # times wider or taller than the median image


def check_appearance(dataset: Dataset, facts: PixelFacts) -> list[Finding]:
    """Find what looks wrong in single images, and what they do not have in common."""
    ids = dataset.table["id"].to_numpy(dtype=object)
    findings = []
    if facts.faults:
        reasons = [reason for _, reason in facts.faults]
        message = f"{count_noun(len(reasons), 'image')} cannot be read: {reasons[0]}"
        findings.append(Finding("unreadable", message, tuple(ids[row] for row, _ in facts.faults)))
    blank, inverted = _name(ids, facts.blank), _name(ids, find_inverted(facts))
    if blank:
        message = f"{count_noun(len(blank), 'blank image')}, all pixels alike: {list_some(blank)}"
        findings.append(Finding("blank", message, blank))
    if inverted:
        message = (
            f"{count_noun(len(inverted), 'image')} like the negative of the others: {list_some(inverted)}"
        )
        findings.append(Finding("inverted", message, inverted))
    return [*findings, *check_shapes(facts, ids), *check_kinds(dataset, facts, ids)]


def find_inverted(facts: PixelFacts) -> NDArray[np.bool_]:
    """Tell which images (n,) look like negatives: they correlate negatively with the mean of all others.

    The mean is taken with the signs that make its parts agree, so that many negatives do not hide each other.  In a
    set whose images have little in common none is.
    """
    inverted = np.zeros(len(facts.digests), bool)
    rows = np.flatnonzero(facts.readable & ~facts.blank)
    rows = rows[find_comparable(facts.thumbnails[rows])]
    if len(rows) < ENOUGH:
        return inverted
    images = hash_thumbnails(
        facts.thumbnails[rows]
    )  # coarse structure is enough, and a sixteenth of the memory
    images /= np.linalg.norm(images, axis=1, keepdims=True) + 1e-9
    signs = np.ones(len(rows), np.float32)
    for _ in range(5):
        total = signs @ images
        along = images @ total
        # An image's own part in the sum is taken out of the product and of the sum's norm.
        norm = np.sqrt(np.maximum(total @ total - 2 * signs * along + 1, 1e-6))
        correlation = (along - signs) / norm
        signs = np.where(correlation < 0, -1, 1).astype(np.float32)
    if signs.sum() < 0:
        correlation = -correlation
    if np.median(correlation) >= ALIKE:
        inverted[rows[correlation < INVERTED]] = True
    return inverted


def check_shapes(facts: PixelFacts, ids: NDArray[np.object_]) -> list[Finding]:
    """Say in which sizes the images come, and which have other proportions than most."""
    shapes = facts.shapes[facts.readable]
    if not len(shapes):
        return []
    kinds = np.unique(shapes, axis=0)
    if len(kinds) == 1:
        return []
    pixels = shapes[:, 1] * shapes[:, 2]
    smallest, largest = (format_shape(shapes[at]) for at in (pixels.argmin(), pixels.argmax()))
    message = f"{len(kinds):,} sizes, from {smallest} to {largest} (height × width)"
    findings = [Finding("sizes", message)]
    ratio = np.log(shapes[:, 2] / shapes[:, 1])
    odd = np.zeros(len(ids), bool)
    odd[facts.readable] = np.abs(ratio - np.median(ratio)) > np.log(ODD)
    if odd.any():
        named = _name(ids, odd)
        message = (
            f"{count_noun(len(named), 'image')} {ODD:g} times wider or taller than most: {list_some(named)}"
        )
        findings.append(Finding("odd_shape", message, named))
    return findings


def check_kinds(dataset: Dataset, facts: PixelFacts, ids: NDArray[np.object_]) -> list[Finding]:
    """Find images of another depth of bits, or the few that are grey or coloured among the others."""
    findings = []
    readable = int(facts.readable.sum())
    deep = facts.readable & facts.between_levels
    if dataset.images is None and 0 < deep.sum() < readable:
        named = _name(ids, deep)
        message = (
            f"{count_noun(len(named), 'image')} of {readable:,} with more than 256 levels: {list_some(named)}"
        )
        findings.append(Finding("mixed_depth", message, named))
    coloured = facts.readable & facts.coloured
    if 0 < coloured.sum() < readable:
        grey = facts.readable & ~facts.coloured
        rarer, word = (coloured, "in colour") if coloured.sum() <= grey.sum() else (grey, "grey")
        named = _name(ids, rarer)
        message = (
            f"{count_noun(len(named), 'image')} of {readable:,} {word}, unlike the others: {list_some(named)}"
        )
        findings.append(Finding("mixed_colour", message, named))
    return findings


def format_shape(shape: NDArray[np.int32]) -> str:
    """Format a shape (depth, height, width), without a depth of 0.

    >>> format_shape(np.array([0, 480, 640], np.int32))
    '480×640'
    """
    return "×".join(str(length) for length in shape.tolist() if length)


def _name(ids: NDArray[np.object_], rows: NDArray[np.bool_]) -> tuple[str, ...]:
    """Name some images."""
    return tuple(ids[rows].tolist())
