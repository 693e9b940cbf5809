"""MedMNIST archives: one .npz of images and labels per split (Yang et al., MedMNIST v2, 2023)."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medzoo.data.containers.fetching import Progress, fetch_medmnist, hash_file
from medzoo.data.containers.medmnist_sets import SETS, SMALLEST, PublishedSet
from medzoo.data.dataset import BYTE_RANGE, Dataset, join_labels, sort_classes
from medzoo.data.splitting.splits import complete_splits
from medzoo.errors import DataError

PREFIXES: Mapping[str, str] = {"train": "train", "validation": "val", "test": "test"}
CHUNK = 2**24  # bytes unpacked at a time
#: What the readers raise for a broken file; RuntimeError for an encrypted one.
BROKEN = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
FREE_LICENCE = "CC BY 4.0"


@dataclass(frozen=True)
class Header:
    """What an array in the archive says of itself before it is read."""

    shape: tuple[int, ...]
    kind: np.dtype[np.generic]


def open_medmnist(source: str, seed: int = 0, progress: Progress | None = None) -> Dataset:
    """Open "medmnist:NAME" or "medmnist:NAME@SIDE", downloading it into the cache on first use.

    Raises DataError as `fetch_medmnist` and `read_medmnist` do.
    """
    return load_medmnist(fetch_medmnist(source, progress), seed)


def read_medmnist(path: Path, seed: int = 0) -> Dataset:
    """Read a MedMNIST archive: uint8 images (n, h, w), (n, h, w, 3) or volumes (n, d, h, w); labels (n, k).

    Ids are the split and the number in it ("train/0"); classes are numbers unless the published names are
    known, and stand in the published order.  With several labels per image (ChestMNIST) they become marks.  A
    file that is not the published one, byte for byte, is used with a note.  Raises DataError for an archive of
    other arrays.
    """
    return load_medmnist(path, seed, compare_digest(path))


def load_medmnist(path: Path, seed: int, notes: tuple[str, ...] = ()) -> Dataset:
    """Load an archive whose digest has been looked at."""
    try:
        with zipfile.ZipFile(path) as archive:
            headers = read_headers(archive, path)
            images = load_images(archive, headers, path)
            labels = {
                split: load_labels(archive, headers, prefix, path) for split, prefix in PREFIXES.items()
            }
    except MemoryError as error:
        raise DataError(f"{path} does not fit the memory", "a smaller set", "medmnist:NAME@64") from error
    except BROKEN as error:
        raise DataError(f"cannot read {path}: {error}", "a MedMNIST .npz", "fetching it again") from error
    if not len(images):
        raise DataError(f"{path} holds no images", "a MedMNIST .npz")
    widths = {len(rows[0]) for rows in labels.values() if len(rows)}
    if len(widths) > 1:
        raise DataError(f"{path}: the splits differ in their labels' number: {sorted(widths)}", "one number")
    published = find_published(path)
    table = pd.DataFrame(
        [(f"{split}/{row}", split) for split, rows in labels.items() for row in range(len(rows))],
        columns=["id", "split"],
    )
    numbers = np.concatenate([rows for rows in labels.values() if len(rows)])
    table, classes, marks = label_table(table, numbers, published)
    table, more = complete_splits(table, seed, str(path))
    if published is not None and published.licence != FREE_LICENCE:
        notes = (*notes, f"{path.stem}: its licence is {published.licence}")
    return Dataset(
        name=path.stem,
        classes=classes,
        table=table,
        channels=images.shape[-1],
        size=images.shape[1:-1],
        value_range=BYTE_RANGE,
        images=images,
        notes=(*notes, *more),
        marks=marks,
    )


def find_published(path: Path) -> PublishedSet | None:
    """Find what is published of a file's set: "breastmnist_224.npz" has the names of "breastmnist.npz"."""
    return SETS.get(path.stem.lower().split("_")[0])


def compare_digest(path: Path) -> tuple[str, ...]:
    """Say whether a file named as a published one is another; the same arrays may be zipped in many ways."""
    published = find_published(path)
    side = path.stem.partition("_")[2] or str(SMALLEST)
    expected = None if published is None or not side.isdecimal() else published.digests.get(int(side))
    try:
        if expected is None or hash_file(path) == expected:
            return ()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", "a MedMNIST .npz") from error
    return (
        f"{path.name} is not MedMNIST's file byte for byte (its MD5 differs); its arrays are used as they are",
    )


def read_headers(archive: zipfile.ZipFile, path: Path) -> dict[str, Header]:
    """Read the shapes of the archive's six arrays, so that nothing is loaded of what cannot be used."""
    held = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    headers = {}
    for prefix in PREFIXES.values():
        for key in (f"{prefix}_images", f"{prefix}_labels"):
            if key not in held:
                raise DataError(
                    f"{path} has no {key}, only {', '.join(held) or 'nothing'}", "a MedMNIST .npz"
                )
            with archive.open(f"{key}.npy") as stream:
                headers[key], _ = read_header(stream)
        images, labels = headers[f"{prefix}_images"], headers[f"{prefix}_labels"]
        place = f"{path}: {prefix}_labels"
        if labels.kind.kind not in "iub" or len(labels.shape) not in (1, 2):
            raise DataError(
                f"{place} is {labels.kind} of shape {labels.shape}", "whole numbers of shape (n, 1) or (n, k)"
            )
        if labels.shape[:1] != images.shape[:1]:
            count = images.shape[0] if images.shape else 0
            raise DataError(
                f"{place} has {labels.shape[0]} labels for {count} images", "labels for each image"
            )
    return headers


