"""Walk a functional model's graph, nested models included: which operation is called on which shapes."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medzoo.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Wire:
    """A tensor between two calls, known by its identity; `shape` is without the batch."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One call of a layer or operation; `owners` names the nested models around it, outermost first."""

    operation: Any
    owners: tuple[str, ...]
    inputs: tuple[Wire, ...]
    outputs: tuple[Wire, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The operation's name, then those of the models around it, innermost first."""
        return (self.operation.name, *reversed(self.owners))


def open_graph(operation: Any) -> Any:
    """Give the functional model that holds a graph: a model's own or a built Sequential's; None for any other."""
    graph = getattr(operation, "_functional", None) or operation
    return graph if hasattr(graph, "_nodes_by_depth") else None


def find_graph(model: Any) -> Any:
    """Give the functional model that holds a model's graph: itself, or the one within a built Sequential.

    Raises:
        ConfigError: the model has no graph, or is a Sequential that was not built.
    """
    graph = open_graph(model)
    if graph is not None and hasattr(graph, "inputs"):
        return graph
    name = getattr(model, "name", type(model).__name__)
    if any(kind.__name__ == "Sequential" for kind in type(model).__mro__):
        raise ConfigError(f"{name!r} is not built", "a built model", "model.build(input_shape) first")
    raise ConfigError(
        f"{name!r} of class {type(model).__name__} has no graph to read",
        "a functional or sequential keras.Model",
        "keras.Model(inputs, outputs) around its layers",
    )


def list_nodes(graph: Any) -> Iterator[Any]:
    """List a functional model's nodes but for its inputs, each after those that it reads."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        yield from (node for node in graph._nodes_by_depth[depth] if node.input_tensors)


def walk_calls(model: Any) -> tuple[tuple[Wire, ...], tuple[Call, ...]]:
    """List a model's inputs and every call in it, nested models opened, each after those that it reads.

    A layer called twice is listed twice, a nested model called twice too.

    Raises:
        ConfigError: a model without a graph, or one whose input has no fixed size.
    """
    graph = find_graph(model)
    inputs = tuple(_check_fixed(tensor.shape, model.name) for tensor in graph.inputs)
    calls: list[Call] = []
    walk = _walk(graph, inputs, ())
    calls.extend(walk)
    return inputs, tuple(calls)


def _check_fixed(shape: Sequence[int | None], name: str) -> Wire:
    """Make a wire of a shape (batch, …), whose sizes must be known."""
    if None in shape[1:]:
        raise ConfigError(
            f"{name!r} has a tensor of shape {tuple(shape)}",
            "a model whose input has a fixed size",
            "keras.Input((224, 224, 3)) as its input",
        )
    return Wire(tuple(size for size in shape[1:] if size is not None))


def _walk(
    graph: Any, inputs: tuple[Wire, ...], owners: tuple[str, ...]
) -> Generator[Call, None, tuple[Wire, ...]]:
    """Yield the calls of one model on these inputs, and return its outputs."""
    known = {id(tensor): wire for tensor, wire in zip(graph.inputs, inputs, strict=True)}
    # A nested model that was made for images of any size has no shapes of its own.
    as_declared = all(
        tuple(tensor.shape[1:]) == wire.shape for tensor, wire in zip(graph.inputs, inputs, strict=True)
    )
    for node in list_nodes(graph):
        operation = node.operation
        read = tuple(known[id(tensor)] for tensor in node.input_tensors)
        inner = getattr(operation, "_functional", None) or operation
        if hasattr(inner, "_nodes_by_depth"):
            written = yield from _walk(inner, read, (*owners, operation.name))
        else:
            # Keras 3.15 leaves a hole for an EinsumDense's unchanged axes, and swaps those of an ellipsis.
            declared = as_declared and not hasattr(operation, "equation")
            shapes = [t.shape for t in node.output_tensors] if declared else _infer_shapes(node, known)
            written = tuple(_check_fixed(shape, operation.name) for shape in shapes)
            yield Call(operation, owners, read, written)
        known.update((id(tensor), wire) for tensor, wire in zip(node.output_tensors, written, strict=True))
    return tuple(known[id(tensor)] for tensor in graph.outputs)


def _infer_shapes(node: Any, known: dict[int, Wire]) -> list[tuple[int | None, ...]]:
    """Ask an operation for the shapes that it gives for inputs of other sizes than it was made with."""
    import keras

    stand_ins = {
        id(tensor): keras.KerasTensor((None, *known[id(tensor)].shape), dtype=tensor.dtype)
        for tensor in node.input_tensors
    }
    positional, named = node.arguments.fill_in(stand_ins)
    if hasattr(node.operation, "equation"):
        kernel = keras.KerasTensor(tuple(node.operation.kernel.shape))
        outputs = keras.ops.einsum(node.operation.equation, *positional, kernel)
    else:
        outputs = node.operation.compute_output_spec(*positional, **named)
    return [tuple(output.shape) for output in keras.tree.flatten(outputs)]
