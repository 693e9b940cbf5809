"""Corruptions: the parameters that are stated, draws that nothing else moves, and every way that images are stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from dicom_files import encode
from hypothesis import given
from hypothesis import strategies as st
from pictures import collect
from PIL import Image
from scipy.ndimage import gaussian_filter

from medzoo.contracts import find_preprocessing
from medzoo.data.containers.arrays import dataset_from_arrays
from medzoo.data.corruptions import (
    BLUR,
    CONTRAST,
    CORRUPTIONS,
    JPEG,
    NOISE,
    STRENGTHS,
    Corruption,
    corrupt_dataset,
)
from medzoo.data.dataset import Dataset
from medzoo.data.feeding.cache import find_cached
from medzoo.data.open import open_dataset
from medzoo.data.phantom import make_phantom
from medzoo.errors import ConfigError, DataError

KINDS = tuple(CORRUPTIONS)


def draw(shape: tuple[int, ...] = (40, 30, 3), seed: int = 0) -> np.ndarray:
    """Draw a smooth picture of 8 bits."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = gaussian_filter(noise, (3, 3, 0))
    return (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


@pytest.mark.parametrize("name", KINDS)
def test_the_image_and_its_id_decide_and_nothing_else(name: str) -> None:
    image = draw()
    first = Corruption(name, 3).apply(image, "a")
    assert first.dtype == np.float32
    assert first.shape == image.shape
    assert 0 <= first.min() <= first.max() <= 255
    np.testing.assert_array_equal(Corruption(name, 3).apply(image, "a"), first)
    is_random = name in ("noise", "intensity")
    assert np.array_equal(Corruption(name, 3).apply(image, "b"), first) != is_random
    assert np.array_equal(Corruption(name, 3, seed=1).apply(image, "a"), first) != is_random


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_every_step_is_further_from_the_image(name: str, channels: int) -> None:
    image = draw((224, 224, channels))
    gaps = [np.abs(Corruption(name, strength).apply(image, "a") - image).mean() for strength in STRENGTHS]
    assert gaps[0] > 0.1
    assert all(first < second for first, second in pairwise(gaps))


@pytest.mark.parametrize("strength", STRENGTHS)
def test_strengths_are_those_stated(strength: int) -> None:
    grey = np.full((224, 224, 1), 127.5, np.float32)
    noise = Corruption("noise", strength).apply(grey, "a") / 255 - 0.5
    inside = np.abs(noise) < 0.4999  # the rest was cut off at black or white
    expected = np.clip(np.random.default_rng(0).normal(0, NOISE[strength - 1], 10**5), -0.5, 0.5)
    assert noise.std() == pytest.approx(expected.std(), rel=0.02)
    assert inside.mean() == pytest.approx((np.abs(expected) < 0.4999).mean(), abs=0.02)

    image = draw((448, 500, 3))
    wanted = gaussian_filter(image.astype(np.float64), (2 * BLUR[strength - 1],) * 2 + (0,), mode="nearest")
    np.testing.assert_allclose(Corruption("blur", strength).apply(image, "a"), wanted, atol=0.01)

    mean = image.mean(axis=(0, 1))
    wanted = mean + CONTRAST[strength - 1] * (image - mean)
    np.testing.assert_allclose(Corruption("contrast", strength).apply(image, "a"), wanted, atol=0.01)

    Image.fromarray(image).save(file := BytesIO(), "JPEG", quality=JPEG[strength - 1])
    np.testing.assert_allclose(
        Corruption("jpeg", strength).apply(image, "a"), np.asarray(Image.open(file)), atol=1e-3
    )


def test_grain_grows_with_the_picture() -> None:
    noise = Corruption("noise", 1).apply(np.full((448, 672, 1), 100.0), "a")[..., 0]
    blocks = noise.reshape(224, 2, 336, 2)
    assert np.ptp(blocks, axis=(1, 3)).max() == 0  # each grain is 2 × 2 pixels
    assert len(np.unique(noise)) > 40_000


def test_a_change_of_intensity_makes_no_edge() -> None:
    ramp = np.tile(np.linspace(30, 90, 64)[None, :, None], (64, 1, 1))
    for image_id in "abcdef":
        changed = Corruption("intensity", 5).apply(ramp, image_id)[..., 0]
        assert changed.max() < 255  # beyond it values are cut off
        for axis in (0, 1):
            assert np.abs(np.diff(changed, n=2, axis=axis)).max() < 1
        assert np.abs(changed - ramp[..., 0]).mean() > 5


@given(st.floats(-1e3, 1e3), st.floats(0.1, 1e3), st.sampled_from(KINDS), st.integers(1, 5))
def test_units_mean_nothing(low: float, span: float, name: str, strength: int) -> None:
    """A change of the range's units, such as 0…1 for 0…255, changes the result by the same."""
    image = draw((12, 10, 1)).astype(np.float64)
    plain = Corruption(name, strength).apply(image, "a")
    other = Corruption(name, strength, low=low, high=low + span).apply(low + image / 255 * span, "a")
    # A grey level of JPEG may round to its neighbour: then a block changes.
    np.testing.assert_allclose((other - low) / span * 255, plain, atol=60 if name == "jpeg" else 0.5)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"there is no corruption 'nosie'.*noise"):
        Corruption("nosie", 1)
    with pytest.raises(ConfigError, match="strength 6"):
        Corruption("noise", 6)
    with pytest.raises(ConfigError, match="seed -1"):
        Corruption("noise", 1, seed=-1)
    volumes = dataset_from_arrays(np.zeros((12, 4, 4, 4, 1), np.uint8), [0, 1] * 6)
    with pytest.raises(DataError, match="volumes"):
        corrupt_dataset(volumes, "noise", 1)
    phantom = make_phantom(counts={"train": 2, "validation": 2, "test": 2})
    with pytest.raises(DataError, match="every pixel is 0"):
        corrupt_dataset(replace(phantom, images=np.zeros_like(phantom.images)), "noise", 1)


