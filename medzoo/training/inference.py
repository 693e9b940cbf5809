"""Run + new images → predictions: the network, the classes and the preprocessing are the run's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.data.dataset import SPLITS, Dataset
from medzoo.data.feeding.fetch import explain_failure
from medzoo.data.feeding.pipeline import check_channels, check_images, make_batches, refuse_not_finite
from medzoo.data.options import SourceOptions, make_source_options
from medzoo.data.question import Question, answer
from medzoo.data.unlabelled import leave_out_broken, open_unlabelled
from medzoo.errors import ConfigError, DataError, TrainingError
from medzoo.evaluation.predictions import Predictions
from medzoo.training.calibrated import calibrate, read_run_calibration
from medzoo.training.config import make_config
from medzoo.training.intake import COMPARED, open_data, refuse_volumes
from medzoo.training.predict import make_predictions, sigmoid, softmax
from medzoo.training.trained import TrainedRun, load_network, read_run

Report = Callable[[str], None]

#: Mirrored views of a batch (b, height, width, channels), by the axes that are turned round.
VIEWS: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "none": ((),),
    "horizontal": ((), (2,)),
    "both": ((), (2,), (1,), (1, 2)),
}

#: From so many images on a person is told how far it is.
MANY_IMAGES = 5000

#: How many skipped images are printed; all are counted.
SHOWN = 5


def predict(
    run: str | PathLike[str],
    data: str | Path | Dataset,
    *,
    batch_size: int | None = None,
    augment_test: str = "none",
    options: Mapping[str, Any] | None = None,
    unlabelled: bool = False,
    calibrated: bool = True,
    report: Report | None = None,
) -> Predictions:
    """Predict images with a finished run's best weights, prepared exactly as in that run.

    `data` is anything that can be trained on, and an image or DICOM file, a folder or archive of images without
    classes, or a table without labels; or an open data set.  `options` are settings of `[data]` by name, such as
    {"on_error": "skip"}.  Labels that are not known are NaN; images without a split are "test", except those of
    the run's own source, which keep the run's splits.  Under `augment_test` "horizontal" or "both" the
    probabilities of mirrored views are averaged: of 2, or of 4.  `report` receives notes for a person.  Scores are
    calibrated where `medzoo calibrate` left a calibration in the run, unless `calibrated` is False.

    Raises:
        ConfigError: the folder is no finished run, or an option does not fit.
        DataError: an image cannot be read or used, labels are of other classes than the run's, or its calibration
            is not its own.
        WeightsError: the run's weights cannot be read.
        TrainingError: memory ran out, or TensorFlow stopped.

    >>> predictions = predict("runs/breast", "new_images")  # doctest: +SKIP
    """
    trained = read_run(run)
    check_views(augment_test)
    calibration = read_run_calibration(trained) if calibrated else None
    dataset = open_for(trained, data, options, unlabelled)
    predictions = predict_images(
        trained, dataset, batch_size=batch_size, augment_test=augment_test, report=report
    )
    return calibrate(predictions, calibration, report, len(VIEWS[augment_test]))


def check_views(name: str) -> None:
    """Refuse a name that is none of the sets of views.

    Raises:
        ConfigError: the known ones are given.
    """
    if name not in VIEWS:
        raise ConfigError(
            f"test-time augmentation {name!r}", f"one of {', '.join(VIEWS)}", "--tta horizontal"
        )


def open_for(
    trained: TrainedRun,
    data: str | Path | Dataset,
    options: Mapping[str, Any] | None = None,
    unlabelled: bool = False,
) -> Dataset:
    """Open images as a run's own were read, with what is known of its classes.

    What `options` leave open is as in the run: windows, frame, and the columns of a table that has them.

    Raises:
        ConfigError, DataError: an option does not fit, or the data cannot be used.
    """
    names = {entry.name for entry in fields(SourceOptions)}
    usual = trained.config.data.model_dump(include=names, exclude_none=True)
    given = {name: value for name, value in (options or {}).items() if value is not None}
    question = Question(trained.classes, trained.exclusive, make_source_options(usual), unlabelled)
    if isinstance(data, Dataset):
        if given:
            raise ConfigError(
                f"option {next(iter(given))!r} for open data", "a source that is yet to be read"
            )
        dataset = answer(data, question)
    elif is_same_source(data, trained.config.data.source):
        dataset = open_own(trained, given, question)
    else:
        inherited = {name: usual[name] for name in ("windows", "frame", "seed") if name in usual}
        dataset = open_new(data, make_source_options(inherited | given), question, "windows" in given)
        dataset = replace(dataset, notes=(*dataset.notes, *find_alike(trained, dataset)))
    refuse_volumes(dataset)
    check_channels(dataset, trained.channels)
    check_groups(dataset)
    return dataset


def is_same_source(data: str | Path, source: str | None) -> bool:
    """Tell whether a source is the one that a run was trained on."""
    if source is None:
        return False
    return str(data) == source or (Path(data).exists() and Path(data).resolve() == Path(source))


def open_own(trained: TrainedRun, given: Mapping[str, Any], question: Question) -> Dataset:
    """Open a run's own source with the run's own splits: training images must not pass for new ones."""
    section = make_config({"data": trained.config.data.model_dump(exclude_none=True) | dict(given)}).data
    dataset = open_data(section)
    if section.on_error == "skip":
        dataset = leave_out_broken(dataset)
    note = f"{dataset.name} is what the run was trained on: its images keep the run's splits"
    if dataset.digest != trained.table_digest:
        note = f"{dataset.name} has changed since the run: images it was trained on may stand in other splits"
    return answer(replace(dataset, notes=(*dataset.notes, note)), question)


def open_new(data: str | Path, options: SourceOptions, question: Question, is_window_given: bool) -> Dataset:
    """Open images that the run has not seen; windows that do not apply to them are said to be the run's."""
    try:
        dataset = open_unlabelled(data, options, question)
    except (ConfigError, DataError) as error:
        if is_window_given or not options.windows or "--window" not in error.remedy:
            raise
        told = f"{error.found}; the run's is {', '.join(options.windows)}"
        raise type(error)(told, error.expected, "images as the run was trained on") from error
    return leave_out_broken(dataset) if options.on_error == "skip" else dataset


