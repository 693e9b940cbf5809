"""Recipes: which tensors are copied, drawn and started afresh."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import medzoo
from medzoo import recipes
from medzoo.errors import ConfigError
from medzoo.specs import HEAD, find_stage, name_stage
from medzoo.tensors import Role
from medzoo.transplant.run import run

#: The first row of each family.
ROWS = list({spec.family: spec.name for spec in reversed(medzoo.list_models())}.values())


def copied_layers(name: str, upto: str) -> set[str]:
    spec, target = medzoo.find_model(name), medzoo.describe(name, classes=2)
    source = medzoo.source_from_arrays(
        {n: np.broadcast_to(np.float32(1), t.shape) for n, t in target.tensors.items()}
    )
    plan = medzoo.make_plan(source, target, recipes.transfusion(spec.stages, upto))
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


@pytest.mark.parametrize("norm", ["reset", "keep"])
def test_stats_draws_kernels_and_treats_norms_as_told(
    arrays_for: Callable[..., dict[str, np.ndarray]], norm: str
) -> None:
    target = medzoo.describe("cbr_tiny", classes=5)
    arrays = arrays_for(target)
    source = medzoo.source_from_arrays(arrays)
    plan = medzoo.make_plan(source, target, recipes.stats(norm=norm))
    made = dict(run(plan, source))
    neutral = {Role.NORM_SCALE: 1, Role.NORM_SHIFT: 0, Role.MOVING_MEAN: 0, Role.MOVING_VARIANCE: 1}
    for step in plan.steps:
        name, role = step.target.name, step.target.role
        if name.startswith("head/"):
            assert step.method == "fresh"
        elif role is Role.KERNEL:
            assert step.method == "resample"
            assert not np.array_equal(made[name], arrays[name])
        elif norm == "keep":
            assert np.array_equal(made[name], arrays[name])
        else:
            assert np.array_equal(made[name], np.full(step.target.shape, neutral[role]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("melt",), "unknown mode 'melt'; expected one of"),
        (("copy", "block1"), "--upto does not go with --mode copy"),
        (("copy", None, "keep"), "--norm does not go with --mode copy"),
        (("stats", None, "melt"), "norm 'melt'; expected 'reset' or 'keep'"),
        (("transfusion",), "transfusion without a stage; expected --upto one of block1, block2"),
        (("transfusion", "block9"), "no stage 'block9'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: tuple[str | None, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipes.find_recipe(options[0], medzoo.find_model("cbr_tiny").stages, *options[1:])


def test_every_mode_has_its_recipe() -> None:
    stages = medzoo.find_model("cbr_tiny").stages
    assert recipes.find_recipe("copy", stages) == recipes.copy(stages)
    assert recipes.find_recipe("random", stages) == recipes.random(stages)
    assert recipes.find_recipe("stats", stages, norm="keep") == recipes.stats(stages, "keep")
    assert recipes.find_recipe("transfusion", stages, "block2") == recipes.transfusion(stages, "block2")
    below, above = find_stage(stages, "block2")
    assert len(below) + len(above) == len(stages)
