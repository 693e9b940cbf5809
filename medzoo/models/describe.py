"""Spec or any Keras model → Target: what a transplant must fill, without allocating anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from medzoo.errors import ConfigError, PlanError
from medzoo.models.catalog import find_model, list_left_out
from medzoo.models.storage import locate_storage, own_variables
from medzoo.models.tables import read_table
from medzoo.specs import ModelSpec, check_input_size, read_network_name
from medzoo.tensors import INPUT, Initializer, Role, Target, TensorSpec, name_variables, role_of


def describe(
    model: Any, classes: int = 1000, channels: int = 3, input_size: int | None = None, head: str | None = None
) -> Target:
    """Describe what a transplant into `model` must fill.

    A catalogue row (a spec or its name) is answered from its generated table and loads no framework. A network
    derived from one, or with a head or an input size that changes its tensors, is built without allocating
    anything. Any other object is taken for a built Keras model, whose own classes and channels count.

    Raises:
        ConfigError: an unknown model name, or an option that the network does not take.
        PlanError: a Keras model that is not built, or no model.

    >>> describe("mobilenet_075", classes=2, channels=1).tensors["conv1/kernel"].shape
    (3, 3, 1, 24)
    """
    if isinstance(model, str):
        model = find_model(model)
    if isinstance(model, ModelSpec):
        if _has_table(model, input_size, head):
            return read_table(model.name, classes, channels)
        target = describe_abstractly(model, classes, channels, input_size, head)
        return replace(
            target,
            model=model.name,
            classes=classes,
            channels=channels,
            input_size=0 if input_size in (None, model.input_size) else input_size,
            head="" if head in (None, model.heads[0]) else head,
            left_out=list_left_out(model),
        )
    if not hasattr(model, "weights"):
        raise PlanError(f"a {type(model).__name__}", "a catalogue row or a built Keras model")
    return replace(describe_network(model), left_out=_find_left_out(model.name))


def _find_left_out(name: str) -> tuple[str, ...]:
    """Find what a network that medzoo built goes without, by its name; nothing of others."""
    derived = read_network_name(name)
    if derived == name:
        return ()
    try:
        return list_left_out(find_model(derived))
    except ConfigError:  # another's name that happens to hold one of our words
        return ()


def _has_table(spec: ModelSpec, input_size: int | None, head: str | None) -> bool:
    """Tell whether the generated table of a row holds this network's tensors."""
    if input_size is not None:
        check_input_size(spec, input_size)
    if head not in (None, spec.heads[0]) or (spec.sized and input_size not in (None, spec.input_size)):
        return False
    return spec.name == spec.row and find_model(spec.name) == spec


def describe_abstractly(
    spec: ModelSpec, classes: int, channels: int, input_size: int | None = None, head: str | None = None
) -> Target:
    """Build a network without allocating its weights, and describe it."""
    return describe_network(build_abstractly(spec, classes, channels, input_size, head))


def build_abstractly(
    spec: ModelSpec, classes: int, channels: int, input_size: int | None = None, head: str | None = None
) -> Any:
    """Build a network's layers and graph without allocating its weights."""
    from medzoo.models.abstract import build_without_weights
    from medzoo.models.build import build

    with build_without_weights():
        return build(spec, classes, channels, input_size, head=head)


def describe_network(model: Any) -> Target:
    """Describe a built Keras model from its layers and, where it is functional, its graph."""
    holders = {id(variable): layer for layer in _walk_layers(model) for variable in own_variables(layer)}
    tensors = {}
    for name, variable in name_variables(model).items():
        layer = holders.get(id(variable))
        role = _role_in(layer, name)
        tensors[name] = TensorSpec(
            name, tuple(variable.shape), str(variable.dtype), role, _initializer_of(layer, variable)
        )
    return Target(tensors, _trace_feeds(model), locate_storage(model))


def _walk_layers(model: Any) -> Iterator[Any]:
    """Yield every layer, nested ones included, a container before its contents."""
    yield from model._flatten_layers(include_self=False, recursive=True)


def _role_in(layer: Any, name: str) -> Role:
    """Tell a tensor's role; `embeddings` of a position layer are positions, by the layer's name."""
    role = role_of(name)
    if role is Role.OTHER and layer is not None and "position" in layer.name:
        return Role.POSITION
    return role


