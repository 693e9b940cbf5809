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

from medzoo.errors import DataError, nearest

SPLITS = ("train", "validation", "test")
BYTE_RANGE = (0.0, 255.0)
Decoder = Literal["tensorflow", "pillow"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images and the table that describes them, one row per image in the same order.

    `table` has the columns id (unique), split (train, validation or test), label (a name in `classes`),
    patient ("" where unknown; absent where no patient is known) and any group columns, all text.  The pixels
    are `images` (n, height, width, channels), uint8 or float32, or else the files `paths`.
    """

    name: str
    classes: tuple[str, ...]  # the last one is the positive class of a two-class problem
    table: pd.DataFrame
    channels: int  # 1 or 3
    size: tuple[int, int]  # height and width in pixels of the first image, as stored
    value_range: tuple[float, float] | None  # None: already in the network's units, never preprocessed
    images: np.ndarray | None = None
    paths: tuple[Path, ...] = ()
    decoder: Decoder = "tensorflow"  # "pillow" where a file's pixels are not TensorFlow's to read
    limit: float | None = None  # the ideal observer's AUROC, where it is known
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of ids, splits and labels in the table's order; the pixels are not part of it."""
        columns = [self.table[column].tolist() for column in ("id", "split", "label")]
        # Each cell carries its length, so that moving a character between cells changes the digest.
        cells = (f"{len(cell)}:{cell}" for row in zip(*columns, strict=True) for cell in row)
        return hashlib.sha256("".join(cells).encode()).hexdigest()

    def of_split(self, name: str) -> Dataset:
        """Return the data set's part in one split, in the table's order.

        Raises DataError for a name that is no split.
        """
        if name not in SPLITS:
            raise DataError(f"{name!r} is not a split", nearest(name, SPLITS))
        rows = np.flatnonzero(self.table["split"].to_numpy() == name)
        return replace(
            self,
            table=self.table.iloc[rows].reset_index(drop=True),
            images=None if self.images is None else self.images[rows],
            paths=tuple(self.paths[row] for row in rows) if self.paths else (),
        )


@dataclass(frozen=True, eq=False)
class Listing:
    """The image files a manifest or a folder lists, before splits are completed and headers are read.

    `table` is that of a Dataset, except that its split column may be absent or without validation rows.
    """

    name: str
    table: pd.DataFrame
    paths: tuple[Path, ...]
    rows: tuple[int, ...] = ()  # the spreadsheet row of each file; empty where there is no spreadsheet
    notes: tuple[str, ...] = ()


def sort_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """Sort the distinct labels: numbers by value, then names by spelling.

    >>> sort_classes(["10", "9", "2", "9"])
    ('2', '9', '10')
    """

    def key(label: str) -> tuple[bool, float, str]:
        number = re.fullmatch(r"[+-]?\d+(\.\d+)?", label)
        return number is None, float(label) if number else 0.0, label

    return tuple(sorted(set(labels), key=key))
