"""Where Keras puts each tensor in a `.weights.h5`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from medzoo.tensors import name_variables

#: Models whose layers Keras stores under `layers`, by class and order.
CONTAINERS = {"Functional", "Sequential"}


def locate_storage(model: Any) -> dict[str, str]:
    """Locate each tensor in the `.weights.h5` that Keras would write for a functional or sequential model.

    Keras names groups by class and order (`layers/conv2d_1/vars/0`), not by layer name. For models with other
    containers the mapping is empty: they are saved by Keras itself after a transplant.
    """
    if not CONTAINERS & {kind.__name__ for kind in type(model).__mro__}:
        return {}  # a subclassed model's groups are named by its attributes
    names = {id(variable): name for name, variable in name_variables(model).items()}
    located = {names.get(key, ""): path for key, path in _walk(model, "", set())}
    return {name: located[name] for name in names.values()} if set(names.values()) <= set(located) else {}


def own_variables(layer: Any) -> list[Any]:
    """Give the weights that the layer itself created, in the order in which Keras stores them."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def _walk(container: Any, prefix: str, visited: set[int]) -> Iterator[tuple[int, str]]:
    """Yield each variable's identity and path, depth first as Keras does; a shared layer counts where met first.

    A composite layer (attention, a recurrent one) keeps its parts under attributes: its tensors are left out.
    """
    used: dict[str, int] = {}
    for layer in container.layers:
        path = f"{prefix}layers/{_unique_group(_snake_case(type(layer).__name__), used)}/"
        if id(layer) in visited:
            continue
        visited.add(id(layer))
        yield from ((id(variable), f"{path}vars/{n}") for n, variable in enumerate(own_variables(layer)))
        if type(layer).__name__ in CONTAINERS:
            yield from _walk(layer, path, visited)


def _unique_group(name: str, used: dict[str, int]) -> str:
    """Number repeated class names as Keras does: conv2d, conv2d_1, conv2d_2."""
    count = used.get(name, 0)
    used[name] = count + 1
    return f"{name}_{count}" if count else name


def _snake_case(name: str) -> str:
    """Turn a class name into Keras's group name: BatchNormalization → batch_normalization."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
