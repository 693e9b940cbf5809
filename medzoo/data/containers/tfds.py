"""TensorFlow Datasets by name: images kept encoded in memory, splits and label names as they are published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medzoo.data.bundle import Bundle
from medzoo.data.containers.fetching import is_offline
from medzoo.data.containers.labels import Labels, make_array, read_labels, read_text
from medzoo.data.dataset import Listing
from medzoo.data.splitting.splits import ALIASES
from medzoo.errors import DataError

PREFIX = "tfds:"
BLOB_LIMIT = 2 * 10**9  # bytes of encoded images that are kept in memory
PATIENT = "patient_id"
UNLABELLED = -1  # what TFDS writes where a split has no labels


@dataclass(frozen=True)
class Columns:
    """Which features of a data set are its images, its labels and its patients ("": unknown)."""

    image: str
    label: str
    patient: str
    names: tuple[str, ...]  # of the labels, by number; empty where they have none
    several: bool  # whether an image has a list of labels


@dataclass(frozen=True)
class Example:
    """One image: its id, split, encoded bytes, label or labels, and patient."""

    name: str
    split: str
    content: bytes
    label: Any
    patient: str


def read_tfds(source: str) -> Listing:
    """List the images of "tfds:NAME", "tfds:NAME/CONFIG" or "tfds:NAME:VERSION", preparing it on first use.

    Train, validation and test splits are used, others left out with a note.  The images stay encoded, as they are
    stored, and are held in memory, up to 2 GB.  `MEDZOO_OFFLINE=1` forbids downloads.  Raises DataError where
    tensorflow-datasets is not installed, knows no such set, or the set is not one of labelled images.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DataError(
            f"{source!r} needs tensorflow-datasets ({error})", "the extra", "pip install 'medzoo[tfds]'"
        ) from error
    builder = prepare(tfds, source)
    columns = choose_columns(tfds, builder.info, source)
    splits = [name for name in builder.info.splits if name.lower() in ALIASES]
    if not splits:
        raise DataError(
            f"{source} has the splits {', '.join(builder.info.splits)}", "train, validation or test"
        )
    left = sorted(set(builder.info.splits) - set(splits))
    notes = [f"{source}: not used: {', '.join(left)}"] if left else []
    check_size(sum(int(builder.info.splits[name].num_bytes) for name in splits), source)
    examples = load_examples(tfds, builder, columns, splits, source)
    labelled = [example for example in examples if columns.several or not is_unlabelled(example.label)]
    if len(labelled) < len(examples):
        notes.append(f"{source}: {len(examples) - len(labelled)} images without a label are left out")
    if not labelled:
        raise DataError(f"{source} has no labelled images", "a set with labels")
    labels = name_labels(labelled, columns, source)
    table = pd.DataFrame({"id": [example.name for example in labelled], "label": labels.texts})
    if len({ALIASES[name.lower()] for name in splits}) > 1:
        table["split"] = [ALIASES[example.split.lower()] for example in labelled]
    if columns.patient:
        table["patient"] = [example.patient for example in labelled]
    return Listing(
        name=source.removeprefix(PREFIX),
        table=table,
        paths=tuple(Path(source) / example.name for example in labelled),
        notes=(*labels.notes, *notes),
        classes=() if labels.marks is None else labels.classes,
        marks=labels.marks,
        bundle=hold_blobs([example.content for example in labelled]),
    )


def prepare(tfds: Any, source: str) -> Any:
    """Find a data set's builder, and download and prepare it unless it is."""
    name = source.removeprefix(PREFIX)
    try:
        builder = tfds.builder(name)
        if not builder.is_prepared():
            if is_offline():
                raise DataError(
                    f"{source} is not prepared in {builder.data_dir} and MEDZOO_OFFLINE is set",
                    "a prepared data set",
                    "TFDS_DATA_DIR=the folder that holds it",
                )
            builder.download_and_prepare()
    except DataError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise DataError(
            f"tensorflow-datasets cannot prepare {name!r}: {type(error).__name__}: {reason}",
            "a name from https://www.tensorflow.org/datasets/catalog",
        ) from error
    return builder


