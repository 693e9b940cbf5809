"""Networks of keras.applications, rebuilt under our names: without their tops, without scaling inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras

from medzoo.models.abstract import build_without_weights
from medzoo.models.replay import Remake, copy_layer, replay
from medzoo.specs import ModelSpec, list_parts


@dataclass(frozen=True)
class Adaptation:
    """How a family of keras.applications becomes ours.

    `construct` builds the network without top or weights for an input shape. `name` gives the names that differ
    from Keras's; `remake`, for a network and the rate of its last dropped path, how each layer is made.
    """

    construct: Callable[[ModelSpec, tuple[int, int, int]], Any]
    name: Callable[[ModelSpec, Any], dict[str, str]] = lambda *_: {}
    remake: Callable[[ModelSpec, float], Remake] = lambda *_: copy_layer


def adapt(adaptation: Adaptation) -> Callable[[ModelSpec, Any, float], Iterator[Any]]:
    """Make a family's builder of its adaptation."""
    last: dict[object, Any] = {}

    def build_parts(spec: ModelSpec, inputs: Any, drop_path: float) -> Iterator[Any]:
        """Build the network on `inputs` (batch, height, width, channels) and yield every part's output."""
        # Networks cut from one row are built one after the other: Keras's is constructed once for all of them.
        shape = tuple(inputs.shape[1:])
        options = tuple(sorted(spec.options.items()))
        key = (options, shape, keras.config.dtype_policy().name, keras.config.image_data_format())
        network = last.get(key)
        if network is None:
            # Only settings are read of Keras's network: its weights are never allocated.
            with build_without_weights():
                network = adaptation.construct(spec, shape)
            last.clear()
            last[key] = network
        outputs = [part.output for part in list_parts(spec.stages[:-1])]
        names = adaptation.name(spec, network)
        yield from replay(network, inputs, outputs, names, adaptation.remake(spec, drop_path))

    return build_parts


def construct(spec: ModelSpec, shape: tuple[int, int, int]) -> Any:
    """Call the constructor that the options name, for networks that take no other options."""
    constructor = getattr(keras.applications, str(spec.options["constructor"]))
    return constructor(include_top=False, weights=None, input_tensor=keras.Input(shape))
