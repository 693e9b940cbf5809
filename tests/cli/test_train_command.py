"""medzoo train and medzoo evaluate on a run, as typed, on good and bad input."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medzoo.evaluation.scores import DEFAULT_METRICS

FILES = {
    "config.toml",
    "plan.json",
    "environment.json",
    "history.csv",
    "best.weights.h5",
    "predictions.csv",
    "metrics.json",
    "curves.png",
    "checkpoints",
    "lock",
}
QUICK = ("--epochs", 1, "--model", "cbr_tiny", "--precision", "float32", "--batch-size", 8)


def test_a_folder_becomes_a_whole_run(medzoo_command: Callable, image_folder: Path) -> None:
    outcome = medzoo_command("train", "--data", image_folder, *QUICK, "--out", "run", "--epochs", 3)
    assert outcome.code == 0, outcome.err
    run = Path("run")
    assert {path.name for path in run.iterdir()} == FILES
    assert "precision float32 (as asked for)" in outcome.err
    assert "XLA off (" in outcome.err
    assert "auroc" in outcome.out
    history = list(csv.DictReader((run / "history.csv").open()))
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    config = tomllib.loads((run / "config.toml").read_text())
    assert config["model"] == {"name": "cbr_tiny", "channels": 1, "dropout": 0.0, "drop_path": 0.0}
    rows = list(csv.DictReader((run / "predictions.csv").open()))
    assert {row["split"] for row in rows} == {"validation", "test"}
    assert {row["label"] for row in rows} == {"bright", "dark"}
    assert float(rows[0]["score_bright"]) + float(rows[0]["score_dark"]) == pytest.approx(1)
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics["test"]) == set(DEFAULT_METRICS)
    assert set(metrics["test"]["auroc"]) >= {"value", "low", "high", "n"}
    again = medzoo_command("evaluate", "run", "--json")
    assert json.loads(again.out) == metrics


def _read_files(run: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_run_is_never_overwritten_unasked(medzoo_command: Callable, image_folder: Path) -> None:
    arguments = ("train", "--data", image_folder, *QUICK, "--out", "run")
    assert medzoo_command(*arguments).code == 0
    before = _read_files(Path("run"))
    refused = medzoo_command(*arguments, "--seed", 1)
    assert refused.code == 1
    assert "--overwrite" in refused.err
    assert _read_files(Path("run")) == before
    # With --overwrite, but a mistake elsewhere: the old run stays.
    assert medzoo_command(*arguments, "--overwrite", "--mode", "stats").code == 1
    assert _read_files(Path("run")) == before
    assert medzoo_command(*arguments, "--overwrite", "--seed", 1).code == 0
    assert "seed = 1" in (Path("run") / "config.toml").read_text()


def test_a_run_is_a_source_and_its_config_a_configuration(
    medzoo_command: Callable, image_folder: Path
) -> None:
    assert medzoo_command("train", "--data", image_folder, *QUICK, "--out", "first").code == 0
    arguments = ("--data", image_folder, *QUICK[:2], "--batch-size", 8, "--out", "second")
    outcome = medzoo_command(
        "train", *arguments, "--src", "first", "--mode", "transfusion", "--upto", "block2"
    )
    assert outcome.code == 0, outcome.err
    assert medzoo_command("train", "first/config.toml", "--set", "run.out=third").code == 0
    first, third = (Path(name, "predictions.csv").read_text() for name in ("first", "third"))
    assert first == third


def test_the_same_seed_gives_the_same_start(medzoo_command: Callable, image_folder: Path) -> None:
    for name in ("a", "b"):
        assert medzoo_command("train", "--data", image_folder, *QUICK, "--out", name).code == 0
    assert Path("a/plan.json").read_text() == Path("b/plan.json").read_text()


def test_folders_holding_other_things_are_left_alone(medzoo_command: Callable, image_folder: Path) -> None:
    outcome = medzoo_command("train", "--data", image_folder, *QUICK, "--out", image_folder, "--overwrite")
    assert outcome.code == 1
    assert len(list(image_folder.rglob("*.png"))) == 24


def _write_csv(root: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("file", "label")) -> Path:
    path = root / "manifest.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def _rows(image_folder: Path) -> list[tuple[str, ...]]:
    files = sorted(image_folder.rglob("*.png"))
    return [(str(file.relative_to(image_folder)), file.parent.name) for file in files]


def _bad_data(case: str, root: Path) -> tuple[tuple[object, ...], str]:
    """Give the arguments of a bad case and words of its message."""
    rows = _rows(root)
    if case == "no such column":
        return ("--data", _write_csv(root, rows), "--label-column", "diagnosys"), "diagnosys"
    if case == "missing image":
        return ("--data", _write_csv(root, [*rows, ("dark/99.png", "dark")])), "99.png"
    if case == "unreadable image":
        (root / "dark" / "3.png").write_bytes(b"not a picture")
        return ("--data", _write_csv(root, rows)), "3.png"
    if case.startswith("truncated"):
        from PIL import Image

        # 16-bit PNG and BMP are decoded by Pillow, 8-bit PNG by TensorFlow; the last row is a test image.
        image = Image.open(root / "dark" / "3.png")
        suffix = ".bmp" if case == "truncated BMP" else ".png"
        if case == "truncated 16-bit image":
            image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
        path = root / "dark" / f"broken{suffix}"
        image.save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        split = [(*row, ("train", "train", "validation", "test")[i % 4]) for i, row in enumerate(rows)]
        broken = (f"dark/broken{suffix}", "dark", "test")
        return ("--data", _write_csv(root, [*split, broken], ("file", "label", "split"))), "broken"
    if case == "two channels":
        return ("--data", root, "--channels", 2), "1 (grey) or 3"
    if case == "huge seed":
        return ("--data", root, "--seed", 2**32), "training.seed"
    if case == "infinite rate":
        return ("--data", root, "--lr", "inf"), "learning_rate"
    if case == "empty name":
        return ("--data", ""), "data.source"
    if case == "label seen once":
        return ("--data", _write_csv(root, [*rows[1:], (rows[0][0], "rare")])), "rare"
    if case == "empty split":
        split = [(*row, "train" if index % 2 else "test") for index, row in enumerate(rows)]
        split = [(*row[:2], "train") for row in split]
        return ("--data", _write_csv(root, split, ("file", "label", "split"))), "test"
    if case == "no such data":
        return ("--data", "nowhere"), "nowhere"
    if case == "too small an input":
        return ("--data", root, "--model", "mobilenet_075", "--image-size", 16), "32 or more"
    if case == "unknown setting":
        return ("--data", root, "--set", "training.epoch=3"), "training.epochs"
    if case == "bad value":
        return ("--data", root, "--epochs", 0), "epochs"
    if case == "bad precision":
        return ("--data", root, "--precision", "float8"), "float32"
    if case == "mode without source":
        return ("--data", root, "--mode", "stats"), "--src"
    assert case == "wrong weights"
    return (
        "--data",
        root,
        "--src",
        "imagenet",
        "--mode",
        "stats",
        "--model",
        "cbr_tiny",
    ), "cbr_tiny.imagenet"


@pytest.mark.parametrize(
    "case",
    [
        "no such column",
        "missing image",
        "unreadable image",
        "truncated image",
        "truncated BMP",
        "truncated 16-bit image",
        "two channels",
        "huge seed",
        "infinite rate",
        "empty name",
        "label seen once",
        "empty split",
        "no such data",
        "too small an input",
        "unknown setting",
        "bad value",
        "bad precision",
        "mode without source",
        "wrong weights",
    ],
)
def test_bad_input_is_one_line(case: str, medzoo_command: Callable, image_folder: Path) -> None:
    arguments, expected = _bad_data(case, image_folder)
    outcome = medzoo_command("train", "--epochs", 1, "--precision", "float32", "--out", "run", *arguments)
    assert outcome.code == 1, outcome
    line = outcome.err.strip().splitlines()[-1]
    assert line.startswith("medzoo: "), outcome.err
    assert expected in line
    assert "Traceback" not in outcome.err
    assert "internal error" not in outcome.err
    assert not Path("run").exists()


def test_one_class_in_the_test_split_is_nan_with_the_reason(
    medzoo_command: Callable, image_folder: Path
) -> None:
    rows = _rows(image_folder)
    split = ["train"] * 6 + ["validation"] * 3 + ["test"] * 3 + ["train"] * 6 + ["validation"] * 6
    path = _write_csv(
        image_folder,
        [(*row, name) for row, name in zip(rows, split, strict=True)],
        ("file", "label", "split"),
    )
    assert medzoo_command("train", "--data", path, *QUICK, "--out", "run").code == 0
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["test"]["auroc"]["value"] is None
    assert "dark" in metrics["test"]["auroc"]["reason"]
    assert metrics["test"]["accuracy"]["value"] is not None
    assert "undefined" in medzoo_command("evaluate", "run").out


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 1), ("SIGTERM", 0)])
def test_a_signal_leaves_a_run_that_goes_on(
    name: str, code: int, medzoo_command: Callable, image_folder: Path, tmp_path: Path
) -> None:
    arguments = ("train", "--data", image_folder, *QUICK, "--epochs", 100000, "--out", "run")
    command = [sys.executable, "-m", "medzoo.cli", *map(str, arguments)]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"),
    )
    history = tmp_path / "run" / "history.csv"
    deadline = time.time() + 120
    while not (history.exists() and len(history.read_text().splitlines()) > 3) and time.time() < deadline:
        assert process.poll() is None
        time.sleep(0.1)
    assert "running" in medzoo_command("runs", ".").out
    process.send_signal(signal.Signals[name])
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    last = err.strip().splitlines()[-1]
    assert f"stopped by {name} after step" in last
    assert "try medzoo train --resume run" in last
    assert "stopped" in medzoo_command("runs", ".").out
    assert "Traceback" not in err
    rows = list(csv.DictReader(history.open()))
    assert len(rows) >= 3
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".part")]
    import medzoo

    assert len(medzoo.open_weights(tmp_path / "run")) == 22


def test_evaluating_an_interrupted_run_says_so(refused: Callable, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text("")
    assert "no predictions" in refused("evaluate", "run")


def test_a_source_may_hold_more_than_the_network_if_that_is_excused(
    medzoo_command: Callable, image_folder: Path
) -> None:
    import medzoo

    network = medzoo.build("cbr_tiny", classes=2, channels=1, input_size=32)
    arrays = {weight.path: np.asarray(weight.value) for weight in network.weights}
    np.savez("more.npz", **arrays, **{"extra/kernel": np.zeros(3, np.float32)})
    arguments = ("train", "--data", image_folder, *QUICK, "--src", "more.npz", "--out", "run")
    refused = medzoo_command(*arguments)
    assert refused.code == 1
    assert "--ignore 'extra/kernel'" in refused.err
    assert medzoo_command(*arguments, "--ignore", "extra/*").code == 0


def test_a_run_cannot_replace_its_own_source(medzoo_command: Callable, image_folder: Path) -> None:
    assert medzoo_command("train", "--data", image_folder, *QUICK, "--out", "run").code == 0
    before = Path("run/best.weights.h5").read_bytes()
    again = medzoo_command(
        "train", "--data", image_folder, *QUICK, "--src", "run", "--out", "run", "--overwrite"
    )
    assert again.code == 1
    assert "lies in the run to be replaced" in again.err
    assert Path("run/best.weights.h5").read_bytes() == before


def test_a_csv_column_called_set_need_not_be_a_split(medzoo_command: Callable, image_folder: Path) -> None:
    rows = [(*row, "cohort A") for row in _rows(image_folder)]
    path = _write_csv(image_folder, rows, ("file", "label", "set"))
    assert medzoo_command("train", "--data", path, *QUICK, "--out", "run").code == 0
    assert "cohort A" in Path("run/predictions.csv").read_text()


def test_a_configuration_means_the_same_from_any_folder(
    medzoo_command: Callable, image_folder: Path, tmp_path: Path
) -> None:
    """Paths become absolute; names of cards stay names, also where folders are called like them."""
    for name in ("imagenet", "phantom"):
        (tmp_path / name).mkdir()
    arguments = (
        "--src",
        "imagenet",
        "--mode",
        "stats",
        "--epochs",
        1,
        "--precision",
        "float32",
        "--out",
        "run",
    )
    assert medzoo_command("train", "--data", image_folder.name, *arguments).code == 0
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert config["data"]["source"] == str(image_folder)
    assert config["weights"]["src"] == "imagenet"
