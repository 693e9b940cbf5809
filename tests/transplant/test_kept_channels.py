"""Narrower networks answer as the source does once it ignores the channels that are dropped: exact oracles."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from random_networks import measure_difference, randomize, transplant
from thinned_networks import CASES, Case, Reads, Widths, add_norm, build_chain, conv, finish

import medzoo
from medzoo import recipes
from medzoo.tensors import name_variables
from medzoo.transplant.adaptations import Adaptations

#: Sums of some hundred products in float32, in another order, through a few layers.
EXACT = 1e-5


def ignore_dropped(network: keras.Model, case: Case, pick: str) -> None:
    """Zero what a source's kernels make of the channels that are dropped."""
    variables = name_variables(network)
    for name, text in case.reads.items():
        kernel = np.asarray(variables[name]).copy()
        layer = next(each for each in network._flatten_layers() if each.name == name.split("/")[-2])
        kept = case.list_kept(pick, text)
        groups = getattr(layer, "groups", 1)
        if isinstance(layer, layers.Conv2DTranspose):
            kernel[..., np.setdiff1d(np.arange(kernel.shape[-1]), kept)] = 0
        elif groups > 1:
            width, made = kernel.shape[-2], kernel.shape[-1] // groups
            for channel in np.setdiff1d(np.arange(width * groups), kept):
                group = channel // width
                kernel[..., channel % width, group * made : (group + 1) * made] = 0
        else:
            dropped = np.setdiff1d(np.arange(kernel.shape[-2]), kept)
            assert not len(kept) or max(kept) < kernel.shape[-2]
            kernel[..., dropped, :] = 0
        variables[name].assign(kernel)


@pytest.mark.parametrize("pick", ["first", "even"])
@pytest.mark.parametrize("name", CASES)
def test_a_narrower_network_answers_as_the_source_without_what_was_dropped(name: str, pick: str) -> None:
    case = CASES[name]
    source, network = randomize(case.build(case.wide)), case.build(case.narrow)
    before = randomize(case.build(case.wide))
    plan = transplant(source, network, Adaptations(pick=pick))
    assert plan.coverage == 1.0
    ignore_dropped(source, case, pick)
    assert measure_difference(before, source) > 0.01  # what was dropped mattered
    assert measure_difference(source, network) <= EXACT


def list_reads(first: str, *names: str) -> dict[str, str]:
    """List what a chain's kernels read."""
    return {f"{name}/kernel": before for before, name in zip((first, *names), names, strict=False)}


def read_mobilenet() -> Reads:
    """List what MobileNet's pointwise kernels read: what the one before made, by way of depthwise filters."""
    return list_reads("conv1", *(f"conv_pw_{block}" for block in range(1, 14)), "head")


def read_residual_stages() -> Reads:
    """List what resnet18's kernels read up to its third stage: the stages' sums by one of what is summed."""
    return {
        **{f"conv2_block{block}_1_conv/kernel": "conv1_conv" for block in (1, 2)},
        "conv3_block1_0_conv/kernel": "conv1_conv",
        "conv3_block1_1_conv/kernel": "conv1_conv",
        "conv3_block2_1_conv/kernel": "conv3_block1_0_conv",
        "head/kernel": "conv3_block1_0_conv",
        **{
            f"conv{stage}_block{block}_2_conv/kernel": f"conv{stage}_block{block}_1_conv"
            for stage in (2, 3)
            for block in (1, 2)
        },
    }


def read_dense_stages() -> Reads:
    """List what densenet121's kernels read up to its first transition."""
    reads, below = {}, "conv1_conv"
    for block in range(1, 7):
        reads[f"conv2_block{block}_1_conv/kernel"] = below
        reads[f"conv2_block{block}_2_conv/kernel"] = f"conv2_block{block}_1_conv"
        below = f"{below} conv2_block{block}_2_conv"
    return reads | {"pool2_conv/kernel": below, "head/kernel": "pool2_conv"}


