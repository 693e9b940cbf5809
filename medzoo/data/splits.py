"""Training, validation and test sides: no patient ever on two of them, unless the source says so itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medzoo.data.dataset import SPLITS
from medzoo.data.draws import make_generator
from medzoo.errors import DataError, nearest

ALIASES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
MISSING = frozenset({"nan", "null", "n/a", "#n/a", "<na>"})  # how other programs write an empty cell
FRACTIONS = (0.7, 0.1, 0.2)
CARVED = 1 / 8  # of the training patients, where a source has no validation split: 7 to 1, as in FRACTIONS


def complete_splits(table: pd.DataFrame, seed: int, source: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the table with a full split column, and what the user should know about how it came to be.

    Without a split column the patients are split 70/10/20; without validation rows, an eighth of the training
    patients become them; given splits are kept.  Raises DataError where the splits cannot be trained on.
    """
    notes = []
    count_classes(table, source)
    if "split" not in table:
        table = table.assign(split=split_patients(table, FRACTIONS, seed))
        notes.append(f"{source} has no splits: patients were split 70/10/20 with seed {seed}")
        if "patient" not in table:
            notes.append(
                f"{source} names no patients: each image counts as its own patient, "
                "and images of one patient may stand in two splits"
            )
    elif not (table["split"] == "validation").any():
        table = table.assign(split=carve_validation(table, seed))
        notes.append(f"{source} has no validation split: an eighth of the training patients were taken")
    check_splits(table, source)
    return table, (*notes, *describe_leaks(table), *describe_gaps(table))


def split_patients(
    table: pd.DataFrame, fractions: Sequence[float] = FRACTIONS, seed: int = 0
) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    """Split a table's rows (n,) into train, validation and test by patient, stratified by label.

    All rows of a patient go to one side; a row without a known patient is its own patient.  The split depends
    on the seed and on the patients and labels, not on the order of the rows.  Where each patient has a single
    label, every class stands in every split.  Raises DataError for a class of fewer than three patients.

    >>> table = pd.DataFrame({"id": list("abcdef"), "label": ["no", "no", "no", "yes", "yes", "yes"]})
    >>> sorted(split_patients(table))
    ['test', 'test', 'train', 'train', 'validation', 'validation']
    """
    patients = name_patients(table)
    counts = Counter(label for _, label in set(zip(patients, table["label"], strict=True)))
    scarce = sorted((count, label) for label, count in counts.items() if count < len(SPLITS))
    if scarce:
        count, label = scarce[0]
        raise DataError(
            f"label {label!r} has {count} patient{'s' if count > 1 else ''}, too few to split"
            + (f" (and {len(scarce) - 1} more labels)" if len(scarce) > 1 else ""),
            "at least 3 patients of every label, one for each split",
            "merging or removing rare labels, or naming a split column with --split-column NAME",
        )
    sides = deal_patients(patients, table["label"].tolist(), fractions, make_generator(seed, "split"))
    return np.array([SPLITS[sides[patient]] for patient in patients], dtype=object)


def carve_validation(
    table: pd.DataFrame, seed: int = 0, fraction: float = CARVED
) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    """Move a fraction of the training patients to validation and return the new splits (n,).

    A class with a single training patient stays in training.
    """
    patients = np.array(name_patients(table), dtype=object)
    splits: np.ndarray[tuple[int], np.dtype[np.object_]] = table["split"].to_numpy(dtype=object, copy=True)
    training = np.flatnonzero(splits == "train")
    sides = deal_patients(
        patients[training].tolist(),
        table["label"].iloc[training].tolist(),
        (1 - fraction, fraction),
        make_generator(seed, "carve validation"),
    )
    for row in training:
        splits[row] = SPLITS[sides[patients[row]]]
    return splits


def name_patients(table: pd.DataFrame) -> list[str]:
    """Name each row's patient, by the image where the patient is unknown."""
    known = table["patient"].tolist() if "patient" in table else [""] * len(table)
    return [
        f"patient {patient}" if patient else f"image {row}"
        for patient, row in zip(known, table["id"], strict=True)
    ]


