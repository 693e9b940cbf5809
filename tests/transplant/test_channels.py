"""Input channels: timm's rule, exact; only in layers that read the image."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import medzoo
from medzoo import recipes
from medzoo.errors import PlanError
from medzoo.tensors import Role, Source, Target, TensorSpec
from medzoo.transplant.input_channels import adapt_channels
from medzoo.transplant.run import run


def make_kernel(channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, 3, channels, 4)).astype("float32")


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 6), st.integers(0, 1000))
def test_one_channel_answers_a_grey_image_as_all_did_its_copies(channels: int, seed: int) -> None:
    kernel = make_kernel(channels, seed)
    grey = np.random.default_rng(seed + 1).uniform(-1, 1, (1, 8, 8, 1)).astype("float32")
    replicated = np.repeat(grey, channels, axis=-1)
    expected = np.asarray(keras.ops.conv(replicated, kernel))
    adapted = adapt_channels(kernel, 1, "sum")
    assert adapted.shape == (3, 3, 1, 4)
    # Sums of some fifty products of order 1 in float32: 50·2**-24 ≈ 3e-6 at most.
    assert np.abs(np.asarray(keras.ops.conv(grey, adapted)) - expected).max() <= 1e-5


@pytest.mark.parametrize("channels", [2, 4, 5, 6, 7, 9])
def test_any_other_number_repeats_cuts_and_scales_rgb(channels: int) -> None:
    """timm's `adapt_input_conv`: repeat RGB ⌈n/3⌉ times, cut to n, multiply by 3/n."""
    kernel = make_kernel(3)
    tiled = np.tile(kernel.astype("float64"), (1, 1, math.ceil(channels / 3), 1))[:, :, :channels]
    expected = (tiled * (3 / channels)).astype("float32")
    adapted = adapt_channels(kernel, channels, "sum")
    assert adapted.dtype == "float32"
    assert np.array_equal(adapted, expected)


def test_the_same_number_changes_nothing() -> None:
    kernel = make_kernel(3)
    assert adapt_channels(kernel, 3, "sum").tobytes() == kernel.tobytes()


@given(st.integers(1, 6), st.integers(1, 4))
def test_a_multiple_keeps_the_answer_to_an_image_repeated_as_often(channels: int, times: int) -> None:
    kernel = make_kernel(channels)
    adapted = adapt_channels(kernel, channels * times, "sum").astype("float64")
    if channels * times > 1:
        assert np.allclose(adapted.sum(axis=-2), kernel.astype("float64").sum(axis=-2), atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
@pytest.mark.parametrize("method", ["copy", "stats"])
def test_a_plan_adapts_the_first_kernel_alone(
    tiny: Source, tiny_arrays: dict[str, np.ndarray], channels: int, method: str
) -> None:
    target = medzoo.describe("cbr_tiny", classes=5, channels=channels)
    same = medzoo.describe("cbr_tiny", classes=5, channels=3)
    rules = {"copy": recipes.copy(), "stats": recipes.stats()}[method]
    plan = medzoo.make_plan(tiny, target, rules, seed=2)
    assert [step.target.name for step in plan.steps if step.options] == ["block1_conv/kernel"]
    made = dict(run(plan, tiny))
    at_source = dict(run(medzoo.make_plan(tiny, same, rules, seed=2), tiny))
    expected = adapt_channels(at_source.pop("block1_conv/kernel"), channels, "sum")
    # Drawn at the source's shape, then adapted: everything else is the same.
    assert np.array_equal(made.pop("block1_conv/kernel"), expected)
    assert {n: v.tobytes() for n, v in made.items()} == {n: v.tobytes() for n, v in at_source.items()}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("block1_conv/kernel", (7, 7, 3, 32)),  # another window
        ("block1_conv/kernel", (5, 5, 3, 64)),  # other filters
        ("block1_conv/kernel", (5, 3, 32)),  # another rank
        ("block2_conv/kernel", (5, 5, 16, 64)),  # a layer that does not read the image
        ("block1_bn/gamma", (3,)),  # no kernel
        ("head/kernel", (128, 5)),  # a head for other features
    ],
)
def test_other_shapes_are_refused(
    tiny_arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...]
) -> None:
    source = medzoo.source_from_arrays(tiny_arrays | {name: np.zeros(shape, "float32")})
    target = medzoo.describe("cbr_tiny", classes=5, channels=1)
    found = "×".join(map(str, shape))
    with pytest.raises(PlanError, match=f"'{name}' is {found} in the source, .* in the target"):
        medzoo.make_plan(source, target, recipes.copy())


@pytest.mark.parametrize("first", [keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D])
def test_filters_of_single_channels_are_never_summed(
    arrays_for: Callable[..., dict[str, np.ndarray]], first: type[keras.layers.Layer]
) -> None:
    """Σ_c a_c·b_c of a depthwise kernel and the mixing one after it is not (Σ a_c)·(Σ b_c)."""

    def target(channels: int) -> Target:
        inputs = keras.Input((8, 8, channels))
        options = {"kernel_size": 3, "name": "first", "use_bias": False}
        if first is keras.layers.SeparableConv2D:
            options["filters"] = 4
        mixed = keras.layers.Conv2D(4, 1, name="mix", use_bias=False)(first(**options)(inputs))
        return medzoo.describe(keras.Model(inputs, mixed))

    source = medzoo.source_from_arrays(arrays_for(target(3)))
    with pytest.raises(PlanError, match=r"'first/.*kernel' is 3×3×3×1 in the source, 3×3×1×1 in the target"):
        medzoo.make_plan(source, target(1), recipes.copy())
    assert medzoo.make_plan(source, target(3), recipes.copy()).coverage == 1.0


def test_without_a_graph_no_kernel_is_adapted(arrays_for: Callable[..., dict[str, np.ndarray]]) -> None:
    def target(channels: int) -> Target:
        spec = TensorSpec("conv/kernel", (3, 3, channels, 4), "float32", Role.KERNEL)
        return Target({spec.name: spec}, {}, {})

    source = medzoo.source_from_arrays(arrays_for(target(3)))
    with pytest.raises(PlanError, match="3×3×3×4 in the source, 3×3×1×4 in the target"):
        medzoo.make_plan(source, target(1), recipes.copy())
