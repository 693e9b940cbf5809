"""Batches: labels, units, colours, seeds and epochs, and images compared with their range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from pictures import collect, make_arrays, make_units, read_batches

from medzoo.contracts import LowContrastError, find_preprocessing
from medzoo.data.dataset import Dataset
from medzoo.data.feeding.pipeline import check_images, make_batches, refuse_not_finite
from medzoo.data.phantom import make_phantom
from medzoo.errors import ConfigError, DataError

Write = Callable[..., Path]


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


def test_refusals() -> None:
    with pytest.raises(DataError, match=r"4 input channels for images of 1; expected 1 \(grey\) or 3"):
        collect(make_arrays(), channels=4)
    with pytest.raises(DataError, match="3 input channels for images of 5; expected 5; try --channels 5"):
        collect(make_arrays(channels=5), channels=3)
    with pytest.raises(DataError, match="no images"):
        collect(make_arrays().of_split("test"))


def test_any_number_of_channels_comes_through() -> None:
    dataset = make_arrays(5, channels=5)
    assert dataset.images is not None
    images, _ = collect(
        dataset, channels=5, preprocessing=make_units((1.0, 2.0, 6.0), (0.0, 1.0, 5.0), "bgr")
    )
    np.testing.assert_allclose(images, dataset.images * 3.0 + 2.0, rtol=1e-6)
    smaller, _ = collect(dataset, channels=5, image_size=3)
    assert smaller.shape == (5, 3, 3, 5)


CACHES = ["off", "memory", "disk"]


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("image_size", [6, 5])
def test_order_is_the_tables_or_drawn_anew_from_the_seed(cache: str, image_size: int) -> None:
    dataset = make_arrays(50)

    def read(**options: Any) -> list[list[bytes]]:
        """Give the images of two epochs of seven batches."""
        batches = read_batches(dataset, batch_size=8, image_size=image_size, cache=cache, epochs=2, **options)
        assert [len(images) for images, _ in batches] == [8, 8, 8, 8, 8, 8, 2] * 2
        images = [image.tobytes() for batch, _ in batches for image in batch]
        return [images[:50], images[50:]]

    plain = read(shuffle=False)
    assert plain[0] == plain[1]
    first = read(shuffle=True, seed=1)
    assert first[0] != first[1]
    assert sorted(first[0]) == sorted(first[1]) == sorted(plain[0])
    assert first[0] != plain[0]
    assert read(shuffle=True, seed=1) == first
    assert read(shuffle=True, seed=2) != first


def shake(image: Any, seed: Any) -> Any:
    """Add noise that the seed decides."""
    return image + tf.random.stateless_uniform(tf.shape(image), seed, 0, 50)


def blend(images: Any, targets: Any, seed: Any) -> Any:
    """Mix each image with the one before by a share that the seed decides."""
    share = tf.random.stateless_uniform((), seed)
    return (
        share * images + (1 - share) * tf.roll(images, 1, 0),
        share * targets + (1 - share) * tf.roll(targets, 1, 0),
    )


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("image_size", [6, 5])
@pytest.mark.parametrize(("epoch", "step"), [(0, 2), (1, 0), (1, 4), (2, 1)])
def test_a_stream_that_is_resumed_gives_the_same_batches(
    cache: str, image_size: int, epoch: int, step: int
) -> None:
    dataset = make_arrays(18)
    options: dict[str, Any] = {"shuffle": True, "seed": 5, "augment": shake, "mix": blend, "cache": cache}
    whole = read_batches(dataset, image_size=image_size, epochs=3, **options)
    rest = read_batches(
        dataset, image_size=image_size, first_epoch=epoch, epochs=3 - epoch, first_step=step, **options
    )
    assert len(whole) == 15
    assert len(rest) == 15 - 5 * epoch - step
    for (images, targets), (later, labels) in zip(whole[-len(rest) :], rest, strict=True):
        assert images.tobytes() == later.tobytes()
        assert targets.tobytes() == labels.tobytes()


@pytest.mark.parametrize("cache", CACHES)
def test_an_images_noise_follows_from_seed_epoch_and_row(cache: str) -> None:
    dataset = make_arrays(12, size=(5, 5))  # to 6 pixels
    plain, _ = collect(dataset, cache="off")
    ordered, _ = collect(dataset, augment=shake, cache=cache, epochs=2)
    noise = ordered - np.concatenate([plain, plain])
    assert noise.min() >= 0
    assert noise.max() <= 50
    assert len({one.tobytes() for one in noise.round(3)}) == 24  # no two images share theirs
    by_epoch = [{one.tobytes() for one in part} for part in (ordered[:12], ordered[12:])]
    shuffled, _ = collect(dataset, augment=shake, cache=cache, epochs=2, shuffle=True)
    assert [{one.tobytes() for one in part} for part in (shuffled[:12], shuffled[12:])] == by_epoch
    other, _ = collect(dataset, augment=shake, cache=cache, seed=1)
    assert not np.array_equal(other, ordered[:12])


def test_an_image_that_comes_again_has_another_noise() -> None:
    dataset = make_arrays(5)
    images, labels = collect(dataset, augment=shake, sampler=lambda _: np.array([1, 1, 2, 1]))
    assert len(images) == 4
    assert labels.argmax(axis=1).tolist() == [1, 1, 2, 1]
    assert len({image.tobytes() for image in images}) == 4


def test_augmentation_is_before_and_mixing_after_the_batch_and_both_before_the_contract() -> None:
    dataset = make_arrays(8)
    assert dataset.images is not None
    seen: list[tuple[int | None, ...]] = []

    def brighten(image: Any, _: Any) -> Any:
        seen.append(tuple(image.shape))
        return image + 10

    def swap(images: Any, targets: Any, _: Any) -> Any:
        seen.append(tuple(images.shape))
        return images[::-1], targets * 0.5

    images, targets = collect(
        dataset, preprocessing=make_units((2.0, 2.0, 2.0), (1.0, 1.0, 1.0)), augment=brighten, mix=swap
    )
    wanted = (dataset.images.astype(np.float32) + 10) * 2 + 1
    assert np.array_equal(images, np.concatenate([wanted[3::-1], wanted[:3:-1]]))
    assert (targets.sum(axis=1) == 0.5).all()
    assert set(seen) == {(6, 6, 1), (None, 6, 6, 1)}


def test_augmentation_may_crop_what_is_fitted_larger() -> None:
    dataset = make_arrays(8)
    options: dict[str, Any] = {"augment": lambda image, _: image[2:7, 2:7], "image_size": 5}
    images, _ = collect(dataset, fitted_size=9, **options)
    larger, _ = collect(dataset, image_size=9)
    assert np.array_equal(images, larger[:, 2:7, 2:7])
    plain, _ = collect(dataset, image_size=5, fitted_size=9)  # nothing would crop it
    assert plain.shape == (8, 5, 5, 1)


def test_marks_that_nobody_made_come_through() -> None:
    dataset = make_arrays(5)
    marks = np.array([[1, 0, np.nan], [0, np.nan, 1]], np.float32)[[0, 1, 0, 1, 0]]
    _, targets = collect(replace(dataset, marks=marks))
    np.testing.assert_array_equal(targets, marks)


def test_rows_that_there_are_not_are_refused() -> None:
    with pytest.raises(tf.errors.OpError, match=r"epoch 0 has the rows 0…5; expected rows 0…4"):
        collect(make_arrays(5), sampler=lambda _: np.array([0, 5]))


def test_the_number_of_batches_is_known() -> None:
    options: dict[str, Any] = {"batch_size": 4, "image_size": 6, "channels": 1, "preprocessing": None}
    batches = make_batches(make_arrays(10), shuffle=True, epochs=3, first_step=2, **options)
    assert int(batches.cardinality()) == 7
    assert len(list(batches)) == 7


def test_volumes_come_with_their_depth() -> None:
    dataset = make_arrays(5, size=(4, 5, 6))
    batches = read_batches(dataset, image_size=(3, 4, 5), channels=3, augment=shake, mix=blend)
    assert [images.shape for images, _ in batches] == [(4, 3, 4, 5, 3), (1, 3, 4, 5, 3)]


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


@pytest.mark.parametrize(("epoch", "step"), [(-1, 0), (0, -1), (0, 3), (2, 7)])
def test_a_start_where_an_epoch_has_no_step_is_refused(epoch: int, step: int) -> None:
    dataset = make_arrays()
    size = -(-len(dataset) // 3)
    with pytest.raises(ConfigError, match="step 0 to 2"):
        make_batches(
            dataset,
            batch_size=size,
            image_size=9,
            channels=3,
            preprocessing=None,
            shuffle=True,
            first_epoch=epoch,
            first_step=step,
        )
