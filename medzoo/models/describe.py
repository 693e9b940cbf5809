"""Spec or any Keras model → Target: what a transplant must fill, without allocating anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from medzoo.errors import ConfigError, PlanError
from medzoo.models.catalog import find_model, list_left_out
from medzoo.models.storage import locate_storage, own_variables
from medzoo.models.tables import read_table
from medzoo.models.trace import trace_channels, walk_layers
from medzoo.specs import ModelSpec, check_input_size, name_stage, read_network_name
from medzoo.tensors import Initializer, Role, Target, TensorSpec, name_variables, role_of


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
            table = read_table(model.name, classes, channels)
            return replace(table, stages=_name_stages(model, table.tensors))
        target = describe_abstractly(model, classes, channels, input_size, head)
        return replace(
            target,
            model=model.name,
            classes=classes,
            channels=channels,
            input_size=0 if input_size in (None, model.input_size) else input_size,
            head="" if head in (None, model.heads[0]) else head,
            left_out=list_left_out(model),
            stages=_name_stages(model, target.tensors),
        )
    if not hasattr(model, "weights"):
        raise PlanError(f"a {type(model).__name__}", "a catalogue row or a built Keras model")
    return replace(describe_network(model), left_out=_find_left_out(model.name))


def _name_stages(spec: ModelSpec, tensors: Iterable[str]) -> dict[str, str]:
    """Name the stage of each tensor of a network; a layer is looked for once."""
    layers = {name: name.rpartition("/")[0] for name in tensors}
    stages = {layer: name_stage(spec.stages, layer) for layer in dict.fromkeys(layers.values())}
    return {name: stages[layer] for name, layer in layers.items()}


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
    holders = {id(variable): layer for layer in walk_layers(model) for variable in own_variables(layer)}
    tensors = {}
    variables = name_variables(model)
    for name, variable in variables.items():
        layer = holders.get(id(variable))
        role = _role_in(layer, name)
        tensors[name] = TensorSpec(
            name, tuple(variable.shape), str(variable.dtype), role, _initializer_of(layer, variable)
        )
    wiring = trace_channels(model, variables)
    return Target(
        tensors,
        wiring.feeds,
        locate_storage(model),
        axes=wiring.axes,
        blocks=wiring.blocks,
        epsilons=wiring.epsilons,
        followers=wiring.followers,
    )


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
