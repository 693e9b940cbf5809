from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from medzoo.data.feeding.mixing import draw_beta, make_mix, mix_targets, paste_boxes
from medzoo.errors import ConfigError

NAN = np.nan
TARGETS = np.array([[1, 0, 0], [0, 1, NAN], [0, 1, 1], [1, NAN, 1], [0, 0, 1]], np.float32)


def _mix(
    kind: Any, images: np.ndarray, targets: np.ndarray, seeds: Sequence[tuple[int, int]], alpha: float = 1.0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mix one batch once by each of some seeds."""
    mix = make_mix(kind, alpha)
    assert mix is not None
    mixed = tf.data.Dataset.from_tensor_slices(np.array(seeds, np.int32)).map(
        lambda seed: mix(images, tf.constant(targets), seed), num_parallel_calls=2
    )
    return list(mixed.as_numpy_iterator())


def _levels(count: int, *sides: int) -> np.ndarray:
    """Images of which each is one value, its place: what is mixed of which can be read off."""
    places = np.arange(count, dtype=np.float32).reshape(-1, *[1] * (len(sides) + 1))
    return np.ones((count, *sides, 2), np.float32) * places


@pytest.mark.parametrize("sides", [(12, 9), (5, 6, 7)], ids=str)
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_mixture_is_of_an_image_and_its_partner_and_labels_say_how_much(
    kind: str, sides: tuple[int, ...]
) -> None:
    images, targets = _levels(5, *sides), np.eye(5, dtype=np.float32)
    parts = []
    for made, labels in _mix(kind, images, targets, [(3, number) for number in range(40)]):
        assert made.shape == images.shape
        part = labels[0, 4]
        parts.append(part)
        np.testing.assert_allclose(labels, (1 - part) * targets + part * targets[::-1], atol=1e-6)
        # The labels' part is the one that the pixels show.
        np.testing.assert_allclose(
            made.mean(axis=tuple(range(1, made.ndim))), labels @ np.arange(5), atol=1e-4
        )
        assert np.array_equal(made[2], images[2])  # its own partner, to the bit
        if kind == "cutmix":
            assert set(np.unique(made[0])) <= {0.0, 4.0}
    assert np.ptp(parts) > 0.3
    assert max(parts) <= (0.5 if kind == "mixup" else 1)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_seed_decides_a_mixture(kind: str) -> None:
    images, targets = _levels(4, 8, 8), np.eye(4, dtype=np.float32)
    first, again, other = _mix(kind, images, targets, [(0, 5), (0, 5), (1, 5)])
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_what_is_unknown_of_either_is_unknown_of_the_mixture(kind: str) -> None:
    images = _levels(5, 16, 16)
    for made, labels in _mix(kind, images, TARGETS, [(0, number) for number in range(20)]):
        assert not np.isnan(made).any()
        if 0 < labels[0, 2] < 1:  # something was mixed
            assert np.array_equal(np.isnan(labels), np.isnan(TARGETS) | np.isnan(TARGETS[::-1]))
            break
    else:
        pytest.fail("nothing was mixed")


@pytest.mark.parametrize("part", [0.0, 1.0])
def test_nothing_mixed_masks_nothing(part: float) -> None:
    mixed = mix_targets(tf.constant(TARGETS), tf.constant(TARGETS[::-1]), tf.constant(part)).numpy()
    np.testing.assert_array_equal(mixed, TARGETS[::-1] if part else TARGETS)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_batch_of_one_stays(kind: str) -> None:
    images = np.random.default_rng(0).normal(size=(1, 7, 7, 3)).astype(np.float32)
    for made, labels in _mix(kind, images, TARGETS[3:4], [(0, number) for number in range(5)]):
        assert np.array_equal(made, images)
        np.testing.assert_array_equal(labels, TARGETS[3:4])


def test_a_last_batch_of_unknown_size_is_mixed() -> None:
    mix = make_mix("cutmix", 1.0)
    assert mix is not None
    batches = tf.data.Dataset.from_tensor_slices((_levels(7, 4, 4), np.eye(7, dtype=np.float32))).batch(4)
    shapes = [batch[0].shape[0] for batch in batches.map(lambda x, y: mix(x, y, tf.constant([0, 1])))]
    assert shapes == [4, 3]


@pytest.mark.parametrize("alpha", [0.001, 0.1, 1.0, 8.0])
def test_lambda_is_betas(alpha: float) -> None:
    """Its mean is 1/2 and its variance 1 / (4 (2 alpha + 1)), at any alpha."""
    seeds = tf.data.Dataset.range(4000).map(
        lambda number: draw_beta(alpha, tf.stack([1, tf.cast(number, tf.int32)]))
    )
    drawn = next(seeds.batch(4000).as_numpy_iterator())
    assert np.isfinite(drawn).all()
    assert ((drawn >= 0) & (drawn <= 1)).all()
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(drawn.mean() - 0.5) < 4 * np.sqrt(variance / 4000)
    assert drawn.var() == pytest.approx(variance, rel=0.1)


def test_boxes_lie_anywhere_and_end_at_the_borders() -> None:
    images, partners = tf.zeros((1, 20, 30, 1)), tf.ones((1, 20, 30, 1))
    touched = np.zeros((20, 30))
    for number in range(100):
        made, covered = paste_boxes(images, partners, tf.constant(0.25), tf.constant([0, number]))
        box = made.numpy()[0, ..., 0]
        assert covered.numpy() == pytest.approx(box.mean())
        assert box.mean() <= 0.25
        rows, columns = np.flatnonzero(box.any(axis=1)), np.flatnonzero(box.any(axis=0))
        assert box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        if rows[0] > 0 and rows[-1] < 19 and columns[0] > 0 and columns[-1] < 29:
            assert (len(rows), len(columns)) == (10, 15)  # the root of a quarter, of each side
        touched += box
    assert touched.min() > 0


def test_nothing_to_do_is_none() -> None:
    assert make_mix("none", 0.4) is None
    assert make_mix("mixup", 0) is None


@pytest.mark.parametrize(
    ("kind", "alpha", "message"),
    [
        ("mixpu", 1.0, "mixing 'mixpu' does not exist; expected one of 'mixup'"),
        ("mixup", -1.0, "a mixing alpha of -1.0; expected 0 or a positive number"),
        ("cutmix", NAN, "a mixing alpha of nan"),
        ("cutmix", np.inf, "a mixing alpha of inf"),
    ],
)
def test_refusals(kind: Any, alpha: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_mix(kind, alpha)
