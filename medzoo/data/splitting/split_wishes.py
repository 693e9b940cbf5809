"""`SplitWish`: which splits are asked for; `make_splits` deals them, whatever the source gives already."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import pandas as pd

from medzoo.data.dataset import SPLITS, Dataset, Listing
from medzoo.data.splitting.dealing import gather_patients
from medzoo.data.splitting.split_files import OWN_COLUMNS
from medzoo.data.splitting.splits import (
    FRACTIONS,
    UNUSED,
    check_splits,
    complete_splits,
    count_classes,
    find_leaks,
    is_exclusive,
    split_patients,
)
from medzoo.data.splitting.subsets import deal_folds, nest_fractions, split_by_fold, take_shots, take_size
from medzoo.errors import ConfigError


class Count(TypedDict):
    """How many images, of how many patients; an image of an unknown patient is one of its own."""

    images: int
    patients: int


class SideCount(Count):
    """The counts of one side, and those of each label in it."""

    labels: dict[str, Count]


@dataclass(frozen=True)
class SplitWish:
    """What splits are asked for: shares of the patients, and at most one of a size, shots or folds.

    Given splits are kept, unless `resplit` deals all rows anew, or `keep_test` all but the test split's.
    """

    fractions: tuple[float, ...] | None = None  # None: 70, 10, 20
    nested: bool = False
    size: int | None = None
    shots: int | None = None
    folds: int | None = None
    seed: int = 0
    resplit: bool = False
    keep_test: bool = False

    def check(self) -> None:
        """Refuse what cannot go together, with ConfigError."""
        parts = {"size": self.size, "shots": self.shots, "folds": self.folds}
        asked = [f"--{name}" for name, value in parts.items() if value is not None]
        if self.folds is not None and self.nested:
            asked.append("--nested")
        if self.folds is not None and self.fractions is not None:
            asked.append("--fractions")
        if len(asked) > 1:
            raise ConfigError(
                " and ".join(asked) + " together", "one of them", "a file for each, by --out FILE"
            )
        if self.resplit and self.keep_test:
            raise ConfigError("--resplit and --keep-test together", "one of them")
        shares = (1.0,) * len(SPLITS) if self.fractions is None else self.fractions
        if len(shares) != len(SPLITS) or not all(0 < share < math.inf for share in shares):
            found = ",".join(f"{share:g}" for share in shares)
            raise ConfigError(
                f"--fractions {found}", "training, validation and test, each above 0", "--fractions 70,10,20"
            )


def make_splits(listing: Listing | Dataset, wish: SplitWish) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return a listing's table with the splits that are asked for, and what the user should know of them.

    The columns split, and where asked for fraction or fold, are new; no row is lost: what a subset leaves out has
    the split "unused".  Raises ConfigError for wishes that do not go together or do not apply, and DataError for
    data that cannot be split so.
    """
    wish.check()
    table, notes = listing.table, []
    stale = [name for name in OWN_COLUMNS if name in table]
    if stale:
        table = table.drop(columns=stale)
        notes.append(f"left out {' and '.join(stale)} of {listing.name}: they belong to its own splits")
    if "split" not in table and (wish.resplit or wish.keep_test):
        option = "--resplit" if wish.resplit else "--keep-test"
        raise ConfigError(f"{option}: {listing.name} has no splits", "given splits", f"leaving out {option}")
    if "split" in table and wish.fractions is not None and not (wish.resplit or wish.keep_test):
        raise ConfigError(
            f"--fractions: {listing.name} has splits, which are kept", "--resplit or --keep-test beside it"
        )
    if wish.resplit:
        table = table.drop(columns="split")
    elif "split" in table and (wish.keep_test or wish.folds is not None):
        table, said = set_apart_leaks(table)
        notes += said
    exclusive = listing.marks is None and is_exclusive(table)
    if wish.folds is not None:
        count_classes(table, listing.name, exclusive, listing.classes, listing.marks)
        folds = deal_folds(table, wish.folds, wish.seed)
        table = table.assign(fold=folds)
        table["split"] = split_by_fold(table, 1)
        check_splits(table, listing.name, exclusive)
        return table, (*notes, *note_patients(table, listing.name))
    if wish.keep_test:
        table = redeal(table, wish)
    table, said = complete_splits(
        table,
        wish.seed,
        listing.name,
        exclusive=exclusive,
        classes=listing.classes,
        marks=listing.marks,
        fractions=wish.fractions or FRACTIONS,
    )
    notes += said
    if find_leaks(table):
        notes.append("--resplit deals them anew, every patient to one side")
    if not any("names no patients" in note for note in said):
        notes += note_patients(table, listing.name)
    if wish.size is not None:
        table = table.assign(split=take_size(table, wish.size, wish.seed))
    if wish.shots is not None:
        table = table.assign(split=take_shots(table, wish.shots, wish.seed))
    if wish.nested:
        table = table.assign(fraction=nest_fractions(table, wish.seed))
    return table, tuple(notes)


def set_apart_leaks(table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Give up the other images of patients of the test split: whatever is dealt anew must not bring them back."""
    test = table["split"] == "test"
    leaking = set(table["patient"][test]) & set(find_leaks(table)) if "patient" in table else set()
    if not leaking:
        return table, ()
    lost = ~test & table["patient"].isin(leaking)
    note = f"left out {int(lost.sum())} images of {len(leaking)} patients who are in the test split as well"
    return table.assign(split=table["split"].mask(lost, UNUSED)), (note,)


def redeal(table: pd.DataFrame, wish: SplitWish) -> pd.DataFrame:
    """Deal all but the test split and what was set apart to training and validation."""
    others = np.flatnonzero(table["split"].isin(("train", "validation")).to_numpy())
    splits = table["split"].to_numpy(dtype=object, copy=True)
    fractions = (wish.fractions or FRACTIONS)[:2]
    splits[others] = split_patients(table.iloc[others], fractions, wish.seed, SPLITS[:2])
    return table.assign(split=splits)


def note_patients(table: pd.DataFrame, source: str) -> tuple[str, ...]:
    """Say where no patients are known: no split can keep them apart then."""
    note = f"{source} names no patients: each image counts as its own patient, "
    return () if "patient" in table else (note + "and images of one patient may stand in two splits",)


def count_sides(table: pd.DataFrame, column: str = "split") -> dict[str, SideCount]:
    """Count images and patients by value of a column, and under "labels" by label.

    A row of several labels counts for each; one of none counts under "".

    >>> table = pd.DataFrame({"id": ["1", "2"], "label": ["a", "b"], "split": ["train", "test"]})
    >>> count_sides(table)["train"]
    {'images': 1, 'patients': 1, 'labels': {'a': {'images': 1, 'patients': 1}}}
    """
    counted: dict[str, SideCount] = {}
    for side in table[column].unique():
        cohort = gather_patients(table[(table[column] == side).to_numpy()])
        labels: dict[str, Count] = {
            label: {"images": int(images.sum()), "patients": len(members)}
            for label, members, images in zip(cohort.labels, cohort.members, cohort.images, strict=True)
        }
        counted[side] = {"images": len(cohort.of_row), "patients": cohort.count, "labels": labels}
    return counted
