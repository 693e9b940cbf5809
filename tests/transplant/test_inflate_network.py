"""From images to volumes by plan: a 3-D ResNet18 of the row's layer names, filled from the 2-D row's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from random_networks import randomize, read_source, transplant

import medzoo
from medzoo import recipes
from medzoo.errors import PlanError
from medzoo.tensors import name_variables
from medzoo.transplant.adaptations import Adaptations

#: A narrow ResNet18: 16 to 128 channels.
ROW = "resnet18_torch+width=0.25"
SIDE = 32

#: Slices that the stem (7) and sixteen convolutions (3 each) see around one: no fewer reach the last of them.
SEEN = 7 + 16 * 2

#: Seventeen layers of float32 sums in another order, over three to seven slices each.
CLOSE = 1e-5


class Volumes:
    """Builds the row for volumes (depth, height, width): depth at stride 1, without padding or with zeros."""

    def __init__(self, pads_depth: bool, width: int = 16) -> None:
        """Take whether slices of zeros lie before and after the volume, and the stem's channels."""
        self.pads_depth, self.width = pads_depth, width

    def convolve(self, features: Any, width: int, size: int, stride: int, name: str) -> Any:
        """Build a convolution padded by half its kernel, and its norm."""
        around = size // 2
        if size > 1:
            features = layers.ZeroPadding3D((around if self.pads_depth else 0, around, around))(features)
        strides = (1, stride, stride)
        features = layers.Conv3D(width, size, strides, use_bias=False, name=f"{name}_conv")(features)
        return layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(features)

    def add_block(self, features: Any, width: int, stride: int, name: str) -> Any:
        """Build a basic block; its shortcut leaves out the slices that the branch has no answer for."""
        shortcut = features
        if stride > 1:
            shortcut = self.convolve(features, width, 1, stride, f"{name}_0")
        branch = layers.ReLU()(self.convolve(features, width, 3, stride, f"{name}_1"))
        branch = self.convolve(branch, width, 3, 1, f"{name}_2")
        lost = (shortcut.shape[1] - branch.shape[1]) // 2
        return layers.ReLU()(layers.Add()([layers.Cropping3D((lost, 0, 0))(shortcut), branch]))

    def build(self, depth: int, classes: int = 4) -> keras.Model:
        """Build the whole network."""
        image = keras.Input((depth, SIDE, SIDE, 3))
        features = layers.ReLU()(self.convolve(image, self.width, 7, 2, "conv1"))
        features = layers.ZeroPadding3D((0, 1, 1))(features)
        features = layers.MaxPooling3D((1, 3, 3), (1, 2, 2))(features)
        for stage in range(2, 6):
            for block in (1, 2):
                stride = 2 if stage > 2 and block == 1 else 1
                features = self.add_block(
                    features, self.width * 2 ** (stage - 2), stride, f"conv{stage}_block{block}"
                )
        # A head for every slice, to see each one's answer.
        pooled = keras.ops.mean(features, axis=(2, 3))
        return keras.Model(image, layers.Dense(classes, name="head")(pooled))


@pytest.fixture(scope="module")
def flat() -> keras.Model:
    """The row itself, with random weights."""
    return randomize(medzoo.build(ROW, classes=4, channels=3, input_size=SIDE), seed=1)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Two images."""
    return np.random.default_rng(2).normal(size=(2, SIDE, SIDE, 3)).astype("float32")


def ask(flat: keras.Model, volume: keras.Model, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give a network's answers to images, and another's to the volumes that repeat each, slice by slice."""
    expected = np.asarray(flat(images))
    assert expected.std() > 0.05
    depth = volume.input_shape[1]
    found = np.asarray(volume(np.repeat(images[:, None], depth, axis=1)))
    return expected[:, None], found


