"""Indices as short text: written, read back, refused; taken from tensors, repeats divided."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medzoo.errors import PlanError
from medzoo.transplant.ranges import count_indices, divide_repeats, read_indices, take_ranges, write_indices


@pytest.mark.parametrize(
    ("indices", "size", "text"),
    [
        ([0, 1, 2], 3, ""),
        ([0, 1, 2], 4, "0:3"),
        ([0], 2, "0"),
        ([0], 1, ""),
        ([0, 4, 8, 12], 16, "0:16:4"),
        ([0, 3], 6, "0,3"),  # two do not make a run of their own step
        ([1, 2], 6, "1:3"),
        ([2, 1, 0], 3, "2,1,0"),
        ([0, 1, 2, 0], 3, "0:3,0"),
        ([0, 1, 2, 8, 9, 10], 16, "0:3,8:11"),
        ([0, 3, 6, 8, 11], 12, "0:9:3,8,11"),
        ([5, 5, 5], 6, "5,5,5"),
    ],
)
def test_the_text_of_indices(indices: list[int], size: int, text: str) -> None:
    assert write_indices(indices, size) == text
    assert read_indices(text, size).tolist() == indices
    assert count_indices(text, size) == len(indices)


@given(
    st.integers(1, 40).flatmap(
        lambda size: st.tuples(st.just(size), st.lists(st.integers(0, size - 1), min_size=1))
    )
)
def test_any_indices_read_back(drawn: tuple[int, list[int]]) -> None:
    size, indices = drawn
    assert read_indices(write_indices(np.asarray(indices), size), size).tolist() == indices


@pytest.mark.parametrize(
    "text",
    [
        *("4", "0:5", "0:1000000000000", "999999999999", "0:999999999"),  # beyond the axis, however far
        *("-1", "-2:2", "3:1", "2:2", "0:4:0", "0:4:-1", "3:0:-1"),
        *("a", "0:", ":", ",", "0,,1", "0:1:1:1", "1.5", " 1", "1_0", "٣", "0;1"),
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(PlanError, match="indices ") as error:
        read_indices(text, 4)
    assert "\n" not in str(error.value)


def test_what_is_taken_is_numpy_s_own_choice() -> None:
    values = np.random.default_rng(0).normal(size=(3, 3, 8, 6)).astype("float32")
    taken = take_ranges(values, ("", "", "0:8:2", "1:3,5,1"))
    assert taken.dtype == np.float32
    assert np.array_equal(taken, values[:, :, [0, 2, 4, 6]][..., [1, 2, 5, 1]])
    assert np.array_equal(take_ranges(values, ("", "", "", "")), values)


def test_repeats_share_the_value_of_what_they_repeat() -> None:
    kernel = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    text = "0:3,1,1"
    divided = divide_repeats(take_ranges(kernel, ("", text, "")), text, 3, 1)
    assert divided.dtype == np.float32
    assert np.array_equal(divided[:, [0, 2]], kernel[:, [0, 2]])
    assert np.array_equal(divided[:, 1], divided[:, 3])
    np.testing.assert_allclose(divided[:, [1, 3, 4]].sum(axis=1), kernel[:, 1], rtol=1e-6)
