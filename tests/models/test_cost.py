"""What networks cost: by hand, by their papers, by what gradients reach."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import medzoo
from medzoo.errors import ConfigError
from medzoo.models.abstract import build_without_weights
from medzoo.models.cost import PartCost, count_macs, measure_costs
from medzoo.models.describe import build_abstractly
from medzoo.models.graph import walk_calls
from medzoo.models.receptive_field import measure_side, trace_sights
from medzoo.models.tables import parts
from medzoo.specs import Stage

layers = keras.layers


def _count(*stack: Any, shape: tuple[int, ...] = (8, 8, 3)) -> int:
    """Count the multiply-accumulates of a stack of layers."""
    return count_macs(keras.Sequential([keras.Input(shape), *stack]))


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (layers.Conv2D(5, 3), (8, 8, 3), 6 * 6 * 3 * 3 * 3 * 5),
        (layers.Conv2D(5, (3, 1), strides=2, padding="same"), (8, 8, 3), 4 * 4 * 3 * 3 * 5),
        (layers.Conv2D(6, 3, dilation_rate=2), (8, 8, 3), 4 * 4 * 9 * 3 * 6),
        (layers.Conv2D(6, 3, groups=3, padding="same"), (8, 8, 3), 8 * 8 * 9 * 1 * 6),
        (layers.Conv1D(4, 3), (8, 2), 6 * 3 * 2 * 4),
        (layers.Conv3D(2, 2), (4, 4, 4, 3), 27 * 8 * 3 * 2),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 3), 6 * 6 * 9 * 6),
        (layers.DepthwiseConv1D(3, strides=2, padding="same"), (8, 3), 4 * 3 * 3),
        (layers.SeparableConv2D(5, 3, depth_multiplier=2), (8, 8, 3), 36 * (9 * 6 + 6 * 5)),
        (layers.SeparableConv1D(5, 3), (8, 3), 6 * (3 * 3 + 3 * 5)),
        (layers.Conv2DTranspose(5, 2, strides=2), (8, 8, 3), 8 * 8 * 4 * 3 * 5),
        (layers.Dense(7), (3,), 21),
        (layers.Dense(7), (4, 5, 3), 4 * 5 * 21),
        (layers.EinsumDense("abc,cde->abde", (None, 2, 5)), (6, 4), 6 * 4 * 2 * 5),
        (layers.EinsumDense("...c,cd->...d", 5), (2, 3, 4), 2 * 3 * 4 * 5),
        (layers.BatchNormalization(), (8, 8, 3), 0),
        (layers.MaxPooling2D(3), (8, 8, 3), 0),
        (layers.Embedding(9, 4), (6,), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, layers.Layer) else "",
)
def test_each_layer_is_counted_as_by_hand(layer: Any, shape: tuple[int, ...], expected: int) -> None:
    assert _count(layer, shape=shape) == expected


def test_channels_first_is_read_by_its_own_order() -> None:
    assert _count(layers.Conv2D(5, 3, data_format="channels_first"), shape=(3, 8, 9)) == 6 * 7 * 9 * 3 * 5


class _Thinner(layers.Conv2D):
    """A convolution of one's own."""


def test_a_subclass_counts_as_its_parent() -> None:
    assert _count(_Thinner(5, 3)) == _count(layers.Conv2D(5, 3))


class _Squared(layers.Layer):
    """A layer that says itself what it multiplies."""

    def call(self, inputs: Any) -> Any:
        return inputs * inputs

    def count_macs(self, *input_shapes: tuple[int, ...]) -> int:
        assert input_shapes == ((8, 8, 3),)
        return math.prod(input_shapes[0])


def test_a_layer_s_own_count_is_taken() -> None:
    assert _count(_Squared()) == 192


@pytest.mark.parametrize(("heads", "key", "value"), [(1, 8, None), (4, 8, 6)])
def test_attention_is_projections_scores_and_values(heads: int, key: int, value: int | None) -> None:
    query, memory = keras.Input((5, 12)), keras.Input((7, 10))
    output = layers.MultiHeadAttention(heads, key, value)(query, memory)
    size = value or key
    projections = heads * (5 * 12 * key + 7 * 10 * key + 7 * 10 * size + 5 * size * 12)
    assert count_macs(keras.Model([query, memory], output)) == projections + heads * 5 * 7 * (key + size)


