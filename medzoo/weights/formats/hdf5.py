"""What both Keras HDF5 layouts share: opening safely, and reading one dataset at a time."""

from __future__ import annotations

from collections.abc import Callable
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


def member(group: h5py.Group, name: str, path: Path) -> h5py.Group | h5py.Dataset:
    """Give one member of a group, refusing links that lead out of the file.

    Raises:
        WeightsError: the member is absent, or an external link.
    """
    link = group.get(name, getlink=True)
    if link is None:
        raise WeightsError(f"{path} names {group.name}/{name} but does not hold it", "a whole weights file")
    if isinstance(link, h5py.ExternalLink):
        raise WeightsError(f"{path} links {group.name}/{name} to another file", "tensors in the file itself")
    return group[name]


def dataset_reader(dataset: h5py.Dataset, path: Path) -> Callable[[], np.ndarray]:
    """Give a function that reads a dataset's values.

    Raises:
        WeightsError: from the function, where the values are cut off or damaged.
    """

    def read() -> np.ndarray:
        try:
            return np.asarray(dataset[()])
        except OSError as error:
            raise WeightsError(f"{path} is damaged at {dataset.name}", "a whole file") from error

    return read


def check_dataset(dataset: object, path: Path) -> h5py.Dataset:
    """Check that a member is a dataset of numbers stored in this file.

    Raises:
        WeightsError: it is a group, holds no numbers, or keeps its values in other files.
    """
    if not isinstance(dataset, h5py.Dataset):
        raise WeightsError(f"{path} holds a group where a tensor belongs", "a Keras weights file")
    if dataset.dtype.kind not in "fiub":
        raise WeightsError(f"{path} holds {dataset.dtype} at {dataset.name}", "numbers")
    if dataset.is_virtual or dataset.external:
        raise WeightsError(f"{path} keeps {dataset.name} in other files", "tensors in the file itself")
    return dataset
