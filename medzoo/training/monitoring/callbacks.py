"""What happens after each epoch: the exact validation score, the best weights, the history, the progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from medzoo.data.dataset import Dataset
from medzoo.errors import TrainingError
from medzoo.evaluation.discrimination import auroc
from medzoo.evaluation.predictions import Predictions
from medzoo.models.describe import describe_network
from medzoo.outputs import write_beside
from medzoo.tensors import name_variables
from medzoo.training.predict import make_predictions, predict_logits
from medzoo.training.rundir import Run, write_history
from medzoo.weights.writers import write_keras


class ValidationScore(keras.callbacks.Callback):
    """Scores each epoch by exact validation AUROC and keeps the best epoch's weights.

    Equal scores are decided by the lower validation loss; where AUROC is undefined (one class in the
    validation split) the loss alone decides. Of several labels an image, those that the split cannot tell are
    left out of the mean. `prepare`, if given, readies the network for inference first.
    `history` holds one row an epoch.
    """

    def __init__(
        self,
        run: Run,
        validation: Dataset,
        batches: Any,
        images: int,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self.prepare = prepare
        self.run, self.validation, self.batches, self.images = run, validation, batches, images
        self.history: list[dict[str, float]] = []
        self.best = (-math.inf, -math.inf)
        self.best_epoch = 0
        self.started = 0.0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Start the epoch's clock."""
        del epoch, logs
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Score the epoch, keep its weights if it is the best so far, and write the history."""
        seconds = time.perf_counter() - self.started
        loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} in epoch {epoch + 1}",
                "a finite loss",
                "a lower --lr",
            )
        if self.prepare:
            self.prepare()
        logits = predict_logits(self.model, self.batches)
        if not np.isfinite(logits).all():
            raise TrainingError(
                f"the network's outputs are not finite after epoch {epoch + 1}", "finite ones", "a lower --lr"
            )
        predictions = make_predictions(self.validation, logits)
        validation_loss, score = measure_loss(predictions), auroc(keep_defined(predictions))
        rank = (-math.inf if math.isnan(score) else score, -validation_loss)
        if rank > self.best:
            self.best, self.best_epoch = rank, epoch + 1
            save_weights(self.model, self.run)
        self.history.append(
            {
                "epoch": epoch + 1,
                "loss": loss,
                "val_loss": validation_loss,
                "val_auroc": score,
                "learning_rate": float(self.model.optimizer.learning_rate),
                "seconds": round(seconds, 3),
                "images_per_second": round(self.images / seconds, 1),
            }
        )
        write_history(self.run, self.history)


def measure_loss(predictions: Predictions) -> float:
    """Measure the mean cross-entropy: over rows of exclusive classes, else over the labels that are known."""
    labels, scores = predictions.labels, np.clip(predictions.scores, 1e-300, 1.0)
    if predictions.exclusive:
        return float(-np.where(labels == 1, np.log(scores), 0.0).sum(axis=1).mean())
    opposite = np.clip(1 - predictions.scores, 1e-300, 1.0)
    return float(-np.nanmean(labels * np.log(scores) + (1 - labels) * np.log(opposite)))


def keep_defined(predictions: Predictions) -> Predictions:
    """Keep the labels of which a positive and a negative row are known; exclusive classes stay as they are."""
    if predictions.exclusive:
        return predictions
    labels = predictions.labels
    told = np.flatnonzero((labels == 1).any(axis=0) & (labels == 0).any(axis=0))
    if told.size in (0, len(predictions.classes)):
        return predictions
    return replace(
        predictions,
        labels=labels[:, told],
        scores=predictions.scores[:, told],
        classes=tuple(predictions.classes[column] for column in told),
    )


def save_weights(model: keras.Model, run: Run) -> None:
    """Write a model's weights as the run's best, in one step, under exact Keras paths."""
    variables = name_variables(model)
    tensors = ((name, keras.ops.convert_to_numpy(variable.value)) for name, variable in variables.items())
    with write_beside(run / "best.weights.h5") as beside:
        write_keras(beside, describe_network(model), tensors, {"run": run.path.name})


class ProgressBar(keras.callbacks.Callback):
    """A bar over all steps on a terminal, or a line an epoch elsewhere; to stderr."""

    def __init__(self, epochs: int, steps: int, score: ValidationScore) -> None:
        super().__init__()
        self.console = Console(stderr=True, highlight=False)
        self.epochs, self.steps, self.score = epochs, steps, score
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
        self.bar = Progress(*columns, TimeRemainingColumn(), console=self.console, transient=True)
        self.task: TaskID | None = None
        self.loss = math.nan

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Start the bar, on a terminal."""
        del logs
        if self.console.is_terminal:
            self.bar.start()
            self.task = self.bar.add_task(f"epoch 1/{self.epochs}", total=self.epochs * self.steps, state="")

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Advance the bar by one step."""
        del batch
        if self.task is not None:
            self.bar.update(self.task, advance=1, state=f"loss {(logs or {}).get('loss', math.nan):.4f}")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Print the epoch's line; the score's callback has run before."""
        del logs
        row = self.score.history[-1]
        best = "  best so far" if self.score.best_epoch == epoch + 1 else ""
        self.console.print(
            f"epoch {epoch + 1:>3}/{self.epochs}  loss {row['loss']:.4f}  validation loss {row['val_loss']:.4f}"
            f"  AUROC {row['val_auroc']:.4f}  {row['images_per_second']:.0f} images/s{best}",
            soft_wrap=True,
        )
        if self.task is not None:
            self.bar.update(self.task, description=f"epoch {min(epoch + 2, self.epochs)}/{self.epochs}")

    def stop(self) -> None:
        """Remove the bar, also after an interruption."""
        if self.task is not None:
            self.bar.stop()
