"""A small network with every kind of layer that the formats name, for tests of reading and writing."""

from __future__ import annotations

import keras
import numpy as np


def make_network() -> keras.Model:
    """Build a network with every kind of layer that the formats name: no bias, norms, depthwise, separable."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="stem")(inputs)
    x = keras.layers.BatchNormalization(name="stem_bn")(x)
    x = keras.layers.DepthwiseConv2D(3, name="spread")(x)
    x = keras.layers.SeparableConv2D(5, 3, name="apart")(x)
    x = keras.layers.LayerNormalization(name="even")(x)
    x = keras.layers.Conv2D(6, 1, name="mix")(x)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x), name="toy")
    rng = np.random.default_rng(7)
    for variable in model.weights:
        variable.assign(rng.uniform(0.1, 1.0, variable.shape).astype("float32"))
    return model
