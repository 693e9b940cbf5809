"""The stock Keras way to reuse weights for other classes, as a user writes it: build twice, load, assign, save.

`python stock_copy.py NETWORK WEIGHTS CLASSES`: NETWORK is a class of keras.applications.
"""

from __future__ import annotations

import sys

import keras

network, weights, classes = sys.argv[1:]
build = getattr(keras.applications, network)
source = build(weights=None)
source.load_weights(weights)
target = build(weights=None, classes=int(classes))
for given, layer in zip(source.layers, target.layers, strict=True):
    values = given.get_weights()
    if [value.shape for value in values] == [value.shape for value in layer.get_weights()]:
        layer.set_weights(values)
target.save_weights("made.weights.h5")
