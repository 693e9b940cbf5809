"""Split files: who is in which split, fraction and fold, as a CSV manifest of its own or laid over other data."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medzoo.data.dataset import JOINT
from medzoo.data.splitting.splits import read_split
from medzoo.data.splitting.subsets import Choice, choose_rows
from medzoo.data.tables.annotations import NO_FINDING
from medzoo.data.tables.cells import read_cells
from medzoo.data.tables.conventions import find_convention, fold_name
from medzoo.data.tables.layout import COMMON_NAMES
from medzoo.errors import ConfigError, DataError
from medzoo.outputs import write_text

OWN_COLUMNS = ("fraction", "fold")  # what only a split file says
LEADING = ("image", "id", "label", "patient", "split", *OWN_COLUMNS)
NO_LABELS = "No Finding"  # what a list of no labels is written as, so that no cell of it is empty


class Written(NamedTuple):
    """What a split file needs beside it to be opened by itself.

    `label_columns` are its columns of one label each, for --label-columns; empty where labels are in one column.
    `image_folder` is what its images' paths start from, for --image-folder; None where that is its own folder.
    `columns` are those whose role must be named, as other columns could have it: "label" for --label-column label.
    """

    label_columns: tuple[str, ...] = ()
    image_folder: Path | None = None
    columns: tuple[str, ...] = ()


def write_split_file(
    path: Path,
    table: pd.DataFrame,
    *,
    paths: Sequence[Path] = (),
    classes: Sequence[str] = (),
    marks: NDArray[np.float32] | None = None,
    overwrite: bool = False,
) -> Written:
    """Write a table as a CSV manifest, in one step, with the images' paths relative to the file's own folder.

    Where images lie outside of that, their paths are relative to the folder that holds them all.  Without `paths`
    there is no image column: the file is to be laid over the data by id.  Labels that are not exclusive are joined
    by "|", or where `marks` (n, k) has some that nobody annotated, each has a column of 1, 0 or nothing.  Raises
    ConfigError where the file exists and `overwrite` is not set.
    """
    refuse_existing(path, overwrite)
    columns: dict[str, Sequence[str]] = {}
    folder: Path | None = None
    if paths:
        columns["image"], folder = relate_paths(paths, path.parent)
    columns["id"] = table["id"].tolist()
    labels = write_labels(table, classes, marks)
    columns |= labels
    leading = [name for name in LEADING if name in table and name not in columns]
    others = [name for name in table if name not in (*LEADING, *columns)]
    columns |= {name: table[name].tolist() for name in (*leading, *others) if name != "label"}
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_text(path, stream.getvalue())
    return Written(() if "label" in labels else tuple(labels), folder, list_doubtful(columns))


def list_doubtful(columns: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """List the columns of a split file that a reader would not take for what they are by their names alone."""
    first = [str(next(iter(cells), "")) for cells in columns.values()]
    is_published = find_convention(list(columns), first) is not None
    rivals = {
        role: sum(fold_name(column) in names for column in columns) for role, names in COMMON_NAMES.items()
    }
    return tuple(role for role in COMMON_NAMES if role in columns and (is_published or rivals[role] > 1))


def write_labels(
    table: pd.DataFrame, classes: Sequence[str], marks: NDArray[np.float32] | None
) -> dict[str, list[str]]:
    """Write labels as the column `label`, or as a column each where that could not say what is unknown."""
    texts = table["label"].tolist()
    if marks is None:
        return {"label": texts}
    # Lists are recognised by the joint, and an image of none by the words for it.
    is_read = not any(fold_name(name) in NO_FINDING for name in classes)  # a list leaves out such a label
    if is_read and not np.isnan(marks).any() and any(JOINT in text for text in texts):
        return {"label": [text or NO_LABELS for text in texts]}
    cells = np.where(np.isnan(marks), "", np.where(marks == 1, "1", "0"))
    names = [f"label {name}" if name in LEADING else name for name in classes]
    return {name: cells[:, place].tolist() for place, name in enumerate(names)}


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuse to replace a file that nobody asked to replace."""
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists", "a new file", "--overwrite or another --out")


def relate_paths(paths: Sequence[Path], home: Path) -> tuple[list[str], Path | None]:
    """Write each image's path relative to a folder, links resolved, where all are below it.

    Else they are relative to the folder that holds them all, which is given too: readers follow no path out of
    the folder it starts from.
    """
    parts = [os.path.split(path) for path in paths]
    # Images share few folders: each is resolved once.
    real = {head: os.path.realpath(head) for head in {head for head, _ in parts}}
    own, common = os.path.realpath(home), os.path.commonpath(list(real.values()))
    is_below = os.path.commonpath([own, common]) == own
    start = own if is_below else common
    starts = {head: Path(os.path.relpath(folder, start)).as_posix() for head, folder in real.items()}
    names = [name if starts[head] == "." else f"{starts[head]}/{name}" for head, name in parts]
    return names, None if is_below else Path(common)


def apply_split_file(
    table: pd.DataFrame,
    path: Path,
    *,
    fraction: float | None = None,
    fold: int | None = None,
    missing: int = 0,
) -> Choice:
    """Lay a split file over a table by id: the rows kept, in the table's order, and the split of each.

    The file's split, fraction and fold count, not the table's; its labels do not.  `missing` is how many of the
    file's ids the table may lack, because its images were skipped.  Raises DataError where either side lacks an
    id of the other, and for repeated ids.
    """
    cells = read_split_file(path)
    places = pd.Index(cells["id"]).get_indexer(table["id"])
    absent = np.flatnonzero(places < 0)
    if len(absent):
        raise DataError(
            f"{path} lacks {len(absent)} of the {len(table)} images, the first is {table['id'].iloc[absent[0]]!r}",
            "a row for every image of the data",
            "medzoo data split DATA --out FILE",
        )
    unknown = np.setdiff1d(np.arange(len(cells)), places)
    if len(unknown) > missing:
        raise DataError(
            f"{path} names {len(unknown)} images that the data lack, the first is {cells['id'].iloc[unknown[0]]!r}",
            "the data that it was made of",
            "medzoo data split DATA --out FILE",
        )
    laid = cells.iloc[places].reset_index(drop=True)
    notes: tuple[str, ...] = ()
    if "label" in laid and "label" in table:
        written, own = laid["label"].to_numpy(dtype=object), table["label"].to_numpy(dtype=object)
        changed = int(((written != own) & ~((written == NO_LABELS) & (own == ""))).sum())
        if changed:
            notes = (f"labels of {changed} images are not those of {path}; the data's are used",)
    choice = choose_rows(laid, fraction, fold)
    if choice.split is None:
        raise DataError(f"{path} has no column 'split'", "train, validation, test or unused", "--test-fold 1")
    return Choice(choice.rows, choice.split, (*notes, *choice.notes))


def read_split_file(path: Path) -> pd.DataFrame:
    """Read a split file's cells as text, with the names of its splits checked."""
    cells = read_cells(path)[0]
    if "id" not in cells:
        raise DataError(f"{path} has no column 'id'", "a file of medzoo data split")
    repeated = cells["id"][cells["id"].duplicated()]
    if len(repeated):
        raise DataError(
            f"{path}, row {repeated.index[0]} names {repeated.iloc[0]!r} once more", "one row per image"
        )
    if "split" in cells:
        first = cells["split"].drop_duplicates()
        spelt = {value: read_split(value, f"{path}, row {row}") for row, value in first.items()}
        cells["split"] = cells["split"].map(spelt)
    return cells
