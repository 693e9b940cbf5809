"""Data-driven scaling: unit variance layer by layer, factors that repeat it, and what it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

import medzoo
from medzoo.errors import ConfigError
from medzoo.models.bit import StandardizedConv2D
from medzoo.models.lsuv import measure_scales
from medzoo.models.taps import taps
from medzoo.tensors import name_variables

layers = keras.layers


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same start values in every test."""
    keras.utils.set_random_seed(0)


@pytest.fixture
def precision() -> Iterator[Any]:
    """Set a precision policy; the earlier one comes back after the test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def draw_images(model: keras.Model, count: int = 8) -> np.ndarray:
    """Draw images that no network was made for: neither mean 0 nor variance 1."""
    return np.random.default_rng(1).normal(0.3, 1.5, (count, *model.inputs[0].shape[1:])).astype("float32")


def read_kernels(model: keras.Model) -> dict[str, np.ndarray]:
    """Copy every weight out of a model."""
    return {name: np.array(variable) for name, variable in name_variables(model).items()}


def tap(model: keras.Model, layer: str, images: np.ndarray) -> np.ndarray:
    """Give what leaves a layer, computed by the whole network."""
    return np.asarray(taps(model, [layer])(images, training=False)[layer], "float64")


@pytest.mark.parametrize(
    ("row", "size", "channels", "scaled"),
    [
        ("cbr_tiny", 32, 1, 5),
        ("resnet20", 32, 3, 20),
        ("deit_ti16+depth=2", 32, 3, 14),
        ("mobilenet_025", 64, 3, 28),
    ],
)
def test_every_scaled_layer_has_unit_variance(row: str, size: int, channels: int, scaled: int) -> None:
    model = medzoo.build(row, classes=2, channels=channels, input_size=size)
    images = draw_images(model)
    before = read_kernels(model)
    factors = measure_scales(model, images)
    assert len(factors) == scaled
    for name in factors:
        assert abs(tap(model, name.split("/")[0], images).var() - 1) <= 0.02 + 1e-5, name
    after = read_kernels(model)
    assert before.keys() == after.keys()
    for name, values in after.items():
        # Whoever replays the factors, in single or in double precision, has the same bits.
        factor = factors.get(name, 1.0)
        assert np.array_equal(values, before[name] * np.float32(factor)), name
        assert np.array_equal(values, (before[name].astype("float64") * factor).astype("float32")), name


def test_one_walk_gives_what_a_whole_forward_per_layer_gives() -> None:
    model = medzoo.build("cbr_tiny", classes=2, channels=1, input_size=32)
    images = draw_images(model)
    start = model.get_weights()
    factors = measure_scales(model, images, tolerance=1e-6)
    model.set_weights(start)
    naive = {}
    for name in [*(f"block{block}_conv/kernel" for block in (1, 2, 3, 4)), "head/kernel"]:
        kernel, naive[name] = name_variables(model)[name], 1.0
        for _ in range(20):
            variance = tap(model, name.split("/")[0], images).var()
            if abs(variance - 1) <= 1e-6:
                break
            naive[name] /= variance**0.5
            kernel.assign(np.array(kernel) / variance**0.5)
    assert list(factors) == list(naive)
    np.testing.assert_allclose(list(factors.values()), list(naive.values()), rtol=1e-5)


def test_the_same_batch_gives_the_same_factors_and_a_second_time_ones() -> None:
    model = medzoo.build("resnet20", classes=2)
    images, start = draw_images(model), model.get_weights()
    first: list[str] = []
    second: list[str] = []
    factors = measure_scales(model, images, report=first.append)
    assert measure_scales(model, images) == dict.fromkeys(factors, 1.0)
    model.set_weights(start)
    assert measure_scales(model, images, report=second.append) == factors
    assert first == second
    assert first[0] == f"images: variance {images.astype('float64').var():.4g}"


def test_layers_are_run_once_and_once_more_per_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    model = medzoo.build("resnet20", classes=2)
    conv, addition, calls = model.get_layer("conv1_conv"), model.get_layer("conv2_block1_add"), []
    for layer in (conv, addition):
        inner = layer.call
        monkeypatch.setattr(
            layer, "call", lambda *inputs, inner=inner, layer=layer: calls.append(layer) or inner(*inputs)
        )
    measure_scales(model, draw_images(model))
    assert calls == [conv, conv, addition]


def test_activations_are_let_go_once_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    model = medzoo.build("cbr_tiny", classes=2, channels=1, input_size=32)
    made: list[weakref.ref[Any]] = []
    alive: list[int] = []
    for name in ("block1_bn", "block2_bn", "block3_bn", "block4_bn"):
        layer = model.get_layer(name)

        def call(*inputs: Any, inner: Any = layer.call, **options: Any) -> Any:
            alive.append(sum(reference() is not None for reference in made))
            output = inner(*inputs, **options)
            made.append(weakref.ref(output))
            return output

        monkeypatch.setattr(layer, "call", call)
    measure_scales(model, draw_images(model))
    assert alive == [0, 0, 0, 0]


@pytest.mark.parametrize("activation", ["relu", "sigmoid", layers.LeakyReLU(negative_slope=0.1)])
def test_a_layer_s_own_activation_comes_after_what_is_measured(activation: Any) -> None:
    inputs = keras.Input((6,))
    hidden = layers.Dense(32, activation=activation, name="hidden")(inputs)
    model = keras.Model(inputs, layers.Dense(4, activation="softmax", name="last")(hidden))
    images = draw_images(model, 64)
    own = [layer.activation for layer in model.layers[1:]]
    assert len(measure_scales(model, images)) == 2
    assert [layer.activation for layer in model.layers[1:]] == own
    kernels = read_kernels(model)
    before = images.astype("float64") @ kernels["hidden/kernel"]
    assert abs(before.var() - 1) <= 0.02
    outputs = np.asarray(own[0](before.astype("float32")), "float64") @ kernels["last/kernel"]
    assert abs(outputs.var() - 1) <= 0.02
    np.testing.assert_allclose(np.asarray(model(images)).sum(axis=1), 1, rtol=1e-5)


def test_every_kind_of_layer_is_scaled() -> None:
    inputs = keras.Input((8, 8, 4))
    features = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(inputs)
    features = layers.SeparableConv2D(8, 3, name="separable")(features)
    features = layers.Conv2DTranspose(8, 3, name="transposed")(features)
    features = layers.Reshape((-1, 8))(features)
    features = layers.Conv1D(8, 3, groups=2, name="grouped")(features)
    features = layers.EinsumDense("abc,cd->abd", (None, 6), bias_axes="d", name="einsum")(features)
    model = keras.Model(inputs, layers.Dense(2, name="head")(layers.GlobalAveragePooling1D()(features)))
    images = draw_images(model)
    factors = measure_scales(model, images)
    assert list(factors) == [
        "depthwise/kernel",
        "separable/pointwise_kernel",
        "transposed/kernel",
        "grouped/kernel",
        "einsum/kernel",
        "head/kernel",
    ]
    for name in factors:
        assert abs(tap(model, name.split("/")[0], images).var() - 1) <= 0.02, name


def test_nested_models_are_opened_and_shared_layers_scaled_at_their_first_call() -> None:
    shared = layers.Dense(5, name="shared")
    inner = keras.Input((5,))
    nested = keras.Model(inner, layers.Dense(5, name="dense")(shared(inner)), name="nested")
    stack = keras.Sequential([keras.Input((5,)), layers.Dense(5, name="dense"), layers.ReLU()], name="stack")
    inputs = keras.Input((5,))
    once = nested(inputs)
    twice = nested(stack(once))
    model = keras.Model(inputs, layers.Dense(2, name="head")(shared(twice)))
    images = draw_images(model, 128)
    start = model.get_weights()
    factors = measure_scales(model, images)
    kernels = [name for name in name_variables(model) if "kernel" in name]
    assert sorted(factors) == sorted(kernels)
    assert len(kernels) == 4
    outputs = model(images)
    first = keras.Model(inputs, once)(images)
    assert abs(np.asarray(first).var() - 1) <= 0.02
    assert abs(np.asarray(stack.layers[0](first)).var() - 1) <= 0.02
    assert abs(np.asarray(shared(images)).var() - 1) <= 0.02
    assert abs(np.asarray(outputs).var() - 1) <= 0.02
    model.set_weights(start)
    for name, factor in factors.items():
        variable = name_variables(model)[name]
        variable.assign(np.array(variable) * np.float32(factor))
    assert np.array_equal(model(images), outputs)


def test_a_sequential_model_is_scaled() -> None:
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(8, name="a"), layers.ReLU(), layers.Dense(2, name="b")]
    )
    factors = measure_scales(model, draw_images(model, 64))
    assert list(factors) == [name for name in name_variables(model) if "kernel" in name]
    assert abs(np.asarray(model(draw_images(model, 64))).var() - 1) <= 0.02


def test_kernels_of_zeros_stay_and_what_follows_is_measured_as_it_is() -> None:
    model = medzoo.build("cbr_tiny", classes=2, channels=1, input_size=32)
    for name in ("block3_conv", "head"):
        kernel = model.get_layer(name).kernel
        kernel.assign(np.zeros(kernel.shape))
    lines: list[str] = []
    factors = measure_scales(model, draw_images(model), report=lines.append)
    assert list(factors) == ["block1_conv/kernel", "block2_conv/kernel"]
    assert "block3_conv/kernel skipped: all zero" in lines
    assert "block4_conv/kernel skipped: its output has variance 0" in lines
    assert "head/kernel skipped: all zero" in lines


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (3e38, "variance nan"),  # the output overflows
        (1e-45, "variance 0"),  # and underflows
    ],
)
def test_outputs_without_a_scale_leave_the_kernel(kernel: float, message: str) -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, use_bias=False, name="a")])
    model.set_weights([np.full((4, 2), kernel)])
    lines: list[str] = []
    images = 0.1 * draw_images(model) if kernel < 1 else draw_images(model)
    assert measure_scales(model, images, report=lines.append) == {}
    assert lines[-1].endswith(message)
    assert np.all(np.array(model.get_weights()[0]) == np.float32(kernel))


def test_rounding_is_not_blown_up() -> None:
    model = keras.Sequential([keras.Input((40,)), layers.Dense(1, name="head")])
    image = draw_images(model, 1)
    images = np.stack([image[0], image[0] * np.float32(1 + 2**-21)])
    assert 0 < np.asarray(model(images), "float64").var() < 1e-10
    assert measure_scales(model, images) == {}


def test_the_bias_counts_and_stays() -> None:
    model = keras.Sequential([keras.Input((16,)), layers.Dense(64, name="dense")])
    images = draw_images(model, 64)
    bias = np.random.default_rng(2).normal(0, 0.6, 64).astype("float32")
    model.layers[0].bias.assign(bias)
    kernel, lines = np.array(model.layers[0].kernel), []
    (factor,) = measure_scales(model, images, report=lines.append).values()
    assert abs(np.asarray(model(images)).var() - 1) <= 0.02
    assert np.array_equal(model.layers[0].kernel, kernel * np.float32(factor))
    assert abs((images @ np.array(model.layers[0].kernel)).var() - 1) > 0.2
    assert np.array_equal(model.layers[0].bias, bias)
    assert "iterations 1" not in lines[-1]


def test_a_bias_that_varies_too_much_leaves_the_kernel() -> None:
    model = keras.Sequential([keras.Input((16,)), layers.Dense(64, name="dense")])
    model.layers[0].bias.assign(np.random.default_rng(2).normal(0, 1.5, 64))
    start, lines = read_kernels(model), []
    assert measure_scales(model, draw_images(model), report=lines.append) == {}
    assert "skipped: its bias alone has variance" in lines[-1]
    assert all(np.array_equal(values, start[name]) for name, values in read_kernels(model).items())


def test_too_few_iterations_keep_what_was_reached_and_say_so() -> None:
    model = keras.Sequential([keras.Input((16,)), layers.Dense(64, name="dense")])
    model.layers[0].bias.assign(np.random.default_rng(2).normal(0, 0.8, 64))
    lines: list[str] = []
    (factor,) = measure_scales(model, draw_images(model), iterations=1, report=lines.append).values()
    assert factor != 1.0
    assert lines[-1].endswith("iterations 1, still out of tolerance")


class ScaledAnyway(layers.Dense):  # type: ignore[misc]  # Keras ships no types
    """A dense layer whose kernel is normalised, and which does not say so."""

    def call(self, inputs: Any) -> Any:
        return 3 * keras.ops.matmul(inputs, self.kernel / keras.ops.norm(self.kernel))


def test_standardised_kernels_stay() -> None:
    inputs = keras.Input((8, 8, 3))
    features = layers.Flatten()(StandardizedConv2D(4, 3, use_bias=False, name="standard")(inputs))
    model = keras.Model(inputs, ScaledAnyway(4, use_bias=False, name="own")(features))
    start, lines = read_kernels(model), []
    assert measure_scales(model, draw_images(model), report=lines.append) == {}
    assert lines[1] == "standard skipped: its kernels are standardised"
    assert "does not follow the kernel's scale" in lines[2]
    assert all(np.array_equal(values, start[name]) for name, values in read_kernels(model).items())


def test_kernels_that_are_not_a_layer_s_own_tensor_stay() -> None:
    inputs = keras.Input((6, 8))
    attention = layers.MultiHeadAttention(2, 4, name="attention")
    features = attention(attention(inputs, inputs), inputs)
    model = keras.Model(inputs, layers.Dense(4, name="adapted")(features))
    model.get_layer("adapted").enable_lora(2)
    lines: list[str] = []
    assert measure_scales(model, draw_images(model), report=lines.append) == {}
    assert lines[1:] == [
        "attention skipped: its kernels are within a MultiHeadAttention",
        "adapted skipped: its kernel is not stored as such",
    ]


def test_nothing_is_dropped_and_no_statistics_move_but_old_ones_are_pointed_out() -> None:
    inputs = keras.Input((16,))
    features = layers.Dropout(0.9)(layers.BatchNormalization(name="norm")(inputs))
    model = keras.Model(inputs, layers.Dense(8, use_bias=False, name="head")(features))
    images, lines = draw_images(model, 64), []
    measure_scales(model, images, report=lines.append)
    assert len(lines) == 2
    assert np.array_equal(model.get_layer("norm").moving_mean, np.zeros(16))
    assert abs(np.asarray(model(images, training=False)).var() - 1) <= 0.02
    model.get_layer("norm").moving_mean.assign(np.ones(16))
    measure_scales(model, images, report=lines.append)
    assert lines[3].startswith("1 batch norms hold statistics of unscaled inputs, norm among them")


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_sixteen_bits(precision: Any, policy: str) -> None:
    precision(policy)
    model = keras.Sequential([keras.Input((16,)), layers.Dense(64, use_bias=False, name="dense")])
    images, kernel = draw_images(model, 64), np.array(model.get_weights()[0])
    (factor,) = measure_scales(model, images).values()
    assert factor != 1.0
    assert abs(np.asarray(model(images)).astype("float64").var() - 1) <= 0.02
    expected = (kernel.astype("float32") * np.float32(factor)).astype(kernel.dtype)
    assert np.array_equal(model.get_weights()[0], expected)


class Subclassed(keras.Model):  # type: ignore[misc]  # Keras ships no types
    """A model whose graph only its code knows."""

    def __init__(self) -> None:
        super().__init__(name="subclassed")
        self.dense = layers.Dense(2)

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)


def test_what_cannot_be_scaled_is_refused() -> None:
    images = np.ones((2, 4), "float32")
    subclassed = Subclassed()
    subclassed(images)
    with pytest.raises(ConfigError, match="'subclassed' of class Subclassed has no graph"):
        measure_scales(subclassed, images)
    with pytest.raises(ConfigError, match="is not built"):
        measure_scales(keras.Sequential([layers.Dense(2)]), images)
    pair = [keras.Input((4,)), keras.Input((4,))]
    with pytest.raises(ConfigError, match="has 2 inputs"):
        measure_scales(keras.Model(pair, layers.Dense(2)(layers.Add()(pair))), images)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)], name="small")
    for wrong in (np.ones((2, 5)), np.ones(4), np.ones((2, 4, 1)), np.ones((0, 4))):
        with pytest.raises(ConfigError, match=r"images of shape .* for 'small'; expected \(images, 4\)"):
            measure_scales(model, wrong)
    with pytest.raises(ConfigError, match="not finite"):
        measure_scales(model, np.array([[1, 2, 3, np.nan]]))
    for options in ({"tolerance": 0.0}, {"tolerance": float("nan")}, {"iterations": 0}):
        with pytest.raises(ConfigError, match="a tolerance above 0 and at least 1 iteration"):
            measure_scales(model, images, **options)


_OTHER_BACKEND = """
import keras, medzoo, numpy
from medzoo.models.lsuv import measure_scales
assert keras.backend.backend() == "jax"
model = medzoo.build("mobilenet_025", classes=2, input_size=32)
images = numpy.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
assert len(measure_scales(model, images)) == 28
assert abs(numpy.asarray(model(images)).var() - 1) <= 0.02
"""


@pytest.mark.slow
def test_under_jax() -> None:
    pytest.importorskip("jax")
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", _OTHER_BACKEND], env=environment, check=True, timeout=300)
