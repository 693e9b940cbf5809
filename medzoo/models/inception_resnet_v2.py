"""Inception-ResNet v2 (Szegedy et al. 2017, arXiv 1602.07261) of keras.applications, of any width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from medzoo.models.applications import Adaptation, adapt, construct
from medzoo.models.numbering import list_numbered
from medzoo.models.replay import Remake
from medzoo.models.rows.inception_resnet_v2 import list_blocks, list_convolutions
from medzoo.models.rows.options import scale_width
from medzoo.specs import ModelSpec


@keras.saving.register_keras_serializable("medzoo")
class ScaledSum(keras.layers.Layer):  # type: ignore[misc]
    """A shortcut plus its residual, scaled down so that deep networks of wide residuals learn stably."""

    def __init__(self, scale: float, **options: Any) -> None:
        """Take the factor on the residual."""
        super().__init__(**options)
        self.scale = scale

    def call(self, inputs: Sequence[Any]) -> Any:
        """Add (batch, height, width, channels) and the scaled residual of the same shape."""
        shortcut, residual = inputs
        return shortcut + residual * self.scale

    def compute_output_shape(self, input_shape: Sequence[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Give the shape of the shortcut."""
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        """Give what `from_config` makes the layer of."""
        return {**super().get_config(), "scale": self.scale}


def _name(spec: ModelSpec, network: Any) -> dict[str, str]:
    """Name convolutions, norms, activations, poolings and sums by their order."""
    del spec
    units = list_convolutions()
    lists = {
        "conv2d": [f"{unit}_conv" for unit in units],
        "batch_normalization": [f"{unit}_bn" for unit in units],
        "activation": [f"{unit}_act" for unit in units],
        "max_pooling2d": ["stem_pool1", "stem_pool2", "mixed_6a_pool", "mixed_7a_pool"],
        "average_pooling2d": ["mixed_5b_pool"],
        "custom_scale_layer": [f"{block}_sum" for block in list_blocks()],
    }
    names: dict[str, str] = {}
    for kind, ours in lists.items():
        names |= zip(list_numbered(network, kind), ours, strict=True)
    return names


def _remake(spec: ModelSpec, drop_path: float) -> Remake:
    """Scale every convolution by the option `width`, and make sums that a saved model can hold."""
    del drop_path
    width = float(spec.options["width"])

    def remake(layer: Any, name: str, inputs: Sequence[Any]) -> Any:
        del inputs
        config = layer.get_config() | {"name": name}
        if name.endswith("_sum"):  # Keras does not register its own layer
            return ScaledSum(config["scale"], name=name)
        if "filters" in config:
            config["filters"] = scale_width(spec.name, config["filters"], width)
        return type(layer).from_config(config)

    return remake


build_parts = adapt(Adaptation(construct, _name, _remake))
