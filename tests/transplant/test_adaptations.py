"""Adaptations through whole plans: input channels, input sizes, heads, classes, noise, seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
import pytest
from unread_sources import make_unread

import medzoo
from medzoo import recipes
from medzoo.errors import ConfigError, PlanError
from medzoo.specs import HEAD
from medzoo.tensors import Role, Source, Target, TensorSpec
from medzoo.transplant.adaptations import Adaptations
from medzoo.transplant.channels import choose
from medzoo.transplant.input_channels import HOWS, adapt_channels
from medzoo.transplant.plan import Plan, Rule
from medzoo.transplant.resizing import resize_grid
from medzoo.transplant.run import make_tensor, run

FIRST = "block1_conv/kernel"
Arrays = dict[str, np.ndarray]
ArraysFor = Callable[..., Arrays]


def cbr(channels: int = 3, classes: int = 5) -> Target:
    return medzoo.describe("cbr_tiny", classes=classes, channels=channels)


def make_step_of(plan: Plan, source: Source, name: str) -> np.ndarray:
    """Make one tensor of a plan."""
    (step,) = (step for step in plan.steps if step.target.name == name)
    return make_tensor(step, source, plan.seed)


# --- input channels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("rules", [recipes.copy(), recipes.stats()], ids=["copy", "stats"])
def test_the_first_kernel_follows_the_way_that_was_asked_for(
    tiny: Source, how: str, channels: int, rules: tuple[Rule, ...]
) -> None:
    plan = medzoo.make_plan(tiny, cbr(channels), rules, 3, adaptations=Adaptations(channels=how))
    assert {step.target.name: step.options for step in plan.steps if step.options} == {
        FIRST: {"channels": how}
    }
    same = medzoo.make_plan(tiny, cbr(), rules, 3)
    expected = adapt_channels(make_step_of(same, tiny, FIRST), channels, how)
    assert np.array_equal(make_step_of(plan, tiny, FIRST), expected)


@pytest.mark.parametrize(
    ("text", "contract", "chosen"),
    [
        ("0:R,1:R,2:G", "", (0, 0, 1)),
        ("0:R,1:R,2:G", "caffe", (2, 2, 1)),
        ("0:2", "caffe", (2,)),
        ("1:B,0:G", "tf", (1, 2)),
        ("0:0,1:1,2:2", "torch", (0, 1, 2)),
    ],
)
def test_a_map_takes_the_colours_where_the_source_has_them(
    tiny: Source, tiny_arrays: Arrays, text: str, contract: str, chosen: tuple[int, ...]
) -> None:
    """Even where the number of channels is the same; letters follow the order of the source's contract."""
    source = replace(tiny, preprocessing=contract)
    plan = medzoo.make_plan(source, cbr(len(chosen)), recipes.copy(), adaptations=Adaptations(channels=text))
    assert np.array_equal(make_step_of(plan, source, FIRST), tiny_arrays[FIRST][:, :, chosen])


def test_luminance_weighs_green_most_in_either_order(tiny: Source, tiny_arrays: Arrays) -> None:
    kernel = tiny_arrays[FIRST].astype("float64")
    shares = {"torch": (0.299, 0.587, 0.114), "caffe": (0.114, 0.587, 0.299)}
    for contract, weights in shares.items():
        source = replace(tiny, preprocessing=contract)
        plan = medzoo.make_plan(source, cbr(1), recipes.copy(), adaptations=Adaptations(channels="luminance"))
        expected = 3 * np.einsum("hwcf,c->hwf", kernel, weights)[:, :, None]
        np.testing.assert_allclose(make_step_of(plan, source, FIRST), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        ("0:R,1:G", 3, "'0:R,1:G' maps 2 channels; .*expected the 1 of 'block1_conv/kernel'"),
        ("0:3", 3, "asks for source channel '3', and the source has 3"),
        ("0:R", 4, "source channel 'R' of 4; .*expected R, G and B of three channels, or 0 to 3"),
        ("0=R:", 3, "channel map entry '0=R:'"),
        ("luminance", 4, "luminance of 4 channels; .*expected three, red, green and blue"),
    ],
)
def test_channels_that_do_not_exist_are_refused(
    arrays_for: ArraysFor, text: str, given: int, message: str
) -> None:
    """More source channels than a map allows, letters of four, a grey value of four."""
    source = medzoo.source_from_arrays(arrays_for(cbr(given)))
    with pytest.raises(PlanError, match=message):
        medzoo.make_plan(source, cbr(1), recipes.copy(), adaptations=Adaptations(channels=text))


