"""Configuration → run: training, predictions, metrics."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import numpy as np

from medzoo.data.dataset import Dataset
from medzoo.data.feeding.fetch import explain_failure
from medzoo.errors import TrainingError
from medzoo.evaluation.predictions import write_predictions
from medzoo.evaluation.scores import evaluate, write_metrics
from medzoo.outputs import write_text
from medzoo.training.config import format_config
from medzoo.training.feeding import feed_again, feed_plain, feed_training, weigh
from medzoo.training.prepare import (
    Prepared,
    Report,
    announce,
    describe_environment,
    name_run,
    prepare,
)
from medzoo.training.rundir import Run, choose_folder, open_run
from medzoo.training.settings import RunSection, TrainConfig
from medzoo.transplant.record import format_record
from medzoo.transplant.run import apply

#: Variables that weight decay leaves alone: whatever is no matrix or filter.
WITHOUT_DECAY = [
    "bias",
    "gamma",
    "beta",
    "cls_token",
    "distillation_token",
    "pos_embed",
    "position_bias_table",
]


def train(config: TrainConfig, report: Report | None = None) -> Run:
    """Train a network as configured and give its run directory.

    Whatever can be refused is refused before the directory is made: every image is decoded once before. An
    earlier run is replaced only when the new one is done. Seeds Python, NumPy and the backend. `report`
    receives notes for a person; without it the run is silent.

    Raises:
        ConfigError, DataError, WeightsError, PlanError: what was asked for cannot be done.
        TrainingError: the loss or the scores stopped being finite, or memory ran out.

    >>> import tempfile
    >>> from medzoo.training.config import make_config
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     run = train(make_config({"training": {"epochs": 1}, "run": {"out": f"{folder}/run"}}))
    """
    prepared = prepare(config, report)
    folder = choose_folder(config.run.out, config.run.overwrite, name_run(prepared))
    if report:
        announce(prepared, config.data.source is not None, report)
        report(f"run {folder}")
    try:
        with open_run(folder) as run:
            # Where a run lies is no part of what it is: a run's own configuration starts a new run.
            settings = prepared.config.model_copy(update={"run": RunSection()})
            write_text(run / "config.toml", format_config(settings))
            _train_in(run, prepared, report)
    except KeyboardInterrupt:
        kept = "keeps its history and best weights so far" if folder.exists() else "was not begun"
        raise KeyboardInterrupt(f"interrupted; {folder} {kept}") from None
    return run


def _train_in(run: Run, prepared: Prepared, report: Report | None) -> None:
    """Train in an existing run directory and write its results."""
    import keras
    import tensorflow as tf

    started = time.perf_counter()
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(prepared.config.training.seed)
    keras.config.set_dtype_policy(prepared.precision.value)
    try:
        best_epoch = _fit(run, prepared, report)
        metrics = _finish(run, prepared)
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        size = prepared.config.training.batch_size
        raise TrainingError(
            f"out of memory at batch size {size}", "less", f"--batch-size {max(1, size // 2)}"
        ) from error
    except tf.errors.OpError as error:
        broken = explain_failure(
            str(error.message), prepared.dataset
        )  # a file may have gone since it was checked
        if broken is not None:
            raise broken from error
        raise TrainingError(f"TensorFlow stopped: {str(error.message).splitlines()[0]}") from error
    finally:
        keras.config.set_dtype_policy(policy)
    environment = describe_environment(prepared) | {
        "best_epoch": best_epoch,
        "seconds": round(time.perf_counter() - started, 1),
    }
    write_text(run / "environment.json", json.dumps(environment, indent=1, ensure_ascii=False) + "\n")
    # Last of all: a run with metrics is a finished one.
    write_metrics(metrics, run / "metrics.json")


def _plain_batches(prepared: Prepared, split: str) -> Any:
    """Make the batches of one pass over a split, in the table's order."""
    return feed_plain(prepared.dataset, split, prepared.feeding, prepared.config.training.batch_size)


def _build(prepared: Prepared) -> Any:
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


def _fit(run: Run, prepared: Prepared, report: Report | None) -> int:
    """Transplant, compile and fit; give the best epoch."""
    import keras

    from medzoo.models.lsuv import measure_scales
    from medzoo.training.monitoring.callbacks import ProgressBar, ValidationScore
    from medzoo.training.objectives import make_loss
    from medzoo.training.optimisation.schedules import make_cosine
    from medzoo.training.scaling import add_scales, take_images
    from medzoo.training.stepping.norms import BATCHES, make_recalibration

    training = prepared.config.training
    model = _build(prepared)
    apply(prepared.plan, prepared.source, model)
    plan = prepared.plan
    if prepared.config.weights.lsuv:
        plan = add_scales(
            plan, measure_scales(model, take_images(_plain_batches(prepared, "train")), report=report)
        )
    write_text(run / "plan.json", format_record(plan, {}))
    images = int((prepared.dataset.table["split"] == "train").sum())
    steps = -(-images // training.batch_size)
    optimizer = keras.optimizers.AdamW(
        make_cosine(training.learning_rate, steps * training.epochs, training.warmup),
        weight_decay=training.weight_decay,
    )
    optimizer.exclude_from_weight_decay(var_names=WITHOUT_DECAY)
    model.compile(
        optimizer=optimizer,
        loss=make_loss(prepared.dataset.exclusive, weigh(prepared.dataset, training.balance)),
        jit_compile=prepared.xla.value == "on",
    )
    recalibrate = None
    if training.batch_norm == "recalibrate":
        again = feed_again(prepared.dataset, prepared.feeding, training.batch_size, training.seed, BATCHES)
        recalibrate = make_recalibration(model, again)
    validation = _without_groups(prepared.dataset.of_split("validation"))
    score = ValidationScore(run, validation, _plain_batches(prepared, "validation"), images, recalibrate)
    bar = ProgressBar(training.epochs, steps, score) if report else None
    try:
        model.fit(
            feed_training(prepared.dataset, prepared.feeding, training),
            epochs=training.epochs,
            steps_per_epoch=steps,  # the stream holds all epochs
            shuffle=False,  # the pipeline shuffles
            callbacks=[score, bar] if bar else [score],
            verbose=0,
        )
    finally:
        if bar:
            bar.stop()
    return score.best_epoch


def _finish(run: Run, prepared: Prepared) -> dict[str, Any]:
    """Predict validation and test rows with the best weights; write predictions and give their metrics."""
    from medzoo.training.predict import make_predictions, predict_logits

    model = _build(prepared)
    model.load_weights(run / "best.weights.h5")
    splits = ("validation", "test")
    values = np.concatenate([predict_logits(model, _plain_batches(prepared, split)) for split in splits])
    column = prepared.dataset.table["split"].to_numpy()
    rows = np.concatenate([np.flatnonzero(column == split) for split in splits])
    described = replace(prepared.dataset, images=None, paths=(), bundle=None, rows=()).take(rows)
    predictions = make_predictions(described, values)
    write_predictions(predictions, run / "predictions.csv", values)
    metrics: dict[str, Any] = dict(evaluate(predictions))
    if prepared.dataset.limit is not None:
        metrics["ideal_observer"] = {"auroc": prepared.dataset.limit}
    return metrics


def _without_groups(dataset: Dataset) -> Dataset:
    """Give a data set whose table holds only what every epoch's score needs."""
    return replace(dataset, table=dataset.table[["id", "split", "label"]])
