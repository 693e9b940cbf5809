"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) of keras.applications, of any width."""

from __future__ import annotations

from typing import Any

import keras

from medzoo.models.applications import Adaptation, adapt
from medzoo.specs import ModelSpec


def _construct(spec: ModelSpec, shape: tuple[int, int, int]) -> Any:
    """Build Keras's network of the row's width."""
    return keras.applications.MobileNetV2(
        input_tensor=keras.Input(shape), alpha=float(spec.options["alpha"]), include_top=False, weights=None
    )


build_parts = adapt(Adaptation(_construct))
