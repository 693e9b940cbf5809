"""What a network costs: parameters, multiply-accumulates and receptive field of its stages, from its graph."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from medzoo.errors import ConfigError, nearest
from medzoo.models.graph import Call, Wire, walk_calls
from medzoo.models.receptive_field import ReceptiveField, measure_side, trace_sights
from medzoo.specs import HEAD, Stage, list_parts
from medzoo.tensors import Role, role_of

_CONVOLUTIONS = {"Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D", "DepthwiseConv2D"}
_SEPARABLE = {"SeparableConv1D", "SeparableConv2D"}
_TRANSPOSED = {"Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"}
#: Bare operations that multiply and keep no kernel of their own: better refused than counted as nothing.
_UNCOUNTED = {"Conv", "ConvTranspose", "DepthwiseConv", "Dot", "DotProductAttention", "Inner"} | {
    "SeparableConv",
    "Tensordot",
    "Vdot",
    "Vecdot",
}
_PROJECTED_ATTENTION = {"MultiHeadAttention", "GroupedQueryAttention"}


@dataclass(frozen=True)
class PartCost:
    """One row of a network's table: a stage (`block` is empty) or a block within it.

    `output` is the layer whose output leaves the part, `output_shape` its shape without the batch. `parameters`
    are all weights of the part, moving statistics too, `cumulative` those of the network up to its end. `macs`
    are multiply-accumulates of one image. `receptive_field` is the side in pixels of the input that one output
    position sees (one side per axis where they differ), "all" for the whole input, None where not defined.
    """

    stage: str
    block: str
    output: str
    output_shape: tuple[int, ...]
    parameters: int
    cumulative: int
    macs: int
    receptive_field: ReceptiveField


@dataclass(frozen=True)
class PartFigures:
    """What one part without parts of its own costs; see `PartCost`."""

    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    receptive_field: ReceptiveField


@dataclass
class PartContents:
    """What lies in one part: the shapes of its weights, each call with its multiply-accumulates, its output."""

    output_shape: tuple[int, ...] = ()
    receptive_field: ReceptiveField = None
    weights: dict[int, tuple[int, ...]] = field(default_factory=dict)
    calls: list[tuple[Call, int]] = field(default_factory=list)


def measure_costs(model: Any, stages: Sequence[Stage]) -> tuple[PartCost, ...]:
    """Measure every stage of a functional or sequential Keras model, and its blocks after it.

    Multiply-accumulates of one image are counted from the graph: convolutions, dense layers, Keras's attention,
    matrix products, and any layer with `count_macs(*input_shapes)`, shapes without the batch. Padded zeros count
    as pixels. Additions, norms, activations, pooling and lookups count 0. A layer that is called twice
    multiplies twice and has its parameters once. Nested models are opened.

    Raises:
        ConfigError: a model without a graph or without a fixed input size, a layer with weights that belongs to
            no stage, a stage that the model lacks, or a layer whose multiplications are not known.

    >>> import keras
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, name="conv")])
    >>> (row,) = measure_costs(model, [Stage("all", "*", "conv")])
    >>> row.macs == 6 * 6 * 3 * 3 * 3 * 2, row.receptive_field
    (True, 3)
    """
    figures = {
        name: PartFigures(
            part.output_shape,
            sum(math.prod(shape) for shape in part.weights.values()),
            sum(macs for _, macs in part.calls),
            part.receptive_field,
        )
        for name, part in collect_parts(model, stages).items()
    }
    return arrange_rows(stages, figures)


def count_macs(model: Any) -> int:
    """Count a model's multiply-accumulates for one image, as `measure_costs` does.

    Raises:
        ConfigError: a model without a graph or without a fixed input size, or a layer whose multiplications
            are not known.
    """
    _, calls = walk_calls(model)
    return sum(count_call(call) for call in calls)


def arrange_rows(stages: Sequence[Stage], figures: dict[str, PartFigures]) -> tuple[PartCost, ...]:
    """Arrange parts' figures as rows, each stage before its blocks; parts without figures are left out."""
    rows: list[PartCost] = []
    total = 0
    for stage in stages:
        parts = [part for part in list_parts((stage,)) if part.name in figures]
        if not parts:
            continue
        inner = []
        before = total
        for part in parts:
            cost = figures[part.name]
            total += cost.parameters
            inner.append(_make_row(stage, part, cost, total))
        if stage.blocks:
            last = figures[parts[-1].name]
            held = [figures[part.name] for part in parts]
            whole = PartFigures(
                last.output_shape, total - before, sum(cost.macs for cost in held), last.receptive_field
            )
            rows.append(_make_row(stage, stage, whole, total))
        rows.extend(inner)
    return tuple(rows)


