"""`describe`, `make_plan` and `apply` on networks of keras.applications, KerasHub and KerasCV, without presets."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from foreign import require
from foreign_checks import check_copy, check_random, check_statistics

import medzoo
from medzoo import recipes

keras_hub = require("keras_hub")
with pytest.MonkeyPatch.context() as patch:
    # KerasCV's data sets import TensorFlow Datasets (60 MB with what it needs); no test here reads one.
    patch.setitem(sys.modules, "tensorflow_datasets", types.ModuleType("tensorflow_datasets"))
    keras_cv = require("keras_cv")

SHAPE = (32, 32, 3)


def make_application() -> Any:
    return keras.applications.EfficientNetV2B0(
        input_shape=SHAPE, weights=None, classes=4, include_preprocessing=False
    )


def make_hub_resnet(channels: int = 3) -> Any:
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 128],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(*SHAPE[:2], channels),
    )


def make_hub_vit() -> Any:
    return keras_hub.models.ViTBackbone(
        image_shape=SHAPE, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )


def make_cv_densenet() -> Any:
    return keras_cv.models.DenseNetBackbone(
        stackwise_num_repeats=[2, 2], include_rescaling=False, input_shape=SHAPE, growth_rate=8
    )


def make_cv_efficientnet() -> Any:
    return keras_cv.models.EfficientNetV2Backbone(
        stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=[1, 2],
        stackwise_input_filters=[8, 8],
        stackwise_output_filters=[8, 16],
        stackwise_expansion_ratios=[1, 4],
        stackwise_squeeze_and_excite_ratios=[0, 0.25],
        stackwise_strides=[1, 2],
        stackwise_conv_types=["fused", "unfused"],
        width_coefficient=1.0,
        depth_coefficient=1.0,
        include_rescaling=False,
        input_shape=SHAPE,
    )


MODELS: dict[str, Callable[[], Any]] = {
    "application": make_application,
    "hub_resnet": make_hub_resnet,
    "hub_vit": make_hub_vit,
    "cv_densenet": make_cv_densenet,
    "cv_efficientnet": make_cv_efficientnet,
}
EVERY_MODEL = pytest.mark.parametrize("name", MODELS)


@EVERY_MODEL
def test_a_copy_of_one_instance_answers_as_it_does(name: str) -> None:
    check_copy(MODELS[name], SHAPE)


@EVERY_MODEL
def test_statistics_draw_every_kernel_and_bias(name: str) -> None:
    assert check_statistics(MODELS[name]) >= 6


@EVERY_MODEL
def test_random_fills_every_tensor_whose_start_is_known(name: str) -> None:
    # KerasHub's ViT gives its class token an initializer that no attribute of the layer holds.
    kept = {"vit_patching_and_embedding/class_token"} if name == "hub_vit" else set()
    assert check_random(MODELS[name]) == kept


@EVERY_MODEL
def test_every_weight_is_described_with_its_shape(name: str) -> None:
    model = MODELS[name]()
    target = medzoo.describe(model)
    assert [spec.shape for spec in target.tensors.values()] == [tuple(v.shape) for v in model.weights]
    assert target.size == model.count_params()


def test_a_backbone_for_grey_images_takes_the_sum_of_three_channels() -> None:
    colour, grey = make_hub_resnet(), make_hub_resnet(channels=1)
    source = medzoo.source_from_arrays({variable.path: np.asarray(variable) for variable in colour.weights})
    plan = medzoo.make_plan(source, medzoo.describe(grey), recipes.copy())
    medzoo.apply(plan, source, grey)
    image = np.random.default_rng(0).uniform(0, 1, (2, *SHAPE[:2], 1)).astype("float32")
    expected = np.asarray(colour(np.repeat(image, 3, axis=-1)))
    np.testing.assert_allclose(np.asarray(grey(image)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["application", "hub_resnet", "cv_densenet"])
def test_a_written_file_is_one_that_keras_loads(name: str, tmp_path: Any) -> None:
    """Where every layer's place is known, the file restores the backbone without medzoo."""
    first, second = MODELS[name](), MODELS[name]()
    target = medzoo.describe(first)
    source = medzoo.source_from_arrays({variable.path: np.asarray(variable) for variable in first.weights})
    plan = medzoo.make_plan(source, target, recipes.copy())
    medzoo.write(plan, source, target, tmp_path / "a.weights.h5")
    second.load_weights(tmp_path / "a.weights.h5")
    for ours, theirs in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
