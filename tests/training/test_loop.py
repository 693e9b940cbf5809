"""The loop: where it validates, stops, checkpoints; and that going on changes nothing."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import medzoo
from medzoo.errors import ConfigError, DataError, TrainingError
from medzoo.training import loop
from medzoo.training.checkpoints import list_checkpoints, read_checkpoint
from medzoo.training.config import make_config
from medzoo.training.loop import _list_validations
from medzoo.training.rundir import Run, lock_run
from medzoo.training.signals import RunStoppedError
from medzoo.training.stepping.stepper import Stepper

#: Everything that draws or remembers, on images so small that a run takes seconds.
SETTINGS: dict[str, Any] = {
    "data": {"image_size": 16},
    "model": {"name": "cbr_tiny", "dropout": 0.3},
    "training": {
        "epochs": 4,
        "batch_size": 8,
        "precision": "float32",
        "xla": "off",
        "augment": "light",
    },
    "optimizer": {"average": 0.9, "clip_norm": 1.0},
    "schedule": {"kind": "plateau", "patience": 1, "factor": 0.5},
    "validation": {"early_stopping": 6, "every": 0.5},
}
TIMES = {"seconds", "images_per_second", "waiting"}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 noisy grey images of two classes that are hard to tell apart."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for name, level in (("a", 120), ("b", 128)):
        (root / name).mkdir()
        for number in range(20):
            pixels = np.clip(generator.normal(level, 30, (16, 16)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def _configure(images: Path, out: Path, **sections: dict[str, Any]) -> Any:
    content = {name: {**SETTINGS.get(name, {}), **sections.get(name, {})} for name in {*SETTINGS, *sections}}
    content["data"]["source"] = str(images)
    content["run"] = {**content.get("run", {}), "out": str(out)}
    return make_config(content)


def _summarise(run: Path) -> dict[str, Any]:
    with (run / "history.csv").open() as stream:
        history = [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(stream)]
    last = read_checkpoint(list_checkpoints(run)[0])
    facts = json.loads((run / "environment.json").read_text())
    return {
        "history": history,
        "checkpoint": [array.tobytes() for _, array in sorted(last.arrays.items())],
        "best": {n: np.asarray(t).tobytes() for n, t in medzoo.open_weights(run).items()},
        "predictions": (run / "predictions.csv").read_text(),
        "facts": [facts[name] for name in ("best_step", "steps", "stopped", "until")],
    }


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return medzoo.train(_configure(images, out)).path


@pytest.fixture
def broken_off(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the loop break off before a step, as a kill would: without a word."""

    class Killed(BaseException):
        """What no code catches."""

    def break_off(config: Any, step: int) -> None:
        advance = loop._Job.advance

        def stop(job: Any, batches: Any) -> None:
            if job.position.step >= step:
                raise Killed
            advance(job, batches)

        monkeypatch.setattr(loop._Job, "advance", stop)
        with pytest.raises(Killed):
            medzoo.train(config)
        monkeypatch.setattr(loop._Job, "advance", advance)

    return break_off


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 3, 4, 9])
def test_a_run_that_is_broken_off_goes_on_bit_for_bit(
    images: Path, whole: Path, tmp_path: Path, broken_off: Callable[..., None], step: int
) -> None:
    """With shuffling, dropout, augmentation, an average of weights, plateaus and early stopping."""
    config = _configure(images, tmp_path / "run", run={"checkpoint_minutes": 1e-6 if step != 9 else 10})
    if step == 0:
        # Killed before any checkpoint: the folder holds its configuration alone.
        (tmp_path / "run").mkdir()
        shutil.copy(whole / "config.toml", tmp_path / "run")
        (tmp_path / "run" / "lock").touch()
    else:
        broken_off(config, step)
    assert not (tmp_path / "run" / "metrics.json").exists()
    medzoo.resume(tmp_path / "run")
    assert _summarise(tmp_path / "run") == _summarise(whole)


