"""Inception v3 (Szegedy et al. 2016, arXiv 1512.00567) of keras.applications, under torchvision's names.

Keras numbers its convolutions through the process; torchvision's names are the same everywhere. Pooled branches
average over what lies within the image, as TensorFlow does; torchvision counts the padding's zeros too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medzoo.models.applications import Adaptation, adapt, construct
from medzoo.models.numbering import list_numbered
from medzoo.models.replay import Remake, copy_layer
from medzoo.models.rows.inception_v3 import BLOCKS, POOLED, list_convolutions
from medzoo.models.rows.options import divide_width, read_slim, scale_width
from medzoo.specs import ModelSpec, find_stage


def _name(spec: ModelSpec, network: Any) -> dict[str, str]:
    """Name convolutions, norms, activations and poolings by their order, concatenations by their block."""
    del spec
    units = list_convolutions()
    narrowing = [f"{unit}_pool" for unit in (*POOLED, "mixed_6a", "mixed_7a")]
    lists = {
        "conv2d": [f"{unit}_conv" for unit in units],
        "batch_normalization": [f"{unit}_bn" for unit in units],
        "activation": [f"{unit}_act" for unit in units],
        "max_pooling2d": narrowing,
        "average_pooling2d": [f"{block}_pool" for block in BLOCKS if f"{block}_pool" not in narrowing],
        "concatenate": ["mixed_7b_branch3x3dbl", "mixed_7c_branch3x3dbl"],
    }
    names = {f"mixed{number}": block for number, block in enumerate(BLOCKS)}
    names |= {"mixed9_0": "mixed_7b_branch3x3", "mixed9_1": "mixed_7c_branch3x3"}
    for kind, ours in lists.items():
        names |= zip(list_numbered(network, kind), ours, strict=True)
    return names


def _remake(spec: ModelSpec, drop_path: float) -> Remake:
    """Scale every convolution by the option `width`, and divide those above the stage of the option `slim`."""
    del drop_path
    width = float(spec.options["width"])
    above, factor = read_slim(spec.name, str(spec.options["slim"]), spec.stages)
    thin = find_stage(spec.stages, above)[1] if above else ()

    def remake(layer: Any, name: str, inputs: Sequence[Any]) -> Any:
        if not name.endswith("_conv"):
            return copy_layer(layer, name, inputs)
        config = layer.get_config() | {"name": name}
        filters = scale_width(spec.name, config["filters"], width)
        is_thin = any(part.holds(name) for part in thin)
        return type(layer).from_config(
            {**config, "filters": divide_width(spec.name, filters, factor) if is_thin else filters}
        )

    return remake


build_parts = adapt(Adaptation(construct, _name, _remake))
