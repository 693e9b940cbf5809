"""Data sets of arrays in memory and of `tf.data`: shapes, ranges, labels, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.data.containers.arrays import dataset_from_arrays, dataset_from_tf_data
from medzoo.data.containers.labels import read_labels
from medzoo.errors import DataError

LABELS = [0, 1] * 15
RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (30, 6, 5), dtype=np.uint8)


@pytest.mark.parametrize(
    ("shape", "size", "channels"),
    [
        ((30, 6, 5), (6, 5), 1),
        ((30, 6, 5, 3), (6, 5), 3),
        ((30, 6, 5, 13), (6, 5), 13),
        ((30, 4, 6, 5, 1), (4, 6, 5), 1),
        ((30, 4, 6, 5, 2), (4, 6, 5), 2),
    ],
)
def test_shapes(shape: tuple[int, ...], size: tuple[int, ...], channels: int) -> None:
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    dataset = dataset_from_arrays(pixels, LABELS)
    assert (dataset.size, dataset.channels, dataset.value_range) == (size, channels, (0.0, 255.0))
    assert dataset.images is not None
    assert dataset.images.dtype == np.uint8
    assert np.array_equal(dataset.images, pixels.reshape(30, *size, channels))
    assert dataset.table["id"].tolist() == [str(row) for row in range(30)]
    assert set(dataset.table["split"]) == {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("pixels", "value_range", "factor", "note"),
    [
        (BYTES, (0, 255), 1, ""),
        (BYTES // 2, (0, 127), 255 / 127, ""),
        (BYTES > 99, "auto", 255, "masks: False is read as 0, True as 255"),
        (BYTES // 128, "auto", 1, "no value is above 1"),
        (BYTES // 128, (0, 1), 255, ""),
        (BYTES.astype(np.int64), "auto", 1, "int64 images of 0 to 255: read as 0…255"),
        (BYTES.astype(np.uint16) * 257, "auto", 1 / 257, "16-bit images: 0…65535 is read as 0…255"),
        (BYTES.astype(np.uint16), "auto", 1 / 257, r"the highest value is 255: value_range=\(0, 4095\)"),
        (BYTES.astype(np.int32) * 200, "auto", 1 / 257, "16-bit images"),
        (BYTES.astype(np.uint16) * 16, (0, 4080), 1 / 16, ""),
        (BYTES / 255, "auto", 255, "float64 images of 0 to 1: 0…1 is read as 0…255"),
        (BYTES.astype(np.float16), "auto", 1, "float16 images of 0 to 255: 0…255 is read as 0…255"),
    ],
)
def test_values_become_0_to_255(pixels: np.ndarray, value_range: Any, factor: float, note: str) -> None:
    dataset = dataset_from_arrays(pixels, LABELS, value_range=value_range)
    assert dataset.value_range == (0.0, 255.0)
    assert dataset.images is not None
    assert dataset.images.dtype in (np.uint8, np.float32)
    np.testing.assert_allclose(dataset.images[..., 0], pixels * np.float64(factor), rtol=2e-6, atol=2e-5)
    about_values = [text for text in dataset.notes if "patients" not in text]
    assert len(about_values) == bool(note)
    assert re.search(note, "".join(about_values))


def test_a_declared_range_may_begin_below_zero() -> None:
    dataset = dataset_from_arrays(BYTES.astype(np.int16) * 4 - 1000, LABELS, value_range=(-1000, 20))
    assert dataset.images is not None
    np.testing.assert_allclose(dataset.images[..., 0], BYTES, atol=1e-4)
    assert dataset.images.min() >= 0


def test_the_networks_own_units_are_left_alone() -> None:
    pixels = RNG.normal(size=(30, 6, 5))
    dataset = dataset_from_arrays(pixels, LABELS, value_range=None)
    assert dataset.value_range is None
    assert dataset.images is not None
    assert np.array_equal(dataset.images[..., 0], pixels.astype(np.float32))


@pytest.mark.parametrize(
    ("labels", "classes", "expected", "names"),
    [
        ([0, 10, 9] * 10, None, ["0", "10", "9"], ("0", "9", "10")),
        ([1, 0] * 15, ["no", "yes"], ["yes", "no"], ("no", "yes")),
        ([True, False] * 15, ["no", "yes"], ["yes", "no"], ("no", "yes")),
        (np.array([[1.0], [0.0]] * 15), ["no", "yes"], ["yes", "no"], ("no", "yes")),
        (["b", "a"] * 15, None, ["b", "a"], ("a", "b")),
        ([b"b", b"a"] * 15, ["b", "a"], ["b", "a"], ("b", "a")),
        ([[0, 1], [1, 0]] * 15, ["no", "yes"], ["yes", "no"], ("no", "yes")),
        ([[0, 0, 1], [1, 0, 0], [0, 1, 0]] * 10, None, ["2", "0", "1"], ("0", "1", "2")),
    ],
)
def test_classes(labels: Any, classes: Any, expected: list[str], names: tuple[str, ...]) -> None:
    dataset = dataset_from_arrays(BYTES, labels, classes=classes)
    assert dataset.exclusive
    assert dataset.table["label"].tolist()[: len(expected)] == expected
    assert dataset.classes == names


def test_several_labels_and_unknown_ones() -> None:
    marks = RNG.integers(0, 2, (30, 3)).astype(np.float64)
    marks[0] = [1, np.nan, 1]
    dataset = dataset_from_arrays(BYTES, marks, classes=["mass", "cyst", "scar"])
    assert not dataset.exclusive
    np.testing.assert_array_equal(dataset.targets, marks)
    assert dataset.table["label"][0] == "mass|scar"
    single = np.eye(3)[np.arange(30) % 3]
    assert dataset_from_arrays(BYTES, single).exclusive
    assert not dataset_from_arrays(BYTES, single, exclusive=False).exclusive


def test_splits_patients_and_groups_are_kept() -> None:
    splits = (["train"] * 4 + ["val"] * 2 + ["Testing"] * 2 + ["unused"] * 2) * 3
    patients = [None, 7.0, "x", b"y", np.nan] * 6
    dataset = dataset_from_arrays(
        BYTES, LABELS, splits=splits, patients=patients, groups={"age": np.arange(30)}, name="a"
    )
    assert list(dataset.table) == ["id", "split", "label", "patient", "age"]
    assert dataset.table["split"].value_counts().to_dict() == {"train": 12, "validation": 6, "test": 6}
    assert dataset.table["patient"].tolist()[:5] == ["", "7", "x", "y", ""]
    assert dataset.table["age"].tolist() == dataset.table["id"].tolist()
    assert dataset.images is not None
    assert np.array_equal(dataset.images[..., 0], BYTES[dataset.table["id"].astype(int)])
    assert "a: 6 images are of no split" in dataset.notes


IMAGE_FAULTS: Mapping[str, tuple[Any, str]] = {
    "none": (None, "the images are a NoneType, no array"),
    "text": ("images.npy", "are a str, no array"),
    "words": (["a"] * 30, "the images are <U1"),
    "ragged": ([np.zeros((2, 2)), np.zeros((3, 2))], "make no array"),
    "flat": (np.zeros((30, 784)), "have the shape"),
    "empty": (np.zeros((0, 6, 5)), "have the shape"),
    "no pixels": (np.zeros((30, 0, 5)), "have the shape"),
    "six axes": (np.zeros((30, 1, 1, 1, 1, 1)), "have the shape"),
    "channels first": (np.zeros((30, 3, 64, 64)), r"channels first; .*try np.moveaxis\(images, 1, -1\)"),
    "complex": (np.zeros((30, 6, 5), complex), "complex128"),
    "nan": (
        np.where(np.arange(30)[:, None, None] == 4, np.nan, BYTES),
        "image 4 has values that are not finite",
    ),
    "infinite": (np.full((30, 6, 5), np.inf), r"image 0 has .*\(30 images have\)"),
    "negative": (BYTES.astype(float) - 128, r"of -128 to 127, which tells no range.*value_range=None"),
    "high": (BYTES * 10.0, "tells no range"),
    "deep": (BYTES.astype(np.int64) * 1000, "tells no range"),
}


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_other_images_are_refused(fault: str) -> None:
    images, message = IMAGE_FAULTS[fault]
    with pytest.raises(DataError, match=message):
        dataset_from_arrays(images, LABELS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [0, 1] * 14}, "28 labels for 30 images"),
        ({"labels": 3}, "the labels are a int, no array"),
        ({"labels": None}, "no array"),
        ({"labels": [0, 0.5] * 15}, "label 1 is 0.5"),
        ({"labels": [0, np.nan] * 15}, "label 1 is nan"),
        ({"labels": [0] * 30}, "1 class"),
        ({"labels": [0, 1, 2] * 10, "classes": ["a", "b"]}, "label 2 for 2 classes; expected 0 to 1"),
        ({"labels": [-1, 1] * 15, "classes": ["a", "b"]}, "label -1 for 2 classes"),
        ({"labels": ["a", "c"] * 15, "classes": ["a", "b"]}, "'c' is not among the classes"),
        ({"labels": ["a", None] * 15}, "label 1 is None"),
        ({"labels": [b"a", b"\xff"] * 15}, "label 1 is not UTF-8"),
        ({"labels": [0, 1e300] * 15, "classes": ["a", "b"]}, r"label 1\d{300} for 2 classes"),
        ({"labels": [[0, 2]] * 30}, "label 1 of image 0 is 2; expected 1, 0 or NaN"),
        ({"labels": [[0, 1, 1]] * 30, "exclusive": True}, "a single 1 in each row"),
        ({"labels": [[0, 1, 1]] * 30, "classes": ["a"]}, "1 classes for rows of 3 labels"),
        ({"labels": [[1, 1]] * 30, "classes": ["a", "b|c"]}, r"a class's name holds '\|'"),
        ({"labels": np.zeros((30, 2, 2))}, r"the labels have the shape \(30, 2, 2\)"),
        ({"classes": "ab"}, "the classes are 'ab'"),
        ({"classes": ["a", "a"]}, "named twice"),
        ({"classes": [0, 1]}, "a list of names"),
        ({"splits": ["train"] * 29}, r"the splits have the shape \(29,\)"),
        ({"splits": ["trian"] * 30}, "image 0 has the split 'trian'; expected one of 'train'"),
        ({"patients": 5}, "no array"),
        ({"groups": ["age"]}, "groups are a list"),
        ({"groups": {"label": LABELS}}, "a group is named 'label'"),
        ({"groups": {"age": [1]}}, r"group 'age' have the shape \(1,\)"),
        ({"value_range": "0-1"}, "value_range='0-1'; expected 'auto', None"),
        ({"value_range": (5, 5)}, "a lower and a higher number"),
        (
            {"value_range": (0, 100)},
            r"values of 0 to 255 for value_range=\(0, 100\).*np.clip\(images, 0, 100\)",
        ),
        ({"value_range": 255}, "value_range=255"),
    ],
)
def test_other_labels_and_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataset_from_arrays(**{"images": BYTES, "labels": LABELS, **options})


def test_a_class_without_images_is_said() -> None:
    dataset = dataset_from_arrays(BYTES, LABELS, classes=["a", "b", "c"])
    assert dataset.classes == ("a", "b", "c")
    assert "arrays: no image of class 'c'" in dataset.notes


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.none(),
        st.text(max_size=3),
        st.lists(
            st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=2), st.binary(max_size=2))
        ),
        st.lists(st.lists(st.floats() | st.integers(-1, 2), max_size=3), max_size=4),
        st.dictionaries(st.integers(), st.integers()),
    ),
    st.integers(0, 4),
)
def test_labels_of_any_kind_are_read_or_refused(labels: Any, count: int) -> None:
    try:
        named = read_labels(labels, count, "x")
    except DataError:
        return
    assert len(named.texts) == count
    assert named.marks is None or named.marks.shape == (count, len(named.classes))


class FakeData:
    """As much of `tf.data.Dataset` as is used."""

    def __init__(
        self, elements: list[Any], image: list[Any], label: list[Any], cardinality: int = -2
    ) -> None:
        self.elements, self.cardinality = elements, lambda: cardinality
        self.element_spec = tuple(
            SimpleNamespace(shape=SimpleNamespace(rank=len(shape), as_list=lambda shape=shape: shape))
            for shape in (image, label)
        )

    def as_numpy_iterator(self) -> Iterator[Any]:
        return iter(self.elements)


def make_batched(pixels: np.ndarray, labels: list[int]) -> FakeData:
    batches = [
        (pixels[start : start + 8], np.array(labels[start : start + 8])) for start in range(0, len(labels), 8)
    ]
    return FakeData(batches, [None, *pixels.shape[1:]], [None])


def test_tf_data_is_read_whole_batched_or_not() -> None:
    single = FakeData([*zip(BYTES, LABELS, strict=True)], [6, 5], [])
    for source in (make_batched(BYTES, LABELS), single):
        dataset = dataset_from_tf_data(source, classes=["no", "yes"])
        assert dataset.images is not None
        assert np.array_equal(dataset.images[..., 0], BYTES)
        assert dataset.table["label"].tolist() == ["no", "yes"] * 15
        assert dataset.name == "tf.data"
    parts = {"train": make_batched(BYTES[:20], LABELS[:20]), "test": make_batched(BYTES[20:], LABELS[20:])}
    assert dataset_from_tf_data(parts).table["split"].value_counts()["test"] == 10


def test_other_tf_data_is_refused() -> None:
    whole = make_batched(BYTES, LABELS)
    with pytest.raises(DataError, match="more than 500 bytes"):
        dataset_from_tf_data(whole, limit=500)
    faults: list[tuple[Any, str]] = [
        (FakeData(whole.elements, [None, 6, 5], [None], cardinality=-1), "never ends"),
        (FakeData([], [None, 6, 5], [None]), "holds no images"),
        (FakeData([(BYTES[:2], np.zeros(3))], [None, 6, 5], [None]), "labels for"),
        (FakeData([(BYTES[0], 1), (BYTES[0, :4], 0)], [None, 5], []), "try resizing them first"),
        (SimpleNamespace(element_spec={"image": 1}, as_numpy_iterator=iter), "elements of"),
        (BYTES, "is a ndarray; .*dataset_from_arrays"),
        (None, "is a NoneType"),
        ({}, "no data set is given"),
        ({"train": None}, "is a NoneType"),
    ]
    for source, message in faults:
        with pytest.raises(DataError, match=message):
            dataset_from_tf_data(source)


def test_real_tf_data() -> None:
    import tensorflow as tf

    colour = np.repeat(BYTES[..., None], 3, axis=-1) / 255
    pairs = tf.data.Dataset.from_tensor_slices((colour, np.eye(2)[LABELS]))
    for source in (pairs, pairs.batch(7)):
        dataset = dataset_from_tf_data(source)
        assert (dataset.classes, dataset.channels, len(dataset)) == (("0", "1"), 3, 30)
        assert dataset.images is not None
        np.testing.assert_allclose(dataset.images[..., 0], BYTES, atol=1e-4)
    with pytest.raises(DataError, match="never ends"):
        dataset_from_tf_data(pairs.repeat())
