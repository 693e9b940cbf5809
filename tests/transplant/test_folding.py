"""Input contracts folded into a first kernel that is summed to one channel: a grey image is answered as before."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from unread_sources import make_unread

import medzoo
from medzoo import recipes
from medzoo.contracts import find_preprocessing
from medzoo.tensors import Source
from medzoo.transplant.adaptations import Adaptations
from medzoo.transplant.plan import Plan, Rule


def make_network(channels: int, bias: bool, padding: str = "valid", between: str = "") -> keras.Model:
    """Build a network whose stem has a bias or a batch norm right after it, or something in between."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((20, 20, channels))
    activation = "relu" if between == "its own relu" else None
    x = keras.layers.Conv2D(4, 5, use_bias=bias, padding=padding, activation=activation, name="stem")(inputs)
    stem = x
    if between == "relu":
        x = keras.layers.ReLU(name="first_relu")(x)
    x = keras.layers.BatchNormalization(name="stem_bn")(x)
    x = keras.layers.ReLU(name="stem_relu")(x)
    if between == "another reader":
        x = keras.layers.Add(name="both")([x, stem])
    outputs = keras.layers.Conv2D(3, 1, name="mix")(x)
    model = keras.Model(inputs, [outputs, stem] if between == "an output" else outputs)
    rng = np.random.default_rng(3)
    for variable in model.weights:
        if variable.path == "stem/kernel":
            # So that what it answers to numbers up to 150 is of order 1, and 1e-5 a bound for float32.
            variable.assign(rng.normal(0, 1e-3, variable.shape).astype("float32"))
        else:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape).astype("float32"))
    return model


def answer(model: keras.Model, contract: str, grey: np.ndarray) -> np.ndarray:
    """Answer a grey image in a network's own channels, after its contract."""
    channels = model.input_shape[-1]
    scale, offset = find_preprocessing(contract).for_channels(channels)
    images = np.repeat(grey, channels, axis=-1) * np.array(scale) + np.array(offset)
    return np.asarray(model(images.astype("float32"), training=False))


def transplant(
    model: keras.Model, target: keras.Model, contract: str, adaptations: Adaptations
) -> tuple[Plan, keras.Model]:
    """Copy a model into another one."""
    arrays = {variable.path: np.asarray(variable) for variable in model.weights}
    source = replace(medzoo.source_from_arrays(arrays), preprocessing=contract)
    plan = medzoo.make_plan(source, medzoo.describe(target), recipes.copy(), adaptations=adaptations)
    medzoo.apply(plan, source, target)
    return plan, target


GREY = np.random.default_rng(0).integers(0, 256, (2, 20, 20, 1)).astype("float64")


@pytest.mark.parametrize("contract", ["torch", "caffe"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "norm"])
def test_a_summed_stem_answers_grey_as_the_three_channels_did(contract: str, bias: bool) -> None:
    whole = make_network(3, bias)
    expected = answer(whole, contract, GREY)
    plan, grey = transplant(whole, make_network(1, bias), contract, Adaptations())
    assert np.abs(answer(grey, contract, GREY) - expected).max() <= 1e-5
    place = "stem/bias" if bias else "stem_bn/moving_mean"
    folded = {step.target.name: dict(step.options) for step in plan.steps if step.options}
    assert folded == {
        "stem/kernel": {"channels": "sum", "fold": contract},
        place: {"fold": contract, "shift_of": "stem/kernel"},
    }
    # Without, the difference between the contracts of the channels remains.
    plain, unfolded = transplant(whole, make_network(1, bias), contract, Adaptations(fold=False))
    assert {step.target.name for step in plain.steps if step.options} == {"stem/kernel"}
    assert np.abs(answer(unfolded, contract, GREY) - expected).max() > 1e-4


@pytest.mark.parametrize("contract", ["torch", "caffe"])
def test_zero_padding_answers_otherwise_at_the_border_alone(contract: str) -> None:
    """A window that reaches beyond the image sees zeros, which are other pixels before and after."""
    whole = make_network(3, False, "same")
    expected = answer(whole, contract, GREY)
    _, grey = transplant(whole, make_network(1, False, "same"), contract, Adaptations())
    difference = np.abs(answer(grey, contract, GREY) - expected).max(axis=(0, 3))
    assert difference[2:-2, 2:-2].max() <= 1e-5
    assert difference[0].max() > 1e-4


