"""A run whose network follows its input's size is a source without being told again how it was built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medzoo


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A MedMNIST archive of a few grey images of noise."""
    rng = np.random.default_rng(4)
    arrays = {}
    for split, count in (("train", 24), ("val", 8), ("test", 8)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2)[:, None]
    path = tmp_path / "noise.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "head"), [("vit_ti16+depth=1", ""), ("cbr_tiny@block2", "flatten")], ids=["vit", "flatten"]
)
def test_it_is_moved_at_its_own_size_and_with_its_own_head(
    model: str, head: str, images: Path, medzoo_command: Callable[..., Any]
) -> None:
    common = ["train", "--data", images, "--epochs", 1, "--precision", "float32"]
    option = ["--set", f"model.head={head}"] if head else []
    first = medzoo_command(*common, "--model", model, *option, "--out", "first")
    assert first.code == 0, first.err
    source = medzoo.open_weights("first")
    # 28 pixels are nearest to two patches of 16.
    size = 32 if model.startswith("vit") else 28
    assert (source.model, source.input_size, source.head) == (model, size, head)

    moved = medzoo_command("transplant", "--src", "first", "--out", "moved.weights.h5")
    assert moved.code == 0, moved.err
    plan = medzoo.read_plan("moved.plan.json").plan
    assert {step.method for step in plan.steps} == {"copy"}
    assert (plan.input_size, plan.head) == (size, head)
    again = medzoo_command("transplant", "--plan", "moved.plan.json", "--out", "again.weights.h5")
    assert again.code == 0, again.err
    assert Path("again.weights.h5").read_bytes() == Path("moved.weights.h5").read_bytes()

    second = medzoo_command(*common, "--src", "first", "--out", "second")
    assert second.code == 0, second.err
    assert {step.method for step in medzoo.read_plan("second/plan.json").plan.steps} == {"copy"}


@pytest.mark.slow
def test_positions_follow_another_size(images: Path, medzoo_command: Callable[..., Any]) -> None:
    common = ["train", "--data", images, "--epochs", 1, "--precision", "float32"]
    assert medzoo_command(*common, "--model", "vit_ti16+depth=1", "--out", "first").code == 0
    second = medzoo_command(*common, "--src", "first", "--image-size", 48, "--out", "second")
    assert second.code == 0, second.err
    steps = medzoo.read_plan("second/plan.json").plan.steps
    assert {step.target.name for step in steps if "resize" in step.options} == {"positions/pos_embed"}
