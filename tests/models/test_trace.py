"""How channels travel: each rule on a tiny network, and rows against what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from wired_networks import add_residuals, concatenate_three, conv, sequence, squeeze_and_excite

import medzoo
from medzoo.models.describe import describe_abstractly, describe_network
from medzoo.models.tables import read_feeds
from medzoo.models.tables.generate import shorten_feeds
from medzoo.tensors import Target
from medzoo.wiring import AXES, Channels, read_channels


def read_last(build: Callable[[Any], Any], size: tuple[int, ...] = (4, 4, 3)) -> str:
    """Write the channels that reach a dense layer after `build`, which gets the image."""
    inputs = keras.Input(size)
    network = keras.Model(inputs, layers.Dense(2, name="last")(build(inputs)))
    return str(describe_network(network).feeds["last"])


def nest(image: Any) -> Any:
    """Put a model with two inputs and two outputs within another; the second output leaves."""
    first, second = keras.Input((4, 4, 4)), keras.Input((4, 4, 4))
    inner = keras.Model([first, second], [conv(5, "in")(first), layers.ReLU()(second)], name="inner")
    return inner([conv(4, "a")(image), conv(4, "b")(image)])[1]


class Unknown(layers.Layer):
    """A layer that says nothing of its channels."""

    def call(self, inputs: Any) -> Any:
        return inputs[..., ::-1]


class Declared(Unknown):
    """One that does."""

    def relay_channels(self, inputs: Channels) -> Channels:
        return Channels("flatten", parts=(inputs,), times=2)

    def call(self, inputs: Any) -> Any:
        return keras.ops.concatenate([inputs, inputs], axis=-1)


RULES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "dense block": (concatenate_three, "concat(a,b,c)"),
    "residual sums": (add_residuals, "sum(c,a,b)"),
    "squeeze and excite": (squeeze_and_excite, "sum(a,expand)"),
    "one channel for all": (
        lambda image: layers.Multiply()([conv(4, "a")(image), conv(1, "mask")(image)]),
        "a",
    ),
    "operations": (
        lambda image: keras.ops.relu(conv(4, "a")(image) * 2.0 + 1.0 - conv(4, "b")(image)),
        "sum(a,b)",
    ),
    "another axis": (
        lambda image: layers.Concatenate(axis=1)([conv(4, "a")(image), conv(4, "b")(image)]),
        "sum(a,b)",
    ),
    "carried": (
        sequence(
            conv(4, "a"),
            layers.ZeroPadding2D(),
            layers.GroupNormalization(2),
            layers.Activation("gelu"),
            layers.MaxPooling2D(),
            layers.SpatialDropout2D(0.1),
            layers.UpSampling2D(),
            layers.Cropping2D(),
            layers.PReLU(),
            layers.Reshape((-1, 4)),
            layers.GlobalMaxPooling1D(),
            layers.Flatten(),
        ),
        "a",
    ),
    "flattened": (sequence(conv(5, "a"), layers.Flatten(), layers.Dropout(0.1)), "flatten:16(a)"),
    "reshaped to one axis": (sequence(conv(5, "a"), layers.Reshape((80,))), "flatten:16(a)"),
    "reshaped otherwise": (sequence(conv(4, "a"), layers.Reshape((4, 8, 2))), "mixed(a)"),
    "an axis of one": (sequence(conv(4, "a"), layers.Reshape((16, 4, 1))), "mixed(a)"),
    "places swapped": (sequence(conv(4, "a"), layers.Permute((2, 1, 3))), "a"),
    "channels swapped": (sequence(conv(4, "a"), layers.Permute((3, 1, 2))), "mixed(a)"),
    "one place": (sequence(conv(4, "a"), lambda features: features[:, 0]), "a"),
    "some channels": (sequence(conv(4, "a"), lambda features: features[..., :2]), "mixed(a)"),
    "a mean over places": (sequence(conv(4, "a"), lambda x: keras.ops.mean(x, axis=(1, 2))), "a"),
    "a mean over channels": (
        sequence(conv(4, "a"), lambda x: keras.ops.mean(x, axis=-1, keepdims=True)),
        "mixed(a)",
    ),
    "a lambda": (sequence(conv(4, "a"), layers.Lambda(lambda x: x)), "mixed(a)"),
    "unknown": (sequence(conv(4, "a"), Unknown(), Unknown()), "mixed(a)"),
    "declared": (sequence(conv(4, "a"), Declared()), "flatten:2(a)"),
    "depthwise": (sequence(conv(4, "a"), layers.DepthwiseConv2D(3)), "a"),
    "depthwise, two filters": (
        sequence(conv(4, "a"), layers.DepthwiseConv2D(3, depth_multiplier=2)),
        "spread:2(a)",
    ),
    "groups of one": (sequence(conv(4, "a"), conv(4, "b", groups=4)), "a"),
    "groups of one, three filters": (sequence(conv(4, "a"), conv(12, "b", groups=4)), "spread:3(a)"),
    "groups of two": (sequence(conv(4, "a"), conv(6, "b", groups=2)), "b"),
    "separable": (sequence(conv(4, "a"), layers.SeparableConv2D(6, 3, name="b")), "b"),
    "transposed": (sequence(conv(4, "a"), layers.Conv2DTranspose(6, 2, name="b")), "b"),
    "attention of Keras": (
        sequence(
            conv(4, "a"),
            layers.Reshape((16, 4)),
            lambda x: layers.MultiHeadAttention(2, 2, name="b")(x, x),
        ),
        "b",
    ),
    "recurrent": (sequence(conv(4, "a"), layers.Reshape((16, 4)), layers.LSTM(3, name="b")), "b"),
    "depthwise on the image": (layers.DepthwiseConv2D(3, name="a"), "a"),
    "nested": (nest, "b"),
    "padded channels": (
        sequence(conv(4, "a"), layers.ZeroPadding2D(((0, 0), (2, 2)), data_format="channels_first")),
        "mixed(a)",
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_what_an_operation_does_to_channels(rule: str) -> None:
    build, expected = RULES[rule]
    assert read_last(build) == expected


@pytest.mark.parametrize(
    "layer",
    [
        layers.DepthwiseConv2D(3, name="a"),
        layers.SeparableConv2D(5, 3, name="a"),
        layers.Conv2D(6, 3, groups=3, name="a"),
    ],
)
def test_filters_of_single_channels_do_not_count_as_reading_the_image(layer: layers.Layer) -> None:
    network = keras.Sequential([keras.Input((4, 4, 3)), layer, conv(2, "b")])
    feeds = describe_network(network).feeds
    assert feeds["a"] == Channels("mixed")
    assert str(feeds["b"]) == "a"


def test_the_axes_of_every_kind_of_weight() -> None:
    image = keras.Input((8, 8, 4))
    features = conv(4, "conv")(image)
    features = conv(8, "grouped", groups=2)(features)
    features = conv(8, "single", groups=8)(features)
    features = conv(16, "double", groups=8)(features)
    features = layers.DepthwiseConv2D(1, depth_multiplier=2, name="depthwise")(features)
    features = layers.DepthwiseConv2D(1, name="depthwise1")(features)
    features = layers.SeparableConv2D(4, 1, name="separable")(features)
    features = layers.SeparableConv2D(4, 1, depth_multiplier=3, name="separable3")(features)
    features = layers.Conv2DTranspose(4, 1, name="transpose")(features)
    features = layers.BatchNormalization(axis=3, name="batch")(features)
    features = layers.BatchNormalization(axis=1, name="rows")(features)
    features = layers.GroupNormalization(2, name="group")(features)
    features = layers.LayerNormalization(name="layer")(features)
    features = layers.LayerNormalization(axis=(1, 2, 3), name="places")(features)
    features = layers.PReLU(name="prelu")(features)
    features = layers.Reshape((64, 4))(features)
    features = layers.Conv1D(4, 3, name="conv1d")(features)
    features = layers.Dense(3, name="dense")(features)
    features = layers.EinsumDense("abc,cd->abd", (None, 5), name="einsum")(features)
    target = describe_network(keras.Model(image, features))
    assert dict(target.axes) == {
        "conv/kernel": "..io",
        "conv/bias": "o",
        "grouped/kernel": "..go",
        "grouped/bias": "o",
        "single/kernel": "...c",
        "single/bias": "c",
        "double/kernel": "...?",
        "double/bias": "?",
        "depthwise/kernel": "..cm",
        "depthwise/bias": "?",
        "depthwise1/kernel": "..cm",
        "depthwise1/bias": "c",
        "separable/depthwise_kernel": "..cm",
        "separable/pointwise_kernel": "..io",
        "separable/bias": "o",
        "separable3/depthwise_kernel": "..cm",
        "separable3/pointwise_kernel": "..?o",
        "separable3/bias": "o",
        "transpose/kernel": "..oi",
        "transpose/bias": "o",
        **{f"batch/{name}": "c" for name in ("gamma", "beta", "moving_mean", "moving_variance")},
        **{f"rows/{name}": "?" for name in ("gamma", "beta", "moving_mean", "moving_variance")},
        **{f"{norm}/{name}": "c" for norm in ("group", "layer") for name in ("gamma", "beta")},
        "places/gamma": "???",
        "places/beta": "???",
        "prelu/alpha": "???",
        "conv1d/kernel": ".io",
        "conv1d/bias": "o",
        "dense/kernel": "io",
        "dense/bias": "o",
        "einsum/kernel": "??",
    }
    assert target.blocks == {"grouped": 2, "conv": 2}
    assert target.epsilons == dict.fromkeys(("batch", "rows", "group", "layer", "places"), 1e-3)
    assert str(target.feeds["depthwise1"]) == "spread:2(spread:2(grouped))"


def test_axes_of_three_dimensional_kernels() -> None:
    network = keras.Sequential([keras.Input((4, 4, 4, 1)), layers.Conv3D(2, 3, name="a")])
    assert describe_network(network).axes["a/kernel"] == "...io"


def test_blocks_that_two_readers_see_differently_are_left_out() -> None:
    image = keras.Input((4, 4, 3))
    features = conv(8, "a")(image)
    parts = [conv(8, "b", groups=2)(features), conv(8, "c", groups=4)(features)]
    target = describe_network(keras.Model(image, layers.Add()(parts)))
    assert target.blocks == {"b": 2, "c": 4}


def test_a_layer_called_on_different_channels_says_only_what_it_makes() -> None:
    image = keras.Input((4, 4, 3))
    shared, norm = conv(4, "shared"), layers.BatchNormalization(name="norm")
    features = shared(conv(5, "b")(norm(shared(conv(5, "a")(image)))))
    target = describe_network(keras.Model(image, norm(conv(4, "c")(features))))
    assert str(target.feeds["shared"]) == "mixed(a,b)"
    assert target.axes["shared/kernel"] == "..?o"
    assert target.axes["shared/bias"] == "o"
    assert target.axes["norm/gamma"] == "?"
    assert target.axes["b/kernel"] == "..io"
    assert str(target.feeds["b"]) == "shared"


def test_a_layer_called_twice_on_the_same_channels_is_clear() -> None:
    image = keras.Input((4, 4, 3))
    features, norm = conv(4, "a")(image), layers.BatchNormalization(name="norm")
    network = keras.Model(image, layers.Add()([norm(features), norm(layers.ReLU()(features))]))
    assert describe_network(network).axes["norm/gamma"] == "c"


def test_nothing_is_said_of_two_layers_of_one_name() -> None:
    image = keras.Input((4, 4, 3))
    parts = []
    for name in ("left", "right"):
        inputs = keras.Input((4, 4, 3))
        parts.append(keras.Model(inputs, conv(4, "same")(inputs), name=name)(image))
    target = describe_network(keras.Model(image, layers.Add()(parts)))
    assert dict(target.axes) == {
        "same/kernel": "????",
        "same/bias": "?",
        "same/kernel#2": "????",
        "same/bias#2": "?",
    }


def test_nothing_is_said_of_what_lies_within_a_composite_layer() -> None:
    inner = layers.TimeDistributed(layers.Dense(3, name="dense"), name="wrapper")
    target = describe_network(keras.Sequential([keras.Input((5, 4)), inner, layers.Dense(2, name="b")]))
    assert {name: axes for name, axes in target.axes.items() if "wrapper" in name} == {
        name: "?" * len(spec.shape) for name, spec in target.tensors.items() if "wrapper" in name
    }
    assert str(target.feeds["b"]) == "wrapper"


def test_a_model_without_a_graph_has_axes_alone() -> None:
    class Subclassed(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.inner = layers.Dense(3, name="dense")

        def call(self, inputs: Any) -> Any:
            return self.inner(inputs)

    model = Subclassed()
    model(np.zeros((1, 4), "float32"))
    target = describe_network(model)
    assert list(target.axes.values()) == ["io", "o"]
    assert not target.feeds
    assert not target.blocks


def test_tables_write_channels_briefly() -> None:
    feeds = {
        "bn1": "concat(a,b)",
        "conv1": "concat(a,b)",
        "bn2": "concat(a,b,c)",
        "top": "flatten:4(concat(a,b,c))",
        "sums": "sum(concat(a,b),d)",
        "alone": "d",
    }
    channels = {layer: read_channels(text) for layer, text in feeds.items()}
    short = shorten_feeds(channels)
    assert short == {
        "bn1": "concat(a,b)",
        "conv1": "=bn1",
        "bn2": "concat(=bn1,c)",
        "top": "flatten:4(=bn2)",
        "sums": "sum(=bn1,d)",
        "alone": "d",
    }
    assert read_feeds(short) == channels


EXPECTED = {
    "resnet50": {
        "conv1_conv": "<input>",
        "conv1_bn": "conv1_conv",
        "conv2_block1_0_conv": "conv1_conv",
        "conv2_block2_1_conv": "sum(conv2_block1_0_conv,conv2_block1_3_conv)",
        "conv2_block3_1_conv": "sum(conv2_block1_0_conv,conv2_block1_3_conv,conv2_block2_3_conv)",
        "head": "sum(conv5_block1_0_conv,conv5_block1_3_conv,conv5_block2_3_conv,conv5_block3_3_conv)",
    },
    "densenet121": {
        "conv2_block3_0_bn": "concat(conv1_conv,conv2_block1_2_conv,conv2_block2_2_conv)",
        "conv2_block3_1_conv": "concat(conv1_conv,conv2_block1_2_conv,conv2_block2_2_conv)",
        "conv2_block3_2_conv": "conv2_block3_1_conv",
        "conv3_block1_0_bn": "pool2_conv",
        "conv3_block2_0_bn": "concat(pool2_conv,conv3_block1_2_conv)",
    },
    "deit_ti16": {
        "tokens": "patch_embed",
        "positions": "patch_embed",
        "block1_query": "patch_embed",
        "block1_projection": "block1_value",
        "block1_norm2": "sum(patch_embed,block1_projection)",
        "block2_norm1": "sum(patch_embed,block1_projection,block1_mlp2)",
        "block2_mlp2": "block2_mlp1",
    },
    "swin_t": {
        "stage1_block1_positions": "stage1_block1_value",
        "stage1_block1_projection": "stage1_block1_value",
        "stage1_downsample_norm": "flatten:4(sum(patch_embed,stage1_block1_projection,stage1_block1_mlp2,"
        "stage1_block2_projection,stage1_block2_mlp2))",
        "stage2_block1_norm1": "stage1_downsample_reduction",
    },
    "bit_r50x1": {
        "root_conv": "<input>",
        "block1_unit1_proj_conv": "root_conv",
        "block1_unit2_a_gn": "sum(block1_unit1_c_conv,block1_unit1_proj_conv)",
        "block1_unit2_b_conv": "block1_unit2_a_conv",
    },
    "mobilenet_v3_small_100": {
        "expanded_conv_depthwise": "conv",
        "expanded_conv_squeeze_excite_conv": "conv",
        "expanded_conv_project": "sum(conv,expanded_conv_squeeze_excite_conv_1)",
        "expanded_conv_1_expand": "expanded_conv_project",
        "expanded_conv_3_expand": "sum(expanded_conv_1_project,expanded_conv_2_project)",
    },
    "convnext_tiny": {
        "stage_0_block_0_pointwise_conv_1": "stem_conv",
        "stage_0_block_0_layer_scale": "stage_0_block_0_pointwise_conv_2",
        "stage_0_block_1_depthwise_conv": "sum(stem_conv,stage_0_block_0_pointwise_conv_2)",
    },
    "vgg16": {"fc1": "flatten:49(block5_conv3)"},
}


@cache
def trace_row(name: str) -> Target:
    """Trace a row itself, not its table."""
    return describe_abstractly(medzoo.find_model(name), classes=2, channels=3)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_reaches_the_layers_of_a_row(name: str) -> None:
    feeds = trace_row(name).feeds
    assert {layer: str(feeds[layer]) for layer in EXPECTED[name]} == EXPECTED[name]


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("resnet50", {"conv1_conv/kernel": "..io", "conv1_bn/moving_variance": "c", "head/kernel": "io"}),
        ("densenet121", {"pool2_conv/kernel": "..io", "pool2_bn/beta": "c", "head/bias": "o"}),
        (
            "deit_ti16",
            {"tokens/cls_token": "..c", "positions/pos_embed": ".pc", "block1_query/kernel": "io"},
        ),
        ("swin_t", {"stage1_block1_positions/relative_position_bias_table": "ph", "patch_norm/gamma": "c"}),
        ("bit_r50x1", {"root_conv/kernel": "..Io", "block1_unit1_a_gn/gamma": "c", "head/kernel": "io"}),
        (
            "mobilenet_v3_small_100",
            {"expanded_conv_depthwise/kernel": "..cm", "expanded_conv_squeeze_excite_conv/bias": "o"},
        ),
        (
            "convnext_tiny",
            {"stage_0_block_0_depthwise_conv/kernel": "...c", "stage_0_block_0_layer_scale/gamma": "c"},
        ),
        (
            "xception",
            {"block2_sepconv1/depthwise_kernel": "..cm", "block2_sepconv1/pointwise_kernel": "..io"},
        ),
    ],
)
def test_the_axes_of_a_row(name: str, axes: dict[str, str]) -> None:
    assert axes.items() <= trace_row(name).axes.items()


def test_blocks_are_the_heads_of_attention() -> None:
    parts = ("query", "key", "value")
    deit = {f"block{block}_{part}": 3 for block in range(1, 13) for part in parts}
    assert trace_row("deit_ti16").blocks == deit
    swin = {
        f"stage{stage}_block{block}_{part}": 3 * 2 ** (stage - 1)
        for stage, depth in enumerate((2, 2, 6, 2), start=1)
        for block in range(1, depth + 1)
        for part in parts
    }
    assert trace_row("swin_t").blocks == swin
    for name in ("resnet50", "densenet121", "bit_r50x1", "mobilenet_v3_small_100"):
        assert trace_row(name).blocks == {}


@pytest.mark.parametrize("name", [spec.name for spec in medzoo.list_models()])
def test_the_axes_of_every_tensor_of_every_row_are_known(name: str) -> None:
    target = medzoo.describe(name)
    assert {tensor: len(axes) for tensor, axes in target.axes.items()} == {
        tensor: len(spec.shape) for tensor, spec in target.tensors.items()
    }
    assert set("".join(target.axes.values())) <= set(AXES) - {"?"}
    norms = {tensor.rpartition("/")[0] for tensor in target.tensors if tensor.endswith("/beta")}
    assert set(target.epsilons) == norms
    assert all(0 < epsilon < 0.01 for epsilon in target.epsilons.values())
    assert set(target.stages) == set(target.tensors)
    assert all(target.stages.values())
    assert set(target.stages.values()) <= {stage.name for stage in medzoo.find_model(name).stages}


def test_a_derived_network_has_stages_too() -> None:
    target = medzoo.describe("resnet50@conv2", classes=2)
    assert target.stages["conv1_conv/kernel"] == "conv1"
    assert target.stages["head/kernel"] == "head"
    assert target.epsilons["conv1_bn"] == 1.001e-5
