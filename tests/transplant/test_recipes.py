"""Recipes: which tensors are copied, drawn and started afresh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from unread_sources import make_unread

import medzoo
from medzoo import recipes
from medzoo.errors import ConfigError, PlanError
from medzoo.specs import HEAD, find_stage, name_stage
from medzoo.tensors import Initializer, Role, Target, TensorSpec
from medzoo.transplant.plan import Rule
from medzoo.transplant.run import run

#: The first row of each family.
ROWS = list({spec.family: spec.name for spec in reversed(medzoo.list_models())}.values())


def copied_layers(name: str, upto: str) -> set[str]:
    spec, target = medzoo.find_model(name), medzoo.describe(name, classes=2)
    plan = medzoo.make_plan(make_unread(target), target, recipes.transfusion(spec.stages, upto))
    copied = {step.target.name for step in plan.steps if step.method == "copy"}
    layers = {tensor.rpartition("/")[0] for tensor in copied}
    # A layer is copied whole: kernel, scale, shift and moving statistics.
    assert copied == {tensor for tensor in target.tensors if tensor.rpartition("/")[0] in layers}
    assert {step.method for step in plan.steps} <= {"copy", "fresh"}
    return layers


@pytest.mark.parametrize("name", ROWS)
def test_transfusion_copies_every_layer_up_to_the_stage_and_none_above(name: str) -> None:
    stages = medzoo.find_model(name).stages
    layers = [tensor.rpartition("/")[0] for tensor in medzoo.describe(name).tensors]
    order = [stage.name for stage in stages]
    for stage in stages:
        expected = {
            layer for layer in layers if order.index(name_stage(stages, layer)) <= order.index(stage.name)
        }
        assert copied_layers(name, stage.name) == expected


def test_transfusion_up_to_a_block_of_resnet50() -> None:
    copied = copied_layers("resnet50", "conv3_block2")
    blocks = {layer.rsplit("_", 2)[0] for layer in copied}
    assert blocks == {"conv1", "conv2_block1", "conv2_block2", "conv2_block3", "conv3_block1", "conv3_block2"}
    # conv1 and bn; two projection blocks of 4 pairs, three plain ones of 3 pairs.
    assert len(copied) == 2 + 2 * 8 + 3 * 6
    assert {f"conv3_block2_{part}" for part in ("1_conv", "3_bn")} <= copied
    assert copied_layers("resnet50", "conv3_block4") == copied_layers("resnet50", "conv3")


@pytest.mark.parametrize("stage", ["conv3_block5", "block3", "Conv3"])
def test_an_unknown_stage_is_named_with_the_nearest(stage: str) -> None:
    with pytest.raises(
        ConfigError, match=f"no stage '{stage}' in this network; expected one of 'conv"
    ) as error:
        recipes.transfusion(medzoo.find_model("resnet50").stages, stage)
    assert "\n" not in str(error.value)


def test_the_head_of_a_full_transfusion_follows_the_classes(
    arrays_for: Callable[..., dict[str, np.ndarray]],
) -> None:
    spec = medzoo.find_model("cbr_tiny")
    source = medzoo.source_from_arrays(arrays_for(medzoo.describe(spec, classes=5)))
    for classes, method in ((5, "copy"), (2, "fresh")):
        target = medzoo.describe(spec, classes=classes)
        plan = medzoo.make_plan(source, target, recipes.transfusion(spec.stages, HEAD))
        assert plan.steps[-1].method == method
        assert plan.steps[0].method == "copy"


NEUTRAL = {Role.NORM_SCALE: 1, Role.NORM_SHIFT: 0, Role.MOVING_MEAN: 0, Role.MOVING_VARIANCE: 1}


@pytest.mark.parametrize("norm", recipes.NORMS)
def test_stats_draws_kernels_and_treats_norms_as_told(
    arrays_for: Callable[..., dict[str, np.ndarray]], norm: str
) -> None:
    target = medzoo.describe("cbr_tiny", classes=5)
    arrays = arrays_for(target)
    source = medzoo.source_from_arrays(arrays)
    plan = medzoo.make_plan(source, target, recipes.stats(norm=norm))
    made = dict(run(plan, source))
    for step in plan.steps:
        name, role = step.target.name, step.target.role
        if name.startswith("head/"):
            assert step.method == "fresh"
        elif role is Role.KERNEL:
            assert step.method == "resample"
            assert not np.array_equal(made[name], arrays[name])
        elif norm == "keep":
            assert np.array_equal(made[name], arrays[name])
        elif norm == "reset":
            assert np.array_equal(made[name], np.full(step.target.shape, NEUTRAL[role]))
        elif role is Role.MOVING_VARIANCE:
            # Never drawn: a normal draw can be negative.
            mean = np.float32(arrays[name].mean(dtype="float64"))
            assert np.array_equal(made[name], np.full(step.target.shape, mean))
        else:
            assert step.method == "resample"
            assert len(np.unique(made[name])) > 1
            assert not np.isin(made[name], arrays[name]).any()


def methods_of(rules: tuple[Rule, ...], row: str = "deit_ti16") -> dict[Role, set[str]]:
    """Say by which methods a network's tensors of each role are made, its head aside."""
    target = medzoo.describe(row, classes=2)
    methods: dict[Role, set[str]] = {}
    for step in medzoo.make_plan(make_unread(target), target, rules).steps:
        if step.stage != HEAD:
            methods.setdefault(step.target.role, set()).add(step.method)
        else:
            assert step.method == "fresh"
    return methods


