"""Planning: every tensor accounted for, every impossibility refused before a byte is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import medzoo
from medzoo import recipes
from medzoo.errors import ConfigError, PlanError
from medzoo.tensors import LazyTensor, Role, Source, Target, TensorSpec
from medzoo.transplant.plan import Rule, needs_values
from medzoo.transplant.targets import fit_options

GOLDEN = Path(__file__).parents[1] / "golden"


def target_for(classes: int = 5, channels: int = 3) -> Target:
    return medzoo.describe("cbr_tiny", classes=classes, channels=channels)


def without(arrays: dict[str, np.ndarray], *names: str) -> Source:
    return medzoo.source_from_arrays({n: v for n, v in arrays.items() if n not in names}, origin="tiny")


def test_nothing_is_read_while_planning(tiny: Source) -> None:
    def refuse() -> np.ndarray:
        raise AssertionError("read")

    unread = {name: LazyTensor(tensor.spec, refuse, refuse) for name, tensor in tiny.items()}
    source = Source(unread, "unread", "test")
    for rules in (recipes.copy(), recipes.stats(), recipes.random()):
        assert len(medzoo.make_plan(source, target_for(), rules).steps) == len(target_for().tensors)


def test_a_tensor_without_a_rule_is_refused(tiny: Source) -> None:
    with pytest.raises(
        PlanError, match=r"no rule covers 'head/kernel' \(kernel\) \(and 1 more such tensors\)"
    ):
        medzoo.make_plan(tiny, target_for(), [Rule("block*", "copy")])


def test_the_first_matching_rule_wins(tiny: Source) -> None:
    rules = [Rule("*", "resample", roles=(Role.BIAS,)), Rule("block1_*|block2_*", "copy"), Rule("*", "fresh")]
    plan = medzoo.make_plan(tiny, target_for(), rules)
    methods = {step.target.name: step.method for step in plan.steps}
    assert methods["head/bias"] == "resample"
    assert methods["block2_bn/gamma"] == "copy"
    assert methods["block3_conv/kernel"] == "fresh"
    assert methods["head/kernel"] == "fresh"


def test_a_tensor_that_the_source_lacks_is_refused_with_both_inventories(
    tiny_arrays: dict[str, np.ndarray],
) -> None:
    source = without(tiny_arrays, "block2_conv/kernel")
    with pytest.raises(PlanError) as refusal:
        medzoo.make_plan(source, target_for(), recipes.copy())
    message = str(refusal.value)
    assert "the source has no 'block2_conv/kernel' 5×5×32×64" in message
    assert "'block3_conv/kernel'" in message
    assert "source 21 tensors, target 22" in message
    assert "\n" not in message


def test_a_source_tensor_left_over_is_refused_unless_ignored(tiny_arrays: dict[str, np.ndarray]) -> None:
    extra = {"other/kernel": np.zeros(3, "float32"), "other/bias": np.zeros(3, "float32")}
    source = medzoo.source_from_arrays(tiny_arrays | extra, origin="tiny")
    with pytest.raises(PlanError, match=r"2 of 24 tensors of tiny .*--ignore 'other/kernel'"):
        medzoo.make_plan(source, target_for(), recipes.copy())
    with pytest.raises(PlanError, match=r"1 of 24 tensors .*first 'other/bias'"):
        medzoo.make_plan(source, target_for(), recipes.copy(), ignore=["*/kernel"])
    plan = medzoo.make_plan(source, target_for(), recipes.copy(), ignore=["other/*"])
    assert plan.unused == ("other/kernel", "other/bias")
    assert plan.coverage == 1.0


def test_what_was_left_over_is_named_beside_what_is_missing(tiny_arrays: dict[str, np.ndarray]) -> None:
    arrays = dict(tiny_arrays)
    arrays["Head/kernel"] = arrays.pop("block1_conv/kernel")
    with pytest.raises(PlanError, match="left over in the source: Head/kernel"):
        medzoo.make_plan(medzoo.source_from_arrays(arrays), target_for(), recipes.copy())


def test_moments_are_refused_where_values_are_needed(tiny: Source, tmp_path: Path) -> None:
    medzoo.write_moments(tiny, tmp_path / "m.json")
    moments = medzoo.open_weights(tmp_path / "m.json")
    with pytest.raises(PlanError, match=r"copy needs the values of .*m.json holds moments only"):
        medzoo.make_plan(moments, target_for(), recipes.copy())
    with pytest.raises(PlanError, match="copy needs the values of 'block1_bn/gamma'"):
        medzoo.make_plan(moments, target_for(), recipes.stats(norm="keep"))
    assert medzoo.make_plan(moments, target_for(), recipes.stats()).coverage > 0.99
    assert needs_values(recipes.copy(), target_for())
    assert needs_values(recipes.stats(norm="keep"), target_for())
    assert not needs_values(recipes.stats(), target_for())
    assert not needs_values(recipes.random(), target_for())


def test_a_role_that_a_method_cannot_treat_is_refused(tiny: Source) -> None:
    with pytest.raises(PlanError, match="resample cannot treat 'block1_bn/gamma', a norm_scale"):
        medzoo.make_plan(tiny, target_for(), [Rule("*", "resample")])


@pytest.mark.parametrize("method", ["coppy", "Resample", ""])
def test_an_unknown_method_is_refused(tiny: Source, method: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown method .*expected one of"):
        medzoo.make_plan(tiny, target_for(), [Rule("*", method)])


def test_a_negative_seed_is_refused(tiny: Source) -> None:
    with pytest.raises(PlanError, match="seed -1; expected a whole number of 0 or more"):
        medzoo.make_plan(tiny, target_for(), recipes.random(), seed=-1)


@pytest.mark.parametrize(("classes", "method"), [(5, "copy"), (4, "fresh"), (1, "fresh")])
def test_the_head_is_copied_where_classes_are_equal_and_fresh_elsewhere(
    tiny: Source, classes: int, method: str
) -> None:
    plan = medzoo.make_plan(tiny, target_for(classes), recipes.copy())
    assert [step.method for step in plan.steps[-2:]] == [method, method]
    assert {step.method for step in plan.steps[:-2]} == {"copy"}


def test_a_source_without_a_head_leaves_it_fresh(tiny_arrays: dict[str, np.ndarray]) -> None:
    source = without(tiny_arrays, "head/kernel", "head/bias")
    plan = medzoo.make_plan(source, target_for(), recipes.copy())
    assert [step.method for step in plan.steps[-2:]] == ["fresh", "fresh"]
    with pytest.raises(ConfigError, match=r"tiny.* has no .*head.* to take"):
        fit_options(source, target_for(), None, None)
    assert fit_options(source, target_for(), 7, None) == (7, 3)


def test_classes_and_channels_default_to_the_source_s(tiny: Source) -> None:
    assert fit_options(tiny, medzoo.describe("cbr_tiny"), None, None) == (5, 3)
    assert fit_options(tiny, medzoo.describe("cbr_tiny"), 2, 1) == (2, 1)


def test_coverage_is_the_share_of_values_from_the_source(tiny: Source) -> None:
    target = target_for(4)
    plan = medzoo.make_plan(tiny, target, recipes.copy())
    assert plan.coverage == 1 - (256 * 4 + 4) / target.size
    assert medzoo.make_plan(tiny, target, recipes.random()).coverage == 0.0
    kernels = sum(t.size for t in target.tensors.values() if t.name.endswith("conv/kernel"))
    assert medzoo.make_plan(tiny, target, recipes.stats()).coverage == kernels / target.size


def test_transformers_keep_their_tokens_and_positions(tmp_path: Path) -> None:
    named = {"cls_token": Role.TOKEN, "pos_embed": Role.POSITION}
    tensors = {n: TensorSpec(n, (1, 4), "float32", role) for n, role in named.items()}
    source = medzoo.source_from_arrays({n: np.ones((1, 4), "float32") for n in named})
    plan = medzoo.make_plan(source, Target(tensors, {}, {}), recipes.stats())
    assert [step.method for step in plan.steps] == ["copy", "copy"]


def test_the_printed_plan_of_cbr_tiny(tiny: Source) -> None:
    rules = recipes.transfusion(medzoo.find_model("cbr_tiny").stages, upto="block2")
    plan = medzoo.make_plan(tiny, target_for(2, 1), rules)
    assert f"{plan}\n" == (GOLDEN / "plan_cbr_tiny_transfusion.txt").read_text(encoding="utf-8")


def test_the_printed_plan_of_mobilenet_from_statistics() -> None:
    source = medzoo.open_weights("mobilenet_075.imagenet", values=False)
    target = medzoo.describe("mobilenet_075", classes=2, channels=1)
    lines = str(medzoo.make_plan(source, target, recipes.stats())).splitlines()
    assert len(lines) == len(target.tensors) + 2
    shown = "\n".join([*lines[:12], "…", *lines[-8:]])
    assert f"{shown}\n" == (GOLDEN / "plan_mobilenet_075_stats.txt").read_text(encoding="utf-8")
