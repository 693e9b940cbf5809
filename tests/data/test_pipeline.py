"""Batches: order, labels, sizes, colours and units, from arrays and from files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from medzoo.contracts import LowContrastError, Preprocessing, find_preprocessing
from medzoo.data.dataset import BYTE_RANGE, Dataset
from medzoo.data.open import open_dataset
from medzoo.data.phantom import make_phantom
from medzoo.data.pipeline import check_images, fits_cache, make_batches, refuse_not_finite
from medzoo.errors import DataError

Write = Callable[..., Path]


def make_units(scale: tuple[float, ...], offset: tuple[float, ...], order: str = "rgb") -> Preprocessing:
    return Preprocessing("units", scale, offset, order)  # type: ignore[arg-type]


def make_arrays(count: int = 10, channels: int = 1, size: tuple[int, int] = (6, 6)) -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (count, *size, channels), dtype=np.uint8)
    table = pd.DataFrame({"id": [str(n) for n in range(count)], "split": "train"})
    table["label"] = ["a", "b", "c", "a", "a"][:count] * (count // 5) if count >= 5 else ["a"] * count
    return Dataset("arrays", ("a", "b", "c"), table, channels, size, BYTE_RANGE, images=images)


def collect(dataset: Dataset, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    defaults = {"batch_size": 4, "image_size": 6, "channels": 1, "preprocessing": None, "shuffle": False}
    batches = list(make_batches(dataset, **(defaults | options)).as_numpy_iterator())
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def test_stored_values_of_the_right_size_come_through_bit_for_bit() -> None:
    phantom = make_phantom(counts={"train": 8, "validation": 2, "test": 2})
    images, labels = collect(
        phantom, image_size=32, preprocessing=make_units((7.0, 7.0, 7.0), (1.0, 1.0, 1.0))
    )
    assert phantom.images is not None
    assert images.tobytes() == phantom.images.tobytes()
    assert np.array_equal(labels.argmax(axis=1), np.arange(12) % 2)


def test_batches_have_the_shapes_and_types_promised() -> None:
    batches = make_batches(
        make_arrays(), batch_size=4, image_size=9, channels=3, preprocessing=None, shuffle=True, seed=1
    )
    image_spec, label_spec = batches.element_spec
    assert (tuple(image_spec.shape), image_spec.dtype.name) == ((None, 9, 9, 3), "float32")
    assert (tuple(label_spec.shape), label_spec.dtype.name) == ((None, 3), "float32")
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert batches.options().autotune.enabled is False


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("image_size", [6, 5])
def test_order_is_the_tables_or_drawn_anew_from_the_seed(cache: bool, image_size: int) -> None:
    dataset = make_arrays(50)

    def read(**options: Any) -> list[list[bytes]]:
        defaults = {
            "batch_size": 8,
            "image_size": image_size,
            "channels": 1,
            "preprocessing": None,
            "cache": cache,
        }
        batches = make_batches(dataset, **(defaults | options))
        return [[image.tobytes() for images, _ in batches for image in images.numpy()] for _ in range(2)]

    plain = read(shuffle=False)
    assert plain[0] == plain[1]
    first = read(shuffle=True, seed=1)
    assert first[0] != first[1]
    assert sorted(first[0]) == sorted(first[1]) == sorted(plain[0])
    assert first[0] != plain[0]
    assert read(shuffle=True, seed=1) == first
    assert read(shuffle=True, seed=2) != first


def test_images_keep_their_labels_when_shuffled() -> None:
    dataset = make_arrays(20)
    assert dataset.images is not None
    where = {image.astype(np.float32).tobytes(): row for row, image in enumerate(dataset.images)}
    images, labels = collect(dataset, shuffle=True, seed=3)
    found = [dataset.classes[label] for label in labels.argmax(axis=1)]
    assert found == [dataset.table["label"][where[image.tobytes()]] for image in images]


def test_units_follow_the_preprocessing() -> None:
    dataset = make_arrays(5, channels=3)
    assert dataset.images is not None
    stored = dataset.images.astype(np.float64)
    units = make_units((0.5, 0.25, 2.0), (-1.0, -2.0, -6.0), "bgr")
    images, _ = collect(dataset, channels=3, preprocessing=units)
    np.testing.assert_allclose(images, stored[..., ::-1] * [0.5, 0.25, 2] + [-1, -2, -6], rtol=1e-6)
    images, _ = collect(dataset, channels=3, preprocessing=replace(units, order="rgb"))
    np.testing.assert_allclose(images, stored * [0.5, 0.25, 2] + [-1, -2, -6], rtol=1e-6)
    grey = make_arrays(5)
    assert grey.images is not None
    images, _ = collect(grey, channels=1, preprocessing=units)
    np.testing.assert_allclose(images, grey.images * (2.75 / 3) - 3.0, rtol=1e-6)


def test_colours_are_repeated_or_weighed() -> None:
    grey = make_arrays(5)
    assert grey.images is not None
    images, _ = collect(grey, channels=3)
    assert np.array_equal(images, np.repeat(grey.images, 3, axis=-1))
    colour = make_arrays(5, channels=3)
    assert colour.images is not None
    images, _ = collect(colour, channels=1)
    # ITU-R BT.601 luminance; TensorFlow's weights have four decimals.
    np.testing.assert_allclose(images[..., 0], colour.images @ np.array([0.2989, 0.587, 0.114]), atol=0.01)


def test_shrinking_averages_instead_of_skipping() -> None:
    stripes = np.zeros((1, 32, 32, 1), np.uint8)
    stripes[:, :, ::4] = 200
    table = pd.DataFrame({"id": ["0"], "split": ["train"], "label": ["a"]})
    dataset = Dataset("stripes", ("a", "b"), table, 1, (32, 32), BYTE_RANGE, images=stripes)
    images, _ = collect(dataset, image_size=8)
    np.testing.assert_allclose(images[:, :, 1:-1], 50, atol=1e-3)  # sampling alone would miss every stripe


@pytest.mark.parametrize(("width", "height"), [(9, 8), (6, 6)])
def test_files_are_decoded_to_their_own_pixels(
    write_image: Write, tmp_path: Path, width: int, height: int
) -> None:
    for number in range(8):
        write_image(f"set/{'ab'[number % 2]}/{number}.png", "RGB", (width, height), seed=number)
    dataset = open_dataset(tmp_path / "set")
    in_graph, labels = collect(dataset, channels=3, cache=True)
    assert np.array_equal(
        labels.argmax(axis=1), [dataset.classes.index(label) for label in dataset.table["label"]]
    )
    with_pillow, _ = collect(replace(dataset, decoder="pillow"), channels=3, cache=False)
    assert np.array_equal(in_graph, with_pillow)
    if (width, height) == (6, 6):
        stored = np.stack([np.asarray(Image.open(path)) for path in dataset.paths])
        assert np.array_equal(in_graph, stored)


@pytest.mark.parametrize(
    ("mode", "channels"),
    [(mode, channels) for mode in ("1", "L", "LA") for channels in (1, 3)]
    + [(mode, 3) for mode in ("P", "RGB", "RGBA")],  # one colour file makes the data set a colour one
)
def test_both_decoders_agree_on_every_mode(write_image: Write, mode: str, channels: int) -> None:
    path = write_image("a.png", mode, (6, 6))
    table = pd.DataFrame({"id": ["0"], "split": ["train"], "label": ["a"]})
    dataset = Dataset("one", ("a", "b"), table, channels, (6, 6), BYTE_RANGE, paths=(path,))
    in_graph, _ = collect(dataset, channels=channels)
    with_pillow, _ = collect(replace(dataset, decoder="pillow"), channels=channels)
    assert np.array_equal(in_graph, with_pillow)


def test_sixteen_bit_and_bmp_files_reach_the_network(write_image: Write, tmp_path: Path) -> None:
    for number in range(8):
        name = f"{number}.png" if number < 4 else f"{number}.bmp"
        write_image(f"set/{'ab'[number % 2]}/{name}", "I;16" if number < 4 else "L", (6, 6), seed=number)
    dataset = open_dataset(tmp_path / "set")
    images, _ = collect(dataset)
    for image, path in zip(images, dataset.paths, strict=True):
        stored = np.asarray(Image.open(path), dtype=np.float32)
        np.testing.assert_array_equal(
            image[..., 0], stored / np.float32(257) if path.suffix == ".png" else stored
        )


def test_refusals() -> None:
    with pytest.raises(DataError, match=r"4 input channels for images of 1; expected 1 \(grey\) or 3"):
        collect(make_arrays(), channels=4)
    with pytest.raises(DataError, match="3 input channels for images of 5; expected 5; try --channels 5"):
        collect(make_arrays(channels=5), channels=3)
    with pytest.raises(DataError, match="no images"):
        collect(make_arrays().of_split("test"))


def test_cache_follows_the_estimate() -> None:
    dataset = make_arrays(10)
    assert fits_cache(dataset, 224, 3)
    assert not fits_cache(dataset, 6, 3)  # nothing to prepare
    assert fits_cache(dataset, 6, 3, "crop")
    assert not fits_cache(dataset, 5000, 3)  # 3 GB


@pytest.mark.parametrize("channels", [1, 3])
def test_real_jpegs_decode_alike(shared_data: Path, channels: int) -> None:
    name, label = ("busi_breast224", "busi_class") if channels == 1 else ("wbc", "wbc_class")
    few = open_dataset(shared_data / name / "manifest.csv", label_column=label).of_split("validation")
    few = replace(few, table=few.table[:6], paths=few.paths[:6])
    in_graph, _ = collect(few, image_size=224, channels=channels)
    with_pillow, _ = collect(replace(few, decoder="pillow"), image_size=224, channels=channels)
    assert np.array_equal(in_graph, with_pillow)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_file_stops_the_pipeline(write_image: Write, suffix: str) -> None:
    path = write_image(f"cut.{suffix}", "L", (64, 64))
    path.write_bytes(path.read_bytes()[:-300])
    table = pd.DataFrame({"id": ["0"], "split": ["train"], "label": ["a"]})
    dataset = Dataset("cut", ("a", "b"), table, 1, (64, 64), BYTE_RANGE, paths=(path,))
    with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid"):
        collect(dataset)


def test_any_number_of_channels_comes_through() -> None:
    dataset = make_arrays(5, channels=5)
    assert dataset.images is not None
    images, _ = collect(
        dataset, channels=5, preprocessing=make_units((1.0, 2.0, 6.0), (0.0, 1.0, 5.0), "bgr")
    )
    np.testing.assert_allclose(images, dataset.images * 3.0 + 2.0, rtol=1e-6)
    smaller, _ = collect(dataset, channels=5, image_size=3)
    assert smaller.shape == (5, 3, 3, 5)


def _photograph(height: int, width: int) -> np.ndarray:
    """Blobs and sharp edges, (height, width, 3) in 0…255."""
    rows, columns = np.mgrid[:height, :width]
    waves = 127 + 90 * np.sin(rows[..., None] / [3, 5, 9]) * np.cos(columns[..., None] / [7, 4, 11])
    waves[height // 3 : height // 2, width // 4 : width // 2] = 255
    waves[height // 2 :, width // 2 : width // 2 + 6] = 0
    return np.clip(waves, 0, 255).astype(np.uint8)


def _resize_with_pillow(image: np.ndarray, width: int, height: int, name: str) -> np.ndarray:
    method = Image.Resampling[name.upper()]
    bands = [
        Image.fromarray(image[..., band].astype(np.float32)).resize((width, height), method)
        for band in range(3)
    ]
    return np.clip(np.stack([np.asarray(band) for band in bands], axis=-1), image.min(), image.max())


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(70, 45), (45, 70), (61, 61), (20, 17)])
@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("is_file", [False, True])
def test_a_picture_meets_the_square_as_the_contract_says(
    tmp_path: Path, interpolation: str, height: int, width: int, fit: str, is_file: bool
) -> None:
    picture = _photograph(height, width)
    table = pd.DataFrame({"id": ["0"], "split": ["train"], "label": ["a"]})
    dataset = Dataset("one", ("a", "b"), table, 3, (height, width), BYTE_RANGE, images=picture[None])
    if is_file:
        Image.fromarray(picture).save(tmp_path / "a.png")
        dataset = replace(dataset, images=None, paths=(tmp_path / "a.png",))
    size = 28
    rule: dict[str, Any] = {"fit": fit, "interpolation": interpolation}
    images, _ = collect(
        dataset, image_size=size, channels=3, preprocessing=replace(find_preprocessing("raw"), **rule)
    )
    if fit == "squash":
        wanted = _resize_with_pillow(picture, size, size, interpolation)
    elif fit == "crop":  # 28 of 32
        shorter = min(height, width)
        whole = _resize_with_pillow(picture, 32 * width // shorter, 32 * height // shorter, interpolation)
        top, left = (round((side - size) / 2) for side in whole.shape[:2])
        wanted = whole[top : top + size, left : left + size]
    else:
        longer = max(height, width)
        sides = round(size * height / longer), round(size * width / longer)
        wanted = np.zeros((size, size, 3))
        top, left = ((size - side) // 2 for side in sides)
        wanted[top : top + sides[0], left : left + sides[1]] = _resize_with_pillow(
            picture, sides[1], sides[0], interpolation
        )
    assert images.shape == (1, size, size, 3)
    np.testing.assert_allclose(images[0], wanted, atol=0.05)


def test_nearest_keeps_the_values_that_there_are() -> None:
    dataset = make_arrays(5, size=(9, 13))
    assert dataset.images is not None
    rule = replace(find_preprocessing("raw"), interpolation="nearest")
    images, _ = collect(dataset, preprocessing=rule)
    assert set(np.unique(images)) <= set(np.unique(dataset.images).astype(np.float32))


def test_padding_leaves_a_square_of_the_size_bit_for_bit() -> None:
    dataset = make_arrays(5)
    assert dataset.images is not None
    images, _ = collect(dataset, preprocessing=replace(find_preprocessing("raw"), fit="pad"))
    assert np.array_equal(images, dataset.images)


@pytest.mark.parametrize(
    ("value_range", "border"),
    [(BYTE_RANGE, 0.0), ((-1000.0, 1000.0), -1000.0), ((20.0, 90.0), 20.0), (None, None)],
    ids=str,
)
@pytest.mark.parametrize("shape", [(8, 4, 1), (4, 8, 1), (8, 4, 3)])
def test_padding_is_the_lowest_value_that_is_declared(
    value_range: tuple[float, float] | None, border: float | None, shape: tuple[int, int, int]
) -> None:
    """Without a declared range it is each image's own lowest."""
    images = np.random.default_rng(1).uniform(30, 80, (2, *shape)).astype(np.float32)
    images[1] += 5
    table = pd.DataFrame({"id": ["0", "1"], "split": "train", "label": ["a", "b"]})
    dataset = Dataset("floats", ("a", "b"), table, shape[-1], shape[:2], value_range, images=images)
    rule: Any = {"fit": "pad", "interpolation": "nearest"}
    contract = replace(make_units((2.0, 2.0, 2.0), (-7.0, -7.0, -7.0)), **rule)
    padded, _ = collect(dataset, image_size=8, channels=shape[-1], preprocessing=contract)
    scale, offset = (2.0, -7.0) if value_range == BYTE_RANGE else (1.0, 0.0)
    first = 8 - shape[0], 8 - shape[1]
    top, left = first[0] // 2, first[1] // 2
    for made, image in zip(padded, images, strict=True):
        wanted = np.full((8, 8, shape[-1]), image.min() if border is None else border, np.float32)
        wanted[top : top + shape[0], left : left + shape[1]] = image
        np.testing.assert_allclose(made, wanted * scale + offset, rtol=1e-6)


