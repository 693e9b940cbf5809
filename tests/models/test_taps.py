"""Models of activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import medzoo
from medzoo.errors import ConfigError
from medzoo.models.taps import taps
from medzoo.specs import Stage

layers = keras.layers


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return medzoo.build("resnet20", classes=2)


def test_stages_and_blocks_of_a_row_by_name_or_by_themselves(
    network: keras.Model, images: np.ndarray
) -> None:
    stages = medzoo.find_model("resnet20").stages
    tapped = taps(network, [*stages, "conv3_block2"])
    activations = tapped(images, training=False)
    assert list(tapped.output) == ["conv1", "conv2", "conv3", "conv4", "head", "conv3_block2"]
    for name, layer in [("conv3", "conv3_block3_out"), ("conv3_block2", "conv3_block2_out")]:
        alone = keras.Model(network.input, network.get_layer(layer).output)
        assert np.array_equal(activations[name], alone(images, training=False))
    assert np.array_equal(activations["head"], network(images, training=False))


def test_weights_are_shared(images: np.ndarray) -> None:
    model = medzoo.build("cbr_tiny", classes=2, input_size=32)
    tapped = taps(model, ["block1"])
    before = np.asarray(tapped(images)["block1"])
    model.get_layer("block1_bn").gamma.assign(np.zeros(32))
    assert not np.array_equal(before, tapped(images)["block1"])
    assert all(any(weight is own for own in model.weights) for weight in tapped.weights)


def test_a_derived_network_s_stages_are_known(images: np.ndarray) -> None:
    model = medzoo.build("resnet20@conv3_block2", classes=2)
    assert list(taps(model, ["conv3", "conv3_block1"]).output) == ["conv3", "conv3_block1"]
    with pytest.raises(ConfigError, match="no stage or layer 'conv4'"):
        taps(model, ["conv4"])


def test_the_cut_network_gives_the_tapped_activation_of_the_whole(
    network: keras.Model, images: np.ndarray
) -> None:
    cut = medzoo.build("resnet20@conv3_block2", classes=2, head="none")
    own = {variable.path: variable for variable in network.weights}
    for variable in cut.weights:
        variable.assign(own[variable.path])
    expected = taps(network, ["conv3_block2"])(images, training=False)["conv3_block2"]
    assert np.array_equal(cut(images, training=False), expected)


def test_a_foreign_model_that_bears_a_row_s_name_is_known_by_its_layers() -> None:
    image = keras.Input((4,))
    model = keras.Model(image, layers.Dense(2, name="conv1")(image), name="resnet50")
    assert list(taps(model, ["conv1"]).output) == ["conv1"]
    with pytest.raises(ConfigError, match="expected one of 'conv1'"):
        taps(model, ["conv2"])


def _wrap(base: keras.Model, sequential: bool) -> keras.Model:
    """Put a model between other layers, in either of Keras's two ways."""
    around = [layers.Rescaling(0.5), base, layers.Flatten(name="flat"), layers.Dense(2, name="out")]
    if sequential:
        return keras.Sequential([keras.Input((32, 32, 3)), *around])
    image = keras.Input((32, 32, 3))
    features = image
    for layer in around:
        features = layer(features)
    return keras.Model(image, features)


@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize("depth", [1, 2])
def test_layers_of_nested_models_are_reached(sequential: bool, depth: int, images: np.ndarray) -> None:
    base = medzoo.build("cbr_tiny", classes=2, head="none", input_size=32)
    nested = base if depth == 1 else keras.Sequential([keras.Input((32, 32, 3)), base], name="around")
    model = _wrap(nested, sequential)
    tapped = taps(model, ["block2_pool", nested.name, "block1_relu", "out"])
    activations = tapped(images, training=False)
    for layer in ("block2_pool", "block1_relu"):
        alone = keras.Model(base.input, base.get_layer(layer).output)
        assert np.allclose(activations[layer], alone(images * 0.5, training=False), atol=1e-6)
    assert np.allclose(activations["out"], model(images, training=False), atol=1e-6)
    assert np.allclose(activations[nested.name], base(images * 0.5, training=False), atol=1e-6)
    assert {id(weight) for weight in tapped.weights} <= {id(weight) for weight in model.weights}


def test_several_inputs_and_several_calls() -> None:
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    shared = layers.Dense(4, name="shared")
    model = keras.Model(
        {"left": left, "right": right}, layers.Add(name="sum")([shared(left), shared(shared(right))])
    )
    inputs = {"left": np.ones((1, 4), "float32"), "right": np.ones((1, 4), "float32")}
    activations = taps(model, ["sum", "shared"])(inputs)
    assert np.allclose(activations["shared"], shared(shared(inputs["right"])))


def _subclassed() -> keras.Model:
    class Own(keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    return Own(name="own")


@pytest.mark.parametrize(
    ("make", "stages", "reason"),
    [
        (_subclassed, ["a"], "'own' of class Own has no graph to read; expected a functional"),
        (lambda: keras.Sequential([layers.Dense(2)], name="unbuilt"), ["a"], "'unbuilt' is not built"),
        (lambda: medzoo.build("cbr_tiny", input_size=32), [], "expected a list of stages"),
        (lambda: medzoo.build("cbr_tiny", input_size=32), "block1", "expected a list of stages"),
        (lambda: medzoo.build("cbr_tiny", input_size=32), ["blok1"], "'blok1'; expected one of 'block1'"),
        (
            lambda: medzoo.build("cbr_tiny", input_size=32),
            [Stage("block9", "block9_*", "block9_pool")],
            "no stage or layer 'block9_pool'; expected one of 'block",
        ),
    ],
)
def test_what_cannot_be_tapped_is_refused(make: Callable[[], keras.Model], stages: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        taps(make(), stages)