# --- other input sizes ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_deit() -> Target:
    """DeiT-Ti of one block at 224 pixels: a grid of 14×14 and one token."""
    return medzoo.describe("deit_ti16+depth=1", classes=5)


@pytest.fixture(scope="module")
def smaller_deit() -> Target:
    """The same at 160 pixels: 10×10."""
    return medzoo.describe("deit_ti16+depth=1", classes=5, input_size=160)


POSITIONS = "positions/pos_embed"


def test_positions_follow_the_input_s_size(
    small_deit: Target, smaller_deit: Target, arrays_for: ArraysFor
) -> None:
    arrays = arrays_for(small_deit)
    # Beside the token, a plane: 0.5 + 0.02·row − 0.01·column. Away from the edge, bilinear interpolation keeps it, and
    # a stretched kernel's few samples to a twentieth of a step.
    row, column = np.mgrid[:14, :14]
    plane = (0.5 + 0.02 * row - 0.01 * column).astype("float32").reshape(1, 196, 1)
    arrays[POSITIONS][:, 1:] = plane
    source = medzoo.source_from_arrays(arrays)
    for how, antialias, bound in (("bicubic", True, 1e-3), ("bilinear", False, 1e-6)):
        adaptations = Adaptations(interpolation=how, antialias=antialias)
        plan = medzoo.make_plan(source, smaller_deit, recipes.copy(), adaptations=adaptations)
        options = {step.target.name: dict(step.options) for step in plan.steps if step.options}
        assert options == {POSITIONS: {"prefix": 1, "resize": how, "antialias": antialias}}
        made = make_step_of(plan, source, POSITIONS)
        assert made.shape == (1, 101, 192)
        assert np.array_equal(made[:, :1], arrays[POSITIONS][:, :1])
        # Half-pixel centres: sample i of 10 lies at (i + ½)·1.4 − ½ of 14.
        places = (np.arange(10) + 0.5) * 1.4 - 0.5
        expected = 0.5 + 0.02 * places[:, None] - 0.01 * places
        grid = made[0, 1:].reshape(10, 10, 192)
        inner = slice(2, -2)
        assert np.abs(grid[inner, inner] - expected[inner, inner, None]).max() <= bound
    assert medzoo.make_plan(source, small_deit, recipes.copy()).coverage == 1.0
    same = medzoo.make_plan(source, small_deit, recipes.copy())
    assert not any(step.options for step in same.steps)


def test_positions_that_are_drawn_are_drawn_at_the_source_s_size_and_resized(
    small_deit: Target, smaller_deit: Target
) -> None:
    source = make_unread(small_deit)
    rules = recipes.stats(tokens="resample")
    plan = medzoo.make_plan(source, smaller_deit, rules, 4)
    made = make_step_of(plan, source, POSITIONS)
    whole = make_step_of(medzoo.make_plan(source, small_deit, rules, 4), source, POSITIONS)
    assert np.array_equal(made[:, :1], whole[:, :1])
    grid = resize_grid(whole[0, 1:].reshape(14, 14, 192), (10, 10))
    assert np.array_equal(made[0, 1:], grid.reshape(100, 192))


def test_both_tokens_of_a_distilled_network_stay(arrays_for: ArraysFor) -> None:
    whole = medzoo.describe("deit_ti16_distilled+depth=1", classes=5)
    target = medzoo.describe("deit_ti16_distilled+depth=1", classes=5, input_size=160)
    arrays = arrays_for(whole)
    source = medzoo.source_from_arrays(arrays)
    plan = medzoo.make_plan(source, target, recipes.copy())
    made = make_step_of(plan, source, POSITIONS)
    assert made.shape == (1, 102, 192)
    assert np.array_equal(made[:, :2], arrays[POSITIONS][:, :2])


def test_positions_of_no_square_are_refused(small_deit: Target, arrays_for: ArraysFor) -> None:
    arrays = arrays_for(small_deit) | {POSITIONS: np.zeros((1, 151, 192), "float32")}
    with pytest.raises(PlanError, match="has 151 positions, no square grid and 1 tokens"):
        medzoo.make_plan(medzoo.source_from_arrays(arrays), small_deit, recipes.copy())


