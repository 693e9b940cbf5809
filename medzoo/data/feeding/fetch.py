"""From rows to pixels: arrays, files that TensorFlow decodes, images inside larger files, and reader processes.

Python is called once for a chunk of rows, never for an image: its one lock would leave the other cores idle.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from medzoo.data.corruptions import Corruption
from medzoo.data.dataset import Dataset
from medzoo.data.feeding.fitting import decode
from medzoo.data.formats.decoding import make_decoder
from medzoo.data.formats.images import find_unreadable
from medzoo.data.reading import Reading
from medzoo.errors import DataError

MOST_ROWS = 64  # of a chunk
CHUNK_BYTES = 2**25  # of decoded pixels
CHUNKS_AHEAD = 2  # so that the processes have work while a finished chunk is handed over

#: Processes that decode, one set for each way of reading: training and validation share them.
_DECODERS: WeakValueDictionary[tuple[Reading, int], Any] = WeakValueDictionary()


@dataclass(frozen=True)
class Source:
    """How a data set's rows become images.

    `load` makes of tensors rows (n,) and seeds (n, 2) a tf.data.Dataset of (encoded, row, seed), in order; `decode`
    makes of what is encoded one image tensor (…, channels).  Both are graph code; `decode` runs in parallel.
    """

    load: Callable[[Any, Any], Any]
    decode: Callable[[Any], Any]


def count_workers() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_source(dataset: Dataset) -> Source:
    """Make the source of a data set's images, stored or corrupted: arrays, files, or encoded images in larger files."""
    if dataset.corruption is not None:
        return _make_corrupted_source(dataset, dataset.corruption)
    if dataset.images is not None:
        return _make_array_source(dataset)
    if dataset.decoder == "reader":
        return _make_reader_source(dataset)
    if dataset.bundle is not None:
        return _make_bundle_source(dataset)
    return _make_file_source(dataset)


def make_gather(array: NDArray[Any]) -> Callable[[Any], Any]:
    """Make graph code from rows (n,) to an array's images (n, …), one call for all; the array is not copied."""
    import tensorflow as tf

    def take(rows: NDArray[np.int64]) -> NDArray[Any]:
        """Take rows: unlike indexing, without the interpreter's lock."""
        return np.asarray(np.take(array, rows, axis=0))

    def gather(rows: Any) -> Any:
        """Take rows in a graph."""
        images = tf.numpy_function(take, [rows], tf.as_dtype(array.dtype), stateful=False)
        images.set_shape((None, *array.shape[1:]))
        return images

    return gather


def _make_array_source(dataset: Dataset) -> Source:
    """Make the source of images that are an array, in memory or mapped from a file."""
    images = np.asanyarray(dataset.images)
    gather = make_gather(images)
    return Source(_load_chunks(dataset, gather, len(images)), lambda image: image)


def _make_file_source(dataset: Dataset) -> Source:
    """Make the source of image files that TensorFlow decodes: all of it in the graph."""
    import tensorflow as tf

    paths = tf.constant([os.fsencode(path) for path in dataset.paths], tf.string)

    def load(rows: Any, seeds: Any) -> Any:
        """List the files."""
        return tf.data.Dataset.from_tensor_slices((tf.gather(paths, rows), rows, seeds))

    return Source(load, lambda path: decode(tf.io.read_file(path), dataset.channels))


