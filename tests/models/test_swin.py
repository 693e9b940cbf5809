"""Swin: published counts, windows at any input, options, precision, drop path, its own layers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from medzoo.errors import ConfigError
from medzoo.models import swin
from medzoo.models.abstract import build_without_weights
from medzoo.models.rows.swin import CHANGES, ROWS, describe_row
from medzoo.models.swin import JoinWindows, MergePatches, SplitWindows, WindowAttention, lay_grid
from medzoo.specs import ModelSpec, Scalar, list_parts

#: Two stages with windows of two tokens: it builds in no time.
SMALL: dict[str, Scalar] = {**ROWS["swin_t"], "depths": "2-2", "heads": 1, "head_size": 4, "window": 2}


@pytest.fixture
def precision() -> Iterator[Any]:
    """Set a precision policy; the earlier one comes back after the test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def build(
    spec: ModelSpec, size: int | tuple[int, int] = 20, channels: int = 3, drop_path: float = 0.0
) -> keras.Model:
    """Build all parts below the head."""
    height, width = (size, size) if isinstance(size, int) else size
    inputs = keras.Input((height, width, channels), name="image")
    parts = list(swin.build_parts(spec, inputs, drop_path))
    outputs = [part.output for part in list_parts(spec.stages)[:-1]]
    assert [part._keras_history.operation.name for part in parts] == outputs
    return keras.Model(inputs, parts[-1], name="network")


def small(**changes: Scalar) -> ModelSpec:
    return describe_row("swin_t", {**SMALL, **changes})


def count(spec: ModelSpec, size: int = 224) -> int:
    """Count the backbone's weights without allocating them."""
    with build_without_weights():
        return int(build(spec, size).count_params())


