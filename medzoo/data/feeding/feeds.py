"""Fitted images by the batch: made as they are needed, gathered from a cache, or gathered as they are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.contracts import Preprocessing
from medzoo.data.dataset import Dataset
from medzoo.data.feeding.augment import Augment
from medzoo.data.feeding.cache import (
    Cache,
    MemoryCache,
    choose_cache,
    find_cached,
    is_byte,
    is_work,
    load_cached,
    write_cached,
)
from medzoo.data.feeding.fetch import count_workers, explain_failure, make_gather, make_source
from medzoo.data.feeding.fitting import LUMINANCE, count_fitted, fit_image
from medzoo.errors import DataError

GATHERED_AHEAD = 2  # batches
CALLS = 2  # for each core: images are made while others are read, or put into their batch
BUILT_AT_ONCE = 64  # images of a batch while a file is filled

#: (rows (n,), seeds (n, 2)) → tf.data.Dataset of (images (b, …), rows (b,)).
Feed = Callable[[Any, Any], Any]
#: Of one image tensor, or of a batch of them, whichever costs less.
Finish = Callable[[Any], Any]


@dataclass(frozen=True)
class Preparation:
    """How a data set's images become those of a network: fitted to `sides`, which augmentation makes `final`."""

    dataset: Dataset
    sides: tuple[int, ...]
    channels: int
    contract: Preprocessing
    final: tuple[int, ...]

    @property
    def fitted(self) -> tuple[int, ...]:
        """The shape of an image that is fitted, as a cache keeps it."""
        return (*self.sides, count_fitted(self.dataset.channels, self.channels))

    @property
    def is_stored(self) -> bool:
        """Whether the images are stored as an array that needs no fitting but of its colours."""
        return not is_work(self.dataset, self.sides, self.contract.fit)

    def fit(self, image: Any) -> Any:
        """Fit one decoded image, in a graph."""
        return fit_image(image, self.dataset, self.sides, self.channels, self.contract)

    def augment(self, image: Any, seed: Any, augment: Augment) -> Any:
        """Augment one fitted image, in a graph, and hold it to its shape."""
        import tensorflow as tf

        return tf.ensure_shape(augment(image, seed), (*self.final, self.fitted[-1]))

    def choose_cache(self, wanted: Cache) -> Cache:
        """Choose where fitted images are kept.  Raises DataError where they do not fit."""
        return choose_cache(self.dataset, self.sides, self.channels, self.contract, wanted)


def choose_feed(
    prepared: Preparation, cache: Cache, batch_size: int, augment: Augment | None, finish: Finish
) -> Feed:
    """Choose how an epoch's rows become batches of images, fitted, augmented, finished; a file is filled here at once.

    Raises DataError where the cache does not fit, or an image that goes into the file cannot be decoded.
    """
    place = prepared.choose_cache(cache)
    if place == "memory":
        return _feed_through_memory(prepared, batch_size, augment, finish)
    if place == "disk":
        return _feed_ready(prepared, open_cached(prepared), batch_size, augment, finish)
    if prepared.is_stored:
        return _feed_ready(prepared, np.asanyarray(prepared.dataset.images), batch_size, augment, finish)
    return _feed_fitted(prepared, batch_size, augment, finish)


def _feed_fitted(
    prepared: Preparation, batch_size: int, augment: Augment | None = None, finish: Finish | None = None
) -> Feed:
    """Make the feed that decodes and fits every image whenever it comes, several at a time."""
    source = make_source(prepared.dataset)

    def make(encoded: Any, row: Any, seed: Any) -> tuple[Any, Any]:
        """Make one image."""
        image = prepared.fit(source.decode(encoded))
        if augment is not None:
            image = prepared.augment(image, seed, augment)
        return image if finish is None else finish(image), row

    def feed(rows: Any, seeds: Any) -> Any:
        """Make batches."""
        return (
            source.load(rows, seeds).map(make, num_parallel_calls=CALLS * count_workers()).batch(batch_size)
        )

    return feed


def _feed_ready(
    prepared: Preparation, images: NDArray[Any], batch_size: int, augment: Augment | None, finish: Finish
) -> Feed:
    """Make the feed that gathers whole batches of an array of fitted images."""
    import tensorflow as tf

    gather = make_gather(images)
    is_grey = prepared.fitted[-1] == LUMINANCE[1] and images.shape[-1] == LUMINANCE[0]

    def take(rows: Any, seeds: Any) -> tuple[Any, Any, Any]:
        """Gather one batch."""
        batch = tf.cast(gather(rows), tf.float32)
        return tf.image.rgb_to_grayscale(batch) if is_grey else batch, rows, seeds

    def feed(rows: Any, seeds: Any) -> Any:
        """Gather batches."""
        batches = tf.data.Dataset.from_tensor_slices((rows, seeds)).batch(batch_size)
        return _augment_batches(
            batches.map(take, num_parallel_calls=GATHERED_AHEAD), prepared, batch_size, augment, finish
        )

    return feed


