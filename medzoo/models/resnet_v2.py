"""ResNets v2 (He et al. 2016, arXiv 1603.05027) of keras.applications, also wider or with thin stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medzoo.models.applications import Adaptation, adapt, construct
from medzoo.models.numbering import list_numbered
from medzoo.models.replay import Remake
from medzoo.models.rows.options import read_numbers
from medzoo.models.rows.resnet import scale_stem
from medzoo.models.rows.resnet_v2 import list_block_widths
from medzoo.specs import ModelSpec


def _name(spec: ModelSpec, network: Any) -> dict[str, str]:
    """Name the poolings on the shortcuts of the blocks that stride, the last of each stage but the top one."""
    depths = read_numbers(spec.options["depths"])[:-1]
    ours = [f"conv{number}_block{depth}_0_pool" for number, depth in enumerate(depths, start=2)]
    return dict(zip(list_numbered(network, "max_pooling2d"), ours, strict=True))


def _remake(spec: ModelSpec, drop_path: float) -> Remake:
    """Give every convolution the channels of its block."""
    del drop_path
    widths = list_block_widths(spec.name, spec.options, spec.stages)

    def remake(layer: Any, name: str, inputs: Sequence[Any]) -> Any:
        del inputs
        config = layer.get_config() | {"name": name}
        if name == "conv1_conv":
            config["filters"] = scale_stem(spec.name, spec.options)
        elif name.endswith("_conv"):
            block, number = name.removesuffix("_conv").rsplit("_", 1)
            config["filters"] = widths[block].outer if number in ("0", "3") else widths[block].inner
        return type(layer).from_config(config)

    return remake


build_parts = adapt(Adaptation(construct, _name, _remake))