def _initializer_of(layer: Any, variable: Any) -> Initializer | None:
    """Read the layer's own initializer for one of its variables as plain data, or None where unknown."""
    if layer is None:
        return None
    if variable.name == "bias" and getattr(layer, "unit_forget_bias", False):
        return None  # an LSTM's bias is zeros and ones by a rule of its own
    declared = getattr(layer, f"{variable.name}_initializer", None)
    if declared is None and variable.name in ("kernel", "depthwise_kernel"):
        declared = getattr(layer, "depthwise_initializer", None)
    elif declared is None and variable.name == "pointwise_kernel":
        declared = getattr(layer, "pointwise_initializer", None)
    if declared is None or not hasattr(declared, "get_config"):
        return None
    config = declared.get_config()
    match type(declared).__name__:
        case "Zeros":
            return Initializer("constant", 0.0)
        case "Ones":
            return Initializer("constant", 1.0)
        case "Constant":
            return Initializer("constant", float(config["value"]))
        case "RandomNormal" if config["mean"] == 0:
            return Initializer("normal", float(config["stddev"]))
        case "TruncatedNormal" if config["mean"] == 0:
            return Initializer("truncated_normal", float(config["stddev"]))
        case "RandomUniform" if config["minval"] == -config["maxval"]:
            return Initializer("uniform", float(config["maxval"]))
        case _ if hasattr(declared, "distribution"):  # every variance scaling: Glorot, He, LeCun
            kind = {"untruncated_normal": "normal"}.get(declared.distribution, declared.distribution)
            return Initializer(kind, float(declared.scale), declared.mode)
    return None


def _trace_feeds(model: Any) -> dict[str, tuple[str, ...]]:
    """Trace, for each layer with weights, which layers supply its input channels.

    Walks the graph from the input through layers that keep channels (norms, activations, pooling, padding,
    depthwise convolutions, sums, concatenations) to the nearest layers that make them, and into nested
    models. Models without a graph (subclassed ones) give an empty mapping.
    """
    feeds: dict[str, tuple[str, ...]] = {}
    _trace_model(model, ((INPUT,),), feeds)
    return feeds


def _trace_model(
    model: Any, inputs: tuple[tuple[str, ...], ...], feeds: dict[str, tuple[str, ...]]
) -> tuple[str, ...] | None:
    """Trace one model whose inputs are supplied so; give what supplies its output, or None without a graph."""
    # A built Sequential keeps its graph in a functional model of its own.
    model = getattr(model, "_functional", None) or model
    if not hasattr(model, "_nodes_by_depth"):
        return None
    everything = tuple(dict.fromkeys(name for names in inputs for name in names))
    known = {id(tensor): everything for tensor in model.inputs}
    if len(inputs) == len(model.inputs):
        known = {id(tensor): names for tensor, names in zip(model.inputs, inputs, strict=True)}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.input_tensors:
                outputs = _trace_node(node, known, feeds)
                known.update((id(tensor), outputs) for tensor in node.output_tensors)
    names = (known.get(id(tensor), everything) for tensor in model.outputs)
    return tuple(dict.fromkeys(name for group in names for name in group))


def _trace_node(
    node: Any, known: dict[int, tuple[str, ...]], feeds: dict[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Note what supplies one layer and give what supplies the layers after it."""
    operation = node.operation
    groups = tuple(known.get(id(tensor), (INPUT,)) for tensor in node.input_tensors)
    inner = _trace_model(operation, groups, feeds)
    if inner is not None:
        return inner
    # Of attention, queries and keys say how much, only values say what.
    carried = groups[2:3] if hasattr(operation, "count_macs") and len(groups) == 3 else groups
    supplied = tuple(dict.fromkeys(name for names in carried for name in names))
    if _filters_apart(operation) and supplied == (INPUT,):
        # Each channel of the image has its own filter: summed kernels would not answer as they did.
        feeds[operation.name] = ()
        return (operation.name,)
    if getattr(operation, "weights", None):
        feeds[operation.name] = supplied
    return (operation.name,) if _makes_channels(operation) else supplied


def _filters_apart(operation: Any) -> bool:
    """Tell whether a layer filters each input channel on its own."""
    return type(operation).__name__ in {
        "DepthwiseConv1D",
        "DepthwiseConv2D",
        "SeparableConv1D",
        "SeparableConv2D",
    }


def _makes_channels(operation: Any) -> bool:
    """Tell whether a layer's output channels are its own (a dense layer, a full convolution, a nested model)."""
    if type(operation).__name__ == "DepthwiseConv2D":
        return False
    return any(role_of(weight.path) is Role.KERNEL for weight in getattr(operation, "weights", ()))
