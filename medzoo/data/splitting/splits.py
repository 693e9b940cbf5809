"""Training, validation and test sides: no patient ever on two of them, unless the source says so itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medzoo.data.dataset import JOINT, SPLITS
from medzoo.data.draws import make_generator
from medzoo.data.splitting.dealing import NO_LABEL, deal_patients, gather_patients
from medzoo.errors import DataError, nearest

ALIASES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
UNUSED = "unused"  # what a split file calls rows of no split; readers of tables leave them out with a note
MISSING = frozenset({"nan", "null", "n/a", "#n/a", "<na>"})  # how other programs write an empty cell
FRACTIONS = (0.7, 0.1, 0.2)
CARVED = 1 / 8  # of the training patients, where a source has no validation split: 7 to 1, as in FRACTIONS

Splits = np.ndarray[tuple[int], np.dtype[np.object_]]
Marks = NDArray[np.float32]


def complete_splits(
    table: pd.DataFrame,
    seed: int,
    source: str,
    *,
    exclusive: bool | None = None,
    classes: Sequence[str] = (),
    marks: Marks | None = None,
    fractions: Sequence[float] = FRACTIONS,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the table with a full split column, and what the user should know about how it came to be.

    Without a split column the patients are split 70/10/20; without validation rows, an eighth of the training
    patients become them; given splits are kept.  Where images have several labels, `classes` and `marks` (n, k)
    tell a label that is absent from one that nobody annotated; without them, and unless `exclusive` says so, they
    are recognised by a "|" or an empty text in the label column.  Raises DataError where the splits cannot be
    trained on.
    """
    notes = []
    if exclusive is None:
        exclusive = marks is None and is_exclusive(table)
    count_classes(table, source, exclusive, classes, marks)
    if "split" not in table:
        table = table.assign(split=split_patients(table, fractions, seed))
        shares = "/".join(f"{100 * fraction / sum(fractions):g}" for fraction in fractions)
        notes.append(f"{source} has no splits: patients were split {shares} with seed {seed}")
        if "patient" not in table:
            notes.append(
                f"{source} names no patients: each image counts as its own patient, "
                "and images of one patient may stand in two splits"
            )
    elif not (table["split"] == "validation").any():
        table = table.assign(split=carve_validation(table, seed))
        notes.append(f"{source} has no validation split: an eighth of the training patients were taken")
    check_splits(table, source, exclusive)
    gaps = describe_gaps(table, exclusive, classes, marks)
    return table, (*notes, *describe_leaks(table), *gaps)


def split_patients(
    table: pd.DataFrame,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    sides: Sequence[str] = SPLITS,
) -> Splits:
    """Split a table's rows (n,) into train, validation and test by patient, stratified by label.

    All rows of a patient go to one side; a row without a known patient is its own patient.  The split depends
    on the seed and on the patients and labels, not on the order of the rows.  Where each patient has a single
    label, every class stands in every split.  Raises DataError for a class of fewer patients than sides.

    >>> table = pd.DataFrame({"id": list("abcdef"), "label": ["no", "no", "no", "yes", "yes", "yes"]})
    >>> sorted(split_patients(table))
    ['test', 'test', 'train', 'train', 'validation', 'validation']
    """
    cohort = gather_patients(table)
    counts = zip(cohort.labels, map(len, cohort.members), strict=True)
    scarce = sorted((count, label) for label, count in counts if count < len(sides) and label != NO_LABEL)
    if scarce:
        count, label = scarce[0]
        raise DataError(
            f"label {label!r} has {count} patient{'s' if count > 1 else ''}, too few to split"
            + (f" (and {len(scarce) - 1} more labels)" if len(scarce) > 1 else ""),
            f"at least {len(sides)} patients of every label, one for each split",
            "merging or removing rare labels, or naming a split column with --split-column NAME",
        )
    dealt = deal_patients(cohort, fractions, make_generator(seed, "split"))
    return np.array(sides, dtype=object)[dealt[cohort.of_row]]


def carve_validation(table: pd.DataFrame, seed: int = 0, fraction: float = CARVED) -> Splits:
    """Move a fraction of the training patients to validation and return the new splits (n,).

    A class with a single training patient stays in training.
    """
    splits: Splits = table["split"].to_numpy(dtype=object, copy=True)
    training = np.flatnonzero(splits == "train")
    cohort = gather_patients(table.iloc[training])
    dealt = deal_patients(cohort, (1 - fraction, fraction), make_generator(seed, "carve validation"))
    splits[training] = np.array(SPLITS[:2], dtype=object)[dealt[cohort.of_row]]
    return splits


def read_split(value: str, place: str) -> str:
    """Read a split's name as a manifest spells it; "unused" is none, and stays.

    >>> read_split("Val", "row 2")
    'validation'
    """
    name = value.strip().lower()
    split = UNUSED if name == UNUSED else ALIASES.get(name)
    if split is None:
        raise DataError(
            f"{place} has the split {value!r}", nearest(value.lower(), ALIASES), "--split-column NAME"
        )
    return split


def is_exclusive(table: pd.DataFrame) -> bool:
    """Tell whether a table's label column names one class for every image, as far as its texts can tell."""
    return not any(text == NO_LABEL or JOINT in text for text in table["label"].unique())


def list_labels(labels: pd.Series, exclusive: bool = True) -> set[str]:
    """List the labels that a column names, several of an image joined by "|" where they are not exclusive."""
    texts = set(labels.unique())
    return texts if exclusive else set(chain.from_iterable(text.split(JOINT) for text in texts)) - {NO_LABEL}


