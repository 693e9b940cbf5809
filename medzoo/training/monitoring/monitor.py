"""What validations decide: the best weights, a lower learning rate, the end of a run, and when a score was reached.

Pure arithmetic on numbers, with a state of plain JSON: what a resumed run decides is what it would have decided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from medzoo.errors import ConfigError, TrainingError, nearest
from medzoo.training.settings import MetricName, ScheduleSection, ValidationSection

#: How good a score is: whether the metric is defined, then its height. Where it is not, the loss takes its place.
Standing = tuple[bool, float]


@dataclass(frozen=True)
class Verdict:
    """What follows from one validation; `stop` is the reason to end the run, for a person."""

    is_best: bool
    lower_rate: bool
    stop: str | None


@dataclass(frozen=True)
class Until:
    """The score at which a run is to end."""

    metric: str
    value: float

    def is_met(self, score: float) -> bool:
        """Tell whether a score is as good; one that is undefined is not."""
        return score <= self.value if self.metric == "loss" else score >= self.value

    def __str__(self) -> str:
        """Give it as it is written in a configuration, without the leading zero."""
        return f"{self.metric}={f'{self.value:g}'.removeprefix('0')}"


def parse_until(text: str) -> Until:
    """Read the score at which a run is to end, `metric=value`.

    Raises:
        ConfigError: another form, a metric that does not exist, or a value that no network can reach or miss.

    >>> parse_until("auroc=.90")
    Until(metric='auroc', value=0.9)
    """
    metric, is_written, number = (part.strip() for part in text.partition("="))
    form = "a metric and its value", "--until auroc=.90"
    if not is_written:
        raise ConfigError(f"--until {text!r}", *form)
    if metric not in get_args(MetricName):
        raise ConfigError(
            f"--until {text!r}: there is no metric {metric!r}", nearest(metric, get_args(MetricName))
        )
    try:
        value = float(number)
    except ValueError:
        raise ConfigError(f"--until {text!r}: {number!r} is no number", *form) from None
    if metric == "loss" and not 0 < value < math.inf:
        raise ConfigError(f"--until {text!r}", "a loss above 0", "--until loss=.3")
    if metric != "loss" and not 0 < value <= 1:
        raise ConfigError(
            f"--until {text!r}", f"a share above 0 and up to 1, as {metric} is", f"--until {metric}=.90"
        )
    return Until(metric, value)


class Monitor:
    """Decides after each validation; everything it remembers is in its state.

    The best weights are those of the highest `validation.metric` (the lowest loss); equal ones are decided by the
    lower loss, and where the metric is undefined the loss alone decides. What counts as gain, for early stopping
    and for a plateau, is more than `validation.least_gain` above the last score that was a gain.

    Raises:
        ConfigError: `validation.until` cannot be read.

    >>> monitor = Monitor(ValidationSection(early_stopping=1), ScheduleSection())
    >>> monitor.update(10, {"auroc": 0.8, "loss": 0.5})
    Verdict(is_best=True, lower_rate=False, stop=None)
    >>> monitor.update(20, {"auroc": 0.7, "loss": 0.4}).stop
    'no gain in auroc in 1 validation'
    """

    def __init__(self, validation: ValidationSection, schedule: ScheduleSection) -> None:
        self.metric: str = validation.metric
        self.least_gain = validation.least_gain
        self.early_stopping = validation.early_stopping
        self.until = None if validation.until is None else parse_until(validation.until)
        self.schedule = schedule
        self.plateau_metric: str = schedule.metric or validation.metric
        self.best_step = 0  # before the first validation, where `best_scores` is empty
        self.best_scores: dict[str, float] = {}
        self._stopping, self._plateau = _Patience(), _Patience()
        self._before: tuple[int, float] | None = None  # step and score of the validation before, of `until`
        self._reached: tuple[float, int] | None = None  # step, interpolated, and that of the validation

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names that every validation must score: the loss first, none twice."""
        names = ["loss", self.metric]
        if self.schedule.kind == "plateau":
            names.append(self.plateau_metric)
        if self.until is not None:
            names.append(self.until.metric)
        return tuple(dict.fromkeys(names))

    def update(self, step: int, scores: Mapping[str, float]) -> Verdict:
        """Take in the scores of a validation after `step` updates, NaN where undefined, and decide.

        Raises:
            TrainingError: a score of `metrics` is missing.
        """
        missing = [name for name in self.metrics if name not in scores]
        if missing:
            raise TrainingError(f"a validation without {missing[0]}", f"scores of {', '.join(self.metrics)}")
        known = {name: float(scores[name]) for name in self.metrics}
        is_best = not self.best_scores or self._rank(known) > self._rank(self.best_scores)
        if is_best:
            self.best_step, self.best_scores = step, known
        self._stopping.note(_stand(self.metric, known), self.least_gain)
        lower_rate = self._meet_plateau(known)
        self._look_for_crossing(step, known)
        return Verdict(is_best, lower_rate, self._find_end())

    def crossing(self) -> dict[str, Any] | None:
        """Say when the score of `validation.until` was first reached; None where none is asked for.

        `step` is interpolated linearly between the two validations, `validated_at` is the later one. Both are None
        as long as the score is not reached: such a run is censored, and its last step is no crossing.
        """
        if self.until is None:
            return None
        step, validated_at = self._reached or (None, None)
        return {
            "metric": self.until.metric,
            "value": self.until.value,
            "step": step,
            "validated_at": validated_at,
        }

    def state(self) -> dict[str, Any]:
        """Give everything remembered as plain JSON, in which NaN and infinity are text."""
        return {
            "best_step": self.best_step,
            "best_scores": {name: _encode(score) for name, score in self.best_scores.items()},
            "stopping": self._stopping.state(),
            "plateau": self._plateau.state(),
            "before": None if self._before is None else [self._before[0], _encode(self._before[1])],
            "reached": None if self._reached is None else list(self._reached),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave.

        Raises:
            TrainingError: the state is of another kind.
        """
        if set(state) != set(self.state()):
            raise TrainingError(
                f"a monitor's state of {', '.join(sorted(state)) or 'nothing'}",
                ", ".join(sorted(self.state())),
            )
        self.best_step = int(state["best_step"])
        self.best_scores = {name: float(score) for name, score in state["best_scores"].items()}
        self._stopping.restore(state["stopping"])
        self._plateau.restore(state["plateau"])
        before, reached = state["before"], state["reached"]
        self._before = None if before is None else (int(before[0]), float(before[1]))
        self._reached = None if reached is None else (float(reached[0]), int(reached[1]))

    def _rank(self, scores: Mapping[str, float]) -> tuple[Standing, float]:
        """Rank a validation: by the metric, then by the lower loss."""
        return _stand(self.metric, scores), _stand("loss", scores)[1]

    def _meet_plateau(self, scores: Mapping[str, float]) -> bool:
        """Tell whether this validation completes a plateau, of which the next one starts anew."""
        if self.schedule.kind != "plateau":
            return False
        self._plateau.note(_stand(self.plateau_metric, scores), self.least_gain)
        if self._plateau.waited < self.schedule.patience:
            return False
        self._plateau.waited = 0
        return True

    def _look_for_crossing(self, step: int, scores: Mapping[str, float]) -> None:
        """Find the first crossing of the score of `until`, between the validation before and this one."""
        if self.until is None or self._reached is not None:
            return
        score, before = scores[self.until.metric], self._before
        self._before = (step, score)
        if not self.until.is_met(score):
            return
        share = 1.0
        # Without a finite score on the other side, all that is known is that it was reached by now.
        if before is not None and math.isfinite(before[1]) and math.isfinite(score):
            share = (self.until.value - before[1]) / (score - before[1])
        start = step if before is None else before[0]
        self._reached = (start + share * (step - start), step)

    def _find_end(self) -> str | None:
        """Give the reason to end the run, if there is one."""
        if self.until is not None and self._reached is not None:
            return f"{self.until} is reached, at step {self._reached[0]:.0f}"
        waited = self._stopping.waited
        if self.early_stopping is not None and waited >= self.early_stopping:
            return f"no gain in {self.metric} in {waited} validation{'s' if waited > 1 else ''}"
        return None


class _Patience:
    """Counts the validations since the last gain."""

    def __init__(self) -> None:
        self.last: Standing | None = None  # that of the last gain
        self.waited = 0

    def note(self, standing: Standing, least_gain: float) -> None:
        """Count a validation, from 0 again where it is a gain."""
        if self.last is None or _is_gain(standing, self.last, least_gain):
            self.last, self.waited = standing, 0
        else:
            self.waited += 1

    def state(self) -> dict[str, Any]:
        """Give what is remembered as plain JSON."""
        last = None if self.last is None else [self.last[0], _encode(self.last[1])]
        return {"last": last, "waited": self.waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        last = state["last"]
        self.last = None if last is None else (bool(last[0]), float(last[1]))
        self.waited = int(state["waited"])


def _stand(metric: str, scores: Mapping[str, float]) -> Standing:
    """Give a score's standing: higher is better; by the loss, and below all others, where it is undefined."""
    loss = scores["loss"]
    by_loss = -math.inf if math.isnan(loss) else -loss
    if metric == "loss":
        return True, by_loss
    score = scores[metric]
    return (False, by_loss) if math.isnan(score) else (True, score)


def _is_gain(new: Standing, last: Standing, least_gain: float) -> bool:
    """Tell whether a standing is better by more than the least gain; to be defined at all is a gain."""
    return new[0] > last[0] if new[0] != last[0] else new[1] > last[1] + least_gain


def _encode(number: float) -> float | str:
    """Give a number as JSON has it: what is not finite as text that `float` reads."""
    return number if math.isfinite(number) else str(number)