def read_header(stream: IO[bytes]) -> tuple[Header, bool]:
    """Read an array's header, and whether its values lie in Fortran's order.

    Raises ValueError for one that is no array of numbers: nothing is ever unpickled.
    """
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, kind = read(stream)
    if kind.hasobject:
        raise ValueError("it holds Python objects")
    return Header(shape, kind), fortran


def load_images(archive: zipfile.ZipFile, headers: Mapping[str, Header], path: Path) -> NDArray[np.uint8]:
    """Load all splits' images into one array (n, h, w, c) or (n, d, h, w, 1), with no second copy in memory."""
    shapes = {}
    for prefix in PREFIXES.values():
        header = headers[f"{prefix}_images"]
        place = f"{path}: {prefix}_images"
        if header.kind != np.uint8:
            raise DataError(f"{place} is {header.kind}", "uint8 images")
        shapes[prefix] = add_channels(header.shape, place)
    if len(set(shapes.values())) > 1:
        raise DataError(
            f"{path}: the splits' images differ in shape: {sorted(set(shapes.values()))}", "one shape"
        )
    counts = {prefix: headers[f"{prefix}_images"].shape[0] for prefix in PREFIXES.values()}
    sizes = {f"{prefix}_images.npy": count * math.prod(shapes[prefix]) for prefix, count in counts.items()}
    for name, size in sizes.items():
        # A forged header may ask for any amount of memory; the directory knows what there is.
        if archive.getinfo(name).file_size < size:
            raise EOFError(f"{name} is shorter than its shape")
    images = np.empty((sum(counts.values()), *shapes["train"]), np.uint8)
    start = 0
    for prefix, count in counts.items():
        with archive.open(f"{prefix}_images.npy") as stream:
            fill_array(stream, images[start : start + count])
        start += count
    return images


def add_channels(shape: tuple[int, ...], place: str) -> tuple[int, ...]:
    """Give the shape of one image with its channel axis, from that of all images.

    >>> add_channels((9, 28, 28), ""), add_channels((9, 28, 28, 3), ""), add_channels((9, 28, 28, 28), "")
    ((28, 28, 1), (28, 28, 3), (28, 28, 28, 1))
    """
    if 0 in shape[1:] or len(shape) not in (3, 4):
        raise DataError(
            f"{place} has the shape {shape}",
            "(n, height, width), (n, height, width, 3) or (n, depth, height, width)",
        )
    return shape[1:] if len(shape) == 4 and shape[3] in (1, 3) else (*shape[1:], 1)


def fill_array(stream: IO[bytes], target: NDArray[np.uint8]) -> None:
    """Read an array of bytes into a place of its shape, some megabytes at a time."""
    _, fortran = read_header(stream)
    flat = np.empty(target.size, np.uint8) if fortran else target.reshape(-1)
    done = 0
    while done < flat.size:
        chunk = stream.read(min(CHUNK, flat.size - done))
        if not chunk:
            raise EOFError("an array ends before its last value")
        flat[done : done + len(chunk)] = np.frombuffer(chunk, np.uint8)
        done += len(chunk)
    if fortran:
        target[...] = flat.reshape(target.shape, order="F")


def load_labels(
    archive: zipfile.ZipFile, headers: Mapping[str, Header], prefix: str, path: Path
) -> NDArray[np.int64]:
    """Load a split's labels (n, k), k ≥ 1."""
    count, *width = headers[f"{prefix}_labels"].shape
    if width == [0]:
        raise DataError(f"{path}: {prefix}_labels holds no labels", "whole numbers of shape (n, 1) or (n, k)")
    with archive.open(f"{prefix}_labels.npy") as stream:
        labels: NDArray[np.int64] = np.lib.format.read_array(stream, allow_pickle=False).astype(np.int64)
    rows = labels.reshape(count, -1) if count else labels.reshape(0, 1)
    if rows.shape[1] > 1 and not np.isin(rows, (0, 1)).all():
        raise DataError(
            f"{path}: {prefix}_labels holds {rows.shape[1]} labels per image that are not all 0 or 1",
            "1 for each label that an image has",
        )
    return rows


def label_table(
    table: pd.DataFrame, numbers: NDArray[np.int64], published: PublishedSet | None
) -> tuple[pd.DataFrame, tuple[str, ...], NDArray[np.float32] | None]:
    """Add the label column, and give the classes in the published order and, of several labels, the marks."""
    names: Sequence[str] = () if published is None else published.classes
    if numbers.shape[1] > 1:
        count = numbers.shape[1]
        classes = tuple(names) if len(names) == count else tuple(map(str, range(count)))
        marks = numbers.astype(np.float32)
        return table.assign(label=join_labels(marks, classes)), classes, marks
    flat = numbers[:, 0].tolist()
    if not names or not set(flat) <= set(range(len(names))):
        labels = [str(number) for number in flat]
        return table.assign(label=labels), sort_classes(labels), None
    classes = tuple(names[number] for number in sorted(set(flat)))
    return table.assign(label=[names[number] for number in flat]), classes, None