def read(dataset: Dataset, cache: str = "off") -> np.ndarray:
    """Read a data set's images as they are decoded, at their own size."""
    images, _ = collect(dataset, image_size=dataset.size[0], channels=dataset.channels, cache=cache)
    return images


def expect(dataset: Dataset, images: np.ndarray, name: str, strength: int) -> np.ndarray:
    """Corrupt decoded images (n, h, w, c) one by one."""
    kind = Corruption(name, strength)
    return np.stack([kind.apply(image, key) for image, key in zip(images, dataset.table["id"], strict=True)])


@pytest.mark.parametrize("name", KINDS)
def test_arrays_and_files_are_corrupted_before_anything_else(
    name: str, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    for number in range(8):
        write_image(f"set/{'ab'[number % 2]}/{number}.png", "RGB", (16, 16), seed=number)
    files = open_dataset(tmp_path / "set")
    decoded = read(files)
    wanted = expect(files, decoded, name, 4)
    for stored in (files, replace(files, decoder="reader")):
        got = read(corrupt_dataset(stored, name, 4))
        np.testing.assert_array_equal(got, wanted)
    arrays = replace(files, images=decoded.astype(np.uint8), paths=())
    for cache in ("off", "memory", "disk"):
        got = read(corrupt_dataset(arrays, name, 4), cache)
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(arrays.images, decoded)  # what is stored is as it was


def test_a_part_of_the_data_is_corrupted_alike(tmp_path: Path) -> None:
    phantom = make_phantom(counts={"train": 4, "validation": 4, "test": 8})
    whole = corrupt_dataset(phantom, "noise", 2)
    every = read(whole)
    part = read(whole.take(np.array([11, 3])))
    np.testing.assert_array_equal(part, every[[11, 3]])
    assert (whole.corruption.low, whole.corruption.high) == (phantom.images.min(), phantom.images.max())
    assert every.max() > 2  # in the data's own units, not in 0…255
    plain = read(phantom)
    assert (every - plain).std() == pytest.approx(0.12 * np.ptp(phantom.images), rel=0.1)


def test_sixteen_bits_of_dicom_keep_their_fractions(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (16, 16)).astype(np.uint16)
    for number in range(6):
        folder = tmp_path / "set" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.dcm").write_bytes(encode(values + number))
    dataset = open_dataset(tmp_path / "set")
    decoded = read(dataset)
    got = read(corrupt_dataset(dataset, "contrast", 1))
    np.testing.assert_allclose(got, expect(dataset, decoded, "contrast", 1), atol=1e-4)
    assert (got != np.round(got)).any()


def test_a_cached_file_is_of_one_corruption() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    dataset = dataset_from_arrays(pixels, [0, 1] * 6)
    contract = find_preprocessing("raw")
    kinds = [
        dataset,
        *(corrupt_dataset(dataset, name, strength) for name, strength in (("noise", 1), ("noise", 2))),
    ]
    kinds.append(corrupt_dataset(dataset, "noise", 1, seed=1))
    assert len({find_cached(kind, (8, 8), 1, contract) for kind in kinds}) == 4
