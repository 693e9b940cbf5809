"""The stock Keras way to a Mean-Var initialisation, as a user writes it: build, load, draw, assign, save.

`python stock_stats.py NETWORK WEIGHTS [CLASSES]`: NETWORK is a class of keras.applications; with CLASSES, the head is
that of a network built anew.
"""

from __future__ import annotations

import sys

import keras
import numpy as np

network, weights, *classes = sys.argv[1:]
options = {"alpha": 0.75} if network == "MobileNet" else {}
build = getattr(keras.applications, network)
source = build(weights=None, **options)
source.load_weights(weights)
target = build(weights=None, classes=int(classes[0]), **options) if classes else source
generator = np.random.default_rng(0)
for given, layer in zip(source.layers, target.layers, strict=True):
    values = given.get_weights()
    if isinstance(layer, keras.layers.BatchNormalization):
        gamma, beta, mean, variance = values
        layer.set_weights(
            [np.ones_like(gamma), np.zeros_like(beta), np.zeros_like(mean), np.ones_like(variance)]
        )
    elif values and [value.shape for value in values] == [value.shape for value in layer.get_weights()]:
        layer.set_weights(
            [generator.normal(value.mean(), value.std(), value.shape).astype("float32") for value in values]
        )
target.save_weights("made.weights.h5")