def _feed_through_memory(
    prepared: Preparation, batch_size: int, augment: Augment | None, finish: Finish
) -> Feed:
    """Make the feed that fits each image once and keeps it: an epoch whose images have all come is gathered."""
    import tensorflow as tf

    cache = MemoryCache(len(prepared.dataset), prepared.fitted)
    make_fitted = _feed_fitted(prepared, batch_size)

    def keep(images: Any, rows: Any) -> tuple[Any, Any]:
        """Keep one batch on its way."""
        kept = tf.numpy_function(cache.put, [rows, images], tf.int64)
        return images, tf.ensure_shape(kept, (None,))

    def take(rows: Any) -> tuple[Any, Any]:
        """Gather one batch that was kept."""
        images = tf.numpy_function(cache.take, [rows], tf.float32)
        return tf.ensure_shape(images, (None, *prepared.fitted)), rows

    def feed(rows: Any, seeds: Any) -> Any:
        """Make batches, or gather them: of one of both there are none."""
        # Asked when an epoch begins, and not when the graph is made.
        is_full = tf.numpy_function(cache.has, [rows], tf.bool)
        is_full.set_shape(())
        new, old = tf.where(is_full, 0, tf.size(rows)), tf.where(is_full, tf.size(rows), 0)
        made = make_fitted(rows[:new], seeds[:new]).map(keep)
        gathered = tf.data.Dataset.from_tensor_slices(rows[:old]).batch(batch_size)
        batches = made.concatenate(gathered.map(take, num_parallel_calls=GATHERED_AHEAD))
        keys = tf.data.Dataset.from_tensor_slices(seeds).batch(batch_size)
        joined = tf.data.Dataset.zip(batches, keys).map(lambda batch, some: (*batch, some))
        return _augment_batches(joined, prepared, batch_size, augment, finish)

    return feed


def _augment_batches(
    batches: Any, prepared: Preparation, batch_size: int, augment: Augment | None, finish: Finish
) -> Any:
    """Augment and finish the images of batches (images, rows, seeds), several at a time, and give (images, rows)."""
    if augment is None:
        return batches.map(lambda images, rows, _: (finish(images), rows))

    def change(image: Any, row: Any, seed: Any) -> tuple[Any, Any]:
        """Augment one image."""
        return finish(prepared.augment(image, seed, augment)), row

    return batches.unbatch().map(change, num_parallel_calls=CALLS * count_workers()).batch(batch_size)


def open_cached(prepared: Preparation) -> NDArray[Any]:
    """Map the file of fitted images, which is filled first where there is none.

    Raises DataError naming an image that cannot be decoded, or the folder where it has no room.
    """
    dataset = prepared.dataset
    path = find_cached(dataset, prepared.sides, prepared.channels, prepared.contract)
    shape = (len(dataset), *prepared.fitted)
    images = load_cached(path, shape)
    if images is not None:
        return images
    # Bytes, where the first image promises that they hold all of them; else what every image fits in.
    is_promising = is_byte(dataset, prepared.sides, prepared.contract.fit)
    for kind in (np.uint8, np.float32) if is_promising else (np.float32,):
        if write_cached(path, shape, np.dtype(kind), _fit_all(prepared)):
            break
    images = load_cached(path, shape)
    if images is None:
        raise DataError(f"{path} is not what was written", "a file that nobody else changes", "--cache off")
    return images


def _fit_all(prepared: Preparation) -> Iterator[NDArray[np.float32]]:
    """Fit all images in the table's order, and give them by the batch."""
    import tensorflow as tf

    dataset = prepared.dataset
    options = tf.data.Options()
    options.autotune.enabled = False
    rows = np.arange(len(dataset))
    feed = _feed_fitted(prepared, BUILT_AT_ONCE)
    try:
        batches = feed(rows, np.zeros((len(rows), 2), np.int32)).with_options(options)
        for images, _ in batches.as_numpy_iterator():
            yield images
    except tf.errors.OpError as error:
        problem = explain_failure(str(error), dataset)
        raise problem or DataError(f"{dataset.name}: {error.message}") from error
