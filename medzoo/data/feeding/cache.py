"""Prepared images kept, in memory or in a file, so that each is decoded and resized once: sized before, and exact."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medzoo.contracts import Fit, Preprocessing
from medzoo.data.dataset import Dataset
from medzoo.data.feeding.fitting import count_fitted
from medzoo.errors import ConfigError, DataError
from medzoo.outputs import write_beside

#: Where prepared images are kept; "auto" decides by their size and by what it costs to make them.
Cache = Literal["auto", "memory", "disk", "off"]

CACHE_LIMIT = 2 * 10**9  # bytes of prepared images that "auto" keeps in memory
SHARE = 0.8  # of what is free, at most
VERSION = 1  # of how images are prepared: another one makes files of earlier versions unused
LONGEST_NAME = 40


def choose_cache(
    dataset: Dataset, sides: tuple[int, ...], channels: int, contract: Preprocessing, wanted: Cache
) -> Cache:
    """Choose where a data set's prepared images are kept: "memory", "disk" or "off".

    "auto" keeps up to 2 GB in memory, and beyond that what only Python decodes in a file; nothing where preparing
    is no work.  Raises DataError where what was asked for does not fit, with the figures.
    """
    if wanted not in get_args(Cache):
        raise ConfigError(f"cache = {wanted!r}", f"one of {', '.join(get_args(Cache))}", "--cache auto")
    if wanted == "off" or not is_work(dataset, sides, contract.fit):
        return "off"
    needed = estimate_bytes(dataset, sides, channels, contract.fit)
    memory = find_free_memory()
    if wanted == "auto":
        if needed <= CACHE_LIMIT and (memory is None or needed <= SHARE * memory):
            return "memory"
        room = SHARE * find_free_disk(cache_folder())
        return "disk" if dataset.decoder == "reader" and needed <= room else "off"
    what = f"{dataset.name}: {len(dataset):,} prepared images of {_name_bytes(needed / len(dataset))} need"
    if wanted == "memory" and memory is not None and needed > SHARE * memory:
        found = f"{what} {_name_bytes(needed)} of memory, and {_name_bytes(memory)} are free"
        raise DataError(found, f"at most {SHARE:.0%} of that", "--cache disk, or a smaller --image-size")
    # A file that is there already needs no more room.
    if wanted == "disk" and not find_cached(dataset, sides, channels, contract).exists():
        room = find_free_disk(cache_folder())
        if needed > SHARE * room:
            found = f"{what} {_name_bytes(needed)} in {cache_folder()}, where {_name_bytes(room)} are free"
            raise DataError(found, f"at most {SHARE:.0%} of that", "--cache off, or MEDZOO_CACHE=FOLDER")
    return wanted


def is_work(dataset: Dataset, sides: tuple[int, ...], fit: Fit) -> bool:
    """Tell whether images have to be decoded, corrupted or resized at all."""
    return dataset.images is None or dataset.corruption is not None or dataset.size != sides or fit == "crop"


def is_byte(dataset: Dataset, sides: tuple[int, ...], fit: Fit) -> bool:
    """Tell whether prepared images are bytes as they were stored, as far as the first image says."""
    is_stored = dataset.decoder == "tensorflow" and dataset.corruption is None
    return is_stored and dataset.size == sides and fit != "crop"


def estimate_bytes(dataset: Dataset, sides: tuple[int, ...], channels: int, fit: Fit) -> int:
    """Estimate the bytes of all prepared images, (n, *sides, channels), as a cache keeps them."""
    values = len(dataset) * math.prod(sides) * count_fitted(dataset.channels, channels)
    return values * (1 if is_byte(dataset, sides, fit) else 4)


class MemoryCache:
    """Prepared images float32 (n, *shape) in memory, which come in as they are first made; bytes if they are."""

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        self._shape = (count, *shape)
        self._images: NDArray[Any] | None = None
        self._filled = np.zeros(count, bool)
        self._lock = threading.Lock()

    def has(self, rows: NDArray[np.int64]) -> bool:
        """Tell whether all of some rows have come."""
        return bool(self._filled[rows].all())

    def put(self, rows: NDArray[np.int64], images: NDArray[np.float32]) -> NDArray[np.int64]:
        """Keep some rows' images (b, *shape), and give the rows back."""
        with self._lock:
            kind = find_narrowest(images)
            if self._images is None:
                self._images = np.empty(self._shape, kind)
            elif np.promote_types(self._images.dtype, kind) != self._images.dtype:
                self._images = self._images.astype(kind)
            self._images[rows] = images
            self._filled[rows] = True
        return rows

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Take some rows' images (b, *shape)."""
        if self._images is None:
            return np.empty((len(rows), *self._shape[1:]), np.float32)
        return np.take(self._images, rows, axis=0).astype(np.float32, copy=False)


