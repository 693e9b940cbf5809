"""Net2DeeperNet: deeper networks that answer as their source does, and those that could not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from random_networks import measure_difference, randomize, transplant
from thinned_networks import add_norm, conv, finish

import medzoo
from medzoo import recipes
from medzoo.errors import PlanError
from medzoo.models.attention import Attention
from medzoo.models.convnext import LayerScale
from medzoo.tensors import name_variables
from medzoo.transplant.adaptations import Adaptations

#: Sums of some hundred products in float32, in another order, through a few layers.
EXACT = 1e-5

#: The layers of a chain.
Names = tuple[str, ...]


def deepen(source: keras.Model, network: keras.Model) -> dict[str, str]:
    """Fill a deeper network, and give the method of every tensor."""
    plan = transplant(source, network, Adaptations(), recipes.deepen())
    return {step.target.name: step.method for step in plan.steps}


def build_plain(names: Names, size: int = 3, bias: bool = True, norm: bool = True) -> keras.Model:
    """Build a chain of convolutions, as VGG's, and two dense layers."""
    image = keras.Input((8, 8, 3))
    features = layers.ReLU()(conv(6, "a", size)(image))
    for name in names:
        features = conv(6, name, size, use_bias=bias)(features)
        if norm:
            features = layers.BatchNormalization(epsilon=0.01, name=f"{name}_bn")(features)
        features = layers.ReLU()(features)
    pooled = layers.GlobalAveragePooling2D()(features)
    for name in ("fc1", "fc2") if len(names) > 2 else ("fc1",):
        pooled = layers.Dense(6, "relu", name=name)(pooled)
    return keras.Model(image, layers.Dense(5, name="head")(pooled))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_new_layers_of_a_chain_are_identities(size: int, norm: bool, bias: bool) -> None:
    """Wherever they are: first of all, between others, last. Filters of even size too."""
    source = randomize(build_plain(("c",), size, bias, norm))
    network = build_plain(("b", "c", "d", "e"), size, bias, norm)
    methods = deepen(source, network)
    assert measure_difference(source, network) <= EXACT
    new = {f"{name}/kernel" for name in ("b", "d", "e", "fc2")}
    assert {
        name for name, method in methods.items() if method == "identity" and name.endswith("kernel")
    } == new


def build_bottlenecks(counts: tuple[int, ...], preactivated: bool = False) -> keras.Model:
    """Build stages of residual bottlenecks, as ResNet50's, or before whose sums norms and ReLU stand (v2)."""
    image = keras.Input((8, 8, 3))
    features = add_norm(conv(8, "stem")(image), "stem_bn")
    for stage, count in enumerate(counts):
        for block in range(count):
            name, width = f"s{stage}b{block}", 8 * 2**stage
            shortcut = features
            if preactivated:
                features = add_norm(features, f"{name}_pre_bn")
            if block == 0:
                shortcut = conv(width, f"{name}_0", 1, strides=1 + stage % 2)(features)
            branch = conv(4, f"{name}_1", 1, strides=1 + (stage % 2 if block == 0 else 0))(features)
            branch = conv(4, f"{name}_2")(add_norm(branch, f"{name}_1_bn"))
            branch = conv(width, f"{name}_3", 1)(add_norm(branch, f"{name}_2_bn"))
            if not preactivated:
                branch = layers.BatchNormalization(name=f"{name}_3_bn")(branch)
            features = layers.Add()([shortcut, branch])
            if not preactivated:
                features = layers.ReLU()(features)
    return finish(image, features)


def build_convnext(blocks: int) -> keras.Model:
    """Build blocks of ConvNeXt: depthwise filters, a layer norm, two dense layers, a scale."""
    image = keras.Input((8, 8, 3))
    features = layers.LayerNormalization(name="stem_norm")(conv(6, "stem", 2, strides=2)(image))
    for block in range(blocks):
        branch = conv(6, f"b{block}_depthwise", 7, groups=6)(features)
        branch = layers.LayerNormalization(epsilon=1e-6, name=f"b{block}_norm")(branch)
        branch = layers.Dense(24, "gelu", name=f"b{block}_1")(branch)
        branch = LayerScale(1e-6, name=f"b{block}_scale")(layers.Dense(6, name=f"b{block}_2")(branch))
        features = layers.Add()([features, branch])
    return finish(image, layers.LayerNormalization(name="norm")(features))


