"""Subsets: nested, whole patients, stratified, nothing outside the training split; folds that cover everything."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.data.splitting.splits import split_patients
from medzoo.data.splitting.subsets import (
    LEVELS,
    choose_rows,
    deal_folds,
    nest_fractions,
    take_shots,
    take_size,
)
from medzoo.errors import ConfigError, DataError

seeds = st.integers(0, 2**32)


@st.composite
def tables(draw: st.DrawFn, labels: str = "abc", fewest: int = 3) -> pd.DataFrame:
    """Draw a table of patients of one label each, with a few rows outside training and some in unknown order."""
    rows: list[tuple[str, str, str]] = []
    for label in labels:
        for number, count in enumerate(draw(st.lists(st.integers(1, 6), min_size=fewest, max_size=30))):
            rows += [(f"{label}{number}", label, "train")] * count
    rows += [(f"other{number}", label, "test") for number, label in enumerate(labels)]
    table = pd.DataFrame(rows, columns=["patient", "label", "split"])
    table["id"] = [f"image{number}" for number in range(len(table))]
    return table.sample(frac=1, random_state=draw(st.integers(0, 99))).reset_index(drop=True)


def count_patients(table: pd.DataFrame) -> dict[str, int]:
    return table.groupby("label")["patient"].nunique().to_dict()


@settings(max_examples=80, deadline=None)
@given(table=tables(), seed=seeds)
def test_fractions_are_nested_of_whole_patients_and_stratified(table: pd.DataFrame, seed: int) -> None:
    table["fraction"] = nest_fractions(table, seed)
    training = table[table["split"] == "train"]
    assert (table["fraction"][table["split"] != "train"] == "").all()
    assert set(training["fraction"]) <= {str(level) for level in LEVELS}
    assert (training.groupby("patient")["fraction"].nunique() == 1).all()
    everyone = count_patients(training)
    before: set[str] = set()
    for level in LEVELS:
        rows = choose_rows(table, fraction=level).rows
        chosen = table.iloc[rows]
        assert set(chosen["id"]) >= before
        before = set(chosen["id"])
        assert (chosen["split"] == "test").sum() == 3
        inside = count_patients(chosen[chosen["split"] == "train"])
        for label, count in everyone.items():
            assert inside[label] >= 1
            assert abs(inside[label] - count * level / 100) <= 1
    assert len(before) == len(table)


@settings(max_examples=80, deadline=None)
@given(table=tables(), seed=seeds, data=st.data())
def test_a_size_is_met_from_below_with_whole_patients(
    table: pd.DataFrame, seed: int, data: st.DataObject
) -> None:
    training = table[table["split"] == "train"]
    sizes = training.groupby("patient").size()
    size = data.draw(st.integers(18, max(18, len(training))))
    if size > len(training):
        return
    table["split"] = take_size(table, size, seed)
    kept = table[table["split"] == "train"]
    assert len(kept) <= size
    assert kept.groupby("patient").size().equals(sizes[sorted(set(kept["patient"]))])
    assert set(kept["label"]) == set("abc")
    left = sizes.drop(sorted(set(kept["patient"])))
    assert not (left <= size - len(kept)).any()  # nobody who was left out would have fitted
    assert (table["split"] == "test").sum() == 3


def test_a_size_keeps_the_classes_shares() -> None:
    labels = ["a"] * 800 + ["b"] * 200
    table = pd.DataFrame({"id": [str(row) for row in range(1000)], "label": labels, "split": "train"})
    for size in (10, 100, 555):
        kept = table[take_size(table, size, 4) == "train"]
        assert len(kept) == size
        assert abs((kept["label"] == "b").sum() - size / 5) <= 1


def test_sizes_without_room_are_refused() -> None:
    table = pd.DataFrame({"id": list("123456"), "label": list("aaabbc"), "split": "train"})
    assert sorted(table["label"][take_size(table, 3) == "train"]) == ["a", "b", "c"]
    with pytest.raises(DataError, match=r"has no room for a patient of every class: none of 'a'"):
        take_size(table, 2)
    with pytest.raises(DataError, match="a subset of 7 of 6 training images; expected 1 to 6"):
        take_size(table, 7)


@settings(max_examples=80, deadline=None)
@given(table=tables(), seed=seeds, shots=st.integers(1, 3))
def test_shots_are_of_as_many_patients_as_there_are(table: pd.DataFrame, seed: int, shots: int) -> None:
    splits = take_shots(table, shots, seed)
    kept = table[splits == "train"]
    assert kept["label"].value_counts().to_dict() == dict.fromkeys("abc", shots)
    everyone = count_patients(table[table["split"] == "train"])
    assert count_patients(kept) == {label: min(shots, count) for label, count in everyone.items()}
    assert (splits == "test").sum() == 3
    order = np.random.default_rng(seed).permutation(len(table))
    assert take_shots(table.iloc[order], shots, seed).tolist() == splits[order].tolist()


def test_more_shots_than_patients_are_shared_evenly() -> None:
    table = pd.DataFrame({"patient": list("1112233") + ["4"] * 5, "label": ["a"] * 7 + ["b"] * 5})
    table = table.assign(id=[str(row) for row in range(12)], split="train")
    kept = table[take_shots(table, 5) == "train"]
    assert sorted(kept[kept["label"] == "a"].groupby("patient").size()) == [1, 2, 2]
    with pytest.raises(
        DataError, match=r"label 'b' has 5 training images; expected 6 or more; try --shots 5"
    ):
        take_shots(table, 6)


def test_shots_of_labels_that_meet_count_the_images_that_rarer_ones_brought() -> None:
    labels = ["a|b"] * 4 + ["b"] * 20 + [""] * 9 + ["c"] * 6
    table = pd.DataFrame({"id": [f"{row:02d}" for row in range(39)], "label": labels, "split": "train"})
    kept = table["label"][take_shots(table, 4) == "train"].value_counts().to_dict()
    assert kept == {"a|b": 4, "": 4, "c": 4}
    kept = table["label"][take_shots(table, 3) == "train"].value_counts().to_dict()
    assert sum(count for label, count in kept.items() if "b" in label) == 3


@settings(max_examples=60, deadline=None)
@given(table=tables(fewest=5), seed=seeds, folds=st.integers(3, 5))
def test_folds_cover_all_rows_by_patient_and_label(table: pd.DataFrame, seed: int, folds: int) -> None:
    table = table[table["split"] == "train"].drop(columns="split").reset_index(drop=True)
    table["fold"] = deal_folds(table, folds, seed)
    assert (table.groupby("patient")["fold"].nunique() == 1).all()
    everyone = count_patients(table)
    tested: list[str] = []
    for fold in range(1, folds + 1):
        choice = choose_rows(table, fold=fold)
        assert choice.split is not None
        assert len(choice.rows) == len(table)
        for label, count in count_patients(table[table["fold"] == str(fold)]).items():
            assert abs(count - everyone[label] / folds) < 1
        assert (choice.split[table["fold"] == str(fold)] == "test").all()
        assert (choice.split[table["fold"] == str(fold % folds + 1)] == "validation").all()
        assert (choice.split == "train").sum() == (
            ~table["fold"].isin([str(fold), str(fold % folds + 1)])
        ).sum()
        tested += table["id"][choice.split == "test"].tolist()
    assert sorted(tested) == sorted(table["id"])


def test_a_given_test_split_stays_out_of_the_folds() -> None:
    splits = ["train"] * 6 + ["validation"] * 2 + ["test"] * 3 + ["unused"]
    table = pd.DataFrame(
        {"id": [f"{row:02d}" for row in range(12)], "label": ["a", "b"] * 6, "split": splits}
    )
    table["fold"] = deal_folds(table, 2, 0)
    assert table["fold"].tolist()[8:] == [""] * 4
    choice = choose_rows(table, fold=2)
    assert choice.split is not None
    assert choice.rows.tolist() == list(range(11))
    assert choice.split.tolist()[8:] == ["test"] * 3
    assert (choice.split == "validation").tolist() == (table["fold"] == "2").tolist()[:11]
    assert choice.notes == ("rows of no split, left out: 1", "splits: those of fold 2")


def test_folds_that_cannot_be_dealt_are_refused() -> None:
    table = pd.DataFrame({"id": list("12345678"), "label": list("aaaabbbb")})
    with pytest.raises(ConfigError, match="2 folds; expected 3 or more"):
        deal_folds(table, 2)
    with pytest.raises(DataError, match="label 'a' has 4 patients, too few for 5 folds"):
        deal_folds(table, 5)


PARTS = {"id": list("12345"), "label": list("abaab"), "split": ["train"] * 3 + ["validation", "test"]}


@pytest.mark.parametrize(
    ("extra", "asked", "words"),
    [
        ({}, {"fraction": 10}, "no column 'fraction'"),
        (
            {"fraction": ["1", "10", "100", "", ""]},
            {"fraction": 30},
            "there is no fraction of 30 %; expected",
        ),
        ({"fraction": ["1", "ten", "100", "", ""]}, {"fraction": 10}, "image '2' has the fraction 'ten'"),
        ({}, {"fold": 1}, "no column 'fold'"),
        ({"fold": list("12312")}, {"fold": 4}, "there is no fold 4; expected 1 to 3"),
        ({"fold": list("02312")}, {"fold": 1}, "the column 'fold' holds '0', '1', '2', '3'"),
        ({"fold": list("12312")}, {"fold": 1, "fraction": 1}, "--fraction and --test-fold together"),
    ],
)
def test_rows_that_a_table_does_not_know_are_refused(
    extra: dict[str, list[str]], asked: dict[str, int], words: str
) -> None:
    with pytest.raises((DataError, ConfigError), match=words):
        choose_rows(pd.DataFrame(PARTS | extra), **asked)


def test_without_a_wish_all_rows_of_a_split_are_chosen() -> None:
    table = pd.DataFrame(PARTS | {"fold": ["x"] * 5})
    choice = choose_rows(table)
    assert choice.rows.tolist() == [0, 1, 2, 3, 4]
    assert choice.notes == ()
    table.loc[1, "split"] = "unused"
    choice = choose_rows(table)
    assert choice.rows.tolist() == [0, 2, 3, 4]
    assert choice.split is not None
    assert choice.split.tolist() == ["train", "train", "validation", "test"]
    assert choose_rows(table.drop(columns="split")).split is None


def test_fractions_are_of_the_training_patients_that_a_split_left() -> None:
    table = pd.DataFrame({"id": [f"{row:03d}" for row in range(200)], "label": ["a", "b"] * 100})
    table["split"] = split_patients(table, seed=1)
    table["fraction"] = nest_fractions(table, 1)
    choice = choose_rows(table, fraction=10)
    assert choice.split is not None
    assert choice.split.value_counts().to_dict() == {"train": 14, "validation": 20, "test": 40}
    assert choice.notes == ("training: 14 images of 10 % of the patients",)
    assert nest_fractions(table, 2).tolist() != table["fraction"].tolist()
