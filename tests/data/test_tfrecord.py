"""TFRecord files: indexed and parsed without TensorFlow, and the same as TensorFlow reads them."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from medzoo.data.containers import tfrecord
from medzoo.data.containers.tfrecord import mask_checksum, read_tfrecords
from medzoo.errors import DataError

Value = bytes | str | int | float | Sequence[int] | Sequence[float] | Sequence[bytes]
PNG = b"\x89PNG" + bytes(range(256)) * 20


def encode_varint(number: int) -> bytes:
    number &= 2**64 - 1
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def encode_message(field: int, content: bytes) -> bytes:
    return encode_varint(field << 3 | 2) + encode_varint(len(content)) + content


def encode_feature(value: Value, packed: bool = True) -> bytes:
    values = [value] if isinstance(value, bytes | str | int | float) else list(value)
    first = values[0] if values else 0
    if isinstance(first, bytes | str):
        texts = [text.encode() if isinstance(text, str) else text for text in values]  # type: ignore[union-attr]
        return encode_message(1, b"".join(encode_message(1, text) for text in texts))  # type: ignore[arg-type]
    if isinstance(first, float):
        return encode_message(2, encode_message(1, struct.pack(f"<{len(values)}f", *values)))
    numbers = [encode_varint(number) for number in values]  # type: ignore[arg-type]
    if packed:
        return encode_message(3, encode_message(1, b"".join(numbers)))
    return encode_message(3, b"".join(encode_varint(1 << 3) + number for number in numbers))


def encode_example(features: Mapping[str, Value], packed: bool = True) -> bytes:
    entries = b"".join(
        encode_message(1, encode_message(1, name.encode()) + encode_message(2, encode_feature(value, packed)))
        for name, value in features.items()
    )
    return encode_message(1, entries)


def write_records(path: Path, *examples: Mapping[str, Value] | bytes, packed: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        for example in examples:
            content = example if isinstance(example, bytes) else encode_example(example, packed)
            length = struct.pack("<Q", len(content))
            stream.write(length + struct.pack("<I", mask_checksum(length)) + content + bytes(4))
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_images_are_read_in_place(tmp_path: Path, packed: bool) -> None:
    examples = [
        {
            "height": 7,
            "image/encoded": PNG + bytes([row]),
            "image/class/label": row % 2,
            "patient_id": f"p{row // 2}",
        }
        for row in range(4)
    ]
    path = write_records(tmp_path / "pets.tfrecord", *examples, packed=packed)
    listing = read_tfrecords(path)
    assert listing.name == "pets"
    assert listing.table.to_dict("list") == {
        "id": [f"pets.tfrecord/{row}" for row in range(4)],
        "label": ["0", "1", "0", "1"],
        "patient": ["p0", "p0", "p1", "p1"],
    }
    assert listing.bundle is not None
    assert listing.bundle.blobs is None
    assert listing.bundle.read([3, 0]) == [PNG + b"\x03", PNG + b"\x00"]


@pytest.mark.parametrize(
    ("features", "label"),
    [
        ({"image": PNG, "label": "cat"}, "cat"),
        ({"image_raw": PNG, "class": -3}, "-3"),
        ({"jpeg": PNG, "target": 1.0}, "1"),
        ({"image/encoded": PNG, "image": b"", "image/class/label": 5, "image/class/text": "cat"}, "cat"),
        ({"image/encoded": PNG, "image/class/text": "cät"}, "cät"),
        ({"image": PNG, "label": [], "target": 2**40}, str(2**40)),
    ],
)
def test_features_are_recognised(tmp_path: Path, features: Mapping[str, Value], label: str) -> None:
    listing = read_tfrecords(write_records(tmp_path / "a.tfrec", features))
    assert listing.table["label"].tolist() == [label]
    assert listing.bundle is not None
    assert listing.bundle.read([0]) == [PNG]


def test_own_ids_are_kept_where_they_are_unique(tmp_path: Path) -> None:
    def list_ids(*names: str) -> list[str]:
        examples = [{"image": PNG, "target": 0, "image_name": name} for name in names]
        ids: list[str] = read_tfrecords(write_records(tmp_path / "a.tfrec", *examples)).table["id"].tolist()
        return ids

    assert list_ids("ISIC_1", "ISIC_2") == ["ISIC_1", "ISIC_2"]
    assert list_ids("ISIC_1", "ISIC_1") == list_ids("ISIC_1", "") == ["a.tfrec/0", "a.tfrec/1"]


@pytest.mark.parametrize(
    ("labels", "classes", "marks"),
    [
        ([[1, 0, 1], [0, 0, 0]], ("0", "1", "2"), [[1, 0, 1], [0, 0, 0]]),
        ([[1.0, float("nan")], [0.0, 1.0]], ("0", "1"), [[1, np.nan], [0, 1]]),
        ([[3, 7], [7]], ("3", "7"), [[1, 1], [0, 1]]),
        ([[b"mass", b"cyst"], [b"cyst"]], ("cyst", "mass"), [[1, 1], [1, 0]]),
    ],
)
def test_several_labels_become_marks(
    tmp_path: Path, labels: Sequence[Value], classes: tuple[str, ...], marks: list[list[float]]
) -> None:
    path = write_records(tmp_path / "a.tfrec", *({"image": PNG, "label": label} for label in labels))
    listing = read_tfrecords(path)
    assert listing.classes == classes
    assert listing.marks is not None
    np.testing.assert_array_equal(listing.marks, np.array(marks, np.float32))


def test_one_hot_rows_are_classes(tmp_path: Path) -> None:
    examples = [{"image": PNG, "label": [0, 1]}, {"image": PNG, "label": [1, 0]}]
    listing = read_tfrecords(write_records(tmp_path / "a.tfrec", *examples))
    assert listing.marks is None
    assert listing.table["label"].tolist() == ["1", "0"]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train-00000-of-00002.tfrecord", "validation.tfrecord"], ["train", "validation"]),
        (["test01-687.tfrec", "train00-2071.tfrec", "train01-2071.tfrec"], ["test", "train", "train"]),
        (["x_val.tfrecord-00000-of-00001", "x_train.tfrecord-00000-of-00001"], ["train", "validation"]),
        (["dev/a.tfrecords", "train/a.tfrecords"], ["validation", "train"]),
        (["a.tfrec", "b.tfrec"], None),
        (["train1.tfrec", "train2.tfrec"], None),
    ],
)
def test_splits_are_named_by_the_files(tmp_path: Path, names: list[str], splits: list[str] | None) -> None:
    for name in (*names, ".hidden.tfrec"):
        write_records(tmp_path / "set" / name, {"image": PNG + name.encode(), "label": 1})
    (tmp_path / "set/readme.txt").write_text("text")
    listing = read_tfrecords(tmp_path / "set")
    assert listing.name == "set"
    ordered = sorted(names)
    assert listing.table["id"].tolist() == [f"{name}/0" for name in ordered]
    assert listing.bundle is not None
    assert listing.bundle.read(range(len(names))) == [PNG + name.encode() for name in ordered]
    assert (listing.table["split"].tolist() if "split" in listing.table else None) == splits
    assert bool(listing.notes) == (names[0] == "train1.tfrec")


def test_files_of_some_splits_are_refused(tmp_path: Path) -> None:
    for name in ("train.tfrec", "test.tfrec", "more.tfrec"):
        write_records(tmp_path / name, {"image": PNG, "label": 1})
    with pytest.raises(DataError, match=r"more.tfrec names no split, other files do"):
        read_tfrecords(tmp_path)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "holds no records"),
        ([{"image": PNG}], "record 0 has no label, only 'image'"),
        ([{"label": 1}], "record 0 holds 'label'; expected an encoded image"),
        ([{"image": [1, 2, 3], "label": 1}], "expected an encoded image"),
        ([{"image": [PNG, PNG], "label": 1}], "expected an encoded image"),
        ([{"image": PNG, "label": 1}, b""], "record 1 holds nothing"),
        ([b"\x0a\x7fabc"], r"record 0 is no tf.train.Example \(a field is cut off\)"),
        ([b"\x0a\xff"], "record 0 is no tf.train.Example"),
        ([b"text that is no message at all"], "record 0"),
        ([{"image": PNG, "label": b"\xff"}], "not UTF-8"),
        ([{"image": PNG, "label": 0.5}], "a whole number"),
        ([{"image": PNG, "label": [0.5, 1.0]}], "whole numbers"),
    ],
)
def test_other_records_are_refused(
    tmp_path: Path, examples: Sequence[Mapping[str, Value] | bytes], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_tfrecords(write_records(tmp_path / "a.tfrec", *examples))


def test_broken_files_are_refused(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.tfrec", *[{"image": PNG, "label": 1}] * 3)
    whole = path.read_bytes()
    for size in (1, 11, 100, len(whole) // 3 + 1, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"ends within record \d; .*fetching it again"):
            read_tfrecords(path)
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(DataError, match="record 0 has a wrong checksum"):
        read_tfrecords(path)
    path.write_bytes(gzip.compress(whole))
    with pytest.raises(DataError, match=r"is compressed; .*gunzip"):
        read_tfrecords(path)
    with pytest.raises(DataError, match="cannot read"):
        read_tfrecords(tmp_path / "none.tfrec")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no TFRecord files"):
        read_tfrecords(tmp_path / "empty")


def test_damage_never_ends_in_another_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfrecord, "mask_checksum", lambda content: 0)
    features = {
        "image": PNG[:200],
        "label": [0, 1],
        "patient_id": "p",
        "image/class/text": "cat",
        "target": 1.0,
    }
    content = encode_example(features)
    rng = np.random.default_rng(0)
    for _ in range(500):
        broken = np.frombuffer(content, np.uint8).copy()
        broken[rng.integers(0, len(content), 3)] = rng.integers(0, 256, 3)
        data = broken.tobytes()
        (tmp_path / "a.tfrec").write_bytes(struct.pack("<QI", len(data), 0) + data + bytes(4))
        try:
            listing = read_tfrecords(tmp_path / "a.tfrec")
            assert listing.bundle is not None
            listing.bundle.read([0])
        except DataError:
            pass


def test_what_tensorflow_writes(tmp_path: Path) -> None:
    import tensorflow as tf

    def number(*values: int) -> object:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def text(value: bytes) -> object:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    path = str(tmp_path / "a.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for row in range(5):
            features = {
                "image/encoded": text(PNG * row + b"x"),
                "image/class/label": number(row - 2),
                "size": number(9, -9),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    listing = read_tfrecords(Path(path))
    assert listing.table["label"].tolist() == ["-2", "-1", "0", "1", "2"]
    assert listing.bundle is not None
    assert listing.bundle.read(range(5)) == [PNG * row + b"x" for row in range(5)]
    write_records(tmp_path / "b.tfrecord", {"a": [-1, 300], "b": [0.5, 2.0], "c": [b"x", b"y"]}, packed=False)
    content = (tmp_path / "b.tfrecord").read_bytes()[12:-4]
    parsed = tf.train.Example.FromString(content).features.feature  # what these tests write is what it reads
    assert list(parsed["a"].int64_list.value) == [-1, 300]
    assert list(parsed["b"].float_list.value) == [0.5, 2.0]
    assert list(parsed["c"].bytes_list.value) == [b"x", b"y"]
