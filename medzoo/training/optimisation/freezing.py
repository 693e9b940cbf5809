"""Which stages stay as they are, and when they begin to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medzoo.errors import ConfigError
from medzoo.specs import HEAD, Stage, find_stage
from medzoo.training.optimisation.groups import BACKBONE, Placement, place_layers


@dataclass(frozen=True, eq=False)
class _Unit:
    """What is frozen and released together: its layers from the outermost in, and their variables, as they were."""

    layers: tuple[tuple[Any, bool], ...]
    variables: tuple[tuple[Any, bool], ...]


class Freezing:
    """Sets `trainable` of a model's layers, epoch by epoch.

    Stages up to and including `freeze`, a stage or a block, stay as they are; "backbone" is everything but the head.
    With `unfreeze_every` the highest of them is released after so many epochs, then the next; without `freeze` that
    begins with the head alone. A frozen batch norm runs on its stored statistics; with `update_frozen_norms` it goes
    on measuring while its scale and shift stay. Make it before anything is frozen: what was not trainable then never
    learns. Optimisers keep their slots, but a compiled step must be traced anew where `apply` says so.

    Raises:
        ConfigError: an unknown stage (the nearest is given), no stages at all, or nothing left that learns.
    """

    def __init__(
        self,
        model: Any,
        stages: Sequence[Stage],
        freeze: str | None,
        unfreeze_every: int | None,
        update_frozen_norms: bool = False,
    ) -> None:
        self.unfreeze_every, self.update_frozen_norms = unfreeze_every, update_frozen_norms
        self._learning = list(model.trainable_variables)
        if freeze is None and unfreeze_every is not None:
            freeze = BACKBONE
        self._units = [] if freeze is None else _list_units(place_layers(model, stages), stages, freeze)
        self._frozen = 0
        if freeze is not None and not self.active(0):
            raise ConfigError(
                f"with {freeze!r} frozen nothing learns", "a stage below the head", "--freeze backbone"
            )

    def _count_frozen(self, epoch: int) -> int:
        """Count the units that are frozen in an epoch, from the bottom."""
        released = epoch // self.unfreeze_every if self.unfreeze_every else 0
        return max(0, len(self._units) - released)

    def apply(self, epoch: int) -> bool:
        """Freeze and release what an epoch, counted from 0, wants; True where something changed."""
        wanted = self._count_frozen(epoch)
        for index in range(min(wanted, self._frozen), max(wanted, self._frozen)):
            if index < wanted:
                _freeze(self._units[index], self.update_frozen_norms)
            else:
                _release(self._units[index])
        changed = wanted != self._frozen
        self._frozen = wanted
        return changed

    def active(self, epoch: int) -> list[Any]:
        """List the variables that learn in an epoch, in the model's order; changes nothing."""
        units = self._units[: self._count_frozen(epoch)]
        frozen = {id(variable) for unit in units for variable, _ in unit.variables}
        return [variable for variable in self._learning if id(variable) not in frozen]


def _list_units(places: Sequence[Placement], stages: Sequence[Stage], freeze: str) -> list[_Unit]:
    """List what is frozen at first, a unit a stage from bottom to top; stages without weights are no unit.

    Raises:
        ConfigError: no stage or block has that name, or the network has no head to leave.
    """
    if freeze == BACKBONE:
        if all(stage.name != HEAD for stage in stages):
            raise ConfigError(
                "a frozen backbone in a network that declares no head",
                "a network of the catalogue",
                "medzoo models",
            )
        # What no stage holds lies below all of them: nothing says when it should be released.
        names = ["", *(stage.name for stage in stages if stage.name != HEAD)]
        chosen = list(places)
    else:
        below = {part.name for part in find_stage(stages, freeze)[0]}
        names = [stage.name for stage in stages]
        chosen = [place for place in places if place.stage in below or place.block in below]
    units = [_make_unit([place.layer for place in chosen if place.stage == name]) for name in names]
    return [unit for unit in units if any(learns for _, learns in unit.variables)]


def _make_unit(layers: Sequence[Any]) -> _Unit:
    """Note which of these layers, those inside them and their variables can learn."""
    inner = [part for layer in layers for part in layer._flatten_layers()]
    variables = {id(variable): variable for layer in layers for variable in layer.weights}
    return _Unit(
        tuple((layer, bool(layer.trainable)) for layer in inner),
        tuple((variable, bool(variable.trainable)) for variable in variables.values()),
    )


def _freeze(unit: _Unit, measuring: bool) -> None:
    """Keep a unit's weights as they are; batch norms that go on measuring stay trainable without their variables."""
    import keras

    for layer, learned in unit.layers:
        # Keras hands a layer's flag down, so a batch norm is seen to after what contains it.
        layer.trainable = measuring and learned and isinstance(layer, keras.layers.BatchNormalization)
    for variable, _ in unit.variables:
        variable.trainable = False


def _release(unit: _Unit) -> None:
    """Put a unit's flags back as they were."""
    for layer, learned in unit.layers:
        layer.trainable = learned
    for variable, learned in unit.variables:
        variable.trainable = learned
