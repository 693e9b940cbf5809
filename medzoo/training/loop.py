"""The loop of a run: updates, validations, checkpoints, and where it stops."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from medzoo.data.dataset import Dataset
from medzoo.errors import TrainingError
from medzoo.training.assembly import Assembly, plain_batches
from medzoo.training.checkpoints import Checkpoint, restore, write_checkpoint
from medzoo.training.feeding import feed_training, list_batch_ids
from medzoo.training.monitoring.history import write_history
from medzoo.training.monitoring.monitor import Monitor
from medzoo.training.monitoring.scores import save_weights, score_validation
from medzoo.training.monitoring.watch import Progress, Watcher
from medzoo.training.objectives import measure_objective
from medzoo.training.predict import make_predictions
from medzoo.training.prepare import Prepared
from medzoo.training.rundir import Run
from medzoo.training.signals import RunStoppedError, StopRequest
from medzoo.training.stepping.distribution import describe_start

#: How many ids of a batch an error names.
NAMED = 8


@dataclass
class Position:
    """Where a run is, and what it has seen since its last validation; all of it stands in a checkpoint."""

    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    loss_sum: float = 0.0
    loss_images: int = 0
    row_seconds: float = 0.0
    row_waiting: float = 0.0
    stopped: str = ""


def fit(
    run: Run,
    prepared: Prepared,
    assembly: Assembly,
    watchers: Sequence[Watcher],
    request: StopRequest,
    checkpoint: Checkpoint | None = None,
) -> tuple[Monitor, Position]:
    """Train until the last step, or until there is no more to gain; the best weights lie in the run.

    From a checkpoint on the run is the one that was broken off: weights, slots, random draws, data, history and
    all that decides about stopping are those of its step.

    Raises:
        TrainingError: the loss or an output is not finite; the checkpoint is another network's.
        RunStoppedError: a signal asked to stop; a checkpoint was written.
    """
    job = _Job(run, prepared, assembly, watchers, request)
    if checkpoint is not None:
        job.restore(checkpoint)
    job.join()
    progress = job.progress()
    for watcher in watchers:
        watcher.begin(progress)
    try:
        job.train()
    finally:
        for watcher in watchers:
            watcher.end()
    return job.monitor, job.position


class _Job:
    """One process's work on a run."""

    def __init__(
        self,
        run: Run,
        prepared: Prepared,
        assembly: Assembly,
        watchers: Sequence[Watcher],
        request: StopRequest,
    ) -> None:
        self.run, self.prepared, self.assembly = run, prepared, assembly
        self.watchers, self.request = watchers, request
        self.config = prepared.config
        self.monitor = Monitor(self.config.validation, self.config.schedule)
        self.position = Position()
        self.validations = _list_validations(
            assembly.steps, assembly.steps_per_epoch, self.config.validation.every
        )
        self.validation = _without_groups(prepared.dataset.of_split("validation"))
        self.batches = plain_batches(prepared, "validation")
        self.images, self.seconds, self.waiting = 0, 0.0, 0.0
        self.recalibrate = assembly.make_recalibration()
        self.saved_at = time.monotonic()
        self.devices = assembly.devices

    def join(self) -> None:
        """See that all hosts begin alike, and let every device draw for itself."""
        if self.devices.hosts > 1:
            values = b"".join(np.asarray(one.numpy()).tobytes() for one in self.assembly.variables)
            self.devices.refuse_differences(
                describe_start(self.prepared, self.position.step) | {"weights": values}
            )
        self.devices.spread_seeds(self.assembly.model)

    def progress(self) -> Progress:
        """Say where the run is."""
        assembly = self.assembly
        return Progress(
            self.position.step,
            assembly.steps,
            assembly.steps_per_epoch,
            self.images,
            self.seconds,
            self.waiting,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go to a checkpoint's step."""
        restore(checkpoint, self.assembly.variables)
        self.position = Position(**checkpoint.state["position"])
        self.monitor.restore(checkpoint.state["monitor"])
        self.freeze()

    def freeze(self) -> None:
        """Freeze and release the stages that this epoch wants; the step is compiled anew where that changes it."""
        if self.assembly.freezing.apply(self.position.step // self.assembly.steps_per_epoch):
            self.assembly.stepper.retrace()
            self.recalibrate = self.assembly.make_recalibration()

    def save(self) -> None:
        """Write a checkpoint of this step, on the chief."""
        if not self.devices.is_chief:
            return
        self.refuse_weights()
        state = {
            "step": self.position.step,
            "steps": self.assembly.steps,
            "config": self.config.model_dump(mode="json", exclude={"run"}),
            "precision": self.prepared.precision.value,
            "table_digest": self.prepared.dataset.digest,
            "position": vars(self.position),
            "monitor": self.monitor.state(),
        }
        write_checkpoint(self.run.path, self.assembly.variables, state)
        self.saved_at = time.monotonic()

    def train(self) -> None:
        """Train to the end, or until the monitor or a signal says stop."""
        assembly, position = self.assembly, self.position
        per_epoch = assembly.steps_per_epoch
        if self.position.step < assembly.steps and not self.position.stopped:
            epoch, step = divmod(position.step, per_epoch)
            batches = iter(
                feed_training(
                    self.prepared.dataset,
                    self.prepared.feeding,
                    self.config.training,
                    first_epoch=epoch,
                    first_step=step,
                    epochs=-(-assembly.steps // per_epoch) - epoch,
                )
            )
        while position.step < assembly.steps and not position.stopped:
            if position.step % per_epoch == 0:
                self.freeze()
            self.advance(batches)
            at_end = position.step % per_epoch == 0 or position.step == assembly.steps
            if position.step in self.validations:
                self.validate()
            asked = self.devices.hear(self.request.asked_by)
            late = time.monotonic() - self.saved_at > 60 * self.config.run.checkpoint_minutes
            if at_end or late or position.stopped or asked:
                self.save()
            if asked and position.step < assembly.steps and not position.stopped:
                raise RunStoppedError(
                    asked,
                    f"stopped by {asked} after step {position.step:,} of {assembly.steps:,}",
                    f"medzoo train --resume {self.run.path}, which goes on from there",
                )

    def advance(self, batches: Any) -> None:
        """Do the next updates: up to the next validation or the epoch's end, at most as many as one call takes."""
        assembly, position = self.assembly, self.position
        per_epoch = assembly.steps_per_epoch
        ends = (position.step // per_epoch + 1) * per_epoch
        later = bisect.bisect_right(self.validations, position.step)
        due = min(ends, assembly.steps, *self.validations[later : later + 1])
        done = assembly.stepper.run(batches, min(assembly.stepper.per_call, due - position.step))
        broken = np.flatnonzero(~np.isfinite(done.losses))
        if broken.size:
            self.refuse_loss(position.step + int(broken[0]), float(done.losses[broken[0]]))
        count = len(done.losses)
        position.step += count
        # The mean over images: a smaller last batch counts for less.
        position.loss_sum += float((done.losses * done.sizes).sum())
        position.loss_images += done.images
        position.seconds += done.seconds
        position.row_seconds += done.seconds
        position.row_waiting += done.waiting
        self.images += done.images
        self.seconds += done.seconds
        self.waiting += done.waiting
        progress = self.progress()
        for watcher in self.watchers:
            watcher.stepped(progress, float(done.losses.mean()))

    def refuse_loss(self, step: int, loss: float) -> None:
        """Refuse a loss that is not finite, of a step from 0; what was checkpointed before stays."""
        raise TrainingError(
            f"the loss is {loss} at step {step + 1} ({self.describe_batch(step)})",
            "a finite loss",
            "a lower --lr, or --clip-norm 1",
        )

    def refuse_weights(self) -> None:
        """Refuse to keep weights that are not finite: a ReLU makes 0 of NaN, and the loss does not show it.

        Raises:
            TrainingError: the first such variable is named; the checkpoint before stays.
        """
        for variable in self.assembly.variables:
            values = variable.numpy()
            if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                step = self.position.step
                raise TrainingError(
                    f"{variable.path} is not finite after step {step} ({self.describe_batch(step - 1)})",
                    "finite weights",
                    "a lower --lr, or --clip-norm 1",
                )

    def describe_batch(self, step: int) -> str:
        """Say in which epoch, at which rate and on which images a step, counted from 0, learnt."""
        epoch, within = divmod(step, self.assembly.steps_per_epoch)
        ids = list_batch_ids(self.prepared.dataset, self.config.training, epoch, within)
        named = ", ".join(ids[:NAMED]) + (f" and {len(ids) - NAMED} more" if len(ids) > NAMED else "")
        return f"epoch {epoch + 1}, learning rate {self.assembly.updates.rate(step):.3g}, images {named}"

    def validate(self) -> None:
        """Score the validation images, keep the weights if they are the best, and write the history."""

        assembly, position = self.assembly, self.position
        with assembly.averaged():
            if self.recalibrate:
                self.recalibrate()
            logits = assembly.predict(self.batches)
            if not np.isfinite(logits).all():
                raise TrainingError(
                    f"the network's outputs are not finite after step {position.step}",
                    "finite ones",
                    "a lower --lr",
                )
            scores = score_validation(
                make_predictions(self.validation, logits),
                *dict.fromkeys(("auroc", *self.monitor.metrics)),
                loss=self.measure_loss(logits),
            )
            # Hosts may differ in a last digit; what is decided by it may not.
            scores = dict(zip(scores, self.devices.share(list(scores.values())), strict=True))
            verdict = self.monitor.update(position.step, scores)
            if verdict.is_best:
                self.refuse_weights()
            if verdict.is_best and self.devices.is_chief:
                save_weights(assembly.model, self.run)
        row = {
            "epoch": round(position.step / assembly.steps_per_epoch, 4),
            "step": position.step,
            "loss": position.loss_sum / position.loss_images,
            **{f"val_{name}": value for name, value in scores.items()},
            "learning_rate": assembly.updates.rate(),
            "seconds": round(position.row_seconds, 3),
            "images_per_second": round(position.loss_images / position.row_seconds, 1),
            "waiting": round(position.row_waiting / position.row_seconds, 4),
        }
        position.history.append(row)
        position.loss_sum, position.loss_images = 0.0, 0
        position.row_seconds, position.row_waiting = 0.0, 0.0
        if verdict.lower_rate:
            assembly.updates.lower(self.config.schedule.factor)
        position.stopped = verdict.stop or ""
        least = self.config.schedule.least_rate
        if self.config.schedule.kind == "plateau" and verdict.lower_rate and assembly.updates.rate() < least:
            position.stopped = f"the learning rate fell below {least:g}"
        if self.devices.is_chief:
            write_history(self.run, position.history)
        progress = self.progress()
        for watcher in self.watchers:
            watcher.validated(progress, row, verdict.is_best)

    def measure_loss(self, logits: np.ndarray) -> float | None:
        """Measure an objective that is no cross-entropy; else None, and the plain cross-entropy is taken."""
        if self.config.objective.kind not in ("ordinal", "regression"):
            return None
        return measure_objective(self.assembly.loss, self.validation.targets, logits)


def _list_validations(steps: int, steps_per_epoch: int, every: float) -> list[int]:
    """List the steps after which the validation images are scored, in order; the last one always is.

    >>> _list_validations(10, 4, 0.5), _list_validations(10, 4, 2)
    ([2, 4, 6, 8, 10], [8, 10])
    """
    between = max(1.0, steps_per_epoch * every)
    places = (round(number * between) for number in range(1, math.ceil(steps / between) + 1))
    return sorted({min(place, steps) for place in places} | {steps})


def _without_groups(dataset: Dataset) -> Dataset:
    """Give a data set whose table holds only what every validation's score needs."""
    return replace(dataset, table=dataset.table[["id", "split", "label"]])
