"""A plan as a person reads it: a row for every tensor, stages with their coverage, short options and ranges."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import medzoo
from medzoo import recipes
from medzoo.specs import name_stage
from medzoo.tensors import Role, Source, TensorSpec
from medzoo.transplant.plan import Plan, Step
from medzoo.transplant.table import (
    describe_plan,
    format_options,
    format_plan,
    format_ranges,
    summarise_stages,
)

GOLDEN = Path(__file__).parents[1] / "golden"
KERNEL = TensorSpec("a/kernel", (3, 3, 96, 64), "float32", Role.KERNEL)


def name_stages(plan: Plan, model: str) -> Plan:
    """Give every step the stage that the catalogue's row declares for its layer."""
    stages = medzoo.find_model(model).stages
    steps = [
        replace(step, stage=name_stage(stages, step.target.name.rpartition("/")[0])) for step in plan.steps
    ]
    return replace(plan, steps=tuple(steps))


@pytest.fixture
def tiny_plan(tiny: Source) -> Plan:
    rules = recipes.transfusion(medzoo.find_model("cbr_tiny").stages, upto="block2")
    target = medzoo.describe("cbr_tiny", classes=2, channels=1)
    return name_stages(medzoo.make_plan(tiny, target, rules), "cbr_tiny")


def test_the_printed_plan_of_cbr_tiny(tiny_plan: Plan) -> None:
    expected = (GOLDEN / "plan_cbr_tiny_transfusion.txt").read_text(encoding="utf-8")
    assert f"{format_plan(tiny_plan)}\n" == expected
    assert f"{tiny_plan}\n" == expected


def test_the_printed_plan_of_mobilenet_from_statistics() -> None:
    source = medzoo.open_weights("mobilenet_075.imagenet", values=False)
    target = medzoo.describe("mobilenet_075", classes=2, channels=1)
    plan = name_stages(medzoo.make_plan(source, target, recipes.stats()), "mobilenet_075")
    lines = format_plan(plan).splitlines()
    assert len(lines) == len(target.tensors) + len(summarise_stages(plan)) + 2
    shown = "\n".join([*lines[:20], "…", *lines[-10:]])
    assert f"{shown}\n" == (GOLDEN / "plan_mobilenet_075_stats.txt").read_text(encoding="utf-8")


def test_a_plan_without_stages_has_rows_alone(tiny_plan: Plan) -> None:
    steps = tuple(replace(step, stage="") for step in tiny_plan.steps)
    plan = replace(tiny_plan, steps=steps)
    lines = format_plan(plan).splitlines()
    assert len(lines) == len(steps) + 2
    assert lines[1].startswith("block1_conv/kernel  ")
    assert lines[-1] == format_plan(tiny_plan).splitlines()[-1]
    assert summarise_stages(plan) == []
    assert describe_plan(plan)["stages"] == []


def test_every_tensor_stands_once_and_under_its_own_stage(tiny_plan: Plan) -> None:
    stage, found = "", {}
    for line in format_plan(tiny_plan).splitlines()[1:-1]:
        if line.startswith("  "):
            assert line.split()[0] not in found
            found[line.split()[0]] = stage
        else:
            stage = line.partition(":")[0]
    assert found == {step.target.name: step.stage for step in tiny_plan.steps}


def test_stages_add_up_to_the_plan(tiny_plan: Plan) -> None:
    summaries = summarise_stages(tiny_plan)
    assert [summary.stage for summary in summaries] == ["block1", "block2", "block3", "block4", "head"]
    assert [summary.coverage for summary in summaries] == [1, 1, 0, 0, 0]
    assert [dict(summary.methods) for summary in summaries] == [{"copy": 5}] * 2 + [{"fresh": 5}] * 2 + [
        {"fresh": 2}
    ]
    assert sum(summary.tensors for summary in summaries) == len(tiny_plan.steps)
    values = sum(summary.values for summary in summaries)
    used = sum(summary.values * summary.coverage for summary in summaries)
    assert used / values == pytest.approx(tiny_plan.coverage)


def test_coverage_within_a_stage_counts_values() -> None:
    large = TensorSpec("a/kernel", (30,), "float32", Role.KERNEL)
    small = TensorSpec("a/bias", (10,), "float32", Role.BIAS)
    steps = (Step(large, large, "copy", stage="a"), Step(small, None, "fresh", stage="a"))
    assert summarise_stages(Plan(steps, (), 0, ""))[0].coverage == 0.75


def test_tensors_of_no_stage_stand_under_a_line_of_their_own(tiny_plan: Plan) -> None:
    steps = (replace(tiny_plan.steps[0], stage=""), *tiny_plan.steps[1:])
    lines = format_plan(replace(tiny_plan, steps=steps)).splitlines()
    assert lines[1].startswith("no stage: 1 tensor, 800 values: 1 copy; coverage 100.0 %")
    assert lines[3].startswith("block1: 4 tensors")