def test_stats_of_a_transformer_draw_kernels_and_biases_and_nothing_else() -> None:
    expected = {
        Role.KERNEL: {"resample"},
        Role.BIAS: {"resample"},
        Role.NORM_SCALE: {"fresh"},
        Role.NORM_SHIFT: {"fresh"},
        Role.TOKEN: {"copy"},
        Role.POSITION: {"copy"},
    }
    assert methods_of(recipes.stats()) == expected
    assert methods_of(recipes.stats(bias="zero")) == expected | {Role.BIAS: {"zero"}}
    drawn = {key: {"resample"} for key in (Role.NORM_SCALE, Role.NORM_SHIFT)}
    assert methods_of(recipes.stats(norm="resample")) == expected | drawn
    for word, method in (("keep", "copy"), ("resample", "resample"), ("zero", "zero")):
        structure = {key: {method} for key in (Role.TOKEN, Role.POSITION)}
        assert methods_of(recipes.stats(tokens=word)) == expected | structure
    for sampler in ("shuffle", "bootstrap"):
        values = {key: {sampler} for key in (Role.KERNEL, Role.BIAS)}
        assert methods_of(recipes.stats(sampler=sampler)) == expected | values


@pytest.mark.parametrize("sampler", recipes.SAMPLERS)
def test_no_sampler_draws_a_moving_variance(sampler: str) -> None:
    methods = methods_of(recipes.stats(norm="resample", sampler=sampler), "cbr_tiny")
    drawn = {recipes.SAMPLERS[sampler]}
    assert methods[Role.MOVING_VARIANCE] == {"mean"}
    assert methods[Role.MOVING_MEAN] == methods[Role.NORM_SCALE] == methods[Role.NORM_SHIFT] == drawn


