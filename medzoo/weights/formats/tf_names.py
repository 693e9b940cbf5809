"""Which variables of a TensorFlow checkpoint are weights, and what each is called."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterator
from typing import Any

#: What TensorFlow 1's optimisers append to the names of the variables that they follow.
_SLOT = re.compile(
    r"/(Momentum|Adam(_1)?|RMSProp(_\d)?|Adagrad(_\d)?|Adadelta(_\d)?|Ftrl(_1)?|LARS\w*|adam_[mv]|accumulator)"
)
_AVERAGE = re.compile(r"/ExponentialMovingAverage")
_STEP = re.compile(r"(.*/)?(global_step|save_counter|beta[12]_power(_\d+)?)")
_SEED = re.compile(r"(.*/)?(seed_|random_)?generator(_\d+)?/(seed_generator_)?state(_\d+)?|.*StateVar")

#: Objects by these names belong to an optimiser; `keras_api` repeats a model's parts beside its metrics' state.
_OPTIMIZERS = {"optimizer", "inner_optimizer"}
_REPEATS = {"keras_api"}

OPTIMIZER_NOTE = "optimiser state left out"
AVERAGE_NOTE = "moving averages of the weights left out"

#: Where an object of the graph was met: outside of any model, in a sequential one, in any other layer.
_OUTSIDE, _IN_SEQUENTIAL, _IN_LAYER = "outside", "in sequential", "in layer"


def name_objects(graph: Any, notes: set[str]) -> dict[str, str]:
    """Choose the variables that are weights, each by its key in the checkpoint, with its own name.

    Weights are what can be reached from the root without passing through an optimiser: an optimiser may well
    give its list of trained variables shorter keys than the model does.
    """
    nodes = graph.nodes
    keys: dict[str, str] = {}
    in_sequential: set[str] = set()
    found = {0: _OUTSIDE} if len(nodes) else {}
    optimizers = {number for number, node in enumerate(nodes) if _is_optimizer(node)}
    pending = deque(found)
    while pending:
        node = pending.popleft()
        inside = _place_parts(nodes[node], found[node])
        for child in nodes[node].children:
            if not 0 <= child.node_id < len(nodes) or child.local_name in _REPEATS:
                continue
            if child.local_name in _OPTIMIZERS or child.node_id in optimizers:
                notes.add(OPTIMIZER_NOTE)
            elif child.node_id not in found:
                found[child.node_id] = inside
                pending.append(child.node_id)
        for attribute in nodes[node].attributes:
            name = attribute.full_name.removesuffix(":0")
            if attribute.name == "VARIABLE_VALUE" and not _STEP.fullmatch(name) and not _SEED.fullmatch(name):
                keys[attribute.checkpoint_key] = name
                if found[node] == _IN_SEQUENTIAL:
                    in_sequential.add(attribute.checkpoint_key)
    return _without_copies(_without_model(keys, in_sequential))


def _place_parts(node: Any, place: str) -> str:
    """Tell where an object's parts are, by what Keras 3 tracks in each kind of model."""
    if place != _OUTSIDE:
        return place
    parts = {child.local_name for child in node.children}
    if "_functional" in parts:
        return _IN_SEQUENTIAL
    return _IN_LAYER if "_inbound_nodes" in parts else _OUTSIDE


def _without_model(keys: dict[str, str], in_sequential: set[str]) -> dict[str, str]:
    """Take a sequential model's own name from before its variables' names, where all of them have it."""
    models = {keys[key].partition("/")[0] for key in in_sequential if "/" in keys[key]}
    if len(models) != 1:
        return keys
    prefix = f"{models.pop()}/"
    return {key: name.removeprefix(prefix) if key in in_sequential else name for key, name in keys.items()}


def _is_optimizer(node: Any) -> bool:
    """Tell an optimiser by its slot variables, or by its counter of steps beside a learning rate."""
    names = {child.local_name.lstrip("_") for child in node.children}
    return bool(node.slot_variables) or ("learning_rate" in names and bool(names & {"iterations", "iter"}))


def _without_copies(keys: dict[str, str]) -> dict[str, str]:
    """Leave out the second copy of every variable in what Keras 3's `model.export` writes."""
    exported = {name for key, name in keys.items() if key.startswith("variables/")}
    return {
        key: name
        for key, name in keys.items()
        if not (key.startswith("_all_variables/") and name in exported)
    }


def choose_named(shapes: Collection[str], notes: set[str]) -> Iterator[str]:
    """Choose the weights of a TensorFlow 1 checkpoint, in which every variable has a name and nothing else."""
    for key in shapes:
        average, slot = _AVERAGE.search(key), _SLOT.search(key)
        if average and average.end() == len(key) and key[: average.start()] in shapes:
            notes.add(AVERAGE_NOTE)
        elif slot and slot.end() == len(key) and key[: slot.start()] in shapes:
            notes.add(OPTIMIZER_NOTE)
        elif not _STEP.fullmatch(key):
            yield key