def deal_patients(
    patients: Sequence[str], labels: Sequence[str], fractions: Sequence[float], rng: np.random.Generator
) -> dict[str, int]:
    """Deal patients to sides, rarest class first, each to the side its class lacks most.

    The greedy order is that of iterative stratification (Sechidis et al., 2011): a patient with two labels is
    placed for the sake of the rarer one.
    """
    names = sorted(set(patients))
    rank = dict(zip(names, rng.permutation(len(names)).tolist(), strict=True))
    members: dict[str, set[str]] = defaultdict(set)
    for patient, label in zip(patients, labels, strict=True):
        members[label].add(patient)
    sides: dict[str, int] = {}
    for label in sorted(members, key=lambda label: (len(members[label]), label)):
        quota = share_patients(len(members[label]), fractions)
        counts = Counter(sides[patient] for patient in members[label] if patient in sides)
        for patient in sorted(members[label] - sides.keys(), key=lambda patient: rank[patient]):
            # A side still without the class comes before any side that merely has too few of it.
            lack = [
                (quota[side] > 0 and counts[side] == 0, quota[side] - counts[side])
                for side in range(len(quota))
            ]
            sides[patient] = lack.index(max(lack))
            counts[sides[patient]] += 1
    return sides


def share_patients(count: int, fractions: Sequence[float]) -> list[int]:
    """Share `count` patients among the sides, by largest remainders and at least one each as far as they go.

    >>> share_patients(10, (0.7, 0.1, 0.2)), share_patients(3, (0.7, 0.1, 0.2)), share_patients(1, (0.9, 0.1))
    ([7, 1, 2], [1, 1, 1], [1, 0])
    """
    exact = [count * fraction / sum(fractions) for fraction in fractions]
    shares = [int(value + 1e-9) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda side: shares[side] - exact[side])
    for side in by_remainder[: count - sum(shares)]:
        shares[side] += 1
    while count >= len(shares) and min(shares) == 0:
        shares[shares.index(max(shares))] -= 1
        shares[shares.index(0)] += 1
    # Fewer patients than sides: training comes first.
    return shares if count >= len(shares) else [int(side < count) for side in range(len(shares))]


def read_split(value: str, place: str) -> str:
    """Read a split's name as a manifest spells it.

    >>> read_split("Val", "row 2")
    'validation'
    """
    split = ALIASES.get(value.strip().lower())
    if split is None:
        raise DataError(
            f"{place} has the split {value!r}", nearest(value.lower(), ALIASES), "--split-column NAME"
        )
    return split


def count_classes(table: pd.DataFrame, source: str) -> None:
    """Refuse a table of fewer than two classes, or with a class seen once."""
    counts = table["label"].value_counts()
    if len(counts) < 2:
        raise DataError(f"{source} has {len(counts)} class{'es' * (len(counts) != 1)}", "two classes or more")
    folded: dict[str, str] = {}
    for label in sorted(counts.index):
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
    once = sorted(counts[counts == 1].index)
    if once:
        raise DataError(
            f"{source}: label {once[0]!r} is seen once"
            + (f" (and {len(once) - 1} more)" if len(once) > 1 else ""),
            "every label in two images or more",
            "merging or removing rare labels",
        )


def check_splits(table: pd.DataFrame, source: str) -> None:
    """Refuse an empty split and a class that training never sees."""
    for split in SPLITS:
        if not (table["split"] == split).any():
            raise DataError(
                f"{source} has no {split} rows",
                "rows for training and for testing",
                "leaving out the split column",
            )
    absent = sorted(set(table["label"]) - set(table["label"][table["split"] == "train"]))
    if absent:
        raise DataError(
            f"{source}: label {absent[0]!r} does not occur in the training split",
            "every label among the training images",
            "removing that label, or other splits with --split-column NAME",
        )


def describe_leaks(table: pd.DataFrame) -> tuple[str, ...]:
    """Say how many patients stand in more than one split; given splits may do so, ours never do."""
    if "patient" not in table:
        return ()
    known = table[table["patient"] != ""]
    splits = known.groupby("patient")["split"].nunique()
    leaking = sorted(splits[splits > 1].index)
    if not leaking:
        return ()
    return (f"patients in several splits: {len(leaking)}, such as {leaking[0]!r}; results may look too good",)


def describe_gaps(table: pd.DataFrame) -> tuple[str, ...]:
    """Say which classes a validation or test split lacks: their metrics will be undefined."""
    classes = set(table["label"])
    gaps = {split: sorted(classes - set(table["label"][table["split"] == split])) for split in SPLITS[1:]}
    return tuple(
        f"the {split} split lacks {', '.join(map(repr, lost))}" for split, lost in gaps.items() if lost
    )