def build_inverted(blocks: int, gated: bool = True) -> keras.Model:
    """Build inverted bottlenecks with squeeze and excitation, as MobileNetV3's: no ReLU after the sums."""
    image = keras.Input((8, 8, 3))
    features = layers.BatchNormalization(name="stem_bn")(conv(4, "stem")(image))
    for block in range(blocks):
        name = f"b{block}"
        branch = add_norm(conv(12, f"{name}_expand", 1, use_bias=False)(features), f"{name}_expand_bn")
        branch = layers.DepthwiseConv2D(3, padding="same", name=f"{name}_filters")(branch)
        branch = add_norm(branch, f"{name}_filters_bn")
        if gated:
            gate = layers.GlobalAveragePooling2D(keepdims=True)(branch)
            gate = conv(12, f"{name}_up", 1, activation="sigmoid")(conv(3, f"{name}_down", 1)(gate))
            branch = layers.Multiply()([branch, gate])
        branch = layers.BatchNormalization(name=f"{name}_bn")(conv(4, f"{name}_project", 1)(branch))
        features = layers.Add()([features, branch])
    return finish(image, features)


def build_separable(names: Names) -> keras.Model:
    """Build depthwise and pointwise convolutions in turn, as MobileNet's, and separable ones, as Xception's."""
    image = keras.Input((8, 8, 3))
    features = add_norm(conv(6, "stem")(image), "stem_bn")
    for name in names:
        features = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_dw")(features)
        features = add_norm(features, f"{name}_dw_bn")
        features = add_norm(conv(6, f"{name}_pw", 1)(features), f"{name}_pw_bn")
        separable = layers.SeparableConv2D(6, 3, padding="same", name=f"{name}_separable")
        features = add_norm(separable(features), f"{name}_separable_bn")
    return finish(image, features)


def build_separable_residuals(blocks: int) -> keras.Model:
    """Build residual branches of separable convolutions, as Xception's."""
    image = keras.Input((8, 8, 3))
    features = conv(6, "stem")(image)
    for block in range(blocks):
        branch = layers.ReLU()(features)
        for part in "12":
            separable = layers.SeparableConv2D(6, 3, padding="same", use_bias=False, name=f"b{block}_{part}")
            branch = layers.BatchNormalization(name=f"b{block}_{part}_bn")(separable(branch))
        features = layers.Add()([features, branch])
    return finish(image, features)


def build_attending_blocks(blocks: int) -> keras.Model:
    """Build a transformer whose values are narrower than its embedding."""
    image = keras.Input((8, 8, 3))
    tokens = layers.Reshape((4, 10))(layers.Conv2D(10, 4, 4, name="patches")(image))
    for block in range(blocks):
        normed = layers.LayerNormalization(name=f"b{block}_norm1")(tokens)
        triple = [layers.Dense(6, name=f"b{block}_{part}")(normed) for part in ("query", "key", "value")]
        branch = layers.Dense(10, name=f"b{block}_projection")(Attention(2)(*triple))
        tokens = layers.Add()([tokens, branch])
        normed = layers.LayerNormalization(name=f"b{block}_norm2")(tokens)
        branch = layers.Dense(10, name=f"b{block}_2")(layers.Dense(20, "gelu", name=f"b{block}_1")(normed))
        tokens = layers.Add()([tokens, branch])
    pooled = layers.GlobalAveragePooling1D()(layers.LayerNormalization(name="norm")(tokens))
    return keras.Model(image, layers.Dense(5, name="head")(pooled))


DEEPER: dict[str, tuple[Callable[[], keras.Model], Callable[[], keras.Model]]] = {
    "bottlenecks": (lambda: build_bottlenecks((1, 2)), lambda: build_bottlenecks((3, 4))),
    "bottlenecks before sums": (
        lambda: build_bottlenecks((1, 1), preactivated=True),
        lambda: build_bottlenecks((3, 2), preactivated=True),
    ),
    "inverted bottlenecks": (lambda: build_inverted(2, gated=False), lambda: build_inverted(4, gated=False)),
    "gated bottlenecks": (lambda: build_inverted(1), lambda: build_inverted(3)),
    "convnext": (lambda: build_convnext(1), lambda: build_convnext(3)),
    "depthwise chain": (lambda: build_separable(("x",)), lambda: build_separable(("x", "y", "z"))),
    "separable residuals": (lambda: build_separable_residuals(1), lambda: build_separable_residuals(3)),
    "attention": (lambda: build_attending_blocks(1), lambda: build_attending_blocks(3)),
    "resnet20": (
        lambda: medzoo.build("resnet20", classes=4, channels=1, input_size=16),
        lambda: medzoo.build("resnet56", classes=4, channels=1, input_size=16),
    ),
    "deit": (
        lambda: medzoo.build("deit_ti16+depth=2", classes=4, channels=3, input_size=32),
        lambda: medzoo.build("deit_ti16+depth=4", classes=4, channels=3, input_size=32),
    ),
}