def test_options_of_the_draw_reach_whatever_is_drawn_and_nothing_else() -> None:
    for rule in recipes.stats(exact=True, ddof=1, norm="resample", tokens="resample"):
        expected = {"ddof": 1, "exact": True} if rule.method == "resample" else {}
        assert rule.options == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "melt"}, "--norm melt; expected one of reset, keep, resample"),
        ({"bias": "none"}, "--bias none; expected one of own, zero"),
        ({"sampler": "uniform"}, "--sampler uniform; expected one of normal, shuffle, bootstrap"),
        ({"tokens": "reset"}, "--tokens reset; expected one of keep, resample, zero"),
        ({"ddof": 2}, "--ddof 2; expected 0 or 1"),
        ({"sampler": "shuffle", "exact": True}, "--sampler shuffle with --exact or --ddof 1"),
        ({"sampler": "bootstrap", "ddof": 1}, "--sampler bootstrap with --exact or --ddof 1"),
    ],
)
def test_words_that_stats_do_not_know_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        recipes.stats(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", [recipes.gabor, recipes.covariance])
def test_the_rest_is_random_or_drawn_and_no_third(make: Callable[..., tuple[Rule, ...]]) -> None:
    assert methods_of(make(rest="random"), "cbr_tiny")[Role.NORM_SCALE] == {"fresh"}
    with pytest.raises(ConfigError, match="--rest copy; expected one of random, stats"):
        make(rest="copy")


def test_gabor_fills_the_kernel_that_reads_the_image_alone() -> None:
    target = medzoo.describe("cbr_tiny", classes=2, channels=1)
    for rest, method in (("random", "fresh"), ("stats", "resample")):
        plan = medzoo.make_plan(make_unread(target), target, recipes.gabor(rest=rest))
        methods = {step.target.name: step.method for step in plan.steps if step.target.role is Role.KERNEL}
        assert methods.pop("block1_conv/kernel") == "gabor"
        assert methods.pop("head/kernel") == "fresh"
        assert set(methods.values()) == {method}


def test_covariance_is_drawn_where_there_is_a_window_and_known() -> None:
    target = medzoo.describe("mobilenet_075", classes=2)
    plan = medzoo.make_plan(make_unread(target), target, recipes.covariance(rest="stats"))
    for step in plan.steps:
        if step.target.role is Role.KERNEL and step.stage != HEAD:
            has_window = step.target.shape[:2] != (1, 1)
            assert step.method == ("covariance" if has_window else "resample"), step.target.name
    moments = medzoo.open_weights("mobilenet_075.imagenet", values=False)
    steps = medzoo.make_plan(moments, target, recipes.covariance()).steps
    drawn = [step.target.name for step in steps if step.method == "covariance"]
    assert drawn == [f"conv_dw_{number}/kernel" for number in range(1, 14)]


def test_covariance_is_resized_where_the_target_s_filters_have_another_size() -> None:
    """Filters of 3×3 in the source, of 5×5 in the target: copies are refused, draws are not."""

    def describe(side: int) -> Target:
        name = "spread/depthwise_kernel"
        initializer = Initializer("constant", 0.0)
        spec = TensorSpec(name, (side, side, 64, 1), "float32", Role.KERNEL, initializer)
        return Target({name: spec}, {}, {}, axes={name: "..cm"})

    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(rng.normal(size=(3, 3, 64, 1)), 0), 1).astype("float32")
    source = medzoo.source_from_arrays({"spread/depthwise_kernel": smooth})
    plan = medzoo.make_plan(source, describe(5), recipes.covariance())
    ((_, made),) = run(plan, source)
    assert made.shape == (5, 5, 64, 1)
    # Neighbours in smooth filters go together: still so in the larger ones.
    assert np.corrcoef(made[1, 1].ravel(), made[1, 2].ravel())[0, 1] > 0.6
    with pytest.raises(PlanError, match="3×3×64×1 in the source, 5×5×64×1 in the target"):
        medzoo.make_plan(source, describe(5), recipes.copy())


def test_short_recipes_are_what_they_say() -> None:
    assert [rule.method for rule in recipes.truncate()] == ["fresh", "copy"]
    assert recipes.select() == recipes.truncate()
    assert recipes.inflate() == recipes.widen() == recipes.copy()
    assert recipes.random() == (Rule("*", "fresh"),)
    stages = medzoo.find_model("cbr_tiny").stages
    assert recipes.slim(stages, "block2") == recipes.transfusion(stages, "block2")
    below, above = find_stage(stages, "block2")
    assert len(below) + len(above) == len(stages)
