"""Splits: no patient on two sides, every class everywhere, nothing left to the order of rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.data.dataset import join_labels
from medzoo.data.splitting.splits import (
    carve_validation,
    check_splits,
    complete_splits,
    count_classes,
    read_split,
    split_patients,
)
from medzoo.errors import DataError

seeds = st.integers(0, 2**32)


@st.composite
def manifests(draw: st.DrawFn, mixed: bool) -> pd.DataFrame:
    """Draw a manifest of 2–4 classes of 3–12 patients; `mixed` patients may have several classes."""
    rows: list[tuple[str, str]] = []
    for label in "abcd"[: draw(st.integers(2, 4))]:
        for number in range(draw(st.integers(3, 12))):
            patient = f"p{number}" if mixed else f"{label}{number}"
            rows += [(patient, label)] * draw(st.integers(1, 3))
    table = pd.DataFrame(rows, columns=["patient", "label"])
    table["id"] = [f"image{number}" for number in range(len(table))]
    unknown = draw(st.lists(st.integers(0, len(table) - 1), max_size=5))
    table.loc[unknown, "patient"] = ""
    return table


@settings(max_examples=60, deadline=None)
@given(table=st.one_of(manifests(mixed=False), manifests(mixed=True)), seed=seeds, order=seeds)
def test_no_patient_on_two_sides_in_any_order(table: pd.DataFrame, seed: int, order: int) -> None:
    splits = split_patients(table, seed=seed)
    sides = table.assign(split=splits)[table["patient"] != ""].groupby("patient")["split"].nunique()
    assert (sides == 1).all()
    assert splits.tolist() == split_patients(table, seed=seed).tolist()
    shuffled = table.sample(frac=1, random_state=order % 2**32)
    again = pd.Series(split_patients(shuffled, seed=seed), index=shuffled.index)
    assert again.sort_index().tolist() == splits.tolist()


@settings(max_examples=60, deadline=None)
@given(table=manifests(mixed=False), seed=seeds)
def test_every_class_stands_in_every_split(table: pd.DataFrame, seed: int) -> None:
    split = table.assign(split=split_patients(table, seed=seed)).groupby("label")["split"].nunique()
    assert (split == 3).all()


def make_table(counts: dict[tuple[str, str], int]) -> pd.DataFrame:
    rows = [(split, label) for (split, label), count in counts.items() for _ in range(count)]
    table = pd.DataFrame(rows, columns=["split", "label"])
    return table.assign(id=[f"image{number}" for number in range(len(table))])


def test_seeds_differ_and_fractions_hold() -> None:
    table = make_table({("", "a"): 100, ("", "b"): 50}).drop(columns="split")
    splits = split_patients(table, seed=1)
    assert splits.tolist() != split_patients(table, seed=2).tolist()
    counts = table.assign(split=splits).groupby(["label", "split"]).size().to_dict()
    assert counts == {
        **{("a", "train"): 70, ("a", "validation"): 10, ("a", "test"): 20},
        **{("b", "train"): 35, ("b", "validation"): 5, ("b", "test"): 10},
    }


def test_a_class_dealt_by_chance_to_one_side_still_reaches_the_others() -> None:
    # Three patients of "z" are dealt first, as the rare "a", "b" and "c"; the other two must fill the gaps.
    rows = [(f"{label}{number}", label) for label in "abc" for number in range(3)]
    rows += [(patient, "z") for patient in ("a0", "b0", "c0", "z1", "z2")]
    table = pd.DataFrame(rows, columns=["patient", "label"]).assign(id=[str(row) for row in range(len(rows))])
    for seed in range(100):  # one seed in 27 puts all three into validation
        sides = table.assign(split=split_patients(table, seed=seed)).groupby("label")["split"].nunique()
        assert (sides == 3).all(), seed


def test_rare_class_is_refused_by_name_and_count() -> None:
    table = make_table({("", "a"): 5, ("", "rare"): 4}).drop(columns="split")
    table["patient"] = ["1", "2", "3", "4", "5", "6", "6", "7", "7"]
    with pytest.raises(DataError, match="label 'rare' has 2 patients, too few to split"):
        split_patients(table)


def test_validation_is_carved_from_training_only_and_said_so() -> None:
    table = make_table(
        {("train", "a"): 32, ("train", "b"): 16, ("train", "c"): 1, ("test", "a"): 5, ("test", "c"): 1}
    )
    done, notes = complete_splits(table, 0, "chest.csv")
    assert (done["split"] == "test").equals(table["split"] == "test")
    assert done["label"][done["split"] == "validation"].value_counts().to_dict() == {"a": 4, "b": 2}
    assert "chest.csv has no validation split" in notes[0]


def test_carving_keeps_patients_whole() -> None:
    table = make_table({("train", "a"): 40}).assign(patient=[str(number // 4) for number in range(40)])
    table["split"] = carve_validation(table)
    assert (table.groupby("patient")["split"].nunique() == 1).all()
    assert (table["split"] == "validation").any()


def test_given_splits_are_kept_and_their_leaks_noted() -> None:
    counts = {(split, label): 2 for split in ("train", "validation", "test") for label in "ab"}
    table = make_table(counts).assign(patient=["7", "8", "9", "9", "1", "", "1", "", "7", "2", "3", "4"])
    done, notes = complete_splits(table, 0, "chest.csv")
    assert done["split"].equals(table["split"])
    assert notes == ("patients in several splits: 1, such as '7'; results may look too good",)


GIVEN = {("train", "a"): 3, ("train", "b"): 3, ("validation", "a"): 1, ("test", "a"): 2, ("test", "b"): 2}


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (GIVEN | {("train", "once"): 1}, "label 'once' is seen once"),
        (GIVEN | {("test", "late"): 2}, "label 'late' does not occur in the training split"),
        ({key: GIVEN[key] for key in GIVEN if key[0] != "test"}, "has no test rows"),
        ({key: GIVEN[key] for key in GIVEN if key[0] != "train"}, "has no train rows"),
        ({key: GIVEN[key] for key in GIVEN if key[1] == "a"}, "has 1 class;"),
    ],
)
def test_splits_that_cannot_be_trained_on_are_refused(
    counts: dict[tuple[str, str], int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        complete_splits(make_table(counts), 0, "chest.csv")


def test_one_class_in_the_test_split_is_noted_only() -> None:
    counts = {key: GIVEN[key] for key in GIVEN if key != ("test", "b")}
    _, notes = complete_splits(make_table(counts), 0, "chest.csv")
    assert notes == ("the validation split lacks 'b'", "the test split lacks 'b'")


def test_unknown_split_is_refused() -> None:
    assert [read_split(name, "") for name in ("Training", "dev", " TEST ")] == ["train", "validation", "test"]
    assert [read_split(name, "") for name in ("validate", "Unused")] == ["validation", "unused"]
    with pytest.raises(DataError, match="row 4 has the split 'trian'; expected one of 'train'"):
        read_split("trian", "row 4")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["benign", "Benign", "malignant"], "'Benign' and 'benign' differ in capitals only"),
        (["benign", "NaN", "malignant"], "the label 'NaN', which says that one is missing"),
    ],
)
def test_labels_that_are_no_classes_of_their_own_are_refused(labels: list[str], words: str) -> None:
    table = pd.DataFrame({"id": [str(row) for row in range(12)], "label": labels * 4})
    with pytest.raises(DataError, match=words):
        complete_splits(table, 0, "a.csv")


def make_marks(rows: list[list[float]]) -> tuple[pd.DataFrame, np.ndarray]:
    """Make a table of the labels a, b, c by its marks."""
    marks = np.array(rows, np.float32)
    table = pd.DataFrame({"id": [str(row) for row in range(len(marks))]})
    return table.assign(label=join_labels(marks, ("a", "b", "c"))), marks


nan = float("nan")
USUAL = [[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([1, 1, nan, 1], "label 'c' is 1 in every image that has it annotated"),
        ([0, nan, 0, 0], "label 'c' is 0 in every image that has it annotated"),
        ([nan] * 4, "label 'c' is blank or uncertain in every image"),
    ],
)
def test_a_label_of_one_value_is_refused(column: list[float], words: str) -> None:
    table, marks = make_marks([[*row[:2], value] for row, value in zip(USUAL, column, strict=True)] * 4)
    with pytest.raises(DataError, match=words):
        complete_splits(table, 0, "chest.csv", classes=("a", "b", "c"), marks=marks)


def test_labels_without_marks_are_those_that_the_table_names() -> None:
    table, _ = make_marks(USUAL * 6)
    done, notes = complete_splits(table, 0, "chest.csv")
    assert set(done["split"]) == {"train", "validation", "test"}
    assert notes[0] == "chest.csv has no splits: patients were split 70/10/20 with seed 0"
    for split in ("train", "validation", "test"):
        assert {label for text in done["label"][done["split"] == split] for label in text.split("|")} >= {
            *"abc"
        }
    with pytest.raises(DataError, match="label 'a' is 1 in every image"):
        count_classes(pd.DataFrame({"id": ["1", "2"], "label": ["a", "a|b"]}), "chest.csv", exclusive=False)


def test_a_label_that_training_has_no_image_of_is_refused() -> None:
    table, marks = make_marks(USUAL)
    table["split"] = ["test", "train", "train", "validation"]
    with pytest.raises(DataError, match="label 'c' does not occur in the training split"):
        check_splits(table, "chest.csv", exclusive=False)
    with pytest.raises(DataError, match="label 'c' does not occur in the training split"):
        complete_splits(table, 0, "chest.csv", classes=("a", "b", "c"), marks=marks)


def test_labels_that_a_split_lacks_or_has_throughout_are_noted() -> None:
    table, marks = make_marks([[1, 0, 1], [0, 1, 0], [1, 1, 0], [1, nan, 1], [0, 0, 1], [1, 0, 0]])
    table["split"] = ["train", "train", "validation", "validation", "test", "test"]
    _, notes = complete_splits(table, 0, "chest.csv", classes=("a", "b", "c"), marks=marks)
    assert notes == (
        "the validation split has no image known to be without 'a', 'b'",
        "the test split lacks 'b'",
    )


def test_images_without_a_label_are_spread_as_a_class_of_their_own() -> None:
    table, _ = make_marks([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]] * 20)
    counts = table.assign(split=split_patients(table, seed=3)).groupby(["label", "split"]).size()
    assert counts[""].to_dict() == {"train": 28, "validation": 4, "test": 8}
    # Two images without a label cannot reach three splits, and need not.
    few, _ = make_marks([[1, 0, 0], [0, 1, 0]] * 5 + [[0, 0, 0]] * 2)
    assert set(split_patients(few)) == {"train", "validation", "test"}
