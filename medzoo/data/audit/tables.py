"""What the table alone says: classes per split, patients on both sides, missing values, groups too small to score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medzoo.data.audit.findings import Finding, Prevalence
from medzoo.data.dataset import SPLITS, Dataset, Listing, sort_classes
from medzoo.data.splitting.splits import MISSING

#: Fewer positives or negatives than this in the test split, and an AUROC says little: with 10 of each the 95 %
#: interval of 0.8 is about 0.4 wide (Hanley and McNeil 1982).
FEWEST = 10
#: A column of more different values than this, or of fewer images for each, holds measurements and no groups.
MOST_GROUPS = 20
LEAST_IMAGES = 10
RESERVED = ("id", "split", "label", "patient")
ALL = "all"  # the split of images that have none


@dataclass(frozen=True, eq=False)
class Labels:
    """Who has which label: `positive` and `known` (n, k), and the split of each image (n,)."""

    classes: tuple[str, ...]
    positive: NDArray[np.bool_]
    known: NDArray[np.bool_]
    splits: NDArray[np.object_]

    @property
    def names(self) -> tuple[str, ...]:
        """The splits that occur, in their order."""
        present = set(pd.unique(self.splits))
        return tuple(name for name in (*SPLITS, ALL) if name in present)

    @property
    def scored(self) -> range:
        """The classes whose scores differ: of two exclusive ones the positive one alone."""
        two = len(self.classes) == 2 and bool((self.positive.sum(axis=1) == 1).all())
        return range(1 if two else 0, len(self.classes))

    def count(self, rows: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Count the positives and the negatives (k,) among some rows."""
        positives = (self.positive & self.known)[rows].sum(axis=0)
        return positives, self.known[rows].sum(axis=0) - positives


def read_labels(source: Dataset | Listing) -> Labels:
    """Read who has which label, from the marks or else from the label column."""
    table = source.table
    splits = table["split"].to_numpy(dtype=object) if "split" in table else np.full(len(table), ALL, object)
    if source.marks is not None:
        known = ~np.isnan(source.marks)
        return Labels(source.classes, known & (source.marks > 0.5), known, splits)
    classes = source.classes or sort_classes(pd.unique(table["label"]))
    codes = pd.Index(classes).get_indexer(table["label"])
    positive = codes[:, None] == np.arange(len(classes))
    return Labels(classes, positive, np.ones_like(positive), splits)


def count_prevalence(labels: Labels) -> tuple[Prevalence, ...]:
    """Count positives, negatives and unknown labels of every class in every split."""
    counted = []
    for split in labels.names:
        rows = labels.splits == split
        positives, negatives = labels.count(rows)
        unknown = int(rows.sum()) - positives - negatives
        counted += [
            Prevalence(split, *cells)
            for cells in zip(
                labels.classes, positives.tolist(), negatives.tolist(), unknown.tolist(), strict=True
            )
        ]
    return tuple(counted)


def check_patients(source: Dataset | Listing) -> list[Finding]:
    """Find patients on several sides, and those whose images have several labels."""
    table = source.table
    if "patient" not in table:
        return [
            Finding(
                "no_patients", "no patient is known: images of one patient may stand in several splits unseen"
            )
        ]
    known = table[(table["patient"] != "").to_numpy()]
    findings = []
    if "split" in table:
        leaking, rows = _find_several(known, "split")
        if leaking:
            findings.append(
                Finding(
                    "patient_leak",
                    f"{count_noun(len(leaking), 'patient')} in several splits "
                    f"({count_noun(len(rows), 'image')}): {list_some(leaking)}",
                    tuple(rows["id"]),
                    leaking,
                )
            )
    if source.marks is None:
        torn, rows = _find_several(known, "label")
        if torn:
            findings.append(
                Finding(
                    "patient_labels",
                    f"{count_noun(len(torn), 'patient')} with images of several classes: {list_some(torn)}",
                    tuple(rows["id"]),
                    torn,
                )
            )
    return findings


