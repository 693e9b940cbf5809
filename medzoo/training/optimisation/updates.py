"""Gradients → new weights: clipping, one optimiser a group, one step counter and schedule for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from medzoo.errors import ConfigError
from medzoo.training.optimisation.groups import Group, takes_decay
from medzoo.training.settings import OptimizerSection, TrainingSection


class Updates:
    """Applies gradients to whichever variables learn at present, each group at its own rate.

    A group's rate is its factor × the schedule at `counter` × the scale that plateaus lower. An optimiser counts its
    own group's updates only, so that Adam's bias correction is right for a stage that begins to learn later; its
    slots stay where a group is frozen for a while. Gradients are those of all devices together: nothing is summed
    here. Make it, as the model, within the strategy's scope.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        optimizers: Sequence[keras.optimizers.Optimizer],
        schedule: Callable[[Any], Any],
        clip_norm: float | None = None,
    ) -> None:
        self.groups, self.optimizers = tuple(groups), tuple(optimizers)
        self.schedule, self.clip_norm = schedule, clip_norm
        self.counter = _make_state(0, "int", "counter")
        self.scale = _make_state(1.0, "float32", "scale")
        self._places = {
            id(variable): place for place, group in enumerate(self.groups) for variable in group.variables
        }

    @property
    def variables(self) -> list[Any]:
        """All state, in a fixed order: counter and scale, then each optimiser's own count, rate and slots."""
        return [
            self.counter,
            self.scale,
            *(variable for optimizer in self.optimizers for variable in optimizer.variables),
        ]

    def apply(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        """Update the variables by their gradients, in a graph or at once; None leaves a variable as it is.

        Groups of which no variable is given keep their slots and their count.
        """
        pairs = [pair for pair in zip(gradients, variables, strict=True) if pair[0] is not None]
        if self.clip_norm is not None and pairs:
            clipped = clip_by_global_norm([gradient for gradient, _ in pairs], self.clip_norm)
            pairs = [(gradient, pair[1]) for gradient, pair in zip(clipped, pairs, strict=True)]
        rate = self._find_rate(self.counter)
        for place, (group, optimizer) in enumerate(zip(self.groups, self.optimizers, strict=True)):
            own = [pair for pair in pairs if self._places[id(pair[1])] == place]
            if own:
                # Written once an update: an optimiser reads its rate for every variable that it decays.
                optimizer.learning_rate = rate * group.factor
                optimizer.apply(*map(list, zip(*own, strict=True)))
        self.counter.assign_add(1)

    def _find_rate(self, step: Any) -> Any:
        """Give a step's rate for a factor of 1, a float32 scalar."""
        return keras.ops.cast(self.schedule(step), "float32") * self.scale

    def rate(self, step: int | None = None) -> float:
        """Give the learning rate of the next update, or of another step, of a group whose factor is 1."""
        rate = self._find_rate(self.counter if step is None else step)
        return float(keras.ops.convert_to_numpy(rate))

    def lower(self, factor: float) -> None:
        """Multiply all rates by a factor from here on: a plateau."""
        self.scale.assign(self.scale * factor)


def make_updates(
    model: Any,
    groups: Sequence[Group],
    optimizer: OptimizerSection,
    training: TrainingSection,
    schedule: Callable[[Any], Any],
) -> Updates:
    """Make what updates a model's variables: an optimiser for each group, with slots for all of its variables.

    Weight decay is decoupled from the gradient under every name (Loshchilov & Hutter 2019), at the group's rate,
    and on matrices and filters only. Call it before anything is frozen.

    Raises:
        ConfigError: a variable that can learn belongs to no group.
    """
    grouped = {id(variable) for group in groups for variable in group.variables}
    strange = [variable.path for variable in model.trainable_variables if id(variable) not in grouped]
    if strange:
        raise ConfigError(f"{strange[0]!r} of {model.name!r} is in no group", "the groups of this very model")
    optimizers = [_make_optimizer(group, optimizer, training.weight_decay) for group in groups]
    return Updates(groups, optimizers, schedule, optimizer.clip_norm)


def clip_by_global_norm(gradients: Sequence[Any], largest: float) -> list[Any]:
    """Scale gradients together so that the norm of all their values is at most `largest`.

    A norm that is not finite makes every gradient NaN or 0, so that the loss shows it.

    >>> import numpy as np
    >>> [float(part[0]) for part in clip_by_global_norm([np.float32([3]), np.float32([4])], 1.0)]
    [0.6000000238418579, 0.800000011920929]
    """
    tensors = [keras.ops.convert_to_tensor(gradient) for gradient in gradients]
    squares = [keras.ops.sum(keras.ops.square(keras.ops.cast(tensor, "float32"))) for tensor in tensors]
    norm = keras.ops.sqrt(sum(squares))
    scale = largest / keras.ops.maximum(norm, largest)
    return [tensor * keras.ops.cast(scale, tensor.dtype) for tensor in tensors]


def _make_state(value: float, dtype: str, name: str) -> Any:
    """Make a scalar that every device holds alike."""
    return keras.Variable(
        value, dtype=dtype, trainable=False, aggregation="only_first_replica", name=f"updates_{name}"
    )


def _make_optimizer(group: Group, optimizer: OptimizerSection, decay: float) -> keras.optimizers.Optimizer:
    """Make the optimiser of one group and its slots."""
    name = f"updates_{group.stage}"
    weight_decay = decay or None  # 0 would be multiplied and subtracted all the same
    made: Any
    if optimizer.name == "sgd":
        made = keras.optimizers.SGD(0.0, optimizer.momentum, weight_decay=weight_decay, name=name)
    elif optimizer.name == "lamb":
        made = keras.optimizers.Lamb(0.0, weight_decay=weight_decay, name=name)
    else:  # Keras's Adam with a decay is its AdamW
        made = keras.optimizers.Adam(0.0, weight_decay=weight_decay, name=name)
    if weight_decay is not None:
        spared = [variable for variable in group.variables if not takes_decay(variable)]
        made.exclude_from_weight_decay(var_list=spared)
    # Keras sums gradients over devices at this point; these are summed, which clipping needs, and are not again.
    made._all_reduce_sum_gradients = _keep
    made.build(list(group.variables))
    return made


def _keep(pairs: list[Any]) -> list[Any]:
    """Give pairs of gradients and variables as they are."""
    return pairs
