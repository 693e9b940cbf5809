"""medzoo plan show, diff: on plans that a transplant wrote, and on bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

NAME = "mobilenet_075.imagenet.stats"


@pytest.fixture
def plan_file(medzoo_command: Callable) -> Path:
    """The plan of `medzoo transplant --src imagenet --mode stats` with two classes."""
    arguments = ("--src", "imagenet", "--mode", "stats", "--classes", 2)
    assert medzoo_command("transplant", *arguments).code == 0
    return Path(f"{NAME}.plan.json")


def test_show_prints_the_table_of_a_plan_and_of_the_weights_beside_it(
    medzoo_command: Callable, plan_file: Path
) -> None:
    shown = medzoo_command("plan", "show", plan_file)
    assert shown.code == 0
    first, header, *rows = shown.out.splitlines()
    assert first == "mobilenet_075, classes 2, channels 3 from mobilenet_075.imagenet, seed 0"
    assert header.split() == ["tensor", "source", "method", "target", "shape"]
    assert len([row for row in rows if "/" in row.split()[0]]) == 137
    dry = medzoo_command("transplant", "--plan", plan_file, "--dry-run").out.splitlines()
    assert dry[1:] == [header, *rows]
    assert medzoo_command("plan", "show", f"{NAME}.weights.h5").out == shown.out


def test_show_as_json_has_steps_and_digests(medzoo_command: Callable, plan_file: Path) -> None:
    content = json.loads(medzoo_command("plan", "show", plan_file, "--json").out)
    assert len(content["steps"]) == 137
    assert content["output_digest"].startswith("sha256:")
    assert content["coverage"] > 0.9


def test_diff_says_same_or_counts_and_exits_with_0(medzoo_command: Callable, plan_file: Path) -> None:
    assert medzoo_command("plan", "diff", plan_file, f"{NAME}.weights.h5").out == "same\n"
    arguments = ("--src", "imagenet", "--mode", "stats", "--classes", 3, "--seed", 1)
    assert medzoo_command("transplant", *arguments, "--out", "b.safetensors").code == 0
    outcome = medzoo_command("plan", "diff", plan_file, "b.plan.json")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[:3] == ["4 differences", "seed 0 → 1", "classes 2 → 3"]
    assert lines[3:] == ["head/kernel  shape 768×2 → 768×3", "head/bias    shape 2 → 3"]
    content = json.loads(medzoo_command("plan", "diff", plan_file, "b.plan.json", "--json").out)
    assert content["differences"] == 4
    assert content["settings"] == {"seed": ["0", "1"], "classes": ["2", "3"]}
    assert content["steps"]["head/bias"] == {"shape": ["2", "3"]}
    assert content["only_first"] == content["only_second"] == []


def test_names_from_a_file_give_the_terminal_no_orders(medzoo_command: Callable, plan_file: Path) -> None:
    text = plan_file.read_text(encoding="utf-8")
    plan_file.write_text(text.replace('"head/bias"', '"head/\\u001b[31mbias"'), encoding="utf-8")
    for arguments in (("show", plan_file), ("diff", plan_file, plan_file)):
        assert "\x1b" not in medzoo_command("plan", *arguments).out


REFUSALS = {
    "absent.json": "no plan file absent.json",
    "absent.weights.h5": "no plan file absent.plan.json",
    "empty.json": "no whole plan",
    "list.json": "no whole plan",
    "bytes.json": "no whole plan",
    "folder.json": "no whole plan",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_input_is_one_line(refused: Callable, plan_file: Path, name: str) -> None:
    Path("empty.json").write_text("")
    Path("list.json").write_text("[1, 2]")
    Path("bytes.json").write_bytes(b"\x89HDF\xff\xfe")
    Path("folder.json").mkdir()
    assert REFUSALS[name] in refused("plan", "show", name)
    assert REFUSALS[name] in refused("plan", "diff", plan_file, name)
    assert REFUSALS[name] in refused("plan", "diff", name, plan_file)


@pytest.mark.parametrize("arguments", [("diff", "one.plan.json"), ("show",), ("compare",)])
def test_wrong_usage_exits_with_2(medzoo_command: Callable, arguments: tuple[str, ...]) -> None:
    assert medzoo_command("plan", *arguments).code == 2
