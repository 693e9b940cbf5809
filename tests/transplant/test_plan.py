"""Planning: every tensor accounted for, every impossibility refused before a byte is read."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from unread_sources import make_unread

import medzoo
from medzoo import recipes
from medzoo.errors import ConfigError, PlanError
from medzoo.tensors import Moments, Role, Source, Target, TensorSpec
from medzoo.transplant.plan import Rule, needs_values
from medzoo.transplant.rules_file import read_rules
from medzoo.transplant.targets import fit_options

GOLDEN = Path(__file__).parents[1] / "golden"


def target_for(classes: int = 5, channels: int = 3) -> Target:
    return medzoo.describe("cbr_tiny", classes=classes, channels=channels)


def without(arrays: dict[str, np.ndarray], *names: str) -> Source:
    return medzoo.source_from_arrays({n: v for n, v in arrays.items() if n not in names}, origin="tiny")


def test_nothing_is_read_while_planning(tiny: Source) -> None:
    def refuse() -> Moments:
        raise AssertionError("moments were measured")

    source = make_unread(target_for())
    unmeasured = {name: replace(tensor, moments=refuse) for name, tensor in source.items()}
    source = replace(source, tensors=unmeasured)
    assert list(source) == list(tiny)
    for rules in (recipes.copy(), recipes.stats(), recipes.random(), recipes.gabor(), recipes.covariance()):
        assert len(medzoo.make_plan(source, target_for(), rules).steps) == len(target_for().tensors)


def test_a_tensor_without_a_rule_is_refused(tiny: Source) -> None:
    with pytest.raises(
        PlanError,
        match=r"no rule covers 'head/kernel' \(kernel\) \(and 1 more such tensors: head/bias\); source",
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
    assert "source 21 tensors (block1_conv/kernel 5×5×3×32, block1_bn/gamma 32," in message
    assert "target 22 (block1_conv/kernel 5×5×3×32, block1_bn/gamma 32," in message
    assert "\n" not in message


def test_a_source_tensor_left_over_is_refused_unless_ignored(tiny_arrays: dict[str, np.ndarray]) -> None:
    extra = {"other/kernel": np.zeros(3, "float32"), "other/bias": np.zeros(3, "float32")}
    source = medzoo.source_from_arrays(tiny_arrays | extra, origin="tiny")
    with pytest.raises(PlanError, match=r"2 of 24 tensors of tiny .*--ignore 'other/kernel'") as refusal:
        medzoo.make_plan(source, target_for(), recipes.copy())
    message = str(refusal.value)
    assert "nearest 'head/kernel', 'block4_conv/kernel'" in message
    assert ": other/kernel, other/bias; " in message
    assert "source 24 tensors (block1_conv/kernel 5×5×3×32, " in message
    assert "target 22 (block1_conv/kernel 5×5×3×32, " in message
    assert "\n" not in message
    with pytest.raises(PlanError, match=r"1 of 24 tensors .*first 'other/bias'"):
        medzoo.make_plan(source, target_for(), recipes.copy(), ignore=["*/kernel"])
    plan = medzoo.make_plan(source, target_for(), recipes.copy(), ignore=["other/*"])
    assert plan.unused == ("other/kernel", "other/bias")
    assert plan.coverage == 1.0


def read_pasted(error: PlanError, folder: Path) -> tuple[Rule, ...]:
    """Read the rule that an error gives to paste, as it stands."""
    assert error.remedy.endswith(" in a --rules FILE")
    text = error.remedy.removesuffix(" in a --rules FILE")
    (folder / "rules.toml").write_text(text)
    return read_rules(folder / "rules.toml").rules


def test_the_rule_that_a_refusal_gives_to_paste_is_what_was_missing(
    tiny_arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    source = without(tiny_arrays, "block2_conv/kernel")
    with pytest.raises(PlanError) as refusal:
        medzoo.make_plan(source, target_for(), recipes.copy())
    pasted = read_pasted(refusal.value, tmp_path)
    assert pasted == (Rule("block2_conv/kernel", "fresh"),)
    plan = medzoo.make_plan(source, target_for(), (*pasted, *recipes.copy()))
    fresh = [step.target.name for step in plan.steps if step.method == "fresh"]
    assert fresh == ["block2_conv/kernel"]


def test_every_problem_is_counted_and_the_first_are_named(tiny_arrays: dict[str, np.ndarray]) -> None:
    source = without(tiny_arrays, *(name for name in tiny_arrays if name.endswith("_bn/gamma")))
    with pytest.raises(PlanError, match="the source has no 'block1_bn/gamma' 32") as refusal:
        medzoo.make_plan(source, target_for(), recipes.copy())
    assert "(and 3 more such tensors: block2_bn/gamma, block3_bn/gamma, block4_bn/gamma)" in str(
        refusal.value
    )


@pytest.mark.parametrize("row", ["mobilenet_075", "densenet121"])
def test_nearest_names_are_looked_for_once_however_many_tensors_are_absent(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another network's weights: hundreds of absent names, each of which takes as long as the whole plan to compare."""
    asked: list[str] = []

    def count(name: str, *options: object, **more: object) -> list[str]:
        asked.append(name)
        return []

    monkeypatch.setattr(difflib, "get_close_matches", count)
    source = make_unread(medzoo.describe("resnet18"))
    with pytest.raises(PlanError, match="more such tensors"):
        medzoo.make_plan(source, medzoo.describe(row), recipes.copy())
    assert len(asked) <= 1


