"""Fused batch norm computes, learns and is saved as Keras's own; statistics can be kept or measured while frozen."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import medzoo
from medzoo.models.catalog import find_model
from medzoo.training.stepping.acceleration import accelerate, decelerate, describe_acceleration
from medzoo.training.stepping.hardware import (
    SLOWER_IN_BFLOAT16,
    choose_acceleration,
    choose_precision,
)
from medzoo.training.stepping.norms import (
    freeze_statistics,
    make_recalibration,
    release_statistics,
)

IMAGES = np.random.default_rng(0).normal(0.5, 2.0, (6, 8, 8, 3)).astype(np.float32)
KERNEL = "FusedBatchNormV3"


@pytest.fixture(autouse=True)
def _policy() -> Iterator[None]:
    """Each test leaves Keras's precision as it was."""
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


def make_model(**options: Any) -> keras.Model:
    """Make two convolutions with batch norm and ReLU, the same weights every time."""
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((8, 8, 3), name="image")
    for part in ("1", "2"):
        x = keras.layers.Conv2D(16, 3, use_bias=False, name=f"conv{part}")(x)
        x = keras.layers.BatchNormalization(name=f"norm{part}", **options)(x)
        x = keras.layers.ReLU(name=f"relu{part}")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, dtype="float32", name="head")(x), name="model")
    generator = np.random.default_rng(2)
    for variable in model.weights:
        if "norm" in variable.path:
            variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    return model


def differentiate(
    model: Any, training: bool = True, jit: bool = False
) -> tuple[np.ndarray, list[np.ndarray], set[str]]:
    """Give outputs, gradients of all weights and of the images, and the kinds of operation that computed them."""

    def loss(images: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = model(images, training=training)
            total = tf.reduce_sum(outputs * tf.constant([1.0, -0.7]) + outputs**2)
        values = [variable.value for variable in model.trainable_variables]
        return outputs, tape.gradient(total, [*values, images])

    function = tf.function(loss, jit_compile=jit)
    outputs, gradients = function(tf.constant(IMAGES))
    kinds = {operation.type for operation in function.get_concrete_function(IMAGES).graph.get_operations()}
    return outputs.numpy(), [gradient.numpy() for gradient in gradients], kinds


def assert_alike(first: Any, second: Any, tolerance: float) -> None:
    """Assert that arrays agree to a share of the largest value of each."""
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance * np.abs(other).max(), rtol=0)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("policy", "tolerance"), [("float32", 2e-5), ("mixed_bfloat16", 2e-2)])
def test_outputs_gradients_and_statistics_are_those_of_keras(
    policy: str, tolerance: float, training: bool, jit: bool
) -> None:
    keras.config.set_dtype_policy(policy)
    plain, fused = make_model(), accelerate(make_model())
    expected, gradients, kinds = differentiate(plain, training, jit)
    found, own_gradients, own_kinds = differentiate(fused, training, jit)
    assert KERNEL in own_kinds
    assert KERNEL not in kinds
    assert_alike([found], [expected], tolerance)
    assert_alike(own_gradients, gradients, tolerance)
    # One step has moved them, by 1 %: what moved must agree, not only what stayed.
    start = make_model().get_weights()
    moved = [after - before for after, before in zip(plain.get_weights(), start, strict=True)]
    assert any(np.abs(move).max() > 1e-4 for move in moved) == training
    for name in ("norm1", "norm2"):
        assert_alike(
            [value.numpy() for value in fused.get_layer(name).non_trainable_variables],
            [value.numpy() for value in plain.get_layer(name).non_trainable_variables],
            3e-6 if policy == "float32" else 1e-4,
        )


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}, {"axis": 3}, {"epsilon": 1e-5}])
def test_one_layer_agrees_to_three_millionths(options: dict[str, Any]) -> None:
    results = []
    for fused in (False, True):
        layer = keras.layers.BatchNormalization(**options)
        layer.build(IMAGES.shape)
        if fused:
            accelerate(layer)
            assert describe_acceleration(layer) == "1 of 1 batch norm fused"
        for variable in layer.trainable_variables:
            variable.assign([0.5, 1.0, -2.0])
        images = tf.constant(IMAGES)
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images, training=True)
            # Of Σ y² the gradient is nearly none: what is left of it is rounding alone.
            total = tf.reduce_sum(outputs * tf.cos(tf.constant(IMAGES)))
        gradients = tape.gradient(
            total, [*(variable.value for variable in layer.trainable_variables), images]
        )
        moved = [variable.numpy() for variable in layer.non_trainable_variables]
        results.append([outputs.numpy(), *(gradient.numpy() for gradient in gradients), *moved])
    assert_alike(*results, 3e-6)


def test_a_frozen_layer_is_in_inference_mode_as_with_keras() -> None:
    models = [make_model(), accelerate(make_model())]
    for model in models:
        model.get_layer("norm1").trainable = False
    (expected, gradients, _), (found, own_gradients, _) = map(differentiate, models)
    assert_alike([found, *own_gradients], [expected, *gradients], 2e-5)
    for layer in (model.get_layer("norm1") for model in models):
        np.testing.assert_array_equal(
            layer.moving_mean.numpy(), make_model().get_layer("norm1").moving_mean.numpy()
        )