def find_narrowest(images: NDArray[np.float32]) -> np.dtype[Any]:
    """Find the smallest type that holds values exactly: uint8, uint16, or float32.

    >>> find_narrowest(np.float32([3, 255])), find_narrowest(np.float32([3.5]))
    (dtype('uint8'), dtype('float32'))
    """
    low, high = images.min(initial=0), images.max(initial=0)
    for kind in (np.uint8, np.uint16):
        if low >= 0 and high <= np.iinfo(kind).max and (images == np.floor(images)).all():
            return np.dtype(kind)
    return np.dtype(np.float32)


def cache_folder() -> Path:
    """Give the folder of prepared images: in `MEDZOO_CACHE`, or in the platform's cache folder."""
    import pooch

    return Path(os.environ.get("MEDZOO_CACHE") or pooch.os_cache("medzoo")) / "prepared"


def find_cached(dataset: Dataset, sides: tuple[int, ...], channels: int, contract: Preprocessing) -> Path:
    """Find the file of a data set's prepared images: its name follows from the files' names, sizes and times.

    What is not part of preparing them, such as labels and the contract's scale, makes no other file.
    """
    total = hashlib.sha256()
    rule = (VERSION, sides, count_fitted(dataset.channels, channels), contract.fit, contract.interpolation)
    stored = (dataset.channels, dataset.decoder, dataset.reading, dataset.value_range)
    total.update(repr((rule, contract.crop_fraction, stored)).encode())
    if dataset.corruption is not None:  # which goes by ids
        total.update(repr((dataset.corruption, dataset.table["id"].tolist())).encode())
    if dataset.images is not None:
        total.update(repr((dataset.images.shape, dataset.images.dtype.str)).encode())
        for image in dataset.images:  # mapped from a file it may be larger than memory
            total.update(np.ascontiguousarray(image).data)
    elif dataset.bundle is None:
        _add_files(total, dataset.paths)
    else:
        bundle = dataset.bundle
        _add_files(total, bundle.files)
        for column in (bundle.places, bundle.offsets, bundle.lengths):
            total.update(column.tobytes())
        for blob in bundle.blobs or ():
            total.update(blob)
    name = "".join(sign if sign.isalnum() else "-" for sign in Path(dataset.name).stem)[:LONGEST_NAME]
    return cache_folder() / f"{name}-{total.hexdigest()[:24]}.npy"


def _add_files(total: Any, paths: Iterable[Path]) -> None:
    """Add files' names, sizes and times of change to a digest."""
    for path in paths:
        try:
            facts = path.stat()
        except OSError as error:
            raise DataError(
                f"cannot read {str(path)!r}: {error.strerror}", "the file that was opened"
            ) from error
        total.update(os.fsencode(path.absolute()) + f"\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())


def load_cached(path: Path, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Map the file of prepared images; None where there is none of that shape."""
    try:
        images: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return images if images.shape == shape else None


def write_cached(
    path: Path, shape: tuple[int, ...], kind: np.dtype[Any], batches: Iterable[NDArray[np.float32]]
) -> bool:
    """Write batches of prepared images, in order, as one .npy file of `kind`; False where that is not exact.

    Raises DataError where the folder has no room or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_beside(path) as beside, beside.open("wb") as file:
            header = {"descr": kind.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for images in batches:  # written and not mapped: a full disk is an error, not a crash
                if np.promote_types(find_narrowest(images), kind) != kind:
                    raise _NotExactError
                file.write(np.ascontiguousarray(images, kind).data)
    except _NotExactError:
        return False
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror}",
            "a cache folder that has room and can be written",
            "MEDZOO_CACHE=FOLDER, or --cache off",
        ) from error
    return True


class _NotExactError(Exception):
    """Images have fractions or a range that bytes do not hold."""


def find_free_memory() -> int | None:
    """Find how many bytes of memory are free, in the machine and in the container; None where nothing tells."""
    free = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")
        limit, used = (
            (group / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current")
        )
        if limit != "max":
            free.append(max(0, int(limit) - int(used)))
    except (OSError, ValueError):
        pass  # not Linux, or no container: what was found counts
    return min(free, default=None)


def find_free_disk(folder: Path) -> int:
    """Find how many bytes are free where a folder is or will be."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def _name_bytes(count: float) -> str:
    """Write a number of bytes.

    >>> _name_bytes(150528), _name_bytes(20e9)
    ('0.15 MB', '20.0 GB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"
