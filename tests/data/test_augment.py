from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from medzoo.data.feeding import image_operations
from medzoo.data.feeding.augment import (
    RECIPES,
    WORDS,
    Flips,
    describe_augment,
    fit_size,
    make_augment,
)
from medzoo.errors import ConfigError

SIZE = (24, 20)
NAMES = [name for name in RECIPES if name != "none"]
SEEDS = np.array([[0, 0], [0, 1], [1, 0], [7, -3], [0, 0]] + [[2, n] for n in range(40)], np.int32)


def _images(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Smooth pictures of fractions within 0…255, so that an interpolation is not all noise."""
    grid = np.meshgrid(*(np.arange(side) for side in shape[:-1]), indexing="ij")
    phases = np.random.default_rng(seed).uniform(0, 6, shape[-1])
    waves = [127.5 + 127 * np.sin(sum(0.3 * axis for axis in grid) + phase) for phase in phases]
    return np.stack(waves, axis=-1).astype(np.float32)


def _run(
    name: str, image: np.ndarray, seeds: np.ndarray = SEEDS, calls: int = 2, **options: Any
) -> np.ndarray:
    size = options.pop("size", SIZE)
    augment = make_augment(name, size=size, **options)
    assert augment is not None
    made = tf.data.Dataset.from_tensor_slices(seeds).map(
        lambda seed: augment(tf.constant(image), seed), num_parallel_calls=calls
    )
    return np.stack(list(made.as_numpy_iterator()))


def _picture(name: str, channels: int) -> np.ndarray:
    return _images((*fit_size(name, SIZE), channels))


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides_an_image_and_keeps_its_fractions(name: str, channels: int) -> None:
    picture = _picture(name, channels)
    made = _run(name, picture)
    assert made.dtype == np.float32
    assert made.shape == (len(SEEDS), *SIZE, channels)
    assert np.array_equal(made[0], made[4])  # the same seed
    assert np.array_equal(made, _run(name, picture, calls=7))
    assert len({image.tobytes() for image in made}) > len(SEEDS) / 3  # a crop has few places and two sides
    for image in made[:3]:
        assert not np.array_equal(image, made[3])
    assert made.min() >= 0
    assert made.max() <= 255
    assert np.mean(made != np.round(made)) > 0.6  # the rest is borders, and what ran into the range's ends


@pytest.mark.parametrize("name", NAMES)
def test_sixteen_bit_steps_survive_a_mixed_policy(name: str) -> None:
    picture = _picture(name, 1)
    wanted = _run(name, picture)
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        made = _run(name, picture)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert np.array_equal(made, wanted)
    assert np.mean(made != made.astype(np.float16)) > 0.5


def _digest() -> str:
    """Digest what every recipe makes of a picture, of noise so that any draw shows."""
    digest = hashlib.sha256()
    for name in NAMES:
        digest.update(_run(name, _picture(name, 3)[..., ::-1]).tobytes())
    return digest.hexdigest()


@pytest.mark.slow
def test_another_process_makes_the_same_images() -> None:
    code = "from tests.data.test_augment import _digest; print(_digest())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": "."},
    )
    assert run.stdout.split()[-1] == _digest()


def test_seeds_of_both_signs_are_one() -> None:
    picture = _picture("medical", 1)
    assert np.array_equal(_run("medical", picture), _run("medical", picture, SEEDS.view(np.uint32)))


@pytest.mark.parametrize("flips", ["none", "horizontal", "both"])
def test_flips_are_those_asked_for(flips: Flips) -> None:
    picture = np.random.default_rng(0).uniform(0, 255, (36, 30, 2)).astype(np.float32)
    made = _run("bit", picture, size=(29, 24), flips=flips)  # cut from 36 by 30
    windows = {
        (picture[top : top + 29, left : left + 24][::down, ::across].tobytes()): (down, across, top, left)
        for top in range(8)
        for left in range(7)
        for down in (1, -1)
        for across in (1, -1)
    }
    found = {windows[image.tobytes()] for image in made}  # whole pixels, and nothing else
    across = {1} if flips == "none" else {1, -1}
    down = {1, -1} if flips == "both" else {1}
    assert {place[:2] for place in found} == {(one, other) for one in down for other in across}
    assert len({place[2:] for place in found}) > 15  # of 45 images at 56 places


def test_a_recipe_without_flips_draws_the_same_warps() -> None:
    even = np.full((*SIZE, 1), 100, np.float32)  # which a flip leaves, and a warp borders with black
    assert np.array_equal(_run("light", even, flips="none"), _run("light", even, flips="horizontal"))


@pytest.mark.parametrize("name", ["light", "medical", "randaugment"])
def test_borders_are_black(name: str) -> None:
    white = np.full((*SIZE, 1), 255, np.float32)
    made = _run(name, white)
    assert {0.0, 255.0} <= set(np.unique(made))


def test_the_darkest_value_declared_is_the_border() -> None:
    picture = (_images((*SIZE, 1)) - 100) * 8
    bright = np.full((*SIZE, 1), 1000, np.float32)
    for value_range in ((-1000.0, 1500.0), None):
        made = _run("medical", picture, value_range=value_range)
        ends = value_range or (picture.min(), picture.max())
        assert made.min() >= ends[0]
        assert made.max() <= ends[1]
        assert np.ptp(made) > 0.5 * np.ptp(picture)
    assert _run("light", bright, value_range=(-1000.0, 1500.0)).min() == -1000
    assert (_run("light", bright, value_range=None) == 1000).all()  # no range, and one value
    # What ranges declare is a matter of units only.
    made = _run("medical", picture, value_range=(-1000.0, 1500.0))
    same = _run("medical", (picture + 1000) / 2500 * 255)
    np.testing.assert_allclose((made + 1000) / 2500 * 255, same, atol=0.01)


def _sample(image: np.ndarray, x: float, y: float) -> float:
    """Interpolate an image (h, w) at one place, 0 beyond its borders."""
    total = 0.0
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                total += image[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


@pytest.mark.parametrize(
    "numbers",
    [(0, 0, 0, 0, 0, 0), (0.3, 0, 0, 0, 0, 0), (0, 0.1, -0.2, 0, 0, 0.2), (0.2, 0.1, 0.05, 0.1, -0.2, -0.1)],
    ids=str,
)
def test_a_warp_is_its_formula(numbers: tuple[float, ...]) -> None:
    image = _images((11, 15, 1))
    angle, down, right, shear_down, shear_right, zoom = numbers
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1, shear_right], [shear_down, 1]]) / np.exp(zoom)
    middle = np.array([7.0, 5.0])
    wanted = np.zeros((11, 15))
    for y in range(11):
        for x in range(15):
            place = matrix @ (np.array([x, y]) - middle - [right * 15, down * 11]) + middle
            wanted[y, x] = _sample(image[..., 0], *place)
    made = image_operations.warp(tf.constant(image), tf.constant(numbers, tf.float32)).numpy()
    np.testing.assert_allclose(made[..., 0], wanted, atol=0.01)
    if numbers[0] == numbers[3] == numbers[4] == 0:
        straight = image_operations.shift_and_zoom(
            tf.constant(image), tf.constant(numbers, tf.float32)
        ).numpy()
        inside = made != 0  # the border itself is blended by one and cut by the other
        np.testing.assert_allclose(straight[2:-2, 4:-4], made[2:-2, 4:-4], atol=0.01)
        assert ((straight != 0) <= inside).all()


def test_rotations_stay_within_ten_degrees() -> None:
    """A line through the middle leaves the square's side where its angle says."""
    line = np.zeros((61, 61, 1), np.float32)
    line[30] = 255
    angles = []
    for image in _run("medical", line, size=61)[..., 0]:
        rows, columns = np.nonzero(image > 100)
        if len(set(columns)) > 30:
            angles.append(abs(np.degrees(np.arctan(np.polyfit(columns, rows, 1)[0]))))
    assert len(angles) > 30
    assert 7 < max(angles) < 10.5


@pytest.mark.parametrize("kind", image_operations.GREY_VALUES)
def test_an_operation_obeys_its_seed_and_changes_values_alone(kind: str) -> None:
    operation = image_operations.make_operation(kind, 0.4)
    picture = _images((*SIZE, 3)) * 0.6 + 20
    made = [operation(tf.constant(picture), tf.constant(seed)).numpy() for seed in SEEDS]
    assert np.array_equal(made[0], made[4])
    changed = [not np.array_equal(image, picture) for image in made]
    if kind == "noise":
        assert 0.05 < np.mean(changed) < 0.5
    else:
        assert all(changed)
    if kind == "stretch":  # nothing is drawn
        assert made[0].min() == 0
        assert made[0].max() == pytest.approx(255)
    if kind == "contrast":  # it rises and falls
        spreads = [image.std() / picture.std() for image in made]
        assert min(spreads) < 0.8
        assert max(spreads) > 1.2
    if kind == "brightness":
        shifts = [(image - picture).mean() for image in made]
        assert min(shifts) < -20
        assert max(shifts) > 20


def test_randaugment_grows_with_its_magnitude() -> None:
    picture = _picture("randaugment", 3)
    changes = [
        np.abs(_run("randaugment", picture, magnitude=magnitude, flips="none") - picture).mean()
        for magnitude in (1, 5, 10)
    ]
    assert changes == sorted(changes)
    assert changes[0] * 2 < changes[2]


def test_a_choice_is_of_all_operations() -> None:
    operations = [("brightness", 0.2), ("zoom", 0.2), ("stretch", 1.0)]
    choices = [image_operations.make_choice(some, 1) for some in (operations, *([one] for one in operations))]
    even = tf.constant(_images((*SIZE, 1)) * 0.2 + 20)
    made = tf.data.Dataset.from_tensor_slices(SEEDS).map(
        lambda seed: [choice(even, tf.convert_to_tensor(seed)) for choice in choices]
    )
    seen = set()
    for image, *alone in made.as_numpy_iterator():
        matches = tuple(np.array_equal(image, one) for one in alone)
        assert any(matches)  # what it does is what one of them does, and the same
        seen.add(matches)
    assert {(True, False, False), (False, True, False), (False, False, True)} <= seen


@pytest.mark.parametrize("flips", ["none", "horizontal", "both"])
def test_volumes_are_flipped_and_change_in_brightness(flips: Flips) -> None:
    volume = _images((4, 6, 5, 2))
    seeds = np.concatenate([SEEDS, SEEDS + 100])
    made = _run("light", volume, seeds, size=(4, 6, 5), flips=flips)
    assert made.shape == (len(seeds), 4, 6, 5, 2)
    sides = (1, -1)
    found = set()
    for image in made:
        likeness = {
            (a, b, c): np.corrcoef(image.ravel(), volume[::a, ::b, ::c].ravel())[0, 1]
            for a in sides
            for b in sides
            for c in sides
        }
        found.add(max(likeness, key=lambda key: likeness[key]))
        assert max(likeness.values()) > 0.99
    wanted = {"none": 1, "horizontal": 2, "both": 8}[flips]
    assert len(found) == wanted
    assert all(key[:2] == (1, 1) for key in found) or flips == "both"
    spreads = [image.mean(axis=(1, 2)).std() for image in made]
    assert max(spreads) > 0  # slices keep their differences


def test_nothing_to_do_is_none() -> None:
    assert make_augment("none", size=8) is None
    assert make_augment("none", size=(4, 8, 8)) is None
    assert make_augment("none", size=8, flips="horizontal") is not None


def test_sizes_to_fit_to() -> None:
    assert [fit_size("bit", size) for size in (128, 480, 224, 28, 3)] == [160, 512, 256, 35, 3]
    assert fit_size("bit", (128, 64)) == (160, 80)
    assert fit_size("medical", 224) == 224
    assert fit_size("light", (8, 16, 16)) == (8, 16, 16)


def test_every_recipe_is_described() -> None:
    for name in RECIPES:
        assert describe_augment(name).startswith(name)
    assert describe_augment("medical") == (
        "medical: rotation by up to 10°, shift by up to 5% of each side, zoom by up to 10%, brightness by up to "
        "±10% of the range, contrast by up to ±20%, in one image of five noise of up to 2% of the range, no flips"
    )
    assert describe_augment("bit", "none") == "bit: random crops of a larger image, no flips"
    assert "rotation by up to 3°" in describe_augment("randaugment", magnitude=1)
    assert "left-right flips" in describe_augment("light", volume=True)
    assert set(image_operations.GEOMETRY + image_operations.GREY_VALUES) <= set(WORDS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "heavy"}, "recipe 'heavy' does not exist; expected one of"),
        ({"name": "medicl"}, "expected one of none, light, medical"),
        ({"name": "light", "flips": "vertical"}, "flips 'vertical' do not exist; expected one of"),
        ({"name": "light", "flips": True}, "flips True do not exist"),
        (
            {"name": "bit", "size": (4, 8, 8)},
            "recipe 'bit' is for pictures, not for volumes; expected one of",
        ),
        ({"name": "light", "magnitude": 3}, "'light' has no magnitude; expected it with 'randaugment' alone"),
        (
            {"name": "randaugment", "magnitude": 11},
            "an augmentation magnitude of 11; expected 1 to 10",
        ),
        ({"name": "light", "size": 0}, "an image size of 0"),
        ({"name": "light", "size": (1, 2, 3, 4)}, "image size of"),
    ],
    ids=str,
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_augment(**({"size": 8} | options))


def test_images_of_another_size_are_refused_by_name() -> None:
    augment = make_augment("bit", size=SIZE)
    assert augment is not None
    wanted = (
        r"images of \(24, 20\) for augmentation recipe 'bit'; expected \(30, 25\), which become \(24, 20\)"
    )
    with pytest.raises(ConfigError, match=wanted):
        augment(tf.zeros((*SIZE, 1)), tf.constant([0, 0]))


def test_flips_alone_are_said() -> None:
    assert describe_augment("none") == "none: images as they are"
    assert describe_augment("none", "horizontal").endswith("left-right flips")
