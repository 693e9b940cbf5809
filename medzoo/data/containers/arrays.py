"""`dataset_from_arrays` and `dataset_from_tf_data`: data sets of what a program holds in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medzoo.data.containers.labels import Labels, make_array, read_labels
from medzoo.data.containers.ranges import Range, scale_images, shape_images
from medzoo.data.dataset import BYTE_RANGE, Dataset
from medzoo.data.splitting.splits import UNUSED, complete_splits, read_split
from medzoo.errors import DataError

MATERIALISED = 2 * 10**9  # bytes that a tf.data.Dataset may become
OWN_COLUMNS = frozenset({"id", "split", "label", "patient"})


def dataset_from_arrays(
    images: Any,
    labels: Any,
    *,
    classes: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    patients: Sequence[object] | None = None,
    groups: Mapping[str, Sequence[object]] | None = None,
    name: str = "arrays",
    value_range: Range = "auto",
    exclusive: bool | None = None,
    seed: int = 0,
) -> Dataset:
    """Make a data set of images and labels in memory.

    `images` are (n, height, width), (n, height, width, channels) or volumes (n, depth, height, width, channels);
    `labels` numbers or names (n,), or one-hot or multi-hot rows (n, k) with NaN for what nobody annotated.
    `value_range` is what black and white are in the images' units, read as 0…255; "auto" takes it from the
    type (8 and 16 bits, masks) or, for fractions, from the values, and says so in a note; None: the values are
    the network's own and never preprocessed.  `splits` names train, validation or test for each image; what is
    missing is drawn with `seed`, by patient.  Ids are the images' positions.

    Raises:
        DataError: the shapes, types or values cannot be used, or the splits cannot be trained on.

    >>> pixels = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    >>> data = dataset_from_arrays(pixels, [0, 1] * 15, classes=["benign", "malignant"])
    >>> data.classes, data.size, data.channels, data.value_range
    (('benign', 'malignant'), (8, 8), 1, (0.0, 255.0))
    >>> sorted(set(data.table["split"]))
    ['test', 'train', 'validation']
    """
    pixels = shape_images(make_array(images, f"{name}: the images"), name)
    named = read_labels(labels, len(pixels), name, () if classes is None else classes, exclusive)
    table, kept = tabulate(named, splits, patients, groups, name)
    pixels, scale_notes = scale_images(pixels, value_range, name)
    notes = [*named.notes, *scale_notes]
    marks = named.marks
    if kept is not None:
        notes.append(f"{name}: {len(pixels) - len(kept)} images are of no split")
        pixels, marks = pixels[kept], None if marks is None else marks[kept]
    table, more = complete_splits(
        table, seed, name, exclusive=marks is None, classes=named.classes, marks=marks
    )
    leading = ["id", "split", "label", *(["patient"] if "patient" in table else [])]
    return Dataset(
        name=name,
        classes=named.classes,
        table=table[[*leading, *(column for column in table if column not in leading)]],
        channels=pixels.shape[-1],
        size=pixels.shape[1:-1],
        value_range=None if value_range is None else BYTE_RANGE,
        images=pixels,
        notes=(*notes, *more),
        marks=marks,
    )


def dataset_from_tf_data(
    source: Any,
    *,
    classes: Sequence[str] | None = None,
    name: str = "tf.data",
    value_range: Range = "auto",
    exclusive: bool | None = None,
    seed: int = 0,
    limit: int = MATERIALISED,
) -> Dataset:
    """Make a data set of a finite `tf.data.Dataset` of (image, label), batched or not, which is read once whole.

    A mapping of split names to such data sets gives the splits: `{"train": a, "test": b}`.  Images and labels are
    those of `dataset_from_arrays`, of one size; at most `limit` bytes of images are taken.

    Raises:
        DataError: it is no such data set, is endless or too large, or `dataset_from_arrays` refuses what it holds.
    """
    parts = source if isinstance(source, Mapping) else {"": source}
    if not parts:
        raise DataError(f"{name}: no data set is given", "a tf.data.Dataset, or one for each split")
    images: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    splits: list[str] = []
    taken = 0
    for split, part in parts.items():
        for pixels, answers in iterate_batches(part, name):
            taken += pixels.nbytes
            if taken > limit:
                raise DataError(
                    f"{name} holds more than {limit:,} bytes of images",
                    "a data set that fits the memory",
                    "fewer or smaller images, a larger limit, or files instead",
                )
            if images and (
                pixels.shape[1:] != images[0].shape[1:] or answers.shape[1:] != labels[0].shape[1:]
            ):
                raise DataError(
                    f"{name}: images of {images[0].shape[1:]} and {pixels.shape[1:]}, labels of "
                    f"{labels[0].shape[1:]} and {answers.shape[1:]}",
                    "one shape",
                    "resizing them first",
                )
            images.append(pixels)
            labels.append(answers)
            splits += [split] * len(pixels)
    if not images:
        raise DataError(f"{name} holds no images", "(image, label) pairs")
    return dataset_from_arrays(
        np.concatenate(images),
        np.concatenate(labels),
        classes=classes,
        splits=splits if isinstance(source, Mapping) else None,
        name=name,
        value_range=value_range,
        exclusive=exclusive,
        seed=seed,
    )


def iterate_batches(source: Any, name: str) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield the batches of a tf.data.Dataset as arrays; single elements become batches of one."""
    wanted = "a tf.data.Dataset of (image, label)"
    spec = getattr(source, "element_spec", None)
    if spec is None or not hasattr(source, "as_numpy_iterator"):
        raise DataError(f"{name} is a {type(source).__name__}", wanted, "dataset_from_arrays for arrays")
    if not isinstance(spec, tuple) or len(spec) != 2 or not all(hasattr(part, "shape") for part in spec):
        raise DataError(f"{name} has elements of {spec}", wanted, ".map(lambda …: (image, label))")
    if int(source.cardinality()) == -1:  # tf.data.INFINITE_CARDINALITY
        raise DataError(f"{name} never ends", "a finite data set", ".take(n), or leaving out .repeat()")
    batched = is_batched(*(part.shape.as_list() if part.shape.rank is not None else None for part in spec))
    for image, label in source.as_numpy_iterator():
        pixels, answers = np.asarray(image), np.asarray(label)
        if batched and (not pixels.ndim or not answers.ndim or len(pixels) != len(answers)):
            raise DataError(f"{name}: {answers.shape} labels for {pixels.shape} images in a batch", wanted)
        yield (pixels, answers) if batched else (pixels[None], answers[None])


