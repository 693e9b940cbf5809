"""What a validation measures: the loss and the metrics that the best weights are chosen by, and those weights' file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.data.dataset import Dataset
from medzoo.errors import ConfigError, nearest
from medzoo.evaluation.metrics.selection import SCORES
from medzoo.evaluation.predictions import Predictions
from medzoo.models.describe import describe_network
from medzoo.outputs import write_beside
from medzoo.tensors import name_variables
from medzoo.training.monitoring.monitor import Monitor
from medzoo.training.objective_kinds import check_order
from medzoo.training.rundir import Run
from medzoo.training.settings import ScheduleSection, ValidationSection
from medzoo.weights.writers import write_keras


def check_validation(dataset: Dataset, validation: ValidationSection, schedule: ScheduleSection) -> None:
    """Refuse, before anything is computed, what the labels cannot be validated by.

    Raises:
        ConfigError: `validation.until` cannot be read, or κ of classes whose order nobody knows.
    """
    for name in Monitor(validation, schedule).metrics:
        if name == "kappa" and dataset.exclusive:
            check_order(dataset.classes, "kappa", "--set validation.metric=macro_recall")


def score_validation(
    predictions: Predictions, *metric_names: str, loss: float | None = None
) -> dict[str, float]:
    """Score the rows of a validation: `loss` first, then each metric of SCORES that is named.

    NaN is a metric that the rows do not define. Of several labels an image, those that the rows cannot tell are
    left out of the mean. The loss is the plain cross-entropy, unless another one, measured before, is given.

    Raises:
        ConfigError: a metric that does not exist.

    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), np.array([[0.75, 0.25], [0.5, 0.5]]), ("no", "yes"),
    ...                    np.array(["validation"] * 2))
    >>> {name: round(score, 4) for name, score in score_validation(rows, "auroc").items()}
    {'loss': 0.4904, 'auroc': 1.0}
    """
    scores = {"loss": measure_loss(predictions) if loss is None else loss}
    defined = keep_defined(predictions)
    for name in metric_names:
        if name != "loss" and name not in SCORES:
            raise ConfigError(f"there is no metric {name!r}", nearest(name, ["loss", *SCORES]))
        if name != "loss":
            scores[name] = SCORES[name](defined)
    return scores


def measure_loss(predictions: Predictions) -> float:
    """Measure the mean cross-entropy: over rows of exclusive classes, else over the labels that are known.

    NaN where no label is known.
    """
    labels, scores = predictions.labels, np.clip(predictions.scores, 1e-300, 1.0)
    if predictions.exclusive:
        return float(-np.where(labels == 1, np.log(scores), 0.0).sum(axis=1).mean())
    opposite = np.clip(1 - predictions.scores, 1e-300, 1.0)
    terms = labels * np.log(scores) + (1 - labels) * np.log(opposite)
    known = ~np.isnan(terms)
    return float(-terms[known].mean()) if known.any() else float("nan")


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


def save_weights(model: Any, run: Run) -> None:
    """Write a model's weights as the run's best, in one step, under exact Keras paths."""
    write_weights(model, run / "best.weights.h5", {"run": run.path.name})


def write_weights(model: Any, path: Path, provenance: Mapping[str, str] | None = None) -> None:
    """Write a model's weights as `.weights.h5`, in one step, under exact Keras paths; an earlier file is replaced."""
    import keras

    variables = name_variables(model)
    tensors = ((name, keras.ops.convert_to_numpy(variable.value)) for name, variable in variables.items())
    with write_beside(path) as beside:
        write_keras(beside, describe_network(model), tensors, provenance or {})