#: Where the constant of a folded stem goes, of a row from each of several families; none for standardised kernels,
#: whose answer to a sum is not the sum of their answers.
PLACES = {
    "cbr_tiny": "block1_bn/moving_mean",
    "resnet50": "conv1_conv/bias",
    "resnet50_torch": "conv1_bn/moving_mean",
    "densenet121": "conv1_bn/moving_mean",
    "mobilenet_075": "conv1_bn/moving_mean",
    "inception_v3": "conv2d_1a_3x3_bn/moving_mean",
    "vgg16": "block1_conv1/bias",
    "deit_ti16": "patch_embed/bias",
    "swin_t": "patch_embed/bias",
    "convnext_tiny": "stem_conv/bias",
    "bit_r50x1": "",
}


@pytest.mark.parametrize("row", PLACES)
def test_rows_have_their_place_for_the_constant(row: str) -> None:
    source = replace(make_unread(medzoo.describe(row, classes=2)), preprocessing="torch")
    plan = medzoo.make_plan(source, medzoo.describe(row, classes=2, channels=1), recipes.copy())
    assert [step.target.name for step in plan.steps if "shift_of" in step.options] == (
        [PLACES[row]] if PLACES[row] else []
    )
    assert [step.options.get("fold") for step in plan.steps if "channels" in step.options] == (
        ["torch"] if PLACES[row] else [None]
    )


UNFOLDED = {
    "equal_channels": ("tf", 1, recipes.copy(), Adaptations()),
    "unknown_contract": ("", 1, recipes.copy(), Adaptations()),
    "not_asked_for": ("torch", 1, recipes.copy(), Adaptations(fold=False)),
    "another_way": ("torch", 1, recipes.copy(), Adaptations(channels="mean")),
    "a_map": ("torch", 1, recipes.copy(), Adaptations(channels="0:R")),
    "two_channels": ("torch", 2, recipes.copy(), Adaptations()),
    "three_channels": ("torch", 3, recipes.copy(), Adaptations()),
    "drawn": ("torch", 1, recipes.stats(norm="keep"), Adaptations()),
    "norm_reset": (
        "torch",
        1,
        (Rule("*", "fresh", roles=recipes.NORM_ROLES), Rule("*", "copy")),
        Adaptations(),
    ),
}


@pytest.mark.parametrize("name", UNFOLDED)
def test_nothing_is_folded_where_it_would_not_hold(tiny: Source, name: str) -> None:
    contract, channels, rules, adaptations = UNFOLDED[name]
    source = replace(tiny, preprocessing=contract)
    plan = medzoo.make_plan(
        source, medzoo.describe("cbr_tiny", classes=5, channels=channels), rules, adaptations=adaptations
    )
    assert not any("fold" in step.options or "shift_of" in step.options for step in plan.steps)


def test_a_kernel_that_is_standardised_before_use_is_not_folded(tiny: Source) -> None:
    """Its mean and deviation are taken out over its channels, which are others once they are summed."""
    target = medzoo.describe("cbr_tiny", classes=5, channels=1)
    axes = dict(target.axes) | {"block1_conv/kernel": "..Io"}
    source = replace(tiny, preprocessing="torch")
    for known, folded in ((target, True), (replace(target, axes=axes), False)):
        plan = medzoo.make_plan(source, known, recipes.copy())
        assert any("fold" in step.options for step in plan.steps) == folded


@pytest.mark.parametrize("between", ["relu", "its own relu", "another reader", "an output"])
def test_a_norm_that_does_not_read_the_stem_alone_is_no_place(between: str) -> None:
    """Behind a ReLU a constant is no constant, and what else reads the stem would go without it."""
    whole, target = (make_network(channels, False, between=between) for channels in (3, 1))
    plan, _ = transplant(whole, target, "torch", Adaptations())
    assert {step.target.name: dict(step.options) for step in plan.steps if step.options} == {
        "stem/kernel": {"channels": "sum"}
    }
