"""What a training run tells those who watch it: a bar, a file of events, a tracking server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Progress:
    """Where a run is: updates done and in all, images of this process, seconds of training and of those waiting."""

    step: int
    steps: int
    steps_per_epoch: int
    images: int = 0
    seconds: float = 0.0
    waiting: float = 0.0

    @property
    def epoch(self) -> float:
        """How many epochs are done, as a fraction."""
        return self.step / self.steps_per_epoch

    @property
    def images_per_second(self) -> float:
        """The rate of this process, validation left out; 0 before the first step."""
        return self.images / self.seconds if self.seconds else 0.0


class Watcher(Protocol):
    """Something that watches a run; none of its failures may stop the run."""

    def begin(self, progress: Progress) -> None:
        """Learn where the run starts, which is not step 0 when it is resumed."""

    def stepped(self, progress: Progress, loss: float) -> None:
        """Learn of updates done since the last call; `loss` is the mean over their batches."""

    def validated(self, progress: Progress, row: Mapping[str, float], is_best: bool) -> None:
        """Learn of a validation: the new row of the history, and whether its weights are the best so far."""

    def end(self) -> None:
        """Put everything away; called once, also after an error."""
