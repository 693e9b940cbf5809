"""Which column of a table says what: as named, as a public data set has it, or by its common names."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from medzoo.data.dataset import JOINT
from medzoo.data.splitting.splits import ALIASES, UNUSED
from medzoo.data.tables.conventions import (
    Coding,
    Convention,
    Policy,
    find_convention,
    fold_name,
    match_columns,
)
from medzoo.errors import ConfigError, DataError, nearest

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


@dataclass(frozen=True)
class ManifestOptions:
    """How a table is read; what is None or empty is recognised.

    With `label_columns` an image may have several labels, a column each.  `uncertain` and `blank` say what -1 and
    empty cells of such columns mean, by label, or for "*", every other label.  `group_columns` are all that stays
    beside the roles, else every short column does.  "skip" leaves out rows that cannot be used, and lists them.
    """

    image_column: str | None = None
    label_column: str | None = None
    label_columns: tuple[str, ...] = ()
    split_column: str | None = None
    patient_column: str | None = None
    group_columns: tuple[str, ...] | None = None
    image_folder: Path | None = None
    uncertain: Mapping[str, Policy] = field(default_factory=dict)
    blank: Mapping[str, Policy] = field(default_factory=dict)
    on_error: Literal["fail", "skip"] = "fail"


@dataclass(frozen=True)
class Layout:
    """What the columns of a table are: `roles` names that of the image, the split and the patient, where there.

    `labels` are the columns of labels, `blank` what an empty one means unless told, `silent` those columns that a
    convention knows to be neither roles nor groups.  Without an image's column its path is made by `template`,
    a convention's with the table's own column names.  With `merged` an image has several rows.
    """

    roles: Mapping[str, str]
    labels: tuple[str, ...]
    coding: Coding
    blank: Policy = "ignore"
    silent: tuple[str, ...] = ()
    template: str = ""
    merged: bool = False
    reader: str = ""
    convention: Convention | None = None


def plan_layout(cells: pd.DataFrame, options: ManifestOptions, path: Path) -> Layout:
    """Say what each column of a table is; a column that the options name stands above the rest.

    Raises DataError where a column is missing or in doubt, ConfigError where options contradict each other.
    """
    columns = list(cells.columns)
    known = find_convention(columns, cells.iloc[0].tolist())
    named = {
        "image": options.image_column,
        "label": options.label_column,
        "split": options.split_column,
        "patient": options.patient_column,
    }
    roles = list(COMMON_NAMES)
    labels, coding = name_labels(columns, options, known, path)
    if labels:
        named["label"] = None
        roles.remove("label")
    template = ""
    if known is not None:
        for role, published in (("image", known.image), ("patient", known.patient)):
            named[role] = named[role] or next(iter(match_columns((published,), columns)), None)
        own = [column for column in columns if fold_name(column) in COMMON_NAMES["image"]]
        if known.template and named["image"] is None and len(own) != 1:
            template = fill_template(known, columns, path)
            roles.remove("image")
        if known.patient_pattern and named["patient"] is None:
            roles.remove("patient")
    chosen = choose_columns(columns, named, str(path), roles)
    # "set" or "subset" is a split only if it says train and test; else it is a column like any other.
    is_guess = options.split_column is None and "split" in chosen and fold_name(chosen["split"]) != "split"
    if is_guess and any(v.lower() not in (*ALIASES, UNUSED) for v in cells[chosen["split"]].unique()):
        del chosen["split"]
    if "label" in chosen:
        column = chosen.pop("label")
        labels = (column,)
        coding = "lists" if cells[column].str.contains(JOINT, regex=False).any() else "classes"
    layout = Layout(roles=chosen, labels=labels, coding=coding, template=template)
    return layout if known is None else follow_convention(layout, known, columns)


def name_labels(
    columns: Sequence[str], options: ManifestOptions, known: Convention | None, path: Path
) -> tuple[tuple[str, ...], Coding]:
    """Name the columns of labels that the options or the convention say, or none."""
    if options.label_columns and options.label_column is not None:
        raise ConfigError(
            "both --label-column and --label-columns are given",
            "a column of classes, or a column for each of several labels",
            "leaving out --label-column",
        )
    for name in options.label_columns:
        if name not in columns:
            raise DataError(f"{path} has no column {name!r}", nearest(name, columns), "--label-columns NAMES")
        if JOINT in name:
            raise DataError(
                f"{path}: the label {name!r} holds {JOINT!r}, which joins labels",
                "another name",
                "renaming it",
            )
    if options.label_columns:
        return tuple(dict.fromkeys(options.label_columns)), "columns"
    if known is None:
        return (), "classes"
    published = match_columns(known.label_columns or (known.label,), columns)
    return (published if options.label_column in (None, *published[:1]) else ()), known.coding


def fill_template(known: Convention, columns: Sequence[str], path: Path) -> str:
    """Put a table's own column names into the template of a convention's paths."""
    template = known.template
    for _, name, _, _ in string.Formatter().parse(template):
        found = match_columns((name,), columns) if name else ()
        if name and not found:
            raise DataError(
                f"{path} is a table of {known.name} without the column {name}, of which images' paths are made",
                "a row per image",
                f"joining it with the table that has {name}, or --image-column NAME",
            )
        template = template.replace(f"{{{name}", f"{{{found[0]}") if found else template
    return template


def follow_convention(layout: Layout, known: Convention, columns: Sequence[str]) -> Layout:
    """Add to a layout what a convention says about the labels, where these are the convention's own."""
    published = match_columns((*known.label_columns, known.label), columns)
    is_own = set(layout.labels) <= set(published)
    reader = match_columns((known.reader,), columns)
    return Layout(
        roles=layout.roles,
        labels=layout.labels,
        coding=layout.coding,
        blank=known.blank if is_own and layout.coding == "columns" else "ignore",
        silent=(*published, *match_columns(known.dropped, columns), *reader),
        template=layout.template,
        merged=known.merged and is_own and layout.coding != "classes",
        reader=reader[0] if reader else "",
        convention=known,
    )


def choose_columns(
    columns: Sequence[str],
    named: Mapping[str, str | None],
    source: str,
    roles: Sequence[str] = tuple(COMMON_NAMES),
) -> dict[str, str]:
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
    for role in roles:
        if role in chosen:
            continue
        common = COMMON_NAMES[role]
        candidates = [column for column in columns if column not in taken and fold_name(column) in common]
        if len(candidates) > 1:
            listed = ", ".join(map(repr, candidates))
            raise DataError(f"{source} has several {role} columns: {listed}", "one", f"--{role}-column NAME")
        if candidates:
            chosen[role] = candidates[0]
        elif role in REQUIRED:
            listed = ", ".join(map(repr, columns))
            others = " or --label-columns NAMES" if role == "label" else ""
            raise DataError(
                f"{source} has no column recognised as the {role}",
                f"one of {listed}",
                f"--{role}-column NAME{others}",
            )
    return chosen
