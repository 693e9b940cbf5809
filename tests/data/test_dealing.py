"""Dealing: patients whole, every label spread, sides within one patient, the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.data.draws import make_generator
from medzoo.data.splitting.dealing import (
    deal_patients,
    fill_slots,
    gather_patients,
    is_balanced,
    lead_labels,
    order_patients,
    share_patients,
)

seeds = st.integers(0, 2**32)
FRACTIONS = (0.7, 0.1, 0.2)


def make_table(sizes: dict[str, list[int]]) -> pd.DataFrame:
    """Make a table of patients of one label each, by how many images each has."""
    rows = [
        (f"{label}{number}", label)
        for label, counts in sizes.items()
        for number, count in enumerate(counts)
        for _ in range(count)
    ]
    table = pd.DataFrame(rows, columns=["patient", "label"])
    return table.assign(id=[str(row) for row in range(len(table))])


def make_multilabel(count: int, patients: int, seed: int) -> pd.DataFrame:
    """Make images of 14 labels, each more often with the next, from 20 % down to 0.5 % of the patients."""
    rng = np.random.default_rng(seed)
    patient = rng.integers(0, patients, count)
    prevalence = np.geomspace(0.2, 0.005, 14)
    liable = rng.random((patients, 14)) < prevalence * 2
    marks = liable[patient] & (rng.random((count, 14)) < 0.5)
    names = [f"L{number:02d}" for number in range(14)]
    labels = ["|".join(name for name, mark in zip(names, row, strict=True) if mark) for row in marks]
    return pd.DataFrame(
        {"id": [f"{row:06d}" for row in range(count)], "patient": patient.astype(str), "label": labels}
    )


sized = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.integers(1, 30), min_size=3, max_size=40), min_size=1
)


@settings(max_examples=150, deadline=None)
@given(sizes=sized, seed=seeds, equal=st.integers(0, 6))
def test_every_side_is_within_one_patient(sizes: dict[str, list[int]], seed: int, equal: int) -> None:
    fractions = [1.0] * equal if equal > 1 else FRACTIONS
    table = make_table(sizes)
    cohort = gather_patients(table)
    sides = deal_patients(cohort, fractions, make_generator(seed, "test"))
    for members, images in zip(cohort.members, cohort.images, strict=True):
        dealt = np.bincount(sides[members], minlength=len(fractions))
        shares = np.array(fractions) / sum(fractions) * len(members)
        # One patient on every side comes first; beyond that, the shares hold.
        if shares.min() >= 1:
            assert np.abs(dealt - shares).max() < 1
        elif len(members) >= len(fractions):
            assert dealt.min() >= 1
        weights = np.bincount(sides[members], weights=images, minlength=len(fractions))
        assert np.abs(weights - dealt * images.mean()).max() <= images.max()


def test_images_follow_their_patients_where_patients_differ_in_size() -> None:
    sizes = np.random.default_rng(1).geometric(0.2, 3000).tolist()
    table = make_table({"a": sizes})
    for seed in range(3):
        cohort = gather_patients(table)
        sides = deal_patients(cohort, FRACTIONS, make_generator(seed, "test"))
        images = np.bincount(sides, weights=cohort.images[0])
        assert np.abs(images - np.array(FRACTIONS) * len(table)).max() <= max(sizes)


def test_the_largest_patient_is_not_always_trained_on() -> None:
    cohort = gather_patients(make_table({"a": [9, 5, 4, 3, 3, 2, 2, 1, 1, 1]}))
    first = {int(deal_patients(cohort, FRACTIONS, make_generator(seed, "t"))[0]) for seed in range(40)}
    assert first == {0, 1, 2}


def test_labels_of_an_image_are_each_spread() -> None:
    table = make_multilabel(8000, 2500, 0)
    cohort = gather_patients(table)
    sides = deal_patients(cohort, FRACTIONS, make_generator(0, "test"))
    random = np.random.default_rng(0).permutation(sides)
    errors = {"dealt": 0.0, "random": 0.0}
    for members in cohort.members:
        wanted = np.array(FRACTIONS) * len(members)
        errors["dealt"] += np.abs(np.bincount(sides[members], minlength=3) - wanted).sum()
        errors["random"] += np.abs(np.bincount(random[members], minlength=3) - wanted).sum()
        assert np.abs(np.bincount(sides[members], minlength=3) - wanted).max() <= 0.03 * len(members) + 1
    assert errors["dealt"] < errors["random"] / 3


def test_gaps_are_dealt_again() -> None:
    # All of "z" are placed for the sake of "a", "b" and "c", often on one side or two.
    rows = [(f"{label}{number}", label) for label in "abc" for number in range(3)]
    rows += [(f"{label}0", "z") for label in "abc"]
    table = pd.DataFrame(rows, columns=["patient", "label"]).assign(id=[str(row) for row in range(len(rows))])
    cohort = gather_patients(table)
    for seed in range(30):
        sides = deal_patients(cohort, FRACTIONS, make_generator(seed, "test"))
        assert set(sides[cohort.members[3]].tolist()) == {0, 1, 2}, seed


def test_folds_are_of_one_size_also_where_no_class_divides() -> None:
    table = make_table({label: [1] * 11 for label in "abcdefgh"})
    sides = deal_patients(gather_patients(table), [1.0] * 5, make_generator(0, "folds"))
    assert sorted(np.bincount(sides).tolist()) == [17, 17, 18, 18, 18]


@given(count=st.integers(0, 500), fractions=st.lists(st.floats(0.05, 1), min_size=2, max_size=4))
def test_shares_add_up_and_leave_none_out(count: int, fractions: list[float]) -> None:
    shares = share_patients(count, fractions)
    assert sum(shares) == count
    assert min(shares) >= (count >= len(fractions))
    exact = [count * fraction / sum(fractions) for fraction in fractions]
    if min(exact) >= 1:
        assert all(abs(share - wanted) < 1 for share, wanted in zip(shares, exact, strict=True))


@given(
    quota=st.lists(st.integers(0, 9), min_size=2, max_size=5),
    counts=st.lists(st.integers(0, 9), min_size=5, max_size=5),
)
def test_slots_are_those_of_the_greedy_rule(quota: list[int], counts: list[int]) -> None:
    dealt = counts[: len(quota)]
    free = max(sum(quota) - sum(dealt), 0)
    slots = fill_slots(np.array(quota), np.array(dealt), free)
    for slot in slots.tolist():
        lack = [
            (quota[side] > 0 and dealt[side] == 0, quota[side] - dealt[side]) for side in range(len(quota))
        ]
        assert slot == lack.index(max(lack))
        dealt[slot] += 1
    assert len(slots) == free


def test_a_deal_is_unbalanced_beyond_one_patient() -> None:
    slots = np.array([0, 0, 1, 1])
    assert is_balanced(np.array([5, 1, 1, 5]), slots, 2)
    assert not is_balanced(np.array([9, 9, 9, 9, 1, 1, 1, 1]), np.repeat([0, 1], 4), 2)


@settings(max_examples=100, deadline=None)
@given(sizes=sized, seed=seeds, percent=st.floats(1, 99))
def test_every_part_of_the_order_is_stratified(
    sizes: dict[str, list[int]], seed: int, percent: float
) -> None:
    cohort = gather_patients(make_table(sizes))
    places, order = order_patients(cohort, make_generator(seed, "test"))
    assert (np.diff(places[order]) >= 0).all()
    for members in cohort.members:
        inside = (places[members] <= percent / 100).sum()
        assert abs(inside - percent / 100 * len(members)) <= 0.5 + 1e-9


def test_the_order_is_stratified_for_labels_that_meet() -> None:
    cohort = gather_patients(make_multilabel(8000, 2500, 1))
    places, _ = order_patients(cohort, make_generator(0, "test"))
    for members in cohort.members:
        for part in (0.1, 0.3, 0.5):
            spread = 0.02 * len(members) + 2
            assert abs((places[members] <= part).sum() - part * len(members)) <= spread


def test_leading_patients_are_the_first_of_labels_that_nobody_has() -> None:
    cohort = gather_patients(make_table({"a": [1, 1], "b": [4, 1], "c": [9]}))
    order = np.arange(5)  # a0, a1, b0, b1, c0
    nobody = np.zeros(5, dtype=bool)
    assert lead_labels(cohort, order, nobody) == [4, 0, 2]
    assert lead_labels(cohort, order, np.array([0, 1, 0, 0, 0], dtype=bool)) == [4, 2]
    assert lead_labels(cohort, order, nobody, np.array([1, 1, 0, 1, 0])) == [0, 3]


@pytest.mark.slow
def test_other_processes_deal_the_same() -> None:
    code = (
        "import hashlib, pandas as pd\n"
        "from medzoo.data.splitting.splits import split_patients\n"
        "from medzoo.data.splitting.subsets import nest_fractions, deal_folds, take_shots, take_size\n"
        "rows = [(f'{n:03d}', str(n * 7 % 61), 'a|b' if n % 5 == 0 else 'abc'[n % 3]) for n in range(300)]\n"
        "table = pd.DataFrame(rows, columns=['id', 'patient', 'label'])\n"
        "folds = deal_folds(table, 4, 9)\n"
        "table['split'] = split_patients(table, seed=9)\n"
        "parts = [table['split'], folds, nest_fractions(table, 9), take_shots(table, 5, 9), take_size(table, 50, 9)]\n"
        "print(hashlib.sha256(repr([list(part) for part in parts]).encode()).hexdigest())\n"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1
