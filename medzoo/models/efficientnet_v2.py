"""EfficientNetV2 (Tan and Le 2021, arXiv 2104.00298) of keras.applications."""

from __future__ import annotations

from typing import Any

import keras

from medzoo.models.applications import Adaptation, adapt
from medzoo.models.efficientnet import remake_dropping
from medzoo.specs import ModelSpec


def _construct(spec: ModelSpec, shape: tuple[int, int, int]) -> Any:
    """Build Keras's network without the layers that scale the image."""
    constructor = getattr(keras.applications, str(spec.options["constructor"]))
    return constructor(
        include_top=False, include_preprocessing=False, weights=None, input_tensor=keras.Input(shape)
    )


build_parts = adapt(Adaptation(_construct, remake=remake_dropping))