def test_padding_of_files_of_another_range_is_the_lowest_value(write_image: Write, tmp_path: Path) -> None:
    path = write_image("a.png", "L", (8, 4))
    table = pd.DataFrame({"id": ["0"], "split": ["train"], "label": ["a"]})
    dataset = Dataset("one", ("a", "b"), table, 1, (4, 8), (-50.0, 300.0), paths=(path,))
    for decoder in ("tensorflow", "pillow"):
        one: Any = replace(dataset, decoder=decoder)  # type: ignore[arg-type]
        images, _ = collect(one, image_size=8, preprocessing=replace(find_preprocessing("raw"), fit="pad"))
        assert np.array_equal(images[0, 2:6, :, 0], np.asarray(Image.open(path)))
        assert (images[0, [0, 1, 6, 7]] == -50).all()


def _check(dataset: Dataset, split: str = "train", **options: Any) -> DataError | None:
    defaults = {
        "count": 8,
        "image_size": 6,
        "channels": 1,
        "preprocessing": find_preprocessing("tf"),
    }
    return check_images(dataset, split, **(defaults | options))


def test_images_within_the_range_pass_and_others_are_named() -> None:
    dataset = make_arrays(20)
    assert dataset.images is not None
    assert _check(dataset) is None
    assert _check(dataset, "test") is None
    for interpolation in ("bilinear", "bicubic"):
        rule: Any = {"interpolation": interpolation}
        assert (
            _check(dataset, image_size=5, preprocessing=replace(find_preprocessing("torch"), **rule)) is None
        )
    small = replace(dataset, images=(dataset.images / 255).astype(np.float32))
    assert str(_check(small)) == (
        "arrays: 8 of 20 train images span -1…-0.9922, pixels of 0…1 before the contract: all but blank, or "
        "scaled to 0…1 or -1…1 before; expected -1…1, input contract tf; try to look at some, and pixels of "
        "0…255 if they were scaled"
    )
    large = replace(dataset, images=dataset.images.astype(np.float32) * 10 - 1000)
    assert "expected -1…1, input contract tf" in str(_check(large))
    assert "expected -1…1, input contract tf" in str(_check(large, image_size=4))