def find_alike(trained: TrainedRun, dataset: Dataset) -> tuple[str, ...]:
    """Note how many images are named as the run's own: a folder of its pictures, without the table of its splits."""
    alike = int(dataset.table["id"].isin(trained.read_ids()).sum())
    if not alike:
        return ()
    return (
        f"{alike:,} of {len(dataset):,} images are named as the run's own validation and test images; "
        "others may be some that it was trained on",
    )


def check_groups(dataset: Dataset) -> None:
    """Refuse groups that a table of predictions has no room for, before anything is computed.

    Raises:
        DataError: a group has the name of a column of predictions.
    """
    clash = next(
        (name for name in dataset.table if str(name).startswith(("score_", "label_", "logit_"))), None
    )
    if clash is not None:
        raise DataError(
            f"{dataset.name}: the group {clash!r} has the name of a predictions column",
            "another name",
            "--group-columns NAMES",
        )


def predict_images(
    trained: TrainedRun,
    dataset: Dataset,
    *,
    batch_size: int | None = None,
    augment_test: str = "none",
    report: Report | None = None,
) -> Predictions:
    """Predict the images of a data set that `open_for` opened, in the table's order; scores are the network's own.

    Raises:
        ConfigError, DataError, WeightsError, TrainingError: as `predict` does.
    """
    check_views(augment_test)
    size = trained.config.training.batch_size if batch_size is None else batch_size
    if size < 1:
        raise ConfigError(f"batch size {size}", "1 or more", "--batch-size 32")
    refuse_not_finite(dataset, dataset.images)
    import tensorflow as tf

    try:
        if report:
            announce(trained, dataset, augment_test, report)
        model = load_network(trained)
        batches = make_batches(
            dataset,
            batch_size=size,
            image_size=trained.image_size,
            channels=trained.channels,
            preprocessing=trained.preprocessing,
            shuffle=False,
            cache="off",
        )
        parts = list(score_batches(trained, model, batches, augment_test, len(dataset), report))
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise TrainingError(
            f"out of memory at batch size {size}", "less", f"--batch-size {max(1, size // 2)}"
        ) from error
    except tf.errors.OpError as error:
        broken = explain_failure(str(error.message), dataset)
        if broken is not None:
            raise broken from error
        raise TrainingError(f"TensorFlow stopped: {str(error.message).splitlines()[0]}") from error
    scores = np.concatenate(parts)
    wrong = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if wrong.size:
        raise DataError(
            f"{dataset.name}: the network gives no numbers for image {dataset.table['id'].iloc[wrong[0]]!r}",
            "finite pixels",
            "looking at it, or leaving it out",
        )
    return join_predictions(trained, dataset, scores)


