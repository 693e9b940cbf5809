"""Manifests: tables of one row per image, CSV or Parquet, become a listing of images with labels and groups."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medzoo.data.dataset import Listing
from medzoo.data.splitting.splits import MISSING, UNUSED, read_split
from medzoo.data.tables.annotations import (
    Annotation,
    RawLabels,
    apply_policies,
    find_empty,
    merge_readers,
    read_labels,
)
from medzoo.data.tables.cells import Fault, read_cells, settle_faults
from medzoo.data.tables.conventions import Policy as Policy
from medzoo.data.tables.groups import choose_groups, list_identifying, map_cells
from medzoo.data.tables.image_paths import find_images, find_repeats
from medzoo.data.tables.layout import COMMON_NAMES as COMMON_NAMES
from medzoo.data.tables.layout import Layout, plan_layout
from medzoo.data.tables.layout import ManifestOptions as ManifestOptions
from medzoo.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a table so far: its cells, and for each row the image's name and path, the split, the labels."""

    cells: pd.DataFrame
    names: NDArray[np.object_]
    paths: NDArray[np.object_]
    splits: NDArray[np.object_] | None
    raw: RawLabels

    def take(self, positions: NDArray[np.int_]) -> Rows:
        """Give some rows, in that order."""
        return Rows(
            cells=self.cells.iloc[positions],
            names=self.names[positions],
            paths=self.paths[positions],
            splits=None if self.splits is None else self.splits[positions],
            raw=self.raw.take(positions),
        )


def read_manifest(path: Path, options: ManifestOptions = ManifestOptions()) -> Listing:  # noqa: B008
    """Read a CSV or Parquet table of one row per image, every cell as text.

    A column that is not named is recognised as that of a public data set (`conventions.CONVENTIONS`), else by its
    common names.  Labels are a column of classes, lists joined by "|", or a column for each label.  In the latter
    -1 is uncertain, and ignored unless told otherwise; a blank is not known, but absent where labels come of
    reports (CheXpert, MIMIC-CXR-JPG), which name what is seen.  Rows whose split is "unused" are left out, with
    a note.  Image names are relative to `image_folder`, else to the table's folder or its `images` subfolder, and
    may lack their ending; no file is opened.

    Raises:
        DataError: what cannot be read, naming the row as a spreadsheet counts it (the header is row 1).
        ConfigError: options that do not fit the table.
    """
    cells, notes = read_cells(path)
    layout = plan_layout(cells, options, path)
    check_rules(layout, options)
    notes = (*describe_convention(layout, path), *notes)
    cells, unused = drop_unused(cells, layout, path)
    rows, faults = read_rows(cells, layout, options, path)
    stay, skipped = settle_faults(cells, faults, path, options.on_error)
    rows = rows.take(stay) if skipped else rows
    varying: tuple[str, ...] = ()
    if layout.merged:
        rows, varying = merge_rows(rows, layout)
    annotation = annotate(rows.raw, layout, options, path)
    return make_listing(rows, layout, options, path, annotation, (*notes, *unused), varying, skipped)


def make_listing(
    rows: Rows,
    layout: Layout,
    options: ManifestOptions,
    path: Path,
    annotation: Annotation,
    notes: tuple[str, ...],
    varying: Sequence[str],
    skipped: tuple[str, ...],
) -> Listing:
    """Join rows and their labels, and find patients and groups; `notes` are those of reading."""
    table: dict[str, pd.Series | NDArray[np.object_]] = {"id": rows.names, "label": annotation.labels}
    if rows.splits is not None:
        table["split"] = rows.splits
    cells = rows.cells.reset_index(drop=True)
    patients = name_patients(cells, rows.names, layout)
    if patients is not None:
        table["patient"] = patients
    taken = {*layout.roles.values(), *layout.labels, *layout.silent, *varying}
    people = [name for name in list_identifying(cells.columns) if name not in taken]
    if people and options.group_columns is None:
        notes = (*notes, f"columns that name people are no groups, and go nowhere: {', '.join(people)}")
    return Listing(
        name=f"{path.resolve().parent.name}/{path.name}",
        table=pd.DataFrame(table | choose_groups(cells, taken, options.group_columns, path)),
        paths=tuple(map(Path, rows.paths)),
        rows=tuple(rows.cells.index.tolist()),
        notes=(*notes, *annotation.notes),
        classes=annotation.classes,
        marks=annotation.marks,
        skipped=skipped,
    )


def read_rows(
    cells: pd.DataFrame, layout: Layout, options: ManifestOptions, path: Path
) -> tuple[Rows, list[Fault]]:
    """Read every row's image, labels and split, and name the rows in which one of them cannot be used."""
    names, faults = name_images(cells, layout)
    raw, label_faults = read_labels(cells, layout.labels, layout.coding)
    folders = layout.convention.folders if layout.convention is not None else ()
    paths, outside = find_images(names, path.parent, options.image_folder, folders)
    splits, split_fault = read_splits(cells, layout)
    faults = [*faults, *label_faults, outside, split_fault]
    if not layout.merged:
        faulty = {position for fault in faults for position in fault.positions.tolist()}
        faults.append(find_repeats(paths, cells.index.tolist(), faulty))
    return Rows(cells, np.array(names, object), np.array(paths, object), splits, raw), faults