def _find_several(known: pd.DataFrame, column: str) -> tuple[tuple[str, ...], pd.DataFrame]:
    """Find the patients with several values in a column, and their rows."""
    combinations = known[["patient", column]].drop_duplicates()
    several = combinations["patient"][combinations["patient"].duplicated()].unique()
    return tuple(sorted(several)), known[known["patient"].isin(several).to_numpy()]


def check_classes(labels: Labels) -> list[Finding]:
    """Find classes that a split lacks, and those too rare in the test split to score."""
    findings = []
    for split in labels.names:
        positives, _ = labels.count(labels.splits == split)
        absent = tuple(labels.classes[column] for column in np.flatnonzero(positives == 0))
        if absent:
            message = f"the {split} split has no image of {list_some(absent)}"
            findings.append(Finding("absent_class", message, names=absent))
    positives, negatives = labels.count(labels.splits == "test")
    few = [
        (labels.classes[column], int(positives[column]), int(negatives[column]))
        for column in labels.scored
        if "test" in labels.names
        and positives[column] > 0
        and min(positives[column], negatives[column]) < FEWEST
    ]
    if few:
        described = list_some(
            [f"{name} ({yes} positive, {no} negative)" for name, yes, no in few], quoted=False
        )
        message = f"fewer than {FEWEST} positive or negative test images, too few to score: {described}"
        findings.append(Finding("small_class", message, names=tuple(name for name, _, _ in few)))
    return findings


def check_groups(source: Dataset | Listing, labels: Labels) -> list[Finding]:
    """Find groups (sex, site, view…) whose test images are too few to score, a finding for each column."""
    findings = []
    tested = labels.splits == "test"
    if not tested.any():
        return []
    for column in list_columns(source.table):
        codes, values = pd.factorize(source.table[column].to_numpy(dtype=object), sort=True)
        named = [code for code, value in enumerate(values) if value.strip().lower() not in ("", *MISSING)]
        images = int(np.isin(codes, named).sum())
        if not 2 <= len(named) <= MOST_GROUPS or images < LEAST_IMAGES * len(named):
            continue
        small, ids = [], np.zeros(len(codes), bool)
        for code in named:
            members = tested & (codes == code)
            positives, negatives = labels.count(members)
            few = [name for name in labels.scored if min(positives[name], negatives[name]) < FEWEST]
            if few:
                worst = min(few, key=lambda name: min(positives[name], negatives[name]))
                which = "" if len(labels.scored) == 1 else f" of {labels.classes[worst]!r}"
                small.append(
                    f"{values[code]} ({positives[worst]} positive, {negatives[worst]} negative{which})"
                )
                ids |= members
        if small:
            findings.append(
                Finding(
                    "small_group",
                    f"{column}: {len(small)} of {len(named)} groups have too few test images to score: "
                    + list_some(small, quoted=False),
                    tuple(source.table["id"][ids]),
                    (column,),
                )
            )
    return findings


def check_missing(table: pd.DataFrame) -> list[Finding]:
    """Find the columns with empty cells, or with a word that says so, the emptiest first."""
    found = []
    for column in [*(["patient"] if "patient" in table else []), *list_columns(table)]:
        counts = table[column].value_counts()
        words = [value for value in counts.index if value.strip().lower() in ("", *MISSING)]
        missing = int(counts[words].sum())
        if missing:
            share = f"{missing:,} of {len(table):,} ({100 * missing / len(table):.1f} %)"
            found.append((missing, Finding("missing_values", f"{column}: {share} missing", names=(column,))))
    return [finding for _, finding in sorted(found, key=lambda entry: -entry[0])]


def list_columns(table: pd.DataFrame) -> list[str]:
    """List the columns that are no column of every table: the groups."""
    return [column for column in table if column not in RESERVED]


def count_noun(count: int, noun: str) -> str:
    """Count something in words.

    >>> count_noun(1, "image"), count_noun(1200, "image")
    ('1 image', '1,200 images')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def list_some(names: Sequence[str], quoted: bool = True, most: int = 3) -> str:
    """List the first names, and say how many more there are.

    >>> list_some(["a", "b", "c", "d"])
    "'a', 'b', 'c' and 1 more"
    """
    shown = ", ".join(repr(name) if quoted else name for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")