def test_an_empty_source_is_refused_without_a_nearest_name() -> None:
    with pytest.raises(
        PlanError, match=r"no 'block1_conv/kernel' 5×5×3×32, nearest none.*source 0 tensors \(\)"
    ):
        medzoo.make_plan(medzoo.source_from_arrays({}), target_for(), recipes.copy())


def test_what_was_left_over_is_named_beside_what_is_missing(tiny_arrays: dict[str, np.ndarray]) -> None:
    arrays = dict(tiny_arrays)
    arrays["Head/kernel"] = arrays.pop("block1_conv/kernel")
    with pytest.raises(PlanError, match="left over in the source: Head/kernel"):
        medzoo.make_plan(medzoo.source_from_arrays(arrays), target_for(), recipes.copy())


def test_moments_are_refused_where_values_are_needed(tiny: Source, tmp_path: Path) -> None:
    medzoo.write_moments(tiny, tmp_path / "m.json")
    moments = medzoo.open_weights(tmp_path / "m.json")
    lacking = "copy needs its values, and .*m.json holds moments only"
    advice = "; expected a weights file; try --mode stats, which needs no values"
    with pytest.raises(PlanError, match=f"'block1_conv/kernel': {lacking}.*{advice}"):
        medzoo.make_plan(moments, target_for(), recipes.copy())
    with pytest.raises(PlanError, match=f"'block1_bn/gamma': {lacking}"):
        medzoo.make_plan(moments, target_for(), recipes.stats(norm="keep"))
    assert medzoo.make_plan(moments, target_for(), recipes.stats()).coverage > 0.99
    assert needs_values(recipes.copy(), target_for())
    assert needs_values(recipes.stats(norm="keep"), target_for())
    assert not needs_values(recipes.stats(), target_for())
    assert not needs_values(recipes.random(), target_for())


def test_a_role_that_a_method_cannot_treat_is_refused(tiny: Source) -> None:
    with pytest.raises(
        PlanError, match="'block1_bn/moving_variance': resample cannot treat a moving_variance"
    ):
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
    # A row for the columns, one for each stage and each tensor, one for all of them.
    assert len(lines) == 1 + len(medzoo.find_model("mobilenet_075").stages) + len(target.tensors) + 1
    shown = "\n".join([*lines[:20], "…", *lines[-10:]])
    assert f"{shown}\n" == (GOLDEN / "plan_mobilenet_075_stats.txt").read_text(encoding="utf-8")
