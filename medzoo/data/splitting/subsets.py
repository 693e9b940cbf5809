"""Parts of the training images: nested fractions, fixed sizes, examples per class; and folds of everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medzoo.data.dataset import SPLITS
from medzoo.data.draws import make_generator
from medzoo.data.splitting.dealing import (
    NO_LABEL,
    Cohort,
    Numbers,
    deal_patients,
    gather_patients,
    lead_labels,
    list_rows,
    order_patients,
)
from medzoo.data.splitting.splits import UNUSED, Splits
from medzoo.errors import ConfigError, DataError

LEVELS = (1, 2, 5, 10, 20, 50, 100)  # percent of the training patients
FEWEST_FOLDS = 3  # one to test, one to validate, one to train


class Choice(NamedTuple):
    """Rows of a table that are used, in order, the split of each, and what the user should know."""

    rows: NDArray[np.int_]
    split: pd.Series | None  # None: the table has none and none was asked for
    notes: tuple[str, ...]


def nest_fractions(table: pd.DataFrame, seed: int = 0, levels: Sequence[float] = LEVELS) -> Splits:
    """Give each training row the smallest percent of the training patients that includes it (n,), as text.

    Rows of other splits have "".  Every level contains those before it, and holds whole patients: of each class
    within one patient of its percent where a patient has a single label, and one at least.

    >>> table = pd.DataFrame({"id": list("abcd"), "label": ["no", "yes"] * 2, "split": "train"})
    >>> sorted(nest_fractions(table, levels=(50, 100)))
    ['100', '100', '50', '50']
    """
    training, cohort = gather_training(table)
    places, order = order_patients(cohort, make_generator(seed, "fractions"))
    ends = np.sort(np.array(levels, dtype=float)) / 100 + 1e-9
    level = np.searchsorted(ends, places)
    level[lead_labels(cohort, order, level == 0)] = 0
    names = np.array([f"{name:g}" for name in sorted(levels)], dtype=object)
    fractions = np.full(len(table), "", dtype=object)
    fractions[training] = names[np.minimum(level, len(names) - 1)[cohort.of_row]]
    return fractions


def take_size(table: pd.DataFrame, size: int, seed: int = 0) -> Splits:
    """Keep at most `size` training images, of whole patients and stratified, and return the new splits (n,).

    The other training rows become "unused".  A patient too large for what is left is passed over, so that the
    number is met from below as nearly as patients of the stratified order allow.  Raises DataError where there
    are fewer training images, or where not every class finds room.
    """
    training, cohort = gather_training(table)
    if not 0 < size <= len(training):
        raise DataError(
            f"a subset of {size} of {len(training)} training images",
            f"1 to {len(training)}",
            f"--size {len(training)}",
        )
    _, order = order_patients(cohort, make_generator(seed, "size"))
    weights = np.bincount(cohort.of_row, minlength=cohort.count)
    fitting = np.where(weights <= size, weights, 0)
    leading = lead_labels(cohort, order, np.zeros(cohort.count, dtype=bool), fitting)
    chosen = np.zeros(cohort.count, dtype=bool)
    left = size
    for patient in [*leading, *order.tolist()]:
        if not chosen[patient] and weights[patient] <= left:
            chosen[patient] = True
            left -= int(weights[patient])
    for label, members in zip(cohort.labels, cohort.members, strict=True):
        if label != NO_LABEL and not chosen[members].any():
            raise DataError(
                f"a subset of {size} training images has no room for a patient of every class: "
                f"none of {label!r}",
                "an image of every class",
                "a larger --size",
            )
    return leave_out(table, training[~chosen[cohort.of_row]])


def take_shots(table: pd.DataFrame, shots: int, seed: int = 0) -> Splits:
    """Keep `shots` training images of each class, from as many patients as there are, and return the splits (n,).

    The other training rows become "unused".  Where images have several labels, each label has `shots` images or
    more, because an image of a rare label brings its common ones; and as many without any label are kept, where
    there are.  Raises DataError for a class of fewer training images.
    """
    training, cohort = gather_training(table)
    rng = make_generator(seed, "shots")
    rank, shuffled = rng.permutation(cohort.count), rng.permutation(len(training))
    # The draw must not depend on the order of rows: they are shuffled as sorted by id.
    by_id = np.argsort(table["id"].to_numpy(dtype=object)[training], kind="stable")
    draw = np.empty(len(training), dtype=np.intp)
    draw[by_id] = shuffled
    if shots < 1:
        raise ConfigError(f"shots = {shots}", "1 image of each class or more", "--shots 10")
    taken = np.zeros(len(training), dtype=bool)
    has = list_rows(cohort, table.iloc[training])
    for label in cohort.list_rarest_first():
        rows = has[label]
        if len(rows) < shots and cohort.labels[label] != NO_LABEL:
            raise DataError(
                f"label {cohort.labels[label]!r} has {len(rows)} training images",
                f"{shots} or more",
                f"--shots {len(rows)}",
            )
        missing = shots - int(taken[rows].sum())
        if missing > 0:
            turns = count_turns(cohort.of_row[rows], ~taken[rows], draw[rows])
            free = ~taken[rows]
            order = np.lexsort((rank[cohort.of_row[rows]][free], turns[free]))
            taken[rows[free][order[:missing]]] = True
    return leave_out(table, training[~taken])


def deal_folds(table: pd.DataFrame, folds: int, seed: int = 0) -> Splits:
    """Deal the rows to folds by patient, stratified, and return each one's (n,), "1" to the number of folds.

    Rows whose split is test already keep out of it, with "", and so do rows of no split.  Raises DataError for a
    class of fewer patients than folds.
    """
    numbers = np.full(len(table), "", dtype=object)
    kept = np.ones(len(table), dtype=bool)
    if "split" in table:
        kept = (~table["split"].isin(("test", UNUSED))).to_numpy()
    fewest = FEWEST_FOLDS - (not kept.all())
    if folds < fewest:
        raise ConfigError(f"{folds} folds", f"{fewest} or more", "--folds 5")
    cohort = gather_patients(table[kept])
    for label, members in zip(cohort.labels, cohort.members, strict=True):
        if len(members) < folds and label != NO_LABEL:
            raise DataError(
                f"label {label!r} has {len(members)} patient{'s' if len(members) > 1 else ''}, "
                f"too few for {folds} folds",
                "a patient of every class in every fold",
                "fewer --folds, or merging or removing rare labels",
            )
    dealt = deal_patients(cohort, [1.0] * folds, make_generator(seed, "folds"))
    numbers[kept] = np.array([str(fold + 1) for fold in range(folds)], dtype=object)[dealt[cohort.of_row]]
    return numbers


def choose_rows(table: pd.DataFrame, fraction: float | None = None, fold: int | None = None) -> Choice:
    """Choose the rows of a table by its own columns `split`, `fraction` and `fold`.

    Rows of the split "unused" are left out always.  `fraction` keeps that percent of the training rows.  `fold`
    makes the splits anew: that fold is the test split, the next one validation (after the last, the first), all
    others training; where rows without a fold are the test split, the fold itself is validation.  Raises DataError
    or ConfigError where the table has no such column, level or fold.
    """
    if fraction is not None and fold is not None:
        raise ConfigError(
            "--fraction and --test-fold together", "one of them: fractions are of one training split"
        )
    split = table["split"].astype(object) if "split" in table else None
    if fold is not None:
        split = pd.Series(split_by_fold(table, fold), index=table.index, dtype=object)
    keep = np.ones(len(table), dtype=bool) if split is None else (split != UNUSED).to_numpy()
    notes: list[str] = []
    if not keep.all():
        notes.append(f"rows of no split, left out: {int((~keep).sum())}")
    if fraction is not None:
        included = includes(table, fraction)
        keep = keep & included
        count = int((keep & (table["split"] == "train").to_numpy()).sum())
        notes.append(f"training: {count} images of {fraction:g} % of the patients")
    if fold is not None:
        notes.append(f"splits: those of fold {fold}")
    rows = np.flatnonzero(keep)
    return Choice(rows, None if split is None else split.iloc[rows].reset_index(drop=True), tuple(notes))


def split_by_fold(table: pd.DataFrame, fold: int) -> Splits:
    """Name each row's split (n,) where one fold is tested."""
    if "fold" not in table:
        raise DataError(
            "the data have no column 'fold'",
            "the number of each row's fold",
            "medzoo data split DATA --folds 5, and --splits with the file that it writes",
        )
    texts = table["fold"].to_numpy(dtype=object)
    known = sorted({text for text in texts if text}, key=lambda text: (len(text), text))
    if known != [str(number + 1) for number in range(len(known))]:
        raise DataError(f"the column 'fold' holds {', '.join(map(repr, known[:5]))}", "1, 2, 3, … or nothing")
    if not 1 <= fold <= len(known):
        raise DataError(f"there is no fold {fold}", f"1 to {len(known)}", "--test-fold 1")
    splits = np.full(len(table), "train", dtype=object)
    given = table["split"].to_numpy(dtype=object) if "split" in table else np.full(len(table), UNUSED, object)
    aside = texts == ""
    splits[aside] = given[aside]
    if (splits == "test").any():
        splits[texts == str(fold)] = "validation"
    else:
        splits[texts == str(fold)] = "test"
        splits[texts == str(fold % len(known) + 1)] = "validation"
    return splits


