"""BiT: published counts, the standardised convolution, the root's zeros, and networks made thinner."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from medzoo.errors import ConfigError
from medzoo.models.abstract import build_without_weights
from medzoo.models.bit import StandardizedConv2D, build_parts
from medzoo.models.rows.bit import CHANGES, ROWS, Unit, describe_row, list_units
from medzoo.specs import ModelSpec, Scalar, list_parts

#: One unit per stage, 32 channels at the root: the narrowest that 32 groups allow.
TINY = {"depths": "1-1-1-1", "width": 0.5, "slim": ""}
COUNTS = {
    "bit_r50x1": 23_500_352,
    "bit_r50x3": 211_174_080,
    "bit_r101x1": 42_492_480,
    "bit_r101x3": 381_789_888,
    "bit_r152x2": 232_238_208,
    "bit_r152x4": 928_340_224,
}


def describe(**changes: Scalar) -> ModelSpec:
    return describe_row("bit_tiny", {**TINY, **changes})


def list_outputs(spec: ModelSpec, size: int, channels: int = 3) -> tuple[Any, list[Any]]:
    """Give the input and the output of every part below the head."""
    image = keras.Input((size, size, channels), name="image")
    return image, list(build_parts(spec, image, 0.0))


def build(spec: ModelSpec, size: int = 32, classes: int = 3) -> keras.Model:
    """Build the network with a head of our own."""
    image, outputs = list_outputs(spec, size)
    pooled = keras.layers.GlobalAveragePooling2D(name="head_pool")(outputs[-1])
    return keras.Model(image, keras.layers.Dense(classes, dtype="float32", name="head")(pooled))


def measure_memory() -> int:
    """Measure the bytes that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def list_pairs(spec: ModelSpec) -> list[tuple[int, int]]:
    return [(unit.inner, unit.outer) for unit in list_units(spec.name, spec.options, spec.stages)]


def test_the_rows_are_the_released_ones_and_only_declared_options_change() -> None:
    assert set(ROWS) == set(COUNTS)
    assert all(set(CHANGES) <= set(options) for options in ROWS.values())


@pytest.mark.parametrize("name", COUNTS)
def test_backbones_have_the_published_counts_and_need_no_memory_to_be_described(name: str) -> None:
    before = measure_memory()
    with build_without_weights():
        spec = describe_row(name, ROWS[name])
        image, outputs = list_outputs(spec, spec.input_size)
        model = keras.Model(image, outputs[-1])
    assert sum(int(np.prod(variable.shape)) for variable in model.weights) == COUNTS[name]
    assert all(variable.trainable for variable in model.weights)
    # The weights of R152x4 alone take 3.7 GB.
    assert measure_memory() - before < 600e6


def test_parts_are_yielded_bottom_up_by_the_layers_that_the_stages_name() -> None:
    spec = describe(depths="2-1-1-1")
    with build_without_weights():
        image, outputs = list_outputs(spec, 32)
    parts = list_parts(spec.stages)[:-1]
    assert [part.name for part in parts] == [
        "root",
        *("block1_unit1", "block1_unit2", "block2_unit1", "block3_unit1", "block4_unit1"),
        "final",
    ]
    assert [output._keras_history.operation.name for output in outputs] == [part.output for part in parts]
    layers = [layer.name for layer in keras.Model(image, outputs[-1]).layers[1:]]
    for names in (parts, spec.stages[:-1]):
        assert [sum(part.holds(layer) for part in names) for layer in layers] == [1] * len(layers)


def test_nothing_of_a_part_is_built_before_it_is_asked_for() -> None:
    built: list[str] = []
    original = keras.layers.Layer.__call__

    def note(layer: Any, *arguments: Any, **options: Any) -> Any:
        built.append(layer.name)
        return original(layer, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch, build_without_weights():
        patch.setattr(keras.layers.Layer, "__call__", note)
        parts = build_parts(describe(), keras.Input((32, 32, 3)), 0.0)
        next(parts)
        assert {name.partition("_")[0] for name in built} == {"root"}
        next(parts)
        assert {name.partition("_")[0] for name in built} == {"root", "block1"}


def test_the_graph_of_units() -> None:
    with build_without_weights():
        image, outputs = list_outputs(describe(depths="2-1"), 32)
        model = keras.Model(image, outputs[-1])

    def list_suppliers(layer: str) -> list[str]:
        node = model.get_layer(layer)._inbound_nodes[0]
        return [tensor._keras_history.operation.name for tensor in node.input_tensors]

    assert list_suppliers("block1_unit1_proj_conv") == ["block1_unit1_a_relu"]
    assert list_suppliers("block1_unit1_add") == ["block1_unit1_c_conv", "block1_unit1_proj_conv"]
    assert list_suppliers("block1_unit2_add") == ["block1_unit2_c_conv", "block1_unit1_add"]
    assert list_suppliers("block2_unit1_b_conv") == ["block2_unit1_b_pad"]
    assert model.get_layer("block2_unit1_b_conv").strides == (2, 2)
    assert model.get_layer("block2_unit1_a_conv").strides == (1, 1)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.GroupNormalization)]
    assert {(norm.groups, norm.epsilon) for norm in norms} == {(32, 1e-5)}
    assert len(norms) == 3 * 3 + 1


