"""What the network is fed: the training stream with its random choices, and plain passes over a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.contracts import Preprocessing
from medzoo.data.dataset import Dataset
from medzoo.data.feeding.augment import describe_augment, find_recipe, fit_size, make_augment
from medzoo.data.feeding.balance import (
    BalanceKind,
    class_weights,
    describe_one_sided,
    make_sampler,
    positive_weights,
)
from medzoo.data.feeding.cache import Cache
from medzoo.data.feeding.mixing import make_mix
from medzoo.data.feeding.order import Sampler, shuffle_order
from medzoo.data.feeding.pipeline import make_batches
from medzoo.errors import ConfigError
from medzoo.training.settings import TrainingSection


@dataclass(frozen=True)
class Feeding:
    """How a data set's images become a network's batches, apart from what training adds."""

    image_size: int
    channels: int
    preprocessing: Preprocessing
    cache: Cache


def check_feeding(dataset: Dataset, training: TrainingSection) -> None:
    """Refuse augmentation, mixing and balance that do not fit, before any image is decoded.

    Raises:
        ConfigError: a recipe that does not exist or does not fit the data; mixing of classes under weights.
    """
    find_recipe(training.augment, dataset.is_volume)
    make_augment(training.augment, size=8, flips=training.flips)
    if training.balance != "none":
        weigh(dataset, "weights")  # what cannot be weighed cannot be balanced either
    if training.mix != "none" and training.balance == "weights" and dataset.exclusive:
        raise ConfigError(
            "class weights with mixed images", "one of them", "--balance oversample, which mixes well"
        )


def describe_feeding(training: TrainingSection) -> str:
    """Say what training does to images, for the record; "" where it takes them as they are."""
    parts = []
    if training.augment != "none" or training.flips not in (None, "none"):
        parts.append(describe_augment(training.augment, training.flips))
    if training.mix != "none":
        parts.append(f"{training.mix}, alpha {training.mix_alpha:g}")
    if training.balance != "none":
        parts.append(f"balance by {training.balance}")
    return "; ".join(parts)


def weigh(dataset: Dataset, balance: str) -> NDArray[np.float64] | None:
    """Give the loss's weights under "weights": of classes, or of positive labels; else None."""
    if balance != "weights":
        return None
    targets = dataset.of_split("train").targets
    weights = class_weights(targets) if dataset.exclusive else positive_weights(targets)
    return np.asarray(weights, np.float64)


def find_unbalanced(dataset: Dataset, training: TrainingSection) -> tuple[str, ...]:
    """Say which labels weights cannot balance, a line each: the training images show one side of them alone."""
    if training.balance != "weights" or dataset.exclusive:
        return ()
    return describe_one_sided(dataset.of_split("train").targets, dataset.classes)


def _choose_sampler(part: Dataset, training: TrainingSection) -> Sampler | None:
    """Choose what draws an epoch's rows, where it is not a plain shuffle."""
    balance: BalanceKind = "oversample" if training.balance == "oversample" else "none"
    return make_sampler(part.targets, part.exclusive, training.seed, balance)


def list_batch_ids(dataset: Dataset, training: TrainingSection, epoch: int, step: int) -> list[str]:
    """List the ids of a training batch, by the epoch and the step in it, both from 0."""
    part = dataset.of_split("train")
    sample = _choose_sampler(part, training) or shuffle_order(len(part), training.seed)
    rows = sample(epoch)[step * training.batch_size : (step + 1) * training.batch_size]
    return [str(name) for name in part.table["id"].to_numpy()[rows]]


def feed_training(
    dataset: Dataset,
    feeding: Feeding,
    training: TrainingSection,
    *,
    first_epoch: int = 0,
    first_step: int = 0,
    epochs: int | None = None,
) -> Any:
    """Make the batches of epochs as one stream: order, augmentation and mixing follow from seed, epoch, image."""
    part = dataset.of_split("train")
    return make_batches(
        part,
        batch_size=training.batch_size,
        image_size=feeding.image_size,
        channels=feeding.channels,
        preprocessing=feeding.preprocessing,
        shuffle=True,
        seed=training.seed,
        cache=feeding.cache,
        first_epoch=first_epoch,
        first_step=first_step,
        epochs=training.epochs if epochs is None else epochs,
        augment=make_augment(
            training.augment, size=feeding.image_size, flips=training.flips, value_range=dataset.value_range
        ),
        mix=make_mix(training.mix, training.mix_alpha),
        fitted_size=fit_size(training.augment, feeding.image_size),
        sampler=_choose_sampler(part, training),
    )


def feed_plain(
    dataset: Dataset, split: str, feeding: Feeding, batch_size: int, seed: int | None = None
) -> Any:
    """Make the batches of one pass over a split, as the images are: in the table's order, or one drawn by a seed."""
    return make_batches(
        dataset.of_split(split),
        batch_size=batch_size,
        image_size=feeding.image_size,
        channels=feeding.channels,
        preprocessing=feeding.preprocessing,
        shuffle=seed is not None,
        seed=seed or 0,
        cache=feeding.cache,
    )


def feed_again(dataset: Dataset, feeding: Feeding, batch_size: int, seed: int, count: int) -> Any:
    """Make up to `count` training batches, images as they are, the same at every pass: the first of a shuffled one.

    A cache in memory serves an epoch whose images have all come, and so holds these images alone.
    """
    if feeding.cache == "disk":  # a file of all training images serves any of them
        return feed_plain(dataset, "train", feeding, batch_size, seed)
    part = dataset.of_split("train")
    rows = shuffle_order(len(part), seed)(0)[: count * batch_size]
    return feed_plain(part.take(rows), "train", feeding, batch_size)
