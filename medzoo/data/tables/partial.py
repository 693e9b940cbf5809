"""Tables of images that are to be judged: labels may be missing, in some rows or in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from medzoo.data.dataset import Listing
from medzoo.data.question import Question
from medzoo.data.tables.annotations import (
    ALL_LABELS,
    UNCERTAIN,
    Annotation,
    RawLabels,
    apply_policies,
    check_policies,
    read_codes,
    read_labels,
    read_lists,
    read_one_hot,
)
from medzoo.data.tables.cells import Fault, read_cells, settle_faults
from medzoo.data.tables.conventions import Policy, find_convention, fold_name, match_columns
from medzoo.data.tables.image_paths import find_images, find_repeats
from medzoo.data.tables.layout import COMMON_NAMES, Layout, ManifestOptions, plan_layout
from medzoo.data.tables.manifest import (
    Rows,
    check_rules,
    describe_convention,
    drop_unused,
    make_listing,
    merge_rows,
    name_images,
    read_splits,
)

#: The column that a table without labels is given, all of it empty.
NO_COLUMN = "label"
ROLE_OPTIONS = ("image_column", "label_column", "split_column", "patient_column")


def read_partial(path: Path, options: ManifestOptions, question: Question) -> Listing:
    """Read a CSV or Parquet table as `read_manifest` does, except that labels may be missing.

    With exclusive classes the label column holds the class's name, or "" where it is not known; else the listing's
    marks (n, k) are NaN there.  Without labels at all, or if they are to be ignored, nothing is known.
    Raises DataError and ConfigError as `read_manifest` does.
    """
    cells, notes = read_cells(path)
    options = adopt(options, question, list(cells.columns))
    labels = list_label_columns(cells, options)
    if not labels:
        cells = cells.assign(**{NO_COLUMN: ""})
    elif question.ignore_labels and len(labels) > 1 and not options.label_columns:
        options = replace(options, label_column=labels[0])
    layout = plan_layout(cells, options, path)
    if layout.coding == "classes" and not question.exclusive:
        layout = replace(layout, coding="lists")  # a short table may have no image of two labels
    if not question.ignore_labels:
        check_rules(layout, options)
    cells, unused = drop_unused(cells, layout, path)
    names, faults = name_images(cells, layout)
    raw, label_faults = read_known(cells, layout, question)
    paths, outside = find_images(
        names,
        path.parent,
        options.image_folder,
        layout.convention.folders if layout.convention is not None else (),
    )
    splits, split_fault = read_splits(cells, layout)
    faults = [*faults, *label_faults, outside, split_fault]
    if not layout.merged:
        faulty = {position for fault in faults for position in fault.positions.tolist()}
        faults.append(find_repeats(paths, cells.index.tolist(), faulty))
    stay, skipped = settle_faults(cells, faults, path, options.on_error)
    rows = Rows(cells, np.array(names, object), np.array(paths, object), splits, raw).take(stay)
    varying: tuple[str, ...] = ()
    if layout.merged:
        rows, varying = merge_rows(rows, layout)
    annotation = apply_rules(rows.raw, layout, options, question, path)
    before = (*describe_convention(layout, path), *notes, *unused)
    return make_listing(rows, layout, options, path, annotation, before, varying, skipped)


def adopt(options: ManifestOptions, question: Question, columns: Sequence[str]) -> ManifestOptions:
    """Fill what the options leave open with the habits that fit a table's columns.

    >>> habits = ManifestOptions(image_column="file", label_column="diagnosis")
    >>> adopted = adopt(ManifestOptions(), Question(("no", "yes"), True, habits), ["file", "age"])
    >>> adopted.image_column, adopted.label_column
    ('file', None)
    """
    habits = question.habits
    chosen: dict[str, object] = {}
    labels_given = options.label_column is not None or bool(options.label_columns)
    for name in ROLE_OPTIONS:
        usual = getattr(habits, name)
        if (
            getattr(options, name) is None
            and usual in columns
            and not (name == "label_column" and labels_given)
        ):
            chosen[name] = usual
    usual_labels = habits.label_columns or (() if question.exclusive else question.classes)
    if not labels_given and "label_column" not in chosen:
        chosen["label_columns"] = tuple(name for name in usual_labels if name in columns)
    if options.group_columns is None and habits.group_columns is not None:
        chosen["group_columns"] = tuple(name for name in habits.group_columns if name in columns)
    return replace(options, **chosen)  # type: ignore[arg-type]


def list_label_columns(cells: pd.DataFrame, options: ManifestOptions) -> tuple[str, ...]:
    """List the columns that hold labels: those named, a published table's, or those of a common name."""
    if options.label_columns:
        return options.label_columns
    if options.label_column is not None:
        return (options.label_column,)
    columns = list(cells.columns)
    known = find_convention(columns, cells.iloc[0].tolist())
    if known is not None:
        return match_columns(known.label_columns or (known.label,), columns)
    taken = {options.image_column, options.split_column, options.patient_column}
    return tuple(
        column for column in columns if column not in taken and fold_name(column) in COMMON_NAMES["label"]
    )


