"""EfficientNet B0–B7 (Tan and Le 2019, arXiv 1905.11946) of keras.applications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medzoo.models.applications import Adaptation, adapt, construct
from medzoo.models.replay import Remake, copy_layer
from medzoo.specs import ModelSpec


def remake_dropping(spec: ModelSpec, drop_path: float) -> Remake:
    """Leave out the layers that scale the image, and let the rates of dropped paths rise to `drop_path`.

    Of n blocks the one of index i is dropped at the rate drop_path · i/n. keras.applications does so by default
    with 0.2, but for EfficientNetV2 B1–B3, where it divides by B0's number of blocks and goes beyond the rate.
    """
    blocks = [block.name for stage in spec.stages for block in stage.blocks]
    rates = {f"{block}_drop": drop_path * index / len(blocks) for index, block in enumerate(blocks)}

    def remake(layer: Any, name: str, inputs: Sequence[Any]) -> Any:
        """Make one layer of the new network."""
        if type(layer).__name__ in ("Rescaling", "Normalization"):
            return None
        if name.endswith("_drop"):
            # A network that is cut has no rate for the blocks above, and never builds them.
            return type(layer).from_config({**layer.get_config(), "rate": rates[name], "name": name})
        return copy_layer(layer, name, inputs)

    return remake


build_parts = adapt(Adaptation(construct, remake=remake_dropping))
