"""`tf.train.Example`, read from its bytes without TensorFlow: values are decoded, long byte strings only located.

The messages (tensorflow/core/example/example.proto): Example { Features features = 1 }; Features { map<string,
Feature> feature = 1 }; Feature { BytesList = 1 | FloatList = 2 | Int64List = 3 }, each with `value` = 1.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from medzoo.errors import DataError

#: Byte strings from here on are not copied: images, whose place is enough.
LONG = 1024
VARINT, FIXED64, LENGTHY, FIXED32 = 0, 1, 2, 5  # the kinds of fields
BYTES, FLOATS, NUMBERS = 1, 2, 3  # the kinds of a feature
Bytes = mmap.mmap | bytes


@dataclass(frozen=True)
class Feature:
    """A feature's values (b"" for a long byte string), and of byte strings the offset and length of each."""

    values: list[int | float | bytes]
    spans: list[tuple[int, int]]


def read_example(content: Bytes, start: int, end: int, place: str) -> dict[str, Feature]:
    """Read the features of the Example that lies in `content[start:end]`.

    Raises DataError, naming `place`, for bytes that are no Example.
    """
    features = {}
    try:
        for begin, stop in find_messages(content, start, end):
            for first, last in find_messages(content, begin, stop):
                name, feature = read_entry(content, first, last)
                features[name] = feature
    except (ValueError, IndexError, struct.error) as error:
        raise DataError(
            f"{place} is no tf.train.Example ({error})", "Examples of images and labels"
        ) from error
    return features


def read_entry(content: Bytes, start: int, end: int) -> tuple[str, Feature]:
    """Read an entry of the map: a name and its feature."""
    name, feature = "", Feature([], [])
    for field, kind, begin, stop in walk(content, start, end):
        if (field, kind) == (1, LENGTHY):
            name = content[begin:stop].decode()
        elif (field, kind) == (2, LENGTHY):
            feature = read_feature(content, begin, stop)
    return name, feature


def read_feature(content: Bytes, start: int, end: int) -> Feature:
    """Read a feature's list of values, packed or not."""
    feature = Feature([], [])
    for which, list_kind, first, last in walk(content, start, end):
        if list_kind != LENGTHY:
            continue
        for field, kind, begin, stop in walk(content, first, last):
            if field != 1:
                continue
            if which == BYTES and kind == LENGTHY:
                feature.spans.append((begin, stop - begin))
                feature.values.append(content[begin:stop] if stop - begin < LONG else b"")
            elif which == FLOATS and kind in (LENGTHY, FIXED32):
                feature.values.extend(struct.unpack(f"<{(stop - begin) // 4}f", content[begin:stop]))
            elif which == NUMBERS and kind in (LENGTHY, VARINT):
                feature.values.extend(read_numbers(content, begin, stop))
    return feature


def read_numbers(content: Bytes, start: int, end: int) -> Iterator[int]:
    """Read varints one after another, as signed 64-bit numbers."""
    while start < end:
        number, start = read_varint(content, start, end)
        yield number - 2**64 if number >= 2**63 else number


def find_messages(content: Bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield where each message lies that is the first field of another."""
    for field, kind, begin, stop in walk(content, start, end):
        if (field, kind) == (1, LENGTHY):
            yield begin, stop


def walk(content: Bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the fields of a message: number, kind, and where its content begins and ends.

    Raises ValueError where a field leads out of the message or is of an unknown kind.
    """
    while start < end:
        tag, start = read_varint(content, start, end)
        kind = tag & 7
        if kind == VARINT:
            _, stop = read_varint(content, start, end)
        elif kind == LENGTHY:
            length, start = read_varint(content, start, end)
            stop = start + length
        elif kind in (FIXED32, FIXED64):
            stop = start + (4 if kind == FIXED32 else 8)
        else:
            raise ValueError(f"a field of kind {kind}")
        if stop > end:
            raise ValueError("a field is cut off")
        yield tag >> 3, kind, start, stop
        start = stop


def read_varint(content: Bytes, start: int, end: int) -> tuple[int, int]:
    """Read a number of seven bits per byte, and give it with the place after it."""
    number = shift = 0
    while start < end and shift < 64:
        byte = content[start]
        start += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, start
        shift += 7
    raise ValueError("a number is cut off")