@pytest.mark.parametrize(
    ("name", "width", "depths", "published"),
    [
        # timm's results/model_metadata and its model cards: param_count of swin_*_patch4_window7_224; the paper's
        # tables 1 and 7 round them to 29, 50, 88 and 197 M (the last with 1000 classes).
        ("swin_t", 96, (2, 2, 6, 2), 28_288_354),
        ("swin_s", 96, (2, 2, 18, 2), 49_606_258),
        ("swin_b", 128, (2, 2, 18, 2), 87_768_224),
        ("swin_l", 192, (2, 2, 18, 2), 196_532_476),
    ],
)
def test_published_counts(name: str, width: int, depths: tuple[int, ...], published: int) -> None:
    total = 48 * width + width + 2 * width
    for stage, depth in enumerate(depths):
        c = width * 2**stage
        # Two norms, four square dense layers, an MLP four times as wide, a table of 13 × 13 offsets a head.
        total += depth * (2 * 2 * c + 4 * (c**2 + c) + 8 * c**2 + 5 * c + 169 * (c // 32))
        total += (8 * c + 8 * c**2) if stage < 3 else 2 * c  # patch merging without bias; the final norm
    top = width * 8
    assert total + top * 1000 + 1000 == published
    spec = describe_row(name, ROWS[name])
    assert count(spec) == total
    assert count(spec, 96) == total


def test_specs() -> None:
    assert set(ROWS) == {"swin_t", "swin_s", "swin_b", "swin_l"}
    spec = describe_row("swin_t+width=2", {**ROWS["swin_t"], "width": 2.0})
    assert (spec.name, spec.row, spec.family, spec.preprocessing.name) == (
        *("swin_t+width=2", "swin_t", "swin", "torch"),
    )
    assert (spec.multiple, spec.smallest_input, spec.sized) == (4, 4, False)
    assert spec.heads == ("gap", "flatten", "none")
    assert [stage.name for stage in spec.stages] == [
        *("embed", "stage1", "downsample1", "stage2", "downsample2", "stage3", "downsample3", "stage4"),
        *("norm", "head"),
    ]
    assert [len(stage.blocks) for stage in spec.stages] == [0, 2, 0, 2, 0, 6, 0, 2, 0, 0]
    assert set(CHANGES) <= set(ROWS["swin_t"])


def test_twice_as_wide_is_twice_the_heads() -> None:
    spec = describe_row("swin_t", {**ROWS["swin_t"], "width": 2.0})
    with build_without_weights():
        model = build(spec, 224)
    assert model.output_shape == (None, 7, 7, 1536)
    assert model.get_layer("stage1_block1_positions").heads == 6


def test_layers_belong_to_one_stage_and_block_each() -> None:
    spec = small(depths="2-12")
    for layer in build(spec).layers[1:]:
        holders = [stage for stage in spec.stages if stage.holds(layer.name)]
        assert len(holders) == 1, layer.name
        if holders[0].blocks:
            assert sum(block.holds(layer.name) for block in holders[0].blocks) == 1, layer.name


def test_names_and_shapes_of_weights_do_not_hang_on_options(precision: Any) -> None:
    def name(model: keras.Model) -> list[Any]:
        layers = [layer.name for layer in model.layers]
        return [*layers, *((weight.path, weight.shape) for weight in model.weights)]

    expected = name(build(small()))
    assert name(build(small(), size=4, drop_path=0.3)) == expected
    assert name(build(small(), size=(32, 12))) == expected
    precision("mixed_bfloat16")
    assert name(build(small())) == expected


@pytest.mark.parametrize("size", [4, 8, 12, 28, 52])
def test_every_multiple_of_four_gives_finite_features(size: int) -> None:
    # 52: a map of 13, windows of 7 over 14, then 7, 4, 2 tokens.
    model = build(describe_row("swin_t", {**ROWS["swin_t"], "depths": "2-2-2-2", "head_size": 4}), size)
    side = math.ceil(size / 32)
    assert model.output_shape == (None, side, side, 96)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras warns of a softmax over the one token of the smallest maps
        given = np.asarray(model(np.ones((1, size, size, 3), "float32")))
    assert given.shape == (1, side, side, 96)
    assert np.isfinite(given).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"width": 0.5},
            "expected a factor that leaves a whole number of heads: 0.3333, 0.6667, 1, … up to 8",
        ),
        ({"width": 0.0}, "a whole number of heads"),
        ({"width": float("inf")}, "a whole number of heads"),
        ({"epsilon": 0.0}, "expected a number above 0 and at most 0.001"),
        ({"epsilon": 0.1}, "expected a number above 0 and at most 0.001"),
    ],
)
def test_refusals_name_the_allowed_values(change: dict[str, Scalar], words: str) -> None:
    with pytest.raises(ConfigError, match="swin_t") as refusal:
        describe_row("swin_t", {**ROWS["swin_t"], **change})
    assert words in str(refusal.value)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_is_finite_and_near(policy: str, precision: Any) -> None:
    keras.utils.set_random_seed(4)
    expected = build(small())
    precision(policy)
    model = build(small())
    model.set_weights(expected.get_weights())
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert str(model.output.dtype) == policy.removeprefix("mixed_")
    images = np.random.default_rng(0).normal(size=(2, 20, 20, 3)).astype("float32")
    given = np.asarray(keras.ops.cast(model(images), "float32"))
    np.testing.assert_allclose(given, np.asarray(expected(images)), atol=0.15)