def read_known(cells: pd.DataFrame, layout: Layout, question: Question) -> tuple[RawLabels, list[Fault]]:
    """Read labels as the table codes them; an empty one is unknown, and only what says something wrong is a fault."""
    if layout.coding == "classes":
        return read_labels(cells, layout.labels, layout.coding)[0], []
    if layout.coding == "one-hot":
        return _read_one_hot(cells, layout, question)
    if layout.coding == "columns":
        raw, faults = read_codes(cells, layout.labels)
        return raw, [] if question.ignore_labels else faults
    raw, (empty, torn) = read_lists(cells, layout.labels[0])
    assert raw.codes is not None
    # A label that no image of this table has is absent, not unknown: a list names all that there is.
    wanted = () if question.exclusive else question.classes
    absent = tuple(name for name in wanted if name not in raw.classes)
    codes = np.column_stack([raw.codes, np.zeros((len(cells), len(absent)), np.float32)])
    codes[empty.positions] = np.nan
    return RawLabels(codes=codes, classes=(*raw.classes, *absent)), [] if question.ignore_labels else [torn]


def _read_one_hot(cells: pd.DataFrame, layout: Layout, question: Question) -> tuple[RawLabels, list[Fault]]:
    """Read a column per class, of which at most one is 1; where none is, the class is unknown."""
    codes, faults = read_codes(cells, layout.labels)
    raw, (*foreign, unclear) = read_one_hot(codes, faults)
    assert raw.names is not None
    assert codes.codes is not None
    ones = (codes.codes == 1).sum(axis=1)
    names = np.where(ones == 1, raw.names, "").astype(object)
    several = np.flatnonzero(ones[unclear.positions] > 1).tolist()
    torn = replace(
        unclear, positions=unclear.positions[several], texts=[unclear.texts[place] for place in several]
    )
    return RawLabels(names=names), [] if question.ignore_labels else [*foreign, torn]


def apply_rules(
    raw: RawLabels, layout: Layout, options: ManifestOptions, question: Question, path: Path
) -> Annotation:
    """Give the labels as a data set has them; marks are None for exclusive classes."""
    count = len(raw.names if raw.names is not None else raw.codes if raw.codes is not None else ())
    nothing = np.full(count, "", object)
    if question.ignore_labels:
        return Annotation(nothing)
    if raw.names is not None:
        return Annotation(raw.names)
    assert raw.codes is not None
    if np.isnan(raw.codes).all():
        return Annotation(nothing)
    uncertain = _choose_rules(options.uncertain, question.habits.uncertain, raw.classes, "uncertain")
    blank = _choose_rules(options.blank, question.habits.blank, raw.classes, "blank")
    if layout.coding == "lists":
        blank = {}
    on_blank = {name: blank.get(name, blank.get(ALL_LABELS, layout.blank)) for name in raw.classes}
    on_doubt = {name: uncertain.get(name, uncertain.get(ALL_LABELS, "ignore")) for name in raw.classes}
    told = [
        bool(np.isin(column, (0, 1)).any())
        or (bool((column == UNCERTAIN).any()) and on_doubt[name] != "ignore")
        or (bool(np.isnan(column).any()) and on_blank[name] in ("ones", "zeros"))
        for name, column in zip(raw.classes, raw.codes.T, strict=True)
    ]
    if not any(told):
        return Annotation(nothing)
    # What is known of no image is no fault here, as it would be of training data.
    names = tuple(name for name, is_told in zip(raw.classes, told, strict=True) if is_told)
    kept = RawLabels(codes=raw.codes[:, told], classes=names)
    rules = [{name: chosen[name] for name in names} for chosen in (on_doubt, on_blank)]
    return apply_policies(kept, rules[0], rules[1], layout.blank, path)


def _choose_rules(
    given: Mapping[str, Policy], usual: Mapping[str, Policy], classes: Sequence[str], option: str
) -> dict[str, Policy]:
    """Choose the rules for labels: those given, else the usual ones about labels that the table has."""
    if given:
        check_policies(given, classes, option)
        return dict(given)
    return {name: rule for name, rule in usual.items() if name in classes or name == ALL_LABELS}
