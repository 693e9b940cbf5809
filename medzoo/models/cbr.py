"""The CBR family of Raghu et al. 2019 (Transfusion, arXiv 1902.07208): conv, batch norm, ReLU, max-pooling."""

from __future__ import annotations

from typing import Any

import keras

from medzoo.specs import ModelSpec


def build_features(spec: ModelSpec, inputs: Any) -> Any:
    """Build the units of a CBR network on `inputs` (batch, height, width, channels).

    Convolutions have stride 1, SAME padding and no bias (batch norm follows; the published counts exclude
    it); the pooling window is 3×3 with stride 2. Returns the features before global average pooling.
    """
    widths = [int(width) for width in str(spec.options["channels"]).split("-")]
    features = inputs
    for unit, width in enumerate(widths, start=1):
        name = f"block{unit}"
        features = keras.layers.Conv2D(
            width, int(spec.options["kernel"]), padding="same", use_bias=False, name=f"{name}_conv"
        )(features)
        features = keras.layers.BatchNormalization(name=f"{name}_bn")(features)
        features = keras.layers.ReLU(name=f"{name}_relu")(features)
        if unit <= int(spec.options["pools"]):
            features = keras.layers.MaxPooling2D(3, 2, padding="same", name=f"{name}_pool")(features)
    return features
