"""Covariances of windows: measured, resized, drawn from; the same from values and from a moments file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import medzoo
from medzoo import moments as measuring
from medzoo.errors import PlanError, WeightsError
from medzoo.tensors import LazyTensor, Moments, Role, Source, TensorSpec, lazy_tensor
from medzoo.transplant import covariance as covariances
from medzoo.transplant.covariance import (
    draw_filters,
    measure_covariance,
    resize_covariance,
)
from medzoo.transplant.draws import draw_normal
from medzoo.weights.dialects.entry import Entry, join_pieces, view
from medzoo.weights.formats import moments

NAME = "conv_dw_1/kernel"


def make_covariance(positions: int, rank: int | None = None, seed: int = 0) -> np.ndarray:
    """Make a covariance of a rank, full if none is given."""
    parts = np.random.default_rng(seed).normal(size=(positions, rank or positions))
    return parts @ parts.T / positions


def make_kernel(shape: tuple[int, ...] = (3, 3, 24, 1), seed: int = 0) -> np.ndarray:
    """Make filters whose positions vary together."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(math.prod(shape[:2]),) * 2)
    return (mixing @ rng.normal(0.3, 1, (len(mixing), math.prod(shape[2:])))).reshape(shape).astype("float32")


# --- measuring -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 3, 24, 1), (3, 5, 4, 2), (7, 7, 3, 64), (1, 7, 5, 5), (3, 3, 1, 1)])
@pytest.mark.parametrize("block", [7, 2**20])
def test_a_covariance_is_numpy_s(shape: tuple[int, ...], block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "MEASURING_BLOCK", block)
    kernel = make_kernel(shape)
    measured = measure_covariance(kernel)
    filters = kernel.reshape(shape[0] * shape[1], -1).astype("float64")
    assert measured.dtype == "float64"
    assert np.allclose(measured, np.cov(filters, bias=True), rtol=1e-9, atol=1e-10)
    assert np.array_equal(measured, measured.T)


def test_a_covariance_does_not_depend_on_the_memory_layout() -> None:
    kernel = make_kernel((5, 5, 6, 7))
    assert np.array_equal(measure_covariance(np.asfortranarray(kernel)), measure_covariance(kernel))
    turned = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)).transpose(2, 3, 1, 0)
    assert np.array_equal(measure_covariance(turned), measure_covariance(kernel))


def test_no_filters_have_a_covariance_of_zero() -> None:
    assert np.array_equal(measure_covariance(np.zeros((2, 2, 0, 4))), np.zeros((4, 4)))


# --- resizing ------------------------------------------------------------------------------------------------


def resize_filter(values: np.ndarray, new: tuple[int, int]) -> np.ndarray:
    """Resize one filter (h, w), bilinear with half-pixel centres, place by place."""
    made = np.empty(new)
    for row in range(new[0]):
        for column in range(new[1]):
            y = min(max((row + 0.5) * values.shape[0] / new[0] - 0.5, 0), values.shape[0] - 1)
            x = min(max((column + 0.5) * values.shape[1] / new[1] - 0.5, 0), values.shape[1] - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, values.shape[0] - 1), min(left + 1, values.shape[1] - 1)
            above = values[top, left] * (1 - (x - left)) + values[top, right] * (x - left)
            below = values[bottom, left] * (1 - (x - left)) + values[bottom, right] * (x - left)
            made[row, column] = above * (1 - (y - top)) + below * (y - top)
    return made


@pytest.mark.parametrize(
    ("old", "new"), [((3, 3), (7, 7)), ((7, 7), (3, 3)), ((3, 5), (4, 2)), ((1, 3), (3, 3))]
)
def test_a_resized_covariance_is_that_of_resized_filters(old: tuple[int, int], new: tuple[int, int]) -> None:
    kernel = make_kernel((*old, 10, 3)).astype("float64")
    resized = [resize_filter(filter_, new) for filter_ in kernel.reshape(*old, -1).transpose(2, 0, 1)]
    expected = measure_covariance(np.stack(resized, axis=-1)[..., None])
    assert np.allclose(
        resize_covariance(measure_covariance(kernel), old, new), expected, rtol=1e-9, atol=1e-10
    )


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 7), st.integers(1, 7), st.integers(0, 99))
def test_what_is_resized_is_a_covariance(h: int, w: int, height: int, width: int, seed: int) -> None:
    given_ = make_covariance(h * w, rank=1 + seed % 3, seed=seed)
    resized = resize_covariance(given_, (h, w), (height, width))
    assert resized.shape == (height * width,) * 2
    assert np.array_equal(resized, resized.T)
    assert np.linalg.eigvalsh(resized).min() >= -1e-10 * np.abs(given_).max()