def test_the_images_looked_at_lie_all_over_the_split() -> None:
    dataset = make_arrays(20)
    assert dataset.images is not None
    for wrong in (0, 19):
        images = dataset.images.astype(np.float32)
        images[wrong] = 900
        assert "span" in str(_check(replace(dataset, images=images), count=2))


def test_images_in_the_networks_units_are_left_alone() -> None:
    phantom = make_phantom(counts={"train": 8, "validation": 2, "test": 2})
    assert _check(phantom, image_size=32) is None


def test_another_declared_range_is_held_to() -> None:
    dataset = make_arrays(20)
    assert dataset.images is not None
    images = (dataset.images / 127.5 - 1).astype(np.float32)
    declared = replace(dataset, images=images, value_range=(-1.0, 1.0))
    assert _check(declared) is None
    assert "expected 0…1, the data set's value_range" in str(
        _check(replace(declared, value_range=(0.0, 1.0)))
    )
    assert "input contract caffe" in str(_check(declared, preprocessing=find_preprocessing("caffe")))


def test_borders_count_as_what_reaches_the_network_but_are_no_contrast() -> None:
    dataset = make_arrays(20, size=(8, 4))
    assert dataset.images is not None
    contract = replace(find_preprocessing("tf"), fit="pad")
    assert _check(dataset, image_size=8, preprocessing=contract) is None
    # Pictures within the contract, on borders beyond it.
    images = (dataset.images / 127.5 - 1).astype(np.float32)
    declared = replace(dataset, images=images, value_range=(-1.0, 1.0))
    assert _check(declared, image_size=8, preprocessing=contract) is None
    wide = replace(declared, value_range=(-1000.0, 1000.0))
    assert "span -1000…" in str(_check(wide, image_size=8, preprocessing=contract))
    assert _check(wide, image_size=8) is None
    # White pictures have no contrast of their own.
    white = replace(dataset, images=np.full_like(dataset.images, 250))
    problem = _check(white, image_size=8, preprocessing=contract)
    assert isinstance(problem, LowContrastError)
    assert "pixels of 250…250" in str(problem)


