"""Run + images → what the network says and the features that its head reads, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.data.dataset import Dataset
from medzoo.data.feeding.fetch import explain_failure
from medzoo.data.feeding.pipeline import make_batches, refuse_not_finite
from medzoo.errors import ConfigError, DataError, TrainingError
from medzoo.evaluation.predictions import Predictions
from medzoo.specs import HEAD
from medzoo.training.inference import join_predictions, open_for
from medzoo.training.predict import sigmoid, softmax
from medzoo.training.trained import TrainedRun, load_network, read_run


@dataclass(frozen=True, eq=False)
class Features:
    """What a network makes of n images: predictions with their logits, and the features (n, d) that its head reads."""

    predictions: Predictions
    values: NDArray[np.float32] = field(repr=False)


def read_features(
    run: str | PathLike[str],
    data: str | Path | Dataset,
    *,
    batch_size: int | None = None,
    options: Mapping[str, Any] | None = None,
    unlabelled: bool = False,
) -> Features:
    """Give a finished run's network images, and read its logits and the features before its last layer.

    `data`, `options` and `unlabelled` are those of `predict`; `features.predictions.ids` are in the same order.

    Raises:
        ConfigError: the folder is no finished run, or an option does not fit.
        DataError: an image cannot be read or used, or labels are of other classes than the run's.
        WeightsError: the run's weights cannot be read.
        TrainingError: memory ran out, or TensorFlow stopped.

    >>> features = read_features("runs/breast", "new_images")  # doctest: +SKIP
    """
    trained = read_run(run)
    dataset = open_for(trained, data, options, unlabelled)
    return extract_features(
        trained, make_features_model(load_network(trained)), dataset, batch_size=batch_size
    )


def make_features_model(model: Any) -> Any:
    """Give a model of the same weights whose outputs are `logits` and `features`: (batch, k) and (batch, d).

    The features are the input of the head's dense layer; where there are two, as in a distilled network, both inputs
    joined.  Of a network without a layer `head` the last dense layer is taken.

    Raises:
        ConfigError: the network has no dense layer.
    """
    import keras

    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    heads = [layer for layer in dense if layer.name == HEAD or layer.name.startswith(f"{HEAD}_")] or dense[
        -1:
    ]
    if not heads:
        raise ConfigError(f"{model.name} has no dense layer", "a network with a head")
    inputs = [layer.input for layer in heads]
    joined = inputs[0] if len(inputs) == 1 else keras.layers.Concatenate(name="features")(inputs)
    return keras.Model(
        model.input, {"logits": model.output, "features": joined}, name=f"{model.name}_features"
    )


def extract_features(
    trained: TrainedRun, model: Any, dataset: Dataset, *, batch_size: int | None = None
) -> Features:
    """Read logits and features of a data set that `open_for` opened, with a model of `make_features_model`.

    Raises:
        ConfigError, DataError, TrainingError: as `read_features` does.
    """
    parts = list(iterate_outputs(trained, model, dataset, batch_size))
    logits, values = (
        np.concatenate([np.asarray(part[name], np.float32) for part in parts])
        for name in ("logits", "features")
    )
    return Features(make_scored(trained, dataset, logits), values)


def predict_again(
    trained: TrainedRun, model: Any, dataset: Dataset, *, batch_size: int | None = None
) -> Predictions:
    """Predict a data set that `open_for` opened with a network that is loaded already, and keep the logits.

    Raises:
        ConfigError, DataError, TrainingError: as `predict` does.
    """
    parts = [np.asarray(part) for part in iterate_outputs(trained, model, dataset, batch_size)]
    return make_scored(trained, dataset, np.concatenate(parts))


def make_scored(trained: TrainedRun, dataset: Dataset, logits: NDArray[Any]) -> Predictions:
    """Make predictions of logits (n, k), which are kept.

    Raises:
        DataError: a logit is NaN or infinite; the image is named.
    """
    wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if wrong.size:
        raise DataError(
            f"{dataset.name}: the network gives no numbers for image {dataset.table['id'].iloc[wrong[0]]!r}",
            "finite pixels",
            "looking at it, or leaving it out",
        )
    exact = logits.astype(np.float64)
    scores = softmax(exact) if trained.exclusive else sigmoid(exact)
    return replace(join_predictions(trained, dataset, scores), logits=exact)


def iterate_outputs(
    trained: TrainedRun, model: Any, dataset: Dataset, batch_size: int | None = None
) -> Iterator[Any]:
    """Give the model's outputs for each batch of images, prepared as in the run, in the table's order.

    Raises:
        ConfigError, DataError, TrainingError: as `predict` does.
    """
    size = trained.config.training.batch_size if batch_size is None else batch_size
    if size < 1:
        raise ConfigError(f"batch size {size}", "1 or more", "--batch-size 32")
    refuse_not_finite(dataset, dataset.images)
    with explain_stops(dataset, size):
        batches = make_batches(
            dataset,
            batch_size=size,
            image_size=trained.image_size,
            channels=trained.channels,
            preprocessing=trained.preprocessing,
            shuffle=False,
            cache="off",
        )
        for images, _ in batches:
            yield model.predict_on_batch(images)


@contextmanager
def explain_stops(dataset: Dataset, size: int) -> Iterator[None]:
    """Turn what TensorFlow raises while it goes over a data set into an error that names the image or the remedy.

    Raises:
        DataError: an image cannot be decoded.
        TrainingError: memory ran out, or TensorFlow stopped for another reason.
    """
    import tensorflow as tf

    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise TrainingError(
            f"out of memory at batch size {size}", "less", f"--batch-size {max(1, size // 2)}"
        ) from error
    except tf.errors.OpError as error:
        broken = explain_failure(str(error.message), dataset)
        if broken is not None:
            raise broken from error
        raise TrainingError(f"TensorFlow stopped: {str(error.message).splitlines()[0]}") from error
