"""One line of a dialect: how a name of theirs becomes one of ours, and how its values are turned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from medzoo.errors import WeightsError
from medzoo.tensors import LazyTensor, TensorSpec, lazy_tensor, role_of


@dataclass(frozen=True)
class Entry:
    """One line of a dialect: a pattern of their names, the pattern of ours, and how the values are turned.

    Patterns hold numbers as `{block}`; ours may shift one, `{block+1}`, theirs may pad one, `{unit:02}`. Their
    tensor is read, the `part`-th of `parts` equal pieces is taken along its first axis, its first `ones` axes
    (its last, where negative), which must have size 1, are dropped, the rest is transposed (`axes[i]` is their
    axis that becomes our axis i), and our axes from `merge[0]` up to `merge[1]` become one. `rank` restricts
    the line to tensors of that many axes in the file.

    Where several lines give one name of ours, their first is the one written; a line with `beside` is written
    only for networks that also hold that tensor of ours.
    """

    theirs: str
    ours: str
    axes: tuple[int, ...] = ()
    part: int = 0
    parts: int = 1
    ones: int = 0
    merge: tuple[int, int] = (0, 0)
    rank: int = 0
    beside: str = ""

    @property
    def is_invertible(self) -> bool:
        """Whether their tensor can be made from ours: merged axes cannot be parted without knowing their sizes."""
        return self.merge == (0, 0)


def view(tensor: LazyTensor, entry: Entry, name: str) -> LazyTensor:
    """Rename and turn a tensor without reading it.

    Raises:
        WeightsError: its shape does not fit the entry.
    """
    shape = _turn_shape(tensor.spec, entry)
    spec = TensorSpec(name, shape, tensor.spec.dtype, role_of(name))
    if shape == tensor.spec.shape and not entry.axes and entry.parts == 1:
        return replace(tensor, spec=spec)

    def read() -> np.ndarray:
        values = tensor.read()
        length = values.shape[0] // entry.parts if entry.parts > 1 else 0
        if entry.parts > 1:
            values = values[entry.part * length : (entry.part + 1) * length]
        values = values.reshape(_drop_ones(values.shape, entry.ones))
        if entry.axes:
            values = values.transpose(entry.axes)
        return np.ascontiguousarray(values).reshape(shape)

    # A transposition sums in another order: moments are measured on what `read` gives, as of any other file.
    if tensor.has_values:
        return lazy_tensor(spec, read)
    return LazyTensor(spec, read, tensor.moments, has_values=False)


def _drop_ones(shape: tuple[int, ...], ones: int) -> tuple[int, ...]:
    """Leave out a shape's first axes, or its last where their count is negative."""
    return shape[ones:] if ones >= 0 else shape[:ones]


def _turn_shape(spec: TensorSpec, entry: Entry) -> tuple[int, ...]:
    """Give the shape that a tensor has after its entry's turns."""
    shape = spec.shape
    dropped = shape[: entry.ones] if entry.ones >= 0 else shape[entry.ones :]
    fits = len(shape) >= abs(entry.ones) and all(size == 1 for size in dropped)
    if entry.parts > 1:
        fits = fits and bool(shape) and shape[0] % entry.parts == 0
        shape = (shape[0] // entry.parts, *shape[1:]) if fits else shape
    shape = _drop_ones(shape, entry.ones)
    if entry.axes:
        fits = fits and len(shape) == len(entry.axes)
        shape = tuple(shape[axis] for axis in entry.axes) if fits else shape
    if not fits or len(shape) < entry.merge[1]:
        raise WeightsError(
            f"{spec.name!r} is {'×'.join(map(str, spec.shape)) or 'a scalar'}",
            f"a shape that {entry.ours!r} can have",
            "--dialect keras to read names and axes as they are stored",
        )
    start, stop = entry.merge
    if stop > start:
        shape = (*shape[:start], int(np.prod(shape[start:stop], dtype=np.int64)), *shape[stop:])
    return shape


def join_pieces(theirs: str, parts: Mapping[int, tuple[Entry, LazyTensor]]) -> LazyTensor:
    """Turn our tensors back and put their pieces, by number, together, without reading them.

    Raises:
        WeightsError: a piece is missing, or they do not fit together.
    """
    ordered = [parts[index] for index in sorted(parts)]
    first, tensor = ordered[0]
    shapes = [_turn_back(entry, tensor.spec.shape) for entry, tensor in ordered]
    dtypes = {part.spec.dtype for _, part in ordered}
    if len(parts) != first.parts or len(set(shapes)) > 1 or len(dtypes) > 1:
        raise WeightsError(
            f"{theirs!r} cannot be put together from {', '.join(part.spec.name for _, part in ordered)}",
            f"{first.parts} pieces of one shape and dtype",
        )
    shape = (shapes[0][0] * first.parts, *shapes[0][1:]) if first.parts > 1 else shapes[0]
    spec = TensorSpec(theirs, shape, tensor.spec.dtype, tensor.spec.role)

    def read() -> np.ndarray:
        turned = []
        for entry, tensor in ordered:
            values = tensor.read()
            if entry.axes:
                values = values.transpose(np.argsort(entry.axes))
            turned.append(np.ascontiguousarray(values).reshape(shapes[0]))
        return turned[0] if len(turned) == 1 else np.concatenate(turned)

    if tensor.has_values:
        return lazy_tensor(spec, read)
    return LazyTensor(spec, read, tensor.moments, has_values=False)


def _turn_back(entry: Entry, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Give the shape that our tensor has in the dialect."""
    if entry.axes:
        shape = tuple(shape[int(axis)] for axis in np.argsort(entry.axes))
    ones = (1,) * abs(entry.ones)
    return ones + shape if entry.ones >= 0 else shape + ones