def test_files_of_another_declared_range_are_held_to_it(write_image: Write) -> None:
    path = write_image("a.png", "L", (6, 6))
    table = pd.DataFrame({"id": ["0"], "split": ["train"], "label": ["a"]})
    dataset = Dataset("one", ("a", "b"), table, 1, (6, 6), (0.0, 300.0), paths=(path,))
    raw = find_preprocessing("raw")
    assert _check(dataset, preprocessing=raw) is None
    wrong = _check(replace(dataset, value_range=(0.0, 1.0)), preprocessing=raw)
    assert "expected 0…1, the data set's value_range" in str(wrong)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_image_that_is_not_finite_is_named(value: float) -> None:
    dataset = make_arrays(20)
    assert dataset.images is not None
    refuse_not_finite(dataset, dataset.images)
    images = dataset.images.astype(np.float32)
    images[7:9, 2, 2] = value
    with pytest.raises(DataError, match="arrays: image '7' holds NaN or infinity"):
        refuse_not_finite(dataset, images)
    with pytest.raises(DataError, match="arrays: image '7' holds NaN or infinity"):
        _check(replace(dataset, images=images), count=20)
    with pytest.raises(DataError, match="arrays: image '7' holds NaN or infinity"):
        _check(replace(dataset, images=images, value_range=(0.0, 300.0)), count=20)
