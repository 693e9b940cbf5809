"""CSV manifests: one row per image, columns as named or recognised by their common names."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from medzoo.data.dataset import Listing
from medzoo.data.images import SUFFIXES, is_file
from medzoo.data.splits import ALIASES, read_split
from medzoo.errors import DataError, nearest

# Compared without case, blanks, hyphens and underscores.
# "fold" is no split: its numbers do not say which one is tested.
COMMON_NAMES: Mapping[str, tuple[str, ...]] = {
    "image": (
        *("image", "images", "img", "file", "path", "filename", "filepath", "imagefile", "imagename"),
        *("imagepath", "imageid", "imageindex", "idcode"),
    ),
    "label": (
        *("label", "labels", "class", "target", "diagnosis", "diagnostic", "dx", "finding", "findings"),
        *("findinglabels", "category", "classname", "imagelabel"),
    ),
    "split": ("split", "set", "subset", "partition"),
    "patient": ("patient", "patientid", "patientname", "subject", "subjectid"),
}
REQUIRED = ("image", "label")
RESERVED = ("id", "split", "label", "patient")
RESERVED_STARTS = ("score_", "label_", "logit_")
LONGEST_GROUP = 80  # characters in a cell of a group column
PROBED = 20  # rows looked at to find the folder of the images


def read_manifest(
    path: Path,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    patient_column: str | None = None,
    image_folder: Path | None = None,
) -> Listing:
    """Read a UTF-8 CSV file of one row per image, every cell as text.

    A column that is not named is recognised by its common names.  Image names are relative to `image_folder`,
    else to the manifest's folder or its `images` subfolder, and may lack .png or .jpg.  Other columns stay as
    groups, under their names.  Raises DataError for what cannot be read, naming the row as a spreadsheet
    counts it (the header is row 1).
    """
    cells = read_cells(path)
    named = {"image": image_column, "label": label_column, "split": split_column, "patient": patient_column}
    columns = choose_columns(list(cells.columns), named, str(path))
    # "set" or "subset" is a split only if it says train and test; else it is a column like any other.
    is_guess = split_column is None and "split" in columns and fold_name(columns["split"]) != "split"
    if is_guess and not all(value.lower() in ALIASES for value in cells[columns["split"]]):
        del columns["split"]
    images, labels = cells[columns["image"]].tolist(), cells[columns["label"]].tolist()
    rows = [int(row) for row in cells.index]
    refuse_empty(images, rows, columns["image"], path)
    refuse_empty(labels, rows, columns["label"], path)
    refuse_several_labels(labels, columns["label"], rows, path)
    paths = find_images(images, path.parent, image_folder)
    refuse_repeats(paths, rows, path)
    table = {"id": images, "label": labels}
    if "split" in columns:
        places = [f"{path}, row {row}" for row in rows]
        table["split"] = list(map(read_split, cells[columns["split"]].tolist(), places))
    if "patient" in columns and any(cells[columns["patient"]]):
        table["patient"] = cells[columns["patient"]].tolist()
    groups = {column: cells[column].tolist() for column in cells.columns if column not in columns.values()}
    # Reports and other free text are no groups, and predictions should not carry them on.
    groups = {name: values for name, values in groups.items() if max(map(len, values)) <= LONGEST_GROUP}
    return Listing(
        name=f"{path.resolve().parent.name}/{path.name}",
        table=pd.DataFrame(table | rename_groups(groups)),
        paths=paths,
        rows=tuple(rows),
    )


def read_cells(path: Path) -> pd.DataFrame:
    """Read a CSV file's cells as stripped text; the index is the row as a spreadsheet counts it."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file, strict=True)]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text", "a UTF-8 CSV file", "saving it as 'CSV UTF-8'"
        ) from error
    except (OSError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}", "a CSV file") from error
    filled = [(row, line) for row, line in enumerate(lines, start=1) if any(line)]
    if len(filled) < 2:
        raise DataError(
            f"{path} has no rows below the header" if filled else f"{path} is empty", "a row per image"
        )
    header = [name or f"column {number}" for number, name in enumerate(filled[0][1], start=1)]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(
            f"{path} has two columns {twice[0]!r}", "every column under its own name", "renaming one"
        )
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise DataError(
            f"{path} has a single column, {header[0]!r}", "cells between commas", "saving it with commas"
        )
    for row, line in filled[1:]:
        if len(line) != len(header):
            raise DataError(f"{path}, row {row} has {len(line)} cells", f"{len(header)}, as in the header")
    return pd.DataFrame(
        [line for _, line in filled[1:]], columns=header, index=[row for row, _ in filled[1:]]
    )