def is_batched(image: list[int | None] | None, label: list[int | None] | None) -> bool:
    """Tell from the shapes of an element's image and label whether it is a batch of them.

    >>> is_batched([None, 8, 8, 3], [None]), is_batched([8, 8, 3], []), is_batched([8, 8, 3], [5])
    (True, False, False)
    """
    if image is None or label is None:
        return label != []
    if not label or len(image) < 3:  # a single answer, or a grey image without channels
        return False
    return len(label) == 2 or image[0] == label[0]


def tabulate(
    labels: Labels,
    splits: Sequence[str] | None,
    patients: Sequence[object] | None,
    groups: Mapping[str, Sequence[object]] | None,
    name: str,
) -> tuple[pd.DataFrame, NDArray[np.int64] | None]:
    """Make the table of ids, labels, splits, patients and groups, all text; and the rows that are of a split."""
    count = len(labels.texts)
    columns = {"id": [str(row) for row in range(count)], "label": labels.texts}
    if splits is not None:
        texts = list_texts(splits, count, f"{name}: the splits")
        columns["split"] = [read_split(text, f"{name}: image {row}") for row, text in enumerate(texts)]
    if patients is not None:
        columns["patient"] = list_texts(patients, count, f"{name}: the patients")
    if groups is not None and not isinstance(groups, Mapping):
        raise DataError(f"{name}: groups are a {type(groups).__name__}", "a mapping of names to columns")
    for column, values in (groups or {}).items():
        if not isinstance(column, str) or not column or column in OWN_COLUMNS:
            raise DataError(f"{name}: a group is named {column!r}", f"a name, none of {sorted(OWN_COLUMNS)}")
        columns[column] = list_texts(values, count, f"{name}: group {column!r}")
    table = pd.DataFrame(columns)
    if splits is None or UNUSED not in set(columns["split"]):
        return table, None
    kept = np.flatnonzero(table["split"].to_numpy() != UNUSED)
    return table.iloc[kept].reset_index(drop=True), kept


def list_texts(values: Any, count: int, place: str) -> list[str]:
    """Give a column's values as texts, "" for None and NaN."""
    array = make_array(values, place)
    if array.shape != (count,):
        raise DataError(f"{place} have the shape {array.shape}", f"({count},), a value for each image")
    return [write_text(value) for value in array.tolist()]


def write_text(value: object) -> str:
    """Write a cell's value; what a missing neighbour made a fraction of is a whole number still.

    >>> write_text(7.0), write_text(b"F"), write_text(None)
    ('7', 'F', '')
    """
    if value is None or value != value:
        return ""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
