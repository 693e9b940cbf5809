"""Copies, statistics and fresh starts in models that are not ours: subclassed, sequential, nested."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
from foreign_checks import check_copy, check_random, check_statistics, fill, make_source

from medzoo import recipes
from medzoo.errors import PlanError
from medzoo.transplant.plan import Rule

SHAPE = (8, 8, 3)


class Scaled(keras.layers.Layer):
    """A layer of a user's own: a convolution, a norm, and a weight of which only the layer knows the start."""

    def __init__(self, channels: int, **options: object) -> None:
        super().__init__(**options)
        self.convolution = keras.layers.Conv2D(channels, 3, padding="same", name="convolution")
        self.norm = keras.layers.BatchNormalization(name="norm")

    def build(self, shape: tuple[int, ...]) -> None:
        self.strength = self.add_weight(shape=(shape[-1],), initializer="ones", name="strength")
        self.convolution.build(shape)
        self.norm.build((*shape[:-1], self.convolution.filters))

    def call(self, inputs: object) -> object:
        return self.norm(self.convolution(inputs * self.strength))


class Residual(keras.Model):
    """A subclassed model of such layers, one of them inside another subclassed model."""

    def __init__(self, depth: int = 1) -> None:
        super().__init__(name=f"residual_{depth}")
        self.first = Scaled(12, name="first")
        self.inner = Residual(depth - 1) if depth else None
        self.last = Scaled(12, name="last")

    def call(self, inputs: object) -> object:
        outputs = self.first(inputs)
        if self.inner is not None:
            outputs = outputs + self.inner(outputs)
        return keras.ops.relu(self.last(outputs))


def make_subclassed() -> keras.Model:
    model = Residual()
    model(np.zeros((1, *SHAPE), "float32"))
    return model


def make_sequential() -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.SeparableConv2D(16, 3, name="apart"),
            layers.LayerNormalization(name="even"),
            keras.Sequential([keras.Input((6, 6, 16)), layers.Conv2D(8, 3, name="inside")], name="inner"),
            layers.Flatten(),
            layers.Dense(4, name="top"),
        ],
        name="row",
    )


def make_nested() -> keras.Model:
    """Two nested models of equal inner names, one of them used twice."""
    parts = []
    for name in ("left", "right"):
        inputs = keras.Input(SHAPE)
        inner = keras.layers.Conv2D(3, 3, padding="same", name="convolution")(inputs)
        inner = keras.layers.GroupNormalization(3, name="norm")(inner)
        parts.append(keras.Model(inputs, inner, name=name))
    outer = keras.Input(SHAPE)
    both = keras.layers.Concatenate()([parts[1](parts[0](outer)), parts[0](outer)])
    pooled = keras.layers.GlobalAveragePooling2D()(both)
    return keras.Model(outer, keras.layers.Dense(40, name="top")(pooled), name="outer")


def make_application() -> keras.Model:
    return keras.applications.MobileNetV3Small(
        input_shape=(32, 32, 3), weights=None, classes=4, include_preprocessing=False
    )


MODELS: dict[str, tuple[Callable[[], keras.Model], tuple[int, ...]]] = {
    "subclassed": (make_subclassed, SHAPE),
    "sequential": (make_sequential, SHAPE),
    "nested": (make_nested, SHAPE),
    "application": (make_application, (32, 32, 3)),
}
EVERY_MODEL = pytest.mark.parametrize("name", MODELS)
#: What has none of the known roles needs a rule of the user's own.
OWN_RULES = (Rule("*/strength*", "copy"),)


@EVERY_MODEL
def test_a_copy_of_one_instance_answers_as_it_does(name: str) -> None:
    check_copy(*MODELS[name])


@EVERY_MODEL
def test_statistics_draw_every_kernel_and_bias(name: str) -> None:
    assert check_statistics(MODELS[name][0], OWN_RULES) >= 6


@EVERY_MODEL
def test_random_fills_every_tensor_whose_start_is_known(name: str) -> None:
    kept = check_random(MODELS[name][0])
    assert {path.rpartition("/")[2].partition("#")[0] for path in kept} == (
        {"strength"} if name == "subclassed" else set()
    )
    assert len(kept) == (4 if name == "subclassed" else 0)


def test_a_weight_of_no_known_role_needs_a_rule_under_statistics() -> None:
    model = make_subclassed()
    with pytest.raises(PlanError, match=r"strength.*3 more"):
        fill(model, make_source(model), recipes.stats())
