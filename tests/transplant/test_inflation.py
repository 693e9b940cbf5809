"""Inflation: a volume whose slices agree, each slice for itself, and ACS as the three convolutions it stands for."""

from __future__ import annotations

from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from medzoo.errors import ConfigError, PlanError
from medzoo.transplant.inflation import inflate


class Dimensions:
    """Layers of one network for images and for volumes; depth is the first axis of a volume.

    `depth_padding` says whether 3×3×3 kernels reach over a volume's ends along the depth.
    """

    def __init__(self, count: int, depth_padding: bool = False) -> None:
        self.count, self.depth_padding = count, depth_padding

    def convolve(self, x: Any, filters: int, side: int, stride: int, name: str) -> Any:
        """Convolve with zeros around, and as deep as wide; the stride is not for the depth."""
        if self.count == 2:
            x = keras.layers.ZeroPadding2D(side // 2)(x)
            return keras.layers.Conv2D(filters, side, strides=stride, name=name, use_bias=name == "stem")(x)
        depth = side // 2 if self.depth_padding else 0
        x = keras.layers.ZeroPadding3D((depth, side // 2, side // 2))(x)
        strides = (1, stride, stride)
        return keras.layers.Conv3D(filters, side, strides=strides, name=name, use_bias=name == "stem")(x)

    def pool(self, x: Any) -> Any:
        if self.count == 2:
            return keras.layers.MaxPooling2D(3, 2, "same")(x)
        return keras.layers.MaxPooling3D((1, 3, 3), (1, 2, 2), "same")(x)

    def crop(self, x: Any, like: Any) -> Any:
        """Cut the shortcut's depth to the slices that the convolutions kept."""
        if self.count == 2 or x.shape[1] == like.shape[1]:
            return x
        return keras.layers.Cropping3D(((x.shape[1] - like.shape[1]) // 2, 0, 0))(x)


def build_resnet18(dimensions: Dimensions, depth: int = 1) -> keras.Model:
    """Build a narrow ResNet18; the names are the same for images and volumes, the output is before the pooling."""
    shape = (32, 32, 3) if dimensions.count == 2 else (depth, 32, 32, 3)
    inputs = keras.Input(shape)

    def unit(x: Any, filters: int, stride: int, name: str) -> Any:
        y = dimensions.convolve(x, filters, 3, stride, f"{name}_conv1")
        y = keras.layers.BatchNormalization(name=f"{name}_bn1")(y)
        y = dimensions.convolve(keras.layers.ReLU()(y), filters, 3, 1, f"{name}_conv2")
        y = keras.layers.BatchNormalization(name=f"{name}_bn2")(y)
        if x.shape[-1] != filters:
            x = dimensions.convolve(x, filters, 1, stride, f"{name}_shortcut")
        return keras.layers.ReLU()(keras.layers.Add()([dimensions.crop(x, y), y]))

    x = dimensions.convolve(inputs, 8, 7, 2, "stem")
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(name="stem_bn")(x))
    x = dimensions.pool(x)
    for stage, filters in enumerate([8, 12, 16, 20], start=1):
        for index in (1, 2):
            x = unit(x, filters, 2 if stage > 1 and index == 1 else 1, f"stage{stage}_unit{index}")
    return keras.Model(inputs, x)


@pytest.fixture(scope="module")
def flat() -> keras.Model:
    """A two-dimensional ResNet18 with every tensor random, and its activations neither fading nor growing."""
    keras.utils.set_random_seed(7)
    model = build_resnet18(Dimensions(2))
    generator = np.random.default_rng(7)
    for variable in model.weights:
        if len(variable.shape) == 1:
            centre = 1.0 if variable.name in ("gamma", "moving_variance") else 0.0
            variable.assign(centre + generator.uniform(-0.3, 0.3, variable.shape))
    return model


def inflate_model(flat: keras.Model, volume: keras.Model, how: str) -> None:
    """Fill a network for volumes from one for images, layer by layer of the same name."""
    found = {variable.path: np.asarray(variable) for variable in flat.weights}
    assert {variable.path for variable in volume.weights} == set(found)
    for variable in volume.weights:
        values = found[variable.path]
        variable.assign(inflate(values, tuple(variable.shape), how) if values.ndim == 4 else values)


def test_a_volume_of_equal_slices_gets_the_image_s_answer(flat: keras.Model) -> None:
    """`mean`, 3-D ResNet18: only slices whose kernels saw no end of the volume are left, and all of them agree."""
    volume = build_resnet18(Dimensions(3), depth=41)
    inflate_model(flat, volume, "mean")
    images = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype("float32")
    expected = np.asarray(flat(images))
    assert expected.std() > 0.1
    found = np.asarray(volume(np.repeat(images[:, None], 41, axis=1)))
    # The stem takes 6 slices and each of the sixteen 3×3×3 kernels 2.
    assert found.shape[1] == 41 - 6 - 16 * 2 == 3
    assert np.abs(found - expected[:, None]).max() <= 1e-4 * np.abs(expected).max()


def test_centred_kernels_answer_every_slice_for_itself(flat: keras.Model) -> None:
    """`centre`, the same network with zeros before and after the volume: any volume, slice by slice."""
    volume = build_resnet18(Dimensions(3, depth_padding=True), depth=3)
    inflate_model(flat, volume, "centre")
    slices = np.random.default_rng(2).normal(size=(1, 3, 32, 32, 3)).astype("float32")
    expected = np.asarray(flat(slices[0]))
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    assert np.abs(np.asarray(volume(slices))[0] - expected).max() <= 1e-4 * np.abs(expected).max()


def convolve(volumes: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Convolve with half the kernel's width of zeros on every side, in the axes where it has any width."""
    layer = keras.layers.Conv3D(
        kernel.shape[-1], kernel.shape[:3], strides=stride, use_bias=False, dtype="float32"
    )
    padded = np.pad(volumes, ((0, 0), *((side // 2, side // 2) for side in kernel.shape[:3]), (0, 0)))
    layer.build(padded.shape)
    layer.set_weights([kernel])
    return np.asarray(layer(padded))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("side", "filters", "parts"), [(3, 10, (4, 3, 3)), (3, 11, (4, 4, 3)), (5, 6, (2, 2, 2))]
)
def test_acs_is_three_convolutions(side: int, filters: int, parts: tuple[int, ...], stride: int) -> None:
    generator = np.random.default_rng(3)
    kernel = generator.normal(size=(side, side, 2, filters)).astype("float32")
    volumes = generator.normal(size=(1, 7, 8, 9, 2)).astype("float32")
    a, c, s = np.split(kernel, np.cumsum(parts)[:2], axis=-1)
    expected = [
        convolve(volumes, a[None], stride),
        convolve(volumes, c[:, None], stride),
        convolve(volumes, s[:, :, None], stride),
    ]
    cube = inflate(kernel, (side, side, side, 2, filters), "acs")
    assert np.count_nonzero(cube) == kernel.size  # as many parameters as before
    found = convolve(volumes, cube, stride)
    assert np.abs(found - np.concatenate(expected, axis=-1)).max() <= 1e-4


def test_acs_of_fewer_filters_than_planes() -> None:
    kernel = np.arange(9.0).reshape(3, 3, 1, 1)
    cube = inflate(kernel, (3, 3, 3, 1, 1), "acs")
    assert np.array_equal(cube[1], kernel)


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.sampled_from(["mean", "centre"]))
def test_the_sum_over_depth_is_the_kernel(depth: int, side: int, filters: int, how: str) -> None:
    kernel = np.random.default_rng(depth).normal(size=(side, side + 1, 2, filters))
    inflated = inflate(kernel, (depth, *kernel.shape), how)
    assert inflated.dtype == kernel.dtype
    assert np.abs(inflated.sum(axis=0) - kernel).max() <= 1e-14
    if how == "mean":
        assert np.ptp(inflated, axis=0).max() == 0
    else:
        assert np.array_equal(inflated[depth // 2], kernel)
        assert np.count_nonzero(inflated) == kernel.size


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float32", "float64"])
def test_the_dtype_stays(dtype: DTypeLike) -> None:
    kernel = np.ones((3, 3, 2, 3), dtype)
    assert {inflate(kernel, (3, *kernel.shape), how).dtype for how in ("mean", "centre", "acs")} == {
        np.dtype(dtype)
    }


@pytest.mark.parametrize(
    ("kernel", "shape"),
    [
        ((3, 3, 2, 4), (3, 3, 3, 2, 5)),
        ((3, 3, 2, 4), (3, 3, 3, 1, 4)),
        ((3, 3, 2, 4), (3, 5, 3, 2, 4)),
        ((3, 3, 2, 4), (3, 3, 2, 4)),
        ((3, 3, 2, 4), (0, 3, 3, 2, 4)),
        ((3, 2, 4), (3, 3, 3, 2, 4)),
        ((3, 3, 3, 2, 4), (3, 3, 3, 2, 4)),
    ],
)
@pytest.mark.parametrize("how", ["mean", "centre", "acs"])
def test_shapes_that_differ_in_more_than_the_depth_are_refused(
    kernel: tuple[int, ...], shape: tuple[int, ...], how: str
) -> None:
    found = "×".join(map(str, kernel))
    with pytest.raises(PlanError, match=f"a kernel of {found} does not inflate to "):
        inflate(np.zeros(kernel), shape, how)


@pytest.mark.parametrize("shape", [(5, 3, 3, 2, 4), (1, 3, 3, 2, 4), (3, 3, 5, 2, 4), (4, 4, 4, 2, 4)])
def test_acs_needs_an_odd_cube(shape: tuple[int, ...]) -> None:
    with pytest.raises(PlanError, match=r"'acs' cannot turn a kernel .*an odd number; try "):
        inflate(np.zeros(shape[1:]), shape, "acs")


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'center'.*'centre'"):
        inflate(np.zeros((3, 3, 1, 1)), (3, 3, 3, 1, 1), "center")
