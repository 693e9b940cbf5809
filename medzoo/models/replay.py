"""Rebuilding a functional network layer by layer: with other names, without some layers, thinner, or only to a cut."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

#: Makes a layer of the new network: (layer of the old one, its new name, the new input tensors) → layer, or None
#: where the new network goes without.
Remake = Callable[[Any, str, Sequence[Any]], Any]

#: How a layer that Keras numbered by itself is called within its part.
_KINDS = {
    "activation": "act",
    "average_pooling2d": "pool",
    "batch_normalization": "bn",
    "concatenate": "concat",
    "conv2d": "conv",
    "cropping2d": "crop",
    "max_pooling2d": "pool",
    "re_lu": "relu",
    "zero_padding2d": "pad",
}


def copy_layer(layer: Any, name: str, inputs: Sequence[Any]) -> Any:
    """Make a layer with the same settings and another name, without weights yet."""
    del inputs
    return type(layer).from_config({**layer.get_config(), "name": name})


def replay(
    network: Any,
    inputs: Any,
    outputs: Sequence[str],
    names: Mapping[str, str],
    remake: Remake = copy_layer,
) -> Iterator[Any]:
    """Rebuild `network` on `inputs` and yield what leaves the layers `outputs` (new names), one after the other.

    `names` gives new names by old ones; other layers keep theirs. Sequential models within are unfolded. Before
    each output only what it needs is built. The old network may be abstract: of it only settings are read.
    """
    makers = {
        id(tensor): node
        for nodes in network._nodes_by_depth.values()
        for node in nodes
        for tensor in node.output_tensors
    }
    order = [
        node
        for depth in sorted(network._nodes_by_depth, reverse=True)
        for node in network._nodes_by_depth[depth]
    ]
    by_name = {names.get(node.operation.name, node.operation.name): node for node in order}
    known: dict[int, Any] = {id(network.inputs[0]): inputs}
    for output in outputs:
        needed = _find_needed(by_name[output], makers, known)
        for node in order:
            if id(node) in needed:
                _replay_node(node, known, names, remake)
        yield known[id(by_name[output].output_tensors[0])]


def _find_needed(node: Any, makers: Mapping[int, Any], known: Mapping[int, Any]) -> set[int]:
    """Find the nodes, by identity, that must still be replayed for one, itself included."""
    needed: set[int] = set()
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if id(node) in needed or all(id(tensor) in known for tensor in node.output_tensors):
            continue
        needed.add(id(node))
        waiting.extend(makers[id(tensor)] for tensor in node.input_tensors)
    return needed


def _replay_node(node: Any, known: dict[int, Any], names: Mapping[str, str], remake: Remake) -> None:
    """Call the new layer of one node on the new tensors, and note what leaves it."""
    operation = node.operation
    arguments, keywords = node.arguments.fill_in(known)
    inner = [operation]
    if type(operation).__name__ == "Sequential":
        # Its call's `mask` and `training` are not for its layers.
        inner, keywords = operation.layers, {}
    for layer in inner:
        if type(layer).__name__ == "InputLayer":
            continue
        first = arguments[0]
        made = remake(layer, names.get(layer.name, layer.name), first if isinstance(first, list) else [first])
        if made is not None:
            arguments, keywords = (made(*arguments, **keywords),), {}
    known.update(zip((id(tensor) for tensor in node.output_tensors), arguments, strict=True))


def name_numbered_layers(network: Any, outputs: Sequence[str], prefixes: Sequence[str]) -> dict[str, str]:
    """Name the layers that Keras numbered by itself after the part that they lie in: `block2_conv1`.

    A part is all that its output (a layer's name, bottom-up) needs beyond the outputs below. Keras counts through
    the process; the order within one network is always the same, and so are these names.
    """
    makers = {
        id(tensor): node
        for nodes in network._nodes_by_depth.values()
        for node in nodes
        for tensor in node.output_tensors
    }
    nodes = {node.operation.name: node for group in network._nodes_by_depth.values() for node in group}
    known: dict[int, Any] = {id(tensor): tensor for tensor in network.inputs}
    named: dict[str, str] = {}
    for output, prefix in zip(outputs, prefixes, strict=True):
        needed = _find_needed(nodes[output], makers, known)
        counts: dict[str, int] = {}
        inside = [node for node in nodes.values() if id(node) in needed]
        for layer, number in sorted(
            ((node.operation.name, _number_of(node.operation)) for node in inside), key=lambda pair: pair[1]
        ):
            if number < 0:
                continue
            kind = re.sub(r"_\d+$", "", layer)
            kind = _KINDS.get(kind, kind)
            counts[kind] = counts.get(kind, 0) + 1
            named[layer] = f"{prefix}_{kind}{counts[kind]}"
        known.update((id(tensor), tensor) for node in inside for tensor in node.output_tensors)
    return named


def _number_of(layer: Any) -> int:
    """Give the number in a name that Keras made of the layer's class, −1 for any other name."""
    snake = re.sub(
        "([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
    ).lower()
    parsed = re.fullmatch(rf"{snake}(?:_(\d+))?", layer.name)
    return -1 if parsed is None else int(parsed[1] or 0)