def test_one_value_a_channel_has_no_variance() -> None:
    layers = [keras.layers.BatchNormalization(momentum=0.0) for _ in range(2)]
    for layer in layers:
        layer.build((None, 1, 1, 3))
    accelerate(layers[1])
    found, expected = (layer(IMAGES[:1, :1, :1], training=True) for layer in layers)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert layers[1].moving_variance.numpy().tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(layers[1].moving_mean.numpy(), IMAGES[0, 0, 0], rtol=1e-6)


def read_file(path: Path) -> dict[str, Any]:
    """Read the arrays of a weights file by their places, with the attributes of every group."""
    content: dict[str, Any] = {}

    def note(name: str, item: Any) -> None:
        content[name] = item[()].tolist() if isinstance(item, h5py.Dataset) else dict(item.attrs)

    with h5py.File(path) as file:
        file.visititems(note)
    return content


def test_what_is_saved_is_the_plain_model(tmp_path: Path) -> None:
    plain, fused = make_model(), accelerate(make_model())
    for name, model in (("plain", plain), ("fused", fused)):
        model.save_weights(tmp_path / f"{name}.weights.h5")
        model.save(tmp_path / f"{name}.keras")
    assert read_file(tmp_path / "fused.weights.h5") == read_file(tmp_path / "plain.weights.h5")
    configs = []
    for name in ("plain", "fused"):
        with zipfile.ZipFile(tmp_path / f"{name}.keras") as archive:
            configs.append(archive.read("config.json").decode())
    assert "medzoo" not in configs[1]
    assert json.loads(configs[1]) == json.loads(configs[0])
    loaded = keras.models.load_model(tmp_path / "fused.keras")
    assert describe_acceleration(loaded) == "0 of 2 batch norms fused"
    np.testing.assert_allclose(loaded(IMAGES), fused(IMAGES), rtol=1e-5, atol=1e-6)
    plain.load_weights(tmp_path / "fused.weights.h5")
    assert [variable.path for variable in fused.variables] == [variable.path for variable in plain.variables]
    assert type(fused.get_layer("norm1")) is keras.layers.BatchNormalization