def measure(expected: np.ndarray, found: np.ndarray) -> float:
    """Measure how far answers are apart, in units of the largest."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_the_mean_keeps_the_answer_where_kernels_see_slices_alone(
    flat: keras.Model, images: np.ndarray
) -> None:
    """Without padding along depth every slice that is left agrees with the image's answer."""
    volume = Volumes(pads_depth=False).build(SEEN + 1)
    plan = transplant(flat, volume, Adaptations(inflate="mean"), recipes.inflate())
    assert plan.coverage == 1.0
    kernels = [step for step in plan.steps if len(step.target.shape) == 5]
    assert len(kernels) == 20
    assert all(step.options == {"inflate": "mean"} for step in kernels)
    expected, found = ask(flat, volume, images)
    assert found.shape == (2, 2, 4)
    assert measure(expected, found) <= CLOSE


def test_zeros_before_and_after_a_volume_leave_its_middle_alone(
    flat: keras.Model, images: np.ndarray
) -> None:
    """With padding along depth, `mean` is exact for the slices whose kernels reach no end, and for no other."""
    volume = Volumes(pads_depth=True).build(SEEN)
    transplant(flat, volume, Adaptations(inflate="mean"), recipes.inflate())
    expected, found = ask(flat, volume, images)
    assert measure(expected[:, 0], found[:, SEEN // 2]) <= CLOSE
    assert measure(expected[:, 0], found[:, 0]) > 0.01


def test_the_centre_keeps_every_slice_s_answer(flat: keras.Model, images: np.ndarray) -> None:
    volume = Volumes(pads_depth=True).build(3)
    transplant(flat, volume, Adaptations(inflate="centre"), recipes.inflate())
    assert measure(*ask(flat, volume, images)) <= CLOSE


def test_planes_of_three_directions_fill_a_cube(flat: keras.Model) -> None:
    volume = Volumes(pads_depth=True).build(3)
    transplant(flat, volume, Adaptations(inflate="acs"), recipes.inflate())
    old, new = (
        {name: np.asarray(variable) for name, variable in name_variables(each).items()}
        for each in (flat, volume)
    )
    kernel, cube = old["conv3_block1_2_conv/kernel"], new["conv3_block1_2_conv/kernel"]
    assert cube.shape == (3, 3, 3, 32, 32)
    # Thirty-two filters in three parts: eleven, eleven, ten.
    assert np.array_equal(cube[1, ..., :11], kernel[..., :11])
    assert np.array_equal(cube[:, 1, ..., 11:22], kernel[..., 11:22])
    assert np.array_equal(cube[:, :, 1, :, 22:], kernel[..., 22:])
    assert np.count_nonzero(cube) == np.count_nonzero(kernel)
    assert np.array_equal(new["conv3_block1_2_bn/gamma"], old["conv3_block1_2_bn/gamma"])


def test_images_for_volumes_need_a_way(flat: keras.Model) -> None:
    target = medzoo.describe(Volumes(pads_depth=True).build(3))
    with pytest.raises(
        PlanError, match=r"'conv1_conv/kernel' is 7×7×7×3×16 here and 2-D.*--inflate"
    ) as error:
        medzoo.make_plan(read_source(flat), target, recipes.copy())
    assert "\n" not in str(error.value)


def test_planes_need_cubes_of_odd_size(flat: keras.Model) -> None:
    image = keras.Input((3, SIDE, SIDE, 3))
    features = layers.Conv3D(16, (3, 7, 7), use_bias=False, name="conv1_conv")(image)
    with pytest.raises(PlanError, match=r"'conv1_conv/kernel' is 3×7×7×3×16.*cubes of odd size for acs"):
        medzoo.make_plan(
            read_source(flat),
            medzoo.describe(keras.Model(image, features)),
            recipes.inflate(),
            ignore=("*",),
            adaptations=Adaptations(inflate="acs"),
        )


@pytest.mark.parametrize("moments", [False, True])
def test_statistics_of_images_fill_volumes(flat: keras.Model, tmp_path: Path, moments: bool) -> None:
    """Drawn at the 2-D shape, then inflated; a moments file is enough and gives the same values."""
    source = read_source(flat)
    if moments:
        medzoo.write_moments(source, tmp_path / "m.json")
        source = medzoo.open_weights(tmp_path / "m.json")
    volume = Volumes(pads_depth=True).build(3)
    plan = medzoo.make_plan(
        source, medzoo.describe(volume), recipes.stats(), seed=4, adaptations=Adaptations(inflate="centre")
    )
    medzoo.apply(plan, source, volume)
    flat_target = medzoo.describe(flat)
    drawn = dict(
        medzoo.transplant.run.run(medzoo.make_plan(source, flat_target, recipes.stats(), seed=4), source)
    )
    for name, variable in name_variables(volume).items():
        if name.endswith("conv/kernel"):
            cube = np.asarray(variable)
            middle = cube.shape[0] // 2
            assert np.array_equal(cube[middle], drawn[name]), name
            assert not np.delete(cube, middle, axis=0).any()


def test_inflated_and_narrower_go_together(flat: keras.Model, images: np.ndarray) -> None:
    """Every second channel of a 2-D network in a volume's, as in a 2-D network of that width."""
    volume = Volumes(pads_depth=True, width=8).build(3)
    transplant(flat, volume, Adaptations(pick="even", inflate="centre"))
    thin = medzoo.build("resnet18_torch+width=0.125", classes=4, channels=3, input_size=SIDE)
    transplant(flat, thin, Adaptations(pick="even"))
    assert measure(*ask(thin, volume, images)) <= CLOSE


def test_inflated_and_wider_go_together(flat: keras.Model, images: np.ndarray) -> None:
    volume = Volumes(pads_depth=True, width=24).build(1)
    transplant(flat, volume, Adaptations(pick="widen", inflate="centre"))
    assert measure(*ask(flat, volume, images)) <= CLOSE


def test_inflated_and_grey_go_together(flat: keras.Model) -> None:
    """A summed first kernel, inflated: one channel answers as three equal ones."""
    image = keras.Input((1, SIDE, SIDE, 1))
    colours = Volumes(pads_depth=True).build(1)
    transplant(flat, colours, Adaptations(inflate="centre"))
    first = layers.Conv3D(16, 7, (1, 2, 2), use_bias=False, name="conv1_conv")
    grey = keras.Model(image, first(layers.ZeroPadding3D(3)(image)))
    source = read_source(flat)
    plan = medzoo.make_plan(
        source,
        medzoo.describe(grey),
        recipes.copy(),
        ignore=("*",),
        adaptations=Adaptations(inflate="centre"),
    )
    medzoo.apply(plan, source, grey)
    volume = np.random.default_rng(5).normal(size=(1, 1, SIDE, SIDE, 1)).astype("float32")
    within = keras.Model(colours.input, colours.get_layer("conv1_conv").output)
    expected = np.asarray(within(np.repeat(volume, 3, axis=-1)))
    assert measure(expected, np.asarray(grey(volume))) <= CLOSE


def test_filters_of_a_covariance_are_inflated_too() -> None:
    inputs = keras.Input((4, 8, 8, 3))
    model = keras.Model(inputs, keras.layers.Conv3D(5, (3, 5, 5), use_bias=False, name="stem")(inputs))
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 5)).astype("float32")
    source = medzoo.source_from_arrays({"stem/kernel": kernel})
    adaptations = Adaptations(inflate="centre")
    target = medzoo.describe(model)
    plan = medzoo.make_plan(source, target, recipes.covariance(), adaptations=adaptations)
    medzoo.apply(plan, source, model)
    drawn = np.asarray(model.get_layer("stem").kernel)
    assert drawn.shape == (3, 5, 5, 3, 5)
    assert np.any(drawn[1])
    assert not np.any(drawn[[0, 2]])
