"""The ResNets for CIFAR: the paper's counts, shortcut A, and padding as PyTorch has it."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import medzoo
from medzoo.specs import PREPROCESSINGS
from medzoo.tensors import Role

Array = np.ndarray


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Build resnet20 with norms of random values: with fresh ones much would cancel."""
    keras.utils.set_random_seed(3)
    model = medzoo.build("resnet20", classes=5, channels=3, input_size=8)
    rng = np.random.default_rng(3)
    for variable in model.weights:
        if "kernel" not in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape).astype("float32"))
    return model


def _convolve(weights: dict[str, Array], name: str, image: Array, stride: int) -> Array:
    """Convolve with a pixel of zeros on every side, as PyTorch's `padding=1`, and normalise."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = ((side - 1) // stride + 1 for side in image.shape[1:3])
    total: Array = np.zeros(())
    for row in range(3):
        for column in range(3):
            rows = slice(row, row + stride * (height - 1) + 1, stride)
            columns = slice(column, column + stride * (width - 1) + 1, stride)
            total = total + padded[:, rows, columns] @ weights[f"{name}_conv/kernel"][row, column]
    gamma, beta, mean, variance = (
        weights[f"{name}_bn/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    return (total - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def _forward(weights: dict[str, Array], image: Array, blocks: int) -> Array:
    """Compute a network's logits in NumPy, from the paper's description."""
    features = np.maximum(_convolve(weights, "conv1", image, 1), 0)
    for stage in (2, 3, 4):
        for block in range(1, blocks + 1):
            name = f"conv{stage}_block{block}"
            stride = 2 if stage > 2 and block == 1 else 1
            inner = np.maximum(_convolve(weights, f"{name}_1", features, stride), 0)
            inner = _convolve(weights, f"{name}_2", inner, 1)
            if stride == 2:
                zeros = features.shape[-1] // 2
                features = np.pad(features[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (zeros, zeros)))
            features = np.maximum(features + inner, 0)
    return features.mean(axis=(1, 2)) @ weights["head/kernel"] + weights["head/bias"]


@pytest.mark.parametrize("size", [8, 9, 14])
def test_outputs_are_those_of_the_paper_with_padding_as_in_pytorch(network: keras.Model, size: int) -> None:
    images = np.random.default_rng(size).normal(size=(2, size, size, 3)).astype("float32")
    twin = medzoo.build("resnet20", classes=5, channels=3, input_size=size)
    twin.set_weights(network.get_weights())
    weights = {variable.path: np.asarray(variable, "float64") for variable in twin.weights}
    expected = _forward(weights, images.astype("float64"), blocks=3)
    assert expected.std() > 0.1
    assert np.allclose(np.asarray(twin(images, training=False)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [5, 6, 7, 8])
@pytest.mark.parametrize(("block", "channels"), [("conv3_block1", 16), ("conv4_block1", 32)])
def test_the_shortcut_takes_every_second_pixel_between_zero_channels(
    size: int, block: str, channels: int
) -> None:
    model = medzoo.build("resnet20", classes=2, input_size=4)
    image = np.random.default_rng(1).normal(size=(2, size, size, channels)).astype("float32")
    shorter = np.asarray(model.get_layer(f"{block}_0_pad")(model.get_layer(f"{block}_0_pool")(image)))
    zeros = channels // 2
    assert np.array_equal(shorter[..., zeros:-zeros], image[:, ::2, ::2])
    assert not shorter[..., :zeros].any()
    assert not shorter[..., -zeros:].any()
    assert shorter.shape[-1] == 2 * channels


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet20", 269_722),
        ("resnet32", 464_154),
        ("resnet44", 658_586),
        ("resnet56", 853_018),
        ("resnet110", 1_727_962),
    ],
)
def test_the_counts_of_the_paper(name: str, parameters: int) -> None:
    """0.27, 0.46, 0.66, 0.85 and 1.7 million in table 6 of He et al. 2016."""
    moving = {Role.MOVING_MEAN, Role.MOVING_VARIANCE}
    tensors = medzoo.describe(name, classes=10, channels=3).tensors.values()
    assert sum(spec.size for spec in tensors if spec.role not in moving) == parameters
    kernels = [spec for spec in tensors if spec.role is Role.KERNEL]
    assert len(kernels) == int(name.removeprefix("resnet"))


def test_layers_are_named_as_in_keras_applications() -> None:
    model = medzoo.build("resnet20", classes=2, input_size=32)
    block = [
        layer.name.removeprefix("conv3_block1_") for layer in model.layers if "conv3_block1_" in layer.name
    ]
    assert sorted(block) == sorted(
        ["1_pad", "1_conv", "1_bn", "1_relu", "2_conv", "2_bn", "0_pool", "0_pad", "add", "out"]
    )
    plain = [
        layer.name.removeprefix("conv4_block2_") for layer in model.layers if "conv4_block2_" in layer.name
    ]
    assert sorted(plain) == sorted(["1_conv", "1_bn", "1_relu", "2_conv", "2_bn", "add", "out"])
    sides = [model.get_layer(f"conv{stage}_block3_out").output.shape[1:] for stage in (2, 3, 4)]
    assert sides == [(32, 32, 16), (16, 16, 32), (8, 8, 64)]
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {(layer.epsilon, layer.momentum) for layer in norms} == {(1e-5, 0.9)}


def test_a_saved_network_opens_with_keras_alone(network: keras.Model, tmp_path: Path) -> None:
    assert {type(layer).__module__.partition(".")[0] for layer in network.layers} == {"keras"}
    network.save(tmp_path / "a.keras")
    images = np.ones((1, 8, 8, 3), "float32")
    opened = keras.saving.load_model(tmp_path / "a.keras", safe_mode=True)
    assert np.array_equal(opened.predict(images, verbose=0), network.predict(images, verbose=0))


def test_both_paths_of_a_block_learn() -> None:
    """One step moves every weight, those below the shortcuts too, and all inputs fit."""
    model = medzoo.build("resnet20", classes=2, channels=1, input_size=12)
    before = [np.array(variable) for variable in model.trainable_weights]
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = np.random.default_rng(1).normal(size=(4, 12, 12, 1)).astype("float32")
    model.train_on_batch(images, np.array([0, 1, 0, 1]))
    for variable, old in zip(model.trainable_weights, before, strict=True):
        assert np.isfinite(np.asarray(variable)).all(), variable.path
        assert not np.array_equal(np.asarray(variable), old), variable.path


def test_the_contract_is_pixel_minus_mean_over_deviation_of_imagenet() -> None:
    contract = medzoo.find_model("resnet56").preprocessing
    assert contract == PREPROCESSINGS["torch"]
    assert contract.order == "rgb"
    pixels = np.random.default_rng(1).integers(0, 256, (2, 4, 4, 3)).astype("float32")
    expected = keras.applications.imagenet_utils.preprocess_input(
        pixels.copy(), data_format="channels_last", mode="torch"
    )
    assert np.allclose(pixels * np.array(contract.scale) + np.array(contract.offset), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "white"), [("unit", 1.0), ("raw", 255.0)])
def test_contracts_without_a_mean_only_scale(name: str, white: float) -> None:
    contract = PREPROCESSINGS[name]
    assert (contract.name, contract.order, contract.offset) == (name, "rgb", (0.0, 0.0, 0.0))
    assert np.allclose(255 * np.array(contract.scale), white)