def choose_columns(tfds: Any, info: Any, source: str) -> Columns:
    """Choose the features that are the image and the label: the supervised pair, else the only ones there are.

    Raises DataError where there are none, or several.
    """
    features = info.features
    if not hasattr(features, "items"):
        raise DataError(f"{source} has features of no names", "an image and a label")
    kinds = dict(features.items())
    images = [name for name, kind in kinds.items() if isinstance(kind, tfds.features.Image)]
    labels = [
        name for name, kind in kinds.items() if isinstance(find_class(tfds, kind), tfds.features.ClassLabel)
    ]
    pair = info.supervised_keys if isinstance(info.supervised_keys, tuple) else ()
    if len(pair) == 2 and pair[0] in images and isinstance(pair[1], str):
        images, labels = [pair[0]], [pair[1]]
    image = "image" if "image" in images else images[0] if len(images) == 1 else ""
    label = "label" if "label" in labels else labels[0] if len(labels) == 1 else ""
    if not image or not label:
        raise DataError(
            f"{source} has the images {images} and the labels {labels} among {sorted(kinds)}",
            "one image and one label",
        )
    if np.dtype(kinds[image].np_dtype).kind != "u":
        raise DataError(f"{source}: the images are {np.dtype(kinds[image].np_dtype)}", "8- or 16-bit images")
    kind = find_class(tfds, kinds[label])
    return Columns(
        image=image,
        label=label,
        patient=PATIENT if PATIENT in kinds else "",
        names=tuple(getattr(kind, "names", None) or ()),
        several=kind is not kinds[label],
    )


def find_class(tfds: Any, kind: Any) -> Any:
    """Give the kind of a feature, or that of its items where it is a list."""
    return kind.feature if isinstance(kind, tfds.features.Sequence) else kind


def load_examples(
    tfds: Any, builder: Any, columns: Columns, splits: Sequence[str], source: str
) -> list[Example]:
    """Load the encoded images and the labels of some splits, nothing else of them."""
    wanted = {name: True for name in (columns.image, columns.label, columns.patient) if name}
    examples = []
    total = 0
    for split in splits:
        stored = builder.as_dataset(
            split=split,
            shuffle_files=False,
            # Without it a small set would be held twice.
            read_config=tfds.ReadConfig(try_autocache=False),
            decoders=tfds.decode.PartialDecoding(
                wanted, decoders={columns.image: tfds.decode.SkipDecoding()}
            ),
        )
        for number, features in enumerate(tfds.as_numpy(stored)):
            content = bytes(features[columns.image])
            total += len(content)
            check_size(total, source)
            patient = features.get(columns.patient, "")
            examples.append(
                Example(
                    name=f"{split}/{number}",
                    split=split,
                    content=content,
                    label=features[columns.label],
                    patient=patient.decode(errors="replace") if isinstance(patient, bytes) else str(patient),
                )
            )
    return examples


def check_size(total: int, source: str) -> None:
    """Refuse what would not fit the memory set aside for encoded images."""
    if total > BLOB_LIMIT:
        raise DataError(
            f"{source} holds {total:,} bytes or more",
            f"at most {BLOB_LIMIT:,}, which are held in memory",
            "its TFRecord files, which are read in place: give their folder",
        )


def is_unlabelled(label: Any) -> bool:
    """Tell whether a label says that there is none."""
    return bool(np.ndim(label) == 0 and not isinstance(label, bytes) and label == UNLABELLED)


def name_labels(examples: Sequence[Example], columns: Columns, source: str) -> Labels:
    """Name all examples' labels: a class each, or several of a list."""
    if not columns.several:
        labels = [example.label for example in examples]
        if columns.names and not isinstance(labels[0], bytes):
            return read_labels(labels, len(labels), source, columns.names)
        if isinstance(labels[0], bytes):
            labels = [read_text(label, source) for label in labels]
        return read_labels(labels, len(labels), source)
    if not columns.names:
        raise DataError(f"{source}: the labels have no names", "named labels")
    marks = np.zeros((len(examples), len(columns.names)), np.float32)
    for row, example in enumerate(examples):
        marks[row, make_array(example.label, source).astype(np.int64)] = 1
    return read_labels(marks, len(examples), source, columns.names, exclusive=False)


def hold_blobs(blobs: Sequence[bytes]) -> Bundle:
    """Make a bundle of bytes in memory."""
    lengths = np.array([len(blob) for blob in blobs], np.int64)
    return Bundle(
        files=(),
        places=np.zeros(len(blobs), np.int32),
        offsets=np.zeros(len(blobs), np.int64),
        lengths=lengths,
        packed=np.zeros(len(blobs), np.bool_),
        sizes=lengths,
        blobs=tuple(blobs),
    )
