"""Who watches a run: a person, TensorBoard, MLflow, a picture of the curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.training.feeding import feed_training
from medzoo.training.monitoring.curves import draw_curves
from medzoo.training.monitoring.guard import Guarded
from medzoo.training.monitoring.history import read_history
from medzoo.training.monitoring.watch import Progress, Watcher
from medzoo.training.prepare import Prepared, Report
from medzoo.training.rundir import Run


class CurvePicture:
    """Draws the run's curves into it, once, when the work ends."""

    def __init__(self, run: Run, metric: str) -> None:
        self.run, self.metric = run, metric

    def begin(self, progress: Progress) -> None:
        """Nothing is drawn before there is a history."""

    def stepped(self, progress: Progress, loss: float) -> None:
        """A step changes no curve."""

    def validated(self, progress: Progress, row: Mapping[str, float], is_best: bool) -> None:
        """Drawing takes longer than a small epoch: it waits for the end."""

    def end(self) -> None:
        """Draw what there is."""
        if (self.run / "history.csv").exists():
            draw_curves(read_history(self.run), self.run / "curves.png", self.metric)


def make_watchers(run: Run, prepared: Prepared, report: Report | None) -> tuple[Watcher, ...]:
    """Make the watchers that a run's settings ask for; the bar only where somebody looks on.

    Raises:
        ConfigError: a watcher's package is not installed, or its server does not answer.
    """
    settings, metric = prepared.config.run, prepared.config.validation.metric
    watchers: list[Watcher] = [Guarded(CurvePicture(run, metric), "the picture of the curves", report)]
    if report is not None:
        from medzoo.training.monitoring.progress import ProgressBar

        watchers.append(Guarded(ProgressBar(metric), "the progress bar", report))
    if settings.tensorboard:
        from medzoo.training.monitoring.events import EventFiles

        files = EventFiles(run / "events", lambda: _take_batch(prepared))
        watchers.append(Guarded(files, "TensorBoard's event files", report))
    if settings.mlflow is not None:
        from medzoo.training.monitoring.tracking import Tracking

        tracking = Tracking(settings.mlflow, run, prepared.config.model_dump(mode="json"))
        watchers.append(Guarded(tracking, "MLflow", report))
    return tuple(watchers)


def _take_batch(prepared: Prepared) -> NDArray[Any]:
    """Take the images of the first training batch, as the network gets them."""
    batches: Any = feed_training(prepared.dataset, prepared.feeding, prepared.config.training, epochs=1)
    return np.asarray(next(iter(batches))[0])