def test_the_same_window_changes_nothing() -> None:
    given_ = measure_covariance(make_kernel((3, 5, 30, 1)))
    assert np.array_equal(resize_covariance(given_, (3, 5), (3, 5)), given_)


def test_a_covariance_of_another_window_is_refused() -> None:
    with pytest.raises(PlanError, match=r"a covariance of 9×9; expected 25×25 for a window of 5×5"):
        resize_covariance(np.eye(9), (5, 5), (3, 3))
    with pytest.raises(PlanError, match=r"windows of 3×3 and 0×3"):
        resize_covariance(np.eye(9), (3, 3), (0, 3))


# --- drawing -------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 9))
def test_drawn_filters_have_the_covariance(seed: int, rank: int) -> None:
    wanted = make_covariance(9, rank, seed=seed % 1000)
    count = 20_000
    drawn = draw_filters(seed, NAME, (3, 3, count, 1), wanted).reshape(9, -1).astype("float64")
    # A covariance of n normal draws varies by √((Σ_pp·Σ_qq + Σ_pq²)/n); six of that for 45 of them, twenty times.
    error = np.sqrt((np.outer(wanted.diagonal(), wanted.diagonal()) + wanted**2) / count)
    assert (np.abs(drawn @ drawn.T / count - wanted) <= 6 * error + 1e-6).all()
    assert (np.abs(drawn.mean(axis=1)) <= 6 * np.sqrt(wanted.diagonal() / count) + 1e-6).all()


def test_a_multiple_of_the_identity_gives_the_independent_draw() -> None:
    shape = (3, 3, 16, 4)
    drawn = draw_filters(5, NAME, shape, 0.25 * np.eye(9))
    assert np.array_equal(drawn, draw_normal(5, NAME, shape, 0.0, 0.5))


def test_a_draw_is_keyed_by_seed_and_name_and_made_in_any_number_of_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = make_covariance(9)
    made = draw_filters(1, NAME, (3, 3, 50, 1), wanted)
    assert made.dtype == "float32"
    assert not np.array_equal(made, draw_filters(2, NAME, (3, 3, 50, 1), wanted))
    assert not np.array_equal(made, draw_filters(1, "other/kernel", (3, 3, 50, 1), wanted))
    monkeypatch.setattr(covariances, "FILTERS_AT_ONCE", 7)
    assert draw_filters(1, NAME, (3, 3, 50, 1), wanted).tobytes() == made.tobytes()


def test_the_values_of_a_draw_never_change() -> None:
    """Published plans are drawn again to the bit."""
    made = draw_filters(0, NAME, (2, 1, 2, 1), np.array([[4.0, 2.0], [2.0, 9.0]]))
    standard = draw_normal(0, NAME, (2, 1, 2, 1), 0.0, 1.0).astype("float64")
    second = 3 * standard[1]  # the larger variance comes first, and explains what it shares
    first = 2 / 3 * standard[1] + math.sqrt(4 - 4 / 9) * standard[0]
    assert np.allclose(made, np.stack([first, second]), rtol=1e-6)


