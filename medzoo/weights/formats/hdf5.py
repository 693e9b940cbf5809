"""What all Keras HDF5 layouts share: opening safely, and reading one dataset at a time."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from medzoo.errors import WeightsError
from medzoo.weights.formats.hdf5_guard import GuardedFile, open_guarded

#: Groups nested deeper than any real model: a cycle of hard links.
DEEPEST = 40

#: Values that a file claims and never wrote (they read as the fill value) are given up to this many bytes.
LARGEST_UNWRITTEN = 2**30

#: Compressed values larger than this may not unfold to more than a thousand times what is stored.
LARGEST_FOLDED, STEEPEST = 100_000_000, 1000

#: HDF5 unfolds a chunk whole, however few of its values belong to the dataset; Keras writes none at all.
LARGEST_CHUNK = 2**30


def open_hdf5(path: Path, content: GuardedFile | None = None) -> h5py.File:
    """Open an HDF5 file for reading; `content` is read in its place where it lies inside another file, `path`.

    Raises:
        WeightsError: the file is truncated or damaged.
    """
    try:
        return h5py.File(open_guarded(path) if content is None else content, "r")
    except (OSError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error


@contextlib.contextmanager
def refuse_damage(path: Path) -> Iterator[None]:
    """Turn whatever h5py raises on a damaged structure into one refusal.

    Raises:
        WeightsError: names that are no text, lost objects, unknown types, groups that hold themselves.
    """
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, ArithmeticError, MemoryError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> WeightsError:
    """Word the refusal of a damaged file from what h5py said."""
    reason = str(error).split("(")[-1].rstrip(")'\"")
    return WeightsError(
        f"{path} is a damaged HDF5 file ({reason})", "a whole file", "to copy or download it again"
    )


def member(group: h5py.Group, name: str, path: Path) -> h5py.Group | h5py.Dataset:
    """Give one member of a group by name or by path below it, refusing links at every step of the way.

    Keras writes no links: an external one reads another file, a soft one can lead in circles.

    Raises:
        WeightsError: the member is absent, a link, or nested without end.
    """
    found: h5py.Group | h5py.Dataset = group
    for part in name.strip("/").split("/"):
        link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
        if link is None:
            raise WeightsError(
                f"{path} names {group.name}/{name} but does not hold it", "a whole weights file"
            )
        if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
            raise WeightsError(f"{path} holds a link at {group.name}/{name}", "tensors in the file itself")
        found = found[part]
    if found.name.count("/") > DEEPEST:
        raise nested_without_end(path)
    return found


def nested_without_end(path: Path) -> WeightsError:
    """Word the refusal of groups that hold themselves."""
    return WeightsError(f"{path} nests groups more than {DEEPEST} deep", "a Keras weights file")


def locate_object(item: h5py.Group | h5py.Dataset) -> tuple[int, int]:
    """Give what tells two objects of open files apart, whatever the names that lead to them."""
    information = h5py.h5o.get_info(item.id)
    return information.fileno, information.addr


def dataset_reader(dataset: h5py.Dataset, path: Path) -> Callable[[], np.ndarray]:
    """Give a function that reads a dataset's values, in this machine's byte order.

    Raises:
        WeightsError: from the function, where the values are cut off, damaged, or far more than is stored.
    """

    def read() -> np.ndarray:
        with refuse_damage(path):
            _refuse_bombs(dataset, path)
            values = np.asarray(dataset[()])
            return values.astype(values.dtype.newbyteorder("="), copy=False)

    return read


def name_dtype(dataset: h5py.Dataset) -> str:
    """Name a dataset's dtype, whose byte order is no matter of the specification: `float32` for `>f4`, too."""
    return str(dataset.dtype.newbyteorder("="))


def _refuse_bombs(dataset: h5py.Dataset, path: Path) -> None:
    """Compare what a dataset claims with what the file stores of it, before anything is allocated.

    Raises:
        WeightsError: a few stored bytes would fill the memory.
    """
    claimed = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    settings = dataset.id.get_create_plist()
    filters = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]
    chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize if dataset.chunks else 0
    if chunk > LARGEST_CHUNK:
        raise WeightsError(
            f"{path} stores its values in chunks of {chunk:,} bytes at {dataset.name}",
            f"chunks of at most {LARGEST_CHUNK:,} bytes",
            "to save it again without chunks, where it was made",
        )
    unfolded = max(claimed, chunk)
    if filters:
        is_bomb = unfolded > LARGEST_FOLDED and unfolded > STEEPEST * stored
    else:
        is_bomb = claimed - stored > LARGEST_UNWRITTEN
    if is_bomb:
        raise WeightsError(
            f"{path} claims {unfolded if filters else claimed:,} bytes at {dataset.name} and stores {stored:,}",
            "values that the file holds",
            "to copy or download it again",
        )
    if filters:
        _check_filters(dataset, filters, chunk, path)


def _check_filters(dataset: h5py.Dataset, filters: Sequence[int], chunk: int, path: Path) -> None:
    """Check that no chunk can unfold to far more than its `chunk` bytes.

    libhdf5 unfolds all that a compressed chunk holds, and only then compares it with the size that it should
    have; so a chunk must be no larger than filters make values that cannot be compressed.

    Raises:
        WeightsError: a chunk is larger than its values, or compressed twice by one filter.
    """
    if len(set(filters)) < len(filters):
        raise WeightsError(
            f"{path} compresses {dataset.name} more than once by one filter", "each filter once"
        )
    largest = 0

    def measure(found: h5py.h5d.StoreInfo) -> None:
        nonlocal largest
        largest = max(largest, found.size)

    dataset.id.chunk_iter(measure)
    if largest > chunk + chunk // 10 + 1024:
        raise WeightsError(
            f"{path} stores a chunk of {largest:,} bytes at {dataset.name} for {chunk:,}",
            "chunks that compression made smaller",
            "to copy or download it again",
        )


def check_dataset(dataset: object, path: Path) -> h5py.Dataset:
    """Check that a member is a dataset of numbers stored in this file.

    Raises:
        WeightsError: it is a group, holds no numbers, or keeps its values in other files.
    """
    if not isinstance(dataset, h5py.Dataset):
        raise WeightsError(f"{path} holds a group where a tensor belongs", "a Keras weights file")
    if dataset.dtype.kind not in "fiub" or dataset.shape is None:
        raise WeightsError(f"{path} holds {dataset.dtype} at {dataset.name}", "numbers")
    if dataset.is_virtual or dataset.external:
        raise WeightsError(f"{path} keeps {dataset.name} in other files", "tensors in the file itself")
    return dataset


def read_metadata(group: h5py.Group) -> dict[str, str]:
    """Read what Keras and medzoo's writer say of a file: `keras_version`, `backend`, `medzoo` (JSON) as text."""
    found = {}
    for name in ("keras_version", "backend", "medzoo"):
        value = group.attrs.get(name)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(value, str):
            found[name] = value
    return found