@pytest.mark.slow
def test_a_damaged_last_checkpoint_changes_nothing_either(
    images: Path, whole: Path, tmp_path: Path, broken_off: Callable[..., None]
) -> None:
    broken_off(_configure(images, tmp_path / "run"), 10)
    assert len(list_checkpoints(tmp_path / "run")) == 2
    list_checkpoints(tmp_path / "run")[0].write_bytes(b"half a checkpo")
    lines: list[str] = []
    medzoo.resume(tmp_path / "run", report=lines.append)
    assert any("is damaged" in line for line in lines)
    assert any("goes on from step 4" in line for line in lines)
    assert _summarise(tmp_path / "run") == _summarise(whole)


@pytest.mark.slow
def test_a_signal_finishes_the_step_and_the_run_goes_on(
    images: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_step = Stepper.run
    calls: list[int] = []

    def interrupt(stepper: Stepper, batches: Any, number: int) -> Any:
        calls.append(number)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return run_step(stepper, batches, number)

    monkeypatch.setattr(Stepper, "run", interrupt)
    with pytest.raises(RunStoppedError, match=r"after step 6 of 16.*--resume") as stopped:
        medzoo.train(_configure(images, tmp_path / "run"))
    assert stopped.value.asked_by == "SIGTERM"
    assert read_checkpoint(list_checkpoints(tmp_path / "run")[0]).step == 6
    monkeypatch.undo()
    medzoo.resume(tmp_path / "run")
    assert _summarise(tmp_path / "run") == _summarise(whole)


def test_the_record_says_what_happened(whole: Path) -> None:
    facts = json.loads((whole / "environment.json").read_text())
    assert facts["traces"] == 1
    assert facts["until"] is None
    assert facts["batch_norm"].endswith("batch norms fused")
    rows = list(csv.DictReader((whole / "history.csv").open()))
    assert [row["step"] for row in rows][:3] == ["2", "4", "6"]
    assert float(rows[0]["epoch"]) == 0.5
    assert all(0 <= float(row["waiting"]) <= 1 for row in rows)
    assert (whole / "curves.png").stat().st_size > 1000
    with pytest.raises(ConfigError, match="is finished"):
        medzoo.resume(whole)


def test_resuming_refuses_what_has_changed(whole: Path, images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "metrics.json").unlink()
    with pytest.raises(ConfigError, match=r"training\.learning_rate was 0\.001, is 0\.1"):
        medzoo.resume(run, make_config({"training": {"learning_rate": 0.1}}))
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace('name = "cbr_tiny"', 'name = "cbr_small"'))
    with pytest.raises(ConfigError, match=r"model\.name was 'cbr_tiny', is 'cbr_small'"):
        medzoo.resume(run)
    (run / "config.toml").write_text(text)
    with lock_run(Run(run)), pytest.raises(ConfigError, match="another process"):
        medzoo.resume(run)
    with pytest.raises(ConfigError, match="is no run"):
        medzoo.resume(images)
    with pytest.raises(ConfigError, match=r"run\.out"):
        medzoo.resume(run, make_config({"run": {"out": "elsewhere"}}))
    extra = images / "a" / "one more.png"
    shutil.copy(images / "a" / "0.png", extra)
    try:
        with pytest.raises(DataError, match="other rows"):
            medzoo.resume(run)
    finally:
        extra.unlink()