def score_batches(
    trained: TrainedRun, model: Any, batches: Any, augment_test: str, count: int, report: Report | None
) -> Iterator[NDArray[np.float64]]:
    """Give each batch's probabilities (b, k), averaged over the views."""
    squash = softmax if trained.exclusive else sigmoid
    views = VIEWS[augment_test]
    done = told = 0
    for batch, _ in batches:
        images = np.asarray(batch)
        total = np.zeros((len(images), len(trained.classes)))
        for axes in views:
            logits = model.predict_on_batch(np.ascontiguousarray(np.flip(images, axes)))
            total += squash(np.asarray(logits, np.float64))
        yield total / len(views)
        done += len(images)
        if report and count >= MANY_IMAGES and done * 10 // count > told:
            told = done * 10 // count
            report(f"{done:,} of {count:,} images")


def join_predictions(trained: TrainedRun, dataset: Dataset, scores: NDArray[np.float64]) -> Predictions:
    """Join probabilities (n, k) with a data set's ids, splits, patients, groups, and labels where they are known."""
    described = replace(dataset, images=None, paths=(), bundle=None, rows=())
    joined = make_predictions(described, np.zeros_like(scores))
    return replace(joined, scores=scores, exclusive=trained.exclusive, logits=None)


def announce(trained: TrainedRun, dataset: Dataset, augment_test: str, say: Report) -> None:
    """Say what is predicted with what, and what looks doubtful."""
    size, channels = trained.image_size, trained.channels
    contract = trained.preprocessing
    say(
        f"run {trained.path}: {trained.config.model.name}, {size}×{size}×{channels}, input contract {contract.name};"
        f" {'classes' if trained.exclusive else 'labels'} {', '.join(map(repr, trained.classes))}"
    )
    assert dataset.marks is not None
    known = int((~np.isnan(dataset.marks)).any(axis=1).sum())
    views = len(VIEWS[augment_test])
    say(
        f"data {dataset.name}: {len(dataset):,} image{'s' * (len(dataset) != 1)}, labels known for {known:,}"
        + (f"; the mean of {views} mirrored views each" if views > 1 else "")
    )
    for note in dataset.notes:
        say(f"note: {note}")
    if dataset.channels != channels:
        say(
            f"note: {'colour images are made grey' if channels == 1 else 'grey is repeated'}, as the network takes it"
        )
    for line in dataset.skipped[:SHOWN]:
        say(f"skipped: {line}")
    if len(dataset.skipped) > SHOWN:
        say(f"skipped: {len(dataset.skipped) - SHOWN:,} more")
    for split in SPLITS:
        doubt = check_images(
            dataset, split, count=COMPARED, image_size=size, channels=channels, preprocessing=contract
        )
        if doubt is not None:
            say(f"warning: {doubt}")
