"""A run on data unlike its own: other data beside its test images, what tells them apart, corruptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.data.corruptions import CORRUPTIONS, STRENGTHS, Corruption, corrupt_dataset
from medzoo.data.dataset import Dataset
from medzoo.data.draws import make_generator
from medzoo.data.feeding.pipeline import check_channels
from medzoo.data.options import SourceOptions, make_source_options
from medzoo.data.question import Question
from medzoo.errors import DataError
from medzoo.evaluation.metrics.registry import find_metric
from medzoo.evaluation.predictions import Predictions, load_predictions
from medzoo.evaluation.score import Counts
from medzoo.evaluation.shift.comparing import USUAL, Shifted, compare_shift
from medzoo.evaluation.shift.detection import Detection, detection_scores
from medzoo.evaluation.shift.detectors import energy, k_nearest, mahalanobis, max_softmax
from medzoo.evaluation.shift.robustness import Robustness, measure_robustness
from medzoo.evaluation.shift.scoring import make_undefined
from medzoo.evaluation.uncertainty.draws import identify_patients
from medzoo.evaluation.uncertainty.resampling import Resampling
from medzoo.training.features import Features, extract_features, make_features_model, predict_again
from medzoo.training.inference import announce, is_same_source, open_for, open_own
from medzoo.training.intake import refuse_volumes
from medzoo.training.trained import TrainedRun, load_network, read_run

Report = Callable[[str], None]
FloatArray = NDArray[np.float64]

#: Training images whose features the detectors are fitted on, at most.
FITTED = 20_000


@dataclass(frozen=True)
class Shift:
    """A run's test images and other data: metrics on both, and how well scores tell them apart, where asked for."""

    run: str
    data: str
    metrics: Mapping[str, Shifted]
    detection: Mapping[str, Detection] = field(default_factory=dict)
    outside: Predictions | None = field(default=None, repr=False)

    def describe(self) -> dict[str, Any]:
        """Give everything but the predictions as an entry for JSON."""
        described: dict[str, Any] = {
            "run": self.run,
            "data": self.data,
            "metrics": {name: shifted.describe() for name, shifted in self.metrics.items()},
        }
        if self.detection:
            described["detection"] = {name: found.describe() for name, found in self.detection.items()}
        return described


def evaluate_shift(
    run: str | PathLike[str],
    data: str | Path | Dataset,
    *,
    metrics: Sequence[str] = USUAL,
    detect: bool = False,
    resampling: Resampling | None = None,
    batch_size: int | None = None,
    options: Mapping[str, Any] | None = None,
    unlabelled: bool = False,
    report: Report | None = None,
) -> Shift:
    """Evaluate a finished run on data that it has not seen, beside its own test images.

    `data` and `options` are those of `predict`: all images of the data count, whatever their splits.  The test images'
    scores are those that the run wrote.  With `detect` the run's own images are read again, and four scores are
    measured by how well they tell the two apart; two of them are fitted on features of its training images, of which
    20,000 are drawn where there are more.  `report` receives notes for a person.

    Raises:
        ConfigError: the folder is no finished run, or an option or a metric does not fit.
        DataError: the data are the run's own, have no labels where nothing is to be detected, or cannot be used; or,
            with `detect`, the run's own have changed.
        WeightsError: the run's weights cannot be read.
        TrainingError: memory ran out, or TensorFlow stopped.

    >>> shift = evaluate_shift("runs/breast", "other_hospital", detect=True)  # doctest: +SKIP
    """
    trained = read_run(run)
    resampling = resampling or Resampling()
    for name in metrics:
        find_metric(name)  # a slip of the pen should not cost a pass over the images
    source = trained.config.data.source
    if not isinstance(data, Dataset) and is_same_source(data, source):
        raise DataError(f"{data} is what the run was trained on", "other data", f"medzoo evaluate {run}")
    dataset = open_for(trained, data, options, unlabelled)
    assert dataset.marks is not None  # open_for answers the run's question
    if not detect and np.isnan(dataset.marks).all():
        raise DataError(
            f"{dataset.name} has no labels", "a label of some images", "--detect, which needs none"
        )
    inside = load_predictions(trained.path).of_split("test")
    if report:
        announce(trained, dataset, "none", report)
    network = make_features_model(load_network(trained))
    outside = extract_features(trained, network, dataset, batch_size=batch_size)
    compared = compare_shift(inside, outside.predictions, metrics, resampling)
    found = {}
    if detect:
        own = open_training_data(trained)
        found = detect_shift(trained, network, own, outside, resampling, batch_size)
    return Shift(str(run), dataset.name, compared, found, outside.predictions)