def test_drop_path_acts_in_training_only_and_on_whole_images() -> None:
    keras.utils.set_random_seed(1)
    plain, model = build(small()), build(small(), drop_path=0.9)
    model.set_weights(plain.get_weights())
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    np.testing.assert_allclose(rates, [0, 0, 0.3, 0.3, 0.6, 0.6, 0.9, 0.9])
    images = np.repeat(np.random.default_rng(0).normal(size=(1, 20, 20, 3)), 64, axis=0).astype("float32")
    np.testing.assert_array_equal(np.asarray(model(images, training=False)), np.asarray(plain(images)))
    names = ("stage2_block1_add2", "stage2_block2_add1", "stage2_block2_add2")
    taps = keras.Model(model.input, [model.get_layer(name).output for name in names])
    values = [np.asarray(value) for value in taps(images, training=True)]
    for lower, upper in pairwise(values):
        dropped = np.isclose(lower, upper).all(axis=(1, 2, 3))
        assert 40 < dropped.sum() < 64
        assert not np.isclose(lower, upper)[~dropped].all(axis=(1, 2, 3)).any()


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_saved_model_comes_back_with_its_layers(policy: str, precision: Any, tmp_path: Path) -> None:
    precision(policy)
    model = build(small(), size=28, drop_path=0.1)
    precision("float32")
    model.save(tmp_path / "a.keras")
    loaded = keras.saving.load_model(tmp_path / "a.keras")
    images = np.random.default_rng(0).normal(size=(2, 28, 28, 3)).astype("float32")
    assert loaded.output.dtype == model.output.dtype
    given, expected = (np.asarray(keras.ops.cast(network(images), "float32")) for network in (loaded, model))
    np.testing.assert_array_equal(given, expected)
    assert [weight.path for weight in loaded.weights] == [weight.path for weight in model.weights]
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]


@pytest.mark.parametrize(
    ("height", "width", "window", "windows"),
    [(4, 4, 2, 4), (5, 5, 2, 9), (7, 7, 7, 1), (3, 3, 7, 1), (9, 12, 7, 4), (2, 6, 4, 3)],
)
@pytest.mark.parametrize("shifted", [False, True])
def test_windows_go_back_where_they_were(
    height: int, width: int, window: int, windows: int, shifted: bool
) -> None:
    grid = lay_grid(height, width, window, shifted)
    split, join = SplitWindows(grid), JoinWindows(grid)
    values = np.arange(2 * height * width * 3, dtype="float32").reshape(2, height, width, 3)
    parts = split(values)
    assert parts.shape == (2, windows, min(window, height, width) ** 2, 3)
    assert split.compute_output_shape((2, height, width, 3)) == tuple(parts.shape)
    assert join.compute_output_shape(tuple(parts.shape)) == (2, height, width, 3)
    np.testing.assert_array_equal(np.asarray(join(parts)), values)


def test_a_shifted_window_holds_its_own_quarter_of_the_map() -> None:
    values = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    parts = np.asarray(SplitWindows(lay_grid(4, 4, 2, True))(values))[0, :, :, 0]
    assert parts.tolist() == [[5, 6, 9, 10], [7, 4, 11, 8], [13, 14, 1, 2], [15, 12, 3, 0]]
    # 7 and 4 are neighbours by the shift alone.
    labels = lay_grid(4, 4, 2, True).label_regions()
    assert [[row.tolist().index(label) for label in row] for row in labels] == [
        [0, 0, 0, 0],
        [0, 1, 0, 1],
        [0, 0, 2, 2],
        [0, 1, 2, 3],
    ]


def make_attention(grid: Any, window: int, heads: int, channels: int) -> WindowAttention:
    """Build the layer with a table of distinct values."""
    layer = WindowAttention(grid, window, heads)
    layer.build(*3 * ((None, grid.rows * grid.columns, grid.side**2, channels),))
    table = layer.relative_position_bias_table
    table.assign(np.random.default_rng(7).normal(size=table.shape))
    return layer


