"""What the table alone says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medzoo.data.audit.check import check_table
from medzoo.data.audit.findings import KINDS
from medzoo.data.audit.report import to_json
from medzoo.data.dataset import Listing


def make_listing(**columns: list[str]) -> Listing:
    """A listing of as many images as the columns are long."""
    count = len(next(iter(columns.values())))
    return Listing("chest", pd.DataFrame({"id": [str(row) for row in range(count)], **columns}), ())


def test_prevalence_of_exclusive_classes() -> None:
    audit = check_table(make_listing(split=["train", "train", "train", "test"], label=["a", "b", "a", "b"]))
    rows = {
        (row.split, row.label): (row.positives, row.negatives, row.unknown, row.share)
        for row in audit.prevalence
    }
    assert rows["train", "a"] == (2, 1, 0, 2 / 3)
    assert rows["test", "a"] == (0, 1, 0, 0.0)
    assert audit.splits == {"train": 3, "test": 1}


def test_prevalence_of_several_labels_leaves_out_what_nobody_annotated() -> None:
    marks = np.array([[1, np.nan], [0, np.nan], [1, 1], [np.nan, np.nan]], np.float32)
    table = pd.DataFrame(
        {"id": list("1234"), "split": ["train"] * 3 + ["test"], "label": ["x", "", "x|y", ""]}
    )
    audit = check_table(Listing("chest", table, (), classes=("x", "y"), marks=marks))
    rows = {
        (row.split, row.label): (row.positives, row.negatives, row.unknown, row.share)
        for row in audit.prevalence
    }
    assert rows["train", "x"] == (2, 1, 0, 2 / 3)
    assert rows["train", "y"] == (1, 0, 2, 1.0)
    assert rows["test", "y"] == (0, 0, 1, None)


def test_patients_on_both_sides_are_an_error() -> None:
    audit = check_table(
        make_listing(
            split=["train", "test", "train", "test", "train"],
            label=["a", "a", "b", "b", "b"],
            patient=["p", "p", "q", "", ""],
        )
    )
    (leak,) = audit.errors
    assert leak.kind == "patient_leak"
    assert leak.names == ("p",)
    assert leak.ids == ("0", "1")
    assert audit.patients == 2


def test_unknown_patients_are_no_leak_but_a_note() -> None:
    audit = check_table(make_listing(split=["train", "test"], label=["a", "a"]))
    assert not audit.errors
    assert audit.of_kind("no_patients")
    assert audit.patients is None


def test_a_patient_of_several_classes_is_a_note() -> None:
    audit = check_table(make_listing(label=["a", "b", "a"], patient=["p", "p", "q"]))
    (finding,) = audit.of_kind("patient_labels")
    assert finding.severity == "note"
    assert finding.names == ("p",)
    assert audit.of_kind("no_splits")


def test_a_class_that_a_split_lacks() -> None:
    audit = check_table(make_listing(split=["train", "train", "test"], label=["a", "b", "a"]))
    (finding,) = audit.of_kind("absent_class")
    assert finding.names == ("b",)
    assert "test split" in finding.message


@pytest.mark.parametrize(("positives", "small"), [(9, True), (10, False)])
def test_fewer_than_ten_positives_are_too_few(positives: int, small: bool) -> None:
    labels = ["no"] * 30 + ["yes"] * positives
    audit = check_table(make_listing(split=["test"] * len(labels), label=labels))
    assert bool(audit.of_kind("small_class")) is small


def test_small_groups_are_counted_in_the_test_split_alone() -> None:
    sexes = ["F"] * 40 + ["M"] * 80
    labels = (["no", "yes"] * 20) + ["no"] * 35 + ["yes"] * 45
    audit = check_table(make_listing(split=["test"] * 80 + ["train"] * 40, label=labels, sex=sexes))
    (finding,) = audit.of_kind("small_group")
    assert finding.names == ("sex",)
    assert "1 of 2 groups" in finding.message
    assert "M (5 positive, 35 negative)" in finding.message
    assert set(finding.ids) == {str(row) for row in range(40, 80)}


def test_measurements_are_no_groups() -> None:
    count = 60
    ages, few = [str(row) for row in range(count)], [str(row % 15) for row in range(count)]
    audit = check_table(make_listing(split=["test"] * count, label=["no", "yes"] * 30, age=ages, beds=few))
    assert not audit.of_kind("small_group")


def test_missing_values_are_counted_whatever_they_are_called() -> None:
    audit = check_table(make_listing(label=["a"] * 4, age=["", "NaN", "61", "n/a"], sex=["F", "", "M", "F"]))
    assert [(finding.names, finding.message) for finding in audit.of_kind("missing_values")] == [
        (("age",), "age: 3 of 4 (75.0 %) missing"),
        (("sex",), "sex: 1 of 4 (25.0 %) missing"),
    ]


def test_json_has_the_same_keys_whatever_was_found() -> None:
    audit = check_table(make_listing(split=["train", "test"], label=["a", "a"], patient=["p", "p"]))
    content = to_json(audit)
    assert list(content) == [
        *("name", "images", "classes", "splits", "patients", "decoded", "thresholds", "prevalence"),
        *("findings", "pairs"),
    ]
    assert list(content["findings"][0]) == ["kind", "severity", "message", "count", "ids", "names"]
    assert content["findings"][0]["severity"] == "error"
    assert content["findings"][0]["count"] == 2
    assert {finding["kind"] for finding in content["findings"]} <= KINDS.keys()
