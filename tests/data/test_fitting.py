"""Pictures and volumes meet the input's sides: kernels, proportions, borders and colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import collect, make_arrays, make_units
from PIL import Image

from medzoo.contracts import find_preprocessing
from medzoo.data.dataset import BYTE_RANGE, Dataset
from medzoo.data.feeding.fitting import choose_sides
from medzoo.data.feeding.resampling import resample
from medzoo.errors import DataError

Write = Callable[..., Path]


def test_shrinking_averages_instead_of_skipping() -> None:
    stripes = np.zeros((1, 32, 32, 1), np.uint8)
    stripes[:, :, ::4] = 200
    table = pd.DataFrame({"id": ["0"], "split": ["train"], "label": ["a"]})
    dataset = Dataset("stripes", ("a", "b"), table, 1, (32, 32), BYTE_RANGE, images=stripes)
    images, _ = collect(dataset, image_size=8)
    np.testing.assert_allclose(images[:, :, 1:-1], 50, atol=1e-3)  # sampling alone would miss every stripe


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
    for decoder in ("tensorflow", "reader"):
        one: Any = replace(dataset, decoder=decoder)  # type: ignore[arg-type]
        images, _ = collect(one, image_size=8, preprocessing=replace(find_preprocessing("raw"), fit="pad"))
        assert np.array_equal(images[0, 2:6, :, 0], np.asarray(Image.open(path)))
        assert (images[0, [0, 1, 6, 7]] == -50).all()


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.sampled_from([1, 3]),
    st.sampled_from(["bilinear", "bicubic", "nearest"]),
)
def test_resampling_equals_tensorflows(
    stored: tuple[int, int], sides: tuple[int, int], channels: int, kernel: Any
) -> None:
    image = np.random.default_rng(sum(stored)).uniform(0, 255, (*stored, channels)).astype(np.float32)
    wanted = tf.image.resize(image, sides, method=kernel, antialias=True)
    np.testing.assert_allclose(resample(tf.constant(image), sides, kernel), wanted, atol=1e-3)


@pytest.mark.parametrize("side", [64, 224])
def test_resampling_equals_tensorflows_on_large_pictures(side: int) -> None:
    image = np.random.default_rng(0).uniform(0, 255, (1500, 1100, 1)).astype(np.float32)
    wanted = tf.image.resize(image, (side, side), antialias=True)
    np.testing.assert_allclose(resample(tf.constant(image), (side, side), "bilinear"), wanted, atol=1e-3)


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_volume_is_resampled_along_each_axis(kernel: Any, channels: int) -> None:
    volume = np.random.default_rng(0).uniform(0, 255, (9, 14, 20, channels)).astype(np.float32)
    sides = (6, 7, 31)
    wanted = volume
    for axis, side in enumerate(sides):  # as a picture of that axis by all others
        picture = np.moveaxis(wanted, axis, 0)
        flat = picture.reshape(len(picture), -1, 1)
        resized = tf.image.resize(flat, (side, flat.shape[1]), method=kernel, antialias=True).numpy()
        wanted = np.moveaxis(resized.reshape(side, *picture.shape[1:]), 0, axis)
    np.testing.assert_allclose(resample(tf.constant(volume), sides, kernel), wanted, atol=1e-3)


def test_sides() -> None:
    flat, deep = make_arrays(), make_arrays(size=(4, 5, 6))
    assert choose_sides(flat, 9) == (9, 9)
    assert choose_sides(deep, 9) == (9, 9, 9)
    assert choose_sides(deep, (2, 3, 4)) == (2, 3, 4)
    with pytest.raises(DataError, match="an input of 2×3×4 for images of 2 dimensions"):
        choose_sides(flat, (2, 3, 4))


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("sides", [8, (6, 8, 4)])
def test_a_volume_meets_the_input_as_the_contract_says(fit: str, sides: Any) -> None:
    dataset = make_arrays(3, size=(9, 12, 7))
    assert dataset.images is not None
    rule: Any = {"fit": fit, "interpolation": "nearest"}
    made, _ = collect(dataset, image_size=sides, preprocessing=replace(find_preprocessing("raw"), **rule))
    wanted = choose_sides(dataset, sides)
    assert made.shape == (3, *wanted, 1)
    if fit == "pad":
        scale = min(side / given for side, given in zip(wanted, (9, 12, 7), strict=True))
        inner = [max(1, round(scale * given)) for given in (9, 12, 7)]
        start = [(side - one) // 2 for side, one in zip(wanted, inner, strict=True)]
        inside = np.zeros(wanted, bool)
        inside[tuple(slice(first, first + one) for first, one in zip(start, inner, strict=True))] = True
        assert not made[:, ~inside].any()
        assert made[:, inside].mean() > 100
    else:  # no border is anything but the picture
        assert made.min(axis=(1, 2, 3)).max() < 255
        assert all(made.take(place, axis).any() for axis in (1, 2, 3) for place in (0, -1))


def test_a_volume_of_the_size_stays_bit_for_bit() -> None:
    dataset = make_arrays(4, size=(5, 5, 5))
    made, _ = collect(dataset, image_size=5)
    assert dataset.images is not None
    assert np.array_equal(made, dataset.images)


def test_a_cropped_volume_is_its_middle() -> None:
    volume = np.zeros((1, 16, 16, 16, 1), np.uint8)
    volume[:, 2:14, 2:14, 2:14] = 200
    table = pd.DataFrame({"id": ["0"], "split": ["train"], "label": ["a"]})
    dataset = Dataset("cube", ("a", "b"), table, 1, (16, 16, 16), BYTE_RANGE, images=volume)
    rule: Any = {"fit": "crop", "crop_fraction": 0.75}
    made, _ = collect(dataset, image_size=12, preprocessing=replace(find_preprocessing("raw"), **rule))
    assert (made == 200).all()


@pytest.mark.parametrize("fit", ["squash", "pad"])
@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("first", [(6, 6), (9, 7)])
def test_a_file_of_the_size_stays_bit_for_bit_among_others(
    write_image: Write, fit: Any, kernel: Any, first: tuple[int, int]
) -> None:
    sizes = [first, (6, 6), (5, 8), (6, 6)]
    paths = tuple(write_image(f"{n}.png", "L", size, seed=n) for n, size in enumerate(sizes))
    table = pd.DataFrame({"id": list("0123"), "split": "train", "label": "a"})
    dataset = Dataset("files", ("a", "b"), table, 1, first[::-1], BYTE_RANGE, paths=paths)
    rule = replace(find_preprocessing("raw"), fit=fit, interpolation=kernel)
    images, _ = collect(dataset, preprocessing=rule)
    for row in (1, 3):
        assert np.array_equal(images[row, ..., 0], np.asarray(Image.open(paths[row])))
