"""medzoo weights verify on what a transplant wrote: every tensor is made again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

import medzoo

TARGET = medzoo.describe("cbr_tiny", classes=2, channels=1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Weights for cbr_tiny in a file of the current folder."""
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.uniform(0.1, 1, spec.shape).astype("float32") for name, spec in TARGET.tensors.items()
    }
    save_file(arrays, tmp_path / "source.safetensors")
    return Path("source.safetensors")


@pytest.fixture
def written(medzoo_command: Callable, source: Path) -> Callable[[str], Path]:
    """Write what `medzoo transplant` makes of them."""

    def write(name: str) -> Path:
        arguments = ("--model", "cbr_tiny", "--mode", "transfusion", "--upto", "block2", "--out", name)
        assert medzoo_command("transplant", "--src", source, *arguments).code == 0
        return Path(name)

    return write


def change(path: Path, tensor: str) -> None:
    """Change one value of a `.weights.h5`."""
    with h5py.File(path, "r+") as file:
        values = file[TARGET.storage[tensor]]
        values[(0,) * values.ndim] += 1


@pytest.mark.parametrize("name", ["a.weights.h5", "a.safetensors", "a.h5"])
def test_written_weights_are_made_again(medzoo_command: Callable, written: Callable, name: str) -> None:
    outcome = medzoo_command("weights", "verify", written(name))
    assert outcome.code == 0
    header, row, line = outcome.out.splitlines()
    assert header.split() == ["name", "state", "found"]
    assert row.split()[:2] == [name, "ok"]
    assert line == f"{name}: all 22 tensors are those made again from source.safetensors and a.plan.json"


def test_a_changed_tensor_is_named_and_exits_with_1(medzoo_command: Callable, written: Callable) -> None:
    path = written("a.weights.h5")
    change(path, "block2_conv/kernel")
    outcome = medzoo_command("weights", "verify", path)
    assert outcome.code == 1
    assert "a.weights.h5: 21 of 22 tensors are those made again" in outcome.out
    assert "block2_conv/kernel: 1 of 51,200 values differ" in outcome.out.splitlines()
    assert outcome.err == ""
    as_json = medzoo_command("weights", "verify", path, "--json")
    assert as_json.code == 1
    (row,) = json.loads(as_json.out)
    assert row["state"] == "differs"
    assert row["agreeing"] == 21
    assert row["differing"] == [
        {
            "name": "block2_conv/kernel",
            "state": "differs",
            "values": 51200,
            "differing": 1,
            "reason": "1 of 51,200 values differ",
        }
    ]


def test_several_files_are_verified_at_once(medzoo_command: Callable, written: Callable) -> None:
    first, second = written("a.weights.h5"), written("b.weights.h5")
    change(second, "head/bias")
    outcome = medzoo_command("weights", "verify", first, second)
    assert outcome.code == 1
    assert [line.split()[1] for line in outcome.out.splitlines()[1:3]] == ["ok", "differs"]


def test_weights_from_moments_need_no_other_file(medzoo_command: Callable) -> None:
    assert medzoo_command("transplant", "--src", "imagenet", "--mode", "stats").code == 0
    outcome = medzoo_command("weights", "verify", "mobilenet_075.imagenet.stats.weights.h5")
    assert outcome.code == 0
    assert "all 137 tensors are those made again from mobilenet_075.imagenet" in outcome.out


def test_a_source_that_moved_is_given_by_hand(
    medzoo_command: Callable, refused: Callable, written: Callable, source: Path
) -> None:
    path = written("a.weights.h5")
    source.rename("moved.safetensors")
    line = refused("weights", "verify", path)
    assert "a.weights.h5 has the digest that its plan recorded, but its tensors cannot be made again" in line
    assert "'source.safetensors'" in line
    assert "--src" in line
    change(path, "head/bias")
    assert "a.weights.h5 has not the digest" in refused("weights", "verify", path)
    outcome = medzoo_command("weights", "verify", path, "--src", "moved.safetensors")
    assert outcome.code == 1
    assert "head/bias: 1 of 2 values differ" in outcome.out
    assert "no weights file absent.h5" in refused("weights", "verify", path, "--src", "absent.h5")


def test_another_source_is_refused(refused: Callable, written: Callable, source: Path) -> None:
    path = written("a.weights.h5")
    save_file({"a/kernel": np.ones(3, "float32")}, "other.safetensors")
    line = refused("weights", "verify", path, "--src", "other.safetensors")
    assert "other.safetensors has digest sha256:" in line
    assert "the digest of source.safetensors when the plan was made" in line


def test_a_file_without_a_plan_and_a_folder_are_refused(refused: Callable, source: Path) -> None:
    assert "no plan file source.plan.json" in refused("weights", "verify", source)
    assert "no weights file absent.weights.h5" in refused("weights", "verify", "absent.weights.h5")
    Path("folder").mkdir()
    assert "folder is a folder" in refused("weights", "verify", "folder")


@pytest.mark.parametrize("names", [(), ("resnet20.cifar10",), ("source.safetensors", "source.safetensors")])
def test_a_source_goes_with_one_file(medzoo_command: Callable, source: Path, names: tuple[str, ...]) -> None:
    outcome = medzoo_command("weights", "verify", *names, "--src", source)
    assert outcome.code == 2
    assert "--src goes with just one FILE" in outcome.err
