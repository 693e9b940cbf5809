"""Trace how channels travel through a Keras model: what reaches each layer, what its weights' axes hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from medzoo.models.axes import OF_INPUTS, letter_axes
from medzoo.models.graph import open_graph
from medzoo.models.relay import CONVOLUTIONS, NORMS, kind_of, leave, makes_channels, reach
from medzoo.models.storage import own_variables
from medzoo.wiring import IMAGE, INPUT, Channels, join


@dataclass(frozen=True)
class Wiring:
    """What `Target` says of a network's channels, see there."""

    feeds: Mapping[str, Channels]
    axes: Mapping[str, str]
    blocks: Mapping[str, int]
    epsilons: Mapping[str, float]
    followers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Notes:
    """What is noted on the way: by layer name what reaches it, its blocks, its norm, and who has the name."""

    feeds: dict[str, Channels] = field(default_factory=dict)
    counts: dict[str, set[int]] = field(default_factory=dict)
    followers: dict[str, str] = field(default_factory=dict)
    operations: dict[str, list[Any]] = field(default_factory=dict)
    unclear: set[str] = field(default_factory=set)

    def add_feed(self, operation: Any, channels: Channels) -> None:
        """Note what reaches a layer; where two calls disagree, it is a mix of both, and unclear."""
        known = self.feeds.setdefault(operation.name, channels)
        if known != channels:
            self.feeds[operation.name] = join("mixed", (known, channels))
            self.unclear.add(operation.name)
        holders = self.operations.setdefault(operation.name, [])
        if not any(holder is operation for holder in holders):
            holders.append(operation)

    def add_blocks(self, layers: tuple[str, ...], count: int) -> None:
        """Note that the channels which these layers make are so many equal blocks."""
        for layer in layers:
            if layer != INPUT:
                self.counts.setdefault(layer, set()).add(count)


def trace_channels(model: Any, variables: Mapping[str, Any]) -> Wiring:
    """Trace a built model, whose weights are given by name.

    A model without a graph (a subclassed one) gives no feeds and no blocks; its axes are told by its layers' classes
    alone. In a model with one, nothing is known of weights within a composite layer (attention, a recurrent one), nor
    of two layers of one name; of a layer that is called on different channels, nothing of the axes that hold them.
    A layer whose channels two readers cut into different numbers of blocks is left out of `blocks`.
    """
    notes = _Notes()
    graph = open_graph(model)
    if graph is not None:
        _trace_graph(graph, tuple(IMAGE for _ in graph.inputs), notes)
    holders = {id(variable): layer for layer in walk_layers(model) for variable in own_variables(layer)}
    axes, epsilons = {}, {}
    for name, variable in variables.items():
        holder = holders.get(id(variable))
        letters = "?" * len(variable.shape)
        if holder is not None and (graph is None or notes.operations.get(holder.name) == [holder]):
            letters = letter_axes(holder, variable)
            if holder.name in notes.unclear:
                letters = "".join("?" if letter in OF_INPUTS else letter for letter in letters)
        axes[name] = letters
        if holder is not None and kind_of(holder) in NORMS:
            epsilons[name.rpartition("/")[0]] = float(holder.epsilon)
    blocks = {layer: next(iter(counts)) for layer, counts in notes.counts.items() if len(counts) == 1}
    return Wiring(notes.feeds, axes, blocks, epsilons, notes.followers)


def walk_layers(model: Any) -> Iterator[Any]:
    """Yield every layer, nested ones included, a container before its contents."""
    yield from model._flatten_layers(include_self=False, recursive=True)


def _trace_graph(graph: Any, inputs: tuple[Channels, ...], notes: _Notes) -> tuple[Channels, ...]:
    """Trace a functional model that these channels reach, and give those that leave it, output by output.

    Walks from the inputs through what keeps channels to what makes them, and into nested models.
    """
    if len(inputs) != len(graph.inputs):
        inputs = (join("mixed", inputs),) * len(graph.inputs)
    known = {id(tensor): channels for tensor, channels in zip(graph.inputs, inputs, strict=True)}
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.input_tensors:
                outputs = _trace_node(node, known, notes)
                if len(outputs) != len(node.output_tensors):
                    outputs = (join("mixed", outputs),) * len(node.output_tensors)
                known.update(
                    (id(t), channels) for t, channels in zip(node.output_tensors, outputs, strict=True)
                )
    _note_followers(graph, notes)
    return tuple(known.get(id(tensor), Channels("mixed")) for tensor in graph.outputs)


def _note_followers(graph: Any, notes: _Notes) -> None:
    """Note the batch norm that alone reads what a layer makes of the image: it can take a constant out again."""
    nodes = [node for depth in graph._nodes_by_depth.values() for node in depth]
    readers: dict[int, list[Any]] = {id(tensor): [None] for tensor in graph.outputs}
    for node in nodes:
        for tensor in node.input_tensors:
            readers.setdefault(id(tensor), []).append(node.operation)
    for node in nodes:
        name = node.operation.name
        if notes.feeds.get(name) != IMAGE or len(node.output_tensors) != 1:
            continue
        own = getattr(node.operation, "activation", None)
        if own is not None and getattr(own, "__name__", "") != "linear":
            continue  # behind an activation a constant is no constant
        (reader, *others) = readers.get(id(node.output_tensors[0]), [None])
        if reader is not None and not others and kind_of(reader) == "BatchNormalization":
            notes.followers[name] = reader.name


def _trace_node(node: Any, known: Mapping[int, Channels], notes: _Notes) -> tuple[Channels, ...]:
    """Note what reaches one layer, and give the channels of its outputs."""
    operation = node.operation
    inputs = tuple(known.get(id(tensor), Channels("mixed")) for tensor in node.input_tensors)
    inner = open_graph(operation)
    if inner is not None:
        return _trace_graph(inner, inputs, notes)
    if getattr(operation, "weights", None):
        notes.add_feed(operation, reach(operation, inputs))
    if hasattr(operation, "relay_channels") and hasattr(operation, "heads"):
        for channels in inputs:
            notes.add_blocks(channels.makers, int(operation.heads))
    elif kind_of(operation) in CONVOLUTIONS and operation.groups > 1 and makes_channels(operation):
        notes.add_blocks((operation.name, *inputs[0].makers), int(operation.groups))
    return (leave(operation, node, inputs),)
