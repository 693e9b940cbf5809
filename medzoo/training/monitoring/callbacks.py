"""A Keras callback for a user's own `fit`: exact validation scores, the best weights, early stopping."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from medzoo.errors import TrainingError
from medzoo.evaluation.predictions import Predictions
from medzoo.training.monitoring.monitor import Monitor
from medzoo.training.monitoring.scores import score_validation, write_weights
from medzoo.training.predict import predict_logits, sigmoid, softmax
from medzoo.training.settings import MetricName, ScheduleSection, ValidationSection


class ExactScore(keras.callbacks.Callback):
    """Scores the validation batches after each epoch exactly, and keeps the best weights.

    Keras's own AUC sorts scores into 200 bins, and is 0 where a class is absent. `batches` are images and targets
    (b, k), in the same order at every pass; the model returns logits. Adds `val_loss` and `val_<metric>` to the
    epoch's logs; `history` holds a row an epoch, `best_epoch` counts from 1. Without `path` no weights are kept.

    Raises:
        ConfigError: `until` cannot be read.
        TrainingError: the network's outputs are not finite.

    >>> score = ExactScore([], metric="auroc", until="auroc=.9")
    >>> score.crossing()["step"] is None
    True
    """

    def __init__(
        self,
        batches: Any,
        *,
        exclusive: bool = True,
        metric: MetricName = "auroc",
        path: str | Path | None = None,
        early_stopping: int | None = None,
        until: str | None = None,
    ) -> None:
        super().__init__()
        self.batches, self.exclusive, self.path = batches, exclusive, None if path is None else Path(path)
        self.settings = ValidationSection(metric=metric, early_stopping=early_stopping, until=until)
        self.monitor = Monitor(self.settings, ScheduleSection())
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0

    def crossing(self) -> dict[str, Any] | None:
        """Say in which epoch `until` was reached, as `Monitor.crossing` does."""
        return self.monitor.crossing()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Score the epoch."""
        logits = predict_logits(self.model, self.batches)
        if not np.isfinite(logits).all():
            raise TrainingError(
                f"the network's outputs are not finite after epoch {epoch + 1}", "finite ones", "a lower rate"
            )
        targets = np.concatenate([np.asarray(labels, np.float64) for _, labels in self.batches])
        scores = score_validation(self._predict(logits, targets), *self.monitor.metrics)
        verdict = self.monitor.update(epoch + 1, scores)
        row = {"epoch": float(epoch + 1), **{f"val_{name}": value for name, value in scores.items()}}
        self.history.append(row)
        if logs is not None:
            logs.update({name: value for name, value in row.items() if name != "epoch"})
        if verdict.is_best:
            self.best_epoch = epoch + 1
            if self.path is not None:
                write_weights(self.model, self.path)
        if verdict.stop:
            self.model.stop_training = True

    def _predict(self, logits: np.ndarray, targets: np.ndarray) -> Predictions:
        """Give logits and targets as predictions, with numbers for names."""
        count, classes = logits.shape
        return Predictions(
            np.array([str(number) for number in range(count)]),
            targets,
            softmax(logits) if self.exclusive else sigmoid(logits),
            tuple(str(number) for number in range(classes)),
            np.array(["validation"] * count),
            exclusive=self.exclusive,
        )

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Start anew."""
        del logs
        self.history, self.best_epoch = [], 0
        self.monitor = Monitor(self.settings, ScheduleSection())
