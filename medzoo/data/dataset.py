"""`Dataset`, the one noun every source of images becomes, and `Listing`, what a source says before checks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medzoo.data.bundle import Bundle
from medzoo.data.corruptions import Corruption
from medzoo.data.reading import Reading
from medzoo.errors import DataError, nearest

SPLITS = ("train", "validation", "test")
BYTE_RANGE = (0.0, 255.0)
Decoder = Literal["tensorflow", "reader"]
AS_STORED = Reading()  # the middle frame, in the file's own window
JOINT = "|"  # between the names of an image's several labels, as NIH's tables write them


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled images and the table that describes them, one row per image in the same order.

    `table` has the columns id (unique), split (train, validation or test), label (a name in `classes`; where an
    image has several, the names of its positive labels joined by "|", "" for none), patient ("" where unknown;
    absent where no patient is known) and any group columns, all text.  Where labels are not exclusive, `marks`
    (n, k) holds them: 1, 0, or NaN for one that nobody annotated.  The pixels are `images` (n, height, width,
    channels) or (n, depth, height, width, channels), uint8, uint16 or float32, or else encoded: in the files
    `paths`, or in `bundle`, whose images `paths` then only names.
    """

    name: str
    classes: tuple[str, ...]  # the last one is the positive class of a two-class problem
    table: pd.DataFrame
    channels: int
    size: tuple[int, ...]  # height and width, or depth, height and width, of the first image, as stored
    value_range: tuple[float, float] | None  # None: already in the network's units, never preprocessed
    images: np.ndarray | None = None
    paths: tuple[Path, ...] = ()
    decoder: Decoder = "tensorflow"  # "reader" where a file's pixels are not TensorFlow's to read
    limit: float | None = None  # the ideal observer's AUROC, where it is known
    notes: tuple[str, ...] = ()
    marks: NDArray[np.float32] | None = None
    bundle: Bundle | None = None
    reading: Reading = AS_STORED
    skipped: tuple[str, ...] = ()  # a line for each row that was left out because of an error
    rows: tuple[int, ...] = ()  # the spreadsheet row of each image; empty where there is no spreadsheet
    corruption: Corruption | None = None  # what is done to each image once it is decoded

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        """Say what it is in a line, without its pixels."""
        counts = self.table["split"].value_counts()
        sizes = ", ".join(f"{counts.get(split, 0)} {split}" for split in SPLITS)
        shape = "×".join(map(str, (*self.size, self.channels)))
        return f"<Dataset {self.name}: {sizes}; {shape}; {', '.join(self.classes)}>"

    @property
    def exclusive(self) -> bool:
        """Whether every image has one class; else each label is a question of its own."""
        return self.marks is None

    @property
    def is_volume(self) -> bool:
        """Whether the images have a depth."""
        return len(self.size) == 3

    @cached_property
    def targets(self) -> NDArray[np.float32]:
        """What the network is to say, (n, k): one-hot rows of the classes, or the marks, NaN where unknown."""
        if self.marks is not None:
            return self.marks
        positions = {name: position for position, name in enumerate(self.classes)}
        rows = [positions[label] for label in self.table["label"]]
        return np.eye(len(self.classes), dtype=np.float32)[rows]

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of ids, splits and labels in the table's order; the pixels are not part of it."""
        columns = [self.table[column].tolist() for column in ("id", "split", "label")]
        if self.marks is not None:  # what nobody annotated is not what is absent
            columns.append([" ".join(map(str, row)) for row in self.marks.tolist()])
        # Each cell carries its length, so that moving a character between cells changes the digest.
        cells = (f"{len(cell)}:{cell}" for row in zip(*columns, strict=True) for cell in row)
        return hashlib.sha256("".join(cells).encode()).hexdigest()

    def of_split(self, name: str) -> Dataset:
        """Return the data set's part in one split, in the table's order.

        Raises DataError for a name that is no split.
        """
        if name not in SPLITS:
            raise DataError(f"{name!r} is not a split", nearest(name, SPLITS))
        return self.take(np.flatnonzero(self.table["split"].to_numpy() == name))

    def take(self, rows: NDArray[np.int_]) -> Dataset:
        """Return the data set of some rows, in that order."""
        return replace(
            self,
            table=self.table.iloc[rows].reset_index(drop=True),
            images=None if self.images is None else self.images[rows],
            paths=tuple(self.paths[row] for row in rows) if self.paths else (),
            marks=None if self.marks is None else self.marks[rows],
            bundle=None if self.bundle is None else self.bundle.take(rows),
            rows=tuple(self.rows[row] for row in rows) if self.rows else (),
        )


@dataclass(frozen=True, eq=False)
class Listing:
    """The images that a manifest, a folder or an archive lists, before splits are completed and headers are read.

    `table` is that of a Dataset, except that its split column may be absent or without validation rows.  With
    several labels per image `classes` and `marks` (n, k) are given; else the classes are the labels'.
    """

    name: str
    table: pd.DataFrame
    paths: tuple[Path, ...]
    rows: tuple[int, ...] = ()  # the spreadsheet row of each file; empty where there is no spreadsheet
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    marks: NDArray[np.float32] | None = None
    bundle: Bundle | None = None
    skipped: tuple[str, ...] = ()

    def take(self, rows: NDArray[np.int_]) -> Listing:
        """Return the listing of some rows, in that order."""
        return replace(
            self,
            table=self.table.iloc[rows].reset_index(drop=True),
            paths=tuple(self.paths[row] for row in rows),
            rows=tuple(self.rows[row] for row in rows) if self.rows else (),
            marks=None if self.marks is None else self.marks[rows],
            bundle=None if self.bundle is None else self.bundle.take(rows),
        )


def join_labels(marks: NDArray[np.float32], classes: tuple[str, ...]) -> list[str]:
    """Name each row's positive labels in one text, as the table's label column holds them.

    >>> join_labels(np.array([[1, 0, 1], [0, np.nan, 0]], np.float32), ("a", "b", "c"))
    ['a|c', '']
    """
    return [
        JOINT.join(name for name, mark in zip(classes, row, strict=True) if mark == 1)
        for row in marks.tolist()
    ]


def sort_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """Sort the distinct labels: numbers by value, then names by spelling.

    >>> sort_classes(["10", "9", "2", "9"])
    ('2', '9', '10')
    """

    def key(label: str) -> tuple[bool, float, str]:
        number = re.fullmatch(r"[+-]?\d+(\.\d+)?", label)
        return number is None, float(label) if number else 0.0, label

    return tuple(sorted(set(labels), key=key))
