"""`quick_check`: the part of an audit that costs about a second, for every training run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medzoo.data.audit.tables import count_noun, list_some
from medzoo.data.dataset import Dataset

MOST_BYTES = 2**28  # 256 MiB of pixels or files are digested, about a second's work
MOST_FILES = 20_000  # are opened
PROBE = 4096  # bytes from the middle of a file

Key = TypeVar("Key")


def quick_check(dataset: Dataset) -> tuple[str, ...]:
    """Give warnings of images stored twice, bit by bit, in several splits.

    Patients in several splits are in the data set's notes already.  Arrays beyond MOST_BYTES, and more than
    MOST_FILES files, are not compared; nothing is decoded.  A file that cannot be read is no copy of another.
    """
    groups = find_stored_twice(dataset, dataset.table["split"].to_numpy(dtype=object))
    if not groups:
        return ()
    ids = dataset.table["id"].to_numpy(dtype=object)
    images = sum(map(len, groups))
    shown = list_some([" = ".join(ids[rows[:2]]) for rows in groups], quoted=False, most=1)
    return (f"{count_noun(images, 'image')} stored alike in several splits: {shown}",)


def find_stored_twice(dataset: Dataset, splits: NDArray[np.object_]) -> list[list[int]]:
    """Find the groups of images that are stored alike and stand in several splits, as rows."""
    rows = np.arange(len(splits))
    if dataset.images is not None:
        if dataset.images.nbytes > MOST_BYTES:
            return []
        images = dataset.images
        varied = rows[[bool((images[row] != images[row].flat[0]).any()) for row in rows]]
        digests = _map(lambda row: hashlib.sha256(images[row].tobytes()).digest(), varied)
        return list(_group_across(varied, digests, splits))
    if dataset.bundle is None and len(rows) > MOST_FILES:
        return []
    # Each step asks for more bytes of fewer files: those that were alike so far.
    sizes = _measure_files(dataset)
    alike = _flatten(_group_across(rows, sizes, splits))
    if dataset.bundle is None:
        probes = _map(lambda row: _probe_file(dataset, row), alike)
        alike = _flatten(
            _group_across(
                alike, [(sizes[row], probe) for row, probe in zip(alike, probes, strict=True)], splits
            )
        )
    if sum(sizes[row] for row in alike) > MOST_BYTES:
        return []
    digests = _map(lambda row: _digest_file(dataset, row), alike)
    return list(_group_across(alike, digests, splits))


def _measure_files(dataset: Dataset) -> list[int]:
    """Give the size of every image's file, or its length in a bundle; -1 for a file that is not there."""
    if dataset.bundle is not None:
        stored = dataset.bundle.sizes
        lengths: list[int] = np.where(stored > 0, stored, dataset.bundle.lengths).tolist()
        return lengths

    def measure(row: int) -> int:
        """Measure one file."""
        try:
            return dataset.paths[row].stat().st_size
        except OSError:
            return -1

    return _map(measure, np.arange(len(dataset)))


def _probe_file(dataset: Dataset, row: int) -> bytes:
    """Read a few bytes from the middle of a file, where pictures differ; headers and margins are often alike."""
    try:
        with dataset.paths[row].open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size // 2 - PROBE // 2))
            return file.read(PROBE)
    except OSError:
        return b""


def _digest_file(dataset: Dataset, row: int) -> bytes:
    """Digest an image's encoded bytes; of one that cannot be read its number, which is no other's."""
    from medzoo.errors import DataError

    try:
        content = dataset.paths[row].read_bytes() if dataset.bundle is None else dataset.bundle.read([row])[0]
    except (OSError, DataError):
        return str(row).encode()
    return hashlib.sha256(content).digest()


def _group_across(
    rows: NDArray[np.int_], keys: Sequence[Key], splits: NDArray[np.object_]
) -> list[list[int]]:
    """Group rows of equal keys, and keep the groups that stand in several splits."""
    table = pd.DataFrame({"key": pd.Series(keys, dtype=object), "split": splits[rows], "row": rows})
    table["split"] = pd.factorize(table["split"])[0]
    repeated = table[table["key"].duplicated(keep=False)]
    several = repeated.groupby("key", sort=False)["split"].transform("nunique") > 1
    return [group.tolist() for _, group in repeated[several].groupby("key", sort=False)["row"]]


def _flatten(groups: Sequence[Sequence[int]]) -> NDArray[np.int_]:
    """List the rows of all groups."""
    return np.array(sorted(row for group in groups for row in group), int)


def _map(ask: Callable[[int], Key], rows: NDArray[np.int_]) -> list[Key]:
    """Ask something of every row, several at a time."""
    with ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as pool:
        return list(pool.map(ask, rows.tolist()))