def _make_bundle_source(dataset: Dataset) -> Source:
    """Make the source of images that lie encoded in larger files: read by the chunk, decoded in the graph."""
    import tensorflow as tf

    bundle = dataset.bundle
    assert bundle is not None

    def read(rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """Read encoded images (n,)."""
        return _hold(bundle.read(rows))

    def gather(rows: Any) -> Any:
        """Read encoded images in a graph."""
        encoded = tf.numpy_function(read, [rows], tf.string, stateful=False)
        return tf.ensure_shape(encoded, (None,))

    return Source(
        _load_chunks(dataset, gather, len(dataset)), lambda encoded: decode(encoded, dataset.channels)
    )


def _make_reader_source(dataset: Dataset) -> Source:
    """Make the source of images that processes decode: their pixels come back as bytes and shapes, by the chunk."""
    import tensorflow as tf

    read = make_reader(dataset)
    rank = len(dataset.size) + 1

    def unpack(rows: NDArray[np.int64]) -> tuple[NDArray[np.object_], NDArray[np.int32]]:
        """Decode images to their pixels' bytes (n,) and shapes (n, rank)."""
        images = read(rows)
        for row, image in zip(rows, images, strict=True):
            if image.ndim != rank or image.shape[-1] != dataset.channels:
                raise DataError(
                    f"{dataset.paths[row]} has the shape {image.shape}",
                    f"{rank - 1} dimensions and {dataset.channels} channels, as the other images have",
                    "--on-error skip",
                )
        shapes = np.array([image.shape for image in images], np.int32).reshape(-1, rank)
        return _hold([image.tobytes() for image in images]), shapes

    def gather(rows: Any) -> Any:
        """Decode images in a graph."""
        pixels, shapes = tf.numpy_function(unpack, [rows], (tf.string, tf.int32), stateful=False)
        return tf.ensure_shape(pixels, (None,)), tf.ensure_shape(shapes, (None, rank))

    def restore(packed: Any) -> Any:
        """Give bytes their type and shape."""
        image = tf.reshape(tf.io.decode_raw(packed[0], tf.float32), packed[1])
        image.set_shape((*[None] * (rank - 1), dataset.channels))
        return image

    return Source(_load_chunks(dataset, gather, len(dataset)), restore)


def _make_corrupted_source(dataset: Dataset, corruption: Corruption) -> Source:
    """Make the source of images that are corrupted as soon as they are decoded, each by its own id."""
    import tensorflow as tf

    source = make_source(replace(dataset, corruption=None))
    ids = dataset.table["id"].tolist()

    def change(image: NDArray[Any], row: np.int64) -> NDArray[np.float32]:
        """Corrupt one image; NumPy, SciPy and Pillow let go of the interpreter's lock where they work long."""
        return corruption.apply(image, str(ids[row]))

    def load(rows: Any, seeds: Any) -> Any:
        """Keep each image's row beside it."""
        return source.load(rows, seeds).map(lambda encoded, row, seed: ((encoded, row), row, seed))

    def decode_and_change(encoded_and_row: Any) -> Any:
        """Decode one image, and corrupt it."""
        encoded, row = encoded_and_row
        image = source.decode(encoded)
        changed = tf.numpy_function(change, [image, row], tf.float32, stateful=False)
        return tf.ensure_shape(changed, image.shape)

    return Source(load, decode_and_change)


def make_reader(dataset: Dataset) -> Callable[[NDArray[np.int64]], list[NDArray[np.float32]]]:
    """Make a function from rows to images that processes decode, float32 (…, channels), each of its own size."""
    key = (replace(dataset.reading, channels=dataset.channels), count_workers())
    decoder = _DECODERS.get(key)
    if decoder is None:
        _DECODERS[key] = decoder = make_decoder(*key)

    def read(rows: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """Decode some rows' images."""
        paths = [dataset.paths[row] for row in rows]
        sources: Sequence[Path | bytes] = paths if dataset.bundle is None else dataset.bundle.read(rows)
        images: list[NDArray[np.float32]] = decoder(sources, [str(path) for path in paths])
        return images

    return read


def count_chunk(dataset: Dataset) -> int:
    """Count the rows that Python is asked for at once: few where images are large, at least one for each core."""
    pixels = 4 * math.prod(dataset.size) * dataset.channels
    return max(1, min(MOST_ROWS, max(CHUNK_BYTES // pixels, count_workers())))


def _load_chunks(dataset: Dataset, gather: Callable[[Any], Any], count: int) -> Callable[[Any, Any], Any]:
    """Make the `load` of a source whose rows are gathered by the chunk, the next ones while one is used up."""
    import tensorflow as tf

    size = min(count_chunk(dataset), max(1, count))

    def load(rows: Any, seeds: Any) -> Any:
        """Gather chunks and take them apart."""
        chunks = tf.data.Dataset.from_tensor_slices((rows, seeds)).batch(size)
        gathered = chunks.map(lambda some, keys: (gather(some), some, keys), num_parallel_calls=CHUNKS_AHEAD)
        return gathered.unbatch()

    return load


def _hold(parts: Sequence[bytes]) -> NDArray[np.object_]:
    """Put bytes into an array of objects: NumPy's own text type would cut zeros off their ends."""
    held = np.empty(len(parts), object)
    held[:] = parts
    return held


def explain_failure(message: str, dataset: Dataset) -> DataError | None:
    """Explain the message of a TensorFlow error that ended the batches of a data set; None if no image is to blame.

    A DataError raised by Python on the way is found in the message.  TensorFlow's decoders name no file: every
    image is decoded once more to find the broken one.
    """
    told = re.search(r"DataError: (.+)", message)
    if told:
        return DataError(told[1])
    broken = find_unreadable(dataset)
    if not broken:
        return None
    return DataError(broken[0][1], "a whole image", "replacing or removing it, or --on-error skip")