@pytest.mark.parametrize(("share", "text"), [(1e-9, "0.1 %"), (1 - 1e-9, "99.9 %")])
def test_only_all_is_100_and_only_nothing_is_0(share: float, text: str) -> None:
    total = 10**10
    sizes = (round(total * share), total - round(total * share))
    specs = [
        TensorSpec(f"{name}/kernel", (size,), "float32", Role.KERNEL)
        for name, size in zip("ab", sizes, strict=True)
    ]
    plan = Plan((Step(specs[0], specs[0], "copy"), Step(specs[1], None, "fresh")), (), 0, "")
    assert f"coverage {text}" in format_plan(plan)


@pytest.mark.parametrize(
    ("ranges", "text"),
    [
        ((), []),
        (("", "", "", ""), []),
        (("", "", "", "0:24"), ["axis 3: 24 of 64 kept"]),
        (("", "", "0:8,16:20", "0:64:2"), ["axes 2 3: 12×32 of 96×64 kept"]),
        (("", "", "1:96,0", ""), ["axis 2: 96 reordered"]),
        (("", "", "0:96,0:32", "3"), ["axis 2: 128 of 96 repeated", "axis 3: 1 of 64 kept"]),
        # Inflated to 3-D: the kept channels are still those of the last two axes.
        (("", "", "", "0:24", ""), ["axis 3: 24 of 96 kept"]),
    ],
)
def test_ranges_are_counted_not_listed(ranges: tuple[str, ...], text: list[str]) -> None:
    assert format_ranges(KERNEL, ranges) == text
    assert format_ranges(None, ranges) == []


def test_thousands_of_indices_and_of_classes_stay_short() -> None:
    dense = TensorSpec("head/kernel", (2048, 1000), "float32", Role.KERNEL)
    kept = TensorSpec("head/kernel", (1024, 1000), "float32", Role.KERNEL)
    irregular = ",".join(str(index) for index in np.random.default_rng(0).permutation(2048)[:1024])
    classes = ",".join(f"{index}:{999 - index}" for index in range(1000))
    step = Step(kept, dense, "copy", {"classes": classes}, (irregular, ""))
    row = format_plan(Plan((step,), (), 0, "")).splitlines()[1]
    assert len(row) <= 110
    assert "classes 0:999,1:998" in row
    assert "axis 0: 1024 of 2048 kept" in row


def test_a_source_s_shape_stands_where_ranges_do_not_tell_the_target_s() -> None:
    half = TensorSpec("a/kernel", (3, 3, 96, 32), "float32", Role.KERNEL)
    grey = TensorSpec("a/kernel", (3, 3, 1, 32), "float32", Role.KERNEL)
    ranges = ("", "", "", "0:32")
    steps = (
        Step(half, KERNEL, "copy", {}, ranges),
        Step(grey, KERNEL, "copy", {"channels": "sum"}, ranges),
        Step(half, KERNEL, "copy"),
    )
    rows = [row.split("  ")[1].strip() for row in format_plan(Plan(steps, (), 0, "")).splitlines()[1:4]]
    assert rows == ["same name", "same name, 3×3×96×64", "same name, 3×3×96×64"]


def test_options_are_short() -> None:
    options = {"exact": True, "fold": False, "scale": 1 / 3, "prefix": 1, "channels": "sum"}
    assert format_options(options) == ["exact", "fold no", "scale 0.3333", "prefix 1", "channels sum"]


def test_selecting_from_a_network_with_long_names_fits_a_terminal() -> None:
    """Names of 33 signs and kernels of up to 512×2048 channels leave the row at most 105 columns."""
    target = medzoo.describe("resnet50", classes=2, channels=3)
    steps = []
    for spec in target.tensors.values():
        halved = tuple(size // 2 if size >= 64 else size for size in spec.shape)
        ranges = tuple(f"0:{size // 2}" if size >= 64 else "" for size in spec.shape)
        steps.append(Step(replace(spec, shape=halved), spec, "copy", {}, ranges))
    plan = name_stages(Plan(tuple(steps), (), 0, ""), "resnet50")
    assert max(map(len, format_plan(plan).splitlines())) <= 105


def test_a_plan_is_plain_data(tiny_plan: Plan) -> None:
    content = json.loads(json.dumps(describe_plan(tiny_plan)))
    assert len(content["steps"]) == len(tiny_plan.steps)
    assert content["stages"][0] == {
        "stage": "block1",
        "tensors": 5,
        "values": 928,
        "coverage": 1.0,
        "methods": {"copy": 5},
    }
    assert content["coverage"] == tiny_plan.coverage