def open_training_data(trained: TrainedRun) -> Dataset:
    """Open the data that a run was trained on, with the run's splits.

    Raises:
        ConfigError, DataError: they are no longer where they were, cannot be used, or have other test images: some
            that the run was trained on could pass for unseen ones.
    """
    names = {entry.name for entry in fields(SourceOptions)}
    usual = make_source_options(trained.config.data.model_dump(include=names, exclude_none=True))
    dataset = open_own(trained, {}, Question(trained.classes, trained.exclusive, usual))
    refuse_volumes(dataset)
    check_channels(dataset, trained.channels)
    tested = set(load_predictions(trained.path).of_split("test").ids.tolist())
    others = tested ^ set(dataset.of_split("test").table["id"].tolist())
    if others:
        raise DataError(
            f"{dataset.name} has changed since the run: {len(others):,} test images are others",
            "the data as they were",
            "medzoo train, for a run on the data as they are",
        )
    if not tested:
        raise DataError(f"{dataset.name} has no test images", "a test split")
    return dataset


def detect_shift(
    trained: TrainedRun,
    network: Any,
    own: Dataset,
    outside: Features,
    resampling: Resampling,
    batch_size: int | None = None,
) -> dict[str, Detection]:
    """Measure how well each score tells other images from the run's test images."""
    training = extract_features(trained, network, draw_training(trained, own), batch_size=batch_size)
    inside = extract_features(trained, network, own.of_split("test"), batch_size=batch_size)
    patients = identify_patients(inside.predictions), identify_patients(outside.predictions)
    detection = {}
    for name, detector in DETECTORS.items():
        try:
            first, second = (detector(training, side) for side in (inside, outside))
        except DataError as error:
            sizes = len(inside.values), len(outside.values)
            counts = Counts(sum(sizes), positives=sizes[1], negatives=sizes[0])
            undefined = make_undefined(counts, str(error))
            detection[name] = Detection(undefined, undefined)
            continue
        detection[name] = detection_scores(
            first, second, resampling, inside_patients=patients[0], outside_patients=patients[1]
        )
    return detection


def draw_training(trained: TrainedRun, own: Dataset) -> Dataset:
    """Give the training images of a run's data, or as many as the detectors are fitted on, drawn by the run's seed."""
    training = own.of_split("train")
    if len(training) <= FITTED:
        return training
    drawn = make_generator(trained.config.training.seed, "images of detectors")
    return training.take(np.sort(drawn.choice(len(training), FITTED, replace=False)))


def _measure_distance(training: Features, features: Features) -> FloatArray:
    """Give the Mahalanobis distance: from the nearest class where classes are exclusive, else from one mean."""
    known = training.predictions
    return mahalanobis(training.values, features.values, known.labels if known.exclusive else None)


def _measure_energy(training: Features, features: Features) -> FloatArray:
    """Give the energy of the logits."""
    del training
    assert features.predictions.logits is not None
    return energy(features.predictions.logits, features.predictions.exclusive)


#: Scores of strangeness: (features of training images, features of other images) → one for each of the latter.
DETECTORS: Mapping[str, Callable[[Features, Features], FloatArray]] = {
    "max_softmax": lambda training, features: max_softmax(features.predictions.scores),  # noqa: ARG005
    "energy": _measure_energy,
    "mahalanobis": _measure_distance,
    "k_nearest": lambda training, features: k_nearest(training.values, features.values),
}


def evaluate_corruptions(
    run: str | PathLike[str],
    *,
    names: Sequence[str] = tuple(CORRUPTIONS),
    metric: str = "auroc",
    seed: int = 0,
    resampling: Resampling | None = None,
    batch_size: int | None = None,
    report: Report | None = None,
) -> Robustness:
    """Evaluate a finished run on its own test images under each corruption at strengths 1 to 5.

    The images are corrupted as they are decoded, before anything that the network's input asks for.  The seed decides
    the corruptions' noise; that of `resampling` the intervals.  `report` receives notes for a person.

    Raises:
        ConfigError: the folder is no finished run, or a corruption or a metric does not exist.
        DataError: the run's data are gone, have changed or cannot be used, or have no test images.
        WeightsError: the run's weights cannot be read.
        TrainingError: memory ran out, or TensorFlow stopped.

    >>> robustness = evaluate_corruptions("runs/breast", names=["noise", "blur"])  # doctest: +SKIP
    """
    trained = read_run(run)
    find_metric(metric)
    for name in names:
        Corruption(name, STRENGTHS[0], seed)  # refused before anything is read
    own = open_training_data(trained)
    worse = {name: [corrupt_dataset(own, name, strength, seed) for strength in STRENGTHS] for name in names}
    network = load_network(trained)

    def predict_test(dataset: Dataset) -> Predictions:
        """Predict the test images of one data set."""
        return predict_again(trained, network, dataset.of_split("test"), batch_size=batch_size)

    clean = predict_test(own)
    predicted = {}
    for name, steps in worse.items():
        if report:
            report(f"{name}: {len(clean):,} images in {len(steps)} strengths")
        predicted[name] = [predict_test(dataset) for dataset in steps]
    return measure_robustness(clean, predicted, metric, resampling)
