"""TFRecord files of `tf.train.Example`: indexed without TensorFlow, their encoded images read in place."""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medzoo.data.bundle import Bundle
from medzoo.data.containers.examples import Feature, read_example
from medzoo.data.containers.folder import is_visible
from medzoo.data.containers.labels import Labels, read_labels, read_text
from medzoo.data.dataset import Listing, sort_classes
from medzoo.data.splitting.splits import ALIASES
from medzoo.errors import DataError

#: Endings, before "-00000-of-00010" where the file is one of several.
NAME = re.compile(r"\.(tfrecords?|tfrec)(-\d+-of-\d+)?$", re.IGNORECASE)
#: The features that are recognised, first come first taken.
IMAGES = ("image/encoded", "image", "image_raw", "jpeg")
LABELS = ("image/class/label", "label", "class", "target")
TEXTS = ("image/class/text",)
IDS = ("image/filename", "image_id", "image_name")
PATIENTS = ("patient_id",)
WHOLE = "whole, uncompressed TFRecord files"
LENGTH = struct.Struct("<QI")  # a record's length, and the masked CRC-32C of its eight bytes
FOOTER = 4  # the CRC-32C of the record itself
MASK = 0xA282EAD8


@dataclass(frozen=True)
class Record:
    """What is taken of one record: where its image lies, and what is said of it."""

    offset: int
    length: int
    label: Sequence[int | float | bytes]
    text: str
    name: str
    patient: str


def is_tfrecord(path: Path) -> bool:
    """Tell whether a file's name is that of TFRecord.

    >>> is_tfrecord(Path("train.tfrecord-00000-of-00010")), is_tfrecord(Path("train00-2071.tfrec"))
    (True, True)
    """
    return NAME.search(path.name) is not None


def find_records(path: Path) -> list[Path]:
    """List the TFRecord files of a source: the file itself, or those below a folder, sorted."""
    if not path.is_dir():
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if is_tfrecord(file) and file.is_file() and all(map(is_visible, file.relative_to(path).parts))
    )


def read_tfrecords(path: Path) -> Listing:
    """List the images of a TFRecord file, or of all those below a folder.

    Encoded images are recognised by their feature's name (`image/encoded`, `image`, `image_raw`, `jpeg`), labels
    likewise (`image/class/label`, `label`, `class`, `target`: one number or name; several numbers are 0 or 1 for
    each label, or the numbers of the labels that the image has).  Files named after splits (train, val, test)
    give the splits.  Ids are the images' own where they are unique, else the file and the record's number in it.
    Raises DataError for files that are broken, compressed or hold anything else.
    """
    files = find_records(path)
    if not files:
        raise DataError(f"{path} holds no TFRecord files", "files named *.tfrecord or *.tfrec")
    root = path if path.is_dir() else path.parent
    places = [file.relative_to(root).as_posix() for file in files]
    records: list[Record] = []
    counts = []
    for file in files:
        found = list(read_records(file))
        records += found
        counts.append(len(found))
    if not records:
        raise DataError(f"{path} holds no records", "a record for each image")
    of_file = np.repeat(np.arange(len(files), dtype=np.int32), counts)
    numbers = [number for count in counts for number in range(count)]
    ids = [f"{places[place]}/{number}" for place, number in zip(of_file.tolist(), numbers, strict=True)]
    names = [record.name for record in records]
    named = name_labels(records, str(path))
    unique = all(names) and len(set(names)) == len(names)
    table = pd.DataFrame({"id": names if unique else ids, "label": named.texts})
    splits, notes = name_splits(places, str(path))
    if splits:
        table["split"] = [splits[place] for place in of_file.tolist()]
    if any(record.patient for record in records):
        table["patient"] = [record.patient for record in records]
    lengths = np.array([record.length for record in records], np.int64)
    return Listing(
        name=path.resolve().name if path.is_dir() else NAME.sub("", path.name),
        table=table,
        paths=tuple(root / text for text in ids),
        notes=(*named.notes, *notes),
        classes=() if named.marks is None else named.classes,
        marks=named.marks,
        bundle=Bundle(
            files=tuple(files),
            places=of_file,
            offsets=np.array([record.offset for record in records], np.int64),
            lengths=lengths,
            packed=np.zeros(len(records), np.bool_),
            sizes=lengths,
        ),
    )


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of a file; of the images' bytes nothing is read.

    Lengths are checked by their CRC-32C, records are not: that would read every image.
    """
    try:
        with path.open("rb") as stream:
            if not path.stat().st_size:
                return
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                yield from parse_records(content, path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", WHOLE) from error


def parse_records(content: mmap.mmap, path: Path) -> Iterator[Record]:
    """Yield the records of a mapped file."""
    if content[:2] == b"\x1f\x8b":
        raise DataError(f"{path} is compressed", WHOLE, f"gunzip < {path} > another file")
    start, number, size = 0, 0, len(content)
    while start < size:
        place = f"{path}: record {number}"
        if start + LENGTH.size > size:
            raise DataError(f"{path} ends within record {number}", WHOLE, "fetching it again")
        length, check = LENGTH.unpack_from(content, start)
        if mask_checksum(content[start : start + 8]) != check:
            raise DataError(f"{place} has a wrong checksum", WHOLE, "fetching it again")
        begin = start + LENGTH.size
        start = begin + length + FOOTER
        if start > size:
            raise DataError(f"{path} ends within record {number}", WHOLE, "fetching it again")
        yield make_record(read_example(content, begin, begin + length, place), place)
        number += 1


def make_record(features: dict[str, Feature], place: str) -> Record:
    """Take of a record's features what a data set needs."""

    def choose(names: Sequence[str]) -> Feature | None:
        return next((features[name] for name in names if name in features and features[name].values), None)

    def choose_text(names: Sequence[str]) -> str:
        feature = choose(names)
        return "" if feature is None or feature.values[0] == b"" else read_text(feature.values[0], place)

    held = ", ".join(map(repr, sorted(features))) or "nothing"
    image = next((features[name] for name in IMAGES if name in features and features[name].spans), None)
    if image is None or len(image.spans) != 1:
        raise DataError(f"{place} holds {held}", f"an encoded image as one of {', '.join(IMAGES)}")
    text = choose_text(TEXTS)
    label = choose(LABELS)
    if label is None and not text:
        raise DataError(f"{place} has no label, only {held}", f"one of {', '.join(LABELS)}")
    offset, length = image.spans[0]
    values = [text.encode()] if label is None else label.values
    return Record(offset, length, values, text, choose_text(IDS), choose_text(PATIENTS))