def test_attention_without_weights_and_bare_products_are_counted() -> None:
    query, memory = keras.Input((5, 12)), keras.Input((7, 12))
    attended = layers.Attention()([query, memory])
    assert count_macs(keras.Model([query, memory], attended)) == 5 * 7 * (12 + 12)
    product = keras.ops.matmul(query, keras.ops.transpose(memory, (0, 2, 1)))
    assert count_macs(keras.Model([query, memory], product)) == 5 * 7 * 12
    product = keras.ops.einsum("bqc,bkc->bqk", query, memory)
    assert count_macs(keras.Model([query, memory], product)) == 5 * 7 * 12


def test_a_shared_layer_multiplies_twice_and_weighs_once() -> None:
    image = keras.Input((8, 8, 3))
    shared = layers.Conv2D(3, 3, padding="same", use_bias=False, name="shared")
    model = keras.Model(image, shared(shared(image)))
    (row,) = measure_costs(model, [Stage("all", "*", "shared")])
    assert row.macs == 2 * 64 * 81
    assert row.parameters == row.cumulative == 81


def test_a_layer_shared_by_two_stages_weighs_in_the_first() -> None:
    shared = layers.Dense(3, use_bias=False)
    first = keras.Sequential([keras.Input((3,)), shared], name="first")
    second = keras.Sequential([keras.Input((3,)), shared], name="second")
    model = keras.Sequential([keras.Input((3,)), first, second])
    rows = measure_costs(model, [Stage(name, name, name) for name in ("first", "second")])
    assert [(row.macs, row.parameters, row.cumulative) for row in rows] == [(9, 9, 9), (9, 0, 9)]


def test_nested_models_are_opened_at_the_size_that_they_are_called_with() -> None:
    inner = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 3, name="conv")], name="inner")
    image = keras.Input((8, 8, 3))
    deep = keras.Sequential([layers.Rescaling(0.5), inner, layers.GlobalAveragePooling2D()], name="deep")
    model = keras.Model(image, layers.Dense(2, name="out")(deep(image)))
    assert count_macs(model) == 36 * 27 * 4 + 8
    by_layer = measure_costs(model, [Stage("a", "conv", "conv"), Stage("b", "out", "out")])
    assert [(row.output_shape, row.parameters) for row in by_layer] == [((6, 6, 4), 112), ((2,), 10)]
    by_model = measure_costs(model, [Stage("a", "deep", "deep"), Stage("b", "out", "out")])
    assert [(row.output_shape, row.parameters) for row in by_model] == [((4,), 112), ((2,), 10)]


def test_stages_sum_their_blocks() -> None:
    spec = medzoo.find_model("resnet20")
    rows = measure_costs(build_abstractly(spec, 10, 3), spec.stages)
    wholes = [row for row in rows if not row.block]
    for whole in wholes:
        blocks = [row for row in rows if row.stage == whole.stage and row.block]
        if blocks:
            assert (whole.parameters, whole.macs) == (
                sum(row.parameters for row in blocks),
                sum(row.macs for row in blocks),
            )
            assert (whole.output, whole.receptive_field) == (blocks[-1].output, blocks[-1].receptive_field)
            assert whole.cumulative == blocks[-1].cumulative
    assert rows[-1].cumulative == sum(row.parameters for row in wholes) == 269_722 + 2 * 688
    assert wholes[0] == PartCost("conv1", "", "conv1_relu", (32, 32, 16), 496, 496, 442_368, 3)


def _model_without_a_graph() -> keras.Model:
    class Own(keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    return Own(name="own")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_model_without_a_graph, "'own' of class Own has no graph"),
        (lambda: keras.Sequential([layers.Dense(2)], name="unbuilt"), "'unbuilt' is not built"),
        (lambda: keras.Sequential([keras.Input((None, 8, 3)), layers.ReLU()], name="any"), "fixed size"),
        (
            lambda: keras.Sequential([keras.Input((5, 3)), layers.LSTM(4, name="lstm")]),
            "'lstm' of class LSTM",
        ),
    ],
)
def test_what_cannot_be_counted_is_refused(make: Callable[[], keras.Model], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        count_macs(make())


def test_stages_that_do_not_fit_the_model_are_refused() -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="a"), layers.Dense(2, name="b")])
    with pytest.raises(ConfigError, match="'b' belongs to no stage"):
        measure_costs(model, [Stage("one", "a", "a")])
    with pytest.raises(ConfigError, match="no layer 'c', the output of 'one'; expected one of"):
        measure_costs(model, [Stage("one", "*", "c")])


