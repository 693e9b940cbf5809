"""Which indices of a source tensor are kept, an axis each, as short text: `0:8,16:20`, `0:64:2`, empty for all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medzoo.errors import PlanError

Ranges = tuple[str, ...]


def write_indices(indices: Sequence[int] | np.ndarray, size: int) -> str:
    """Write indices along an axis of `size` as runs of equal steps; empty where they are all of them in order.

    >>> write_indices([0, 1, 2, 8, 10, 12, 5], 16), write_indices([0, 1], 2)
    ('0:3,8:14:2,5', '')
    """
    numbers = [int(index) for index in indices]
    if numbers == list(range(size)):
        return ""
    runs, start = [], 0
    while start < len(numbers):
        step = numbers[start + 1] - numbers[start] if start + 1 < len(numbers) else 0
        end = start + 1
        while step > 0 and end < len(numbers) and numbers[end] - numbers[end - 1] == step:
            end += 1
        if end - start < (2 if step == 1 else 3):
            runs.append(str(numbers[start]))
            start += 1
            continue
        stride = "" if step == 1 else f":{step}"
        # A run of stride s stops just short of its next member, as Python's slices do.
        runs.append(f"{numbers[start]}:{numbers[end - 1] + (step if step > 1 else 1)}{stride}")
        start = end
    return ",".join(runs)


def read_indices(text: str, size: int) -> np.ndarray:
    """Read the indices that `write_indices` wrote, for an axis of `size`.

    Raises:
        PlanError: no such text, or an index beyond the axis.

    >>> read_indices("0:3,8:14:2,5", 16).tolist()
    [0, 1, 2, 8, 10, 12, 5]
    """
    if not text:
        return np.arange(size)
    indices: list[int] = []
    for run in text.split(","):
        parts = run.split(":")
        if len(parts) > 3 or not all(
            part.isdecimal() and part.isascii() and len(part) < 10 for part in parts
        ):
            raise PlanError(f"indices {text[:60]!r}", "runs such as 0:8,16:20")
        numbers = [int(part) for part in parts]
        step = numbers[2] if len(numbers) == 3 else 1
        places = range(numbers[0], numbers[1] if len(numbers) > 1 else numbers[0] + 1, step or 1)
        # Looked at before it is made a list: a text of a few characters can ask for any number of them.
        if not step or not places or places[-1] >= size:
            raise PlanError(
                f"indices {text[:60]!r} of an axis of {size}", f"whole numbers of 0 to {size - 1}"
            )
        indices += places
    return np.asarray(indices)


def count_indices(text: str, size: int) -> int:
    """Count the indices kept along an axis of `size`."""
    return len(read_indices(text, size)) if text else size


def keep_shape(shape: tuple[int, ...], ranges: Ranges) -> tuple[int, ...]:
    """Give the shape that is left of one when the indices of its ranges are taken.

    >>> keep_shape((8, 4), ("0:3", ""))
    (3, 4)
    """
    if not ranges:
        return shape
    return tuple(count_indices(text, size) for text, size in zip(ranges, shape, strict=True))


def take_ranges(values: np.ndarray, ranges: Ranges) -> np.ndarray:
    """Take the kept indices along every axis.

    >>> take_ranges(np.arange(6).reshape(2, 3), ("", "0,2")).tolist()
    [[0, 2], [3, 5]]
    """
    for axis, text in enumerate(ranges):
        if text:
            values = np.take(values, read_indices(text, values.shape[axis]), axis=axis)
    return values


def divide_repeats(values: np.ndarray, text: str, size: int, axis: int) -> np.ndarray:
    """Divide what was taken along an axis by how often its index was, so that repeats add up to the source's value.

    >>> divide_repeats(np.ones(3), "0,1,1", 2, 0).tolist()
    [1.0, 0.5, 0.5]
    """
    indices = read_indices(text, size)
    shape = [1] * values.ndim
    shape[axis] = -1
    counts = np.bincount(indices, minlength=size)[indices].reshape(shape)
    return np.asarray(values / counts, values.dtype)
