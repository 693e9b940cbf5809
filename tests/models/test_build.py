"""Building: plain Keras models of logits, and options that do not fit."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import medzoo
from medzoo.errors import ConfigError
from medzoo.models.tables import read_table


@pytest.mark.parametrize("name", ["cbr_tiny", "mobilenet_025", "resnet20"])
def test_a_network_gives_logits(name: str) -> None:
    size = max(8, medzoo.find_model(name).smallest_input)
    model = medzoo.build(name, classes=4, channels=2, input_size=size)
    assert type(model).__name__ == "Functional"
    assert (model.name, model.input_shape, model.output_shape) == (name, (None, size, size, 2), (None, 4))
    assert model.get_layer("head").activation is keras.activations.linear
    assert [layer.name for layer in model.layers][-3:] == ["head_pool", "head_dropout", "head"]


@pytest.mark.parametrize("name", ["cbr_tiny", "cbr_large_w", "mobilenet_025", "resnet20", "resnet56"])
def test_the_smallest_input_is_enough(name: str) -> None:
    size = medzoo.find_model(name).smallest_input
    model = medzoo.build(name, classes=2, channels=1, input_size=size)
    logits = np.asarray(model(np.ones((1, size, size, 1), "float32"), training=False))
    assert np.isfinite(logits).all()
    with pytest.raises(ConfigError, match=f"too small for {name}; expected {size} or more; try --image-size"):
        medzoo.build(name, input_size=size - 1)


def test_names_do_not_depend_on_options() -> None:
    first = medzoo.build("cbr_tiny", classes=2, channels=1, input_size=16)
    second = medzoo.build("cbr_tiny", classes=9, channels=4, input_size=40, dropout=0.5)
    assert [v.path for v in first.weights] == [v.path for v in second.weights]


def test_the_head_computes_in_float32_under_any_policy() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = medzoo.build("cbr_tiny", classes=2, channels=1, input_size=8)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("block1_conv").compute_dtype == "float16"
    assert model.output.dtype == "float32"
    assert medzoo.describe(model).tensors == medzoo.describe("cbr_tiny", classes=2, channels=1).tensors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 0}, "0 classes and 3 channels; expected at least 1 of each"),
        ({"channels": -1}, "-1 channels"),
        ({"dropout": 1.0}, "dropout 1.0; expected a rate of 0 or more and below 1"),
        ({"dropout": -0.1}, "dropout -0.1"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        medzoo.build("cbr_tiny", input_size=16, **options)


@pytest.mark.parametrize("act", [medzoo.build, medzoo.describe, medzoo.find_model])
def test_an_unknown_model_is_named_with_the_nearest(act: object) -> None:
    with pytest.raises(
        ConfigError, match="unknown model 'resnet5'; expected one of 'resnet56', 'resnet50'"
    ) as error:
        act("resnet5")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("classes", "channels"), [(0, 3), (3, 0), (-1, 1)])
def test_a_table_for_no_classes_or_channels_is_refused(classes: int, channels: int) -> None:
    with pytest.raises(ConfigError, match="expected at least 1 of each"):
        read_table("cbr_tiny", classes, channels)


def test_cbr_is_what_the_paper_describes() -> None:
    model = medzoo.build("cbr_large_t", classes=2, channels=3, input_size=64)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [32, 64, 128, 256, 512]
    assert {layer.kernel_size for layer in convolutions} == {(7, 7)}
    assert {(layer.strides, layer.use_bias) for layer in convolutions} == {((1, 1), False)}
    pools = [layer for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)]
    assert [(layer.pool_size, layer.strides) for layer in pools] == [((3, 3), (2, 2))] * 4
    kinds = [type(layer).__name__ for layer in model.layers[1:5]]
    assert kinds == ["Conv2D", "BatchNormalization", "ReLU", "MaxPooling2D"]
    assert model.get_layer("block5_relu").output.shape == (None, 4, 4, 512)
