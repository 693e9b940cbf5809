"""Dealing patients to sides, and ordering them, so that every label is spread as evenly as patients allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medzoo.data.dataset import JOINT

NO_LABEL = ""  # what images without any positive label count as: a class of their own
DRAWS = 50  # deals drawn at most, until no label misses a side

Numbers = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Cohort:
    """The patients of a table: which patient each row is of, and how many images of each label a patient has.

    `of_row` (n,) numbers the `count` patients in the order of their names.  For each of `labels`, sorted by
    spelling, `members` are the patients who have it, ascending, and `images` how many images of it each has.
    """

    count: int
    of_row: Numbers
    labels: tuple[str, ...]
    members: tuple[Numbers, ...]
    images: tuple[Numbers, ...]

    def list_rarest_first(self) -> list[int]:
        """List the labels' positions, those of the fewest patients first."""
        return sorted(
            range(len(self.labels)), key=lambda label: (len(self.members[label]), self.labels[label])
        )


def gather_patients(table: pd.DataFrame) -> Cohort:
    """Gather the patients of a table, with the labels that its label column names, several joined by "|"."""
    of_row, names = number_names(name_patients(table))
    texts, of_text = list_texts(table["label"])
    labels = sorted({label for sets in of_text for label in sets})
    position = {label: number for number, label in enumerate(labels)}
    # A pair per image and label; equal pairs are one patient's images of one label.
    lengths = np.array([len(sets) for sets in of_text], dtype=np.intp)
    flat = np.array([position[label] for sets in of_text for label in sets], dtype=np.intp)
    starts = np.cumsum(lengths) - lengths
    counts = lengths[texts]
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    label_of_pair = flat[np.repeat(starts[texts], counts) + offsets]
    pairs, images = np.unique(
        label_of_pair * max(len(names), 1) + np.repeat(of_row, counts), return_counts=True
    )
    label, patient = np.divmod(pairs, max(len(names), 1))
    ends = np.searchsorted(label, np.arange(1, len(labels)))
    return Cohort(
        count=len(names),
        of_row=of_row,
        labels=tuple(labels),
        members=tuple(np.split(patient, ends)) if labels else (),
        images=tuple(np.split(images, ends)) if labels else (),
    )


def number_names(names: Sequence[str]) -> tuple[Numbers, list[str]]:
    """Number texts by their place among the sorted distinct ones, and give those."""
    codes, found = pd.factorize(np.array(names, dtype=object))
    order = sorted(range(len(found)), key=found.__getitem__)
    places = np.empty(len(found), dtype=np.intp)
    places[order] = np.arange(len(found))
    return places[codes], [found[place] for place in order]


def name_patients(table: pd.DataFrame) -> list[str]:
    """Name each row's patient, by the image where the patient is unknown."""
    ids = table["id"].tolist()
    known = table["patient"].tolist() if "patient" in table else [""] * len(ids)
    return [
        f"patient {patient}" if patient else f"image {row}" for patient, row in zip(known, ids, strict=True)
    ]


def list_texts(labels: pd.Series) -> tuple[Numbers, list[tuple[str, ...]]]:
    """Number each row's label text among the distinct ones, and give the labels that each of those names."""
    codes, found = pd.factorize(labels.to_numpy(dtype=object))
    return codes.astype(np.intp), [tuple(sorted(set(text.split(JOINT)))) for text in found]


def list_rows(cohort: Cohort, table: pd.DataFrame) -> list[Numbers]:
    """List for each label of a cohort the rows of its table that have it."""
    texts, sets = list_texts(table["label"])
    having = (np.array([label in found for found in sets], dtype=bool) for label in cohort.labels)
    return [np.flatnonzero(has[texts]) for has in having]


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


def deal_patients(cohort: Cohort, fractions: Sequence[float], rng: np.random.Generator) -> Numbers:
    """Deal patients to sides and return each one's side (patients,), rarest label first.

    The greedy order is that of iterative stratification (Sechidis et al., 2011): a patient with two labels is
    placed for the sake of the rarer one.  Where each patient has a single label, a label's patients on a side
    are within one of their share, or one where the share is less; and its images there are within its largest
    patient's images of what its patients there stand for.
    """
    best, fewest = np.zeros(cohort.count, dtype=np.intp), -1
    for _ in range(DRAWS):
        sides = deal_once(cohort, fractions, rng.permutation(cohort.count))
        gaps = count_gaps(cohort, sides, len(fractions))
        if fewest < 0 or gaps < fewest:
            best, fewest = sides, gaps
        if fewest == 0:
            break
    return best


def deal_once(cohort: Cohort, fractions: Sequence[float], rank: Numbers) -> Numbers:
    """Deal every label's patients, each in the order of its rank, to the sides that lack them most."""
    sides = np.full(cohort.count, -1, dtype=np.intp)
    loads = np.zeros(len(fractions), dtype=np.intp)
    for label in cohort.list_rarest_first():
        members, images = cohort.members[label], cohort.images[label]
        free = sides[members] < 0
        counts = np.bincount(sides[members[~free]], minlength=len(fractions))
        # Equal sides, such as folds: what does not divide goes to those that have fewest patients so far.
        turn = np.argsort(loads, kind="stable") if len(set(fractions)) == 1 else np.arange(len(fractions))
        quota = np.array(share_patients(len(members), [fractions[side] for side in turn]))
        slots = turn[fill_slots(quota, counts[turn], int(free.sum()))]
        order = np.argsort(rank[members[free]])
        patients, weights = members[free][order], images[free][order]
        sides[patients] = slots
        if not is_balanced(weights, slots, len(fractions)):
            sides[patients] = balance(weights, slots)
        loads += np.bincount(slots, minlength=len(fractions))
    return sides


