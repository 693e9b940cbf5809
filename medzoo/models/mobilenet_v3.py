"""MobileNetV3 (Howard et al. 2019, arXiv 1905.02244) of keras.applications, of any width."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras

from medzoo.models.applications import Adaptation, adapt
from medzoo.models.replay import Remake, copy_layer
from medzoo.specs import ModelSpec

#: Layers that Keras names by their class and a number.
_NUMBERED = re.compile(r"(?:activation|re_lu|global_average_pooling2d)(?:_\d+)?")
#: The end of the name of squeeze and excitation's second convolution.
_EXCITE = "squeeze_excite_conv_1"


def _construct(spec: ModelSpec, shape: tuple[int, int, int]) -> Any:
    """Build Keras's network with its top, of which the pooling and the convolution on pooled features are kept."""
    return getattr(keras.applications, str(spec.options["constructor"]))(
        input_tensor=keras.Input(shape),
        alpha=float(spec.options["alpha"]),
        minimalistic=bool(spec.options["minimalistic"]),
        include_top=True,
        include_preprocessing=False,
        weights=None,
        classes=1,
    )


def _name(spec: ModelSpec, network: Any) -> dict[str, str]:
    """Name the activations that Keras numbers after the layer that each follows: `conv_bn` → `conv_act`."""
    del spec
    names = {}
    for layer in filter(lambda one: _NUMBERED.fullmatch(one.name), network.operations):
        below = _find_below(layer)
        is_pool = layer.name.startswith("global")
        names[layer.name] = "top_pool" if is_pool else f"{below.name.removesuffix('_bn')}_act"
    return names


def _find_below(operation: Any) -> Any:
    """Find the layer that an operation follows, past operations that are no layers."""
    below = operation.input._keras_history.operation
    return below if isinstance(below, keras.layers.Layer) else _find_below(below)


def _remake(spec: ModelSpec, drop_path: float) -> Remake:
    """Put one layer in the place of a hard sigmoid, which Keras builds of a sum, a ReLU and a product."""
    del spec, drop_path

    def remake(layer: Any, name: str, inputs: Sequence[Any]) -> Any:
        """Make one layer of the new network."""
        if not isinstance(layer, keras.layers.Layer):
            return lambda features, _: features  # x + 3 and x · 1/6, which are part of the hard sigmoid
        if name.endswith(f"{_EXCITE}_act"):
            return keras.layers.Activation("hard_sigmoid", name=name)
        return copy_layer(layer, name, inputs)

    return remake


build_parts = adapt(Adaptation(_construct, _name, _remake))