def describe_convention(layout: Layout, path: Path) -> tuple[str, ...]:
    """Say which data set's table this is taken for, if for one."""
    if layout.convention is None:
        return ()
    is_own = set(layout.labels) <= set(layout.silent)
    remark = layout.convention.remark if is_own else f"its labels are those in {', '.join(layout.labels)}"
    return (f"{path.name} is read as a table of {layout.convention.name}: {remark}",)


def check_rules(layout: Layout, options: ManifestOptions) -> None:
    """Refuse rules for uncertain and blank labels where the table's coding knows none."""
    allowed = {
        "uncertain": layout.coding == "columns" or layout.merged,
        "blank": layout.coding == "columns",
    }
    for option, rules in (("uncertain", options.uncertain), ("blank", options.blank)):
        if rules and not allowed[option]:
            raise ConfigError(
                f"--{option} does not apply to the labels in {layout.labels[0]!r}",
                "a column of 1, 0, -1 and blanks for each label",
                f"--label-columns NAMES, or leaving out --{option}",
            )


def drop_unused(cells: pd.DataFrame, layout: Layout, path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Leave out the rows that the table itself says are of no split, and say how many."""
    if "split" not in layout.roles:
        return cells, ()
    unused = (cells[layout.roles["split"]].str.lower() == UNUSED).to_numpy(bool)
    if not unused.any():
        return cells, ()
    if unused.all():
        raise DataError(f"{path}: every row has the split {UNUSED!r}", "rows for training and for testing")
    return cells[~unused], (f"{path.name}: rows left out whose split is {UNUSED!r}: {unused.sum()}",)


def name_images(cells: pd.DataFrame, layout: Layout) -> tuple[list[str], list[Fault]]:
    """Give each row's image as the table names it, or a path made of its ids; and name the rows without one."""
    if not layout.template:
        return cells[layout.roles["image"]].tolist(), [find_empty(cells, layout.roles["image"])]
    parts = [name for _, name, _, _ in string.Formatter().parse(layout.template) if name]
    columns = list(dict.fromkeys(parts))
    records = zip(*(cells[column].tolist() for column in columns), strict=True)
    names = [layout.template.format(**dict(zip(columns, record, strict=True))) for record in records]
    return names, [find_empty(cells, column) for column in columns]


def name_patients(
    cells: pd.DataFrame, names: NDArray[np.object_], layout: Layout
) -> pd.Series | NDArray[np.object_] | None:
    """Give each row's patient, "" where unknown; None where no patient is known."""
    if "patient" in layout.roles:
        patients = cells[layout.roles["patient"]]
        # "nan", as other programs write an empty cell, is nobody: else all of these were one patient's images.
        patients = map_cells(patients, lambda name: "" if name.casefold() in MISSING else name)
        return patients if (patients != "").any() else None
    if layout.convention is None or not layout.convention.patient_pattern:
        return None
    find = re.compile(layout.convention.patient_pattern).search
    found = [match[0] if (match := find(name)) else "" for name in names]
    return np.array(found, object) if any(found) else None


def read_splits(cells: pd.DataFrame, layout: Layout) -> tuple[NDArray[np.object_] | None, Fault]:
    """Read each row's split, None without such a column; and name the rows whose split is none."""
    nothing = Fault(np.array([], np.int_), ())
    if "split" not in layout.roles:
        return None, nothing
    positions, values = pd.factorize(cells[layout.roles["split"]])
    splits, refusals = [], {}
    for number, value in enumerate(values):
        try:
            splits.append(read_split(value, "it"))
        except DataError as error:
            splits.append("")
            refusals[number] = error
    where = np.flatnonzero(np.isin(positions, list(refusals)))
    if not len(where):
        return np.array(splits, object)[positions], nothing
    first = refusals[positions[where[0]]]
    texts = [f"has the split {values[positions[row]]!r}" for row in where]
    return np.array(splits, object)[positions], Fault(where, texts, first.expected, first.remedy)


def merge_rows(rows: Rows, layout: Layout) -> tuple[Rows, tuple[str, ...]]:
    """Make one row of each image's, and name the columns that differ among these and so say nothing of the image."""
    images, _ = pd.factorize(rows.paths)
    readers = pd.factorize(rows.cells[layout.reader])[0] if layout.reader else np.zeros_like(images)
    raw, first = merge_readers(rows.raw, images, readers)
    coded = {column: pd.factorize(rows.cells[column])[0] for column in rows.cells.columns}
    varying = tuple(column for column, codes in coded.items() if (codes != codes[first[images]]).any())
    return replace(rows.take(first), raw=raw), varying


def annotate(raw: RawLabels, layout: Layout, options: ManifestOptions, path: Path) -> Annotation:
    """Make the labels of a data set of those of its table."""
    if raw.names is not None:
        return Annotation(raw.names)
    return apply_policies(raw, options.uncertain, options.blank, layout.blank, path)