def _make_row(stage: Stage, part: Stage, cost: PartFigures, cumulative: int) -> PartCost:
    """Make a row of a part's figures."""
    return PartCost(
        stage.name,
        "" if part is stage else part.name,
        part.output,
        cost.output_shape,
        cost.parameters,
        cumulative,
        cost.macs,
        cost.receptive_field,
    )


def collect_parts(model: Any, stages: Sequence[Stage]) -> dict[str, PartContents]:
    """Collect what lies in every part of a model, by the part's name; a head that was left off is not there.

    Raises:
        ConfigError: as `measure_costs`.
    """
    inputs, calls = walk_calls(model)
    sights = trace_sights(inputs, calls)
    parts = list_parts(stages)
    contents = {part.name: PartContents() for part in parts}
    holders: dict[tuple[str, ...], Stage | None] = {}
    outputs: dict[str, Wire] = {}
    counted: set[int] = set()
    for call in calls:
        if call.names not in holders:
            holders[call.names] = _find_holder(parts, call.names)
        part = holders[call.names]
        outputs.update((name, call.outputs[0]) for name in call.names)
        macs, weights = count_call(call), getattr(call.operation, "weights", ())
        if part is None:
            if macs or weights:
                raise ConfigError(
                    f"layer {call.operation.name!r} belongs to no stage", "stages that hold every layer"
                )
            continue
        contents[part.name].calls.append((call, macs))
        new = {id(weight): tuple(weight.shape) for weight in weights if id(weight) not in counted}
        contents[part.name].weights.update(new)
        counted.update(new)
    for part in parts:
        wire = outputs.get(part.output)
        if wire is None and part.name == HEAD and not contents[HEAD].calls:
            del contents[HEAD]  # a network without a head
            continue
        if wire is None:
            raise ConfigError(
                f"no layer {part.output!r}, the output of {part.name!r}", nearest(part.output, outputs)
            )
        contents[part.name].output_shape = wire.shape
        contents[part.name].receptive_field = measure_side(sights[wire])
    return contents


def _find_holder(parts: Sequence[Stage], names: Sequence[str]) -> Stage | None:
    """Find the part that holds a layer, or else the nearest model around it."""
    return next((part for name in names for part in parts if part.holds(name)), None)