ROWS = {
    "mobilenet_100": ("mobilenet_050", read_mobilenet()),
    "resnet18_torch@conv3": ("resnet18_torch+width=0.5@conv3", read_residual_stages()),
    "densenet121@pool2": ("densenet121+slim=conv1:2@pool2", read_dense_stages()),
}


def measure_widths(network: keras.Model) -> Widths:
    """Measure how many channels each layer makes."""
    kernels = {
        name: tuple(one.shape) for name, one in name_variables(network).items() if name.endswith("/kernel")
    }
    return {name.removesuffix("/kernel"): shape[-1] for name, shape in kernels.items()}


@pytest.mark.parametrize("pick", ["first", "even"])
@pytest.mark.parametrize("name", ROWS)
def test_a_narrower_row_answers_as_the_source_without_what_was_dropped(name: str, pick: str) -> None:
    """Rows of the catalogue: width, and what the hybrid of TTL makes thinner above a cut."""
    other, reads = ROWS[name]
    source = randomize(medzoo.build(name, classes=4, channels=3, input_size=32))
    network = medzoo.build(other, classes=4, channels=3, input_size=32)
    assert network.count_params() < source.count_params()
    transplant(source, network, Adaptations(pick=pick))
    case = Case(build_chain, measure_widths(source), measure_widths(network), reads)
    assert any(case.wide[layer] > case.narrow[layer] for text in reads.values() for layer in text.split())
    ignore_dropped(source, case, pick)
    assert measure_difference(source, network) <= EXACT


def test_a_cut_network_gives_what_the_source_has_there() -> None:
    source = randomize(medzoo.build("resnet18", classes=4, channels=3, input_size=32))
    network = medzoo.build("resnet18@conv3", channels=3, input_size=32, head="none")
    ignored = [f"conv{stage}_*" for stage in (4, 5)] + ["head/*"]
    transplant(source, network, Adaptations(), recipes.truncate(), ignore=ignored)
    within = keras.Model(source.input, source.get_layer("conv3_block2_out").output)
    assert measure_difference(within, network) == 0.0


def test_selected_values_are_the_source_s_own() -> None:
    case = CASES["residual sums"]
    source, network = randomize(case.build(case.wide)), case.build(case.narrow)
    transplant(source, network, Adaptations(pick="even"), recipes.select())
    wide, narrow = name_variables(source), name_variables(network)
    kernel = np.asarray(wide["y2/kernel"])[:, :, [0, 2, 4, 6]][..., [0, 4, 7]]
    assert np.array_equal(np.asarray(narrow["y2/kernel"]), kernel)
    assert np.array_equal(np.asarray(narrow["x0_bn/gamma"]), np.asarray(wide["x0_bn/gamma"])[[0, 4, 7]])


def test_other_input_channels_and_other_widths_go_together() -> None:
    case = CASES["chain"]
    source = randomize(case.build(case.wide))
    image = keras.Input((8, 8, 1))
    features = image
    for name in "abc":
        features = add_norm(conv(case.narrow[name], name)(features), f"{name}_bn")
    network = finish(image, features)
    transplant(source, network, Adaptations(pick="even"))
    ignore_dropped(source, case, "even")
    grey = np.random.default_rng(3).normal(size=(2, 8, 8, 1)).astype("float32")
    expected = np.asarray(source(np.repeat(grey, 3, axis=-1)))
    assert np.abs(np.asarray(network(grey)) - expected).max() <= EXACT * np.abs(expected).max()


def test_mapped_classes_and_other_widths_go_together() -> None:
    case = CASES["chain"]
    source = randomize(case.build(case.wide))
    image = keras.Input((8, 8, 3))
    features = image
    for name in "abc":
        features = add_norm(conv(case.narrow[name], name)(features), f"{name}_bn")
    network = keras.Model(image, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(features)))
    transplant(source, network, Adaptations(pick="even", classes="0:3,1:1"))
    ignore_dropped(source, case, "even")
    logits = keras.Model(source.input, keras.ops.take(source.output, [3, 1], axis=-1))
    assert measure_difference(logits, network) <= EXACT