def name_labels(records: Sequence[Record], place: str) -> Labels:
    """Read all records' labels together: classes by name or number, or several of an image."""
    widths = {len(record.label) for record in records}
    if widths == {1}:
        if all(record.text for record in records):
            return read_labels([record.text for record in records], len(records), place)
        return read_labels([record.label[0] for record in records], len(records), place)
    values = {value for record in records for value in record.label}
    if any(isinstance(value, bytes) for value in values):
        names = [[read_text(value, place) for value in record.label] for record in records]
        return mark_labels(names, place)
    if len(widths) == 1 and all(value in (0, 1) or value != value for value in values):
        return read_labels([record.label for record in records], len(records), place)
    return mark_labels([[read_number(value, place) for value in record.label] for record in records], place)


def read_number(value: int | float | bytes, place: str) -> str:
    """Write the number of a label that an image has."""
    if not isinstance(value, int):
        raise DataError(f"{place}: a label is {value!r}", "whole numbers, or rows of 1, 0 and NaN")
    return str(value)


def mark_labels(names: Sequence[Sequence[str]], place: str) -> Labels:
    """Make marks of lists of the labels that each image has."""
    classes = sort_classes(name for row in names for name in row)
    positions = {name: position for position, name in enumerate(classes)}
    marks = np.zeros((len(names), len(classes)), np.float32)
    for row, present in enumerate(names):
        marks[row, [positions[name] for name in present]] = 1
    return read_labels(marks, len(names), place, classes, exclusive=False)


def name_splits(places: Sequence[str], source: str) -> tuple[list[str], tuple[str, ...]]:
    """Name each file's split by the words in its path; none where they name fewer than two splits."""
    splits = []
    for place in places:
        words = re.findall(r"[a-z]+", place.lower())
        named = {ALIASES[word] for word in words if word in ALIASES}
        splits.append(named.pop() if len(named) == 1 else "")
    known = set(splits) - {""}
    if len(known) < 2:
        note = f"{source}: all files are of the {''.join(known)} split by their names, which is not used"
        return [], (note,) if known else ()
    if "" in splits:
        raise DataError(
            f"{source}: {places[splits.index('')]} names no split, other files do",
            "train, val or test in each file's name",
        )
    return splits, ()


def mask_checksum(content: bytes) -> int:
    """Give the masked CRC-32C of some bytes, as TFRecord stores it.

    >>> hex(mask_checksum(bytes(8)))
    '0x7980329'
    """
    total = 0xFFFFFFFF
    for byte in content:
        total = TABLE[(total ^ byte) & 0xFF] ^ (total >> 8)
    total ^= 0xFFFFFFFF
    return ((total >> 15 | total << 17) + MASK) & 0xFFFFFFFF


def make_table() -> tuple[int, ...]:
    """Make the table of CRC-32C (Castagnoli), one entry for each byte."""
    table = []
    for entry in range(256):
        for _ in range(8):
            entry = entry >> 1 ^ (0x82F63B78 if entry & 1 else 0)
        table.append(entry)
    return tuple(table)


TABLE = make_table()
