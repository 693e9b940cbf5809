"""Xception (Chollet 2017, arXiv 1610.02357) of keras.applications, of any width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medzoo.models.applications import Adaptation, adapt, construct
from medzoo.models.numbering import list_numbered
from medzoo.models.replay import Remake
from medzoo.models.rows.options import scale_width
from medzoo.models.rows.xception import SHORTCUTS, SUMS
from medzoo.specs import ModelSpec


def _name(spec: ModelSpec, network: Any) -> dict[str, str]:
    """Name the convolutions and norms of shortcuts, and the sums, by their blocks."""
    del spec
    lists = {
        "conv2d": [f"{block}_shortcut_conv" for block in SHORTCUTS],
        "batch_normalization": [f"{block}_shortcut_bn" for block in SHORTCUTS],
        "add": [f"{block}_add" for block in SUMS],
    }
    names: dict[str, str] = {}
    for kind, ours in lists.items():
        names |= zip(list_numbered(network, kind), ours, strict=True)
    return names


def _remake(spec: ModelSpec, drop_path: float) -> Remake:
    """Scale every convolution by the option `width`."""
    del drop_path
    width = float(spec.options["width"])

    def remake(layer: Any, name: str, inputs: Sequence[Any]) -> Any:
        del inputs
        config = layer.get_config() | {"name": name}
        if "filters" in config:
            config["filters"] = scale_width(spec.name, config["filters"], width)
        return type(layer).from_config(config)

    return remake


build_parts = adapt(Adaptation(construct, _name, _remake))