@pytest.mark.parametrize("name", DEEPER)
def test_a_deeper_network_answers_as_its_source(name: str) -> None:
    """New residual blocks give nothing yet: their last layer is zero, those before it start afresh."""
    build, build_deeper = DEEPER[name]
    source, network = randomize(build()), build_deeper()
    methods = deepen(source, network)
    assert measure_difference(source, network) <= EXACT
    kernels = {name: method for name, method in methods.items() if name.endswith("kernel")}
    old = set(name_variables(source))
    assert all(methods[tensor] == "copy" for tensor in old)
    new = {method for tensor, method in kernels.items() if tensor not in old}
    assert new == ({"identity"} if name == "depthwise chain" else new & {"zero", "fresh", "identity"})
    assert name == "depthwise chain" or {"zero", "fresh"} <= new


def test_only_the_last_layer_of_a_new_block_is_zero() -> None:
    methods = deepen(randomize(build_bottlenecks((1,))), build_bottlenecks((2,)))
    assert {name: method for name, method in methods.items() if name.startswith("s0b1")} == {
        **{f"s0b1_{layer}/{part}": "fresh" for layer in "12" for part in ("kernel", "bias")},
        **{f"s0b1_3/{part}": "zero" for part in ("kernel", "bias")},
        **{
            f"s0b1_{layer}_bn/{part}": "fresh"
            for layer in "123"
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        },
    }
    attending = deepen(randomize(build_attending_blocks(1)), build_attending_blocks(2))
    expected = {"query": "fresh", "key": "fresh", "value": "fresh", "projection": "zero", "norm1": "fresh"}
    for part, method in expected.items():
        assert {attending[name] for name in attending if name.startswith(f"b1_{part}/")} == {method}


def test_new_blocks_learn() -> None:
    """Where a whole separable convolution were zero, no gradient would ever reach it."""
    source, network = randomize(build_separable_residuals(1)), build_separable_residuals(2)
    deepen(source, network)
    network.compile(keras.optimizers.SGD(0.1), "mse")
    last = name_variables(network)["b1_2/pointwise_kernel"]
    before = np.asarray(last).copy()
    network.train_on_batch(np.random.default_rng(0).normal(size=(4, 8, 8, 3)), np.ones((4, 5)))
    assert not before.any()
    assert np.abs(np.asarray(last)).max() > 0


def test_a_norm_without_a_scale_is_an_identity_too() -> None:
    def build(names: Names) -> keras.Model:
        image = keras.Input((8, 8, 3))
        features = conv(6, "a", activation="relu")(image)
        for name in names:
            features = conv(6, name)(features)
            norm = layers.BatchNormalization(scale=False, epsilon=0.01, name=f"{name}_bn")
            features = layers.ReLU()(norm(features))
        return finish(image, features)

    source, network = randomize(build(("b",))), build(("b", "c"))
    deepen(source, network)
    assert measure_difference(source, network) <= EXACT


def test_norms_alone_are_identities() -> None:
    """As VGG's with batch norm from VGG's without."""

    def build(with_norms: bool) -> keras.Model:
        image = keras.Input((8, 8, 3))
        features = image
        for name in "ab":
            features = conv(6, name)(features)
            if with_norms:
                features = layers.BatchNormalization(epsilon=0.01, name=f"{name}_bn")(features)
            features = layers.ReLU()(features)
        return finish(image, features)

    source, network = randomize(build(False)), build(True)
    deepen(source, network)
    assert measure_difference(source, network) <= EXACT


def test_layers_of_a_nested_model_are_identities_too() -> None:
    def build(names: Names) -> keras.Model:
        image = keras.Input((8, 8, 3))
        steps = [
            each for name in names for each in (conv(6, name), layers.BatchNormalization(name=f"{name}_bn"))
        ]
        chain = keras.Sequential([each for step in steps for each in (step, layers.ReLU())], name="chain")
        return finish(image, chain(conv(6, "stem", activation="relu")(image)))

    source, network = randomize(build(("b",))), build(("b", "c"))
    deepen(source, network)
    assert measure_difference(source, network) <= EXACT


def build_growth(blocks: int) -> keras.Model:
    """Build a dense block."""
    image = keras.Input((8, 8, 3))
    features = conv(4, "stem")(image)
    for block in range(blocks):
        features = layers.Concatenate()([features, conv(2, f"b{block}")(features)])
    return finish(image, features)


