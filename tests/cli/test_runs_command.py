"""medzoo runs, as typed: every state that a run can be in, and folders that are no runs."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from medzoo.errors import ConfigError
from medzoo.training.listing import list_runs, read_run
from medzoo.training.monitoring.history import write_history

CONFIG = {
    "data": {"source": "chest.csv"},
    "model": {"name": "cbr_tiny"},
    "weights": {"mode": "stats", "src": "imagenet"},
    "training": {"epochs": 9},
}
METRICS = {
    "test": {"auroc": {"value": 0.8125, "low": 0.75, "high": 0.875, "n": 120}, "accuracy": {"value": 0.7}}
}


def _make_run(folder: Path, config: dict[str, Any] | None = None, steps: tuple[int, ...] = ()) -> Path:
    """Make a run that was broken off after these checkpoints."""
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(tomli_w.dumps(CONFIG if config is None else config))
    (folder / "plan.json").write_text("{}")
    (folder / "lock").touch()
    for step in steps:
        (folder / "checkpoints").mkdir(exist_ok=True)
        state = np.frombuffer(json.dumps({"step": step, "steps": 450}).encode(), np.uint8)
        arrays = {"00000/kernel": np.ones((50, 50), np.float32)}
        np.savez(folder / "checkpoints" / f"step-{step:09d}.npz", **{"state.json": state}, **arrays)
    return folder


def _finish(folder: Path, metrics: Any = METRICS) -> Path:
    """Finish a run."""
    rows = [{"epoch": 1, "step": 50, "val_auroc": 0.7}, {"epoch": 2, "step": 100, "val_auroc": 0.9}]
    write_history(folder, rows)
    for name in ("best.weights.h5", "predictions.csv"):
        (folder / name).write_text("x")
    (folder / "environment.json").write_text(json.dumps({"best_epoch": 2.0, "steps": 100}))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_a_table_of_every_state(medzoo_command: Callable, tmp_path: Path) -> None:
    _finish(_make_run(tmp_path / "runs" / "chest", steps=(100,)))
    _make_run(tmp_path / "runs" / "chest-10", steps=(50, 120))
    held = _make_run(tmp_path / "runs" / "chest-2", steps=(300,))
    broken = _finish(_make_run(tmp_path / "runs" / "old"))
    (broken / "metrics.json").write_text('{"test": ')
    with (held / "lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        outcome = medzoo_command("runs")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].split("  ")[0] == "run"
    assert "test AUROC" in lines[0]
    assert [line.split()[0] for line in lines[1:5]] == ["chest", "chest-2", "chest-10", "old"]
    assert lines[1].split() == [
        "chest",
        "finished",
        "2",
        ".812",
        ".750",
        "–",
        ".875",
        "120",
        "cbr_tiny",
        "stats",
    ]
    assert "running at 300 of 450" in lines[2]
    assert "stopped at 120 of 450" in lines[3]
    assert "broken" in lines[4]
    assert lines[5].startswith("old: metrics.json is no JSON")
    assert outcome.err == "to go on: medzoo train --resume runs/chest-10\n"


def test_json_holds_all_and_nothing_else(medzoo_command: Callable, tmp_path: Path) -> None:
    _finish(_make_run(tmp_path / "study" / "one" / "a"))
    _make_run(tmp_path / "study" / "b", steps=(7,))
    outcome = medzoo_command("runs", "study", "--json")
    assert outcome.err == ""
    second, first = json.loads(outcome.out)
    assert first == {
        "name": "one/a",
        "path": "study/one/a",
        "state": "finished",
        "note": "",
        "step": 100,
        "steps": None,
        "best_epoch": 2.0,
        "score": {"metric": "auroc", "value": 0.8125, "low": 0.75, "high": 0.875, "n": 120},
        "network": "cbr_tiny",
        "mode": "stats",
    }
    assert (second["name"], second["state"], second["step"], second["steps"]) == ("b", "stopped", 7, 450)
    assert second["score"] is None


def test_a_stopped_run_names_what_it_lost(tmp_path: Path) -> None:
    run = _make_run(tmp_path / "run", steps=(50, 120))
    assert read_run(run).note == ""
    last = run / "checkpoints" / "step-000000120.npz"
    last.write_bytes(last.read_bytes()[:-40])
    state = read_run(run)
    assert (state.state, state.step) == ("stopped", 50)
    assert state.note == "step-000000120.npz damaged, the one before is taken"
    (run / "checkpoints" / "step-000000050.npz").write_bytes(b"")
    state = read_run(run)
    assert (state.state, state.step, state.steps) == ("stopped", 0, None)
    assert state.note.endswith("damaged: it would start anew")
    assert read_run(_make_run(tmp_path / "young")).note == "no checkpoint: it would start anew"


def test_a_run_at_work_is_as_far_as_its_history(tmp_path: Path) -> None:
    run = _make_run(tmp_path / "run", {**CONFIG, "validation": {"metric": "loss"}}, steps=(50,))
    rows = [
        {"epoch": 1, "step": 50, "val_loss": 0.2},
        {"epoch": 2, "step": 100, "val_loss": 0.3, "val_auroc": 1.0},
    ]
    write_history(run, rows)
    assert (read_run(run).step, read_run(run).best_epoch) == (50, 1)
    with (run / "lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert (read_run(run).state, read_run(run).step) == ("running", 100)
    assert read_run(run).state == "stopped"  # the process ended: the system let go of the lock


@pytest.mark.parametrize(
    ("spoil", "note"),
    [
        (lambda run: (run / "best.weights.h5").unlink(), "best.weights.h5 is missing"),
        (lambda run: (run / "metrics.json").write_text("[1]"), "metrics.json holds no sections"),
        (lambda run: (run / "metrics.json").write_bytes(b"\xff"), "metrics.json is no JSON"),
        (lambda run: (run / "config.toml").unlink(), "config.toml is missing"),
        (lambda run: (run / "config.toml").write_text("training = ["), "config.toml is no TOML"),
    ],
)
def test_a_broken_run_says_why(tmp_path: Path, spoil: Callable[[Path], None], note: str) -> None:
    run = _finish(_make_run(tmp_path / "run"))
    spoil(run)
    state = read_run(run)
    assert state.state == "broken"
    assert state.note.startswith(note)


def test_a_stopped_run_of_strange_settings_is_broken_and_a_finished_one_is_not(tmp_path: Path) -> None:
    strange = {**CONFIG, "training": {"epoch": 9}}
    state = read_run(_make_run(tmp_path / "a", strange))
    assert state.state == "broken"
    assert "training.epochs" in state.note
    assert read_run(_finish(_make_run(tmp_path / "b", strange))).state == "finished"


@pytest.mark.parametrize(
    ("metrics", "cells"),
    [
        (
            {"test": {"auroc": {"value": None, "low": None, "high": None, "n": 5, "reason": "one class"}}},
            "undefined",
        ),
        ({"test": {"auroc": {"value": 1.0, "low": None, "high": None, "n": 5}}}, "1.000"),
        ({"test": {"kappa": {"value": -0.25, "low": -0.5, "high": 0, "n": 5}}}, "-0.250"),
        ({"validation": {}}, "–"),
        ({"test": {"auroc": "high"}}, "–"),
    ],
)
def test_a_score_may_be_undefined_or_absent(
    medzoo_command: Callable, tmp_path: Path, metrics: Any, cells: str
) -> None:
    _finish(_make_run(tmp_path / "runs" / "a"), metrics)
    outcome = medzoo_command("runs")
    assert outcome.code == 0, outcome.err
    assert cells in outcome.out.splitlines()[1].split()


def test_other_folders_are_passed_over(medzoo_command: Callable, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    (root / "site").mkdir(parents=True)
    (root / "site" / "config.toml").write_text('title = "a site"')
    (root / "torch" / "checkpoints").mkdir(parents=True)
    (root / "torch" / "events").mkdir()
    (root / ".part-x").mkdir()
    _make_run(root / ".part-x" / "hidden")
    _make_run(root / "1" / "2" / "3" / "4")
    outcome = medzoo_command("runs", "--json")
    assert json.loads(outcome.out) == []
    outcome = medzoo_command("runs")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == "no runs in runs; medzoo train makes one\n"
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.toml").write_text(tomli_w.dumps(CONFIG))  # a run that has just begun
    assert [run.name for run in list_runs(tmp_path / "new")] == ["new"]


def test_a_run_is_listed_once_wherever_links_lead(tmp_path: Path) -> None:
    _make_run(tmp_path / "elsewhere" / "a")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "b").symlink_to(tmp_path / "elsewhere" / "a")
    (tmp_path / "runs" / "loop").symlink_to(tmp_path / "runs")
    assert [run.name for run in list_runs(tmp_path / "runs")] == ["b"]


def test_folders_that_are_not_there_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "there is no folder runs" in refused("runs")
    (tmp_path / "file").touch()
    assert "file is a file" in refused("runs", "file")
    with pytest.raises(ConfigError, match="is no run"):
        read_run(tmp_path)


def test_names_cannot_command_the_terminal(medzoo_command: Callable, tmp_path: Path) -> None:
    _make_run(tmp_path / "runs" / "a\x1b[31m\nb")
    outcome = medzoo_command("runs")
    assert "\x1b" not in outcome.out + outcome.err
    assert len(outcome.out.splitlines()) == 3


def test_listing_starts_no_framework_and_changes_nothing(tmp_path: Path) -> None:
    run = _finish(_make_run(tmp_path / "a", steps=(3,)))
    before = {path: path.stat().st_mtime_ns for path in sorted(run.rglob("*"))}
    code = (
        "import sys; from medzoo.training.listing import list_runs; "
        f"assert list_runs({str(tmp_path)!r})[0].state == 'finished'; "
        "print([name for name in ('tensorflow', 'keras', 'matplotlib', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert {path: path.stat().st_mtime_ns for path in sorted(run.rglob("*"))} == before
