"""ConvNeXt (Liu et al. 2022, arXiv 2201.03545) of keras.applications, by names that all sizes share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from medzoo.models.applications import Adaptation, adapt
from medzoo.models.replay import Remake, copy_layer
from medzoo.specs import ModelSpec


@keras.saving.register_keras_serializable("medzoo")
class LayerScale(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """A learnt factor on every channel, small at the start (Touvron et al. 2021, arXiv 2103.17239).

    Keras's own layer has neither a stable name for its variable nor an initializer that can be read: reset to
    its start, as norms are by a transplant of statistics, this one is `start` again, not 1.

    >>> LayerScale(1e-6, name="scale").gamma_initializer.value
    1e-06
    """

    channels_like = "LayerScale"

    def __init__(self, start: float = 1e-6, **options: Any) -> None:
        """Take the factor at the start, and a layer's own options."""
        super().__init__(**options)
        self.start = start
        self.gamma_initializer = keras.initializers.Constant(start)

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make the factors, one a channel."""
        self.gamma = self.add_weight(shape=(shape[-1],), initializer=self.gamma_initializer, name="gamma")

    def call(self, inputs: Any) -> Any:
        """Multiply inputs (…, channels)."""
        return inputs * self.gamma

    def get_config(self) -> dict[str, Any]:
        """Give the factor at the start and the layer's own configuration."""
        return {**super().get_config(), "start": self.start}


def _construct(spec: ModelSpec, shape: tuple[int, int, int]) -> Any:
    """Build Keras's network without the layer that scales the image."""
    constructor = getattr(keras.applications, str(spec.options["constructor"]))
    return constructor(
        include_top=False, include_preprocessing=False, weights=None, input_tensor=keras.Input(shape)
    )


def _name(spec: ModelSpec, network: Any) -> dict[str, str]:
    """Take the network's own name off its layers', and name the sums and the paths that can be dropped."""
    del spec
    names = {}
    for operation in network.operations:
        inner = operation.layers if isinstance(operation, keras.Sequential) else [operation]
        for layer in inner:
            names[layer.name] = layer.name.removeprefix(f"{network.name}_").replace("_identity", "_drop")
        # A sequential model is unfolded: what leaves it leaves its last layer.
        names[operation.name] = names[inner[-1].name]
    sums = (one for one in network.operations if not isinstance(one, keras.layers.Layer))
    for operation in sums:
        branch = operation.input[1]._keras_history.operation
        names[operation.name] = names[branch.name].replace("_drop", "_add")
    return names


def _remake(spec: ModelSpec, drop_path: float) -> Remake:
    """Put layers of ours in the place of Keras's LayerScale, of what drops paths, and of bare sums."""
    blocks = [block.name for stage in spec.stages for block in stage.blocks]
    rates = dict(zip(blocks, np.linspace(0.0, drop_path, len(blocks)).tolist(), strict=True))

    def remake(layer: Any, name: str, inputs: Sequence[Any]) -> Any:
        """Make one layer of the new network."""
        if name.endswith("_add"):
            return lambda below, branch: keras.layers.Add(name=name)([below, branch])
        if name.endswith("_drop"):
            rate = rates[name.removesuffix("_drop")]
            return keras.layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=name)
        if name.endswith("_layer_scale"):
            return LayerScale(layer.init_values, name=name)
        return copy_layer(layer, name, inputs)

    return remake


build_parts = adapt(Adaptation(_construct, _name, _remake))