def test_fewer_filters_than_positions_can_be_drawn_from() -> None:
    wanted = measure_covariance(make_kernel((7, 7, 24, 1)))
    drawn = draw_filters(0, NAME, (7, 7, 5000, 1), wanted)
    assert np.linalg.matrix_rank(drawn.reshape(49, -1), rtol=1e-4) == 23
    assert np.array_equal(draw_filters(0, NAME, (3, 3, 4, 1), np.zeros((9, 9))), np.zeros((3, 3, 4, 1)))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (np.eye(4), "a covariance of 4×4; expected 9×9 for a window of 3×3"),
        (np.full((9, 9), np.nan), "no covariance of a 3×3 window; expected finite and symmetric"),
        (np.triu(np.ones((9, 9))), "no covariance of a 3×3 window; expected finite and symmetric"),
        (np.ones((9, 9)) - 0.01 * np.eye(9), "gives some combination of positions a variance below 0"),
        (-np.eye(9), "gives some combination of positions a variance below 0"),
    ],
)
def test_what_is_no_covariance_of_the_window_is_refused(wanted: np.ndarray, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        draw_filters(0, NAME, (3, 3, 8, 1), wanted)


def test_a_kernel_without_a_window_is_refused() -> None:
    with pytest.raises(PlanError, match=r"'head/kernel' of 2 axes; expected a kernel \(height, width"):
        draw_filters(0, "head/kernel", (3, 3), np.eye(9))


# --- tensors and moments files -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 24, 48), (3, 3, 3), (40, 50), (16, 15, 2, 1), (3, 3, 0, 1)])
def test_a_tensor_without_a_window_has_no_covariance(shape: tuple[int, ...]) -> None:
    source = medzoo.source_from_arrays({"a/kernel": np.zeros(shape, "float32")})
    assert source["a/kernel"].covariance is None


def test_a_view_has_the_covariance_of_what_it_gives() -> None:
    """Turned kernels measure their own values: positions in another order covary otherwise."""
    kernel = make_kernel((3, 3, 24, 1))
    theirs = np.ascontiguousarray(kernel.transpose(2, 3, 0, 1))
    tensor = lazy_tensor(TensorSpec("dw.weight", theirs.shape, "float32", Role.OTHER), lambda: theirs)
    turned = view(tensor, Entry("dw.weight", NAME, axes=(2, 3, 0, 1)), NAME)
    assert turned.covariance is not None
    assert np.array_equal(turned.covariance(), measure_covariance(kernel))
    mirrored = view(tensor, Entry("dw.weight", NAME, axes=(3, 2, 0, 1)), NAME)
    assert mirrored.covariance is not None
    assert not np.array_equal(mirrored.covariance(), turned.covariance())
    renamed = view(turned, Entry(NAME, "b/kernel"), "b/kernel")
    assert renamed.covariance is not None
    assert np.array_equal(renamed.covariance(), measure_covariance(kernel))


def test_a_turned_tensor_without_values_has_no_covariance() -> None:
    spec = TensorSpec(NAME, (3, 3, 24, 1), "float32", Role.KERNEL)
    tensor = LazyTensor(spec, list, lambda: Moments(0.0, 1.0), False, covariance=lambda: np.eye(9))  # type: ignore[arg-type]
    entry = Entry("dw.weight", NAME, axes=(2, 3, 0, 1))
    assert view(tensor, Entry(NAME, "b/kernel"), "b/kernel").covariance is not None
    assert view(tensor, Entry(NAME, "b/kernel", axes=(1, 0, 2, 3)), "b/kernel").covariance is None
    assert join_pieces("dw.weight", {0: (entry, tensor)}).covariance is None


def write(path: Path, arrays: dict[str, np.ndarray]) -> Source:
    """Write the moments of arrays, and open them."""
    moments.write_moments(medzoo.source_from_arrays(arrays), path)
    return medzoo.open_weights(path)


def test_a_moments_file_has_the_covariances_of_depthwise_kernels_exactly(tmp_path: Path) -> None:
    arrays = {
        "a/kernel": make_kernel((3, 3, 24, 1), 1),
        "b/depthwise_kernel": make_kernel((5, 3, 8, 2), 2),
        "b/pointwise_kernel": make_kernel((1, 1, 16, 4), 3),
        "c/kernel": make_kernel((3, 3, 4, 8), 4),
        "c/bias": np.zeros(8, "float32"),
        "mask/kernel": make_kernel((1, 1, 8, 1), 5),
    }
    source = write(tmp_path / "a.moments.json", arrays)
    with_covariance = {name for name, tensor in source.items() if tensor.covariance is not None}
    assert with_covariance == {"a/kernel", "b/depthwise_kernel"}
    for name in with_covariance:
        measured = source[name].covariance
        assert measured is not None
        assert measured().tobytes() == measure_covariance(arrays[name]).tobytes()
        drawn = [
            draw_filters(3, name, source[name].spec.shape, each)
            for each in (measured(), measure_covariance(arrays[name]))
        ]
        assert drawn[0].tobytes() == drawn[1].tobytes()
    # Moments of moments lose nothing.
    moments.write_moments(source, tmp_path / "b.moments.json")
    first, second = (json.loads((tmp_path / f"{name}.moments.json").read_text()) for name in "ab")
    assert first["version"] == 2
    assert first["covariances"] == second["covariances"]


def test_a_file_without_depthwise_kernels_is_of_version_1(tmp_path: Path) -> None:
    write(tmp_path / "a.moments.json", {"c/kernel": make_kernel((3, 3, 4, 8))})
    content = json.loads((tmp_path / "a.moments.json").read_text())
    assert content["version"] == 1
    assert "covariances" not in content


def test_the_digest_is_that_of_the_rows(tmp_path: Path) -> None:
    """A plan made from a file of version 1 is replayed from the same weights' file of version 2."""
    path = tmp_path / "a.moments.json"
    source = write(path, {"a/kernel": make_kernel()})
    content = json.loads(path.read_text())
    del content["covariances"]
    path.write_text(json.dumps(content | {"version": 1}))
    again = medzoo.open_weights(path)
    assert again.digest == source.digest
    assert again["a/kernel"].covariance is None
    assert again["a/kernel"].moments() == source["a/kernel"].moments()


def test_other_names_than_keras_s_are_not_taken_for_windows(tmp_path: Path) -> None:
    """(outputs, inputs, 7, 1) of another framework looks like a window of outputs × inputs."""
    spec = TensorSpec("conv.weight", (4, 4, 7, 1), "float32", Role.KERNEL)
    assert not moments.is_depthwise(spec)
    assert moments.is_depthwise(TensorSpec("conv/kernel", spec.shape, "float32", Role.KERNEL))


def test_the_bundled_covariances_are_those_of_the_weights(shared_weights: Path) -> None:
    bundled = medzoo.open_weights("mobilenet_075.imagenet", values=False)
    weights = medzoo.open_weights(shared_weights / "mobilenet_7_5_224_tf.h5")
    names = [name for name, tensor in bundled.items() if tensor.covariance is not None]
    assert names == [f"conv_dw_{number}/kernel" for number in range(1, 14)]
    for name in names:
        covariance = bundled[name].covariance
        assert covariance is not None
        assert np.array_equal(covariance(), measure_covariance(weights[name].read()))
        # Together with the filters' means they explain the deviation that stands in the row.
        means = weights[name].read().astype("float64").mean(axis=(2, 3))
        variance = covariance().diagonal().mean() + means.var()
        assert variance == pytest.approx(bundled[name].moments().deviation ** 2, rel=1e-9)


def damage(content: dict, how: str) -> None:
    """Damage a table of covariances."""
    table = content["covariances"]
    triangle = table["a/kernel"]
    match how:
        case "another name":
            table["b/kernel"] = table.pop("a/kernel")
        case "a number less":
            triangle.pop()
        case "a bias":
            table["a/bias"] = triangle
        case "no table":
            content["covariances"] = triangle
        case "no list":
            table["a/kernel"] = 1.0
        case "a table of tables":
            table["a/kernel"] = [[number] for number in triangle]
        case _:
            triangle[0] = {"text": "x", "none": None, "infinite": math.inf, "below 0": -1.0, "huge": 10**400}[
                how
            ]


DAMAGES = (
    *("another name", "a number less", "a bias", "no table", "no list", "a table of tables"),
    *("text", "none", "infinite", "below 0", "huge"),
)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_table_of_covariances_is_refused(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.moments.json"
    write(path, {"a/kernel": make_kernel(), "a/bias": np.zeros(24, "float32")})
    content = json.loads(path.read_text())
    damage(content, how)
    path.write_text(json.dumps(content))
    with pytest.raises(WeightsError, match="is no whole moments file"):
        medzoo.open_weights(path)