def choose_columns(columns: Sequence[str], named: Mapping[str, str | None], source: str) -> dict[str, str]:
    """Choose the column of each role: the one named, else the only one with a common name.

    Raises DataError for a name that is no column, for several candidates, and where image or label has none.

    >>> choose_columns(["Image Index", "finding", "age"], {}, "chest.csv")
    {'image': 'Image Index', 'label': 'finding'}
    """
    chosen = {role: name for role, name in named.items() if name is not None}
    for role, name in chosen.items():
        if name not in columns:
            raise DataError(
                f"{source} has no column {name!r}", nearest(name, columns), f"--{role}-column NAME"
            )
    taken = set(chosen.values())
    for role, common in COMMON_NAMES.items():
        if role in chosen:
            continue
        candidates = [column for column in columns if column not in taken and fold_name(column) in common]
        if len(candidates) > 1:
            listed = ", ".join(map(repr, candidates))
            raise DataError(f"{source} has several {role} columns: {listed}", "one", f"--{role}-column NAME")
        if candidates:
            chosen[role] = candidates[0]
        elif role in REQUIRED:
            listed = ", ".join(map(repr, columns))
            raise DataError(
                f"{source} has no column recognised as the {role}",
                f"one of {listed}",
                f"--{role}-column NAME",
            )
    return chosen


def fold_name(column: str) -> str:
    """Fold a column's name to what is compared.

    >>> fold_name("Patient_ID")
    'patientid'
    """
    return "".join(mark for mark in column.casefold() if mark not in " _-")


def refuse_empty(values: Sequence[str], rows: Sequence[int], column: str, path: Path) -> None:
    """Refuse a column with empty cells: dropping rows silently would change what is measured."""
    empty = [row for value, row in zip(values, rows, strict=True) if not value]
    if empty:
        raise DataError(
            f"{path}: {len(empty)} rows have no {column!r}, the first is row {empty[0]}",
            "a value in every row",
            "filling them in or deleting those rows",
        )


def refuse_several_labels(labels: Sequence[str], column: str, rows: Sequence[int], path: Path) -> None:
    """Refuse NIH-style label lists, which would otherwise pass as a class for every combination."""
    several = [row for label, row in zip(labels, rows, strict=True) if "|" in label]
    if several:
        raise DataError(
            f"{path}, row {several[0]} has several labels in {column!r} ({len(several)} rows do)",
            "one label per image; several are not supported yet",
        )


def refuse_repeats(paths: Sequence[Path], rows: Sequence[int], path: Path) -> None:
    """Refuse an image listed twice: it could stand in two splits, or under two labels."""
    first: dict[Path, int] = {}
    for image, row in zip(paths, rows, strict=True):
        if first.setdefault(image, row) != row:
            raise DataError(
                f"{path}: rows {first[image]} and {row} name the same image {image.name!r}",
                "one row per image",
                "deleting one of them, or --image-column NAME",
            )


def find_images(names: Sequence[str], home: Path, image_folder: Path | None) -> tuple[Path, ...]:
    """Find each image's path, with an extension added where the name lacks it; none need exist yet."""
    folders = [image_folder] if image_folder is not None else [home, home / "images"]
    probed = names[:PROBED]
    folder = max(folders, key=lambda folder: sum(is_file(complete_name(folder / name)) for name in probed))
    return tuple(complete_name(folder / name) for name in names)


def complete_name(path: Path) -> Path:
    """Add the extension of the file that is there, if the name has none."""
    if path.suffix.lower() in SUFFIXES or is_file(path):
        return path
    candidates = [path.with_name(path.name + suffix) for suffix in (*SUFFIXES, *map(str.upper, SUFFIXES))]
    return next((candidate for candidate in candidates if is_file(candidate)), path)


def rename_groups(groups: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Put `csv_` before the names that a table or a predictions file keeps for itself.

    >>> list(rename_groups({"sex": ["F"], "id": ["7"], "score_ai": [".5"]}))
    ['sex', 'csv_id', 'csv_score_ai']
    """
    renamed: dict[str, list[str]] = {}
    for column, values in groups.items():
        name = column
        while name in RESERVED or name.startswith(RESERVED_STARTS) or (name != column and name in groups):
            name = f"csv_{name}"
        renamed[name] = values
    return renamed