def count_call(call: Call) -> int:
    """Count the multiply-accumulates of one call for one image.

    Raises:
        ConfigError: a layer with kernels whose multiplications are not known.
    """
    operation = call.operation
    kinds = {kind.__name__ for kind in type(operation).__mro__}
    shapes = [wire.shape for wire in call.inputs]
    if hasattr(operation, "count_macs"):
        return int(operation.count_macs(*shapes))
    if kinds & _CONVOLUTIONS:
        return _count_positions(operation, call.outputs[0].shape) * _count_values(operation.kernel)
    if kinds & _SEPARABLE:
        kernels = (operation.depthwise_kernel, operation.pointwise_kernel)
        return _count_positions(operation, call.outputs[0].shape) * sum(
            _count_values(kernel) for kernel in kernels
        )
    if kinds & _TRANSPOSED:  # every input position meets the whole kernel
        return _count_positions(operation, shapes[0]) * _count_values(operation.kernel)
    if "Dense" in kinds:
        return math.prod(shapes[0][:-1]) * _count_values(operation.kernel)
    if "EinsumDense" in kinds:
        return _count_einsum(operation.equation, [(1, *shapes[0]), tuple(operation.kernel.shape)])
    if "Einsum" in kinds:
        return _count_einsum(operation.subscripts, [(1, *shape) for shape in shapes])
    if "Matmul" in kinds:
        return math.prod(call.outputs[0].shape) * shapes[0][-1]
    if kinds & _PROJECTED_ATTENTION:
        return _count_attention(operation, shapes)
    if kinds & {"Attention", "AdditiveAttention"}:  # scores, then weighted values
        (tokens, features), (keys, values) = shapes[0], shapes[1]
        return tokens * keys * (features + values)
    if kinds & _UNCOUNTED or any(
        role_of(weight.path) is Role.KERNEL for weight in getattr(operation, "weights", ())
    ):
        raise ConfigError(
            f"the multiplications of layer {operation.name!r} of class {type(operation).__name__} are not known",
            "convolutions, dense layers, Keras's attention, or a layer with count_macs(*input_shapes)",
        )
    return 0


def _count_values(kernel: Any) -> int:
    """Count the values of a kernel."""
    return math.prod(tuple(kernel.shape))


def _count_positions(operation: Any, shape: tuple[int, ...]) -> int:
    """Count the positions of an image (without the batch) by the layer's order of axes."""
    return math.prod(shape[:-1] if operation.data_format == "channels_last" else shape[1:])


def _count_einsum(equation: str, shapes: Sequence[tuple[int, ...]]) -> int:
    """Count the products of an Einstein sum over tensors of these shapes: all values of all its indices.

    >>> _count_einsum("...a,ab->...b", [(1, 7, 3), (3, 5)])
    105
    """
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.replace(" ", "").split("->")[0].split(","), shapes, strict=True):
        for axis, size in _name_axes(term, shape):
            sizes[axis] = max(size, sizes.get(axis, 1))  # a side of 1 is stretched over the other's
    return math.prod(sizes.values())


def _name_axes(term: str, shape: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    """Pair the letters of one term with sizes; the axes of an ellipsis are numbered from the right."""
    before, dots, after = term.partition("...")
    yield from zip(before, shape, strict=False)
    if dots:
        rest = shape[len(before) : len(shape) - len(after)]
        yield from ((f"...{len(rest) - index}", size) for index, size in enumerate(rest))
        yield from zip(after, shape[len(shape) - len(after) :], strict=True)


def _count_attention(operation: Any, shapes: Sequence[tuple[int, ...]]) -> int:
    """Count Keras's attention: projections of query, key, value and output, scores, and weighted values."""
    query, value = shapes[0], shapes[1]
    key = shapes[2] if len(shapes) > 2 and len(shapes[2]) == len(value) else value
    sizes = [math.prod(shape[:-1]) for shape in (query, key, value, query)]
    names = ("_query_dense", "_key_dense", "_value_dense", "_output_dense")
    kernels = [getattr(operation, name).kernel.shape for name in names]
    projected = sum(size * math.prod(kernel) for size, kernel in zip(sizes, kernels, strict=True))
    gate = getattr(operation, "_gate_dense", None)
    if gate is not None:
        projected += sizes[0] * math.prod(gate.kernel.shape)
    # Kernels are (features, heads, size of a head); every head of the query meets one of key and value.
    heads, key_size, value_size = kernels[0][-2], kernels[0][-1], kernels[2][-1]
    axes = getattr(operation, "_attention_axes", None) or range(1, len(query))
    attended = math.prod(value[axis - 1] for axis in axes)
    return int(projected + heads * sizes[0] * attended * (key_size + value_size))