@pytest.mark.slow
def test_parts_and_several_steps_a_call_change_nothing_but_rounding(images: Path, tmp_path: Path) -> None:
    """Batch norms that keep their statistics, so that parts add up to the whole batch; batches that do not divide."""
    plain: dict[str, Any] = {
        "model": {"name": "cbr_tiny", "dropout": 0.0},
        "optimizer": {"average": 0.0, "clip_norm": None},
        "schedule": {"kind": "cosine"},
        "validation": {"every": 1.0, "early_stopping": None},
        "data": {"image_size": 16},
    }
    losses = {}
    for name, training in {
        "whole": {},
        "parts": {"accumulate": 3},
        "several": {"steps_per_execution": 3},
    }.items():
        common = {"epochs": 2, "augment": "none", "batch_size": 12, "batch_norm": "frozen"}
        settings = {**plain, "training": {**common, **training}}
        run = medzoo.train(_configure(images, tmp_path / name, **settings))
        losses[name] = [float(row["loss"]) for row in csv.DictReader((run / "history.csv").open())]
        facts = json.loads((run / "environment.json").read_text())
        assert facts["steps"] == 6
        assert facts["traces"] == 1
    np.testing.assert_allclose(losses["parts"], losses["whole"], rtol=1e-4)
    np.testing.assert_allclose(losses["several"], losses["whole"], rtol=1e-6)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_names_step_rate_and_images(images: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "training": {"learning_rate": 1e30, "augment": "none", "epochs": 3},
        "optimizer": {"name": "sgd", "clip_norm": None, "average": 0.0},
        "schedule": {"kind": "constant"},
        "run": {"checkpoint_minutes": 1e-6},
    }
    with pytest.raises(
        TrainingError,
        match=r"(the loss is (nan|inf) at|is not finite after) step \d+ \(.*learning rate 1e\+30.*\.png",
    ) as error:
        medzoo.train(_configure(images, tmp_path / "run", **settings))
    last = read_checkpoint(list_checkpoints(tmp_path / "run")[0])
    assert f" step {last.step + 1} (" in str(error.value)
    assert all(np.isfinite(array).all() for array in last.arrays.values() if array.dtype.kind == "f")
    # The images named are those of that batch.
    from medzoo.training.feeding import list_batch_ids
    from medzoo.training.intake import open_data

    config = _configure(images, tmp_path / "run", **settings)
    ids = list_batch_ids(open_data(config.data), config.training, *divmod(last.step, 4))
    assert all(name in str(error.value) for name in ids)


@pytest.mark.slow
def test_a_score_that_is_reached_ends_the_run(images: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"validation": {"until": "loss=99", "early_stopping": None}}
    run = medzoo.train(_configure(images, tmp_path / "reached", **settings))
    facts = json.loads((run / "environment.json").read_text())
    assert facts["until"]["validated_at"] == facts["steps"] == 2
    settings = {"validation": {"until": "loss=1e-9", "early_stopping": None, "every": 1.0}}
    settings["training"] = {"epochs": 2}
    run = medzoo.train(_configure(images, tmp_path / "missed", **settings))
    facts = json.loads((run / "environment.json").read_text())
    assert facts["until"] == {"metric": "loss", "value": 1e-9, "step": None, "validated_at": None}
    assert facts["steps"] == 8


def test_validations_come_at_fractions_and_always_at_the_end() -> None:
    assert _list_validations(10, 4, 1.0) == [4, 8, 10]
    assert _list_validations(3, 3, 5e-324) == [1, 2, 3]
    assert _list_validations(500, 10, 100.0) == [500]


def test_fewer_images_than_a_batch_are_one_batch(images: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    config = _configure(images, tmp_path / "run", training={"batch_size": 500, "epochs": 1})
    run = medzoo.train(config, report=lines.append)
    assert "warning: 28 training images are fewer than a batch of 500: every update uses all of them" in lines
    assert medzoo.read_config(run / "config.toml").training.batch_size == 28


def test_a_folder_never_exists_without_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medzoo.training.rundir import open_run

    made: list[list[str]] = []
    rename = Path.rename

    def watch(path: Path, target: Path) -> Path:
        made.append(sorted(entry.name for entry in path.iterdir()))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", watch)
    with open_run(tmp_path / "run", {"config.toml": "x"}) as run:
        assert (run / "config.toml").read_text() == "x"
        assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
        (run / "history.csv").write_text("x")
    assert made == [["config.toml", "lock"]]


def test_a_run_that_somebody_trains_in_is_not_replaced(tmp_path: Path) -> None:
    from medzoo.training.rundir import open_run

    with open_run(tmp_path / "run", {"config.toml": "x"}) as run:
        (run / "history.csv").write_text("x")
    replacing = open_run(tmp_path / "run", {"config.toml": "y"})
    with lock_run(Run(tmp_path / "run")), pytest.raises(ConfigError, match="another process"):
        replacing.__enter__()
    assert (tmp_path / "run" / "config.toml").read_text() == "x"
