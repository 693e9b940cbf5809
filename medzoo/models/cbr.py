"""The CBR family (Raghu et al. 2019): convolution, batch norm, ReLU, max-pooling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from medzoo.models.rows.cbr import list_widths
from medzoo.specs import ModelSpec, list_parts


def build_parts(spec: ModelSpec, inputs: Any, drop_path: float) -> Iterator[Any]:
    """Build the units of a CBR network on `inputs` (batch, height, width, channels) and yield each one's output.

    Convolutions have stride 1 and, unless told otherwise, SAME padding and no bias (batch norm follows; the
    published counts exclude it); the pooling window is 3×3 with stride 2. There are no paths to drop.
    """
    del drop_path
    padding = str(spec.options["padding"])
    features = inputs
    widths = list_widths(spec.name, spec.options, spec.stages)
    for part, width in zip(list_parts(spec.stages), widths, strict=False):
        features = keras.layers.Conv2D(
            width,
            int(spec.options["kernel"]),
            padding=padding,
            use_bias=bool(spec.options["bias"]),
            name=f"{part.name}_conv",
        )(features)
        features = keras.layers.BatchNormalization(name=f"{part.name}_bn")(features)
        features = keras.layers.ReLU(name=f"{part.name}_relu")(features)
        if part.output.endswith("_pool"):
            features = keras.layers.MaxPooling2D(3, 2, padding=padding, name=f"{part.name}_pool")(features)
        yield features