def build_composite(blocks: int, project: bool) -> keras.Model:
    """Build Keras's own attention, of whose weights nothing is known; perhaps with a layer after it."""
    image = keras.Input((8, 8, 3))
    tokens = layers.Reshape((16, 6))(conv(6, "stem", 2, strides=2)(image))
    for block in range(blocks):
        branch = layers.MultiHeadAttention(2, 3, name=f"b{block}_attention")(tokens, tokens)
        if project:
            branch = layers.Dense(6, name=f"b{block}_out")(branch)
        tokens = layers.Add()([tokens, branch])
    return keras.Model(image, layers.Dense(5, name="head")(layers.GlobalAveragePooling1D()(tokens)))


def build_headless(blocks: int) -> keras.Model:
    """Build residual blocks whose last sum no layer reads."""
    image = keras.Input((8, 8, 3))
    features = conv(4, "stem")(image)
    for block in range(blocks):
        features = layers.Add()([features, conv(4, f"b{block}")(features)])
    return keras.Model(image, features)


def build_with_norm(normed: bool) -> keras.Model:
    """Build two convolutions, perhaps with a layer norm between."""
    image = keras.Input((8, 8, 3))
    features = conv(4, "a", activation="relu")(image)
    if normed:
        features = layers.LayerNormalization(name="norm")(features)
    return finish(image, conv(4, "b")(features))


def build_narrowing(widths: Mapping[str, int]) -> keras.Model:
    """Build a chain by widths."""
    image = keras.Input((8, 8, 3))
    features = image
    for name, width in widths.items():
        features = conv(width, name, activation="relu")(features)
    return finish(image, features)


NOT_DEEPENED: dict[str, tuple[Callable[[], keras.Model], Callable[[], keras.Model], str]] = {
    "growth": (
        lambda: build_growth(1),
        lambda: build_growth(2),
        "'b1' gives 'head' channels that the source has none for",
    ),
    "attention of Keras": (
        lambda: build_composite(1, project=False),
        lambda: build_composite(2, project=False),
        "'b1_attention' is new and has weights whose axes are not known",
    ),
    "no head": (
        lambda: build_headless(1),
        lambda: build_headless(2),
        "'b1' is new, and no layer reads what it makes",
    ),
    "a layer norm": (
        lambda: build_with_norm(False),
        lambda: build_with_norm(True),
        "'norm' is new and normalises over channels that the source's layers read",
    ),
    "other widths": (
        lambda: build_narrowing({"a": 4, "c": 6}),
        lambda: build_narrowing({"a": 4, "b": 6, "c": 6}),
        "identity cannot turn 4 channels into 6",
    ),
    "an old layer of another width": (
        lambda: build_narrowing({"a": 4, "c": 4}),
        lambda: build_narrowing({"a": 6, "b": 6, "c": 6}),
        "'a/kernel' is 3×3×3×4 in the source, 3×3×3×6 in the target",
    ),
}


@pytest.mark.parametrize("name", NOT_DEEPENED)
def test_what_would_change_the_answer_is_refused(name: str) -> None:
    build, build_deeper, found = NOT_DEEPENED[name]
    with pytest.raises(PlanError, match=found) as error:
        deepen(randomize(build()), build_deeper())
    assert "\n" not in str(error.value)


def test_attention_of_keras_within_a_new_block_starts_afresh() -> None:
    source, network = randomize(build_composite(1, project=True)), build_composite(2, project=True)
    methods = deepen(source, network)
    assert measure_difference(source, network) <= EXACT
    assert methods["b1_attention/query/kernel"] in ("fresh", "keep")


def test_a_model_without_a_graph_is_refused() -> None:
    class Subclassed(keras.Model):
        def __init__(self, names: Names) -> None:
            super().__init__(name="network")
            self.inner = [layers.Dense(4, name=name) for name in names]

        def call(self, inputs: Any) -> Any:
            for layer in self.inner:
                inputs = layer(inputs)
            return inputs

    source, network = Subclassed(("a",)), Subclassed(("a", "b"))
    for each in (source, network):
        each(np.zeros((1, 4), "float32"))
    with pytest.raises(PlanError, match="a model without a graph"):
        deepen(source, network)


def test_a_cut_network_is_deepened_below_the_cut() -> None:
    """The source's layers above the cut are left out, and say nothing of those below."""
    source = randomize(medzoo.build("resnet20", classes=4, channels=1, input_size=16))
    network = medzoo.build("resnet32@conv2", classes=4, channels=1, input_size=16)
    methods = deepen(source, network)
    assert methods["conv2_block3_2_conv/kernel"] == "copy"
    assert methods["conv2_block5_2_conv/kernel"] == "zero"
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 1)).astype("float32")
    inner, outer = (
        keras.Model(each.input, each.get_layer(f"{name}_out").output)(images)
        for each, name in ((source, "conv2_block3"), (network, "conv2_block5"))
    )
    np.testing.assert_allclose(np.asarray(inner), np.asarray(outer), rtol=1e-5, atol=1e-5)