def test_an_exported_model_needs_no_medzoo(tmp_path: Path) -> None:
    fused = accelerate(make_model())
    fused.export(str(tmp_path / "exported"), verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(exported.serve(IMAGES), make_model()(IMAGES), rtol=1e-5, atol=1e-6)


def own_call() -> Any:
    """Make a batch norm that computes in a way of its own."""

    class Doubled(keras.layers.BatchNormalization):  # type: ignore[misc]
        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            return 2 * super().call(inputs, training=training, mask=mask)

    return Doubled()


@pytest.mark.parametrize(
    ("make", "shape", "reason"),
    [
        (lambda: keras.layers.BatchNormalization(), (6, 3), "rank 2"),
        (lambda: keras.layers.BatchNormalization(), (6, 4, 3), "rank 3"),
        (lambda: keras.layers.BatchNormalization(), (6, 4, 2, 4, 3), "rank 5"),
        (lambda: keras.layers.BatchNormalization(axis=1), (6, 3, 4, 4), "axis 1"),
        (lambda: keras.layers.BatchNormalization(renorm=True), (6, 4, 4, 3), "renorm"),
        (lambda: keras.layers.BatchNormalization(synchronized=True), (6, 4, 4, 3), "synchronized"),
        (lambda: keras.layers.BatchNormalization(dtype="float16"), (6, 4, 4, 3), "float16"),
        (lambda: keras.layers.BatchNormalization(dtype="float64"), (6, 4, 4, 3), "float64"),
        (own_call, (6, 4, 4, 3), "Doubled computes in a way of its own"),
    ],
)
def test_what_the_kernel_cannot_do_stays_with_keras(
    make: Callable[[], Any], shape: tuple[int, ...], reason: str
) -> None:
    plain, tried = make(), make()
    values = np.random.default_rng(3).normal(size=shape)
    for layer in (plain, tried):
        layer.build(shape)
    accelerate(tried)
    assert describe_acceleration(tried) == f"0 of 1 batch norm fused (not: 1 {reason})"
    assert "call" not in vars(tried)
    np.testing.assert_array_equal(tried(values, training=True), plain(values, training=True))


def test_a_mask_is_left_to_keras() -> None:
    layers = [keras.layers.BatchNormalization(momentum=0.0) for _ in range(2)]
    accelerate(layers[1])
    mask = np.zeros((6, 8, 8), bool)
    mask[:, :4] = True
    plain, fused = (layer(IMAGES, training=True, mask=mask) for layer in layers)
    np.testing.assert_array_equal(fused, plain)
    np.testing.assert_allclose(layers[1].moving_mean.numpy(), IMAGES[:, :4].mean((0, 1, 2)), rtol=1e-4)


def test_nested_and_subclassed_models_are_reached_before_they_are_built() -> None:
    class Network(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.parts = [keras.layers.BatchNormalization(), keras.Sequential([make_model()])]

        def call(self, images: Any, training: bool | None = None) -> Any:
            for part in self.parts:
                images = part(images, training=training)
            return images

    network = accelerate(Network())
    assert describe_acceleration(network) == "3 of 3 batch norms fused"
    function = tf.function(lambda images: network(images, training=True))
    operations = function.get_concrete_function(IMAGES).graph.get_operations()
    assert sum(operation.type == KERNEL for operation in operations) == 3


def test_the_catalogue_is_accelerated_whole() -> None:
    assert describe_acceleration(accelerate(medzoo.build("resnet20"))) == "19 of 19 batch norms fused"
    assert describe_acceleration(accelerate(keras.Sequential([keras.Input((3,))]))) == "no batch norm"


def test_a_compiled_model_changes_with_its_next_fit_and_keeps_its_optimiser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traced: list[bool] = []
    kernel = tf.raw_ops.FusedBatchNormV3

    def count(**arguments: Any) -> Any:
        """Note that a kernel becomes part of a graph."""
        traced.append(arguments["is_training"])
        return kernel(**arguments)

    monkeypatch.setattr(tf.raw_ops, "FusedBatchNormV3", count)
    model = make_model()
    model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
    labels = np.eye(2, dtype=np.float32)[[0, 1, 0, 1, 0, 1]]
    for change, training, inference in ((None, 0, 0), (accelerate, 2, 2), (decelerate, 0, 0)):
        if change:
            change(model)
        traced.clear()
        model.train_on_batch(IMAGES, labels)
        model.predict(IMAGES, verbose=0)
        assert (traced.count(True), traced.count(False)) == (training, inference)
    assert int(model.optimizer.iterations) == 3
    assert "call" not in vars(model.get_layer("norm1"))


@pytest.mark.parametrize("fused", [False, True])
def test_frozen_statistics_are_used_and_kept_while_weights_learn(fused: bool) -> None:
    model = make_model()
    if fused:
        accelerate(model)
    freeze_statistics(model)
    outputs, gradients, kinds = differentiate(model)
    assert (KERNEL in kinds) == fused
    expected, own_gradients, _ = differentiate(make_model(), training=False)
    assert_alike([outputs, *gradients], [expected, *own_gradients], 2e-5)
    assert len(gradients) == len(make_model().trainable_variables) + 1
    for one, other in zip(model.get_weights(), make_model().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    batches = tf.data.Dataset.from_tensors((IMAGES, IMAGES))
    assert make_recalibration(model, batches) is None
    release_statistics(model)
    assert_alike([differentiate(model)[0]], [differentiate(make_model())[0]], 3e-6)
    assert describe_acceleration(model) == f"{2 * fused} of 2 batch norms fused"


def test_recalibration_follows_what_is_frozen() -> None:
    """Frozen norms keep their statistics until they learn."""
    model = accelerate(make_model())
    first, second = (model.get_layer(name) for name in ("norm1", "norm2"))
    first.trainable = second.trainable = False
    batches = tf.data.Dataset.from_tensor_slices((IMAGES, IMAGES)).batch(4)
    recalibrate = make_recalibration(model, batches)
    assert recalibrate is not None
    before = first.moving_mean.numpy()
    recalibrate()
    np.testing.assert_array_equal(first.moving_mean.numpy(), before)
    features = np.asarray(model.layers[1](IMAGES), np.float64)
    first.trainable = True
    kept = second.moving_mean.numpy()
    recalibrate()
    np.testing.assert_allclose(first.moving_mean.numpy(), features.mean((0, 1, 2)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(first.moving_variance.numpy(), features.var((0, 1, 2)), rtol=1e-3)
    assert first.momentum == 0.99
    np.testing.assert_array_equal(second.moving_mean.numpy(), kept)


def test_hardware_rules_say_why() -> None:
    flags = frozenset({"avx512_bf16"})
    slow = choose_precision("auto", flags, has_gpu=False, family="mobilenet")
    assert slow.value == "float32"
    assert "mobilenet" in slow.reason
    assert choose_precision("auto", flags, has_gpu=False, family="resnet").value == "mixed_bfloat16"
    assert choose_precision("auto", flags, has_gpu=True, family="mobilenet").value == "mixed_bfloat16"
    asked = choose_precision("mixed_bfloat16", flags, has_gpu=False, family="mobilenet")
    assert asked.value == "mixed_bfloat16"
    assert choose_acceleration("auto", has_gpu=False).value == "on"
    assert choose_acceleration("auto", has_gpu=True).value == "off"
    assert choose_acceleration("on", has_gpu=True).value == "on"
    families = {find_model(name).family for name in ("mobilenet_075", "efficientnetb0")}
    assert families <= set(SLOWER_IN_BFLOAT16)
