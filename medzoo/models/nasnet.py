"""NASNet-A (Zoph et al. 2018, arXiv 1707.07012) of keras.applications, mobile and large."""

from __future__ import annotations

from typing import Any

from medzoo.models.applications import Adaptation, adapt, construct
from medzoo.models.numbering import list_numbered
from medzoo.models.replay import name_numbered_layers
from medzoo.specs import ModelSpec, list_parts


def _name(spec: ModelSpec, network: Any) -> dict[str, str]:
    """Name what Keras numbers (activations, paddings, sums) after its cell; every layer with weights has a name."""
    parts = [part for part in list_parts(spec.stages[:-1]) if part.name != "top"]
    names = name_numbered_layers(network, [part.output for part in parts], [part.name for part in parts])
    return {**names, list_numbered(network, "activation")[-1]: "top_act"}


build_parts = adapt(Adaptation(construct, _name))