@pytest.mark.parametrize("size", [1, 2, 7, 33])
def test_no_input_is_too_small(size: int) -> None:
    spec = describe()
    assert spec.smallest_input == 1
    with build_without_weights():
        _, outputs = list_outputs(spec, size)
    sides = [size]
    for _ in range(5):
        sides.append((sides[-1] + 1) // 2)
    # Root (two halvings), block 1 without stride, blocks 2 to 4, the last norm.
    assert [output.shape[1] for output in outputs] == [*sides[2:3], *sides[2:], sides[-1]]
    assert sides[-1] >= 1


def test_the_smallest_input_gives_numbers() -> None:
    logits = build(describe(), size=1)(np.ones((2, 1, 1, 3), "float32"))
    assert logits.shape == (2, 3)
    assert np.isfinite(np.asarray(logits)).all()


def standardize(kernel: np.ndarray) -> np.ndarray:
    """Apply METHODS' formula in float64, one output channel at a time."""
    columns = kernel.astype("float64").reshape(-1, kernel.shape[-1]).T
    rows = [
        (column - column.mean()) / np.sqrt(np.mean((column - column.mean()) ** 2) + 1e-10)
        for column in columns
    ]
    return np.stack(rows, axis=-1).reshape(kernel.shape)


def convolve(image: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Slide a kernel (height, width, inputs, outputs) over an image (height, width, inputs) without padding."""
    height, width = kernel.shape[:2]
    return np.array(
        [
            [
                np.tensordot(image[row : row + height, column : column + width], kernel, 3)
                for column in range(0, image.shape[1] - width + 1, stride)
            ]
            for row in range(0, image.shape[0] - height + 1, stride)
        ]
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-4)])
def test_a_standardised_convolution_against_numpy(dtype: str, tolerance: float) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(7, 6, 4))
    layer = StandardizedConv2D(5, 3, strides=2, use_bias=False, dtype=dtype)
    layer.build((None, 7, 6, 4))
    # Variances of 1e-6: an ε of 1e-8, or a variance by 1/(n − 1), would show.
    kernel = rng.normal(0.01, 1e-3, (3, 3, 4, 5))
    layer.kernel.assign(kernel)
    given = np.asarray(layer(image[None].astype(dtype)))[0]
    expected = convolve(image, standardize(np.asarray(layer.kernel)), 2)
    np.testing.assert_allclose(given, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    assert given.dtype == dtype


def test_the_layer_keeps_conv2d_s_bias_and_activation() -> None:
    layer = StandardizedConv2D(2, 1, activation="relu", bias_initializer="ones", dtype="mixed_bfloat16")
    output = layer(np.zeros((1, 1, 1, 3), "float32"))
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    np.testing.assert_array_equal(np.asarray(output, "float32"), 1.0)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_statistics_are_those_of_the_float32_kernel_under_mixed_precision(policy: str) -> None:
    """In 16 bits, values this close together are all one value, whose standardised kernel would be zeros."""
    layer = StandardizedConv2D(1, 1, use_bias=False, dtype=policy)
    layer.build((None, 1, 1, 2))
    layer.kernel.assign(np.array([1.0001, 1.0003], "float32").reshape(1, 1, 2, 1))
    output = layer(np.array([0.0, 1.0], "float32").reshape(1, 1, 1, 2))
    assert keras.backend.standardize_dtype(output.dtype) == policy.removeprefix("mixed_")
    np.testing.assert_allclose(np.asarray(output, "float32").ravel(), [0.995], atol=0.01)


def test_a_constant_kernel_gives_zeros_and_finite_gradients() -> None:
    import tensorflow as tf

    layer = StandardizedConv2D(2, 3, use_bias=False, kernel_initializer="ones")
    with tf.GradientTape() as tape:
        output = layer(np.ones((1, 4, 4, 3), "float32"))
        loss = keras.ops.sum(output)
    np.testing.assert_array_equal(np.asarray(output), 0.0)
    assert np.isfinite(np.asarray(tape.gradient(loss, layer.kernel.value))).all()


def test_gradients_pass_through_the_standardising() -> None:
    """Neither shift nor scale of a kernel reaches the output: its gradient is orthogonal to both."""
    import tensorflow as tf

    rng = np.random.default_rng(1)
    layer = StandardizedConv2D(4, 3, use_bias=False, dtype="float64")
    image = rng.normal(size=(2, 6, 6, 3))
    layer.build(image.shape)
    with tf.GradientTape() as tape:
        loss = keras.ops.sum(keras.ops.square(layer(image)) * rng.normal(size=(2, 4, 4, 4)))
    gradient = np.asarray(tape.gradient(loss, layer.kernel.value))
    kernel = np.asarray(layer.kernel)
    assert np.abs(gradient).max() > 1
    np.testing.assert_allclose(gradient.sum(axis=(0, 1, 2)), 0, atol=1e-6)
    # ε leaves a rest of the scale.
    np.testing.assert_allclose((gradient * kernel).sum(axis=(0, 1, 2)), 0, atol=1e-4)


def test_the_root_s_zeros_are_not_same_padding() -> None:
    """Where a convolution gives negative values only, the zeros around them win at the border."""
    spec = describe()
    image, outputs = list_outputs(spec, 16)
    model = keras.Model(image, outputs[0])
    rng = np.random.default_rng(2)
    # White above black, and kernels that weigh the upper half less: negative across the whole image.
    kernel = rng.normal(size=(7, 7, 3, 32)) + np.arange(7).reshape(7, 1, 1, 1)
    model.get_layer("root_conv").kernel.assign(kernel)
    before = keras.Model(image, model.get_layer("root_conv").output)
    images = np.ones((1, 16, 16, 3), "float32") * np.linspace(1, -1, 16, dtype="float32").reshape(1, 16, 1, 1)
    features = np.asarray(before(images))
    padded = np.pad(images[0], ((3, 3), (3, 3), (0, 0)))
    kernel = standardize(np.asarray(model.get_layer("root_conv").kernel))
    np.testing.assert_allclose(features[0], convolve(padded, kernel, 2), atol=1e-3)
    zeros = np.pad(features, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.array(
        [[zeros[0, r : r + 3, c : c + 3].max(axis=(0, 1)) for c in range(0, 8, 2)] for r in range(0, 8, 2)]
    )
    given = np.asarray(model(images))[0]
    np.testing.assert_array_equal(given, expected)
    assert (given[0] >= 0).all()
    assert (given[:, 0] >= 0).all()
    # As many pixels, other values: what is padded there never is the maximum.
    same = np.asarray(keras.layers.MaxPooling2D(3, 2, padding="same")(features))[0]
    assert same.shape == given.shape
    assert (same[:, 0] < 0).any()


def test_a_saved_network_answers_as_before(tmp_path: Path) -> None:
    model = build(describe())
    rng = np.random.default_rng(3)
    for variable in model.weights:
        variable.assign(rng.normal(0.5, 0.2, variable.shape))
    images = rng.normal(size=(2, 32, 32, 3)).astype("float32")
    expected = np.asarray(model(images))
    model.save(tmp_path / "bit.keras")
    twin = keras.models.load_model(tmp_path / "bit.keras")
    np.testing.assert_array_equal(np.asarray(twin(images)), expected)
    layer = twin.get_layer("block2_unit1_b_conv")
    assert type(layer) is StandardizedConv2D
    # The kernel itself was saved, not the standardised one.
    np.testing.assert_array_equal(
        np.asarray(layer.kernel), np.asarray(model.get_layer("block2_unit1_b_conv").kernel)
    )
    assert layer.get_config() == model.get_layer("block2_unit1_b_conv").get_config()
    model.save_weights(tmp_path / "bit.weights.h5")
    other = build(describe())
    other.load_weights(tmp_path / "bit.weights.h5")
    np.testing.assert_array_equal(np.asarray(other(images)), expected)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_gives_finite_numbers_near_those_of_float32(policy: str) -> None:
    spec = describe(width=1.0, depths="2-1-1-1")
    keras.utils.set_random_seed(4)
    images = np.random.default_rng(4).normal(size=(2, 32, 32, 3)).astype("float32")
    full = build(spec)
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(policy)
        mixed = build(spec)
    finally:
        keras.config.set_dtype_policy(before)
    mixed.set_weights(full.get_weights())
    assert {variable.dtype for variable in mixed.weights} == {"float32"}
    assert mixed.get_layer("block4_unit1_add").compute_dtype == policy.removeprefix("mixed_")
    given, expected = np.asarray(mixed(images)), np.asarray(full(images))
    assert given.dtype == "float32"
    assert np.isfinite(given).all()
    np.testing.assert_allclose(given, expected, atol=0.1 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("changes", "pairs"),
    [
        ({}, [(64, 256), (64, 256), (128, 512), (128, 512), (256, 1024), (256, 1024)]),
        ({"slim": "root:2"}, [(32, 128), (32, 128), (64, 256), (64, 256), (128, 512), (128, 512)]),
        ({"slim": "block1:4"}, [(64, 256), (64, 256), (32, 128), (32, 128), (64, 256), (64, 256)]),
        ({"slim": "block1_unit2:4"}, [(64, 256), (64, 256), (32, 128), (32, 128), (64, 256), (64, 256)]),
        # Within a stage only the inside is thinner; what leaves the unit is what the stage's sum needs.
        ({"slim": "block2_unit1:2"}, [(64, 256), (64, 256), (128, 512), (64, 512), (128, 512), (128, 512)]),
        ({"slim": "block3_unit1:8"}, [(64, 256), (64, 256), (128, 512), (128, 512), (256, 1024), (32, 1024)]),
        ({"width": 1.5}, [(96, 384), (96, 384), (192, 768), (192, 768), (384, 1536), (384, 1536)]),
        (
            {"width": 3.0, "slim": "block1:3"},
            [(192, 768), (192, 768), (128, 512), (128, 512), (256, 1024), (256, 1024)],
        ),
    ],
)
def test_widths(changes: Mapping[str, Scalar], pairs: list[tuple[int, int]]) -> None:
    spec = describe(**{"depths": "2-2-2", "width": 1.0, **changes})
    assert list_pairs(spec) == pairs
    with build_without_weights():
        image, outputs = list_outputs(spec, 32)
        model = keras.Model(image, outputs[-1])
    for unit, output in zip(list_units(spec.name, spec.options, spec.stages), outputs[1:], strict=False):
        assert output.shape[-1] == unit.outer
        assert model.get_layer(f"{unit.name}_b_conv").kernel.shape[2:] == (unit.inner, unit.inner)
    assert model.get_layer("final_gn").gamma.shape == (pairs[-1][1],)


def test_names_of_layers_do_not_hang_on_widths() -> None:
    """Above the root, this factor leaves the first unit as many channels as it reads: it projects all the same."""
    names = []
    for slim in ("", "root:4"):
        spec = describe(depths="1-1", width=2.0, slim=slim)
        with build_without_weights():
            image, outputs = list_outputs(spec, 32)
            names.append([layer.name for layer in keras.Model(image, outputs[-1]).layers])
    assert outputs[0].shape[-1] == outputs[1].shape[-1] == 128
    assert names[0] == names[1]


def test_a_unit_says_what_it_is() -> None:
    spec = describe(depths="1-2")
    units = list_units(spec.name, spec.options, spec.stages)
    assert units[0] == Unit("block1_unit1", 32, 128, 1, projects=True)
    assert units[1] == Unit("block2_unit1", 64, 256, 2, projects=True)
    assert units[2] == Unit("block2_unit2", 64, 256, 1, projects=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slim": "blok1:2"}, "no stage 'blok1' .* expected one of 'block1'"),
        ({"slim": "final:2"}, "no stage 'final'"),
        # Above the last unit there is nothing but its norm.
        ({"slim": "block3:2"}, "no stage 'block3'"),
        ({"slim": "block3_unit2:2"}, "no stage 'block3_unit2'"),
        ({"slim": "head:2"}, "no stage 'head'"),
        ({"slim": "block1"}, "expected STAGE:FACTOR"),
        ({"slim": "block1:half"}, "expected STAGE:FACTOR"),
        (
            {"slim": "block1:3"},
            "slim factor 3 on 128 channels of bit_tiny; expected one of 1, 2, 4, that leaves",
        ),
        ({"slim": "root:4"}, "slim factor 4 on 64 channels of bit_tiny; expected one of 1, 2, that"),
        ({"width": 0.25}, "16 channels; expected a multiple of the 32 groups of its norms; try width=0.5$"),
        ({"width": 1.25}, "80 channels; .* try width=1 or width=1.5"),
        ({"width": 0.3}, "whole number of channels"),
        ({"width": 0.0}, "whole number of channels"),
        ({"width": -1.0}, "whole number of channels"),
        ({"depths": "3-4-x"}, "expected units per stage joined by dashes"),
        ({"depths": "3-0-1"}, "expected units per stage joined by dashes"),
        ({"depths": ""}, "expected units per stage joined by dashes"),
    ],
)
def test_refusals(changes: Mapping[str, Scalar], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        describe(**{"depths": "2-2-2", "width": 1.0, **changes})
