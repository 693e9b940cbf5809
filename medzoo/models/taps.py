"""Taps: a model of the activations that leave stages of another model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from medzoo.errors import ConfigError, nearest
from medzoo.models.catalog import find_model
from medzoo.models.graph import find_graph, list_nodes
from medzoo.specs import Stage, read_network_name


def taps(model: keras.Model, stages: Sequence[Stage | str]) -> keras.Model:
    """Give a model from the same input to a dict of activations, stage name → tensor; weights are shared.

    A stage is one of the catalogue row that the model was built from, by itself or by name, or one of its
    blocks; any layer's name does too, also of a layer in a nested model, whose part up to the tap is then
    computed for it. Of a layer that is called several times, the last call counts.

    Raises:
        ConfigError: no stages, a name that is neither a stage nor a layer (the nearest names are given), or a
            model without a graph.

    >>> from medzoo.models.build import build
    >>> model = build("cbr_tiny", classes=2, input_size=32)
    >>> taps(model, ["block1"]).output["block1"].shape
    (None, 16, 16, 32)
    """
    graph = find_graph(model)
    if isinstance(stages, str | Stage) or not stages:
        raise ConfigError(
            f"taps of {stages!r}", "a list of stages, blocks or layers", 'taps(model, ["conv1"])'
        )
    known = _list_stages(model.name)
    layers = _list_layers(graph)
    wanted: dict[str, str] = {}
    for stage in stages:
        name = stage if isinstance(stage, str) else stage.name
        layer = known.get(name, "") if isinstance(stage, str) else stage.output
        # A model of another origin may bear a row's name: its own layers decide.
        layer = layer if layer in layers or not isinstance(stage, str) else name
        if layer not in layers:
            here = [part for part, output in known.items() if output in layers]
            raise ConfigError(
                f"{model.name!r} has no stage or layer {layer!r}", nearest(layer, {*here, *layers})
            )
        wanted[name] = layer
    tensors = _tap_layers(graph, set(wanted.values()))
    return keras.Model(
        graph.input, {name: tensors[layer] for name, layer in wanted.items()}, name=f"{model.name}_taps"
    )


def _list_stages(name: str) -> Mapping[str, str]:
    """List the stages and blocks of a catalogue row with their output layers; of another model, none."""
    try:
        stages = find_model(read_network_name(name)).stages
    except ConfigError:
        return {}
    return {part.name: part.output for stage in stages for part in (stage, *stage.blocks)}


def _nested_graph(operation: Any) -> Any:
    """Give the graph of a layer that is a model itself, or None."""
    graph = getattr(operation, "_functional", None) or operation
    return graph if hasattr(graph, "_nodes_by_depth") else None


def _list_layers(graph: Any) -> set[str]:
    """List the names of a graph's layers, nested ones included."""
    names: set[str] = set()
    for node in list_nodes(graph):
        names.add(node.operation.name)
        inner = _nested_graph(node.operation)
        if inner is not None:
            names |= _list_layers(inner)
    return names


def _tap_layers(graph: Any, layers: set[str]) -> dict[str, Any]:
    """Find the tensors that leave these layers, as functions of the graph's inputs; outer names come first."""
    nodes = list(list_nodes(graph))
    found: dict[str, Any] = {}
    for node in nodes:
        if node.operation.name in layers:
            tensors = node.output_tensors
            found[node.operation.name] = tensors[0] if len(tensors) == 1 else list(tensors)
    for node in nodes:
        inner = _nested_graph(node.operation)
        missing = layers - set(found)
        if inner is not None and missing:
            tapped = _tap_layers(inner, missing)
            if tapped:
                below = keras.Model(inner.inputs, tapped, name=f"{node.operation.name}_taps")
                found.update(below(list(node.input_tensors)))
    return found