def test_patches_and_positions_of_another_size(arrays_for: ArraysFor, small_deit: Target) -> None:
    """Patches of 16 pixels become patches of 32: what they answer to an enlarged patch is what they did before."""
    target = medzoo.describe("vit_ti32+depth=1", classes=5)
    arrays = arrays_for(small_deit)
    source = medzoo.source_from_arrays(arrays)
    plan = medzoo.make_plan(source, target, recipes.copy())
    options = {step.target.name: dict(step.options) for step in plan.steps if step.options}
    assert options == {
        "patch_embed/kernel": {"resize": "bicubic", "antialias": True},
        POSITIONS: {"prefix": 1, "resize": "bicubic", "antialias": True},
    }
    kernel = make_step_of(plan, source, "patch_embed/kernel")
    assert kernel.shape == (32, 32, 3, 192)
    patch = np.random.default_rng(2).uniform(-1, 1, (16, 16, 3))
    before = np.einsum("hwc,hwcf->f", patch, arrays["patch_embed/kernel"].astype("float64"))
    after = np.einsum("hwc,hwcf->f", resize_grid(patch, (32, 32)), kernel.astype("float64"))
    # The kernel is rounded to float32: 3,072 products of order 1 and 2⁻²⁵.
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


def test_patches_of_another_size_are_summed_after(arrays_for: ArraysFor, small_deit: Target) -> None:
    colours, grey = (medzoo.describe("vit_ti32+depth=1", classes=5, channels=count) for count in (3, 1))
    source = medzoo.source_from_arrays(arrays_for(small_deit))
    name = "patch_embed/kernel"
    three, one = (
        make_step_of(medzoo.make_plan(source, target, recipes.copy()), source, name)
        for target in (colours, grey)
    )
    np.testing.assert_allclose(one, three.sum(axis=2, keepdims=True, dtype="float64"), atol=1e-6)


def make_tables(rows: int) -> Target:
    """Describe two tables of relative positions, of three heads and of six."""
    names = {f"stage1_block{number}_positions/relative_position_bias_table": 3 * number for number in (1, 2)}
    return Target(
        {name: TensorSpec(name, (rows, heads), "float32", Role.POSITION) for name, heads in names.items()},
        {},
        {},
    )


def test_swin_s_tables_follow_the_window(arrays_for: ArraysFor) -> None:
    """From windows of 7×7 (13² rows) to 8×8 (15²), and back to the same."""
    arrays = arrays_for(make_tables(13**2))
    source = medzoo.source_from_arrays(arrays)
    plan = medzoo.make_plan(source, make_tables(15**2), recipes.stats())
    assert {step.method for step in plan.steps} == {"copy"}
    for name, values in run(plan, source):
        heads = values.shape[1]
        expected = resize_grid(arrays[name].reshape(13, 13, heads), (15, 15))
        assert np.array_equal(values, expected.reshape(225, heads))
        # The centre, a token and itself, stays the centre.
        assert np.abs(expected[7, 7] - arrays[name].reshape(13, 13, heads)[6, 6]).max() < 0.1
    same = medzoo.make_plan(source, make_tables(13**2), recipes.stats())
    assert not any(step.options for step in same.steps)
    with pytest.raises(PlanError, match="200 rows belongs to no window"):
        dict(run(medzoo.make_plan(source, make_tables(200), recipes.copy()), source))


# --- heads and classes ---------------------------------------------------------------------------------------


def test_the_head_is_filled_as_told_under_any_mode(tiny: Source, tiny_arrays: Arrays) -> None:
    for rules in (recipes.copy(), recipes.stats(), recipes.truncate()):
        made = {}
        for how in ("fresh", "zero", "copy"):
            plan = medzoo.make_plan(tiny, cbr(), rules, 2, adaptations=Adaptations(head=how))
            assert [step.method for step in plan.steps if step.stage == HEAD] == [how, how]
            made[how] = make_step_of(plan, tiny, "head/kernel")
            plain = medzoo.make_plan(tiny, cbr(), rules, 2)
            assert plan.steps[:-2] == plain.steps[:-2]
        assert not made["zero"].any()
        assert np.array_equal(made["copy"], tiny_arrays["head/kernel"])
        assert made["fresh"].std() > 0
        assert not np.isin(made["fresh"], tiny_arrays["head/kernel"]).any()