def fill_slots(quota: Numbers, counts: Numbers, free: int) -> Numbers:
    """Name the side of each of `free` patients in turn: the one that lacks most of its quota, the first of equals.

    A side still without the label comes before any side that merely has too few of it.

    >>> fill_slots(np.array([3, 1, 1]), np.array([1, 0, 0]), 4).tolist()
    [1, 2, 0, 0]
    """
    lack = (quota - counts)[:, None] - np.arange(free)
    urgent = np.zeros(lack.shape, dtype=bool)
    urgent[:, :1] = ((quota > 0) & (counts == 0))[:, None]
    side = np.broadcast_to(np.arange(len(quota))[:, None], lack.shape)
    first: Numbers = np.lexsort((side.ravel(), -lack.ravel(), ~urgent.ravel()))[:free]
    return first // max(free, 1)


def is_balanced(weights: Numbers, slots: Numbers, sides: int) -> bool:
    """Tell whether each side's images are within the largest patient's of what its patients stand for."""
    if len(weights) == 0:
        return True
    dealt = np.bincount(slots, weights=weights, minlength=sides)
    wanted = np.bincount(slots, minlength=sides) * weights.mean()
    return bool(np.abs(dealt - wanted).max() <= weights.max())


def balance(weights: Numbers, slots: Numbers) -> Numbers:
    """Deal the same slots by size, and return each patient's: the largest patients first, spread over the sides.

    In every prefix of that order each of two or three sides, or of any number of equal ones, has within one
    patient of its share: therefore (by summation by parts) its images are within the largest patient's size.
    Patients of equal size stay in their random order.
    """
    pattern = spread_slots(slots)
    by_size = np.argsort(-weights, kind="stable")
    sizes = weights[by_size]
    group = np.cumsum(np.r_[0, sizes[1:] != sizes[:-1]])
    dealt = np.empty_like(slots)
    # Within a group of equal sizes the slots are taken in their own order, as where nobody differs in size.
    dealt[by_size] = slots[pattern[np.lexsort((pattern, group))]]
    return dealt


def spread_slots(slots: Numbers) -> Numbers:
    """Order slots so that each side's lie evenly: its j-th of m at (j + 1/2) / m of the way.

    >>> spread_slots(np.array([0, 0, 0, 0, 1, 1])).tolist()
    [0, 4, 1, 2, 5, 3]
    """
    number = np.empty(len(slots), dtype=float)
    for side in np.unique(slots):
        places = np.flatnonzero(slots == side)
        number[places] = (np.arange(len(places)) + 0.5) / len(places)
    order: Numbers = np.lexsort((slots, number))
    return order


def count_gaps(cohort: Cohort, sides: Numbers, count: int) -> int:
    """Count the labels that miss a side although they have patients enough for each."""
    present = (len(np.unique(sides[members])) for members in cohort.members if len(members) >= count)
    return sum(count - found for found in present)


def order_patients(cohort: Cohort, rng: np.random.Generator) -> tuple[NDArray[np.float64], Numbers]:
    """Give each patient a place (patients,) between 0 and 1, such that all below any place are stratified.

    The patients in the order of their places, equal ones at random, come with them.

    The places of a label's m patients are (j + 1/2) / m, in random order.  Rarest label first: a patient with
    several labels has the place of the rarest, and the others of a label take the places that are left.
    """
    rank = rng.permutation(cohort.count)
    places = np.full(cohort.count, np.nan)
    for label in cohort.list_rarest_first():
        members = cohort.members[label]
        free = members[np.isnan(places[members])]
        taken = places[members[~np.isnan(places[members])]]
        empty = np.flatnonzero(np.bincount((taken * len(members)).astype(int), minlength=len(members)) == 0)
        # Two patients may have come to one place: then more are left than needed, and every so many is used.
        used = empty[((np.arange(len(free)) + 0.5) * len(empty) / max(len(free), 1)).astype(int)]
        places[free[np.argsort(rank[free])]] = (used + 0.5) / len(members)
    return places, np.lexsort((rank, places))


def lead_labels(
    cohort: Cohort, order: Numbers, chosen: NDArray[np.bool_], room: Numbers | None = None
) -> list[int]:
    """List the patients to put before all others, so that each label has one: its first in the order.

    Labels that a patient of `chosen` (patients,) has need nobody.  With `room` (patients,) only patients of it
    that are above 0 are taken.
    """
    place = np.empty(cohort.count, dtype=np.intp)
    place[order] = np.arange(cohort.count)
    have, leading = chosen.copy(), []
    for label in cohort.list_rarest_first():
        members = cohort.members[label]
        if have[members].any():
            continue
        fitting = members if room is None else members[room[members] > 0]
        if len(fitting):
            first = int(fitting[np.argmin(place[fitting])])
            have[first] = True
            leading.append(first)
    return leading
