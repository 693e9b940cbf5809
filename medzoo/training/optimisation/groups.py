"""Groups of variables that share a factor of the learning rate, by the network's declared stages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medzoo.errors import ConfigError, nearest
from medzoo.specs import HEAD, Stage
from medzoo.training.settings import OptimizerSection

#: Everything but the head, in `optimizer.rates` and `optimizer.freeze`.
BACKBONE = "backbone"

#: The name of what no declared stage holds; of a network without stages, of everything.
UNPLACED = "rest"

#: Parts of the names of variables that weight decay leaves alone whatever their rank: no matrix or filter.
WITHOUT_DECAY = (
    "bias",
    "gamma",
    "beta",
    "cls_token",
    "distillation_token",
    "pos_embed",
    "position_bias_table",
    "embeddings",
)


@dataclass(frozen=True, eq=False)
class Group:
    """Variables of one stage or block that learn at `factor` times the scheduled rate."""

    stage: str
    factor: float
    variables: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Placement:
    """A layer and the stage and block that hold it; both are empty where no stage does, the block where none does."""

    layer: Any
    stage: str
    block: str


def place_layers(model: Any, stages: Sequence[Stage]) -> tuple[Placement, ...]:
    """Find the stage and block of every layer, nested models opened; what a model itself owns is placed with it.

    A layer belongs to what holds its name, else to what holds the name of the nearest model around it.
    """
    return tuple(_place(model, stages, (), set()))


def _place(
    model: Any, stages: Sequence[Stage], owners: tuple[str, ...], seen: set[int]
) -> Iterator[Placement]:
    """Place the layers of one model; `owners` names the models around it, innermost first."""
    for layer in model.layers:
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        names = (layer.name, *owners)
        if hasattr(layer, "layers"):
            yield from _place(layer, stages, names, seen)
        else:
            yield Placement(layer, *_find_holder(stages, names))


def _find_holder(stages: Sequence[Stage], names: Sequence[str]) -> tuple[str, str]:
    """Name the stage and the block that hold the first of these names that any stage holds."""
    for name in names:
        for stage in stages:
            for block in stage.blocks:
                if block.holds(name):
                    return stage.name, block.name
            if stage.holds(name):
                return stage.name, ""
    return "", ""


def takes_decay(variable: Any) -> bool:
    """Tell whether weight decay applies: to matrices and filters, not to biases, norms, tokens and tables.

    >>> import keras
    >>> takes_decay(keras.Variable([[1.0]], name="kernel")), takes_decay(keras.Variable([1.0], name="kernel"))
    (True, False)
    """
    return len(variable.shape) >= 2 and not any(part in variable.name for part in WITHOUT_DECAY)


def make_groups(model: Any, stages: Sequence[Stage], optimizer: OptimizerSection) -> tuple[Group, ...]:
    """Group the variables that can learn by stage, from bottom to top, each with its factor of the rate.

    The head's factor is 1; every stage with weights has `layer_decay` times that of the one above. `rates` multiply
    that: a block's own, else its stage's, else that of "backbone". A stage whose blocks are named by `rates` or
    `freeze` is a group a block, so that every group is frozen whole or not at all. Call it before anything is frozen.

    Raises:
        ConfigError: an unknown stage, a factor that is not above 0, stages asked for where none are declared, or a
            model in which nothing learns.
    """
    _check_rates(stages, optimizer)
    trainable = list(model.trainable_variables)
    if not trainable:
        raise ConfigError(f"nothing in {model.name!r} learns", "a layer whose trainable is true")
    split = {stage.name for stage in stages if _is_split(stage, optimizer)}
    keys: dict[int, tuple[str, str]] = {}
    for place in place_layers(model, stages):
        key = (place.stage, place.block if place.stage in split else "")
        keys.update((id(variable), key) for variable in place.layer.weights if id(variable) not in keys)
    members: dict[tuple[str, str], list[Any]] = {}
    for variable in trainable:
        members.setdefault(keys.get(id(variable), ("", "")), []).append(variable)
    exponents = _count_above(stages, {stage for stage, _ in members})
    groups = []
    for stage, block in _list_keys(stages):
        if (stage, block) in members:
            factor = optimizer.layer_decay ** exponents.get(stage, 0) * _find_rate(stage, block, optimizer)
            groups.append(Group(block or stage or UNPLACED, factor, tuple(members[stage, block])))
    return tuple(groups)


def _is_split(stage: Stage, optimizer: OptimizerSection) -> bool:
    """Tell whether a setting names a block of this stage."""
    return any(block.name in optimizer.rates or block.name == optimizer.freeze for block in stage.blocks)


def _list_keys(stages: Sequence[Stage]) -> Iterator[tuple[str, str]]:
    """List what a group can be of, from bottom to top; what no stage holds comes first."""
    yield "", ""
    for stage in stages:
        yield from ((stage.name, block.name) for block in stage.blocks)
        yield stage.name, ""


def _count_above(stages: Sequence[Stage], learning: set[str]) -> dict[str, int]:
    """Count the stages above each one, of those that learn."""
    names = [stage.name for stage in stages if stage.name in learning]
    return {name: count for count, name in enumerate(reversed(names))}


def _find_rate(stage: str, block: str, optimizer: OptimizerSection) -> float:
    """Give the factor that `rates` name for a block or a stage; the nearest name counts."""
    rates = optimizer.rates
    general = rates.get(BACKBONE, 1.0) if stage != HEAD else 1.0
    return rates.get(block, rates.get(stage, general))


def _check_rates(stages: Sequence[Stage], optimizer: OptimizerSection) -> None:
    """Refuse rates that mean nothing.

    Raises:
        ConfigError: an unknown stage, a factor that is not above 0, or no stages at all.
    """
    known = [part.name for stage in stages for part in (stage, *stage.blocks)]
    if any(stage.name == HEAD for stage in stages):
        known.append(BACKBONE)
    if not known and (optimizer.rates or optimizer.layer_decay != 1):
        setting = "optimizer.rates" if optimizer.rates else "optimizer.layer_decay"
        raise ConfigError(
            f"{setting} for a network that declares no stages", "a network of the catalogue", "medzoo models"
        )
    for name, factor in optimizer.rates.items():
        if name not in known:
            raise ConfigError(f"no stage {name!r} for optimizer.rates", nearest(name, known))
        if not (factor > 0 and math.isfinite(factor)):
            raise ConfigError(
                f"a factor of {factor:g} for {name!r} in optimizer.rates",
                "a number above 0",
                f"--set optimizer.freeze={name} to keep it as it is",
            )
