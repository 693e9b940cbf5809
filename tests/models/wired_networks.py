"""Small networks whose channels travel in one way each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers


def conv(filters: int, name: str, **options: Any) -> layers.Layer:
    """Make a 1×1 convolution."""
    return layers.Conv2D(filters, 1, name=name, **options)


def sequence(*steps: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Apply steps one after the other."""

    def build(features: Any) -> Any:
        for step in steps:
            features = step(features)
        return features

    return build


def concatenate_three(image: Any) -> Any:
    """Build a dense block of three convolutions, as DenseNet's."""
    features = conv(4, "a")(image)
    for name in "bc":
        new = conv(2, name)(layers.BatchNormalization()(features))
        features = layers.Concatenate()([features, new])
    return features


def squeeze_and_excite(image: Any) -> Any:
    """Weigh channels by what their averages say, as EfficientNet does."""
    features = conv(4, "a")(image)
    weights = layers.Reshape((1, 1, 4))(layers.GlobalAveragePooling2D()(features))
    weights = conv(4, "expand", activation="sigmoid")(conv(2, "squeeze", activation="relu")(weights))
    return layers.Multiply()([features, weights])


def add_residuals(image: Any) -> Any:
    """Add two residuals."""
    features = conv(4, "a")(image)
    features = layers.Add()([features, conv(4, "b")(features)])
    return layers.ReLU()(layers.Add()([conv(4, "c")(features), features]))


def build_tiny(build: Callable[[Any], Any]) -> keras.Model:
    """Build a network on a small image that ends in a dense layer."""
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Dense(2, name="head")(layers.Flatten()(build(image))))