def test_a_head_that_is_to_be_copied_must_have_the_classes(tiny: Source) -> None:
    with pytest.raises(PlanError, match="'head/kernel' is 256×5 in the source, 256×2 in the target"):
        medzoo.make_plan(tiny, cbr(classes=2), recipes.copy(), adaptations=Adaptations(head="copy"))
    for how in ("fresh", "zero"):
        plan = medzoo.make_plan(tiny, cbr(classes=2), recipes.copy(), adaptations=Adaptations(head=how))
        assert [step.method for step in plan.steps[-2:]] == [how, how]


@pytest.mark.parametrize("rules", [recipes.copy(), recipes.stats()], ids=["copy", "stats"])
def test_classes_that_are_mapped_keep_their_weights_and_others_start_afresh(
    tiny: Source, tiny_arrays: Arrays, rules: tuple[Rule, ...]
) -> None:
    target = cbr(classes=4)
    plan = medzoo.make_plan(tiny, target, rules, 2, adaptations=Adaptations(classes="0:3,2:1"))
    fresh = medzoo.make_plan(tiny, target, recipes.random(), 2)
    for name in ("head/kernel", "head/bias"):
        made, start = make_step_of(plan, tiny, name), make_step_of(fresh, tiny, name)
        assert np.array_equal(made[..., [0, 2]], tiny_arrays[name][..., [3, 1]])
        assert np.array_equal(made[..., [1, 3]], start[..., [1, 3]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0-3", "classes '0-3' .*expected pairs TARGET:SOURCE"),
        ("0:a", "classes '0:a' .*expected pairs TARGET:SOURCE"),
        ("0:1,", "classes '0:1,' .*expected pairs TARGET:SOURCE"),
        ("4:0", "class '4:0' of a map .*expected each of 0 to 3 at most once, to one of 0 to 4"),
        ("0:5", "class '0:5' of a map"),
        ("0:1,0:2", "class '0:2' of a map"),
        ("-1:0", "classes '-1:0'"),
    ],
)
def test_classes_that_are_not_there_are_refused(tiny: Source, text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        medzoo.make_plan(tiny, cbr(classes=4), recipes.copy(), adaptations=Adaptations(classes=text))


def test_mapped_classes_need_a_head_in_the_source_and_a_known_start(tiny_arrays: Arrays) -> None:
    headless = {name: values for name, values in tiny_arrays.items() if not name.startswith("head/")}
    wanted = Adaptations(classes="0:1")
    with pytest.raises(PlanError, match="the source has no 'head/kernel' 256×4"):
        medzoo.make_plan(
            medzoo.source_from_arrays(headless), cbr(classes=4), recipes.copy(), adaptations=wanted
        )
    target = cbr(classes=4)
    unknown = {name: replace(spec, initializer=None) for name, spec in target.tensors.items()}
    with pytest.raises(PlanError, match="'head/kernel' has an initializer that only its model can run"):
        medzoo.make_plan(
            medzoo.source_from_arrays(tiny_arrays),
            replace(target, tensors=unknown),
            recipes.copy(),
            adaptations=wanted,
        )


def test_classes_are_mapped_in_both_heads_of_a_distilled_network(arrays_for: ArraysFor) -> None:
    whole = medzoo.describe("deit_ti16_distilled", classes=5)
    target = medzoo.describe("deit_ti16_distilled", classes=2)
    arrays = arrays_for(whole)
    source = medzoo.source_from_arrays(arrays)
    plan = medzoo.make_plan(source, target, recipes.copy(), adaptations=Adaptations(classes="0:4,1:0"))
    for name in ("head/kernel", "head/bias", "head_distillation/kernel", "head_distillation/bias"):
        assert np.array_equal(make_step_of(plan, source, name), arrays[name][..., [4, 0]])


def test_classes_are_mapped_where_the_head_reads_fewer_features(arrays_for: ArraysFor) -> None:
    target = medzoo.describe("mobilenet_050", classes=2)
    arrays = arrays_for(medzoo.describe("mobilenet_100", classes=5))
    source = medzoo.source_from_arrays(arrays)
    wanted = Adaptations(pick="even", classes="1:3")
    plan = medzoo.make_plan(source, target, recipes.copy(), adaptations=wanted)
    made = make_step_of(plan, source, "head/kernel")
    kept = choose("even", 1024, 512)
    assert np.array_equal(made[:, 1], arrays["head/kernel"][kept, 3])
    assert not np.isin(made[:, 0], arrays["head/kernel"]).any()


# --- noise and seeds -----------------------------------------------------------------------------------------


def test_noise_of_a_wider_network_is_a_share_of_each_kernel_s_deviation(arrays_for: ArraysFor) -> None:
    target = medzoo.describe("mobilenet_050", classes=5)
    source = medzoo.source_from_arrays(arrays_for(medzoo.describe("mobilenet_025", classes=5)))
    plain, noisy, again, other = (
        medzoo.make_plan(
            source, target, recipes.widen(), seed, adaptations=Adaptations(pick="widen", noise=noise)
        )
        for seed, noise in ((1, 0.0), (1, 0.01), (1, 0.01), (2, 0.01))
    )
    name = "conv_pw_5/kernel"
    values, loud, same, another = (
        make_step_of(plan, source, name).astype("float64") for plan in (plain, noisy, again, other)
    )
    assert abs((loud - values).std() / values.std() - 0.01) < 0.01 * 4.5 / np.sqrt(2 * values.size)
    assert np.array_equal(loud, same)
    assert not np.array_equal(loud, another)
    # Each kernel's noise is its own.
    second = "conv_pw_6/kernel"
    differences = [
        (loud - values).ravel()[:4096],
        (make_step_of(noisy, source, second).astype("float64") - make_step_of(plain, source, second)).ravel()[
            :4096
        ],
    ]
    assert abs(np.corrcoef(*differences)[0, 1]) < 4.5 / np.sqrt(4096)
    gamma = "conv_pw_5_bn/gamma"
    assert np.array_equal(make_step_of(plain, source, gamma), make_step_of(noisy, source, gamma))


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**63])
def test_a_seed_decides_over_all_that_is_drawn(tiny: Source, seed: int) -> None:
    target = cbr(2)
    for rules in (recipes.stats(), recipes.random()):
        first, again, other = (
            medzoo.make_plan(tiny, target, rules, number) for number in (seed, seed, seed + 1)
        )
        assert first == again
        name = "block2_conv/kernel"
        values = make_step_of(first, tiny, name)
        assert np.array_equal(values, make_step_of(again, tiny, name))
        assert abs(np.corrcoef(values.ravel(), make_step_of(other, tiny, name).ravel())[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": ""}, "--channel-mode ; expected one of sum"),
        ({"pick": "last"}, "--pick last; expected one of first, even, widen"),
        ({"inflate": "mirror"}, "--inflate mirror"),
        ({"head": "half"}, "--head-weights half"),
        ({"interpolation": "nearest"}, "--interpolation nearest"),
        ({"noise": -1.0}, "noise -1.0; expected 0 or more"),
        ({"noise": float("inf")}, "noise inf; expected 0 or more"),
    ],
)
def test_words_that_are_none_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Adaptations(**options)  # type: ignore[arg-type]