def _see(image: Any, features: Any) -> Any:
    """Tell what the features see of the image."""
    inputs, calls = walk_calls(keras.Model(image, features))
    return measure_side(trace_sights(inputs, calls)[calls[-1].outputs[0]])


def _branches(image: Any) -> Any:
    """Two branches whose windows are not centred on each other: SAME pads an even side at its end."""
    wide = layers.Conv2D(2, 3, 2, padding="same")(image)
    far = layers.AveragePooling2D(2, 2)(layers.Conv2D(2, 5, padding="same")(image))
    return layers.Conv2D(2, 3)(layers.Concatenate()([wide, far]))


_NETWORKS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda image: layers.Conv2D(2, 3)(layers.Conv2D(2, (3, 5), 2)(image)),
    "dilated": lambda image: layers.Conv2D(2, 3, dilation_rate=3)(layers.AveragePooling2D(2)(image)),
    "depthwise": lambda image: layers.SeparableConv2D(2, 3)(layers.DepthwiseConv2D(3, 2)(image)),
    "padded": lambda image: layers.Conv2D(2, 3, 2)(layers.ZeroPadding2D(1)(layers.Conv2D(2, 3)(image))),
    "cropped": lambda image: layers.Add()(
        [layers.Conv2D(1, 5)(image), layers.Cropping2D(((0, 4), (4, 0)))(layers.Conv2D(1, 1)(image))]
    ),
    "branches": _branches,
    "apart": lambda image: layers.Add()(
        [layers.Cropping2D(((0, 4), (0, 4)))(image), layers.Cropping2D(((4, 0), (4, 0)))(image)]
    ),
    "shifted": lambda image: layers.Add()(
        [
            layers.Conv2D(1, 5, padding="same")(image),
            layers.Cropping2D(((3, 0), (0, 0)))(layers.ZeroPadding2D(((0, 3), (0, 0)))(image)),
        ]
    ),
}


@pytest.mark.parametrize("name", _NETWORKS)
def test_the_receptive_field_is_what_a_gradient_reaches(name: str) -> None:
    """With positive weights and inputs, exactly the pixels that an output sees move it."""
    image = keras.Input((40, 40, 1))
    features = _NETWORKS[name](image)
    model = keras.Model(image, features)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.uniform(0.5, 1.0, variable.shape))
    pixels = tf.constant(rng.uniform(0.5, 1.0, (1, 40, 40, 1)), "float32")
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        outputs = model(pixels, training=False)
        centre = tf.reduce_sum(outputs[0, outputs.shape[1] // 2, outputs.shape[2] // 2, :])
    reached = np.abs(tape.gradient(centre, pixels).numpy()[0, :, :, 0]) > 0
    sides = tuple(int(np.ptp(np.flatnonzero(reached.any(axis=axis)))) + 1 for axis in (1, 0))
    expected = _see(image, features)
    assert (expected if isinstance(expected, tuple) else (expected, expected)) == sides


def test_what_sees_everything_and_what_is_not_known() -> None:
    image = keras.Input((8, 8, 4))
    features = layers.Conv2D(4, 3, padding="same")(image)
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(features)
    assert _see(image, layers.Multiply()([features, squeezed])) == "all"
    tokens = layers.Reshape((64, 4))(features)
    assert _see(image, tokens) == 3
    assert _see(image, layers.MultiHeadAttention(2, 2)(tokens, tokens)) == "all"
    assert _see(image, layers.Permute((2, 1, 3))(features)) is None
    assert _see(image, layers.Conv2D(2, 3)(layers.UpSampling2D()(features))) is None
    assert _see(image, _Squared()(layers.Conv2D(3, 1)(features))) is None


#: What Araujo, Norris and Sim (Distill 2019, "Computing receptive fields of convolutional neural networks") list.
_PUBLISHED_FIELDS = {
    "MobileNet": (224, "conv_pw_13_relu", 315),
    "VGG16": (224, "block5_pool", 212),
    "ResNet50": (224, "conv5_block3_out", 483),
    "ResNet101": (224, "conv5_block3_out", 1027),
    "ResNet152": (224, "conv5_block3_out", 1507),
    "InceptionV3": (299, "mixed10", 1311),
    "InceptionResNetV2": (299, "conv_7b_ac", 3039),
}


@pytest.mark.parametrize("name", _PUBLISHED_FIELDS)
def test_published_receptive_fields(name: str) -> None:
    size, layer, side = _PUBLISHED_FIELDS[name]
    with build_without_weights():
        model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))
    features = model.get_layer(layer).output
    assert _see(model.input, features) == side