def includes(table: pd.DataFrame, fraction: float) -> NDArray[np.bool_]:
    """Tell for each row (n,) whether a fraction of the training patients includes it; other splits' rows always."""
    if "fraction" not in table or "split" not in table:
        raise DataError(
            "the data have no column 'fraction'",
            "the percent of training patients that first includes a row",
            "medzoo data split DATA --nested, and --splits with the file that it writes",
        )
    training = (table["split"] == "train").to_numpy()
    levels = pd.to_numeric(table["fraction"], errors="coerce").to_numpy(dtype=float)
    unreadable = np.flatnonzero(training & np.isnan(levels))
    if len(unreadable):
        first = table.iloc[unreadable[0]]
        raise DataError(
            f"training image {first['id']!r} has the fraction {first['fraction']!r}",
            "a percent for every training row",
            "medzoo data split DATA --nested",
        )
    known = sorted(set(LEVELS) | set(levels[training].tolist()))
    if fraction not in known:
        listed = ", ".join(f"{level:g}" for level in known)
        raise DataError(f"there is no fraction of {fraction:g} %", f"one of {listed}", "--fraction 10")
    included: NDArray[np.bool_] = ~training | (levels <= fraction)
    return included


def gather_training(table: pd.DataFrame) -> tuple[NDArray[np.int_], Cohort]:
    """Find the training rows (m,), and gather their patients."""
    training = np.flatnonzero((table["split"] == "train").to_numpy())
    if not len(training):
        raise DataError("there are no training rows", f"some rows of the split {SPLITS[0]!r}")
    return training, gather_patients(table.iloc[training])


def count_turns(patients: Numbers, free: NDArray[np.bool_], draw: Numbers) -> Numbers:
    """Number each patient's images, those taken already first, the others in drawn order.

    >>> count_turns(np.array([7, 7, 8]), np.array([True, False, True]), np.array([0, 1, 2])).tolist()
    [1, 0, 0]
    """
    order = np.lexsort((draw, free, patients))
    grouped = patients[order]
    starts = np.flatnonzero(np.r_[True, grouped[1:] != grouped[:-1]])
    lengths = np.diff(np.r_[starts, len(grouped)])
    turns = np.empty(len(patients), dtype=np.intp)
    turns[order] = np.arange(len(grouped)) - np.repeat(starts, lengths)
    return turns


def leave_out(table: pd.DataFrame, rows: NDArray[np.int_]) -> Splits:
    """Return the table's splits (n,), with some rows in none."""
    splits: Splits = table["split"].to_numpy(dtype=object, copy=True)
    splits[rows] = UNUSED
    return splits
