"""What both Keras HDF5 layouts share: opening safely, and reading one dataset at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from medzoo.errors import WeightsError


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading.

    Raises:
        WeightsError: the file is truncated or damaged.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        reason = str(error).split("(")[-1].rstrip(")")
        raise WeightsError(
            f"{path} is a damaged HDF5 file ({reason})", "a whole file", "to copy or download it again"
        ) from error


@contextlib.contextmanager
def refuse_damage(path: Path) -> Iterator[None]:
    """Turn whatever h5py raises on a damaged structure into one refusal.

    Raises:
        WeightsError: names that are no text, lost objects, unknown types, groups that hold themselves.
    """
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = str(error).split("(")[-1].rstrip(")'\"")
        raise WeightsError(
            f"{path} is a damaged HDF5 file ({reason})", "a whole file", "to copy or download it again"
        ) from error


#: Groups nested deeper than any real model: a cycle of hard links.
DEEPEST = 40


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
        raise WeightsError(f"{path} nests groups more than {DEEPEST} deep", "a Keras weights file")
    return found


def dataset_reader(dataset: h5py.Dataset, path: Path) -> Callable[[], np.ndarray]:
    """Give a function that reads a dataset's values.

    Raises:
        WeightsError: from the function, where the values are cut off or damaged.
    """

    def read() -> np.ndarray:
        with refuse_damage(path):
            return np.asarray(dataset[()])

    return read


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
