"""What comes before a run's first step: the data are opened, every image is decoded once, doubts are collected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np

from medzoo.contracts import LowContrastError, Preprocessing
from medzoo.data.audit.quick import quick_check
from medzoo.data.dataset import SPLITS, Dataset
from medzoo.data.feeding.pipeline import check_images, refuse_not_finite
from medzoo.data.formats.images import find_unreadable
from medzoo.data.open import open_source, refuse_lost
from medzoo.data.options import SourceOptions, make_source_options
from medzoo.errors import DataError
from medzoo.training.settings import DataSection

DEFAULT_DATA = "phantom"

#: How many images of each split are compared with the contract's range, at most.
COMPARED = 32

#: From here on a person is told that images are being decoded.
MANY_IMAGES = 5000


def open_data(data: DataSection) -> Dataset:
    """Open the data set of a configuration.

    Raises:
        ConfigError, DataError: a setting does not fit, or the data cannot be used as they are.
    """
    names = {entry.name for entry in fields(SourceOptions)}
    options = make_source_options(data.model_dump(include=names, exclude_none=True))
    dataset = open_source(DEFAULT_DATA if data.source is None else data.source, options)
    refuse_volumes(dataset)
    return dataset


def refuse_volumes(dataset: Dataset) -> None:
    """Refuse volumes, which no network of the catalogue takes.

    Raises:
        DataError: the images have a depth.
    """
    if dataset.is_volume:
        raise DataError(
            f"{dataset.name} holds volumes, and every network of the catalogue takes pictures",
            "2-D images",
            "--frame middle, or medzoo.make_batches with a 3-D Keras model of your own",
        )


def admit_images(dataset: Dataset, on_error: str, report: Callable[[str], None] | None = None) -> Dataset:
    """Decode every image once, so that a broken one is met before the training; under "skip" it is left out.

    Raises:
        DataError: an image cannot be decoded, or holds NaN or infinity; or none is left in a split.
    """
    if report and len(dataset.paths) > MANY_IMAGES:
        report(f"decoding {len(dataset.paths):,} images once, to find unreadable ones before training")
    refuse_not_finite(dataset, dataset.images)
    broken = find_unreadable(dataset)
    if not broken:
        return dataset
    if on_error != "skip":
        raise DataError(
            f"{broken[0][1]} ({len(broken)} of {len(dataset):,} images)" if len(broken) > 1 else broken[0][1],
            "whole images",
            "replacing or removing it, or --on-error skip",
        )
    lost = {position for position, _ in broken}
    kept = np.array([row for row in range(len(dataset)) if row not in lost], int)
    reasons = [reason for _, reason in broken]
    left = dataset.take(kept)
    refuse_lost(dataset.table, left.table, left, reasons)
    return replace(left, skipped=(*dataset.skipped, *reasons))


def find_doubts(
    dataset: Dataset, contract: Preprocessing, size: int, channels: int, strict: bool
) -> tuple[str, ...]:
    """Collect what to warn of: images beyond the contract's range, and what looks like leakage between splits.

    Raises:
        DataError: an image is not finite, or `strict` and an image lies beyond the range.
    """
    found = []
    for split in SPLITS:
        problem = check_images(
            dataset, split, count=COMPARED, image_size=size, channels=channels, preprocessing=contract
        )
        if strict and problem is not None and not isinstance(problem, LowContrastError):
            raise problem
        if problem is not None:
            found.append(str(problem))
    return (*found, *quick_check(dataset))
