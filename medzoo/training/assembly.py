"""Everything that a run trains with, built from what was decided: network, loss, updates, step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import TrainingError
from medzoo.training.feeding import feed_again, feed_plain, weigh
from medzoo.training.optimisation.averaging import WeightAverage
from medzoo.training.optimisation.freezing import Freezing
from medzoo.training.optimisation.groups import make_groups
from medzoo.training.optimisation.updates import Updates, make_updates
from medzoo.training.prepare import Prepared, Report, make_run_schedule
from medzoo.training.stepping.devices import Devices, synchronize_norms
from medzoo.training.stepping.hardware import Choice
from medzoo.training.stepping.stepper import Stepper
from medzoo.transplant.plan import Plan
from medzoo.transplant.run import apply


@dataclass(frozen=True)
class Assembly:
    """A network with what changes it, ready for its first step."""

    model: Any
    plan: Plan
    loss: Any
    stepper: Stepper
    updates: Updates
    average: WeightAverage | None
    freezing: Freezing
    again: Any
    predict: Callable[[Any], NDArray[np.float64]]
    devices: Devices
    xla: Choice
    steps_per_epoch: int
    steps: int

    @property
    def variables(self) -> list[Any]:
        """All that a checkpoint holds: weights, statistics, states of random draws, slots, averages."""
        averages = self.average.variables if self.average else []
        return [*self.model.variables, *self.updates.variables, *averages]

    def make_recalibration(self) -> Callable[[], None] | None:
        """Give what measures the statistics of the batch norms that learn at present; None where nothing does."""
        from medzoo.training.stepping.norms import make_recalibration

        return None if self.again is None else make_recalibration(self.model, self.again)

    def averaged(self) -> AbstractContextManager[None]:
        """Put the average of the weights in their place for a while, where there is one."""
        return self.average.swap() if self.average else nullcontext()


def build_network(prepared: Prepared) -> Any:
    """Build the network for the data."""
    from medzoo.models.build import build

    options = prepared.config.model
    return build(
        prepared.spec,
        len(prepared.dataset.classes),
        prepared.channels,
        prepared.image_size,
        dropout=options.dropout,
        drop_path=options.drop_path,
        head=options.head,
    )


def plain_batches(prepared: Prepared, split: str) -> Any:
    """Make the batches of one pass over a split, in the table's order."""
    return feed_plain(prepared.dataset, split, prepared.feeding, prepared.config.training.batch_size)


def assemble(prepared: Prepared, report: Report | None = None, devices: Devices | None = None) -> Assembly:
    """Build the network, fill it by its plan, and join what trains it, on these devices; alone on one.

    Raises:
        ConfigError: a stage, a rate or an objective that does not fit the network.
    """
    devices = devices or Devices()
    with devices.scope():
        return _assemble(prepared, report, devices)


def _assemble(prepared: Prepared, report: Report | None, devices: Devices) -> Assembly:
    """Assemble within the devices' scope."""
    import tensorflow as tf

    from medzoo.models.lsuv import measure_scales
    from medzoo.training.objectives import make_loss
    from medzoo.training.scaling import add_scales, take_images
    from medzoo.training.stepping.acceleration import accelerate
    from medzoo.training.stepping.norms import BATCHES, freeze_statistics

    config, dataset = prepared.config, prepared.dataset
    training, optimizer = config.training, config.optimizer
    model = build_network(prepared)
    if devices.count > 1 and training.batch_norm != "frozen":
        synchronize_norms(model)  # before the fused kernel is put in, which measures its own share alone
    apply(prepared.plan, prepared.source, model)
    plan = prepared.plan
    if config.weights.lsuv:
        images = take_images(plain_batches(prepared, "train"))
        plan = add_scales(plan, measure_scales(model, images, report=report))
    if prepared.acceleration.value == "on":
        accelerate(model)
    if training.batch_norm == "frozen":
        freeze_statistics(model)
    steps = prepared.steps
    schedule = make_run_schedule(config, steps)
    stages = prepared.spec.stages
    groups = make_groups(model, stages, optimizer)
    updates = make_updates(model, groups, optimizer, training, schedule)
    average = WeightAverage(model, optimizer.average) if optimizer.average else None
    freezing = Freezing(
        model, stages, optimizer.freeze, optimizer.unfreeze_every, optimizer.update_frozen_norms
    )
    freezing.apply(0)
    again = None
    if training.batch_norm == "recalibrate":
        again = feed_again(dataset, prepared.feeding, training.batch_size, training.seed, BATCHES)
    loss = make_loss(
        dataset.exclusive,
        weigh(dataset, training.balance),
        kind=config.objective.kind,
        focal=config.objective.focal,
        label_smoothing=config.objective.label_smoothing,
        values=prepared.grades,
    )
    size, channels = prepared.image_size, prepared.channels
    stepper = Stepper(
        model,
        loss,
        updates,
        (
            tf.TensorSpec((None, size, size, channels), tf.float32),
            tf.TensorSpec((None, len(dataset.classes)), tf.float32),
        ),
        parts=training.accumulate,
        per_call=training.steps_per_execution,
        jit=prepared.xla.value == "on",
        after=average.update if average else None,
        devices=devices,
    )
    xla = _try_xla(stepper, prepared, report)
    return Assembly(
        model,
        plan,
        loss,
        stepper,
        updates,
        average,
        freezing,
        again,
        devices.make_predict(model),
        devices,
        xla,
        prepared.steps_per_epoch,
        steps,
    )


def _try_xla(stepper: Stepper, prepared: Prepared, report: Report | None) -> Choice:
    """See before the first step whether XLA can compile it; where it was nobody's wish, do without it.

    Raises:
        TrainingError: XLA was asked for, and cannot.
    """
    if prepared.xla.value != "on":
        return prepared.xla
    problem = stepper.explain_uncompiled(prepared.config.training.batch_size)
    if not problem:
        return Choice("on", f"{prepared.xla.reason}; the step compiles")
    if prepared.config.training.xla == "on":
        raise TrainingError(f"XLA cannot compile {prepared.spec.name}: {problem}", "", "--xla off")
    choice = Choice("off", f"XLA cannot compile {prepared.spec.name}: {problem}")
    if report:
        report(f"XLA off ({choice.reason})")
    stepper.jit = False
    stepper.retrace()
    return choice