def test_volumes_of_images_need_a_way_to_be_filled(arrays_for: ArraysFor) -> None:
    inputs = keras.Input((4, 6, 6, 2))
    model = keras.Model(inputs, keras.layers.Conv3D(3, 3, name="stem")(inputs))
    target = medzoo.describe(model)
    kernel = np.random.default_rng(1).normal(size=(3, 3, 2, 3)).astype("float32")
    source = medzoo.source_from_arrays({"stem/kernel": kernel, "stem/bias": np.ones(3, "float32")})
    with pytest.raises(
        PlanError, match=r"'stem/kernel' is 3×3×3×2×3 here and 2-D in the source.*--inflate mean"
    ):
        medzoo.make_plan(source, target, recipes.copy())
    plan = medzoo.make_plan(source, target, recipes.copy(), adaptations=Adaptations(inflate="centre"))
    made = make_step_of(plan, source, "stem/kernel")
    assert np.array_equal(made[1], kernel)
    assert not made[[0, 2]].any()
    plan = medzoo.make_plan(source, target, recipes.stats(), 3, adaptations=Adaptations(inflate="mean"))
    drawn = make_step_of(plan, source, "stem/kernel")
    assert np.array_equal(drawn[0], drawn[1])
    assert np.abs(drawn.sum(axis=0)).max() > 0.3
