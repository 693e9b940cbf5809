"""VGGs (Simonyan and Zisserman 2015, arXiv 1409.1556) of keras.applications, with or without their dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from medzoo.models.applications import Adaptation, adapt
from medzoo.models.replay import Remake
from medzoo.models.rows.vgg import list_widths
from medzoo.specs import ModelSpec, list_parts


def _construct(spec: ModelSpec, shape: tuple[int, int, int]) -> Any:
    """Build Keras's network; its head is never replayed."""
    constructor = getattr(keras.applications, str(spec.options["constructor"]))
    return constructor(include_top=spec.options["top"] == "fc", weights=None, input_tensor=keras.Input(shape))


def _remake(spec: ModelSpec, drop_path: float) -> Remake:
    """Give every convolution and dense layer the channels of its part."""
    del drop_path
    parts = list_parts(spec.stages[:-1])
    widths = list_widths(spec.name, spec.options, spec.stages)

    def remake(layer: Any, name: str, inputs: Sequence[Any]) -> Any:
        del inputs
        config = layer.get_config() | {"name": name}
        size = next((key for key in ("filters", "units") if key in config), None)
        if size is not None:
            config[size] = next(widths[part.name] for part in parts if part.holds(name))
        return type(layer).from_config(config)

    return remake


build_parts = adapt(Adaptation(_construct, remake=_remake))
