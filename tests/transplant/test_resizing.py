"""Resizing: matrices that keep constants and ramps, positions, tables, and FlexiViT's identity for patches."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from medzoo.errors import ConfigError, PlanError
from medzoo.transplant.resizing import (
    make_resize_matrix,
    resize_grid,
    resize_patches,
    resize_positions,
    resize_table,
)

LENGTHS = st.integers(1, 40)
WAYS = st.tuples(st.sampled_from(["bilinear", "bicubic"]), st.booleans())
EVERY_WAY = pytest.mark.parametrize(
    "way",
    [(i, a) for i in ("bilinear", "bicubic") for a in (True, False)],
    ids=lambda way: f"{way[0]}-{way[1]}",
)


def make_values(*shape: int, seed: int = 0, dtype: DTypeLike = "float64") -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@settings(deadline=None)
@given(LENGTHS, LENGTHS, WAYS)
def test_rows_sum_to_one(old: int, new: int, way: tuple[str, bool]) -> None:
    matrix = make_resize_matrix(old, new, *way)
    assert (matrix.shape, matrix.dtype) == ((new, old), np.float64)
    assert np.abs(matrix.sum(axis=1) - 1).max() <= 1e-13


@settings(deadline=None)
@given(LENGTHS, WAYS)
def test_the_same_length_is_the_identity(length: int, way: tuple[str, bool]) -> None:
    assert np.array_equal(make_resize_matrix(length, length, *way), np.eye(length))


@settings(deadline=None)
@given(LENGTHS, LENGTHS, WAYS)
def test_a_line_read_backwards_resizes_backwards(old: int, new: int, way: tuple[str, bool]) -> None:
    """Half-pixel centres: no side is favoured. Centres that fall on a sample boundary may round either way."""
    matrix = make_resize_matrix(old, new, *way)
    assert np.abs(matrix - matrix[::-1, ::-1]).max() <= 1e-9


@settings(deadline=None)
@given(LENGTHS, LENGTHS, WAYS)
def test_a_ramp_stays_a_ramp_away_from_the_ends(old: int, new: int, way: tuple[str, bool]) -> None:
    """Sample i sits at i + ½; without shrinking, both kernels reproduce a straight line where they see all of it."""
    if new < old:
        old, new = new, old
    resized = make_resize_matrix(old, new, *way) @ (np.arange(old) + 0.5)
    expected = (np.arange(new) + 0.5) * old / new
    inside = (expected >= 2.5) & (expected <= old - 2.5)
    # Keys's cubic reproduces straight lines with a = −½ only.
    tolerance = 1e-12 if way != ("bicubic", False) else 0.1
    assert np.abs(resized - expected)[inside].max(initial=0) <= tolerance


def test_known_matrices() -> None:
    """Worked by hand; −¾ and −½ are the two constants, at a distance of ¼ and its complements."""
    assert make_resize_matrix(4, 2, "bilinear", antialias=False).tolist() == [
        [0.5, 0.5, 0, 0],
        [0, 0, 0.5, 0.5],
    ]
    # Triangles of half-width 2 around 1 and 3, samples at ½, 1½, 2½, 3½: weights ¾, ¾, ¼ of 7/4.
    aliased_not = make_resize_matrix(4, 2, "bilinear", antialias=True)
    assert aliased_not[0] == pytest.approx([3 / 7, 3 / 7, 1 / 7, 0])
    # Doubling: the third new sample's centre is 1¼, a quarter before the centre 1½.
    clamped = make_resize_matrix(8, 16, "bicubic", antialias=False)
    a = -0.75
    at = {
        0.25: (a + 2) / 64 - (a + 3) / 16 + 1,
        0.75: (a + 2) * 27 / 64 - (a + 3) * 9 / 16 + 1,
        1.25: a * (125 / 64 - 5 * 25 / 16 + 8 * 1.25 - 4),
        1.75: a * (343 / 64 - 5 * 49 / 16 + 8 * 1.75 - 4),
    }
    # Columns: 3 is at 3½ and row 6's centre at 3¼.
    assert clamped[6, 1:5] == pytest.approx([at[1.75], at[0.75], at[0.25], at[1.25]])
    # At the border the outer sample stands in for those that are missing.
    assert clamped[0, :2] == pytest.approx([at[1.75] + at[0.75] + at[0.25], at[1.25]])


@EVERY_WAY
def test_a_grid_is_resized_along_both_axes(way: tuple[str, bool]) -> None:
    values = make_values(5, 7, 3)
    rows, columns = make_resize_matrix(5, 9, *way), make_resize_matrix(7, 4, *way)
    expected = np.einsum("ai,bj,ijc->abc", rows, columns, values)
    assert np.abs(resize_grid(values, (9, 4), *way) - expected).max() <= 1e-12


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float32", "float64"])
def test_the_dtype_stays_and_the_sums_are_in_float64(dtype: DTypeLike) -> None:
    values = make_values(6, 6, 2, dtype=dtype)
    resized = resize_grid(values, (9, 9))
    assert resized.dtype == dtype
    assert np.array_equal(resized, resize_grid(values.astype("float64"), (9, 9)).astype(dtype))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2), WAYS)
def test_positions_keep_prefix_and_constants(old: int, new: int, prefix: int, way: tuple[str, bool]) -> None:
    values = make_values(1, prefix + old * old, 4, dtype="float32")
    resized = resize_positions(values, prefix + new * new, prefix, *way)
    assert (resized.shape, resized.dtype) == ((1, prefix + new * new, 4), np.float32)
    assert np.array_equal(resized[:, :prefix], values[:, :prefix])
    if old == new:
        assert resized is values
    values[:, prefix:] = 0.5
    assert np.abs(resize_positions(values, prefix + new * new, prefix, *way)[:, prefix:] - 0.5).max() <= 1e-6


def test_positions_are_in_reading_order() -> None:
    rows = np.repeat(np.arange(4.0), 4)  # the same along a row of the picture
    resized = resize_positions(rows.reshape(1, 16, 1), 64, 0).reshape(8, 8)
    assert np.ptp(resized, axis=1).max() <= 1e-12
    assert np.all(np.diff(resized[:, 0]) > 0)


def test_positions_of_stated_grids() -> None:
    values = make_values(1, 1 + 2 * 6, 3)
    resized = resize_positions(values, 1 + 4 * 3, 1, old_grid=(2, 6), new_grid=(4, 3))
    assert np.array_equal(
        resized[0, 1:].reshape(4, 3, 3), resize_grid(values[0, 1:].reshape(2, 6, 3), (4, 3))
    )
    assert resize_positions(values, 13, 1, old_grid=(2, 6), new_grid=(2, 6)) is values
    assert resize_positions(values, 13, 1) is values  # nothing to resize, whatever the grid
    square = make_values(1, 16, 3)
    assert resize_positions(square, 16, 0, old_grid=(4, 4)) is square
    assert resize_positions(square, 16, 0, old_grid=(2, 8)).shape == square.shape


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), WAYS)
def test_tables_are_a_grid_per_head(old: int, new: int, way: tuple[str, bool]) -> None:
    sides = 2 * old - 1, 2 * new - 1
    values = make_values(sides[0] ** 2, 3)
    resized = resize_table(values, sides[1] ** 2, *way)
    for head in range(3):
        alone = resize_grid(values[:, head].reshape(sides[0], sides[0]), (sides[1], sides[1]), *way)
        assert np.array_equal(resized[:, head], alone.ravel())
    # The middle row is the offset (0, 0), whatever the window.
    peak = np.zeros((sides[0], sides[0], 1))
    peak[old - 1, old - 1] = 1
    if old > 1:
        assert resize_table(peak.reshape(-1, 1), sides[1] ** 2, *way).argmax() == sides[1] ** 2 // 2


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 10), st.integers(1, 10), st.integers(0, 12), st.integers(0, 12), WAYS)
def test_larger_patches_are_answered_alike(
    height: int, width: int, more_rows: int, more_columns: int, way: tuple[str, bool]
) -> None:
    """⟨Bx, ŵ⟩ = ⟨x, w⟩, for x any patch and B its resizing."""
    size = height + more_rows, width + more_columns
    kernel, patches = make_values(height, width, 3, 4), make_values(height, width, 3, 20, seed=1)
    resized = resize_patches(kernel, size, *way)
    assert resized.shape == (*size, 3, 4)
    expected = np.einsum("hwio,hwin->on", kernel, patches)
    found = np.einsum("hwio,hwin->on", resized, resize_grid(patches, size, *way))
    assert np.abs(found - expected).max() <= 1e-9


@EVERY_WAY
@pytest.mark.parametrize("size", [(4, 5), (4, 9), (16, 3), (8, 2)])
def test_patches_follow_the_pseudo_inverse_of_the_whole_matrix(
    way: tuple[str, bool], size: tuple[int, int]
) -> None:
    """B column by column, as the method defines it: column i is basis patch i resized."""
    kernel = make_values(8, 6, 2, 3)
    basis = np.eye(48).reshape(8, 6, 48)
    whole = resize_grid(basis, size, *way).reshape(-1, 48)
    expected = np.linalg.pinv(whole.T) @ kernel.reshape(48, -1)
    assert np.abs(resize_patches(kernel, size, *way) - expected.reshape(*size, 2, 3)).max() <= 1e-11


def test_smaller_patches_are_answered_as_nearly_as_can_be() -> None:
    """Least squares over patches of white noise: no other filter of the new size comes nearer."""
    kernel = make_values(16, 16, 1, 1)
    small = resize_patches(kernel, 8)
    matrix = make_resize_matrix(16, 8)
    missed = matrix.T @ small[..., 0, 0] @ matrix - kernel[..., 0, 0]
    assert np.abs(matrix @ missed @ matrix.T).max() <= 1e-12  # what is missed is not of the filter's reach


def test_a_size_for_both_sides_and_an_unchanged_one() -> None:
    kernel = make_values(16, 16, 3, 2, dtype="float32")
    assert resize_patches(kernel, 16) is kernel
    assert resize_patches(kernel, 14).dtype == np.float32
    assert np.array_equal(resize_patches(kernel, 32), resize_patches(kernel, (32, 32)))


@pytest.mark.parametrize(
    ("tokens", "prefix", "new", "grids"),
    [
        (197, 0, 50, {}),  # 197 and 50 are no squares
        (197, 1, 52, {}),
        (198, 1, 50, {}),
        (1, 1, 50, {}),  # no grid at all
        (197, 1, 1, {}),
        (3, 4, 8, {}),
        (13, 1, 17, {"old_grid": (3, 5)}),
        (17, 1, 13, {"new_grid": (3, 5)}),
        (17, 1, 17, {"old_grid": (-4, -4)}),
        (17, -1, 50, {}),
    ],
)
def test_tokens_that_form_no_grid_are_refused(
    tokens: int, prefix: int, new: int, grids: dict[str, tuple[int, int]]
) -> None:
    with pytest.raises(PlanError, match=r"do not form a grid of .*; expected .*; try "):
        resize_positions(np.zeros((1, tokens, 4)), new, prefix, **grids)


@pytest.mark.parametrize(("rows", "new"), [(170, 169), (169, 172), (64, 169), (169, 64), (172, 532), (9, -1)])
def test_tables_of_no_window_are_refused(rows: int, new: int) -> None:
    with pytest.raises(PlanError, match="belongs to no window"):
        resize_table(np.zeros((rows, 3)), new)


def test_other_ranks_and_names_are_refused() -> None:
    with pytest.raises(PlanError, match="are 197×4"):
        resize_positions(np.zeros((197, 4)), 50, 1)
    with pytest.raises(PlanError, match="is 13×13×3"):
        resize_table(np.zeros((13, 13, 3)), 9)
    with pytest.raises(PlanError, match="is 16×16×3"):
        resize_patches(np.zeros((16, 16, 3)), 8)
    with pytest.raises(PlanError, match="resized to 0"):
        resize_patches(np.zeros((16, 16, 3, 1)), 0)
    with pytest.raises(ConfigError, match=r"'cubic'.*'bicubic'"):
        make_resize_matrix(2, 3, "cubic")
