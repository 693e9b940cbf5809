"""Labels: classes, lists and columns; what uncertain and blank ones become."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medzoo.data.dataset import join_labels
from medzoo.data.tables.annotations import (
    RawLabels,
    apply_policies,
    join_rows,
    merge_readers,
    read_code,
)
from medzoo.data.tables.conventions import Policy
from medzoo.data.tables.manifest import ManifestOptions, read_manifest
from medzoo.errors import DataError

Write = Callable[..., Path]
PLACE = Path("chest.csv")
POLICIES: tuple[Policy, ...] = get_args(Policy)
CODES = np.array([[1, -1], [0, 1], [-1, np.nan], [np.nan, 0]], np.float32)
CODE = st.sampled_from([1.0, 0.0, -1.0, np.nan])


def make_raw(codes: NDArray[np.float32]) -> RawLabels:
    return RawLabels(codes=codes, classes=tuple("abcdefghij"[: codes.shape[1]]))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("ones", [[1, 1], [0, 1], [1, np.nan], [np.nan, 0]]),
        ("zeros", [[1, 0], [0, 1], [0, np.nan], [np.nan, 0]]),
        ("ignore", [[1, np.nan], [0, 1], [np.nan, np.nan], [np.nan, 0]]),
        ("keep", [[1, 0, 0, 1], [0, 1, 0, 0], [0, np.nan, 1, np.nan], [np.nan, 0, np.nan, 0]]),
    ],
)
def test_uncertain_labels_become_what_is_asked(policy: Policy, expected: list[list[float]]) -> None:
    made = apply_policies(make_raw(CODES), {"*": policy}, {}, "ignore", PLACE)
    assert made.marks is not None
    np.testing.assert_array_equal(made.marks, expected)
    assert made.classes == ("a", "b", *(("a (uncertain)", "b (uncertain)") if policy == "keep" else ()))
    assert made.marks.dtype == np.float32


@pytest.mark.parametrize(
    ("policy", "expected"), [("ones", 1.0), ("zeros", 0.0), ("ignore", np.nan), ("keep", np.nan)]
)
def test_blank_labels_become_what_is_asked(policy: Policy, expected: float) -> None:
    made = apply_policies(make_raw(CODES), {}, {"a": policy}, "zeros", PLACE)
    assert made.marks is not None
    np.testing.assert_array_equal(made.marks[3, 0], expected)
    assert made.marks[2, 1] == 0  # the default, of the label that no policy names


def test_a_policy_of_its_own_stands_above_that_of_all() -> None:
    made = apply_policies(make_raw(CODES), {"*": "ones", "b": "zeros"}, {}, "zeros", PLACE)
    assert made.marks is not None
    assert made.marks[[2, 0], [0, 1]].tolist() == [1, 0]


def test_what_was_done_is_said_with_counts() -> None:
    made = apply_policies(make_raw(CODES), {"b": "ones"}, {}, "zeros", PLACE)
    assert made.notes == (
        "a: 1 uncertain ignored, 1 blank as zeros; b: 1 uncertain as ones, 1 blank as zeros",
    )
    assert apply_policies(make_raw(CODES[1:2]), {}, {}, "zeros", PLACE).notes == ()


def test_a_label_never_uncertain_is_kept_without_a_second() -> None:
    assert apply_policies(make_raw(CODES[1:2]), {"*": "keep"}, {}, "zeros", PLACE).classes == ("a", "b")


@settings(deadline=None)
@given(
    rows=st.lists(st.lists(CODE, min_size=3, max_size=3), min_size=1, max_size=20),
    uncertain=st.dictionaries(st.sampled_from(["a", "b", "c", "*"]), st.sampled_from(POLICIES)),
    blank=st.dictionaries(st.sampled_from(["a", "b", "c", "*"]), st.sampled_from(POLICIES)),
)
def test_marks_are_one_zero_or_unknown(
    rows: list[list[float]], uncertain: dict[str, Policy], blank: dict[str, Policy]
) -> None:
    codes = np.array(rows, np.float32)
    try:
        made = apply_policies(make_raw(codes), uncertain, blank, "ignore", PLACE)
    except DataError:
        assert (~np.isin(codes, (0, 1))).all(axis=0).any()  # a label that no row knows for certain
        return
    assert made.marks is not None
    assert made.marks.shape == (len(rows), len(made.classes))
    assert (np.isnan(made.marks) | np.isin(made.marks, (0, 1))).all()
    certain = np.isin(codes, (0, 1))
    np.testing.assert_array_equal(made.marks[:, :3][certain], codes[certain])
    assert made.labels.tolist() == join_labels(made.marks, made.classes)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 9))
def test_rows_are_joined_as_one_by_one(count: int, labels: int, seed: int) -> None:
    marks = np.random.default_rng(seed).integers(0, 2, (count, labels)).astype(np.float32)
    names = tuple(map(str, range(labels)))
    assert join_rows(marks, names).tolist() == join_labels(marks, names)


@pytest.mark.parametrize(
    ("text", "code"), [("1", 1), ("1.0", 1), ("0", 0), ("-1.0", -1), ("TRUE", 1), ("false", 0), ("-0", 0)]
)
def test_codes_are_read(text: str, code: float) -> None:
    assert read_code(text) == code


@pytest.mark.parametrize("text", ["", "nan", "NaN", "None", "N/A", "null"])
def test_blanks_are_read(text: str) -> None:
    code = read_code(text)
    assert code is not None
    assert np.isnan(code)


@pytest.mark.parametrize("text", ["2", "0.5", "yes", "inf", "-2", "1,0", "u", "--1"])
def test_other_codes_are_none(text: str) -> None:
    assert read_code(text) is None


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ((1, 1, 0), 1),
        ((1, 0, 0), 0),
        ((1, 0), -1),
        ((1,), 1),
        ((1, -1, 0), -1),
        ((1, -1, 1), 1),
        ((0, -1, 0), 0),
        ((1, np.nan, 1), 1),
        ((np.nan, np.nan), np.nan),
    ],
)
def test_more_than_half_of_the_readers_decide(marks: tuple[float, ...], expected: float) -> None:
    count = len(marks)
    raw = make_raw(np.array(marks, np.float32)[:, None])
    merged, first = merge_readers(raw, np.zeros(count, int), np.arange(count))
    assert merged.codes is not None
    np.testing.assert_array_equal(merged.codes, [[expected]])
    assert first.tolist() == [0]


def test_a_readers_rows_say_together_what_it_marked() -> None:
    raw = make_raw(np.array([[1, 0], [0, 1], [1, 0], [0, 0]], np.float32))
    merged, first = merge_readers(raw, np.array([0, 0, 1, 0]), np.array([7, 7, 7, 8]))
    assert merged.codes is not None
    assert merged.codes.tolist() == [[-1, -1], [1, 0]]
    assert first.tolist() == [0, 2]


def test_lists_become_marks(write_manifest: Write) -> None:
    rows = [("a", "Mass|Edema"), ("b", "no finding"), ("c", " Edema | "), ("d", "10|9")]
    listing = read_manifest(write_manifest(("file", "label"), rows))
    assert listing.classes == ("9", "10", "Edema", "Mass")
    assert listing.marks is not None
    assert listing.marks.tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0]]
    assert listing.table["label"].tolist() == ["Edema|Mass", "", "Edema", "9|10"]


def test_columns_become_marks(write_manifest: Write) -> None:
    rows = [("a", "1", "0.0", "F"), ("b", "-1", "", "M"), ("c", "", "1.0", "F")]
    path = write_manifest(("file", "Edema", "Mass", "sex"), rows)
    options = ManifestOptions(label_columns=("Mass", "Edema"), uncertain={"Edema": "ones"})
    listing = read_manifest(path, options)
    assert listing.classes == ("Mass", "Edema")
    assert listing.marks is not None
    np.testing.assert_array_equal(listing.marks, [[0, 1], [np.nan, 1], [1, np.nan]])
    assert list(listing.table) == ["id", "label", "sex"]
    assert listing.notes == ("Mass: 1 blank ignored; Edema: 1 uncertain as ones, 1 blank ignored",)
