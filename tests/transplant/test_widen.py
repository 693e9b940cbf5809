"""Net2WiderNet: wider networks that answer as their source does, and those that could not."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import layers
from random_networks import measure_difference, randomize, read_source, transplant
from thinned_networks import CASES, build_attending, conv, finish

import medzoo
from medzoo import recipes
from medzoo.errors import PlanError
from medzoo.tensors import name_variables
from medzoo.transplant.adaptations import Adaptations
from medzoo.transplant.ranges import read_indices

#: Sums of some hundred products in float32, in another order, through a few layers.
EXACT = 1e-5
WIDEN = Adaptations(pick="widen")

#: Cases whose channels cannot be repeated, by why.
NOT_WIDENED = {
    "fewer groups": "heads or groups",
    "narrower groups": "heads or groups",
    "attention": "heads or groups",
}


@pytest.mark.parametrize("name", sorted(set(CASES) - set(NOT_WIDENED)))
def test_a_wider_network_answers_as_its_source(name: str) -> None:
    """Every network that can be made narrower, the other way: sums, concatenations, gates, depthwise filters."""
    case = CASES[name]
    source, network = randomize(case.build(case.narrow)), case.build(case.wide)
    plan = transplant(source, network, WIDEN, recipes.widen(), seed=3)
    assert plan.coverage == 1.0
    assert measure_difference(source, network) <= EXACT


@pytest.mark.parametrize("name", NOT_WIDENED)
def test_heads_and_groups_are_not_widened(name: str) -> None:
    case = CASES[name]
    with pytest.raises(PlanError, match=f"in {NOT_WIDENED[name]}, which cannot be widened") as error:
        transplant(randomize(case.build(case.narrow)), case.build(case.wide), WIDEN)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "wider"),
    [
        ("cbr_tiny", "cbr_tiny+width=2"),
        ("mobilenet_050", "mobilenet_100"),
        ("resnet18_torch@conv3", "resnet18_torch+width=1.5@conv3"),
    ],
)
def test_a_wider_row_answers_as_its_source(name: str, wider: str) -> None:
    source = randomize(medzoo.build(name, classes=4, channels=3, input_size=32))
    network = medzoo.build(wider, classes=4, channels=3, input_size=32)
    transplant(source, network, WIDEN, recipes.widen())
    assert measure_difference(source, network) <= EXACT


def plan_wider(name: str, seed: int) -> dict[str, tuple[np.ndarray, ...]]:
    """Plan a widening and give the indices that each tensor takes, an array an axis."""
    case = CASES[name]
    source = read_source(randomize(case.build(case.narrow)))
    plan = medzoo.make_plan(
        source, medzoo.describe(case.build(case.wide)), recipes.widen(), seed, adaptations=WIDEN
    )
    assert all(step.source is not None for step in plan.steps)
    return {
        step.target.name: tuple(
            read_indices(text, size)
            for text, size in zip(step.ranges or [""] * 4, step.source.shape, strict=False)  # type: ignore[union-attr]
        )
        for step in plan.steps
    }


def test_what_is_summed_repeats_the_same_channels() -> None:
    taken = plan_wider("residual sums", seed=0)
    repeated = taken["x0/kernel"][3]
    assert repeated[:3].tolist() == [0, 1, 2]
    assert len(repeated) == 8
    assert set(repeated.tolist()) == {0, 1, 2}
    for name in ("x2/kernel", "y2/kernel"):
        assert np.array_equal(taken[name][3], repeated)
    for name in ("y1/kernel",):
        assert np.array_equal(taken[name][2], repeated)
    assert np.array_equal(taken["head/kernel"][0], repeated)


def test_what_is_concatenated_keeps_its_offsets() -> None:
    taken = plan_wider("dense blocks", seed=1)
    stem, first, second = (taken[f"{name}/kernel"][3] for name in ("stem", "x1b", "x2b"))
    expected = np.concatenate([stem, first + 4, second + 4 + 2])
    assert np.array_equal(taken["pool/kernel"][2], expected)
    assert np.array_equal(taken["pool_bn/gamma"][0], expected)


def test_repeats_hang_on_the_seed_and_the_layer() -> None:
    first, again, other = (plan_wider("chain", seed)["b/kernel"][3].tolist() for seed in (0, 0, 1))
    assert first == again != other
    taken = plan_wider("depthwise", seed=0)
    assert taken["d/kernel"][2].tolist() != taken["a/kernel"][3].tolist()


def test_readers_share_each_value_among_its_repeats() -> None:
    case = CASES["chain"]
    source, network = randomize(case.build(case.narrow)), case.build(case.wide)
    transplant(source, network, WIDEN)
    repeated = plan_wider("chain", seed=0)["a/kernel"][3]
    old, new = (np.asarray(name_variables(each)["b/kernel"]) for each in (source, network))
    for channel in range(3):
        together = new[:, :, repeated == channel, :3].sum(axis=2)
        np.testing.assert_allclose(together, old[:, :, channel], atol=1e-6)


def test_noise_tells_repeats_apart_and_is_reproducible() -> None:
    case = CASES["chain"]
    source = randomize(case.build(case.narrow))
    made: list[dict[str, np.ndarray]] = []
    for noise in (0.0, 0.01, 0.01):
        network = case.build(case.wide)
        transplant(source, network, Adaptations(pick="widen", noise=noise), seed=5)
        made.append({name: np.asarray(one) for name, one in name_variables(network).items()})
        difference = measure_difference(source, network)
        assert difference <= EXACT if not noise else 1e-4 < difference < 0.3
    exact, noisy, again = made
    assert {name: values.tobytes() for name, values in noisy.items()} == {
        name: values.tobytes() for name, values in again.items()
    }
    twin = plan_wider("chain", seed=5)["a/kernel"][3][3:]  # what the fourth to sixth channel repeat
    for channel, of in enumerate(twin, start=3):
        assert np.array_equal(exact["a/kernel"][..., channel], exact["a/kernel"][..., of])
        assert not np.array_equal(noisy["a/kernel"][..., channel], noisy["a/kernel"][..., of])
    for name, values in noisy.items():
        moved = values - exact[name]
        if not name.endswith("/kernel"):
            assert not moved.any()
        elif moved.any():
            assert 0.005 < moved.std() / exact[name].std() < 0.02


def build_normed(width: int, norm: Callable[[], layers.Layer]) -> keras.Model:
    """Build two convolutions with a norm between."""
    image = keras.Input((8, 8, 3))
    return finish(image, conv(3, "b")(norm()(conv(width, "a")(image))))


@pytest.mark.parametrize(
    "norm",
    [
        lambda: layers.LayerNormalization(name="norm"),
        lambda: layers.GroupNormalization(2, name="norm"),
        lambda: layers.RMSNormalization(name="norm"),
    ],
)
def test_norms_over_channels_are_not_widened(norm: Callable[[], layers.Layer]) -> None:
    with pytest.raises(
        PlanError, match=r"'norm/.*' normalises over channels, which repeated ones would change"
    ):
        transplant(build_normed(4, norm), build_normed(6, norm), WIDEN)


@pytest.mark.parametrize("name", ["bit_r50x1", "convnext_tiny", "deit_ti16", "swin_t"])
def test_rows_that_cannot_be_widened_are_refused(name: str) -> None:
    source, wider = {
        "bit_r50x1": ("bit_r50x1@block1", "bit_r50x1+width=2@block1"),
        "convnext_tiny": ("convnext_tiny@stage_0", "convnext_base@stage_0"),
        "deit_ti16": ("deit_ti16+depth=1", "deit_ti16+depth=1+width=2"),
        "swin_t": ("swin_t@stage1", "swin_t+width=2@stage1"),
    }[name]
    weights = medzoo.describe(source, classes=2)
    arrays = {tensor: np.ones(spec.shape, "float32") for tensor, spec in weights.tensors.items()}
    with pytest.raises(PlanError, match=r"normalises over channels|heads or groups") as error:
        medzoo.make_plan(
            medzoo.source_from_arrays(arrays),
            medzoo.describe(wider, classes=2),
            recipes.widen(),
            adaptations=WIDEN,
        )
    assert "\n" not in str(error.value)


def test_one_head_is_not_widened_either() -> None:
    """Scores are sums over a head's channels: repeated ones would count twice."""
    widths = {"query": 4, "key": 4, "value": 4, "heads": 1, "hidden": 4}
    source = randomize(build_attending(widths))
    with pytest.raises(PlanError, match="'query' makes 4 channels in the source, 6 here, in heads or groups"):
        transplant(source, build_attending({**widths, "query": 6, "key": 6, "value": 6}), WIDEN)


def test_what_lies_beside_attention_is_widened() -> None:
    widths = {"query": 4, "key": 4, "value": 4, "heads": 2, "hidden": 4}
    source, network = randomize(build_attending(widths)), build_attending({**widths, "hidden": 9})
    transplant(source, network, WIDEN)
    assert measure_difference(source, network) <= EXACT


def test_a_narrower_network_is_no_wider_one() -> None:
    case = CASES["chain"]
    with pytest.raises(PlanError, match=r"'a' makes 6 channels in the source, 3 here.*--mode select"):
        transplant(randomize(case.build(case.wide)), case.build(case.narrow), WIDEN)