def count_classes(
    table: pd.DataFrame,
    source: str,
    exclusive: bool = True,
    classes: Sequence[str] = (),
    marks: Marks | None = None,
) -> None:
    """Refuse a table of fewer than two classes, with a class seen once, or with a label of one value only."""
    if not exclusive:
        count_marks(table, source, classes, marks)
        return
    counts = table["label"].value_counts()
    if len(counts) < 2:
        raise DataError(f"{source} has {len(counts)} class{'es' * (len(counts) != 1)}", "two classes or more")
    refuse_spellings(sorted(counts.index), counts.to_dict(), source)
    once = sorted(counts[counts == 1].index)
    if once:
        raise DataError(
            f"{source}: label {once[0]!r} is seen once"
            + (f" (and {len(once) - 1} more)" if len(once) > 1 else ""),
            "every label in two images or more",
            "merging or removing rare labels",
        )


def count_marks(table: pd.DataFrame, source: str, classes: Sequence[str], marks: Marks | None) -> None:
    """Refuse labels that are not exclusive and of which one has the same value, or none, in every image."""
    present, absent = count_values(table, classes, marks)
    if not present:
        raise DataError(f"{source}: no image has a label", "a label or more, each in some of the images")
    refuse_spellings(sorted(present), present, source)
    for label in sorted(present):
        if present[label] and absent[label]:
            continue
        if present[label] or absent[label]:
            found = f"label {label!r} is {int(present[label] > 0)} in every image that has it annotated"
        else:
            found = f"label {label!r} is blank or uncertain in every image"
        raise DataError(f"{source}: {found}", "images with and images without it", "leaving that label out")


def count_values(
    table: pd.DataFrame, classes: Sequence[str], marks: Marks | None
) -> tuple[dict[str, int], dict[str, int]]:
    """Count by label the images that have it, and those that are known not to have it."""
    if marks is not None and classes:
        ones, zeros = (marks == 1).sum(axis=0).tolist(), (marks == 0).sum(axis=0).tolist()
        return dict(zip(classes, ones, strict=True)), dict(zip(classes, zeros, strict=True))
    cohort = gather_patients(table)
    counts = {
        label: int(images.sum()) for label, images in zip(cohort.labels, cohort.images, strict=True) if label
    }
    counts = dict.fromkeys(classes, 0) | counts
    return counts, {label: len(table) - count for label, count in counts.items()}


def refuse_spellings(labels: Sequence[str], counts: Mapping[str, int], source: str) -> None:
    """Refuse labels that differ in capitals only, and those that say that a label is missing."""
    folded: dict[str, str] = {}
    for label in labels:
        other = folded.setdefault(label.casefold(), label)
        if other != label:
            raise DataError(
                f"{source}: labels {other!r} and {label!r} differ in capitals only",
                "one spelling of each class",
            )
        if label.casefold() in MISSING:
            raise DataError(
                f"{source}: {counts[label]} images have the label {label!r}, which says that one is missing",
                "a class for every image",
                "filling them in or deleting those rows",
            )


def check_splits(table: pd.DataFrame, source: str, exclusive: bool = True) -> None:
    """Refuse an empty split and a class, or a label, that training never sees."""
    for split in SPLITS:
        if not (table["split"] == split).any():
            raise DataError(
                f"{source} has no {split} rows",
                "rows for training and for testing",
                "leaving out the split column",
            )
    training = list_labels(table["label"][table["split"] == "train"], exclusive)
    absent = sorted(list_labels(table["label"], exclusive) - training)
    if absent:
        raise DataError(
            f"{source}: label {absent[0]!r} does not occur in the training split",
            "every label among the training images",
            "removing that label, or other splits with --split-column NAME",
        )


def describe_leaks(table: pd.DataFrame) -> tuple[str, ...]:
    """Say how many patients stand in more than one split; given splits may do so, ours never do."""
    leaking = find_leaks(table)
    if not leaking:
        return ()
    return (f"patients in several splits: {len(leaking)}, such as {leaking[0]!r}; results may look too good",)


def find_leaks(table: pd.DataFrame) -> list[str]:
    """List the known patients of more than one split, sorted; rows of no split do not count."""
    if "patient" not in table:
        return []
    known = table.loc[(table["patient"] != "") & (table["split"] != UNUSED), ["patient", "split"]]
    pairs = known.drop_duplicates()
    return sorted(pairs.loc[pairs["patient"].duplicated(), "patient"].unique())


def describe_gaps(
    table: pd.DataFrame, exclusive: bool = True, classes: Sequence[str] = (), marks: Marks | None = None
) -> tuple[str, ...]:
    """Say which classes a validation or test split lacks: their metrics will be undefined.

    A label that is not exclusive also needs images without it, in training too.
    """
    labels = list_labels(table["label"], exclusive)
    notes = []
    for split in SPLITS:
        chosen = (table["split"] == split).to_numpy()
        lost = sorted(labels - list_labels(table["label"][chosen], exclusive))
        if lost and split != "train":  # such a training split is refused
            notes.append(f"the {split} split lacks {', '.join(map(repr, lost))}")
        if not exclusive and chosen.any():
            _, absent = count_values(table[chosen], classes, None if marks is None else marks[chosen])
            everywhere = sorted(label for label, count in absent.items() if count == 0 and label not in lost)
            if everywhere:
                names = ", ".join(map(repr, everywhere))
                notes.append(f"the {split} split has no image known to be without {names}")
    return tuple(notes)