@pytest.mark.parametrize(
    ("name", "size", "millions"),
    [
        ("MobileNet", 224, 569),  # Howard et al. 2017, table 4
        ("MobileNetV2", 224, 300),  # Sandler et al. 2018, table 4
        ("EfficientNetB0", 224, 390),  # Tan and Le 2019, table 2
        ("ConvNeXtTiny", 224, 4_500),  # Liu et al. 2022, table 1
        ("VGG16", 224, 15_470),  # by hand: 15,347 in the convolutions, 124 in the dense layers
    ],
)
def test_published_multiply_accumulates(name: str, size: int, millions: int) -> None:
    with build_without_weights():
        model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))
    assert count_macs(model) / 1e6 == pytest.approx(millions, rel=0.0125)


def test_vgg16_by_hand() -> None:
    with build_without_weights():
        model = keras.applications.VGG16(weights=None)
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    sides = [224, 224, 112, 112, 56, 56, 56, 28, 28, 28, 14, 14, 14]
    convolutions = sum(9 * a * b * s * s for a, b, s in zip(widths, widths[1:], sides, strict=False))
    assert count_macs(model) == convolutions + 25_088 * 4_096 + 4_096 * 4_096 + 4_096 * 1_000
    assert _see(model.input, model.get_layer("block5_conv3").output) == 196


@pytest.mark.parametrize(
    ("cut", "counted", "published"),
    [("conv4_block4", 2.841, 2.87), ("conv4_block6", 3.278, 3.31), ("conv5_block3", 4.087, 4.12)],
)
def test_the_multiply_accumulates_at_the_cuts_of_the_paper(
    cut: str, counted: float, published: float
) -> None:
    """The published counts hold norms and activations too: within 1.5 %."""
    spec = medzoo.find_model(f"resnet50_torch@{cut}")
    billions = count_macs(build_abstractly(spec, 2, 3)) / 1e9
    assert round(billions, 3) == counted
    assert billions == pytest.approx(published, rel=0.015)


@pytest.mark.parametrize("name", ["cbr_tiny", "resnet20", "mobilenet_025", "efficientnetb0"])
def test_the_written_costs_are_those_of_a_build(name: str) -> None:
    spec = medzoo.find_model(name)
    model = build_abstractly(spec, classes=11, channels=2)
    assert parts.read_parts(spec, classes=11, channels=2) == measure_costs(model, spec.stages)
    marked = build_abstractly(spec, parts.CLASSES, parts.CHANNELS)
    written = json.loads((resources.files("medzoo.models.tables") / parts.FILE).read_text("utf-8"))
    assert json.loads(parts.format_costs({name: parts.make_parts(marked, spec)})) == {name: written[name]}


def test_the_written_totals_are_those_of_the_tables() -> None:
    for spec in medzoo.list_models():
        assert parts.find_totals(spec, 7, 1).parameters == medzoo.describe(spec, classes=7, channels=1).size


def test_costs_that_do_not_follow_an_option_are_refused() -> None:
    image = keras.Input((8, 8, parts.CHANNELS))
    flat = layers.GlobalAveragePooling2D(name="pool")(image)
    model = keras.Model(image, layers.Dense(parts.CLASSES, name="head")(flat))
    spec = medzoo.find_model("cbr_tiny")
    stages = (Stage("head", "*", "head"),)
    with pytest.raises(ConfigError, match="does not follow classes or channels alone"):
        parts.make_parts(model, replace(spec, stages=stages))


def test_a_network_without_written_costs_is_refused() -> None:
    with pytest.raises(ConfigError, match="no measured costs of 'cbr_tiny@block2'"):
        parts.read_parts(medzoo.find_model("cbr_tiny@block2"))
    with pytest.raises(ConfigError, match="0 classes"):
        parts.read_parts(medzoo.find_model("cbr_tiny"), classes=0)