@pytest.mark.parametrize("side", [2, 3])
def test_window_attention_against_loops(side: int) -> None:
    """Also in a window smaller than the table's: the table's row follows the offset, not the window."""
    window, heads = 3, 2
    layer = make_attention(lay_grid(side, side, window, False), window, heads, 4)
    table = np.asarray(layer.relative_position_bias_table)
    query, key, value = np.random.default_rng(0).normal(size=(3, 1, 1, side**2, 4)).astype("float32")
    given = np.asarray(layer(query, key, value))[0, 0]
    for head in range(heads):
        part = slice(2 * head, 2 * head + 2)
        for here in range(side**2):
            scores = []
            for there in range(side**2):
                down, across = here // side - there // side, here % side - there % side
                bias = table[(down + window - 1) * (2 * window - 1) + across + window - 1, head]
                scores.append(query[0, 0, here, part] @ key[0, 0, there, part] / np.sqrt(2) + bias)
            weights = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(
                given[here, part], weights @ value[0, 0, :, part], rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("side", [8, 6])  # 6 is padded to 8
@pytest.mark.parametrize("place", [(0, 0), (1, 1), (2, 5), (5, 5), (5, 1)])
def test_tokens_that_only_the_shift_brings_together_do_not_meet(side: int, place: tuple[int, int]) -> None:
    grid = lay_grid(side, side, 4, True)
    layer, split, join = make_attention(grid, 4, 1, 2), SplitWindows(grid), JoinWindows(grid)
    query = np.random.default_rng(0).normal(size=(1, side, side, 2)).astype("float32")
    value = np.zeros_like(query)
    value[0, place[0], place[1]] = 1.0  # the only token with a value: who hears of it?
    heard = np.asarray(join(layer(split(query), split(np.ones_like(query)), split(value))))[0, :, :, 0]
    # Shifted by two, windows begin at -2, 2 and 6.
    first, second = ({index for index in range(side) if (index + 2) // 4 == (at + 2) // 4} for at in place)
    rows, columns = np.nonzero(heard > 1e-20)
    assert (set(rows.tolist()), set(columns.tolist())) == (first, second)
    assert len(rows) == len(first) * len(second)


def test_the_table_is_added_in_float32(precision: Any) -> None:
    precision("mixed_float16")
    layer = make_attention(lay_grid(2, 2, 2, False), 2, 1, 2)
    layer.relative_position_bias_table.assign(np.full((9, 1), 1e5))  # float16 ends at 65,504
    ones = np.ones((1, 1, 4, 2))
    np.testing.assert_array_equal(np.asarray(keras.ops.cast(layer(ones, ones, ones), "float32")), ones)


def test_nothing_is_shifted_where_one_window_holds_the_map() -> None:
    assert [lay_grid(side, side, 7, True).shift for side in (6, 7, 8)] == [0, 0, 3]
    assert lay_grid(8, 8, 7, False).shift == 0


def test_macs_by_hand() -> None:
    grid = lay_grid(10, 10, 7, True)
    layer = WindowAttention(grid, 7, 3)
    shape = (4, 49, 12)
    # Four windows, three heads: 49 × 49 scores of 4 channels, then 49 × 4 sums over 49 values.
    assert layer.count_macs(shape, shape, shape) == 4 * 3 * (49 * 49 * 4 + 49 * 4 * 49)


def test_merging_orders_neighbours_column_by_column_and_pads_odd_sides() -> None:
    values = np.arange(1, 16, dtype="float32").reshape(1, 3, 5, 1)
    layer = MergePatches()
    given = np.asarray(layer(values))
    assert given.shape == layer.compute_output_shape(values.shape) == (1, 2, 3, 4)
    assert given[0, 0, 0].tolist() == [1, 6, 2, 7]
    assert given[0, 1, 2].tolist() == [15, 0, 0, 0]


def test_a_builder_makes_nothing_above_the_part_asked_for() -> None:
    for part in swin.build_parts(small(), keras.Input((20, 20, 3)), 0.0):
        assert part._keras_history.operation._outbound_nodes == []


@pytest.mark.slow
def test_a_step_of_training_compiles_under_xla() -> None:
    inputs = keras.Input(
        (12, 12, 3)
    )  # a map of three: windows of two are padded, and shifted in the second block
    *_, features = swin.build_parts(small(depths="2-1"), inputs, 0.2)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(features))
    model.compile("sgd", "mse", jit_compile=True)
    before = [np.asarray(weight) for weight in model.trainable_weights]
    history = model.fit(np.ones((2, 12, 12, 3)), np.ones((2, 8)), batch_size=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    moved = [
        weight.path
        for weight, value in zip(model.trainable_weights, before, strict=True)
        if not np.array_equal(np.asarray(weight), value)
    ]
    assert {f"stage1_block{block}_positions/relative_position_bias_table" for block in (1, 2)} <= set(moved)
