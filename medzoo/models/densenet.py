"""DenseNets (Huang et al. 2017, arXiv 1608.06993) of keras.applications, also with less growth above a stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medzoo.models.applications import Adaptation, adapt, construct
from medzoo.models.replay import Remake, copy_layer
from medzoo.models.rows.options import read_slim
from medzoo.specs import ModelSpec, Stage, list_parts


def _name(spec: ModelSpec, network: Any) -> dict[str, str]:
    """Name the two paddings of the stem, which Keras numbers."""
    del spec
    pads = [layer.name for layer in network.layers if layer.name.startswith("zero_padding2d")]
    return dict(zip(pads, ("conv1_pad", "pool1_pad"), strict=True))


def _remake(spec: ModelSpec, drop_path: float) -> Remake:
    """Divide the growth above the stage of the option `slim` (Peng et al. 2021, TF(k) for DenseNet)."""
    del drop_path
    above, factor = read_slim(spec.name, str(spec.options["slim"]), spec.stages)
    if factor == 1:
        return copy_layer
    thin = _list_above(spec.stages, above)

    def remake(layer: Any, name: str, inputs: Sequence[Any]) -> Any:
        config = layer.get_config() | {"name": name}
        if name.startswith("pool") and name.endswith("_conv"):
            config["filters"] = inputs[0].shape[-1] // 2  # a transition halves what it gets
        elif name.endswith("_conv") and any(part.holds(name) for part in thin):
            config["filters"] //= factor
        return type(layer).from_config(config)

    return remake


def _list_above(stages: Sequence[Stage], name: str) -> tuple[Stage, ...]:
    """List the parts above a stage or block."""
    parts = list_parts(stages)
    last = next((stage.blocks[-1].name for stage in stages if stage.name == name and stage.blocks), name)
    return parts[[part.name for part in parts].index(last) + 1 :]


build_parts = adapt(Adaptation(construct, _name, _remake))
