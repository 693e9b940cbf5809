"""What two plans do differently, and nothing else."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

import medzoo
from medzoo import recipes
from medzoo.tensors import Initializer, Role, Source, TensorSpec
from medzoo.transplant.diff import describe_diff, diff_plans
from medzoo.transplant.plan import Plan, Step

KERNEL = TensorSpec(
    "a/kernel", (3, 3, 96, 64), "float32", Role.KERNEL, Initializer("uniform", 1.0, "fan_avg")
)
STEP = Step(KERNEL, KERNEL, "copy", {"scale": 0.5}, ("", "", "", "0:32"), "one")
PLAN = Plan((STEP,), ("b/kernel",), 0, "sha256:0", "a.h5", "resnet50", 2, 1)


@pytest.fixture
def tiny_plan(tiny: Source) -> Plan:
    return medzoo.make_plan(tiny, medzoo.describe("cbr_tiny", classes=2, channels=3), recipes.copy())


def test_a_plan_is_the_same_as_itself_in_any_order(tiny_plan: Plan) -> None:
    other = replace(tiny_plan, steps=tuple(reversed(tiny_plan.steps)))
    other = replace(other, steps=tuple(replace(step, stage="elsewhere") for step in other.steps))
    diff = diff_plans(tiny_plan, other)
    assert str(diff) == "same"
    assert len(diff) == 0
    assert describe_diff(diff)["differences"] == 0


SETTINGS: dict[str, Any] = {
    "seed": 7,
    "source_digest": "sha256:1",
    "origin": "b.h5",
    "model": "resnet101",
    "classes": 3,
    "channels": 3,
    "dialect": "torch_resnet",
    "input_size": 96,
    "head": "flatten",
}


def test_every_setting_of_a_plan_is_compared() -> None:
    compared = {item.name for item in fields(Plan)} - {"steps", "unused"}
    assert compared >= set(SETTINGS)
    for name in compared:
        value = SETTINGS.get(name, "other")
        diff = diff_plans(PLAN, replace(PLAN, **{name: value}))
        assert len(diff) == 1, name
        assert diff.settings[0].what == name.replace("_", " ")
        assert diff.settings[0].second == str(value)
        assert str(diff).splitlines()[0] == "1 difference"


STEPS: dict[str, tuple[dict[str, Any], str]] = {
    "method": ({"method": "resample"}, "method copy → resample"),
    "options": ({"options": {"scale": 0.25}}, "options scale 0.5 → scale 0.25"),
    "no options": ({"options": {}}, "options scale 0.5 → —"),
    "source": (
        {"source": replace(KERNEL, name="b/kernel")},
        "source a/kernel 3×3×96×64 → b/kernel 3×3×96×64",
    ),
    "no source": ({"source": None, "method": "fresh"}, "source a/kernel 3×3×96×64 → —"),
    "ranges": ({"ranges": ("", "", "", "0:16")}, "ranges axis 3: 32 of 64 kept → axis 3: 16 of 64 kept"),
    "no ranges": ({"ranges": ()}, "ranges axis 3: 32 of 64 kept → whole"),
    # Equal in short, and yet others: the whole of it is shown.
    "other ranges": ({"ranges": ("", "", "", "0:64:2")}, "'0:32') → ('', '', '', '0:64:2')"),
    "other scale": ({"options": {"scale": 0.50000001}}, "{'scale': 0.5} → {'scale': 0.50000001}"),
    "shape": ({"target": replace(KERNEL, shape=(3, 3, 96, 32))}, "shape 3×3×96×64 → 3×3×96×32"),
    "dtype": ({"target": replace(KERNEL, dtype="float16")}, "dtype float32 → float16"),
    "role": ({"target": replace(KERNEL, role=Role.OTHER)}, "role kernel → other"),
    "initializer": (
        {"target": replace(KERNEL, initializer=Initializer("constant", 0.0))},
        "initializer uniform 1 fan_avg → constant 0 absolute",
    ),
}


@pytest.mark.parametrize("case", STEPS)
def test_every_part_of_a_step_is_compared(case: str) -> None:
    changed, text = STEPS[case]
    diff = diff_plans(PLAN, replace(PLAN, steps=(replace(STEP, **changed),)))
    assert len(diff) == 1
    assert list(diff.steps) == ["a/kernel"]
    assert text in str(diff).splitlines()[1]
    assert not diff.settings


def test_empty_ranges_are_no_ranges() -> None:
    whole = (replace(STEP, ranges=()),), (replace(STEP, ranges=("", "", "", "")),)
    assert len(diff_plans(*(replace(PLAN, steps=steps) for steps in whole))) == 0


def test_tensors_of_one_plan_alone_are_named() -> None:
    first = replace(STEP, target=replace(KERNEL, name="first/kernel"))
    second = replace(STEP, target=replace(KERNEL, name="second/kernel"))
    diff = diff_plans(replace(PLAN, steps=(STEP, first)), replace(PLAN, steps=(second, STEP)))
    assert (diff.only_first, diff.only_second) == (("first/kernel",), ("second/kernel",))
    lines = str(diff).splitlines()
    assert lines[0] == "2 differences"
    assert lines[1].split("  ") == ["first/kernel", " in the first plan only"]
    assert lines[2].split("  ") == ["second/kernel", "in the second plan only"]


@pytest.mark.parametrize(
    ("unused", "text"),
    [((), "unused 1 (with b/kernel) → 0"), (("b/kernel", "c"), "unused 1 → 2 (with c)")],
)
def test_what_is_left_unused_is_compared(unused: tuple[str, ...], text: str) -> None:
    assert str(diff_plans(PLAN, replace(PLAN, unused=unused))).splitlines() == ["1 difference", text]


def test_many_unused_tensors_are_counted_and_the_first_are_named() -> None:
    diff = diff_plans(PLAN, replace(PLAN, unused=("b/kernel", *"cdefg")))
    assert diff.settings[0].second == "6 (with c, d, e, …)"


def test_two_recipes_for_one_network_differ_where_they_should(tiny: Source, tiny_plan: Plan) -> None:
    target = medzoo.describe("cbr_tiny", classes=2, channels=3)
    stats = medzoo.make_plan(tiny, target, recipes.stats())
    diff = diff_plans(tiny_plan, stats)
    methods = {step.target.name: step.method for step in stats.steps}
    expected = {step.target.name for step in tiny_plan.steps if methods[step.target.name] != step.method}
    assert set(diff.steps) == expected
    assert len(diff) == len(expected)
    content = json.loads(json.dumps(describe_diff(diff)))
    assert content["steps"]["block1_conv/kernel"] == {"method": ["copy", "resample"]}


def test_another_source_of_equal_shapes_is_told_by_its_digest(
    tiny_plan: Plan, tiny_arrays: dict[str, np.ndarray]
) -> None:
    other = medzoo.source_from_arrays({n: v + 1 for n, v in tiny_arrays.items()}, origin="other")
    plan = medzoo.make_plan(other, medzoo.describe("cbr_tiny", classes=2, channels=3), recipes.copy())
    assert [change.what for change in diff_plans(tiny_plan, plan).settings] == ["source digest", "origin"]
