"""Learning-rate schedules: what the rate is at a step, as a pure function of the step."""

from __future__ import annotations

import math
from typing import Any

import keras

from medzoo.errors import ConfigError
from medzoo.training.settings import ScheduleSection


@keras.saving.register_keras_serializable("medzoo")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A rise from 0 to `peak` over `warmup_steps`, then what `kind` says.

    `cosine` falls to 0 at `steps` and stays there. `step` multiplies by `factor` for every boundary that the step
    strictly exceeds, as BiT does. `constant` and `plateau` stay at the peak: a plateau is seen by who validates, and
    lowered in `Updates`. A step counts the updates that are done, so the first update of a warm-up is at rate 0.
    """

    def __init__(
        self,
        kind: str,
        peak: float,
        steps: int,
        warmup_steps: int = 0,
        boundaries: tuple[int, ...] = (),
        factor: float = 0.1,
    ) -> None:
        self.kind, self.peak, self.steps, self.warmup_steps = kind, peak, steps, warmup_steps
        self.boundaries, self.factor = tuple(boundaries), factor

    def __call__(self, step: Any) -> Any:
        """Give the rate, a float32 scalar, at a step: an integer, a tensor or a variable."""
        # Steps are compared as integers: float32 cannot tell 16,777,217 from its neighbour.
        count = keras.ops.cast(step, "int32")
        rate = self._after_warmup(count)
        if not self.warmup_steps:
            return rate
        rising = keras.ops.cast(count, "float32") * (self.peak / self.warmup_steps)
        return keras.ops.where(count < self.warmup_steps, rising, rate)

    def _after_warmup(self, count: Any) -> Any:
        """Give the rate as if the warm-up were over."""
        if self.kind == "cosine":
            span = max(1, self.steps - self.warmup_steps)
            done = keras.ops.cast(keras.ops.clip(count - self.warmup_steps, 0, span), "float32") / span
            return 0.5 * self.peak * (1.0 + keras.ops.cos(math.pi * done))
        if self.kind == "step":
            exceeded = [keras.ops.cast(count > boundary, "int32") for boundary in self.boundaries]
            # Powers are taken beforehand, in double precision: .1 × .1 × .1 in float32 is not .001.
            rates = [self.peak * self.factor**power for power in range(len(self.boundaries) + 1)]
            return keras.ops.take(keras.ops.convert_to_tensor(rates, "float32"), sum(exceeded))
        return keras.ops.convert_to_tensor(self.peak, "float32")

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that make the same schedule again."""
        return {
            "kind": self.kind,
            "peak": self.peak,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "boundaries": list(self.boundaries),
            "factor": self.factor,
        }


def make_schedule(settings: ScheduleSection, peak: float, steps: int, warmup_steps: int) -> Schedule:
    """Make the schedule of a run of `steps` updates; it can also stand in a user's own `compile`.

    Raises:
        ConfigError: a warm-up as long as the run, boundaries without a schedule in steps, or the reverse.

    >>> schedule = make_schedule(ScheduleSection(kind="step", boundaries=(20, 30)), 1.0, 40, warmup_steps=10)
    >>> [round(float(schedule(step)), 4) for step in (0, 5, 10, 20, 21, 31)]
    [0.0, 0.5, 1.0, 1.0, 0.1, 0.01]
    """
    if warmup_steps and warmup_steps >= steps:
        raise ConfigError(
            f"a warm-up of {warmup_steps} steps in a run of {steps}",
            "a warm-up shorter than the run",
            f"--set schedule.warmup_steps={steps // 10}",
        )
    if settings.boundaries and settings.kind != "step":
        raise ConfigError(
            f"schedule.boundaries under schedule.kind = {settings.kind!r}, which has none",
            "boundaries of a schedule in steps",
            "--set schedule.kind=step",
        )
    if settings.kind == "step" and not settings.boundaries:
        raise ConfigError(
            "schedule.kind = 'step' without boundaries",
            "the steps after which the rate falls",
            f"--set 'schedule.boundaries=[{max(1, steps // 2)}, {max(1, 3 * steps // 4)}]'",
        )
    return Schedule(settings.kind, peak, steps, warmup_steps, settings.boundaries, settings.factor)
