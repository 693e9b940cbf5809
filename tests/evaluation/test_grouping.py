from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.grouping import AGE_EDGES, MOST_GROUPS, band, group_rows


def group(make_predictions, groups, column, bands=None):
    count = len(next(iter(groups.values())))
    rows = make_predictions(np.arange(count) % 2, np.full(count, 0.5), groups=groups)
    found = group_rows(rows, column, bands)
    return {name: indices.tolist() for name, indices in found.members.items()}, found.not_known.tolist()


def test_groups_are_the_values_of_a_column(make_predictions):
    members, unknown = group(make_predictions, {"sex": ["M", "F", "", "M"]}, "sex")
    assert members == {"sex=F": [1], "sex=M": [0, 3]}
    assert unknown == [2]


@pytest.mark.parametrize("typed", ["sex × age", "sex×age", "sex*age", "sex * age"])
def test_a_crossing_has_the_combinations_that_there_are(make_predictions, typed):
    groups = {"sex": ["M", "F", "", "M"], "age": ["30", "80", "30", "30"]}
    members, unknown = group(make_predictions, groups, typed, {"age": (18, 65)})
    assert members == {"sex=F × age=65+": [1], "sex=M × age=18–64": [0, 3]}
    assert unknown == [2]


def test_a_column_that_is_called_like_a_crossing_is_that_column(make_predictions):
    members, _ = group(make_predictions, {"a*b": ["x", "y"], "a": ["1", "2"], "b": ["1", "2"]}, "a*b")
    assert list(members) == ["a*b=x", "a*b=y"]


def test_bands_have_the_order_of_their_edges_and_not_of_their_names(make_predictions):
    members, _ = group(make_predictions, {"size": ["100", "7", "30"]}, "size", {"size": (10, 100)})
    assert list(members) == ["size=<10", "size=10–99", "size=100+"]


def test_ages_have_bands_without_being_asked(make_predictions):
    ages = [str(age) for age in range(0, 90, 5)]
    members, _ = group(make_predictions, {"age": ages}, "age")
    assert list(members) == ["age=<18", "age=18–39", "age=40–59", "age=60–79", "age=80+"]
    named, _ = group(make_predictions, {"age": ["young", "old", "old"]}, "age")
    assert list(named) == ["age=old", "age=young"]


@given(st.lists(st.floats(0, 120), min_size=1, max_size=30))
def test_every_number_lies_in_the_band_of_its_edges(numbers):
    for number, name in zip(numbers, band(np.array([repr(n) for n in numbers]), AGE_EDGES), strict=True):
        low = 0.0 if name.startswith("<") else float(str(name).rstrip("+").partition("–")[0])
        high = {0.0: 18.0, 18.0: 40.0, 40.0: 60.0, 60.0: 80.0, 80.0: np.inf}[low]
        assert low <= number < high


def test_what_is_no_number_is_in_no_band():
    assert band(np.array(["unknown", "nan", "inf", "", "5"]), [10]).tolist() == ["", "", "", "", "<10"]


def test_edges_that_are_no_whole_numbers_are_written_as_they_are():
    assert band(np.array(["1", "2", "9"]), [1.5, 2.5]).tolist() == ["<1.5", "1.5 to <2.5", "2.5+"]


def test_ages_as_dicom_writes_them_are_years():
    assert band(np.array(["045Y", "030M", "003W", "010D"]), [1, 2, 3, 40]).tolist() == [
        "40+",
        "2",
        "<1",
        "<1",
    ]


@pytest.mark.parametrize("edges", [(), (5, 5), (9, 3), (1, float("nan"))])
def test_edges_that_do_not_rise_are_refused(edges):
    with pytest.raises(ConfigError, match="numbers that rise"):
        band(np.array(["1"]), edges)


def test_bands_of_words_are_refused(make_predictions):
    with pytest.raises(DataError, match="no number in 'sex', which begins with 'F'"):
        group(make_predictions, {"sex": ["F", "M"]}, "sex", {"sex": (1,)})


def test_an_unknown_column_names_the_nearest(make_predictions):
    with pytest.raises(DataError, match="no group column 'sx'; expected one of 'sex'"):
        group(make_predictions, {"sex": ["F", "M"]}, "sx")


def test_a_column_of_names_is_no_grouping(make_predictions):
    names = [f"file{number}" for number in range(MOST_GROUPS + 1)]
    with pytest.raises(DataError, match="has 101 values"):
        group(make_predictions, {"file": names}, "file")
