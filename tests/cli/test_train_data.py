"""medzoo train on data of every kind, by the options that say how they are read."""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

QUICK = (
    "--epochs",
    1,
    "--model",
    "cbr_tiny",
    "--precision",
    "float32",
    "--image-size",
    32,
    "--batch-size",
    8,
)


def read_rows(path: str) -> list[dict[str, str]]:
    """Read a CSV file's rows."""
    with Path(path).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_table(folder: Path, header: str, cells: Callable[[int], str], count: int = 48) -> Path:
    """Write pictures, half of them bright, and their table."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    lines = [f"image,{header}"]
    for number in range(count):
        pixels = rng.integers(0, 90, (32, 32)) + 120 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{cells(number)}")
    (folder / "table.csv").write_text("\n".join(lines))
    return folder / "table.csv"


def test_folds_of_a_split_file_are_trained_and_the_fold_of_the_contract_is_another_option(
    medzoo_command: Callable, tmp_path: Path
) -> None:
    data = write_table(tmp_path / "set", "label,patient", lambda number: f"{'ab'[number % 2]},p{number // 4}")
    assert medzoo_command("data", "split", data, "--folds", 3, "--out", "folds.csv").code == 0
    arguments = ("train", "--data", data, "--splits", "folds.csv", *QUICK)
    outcome = medzoo_command(*arguments, "--test-fold", 3, "--no-fold", "--mode", "random", "--out", "run")
    assert outcome.code == 0, outcome.err
    folds = {row["id"]: row["fold"] for row in read_rows("folds.csv")}
    tested = [row for row in read_rows("run/predictions.csv") if row["split"] == "test"]
    assert {folds[row["id"]] for row in tested} == {"3"}
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert (config["data"]["fold"], config["weights"]["fold"]) == (3, False)


def test_several_labels_with_unknown_ones_reach_predictions_and_metrics(
    medzoo_command: Callable, tmp_path: Path
) -> None:
    marks = ("1", "0", "-1", "")

    def label(number: int) -> str:
        return f"{number % 2},{marks[number % 4] if number % 3 else number % 2},p{number}"

    data = write_table(tmp_path / "set", "Bright,Edema,patient", label)
    outcome = medzoo_command(
        *("train", "--data", data, "--label-columns", "Bright,Edema", *QUICK, "--out", "run"),
        *("--uncertain", "Edema=ones", "--balance", "weights", "--augment", "medical", "--mix", "mixup"),
    )
    assert outcome.code == 0, outcome.err
    assert "labels, several per image," in outcome.err
    rows = read_rows("run/predictions.csv")
    assert {row["label_Edema"] for row in rows} == {"0", "1", ""}
    assert {row["label_Bright"] for row in rows} == {"0", "1"}
    metrics = json.loads(Path("run/metrics.json").read_text())
    known = sum(row["label_Edema"] != "" for row in rows if row["split"] == "test")
    assert metrics["test"]["auroc"]["labels"]["Edema"]["n"] == known
    environment = json.loads(Path("run/environment.json").read_text())
    assert "mixup" in environment["augmentation"]
    again = medzoo_command("evaluate", "run", "--json")
    assert json.loads(again.out) == metrics


def test_what_cannot_be_read_is_skipped_and_listed_in_the_run(
    medzoo_command: Callable, tmp_path: Path
) -> None:
    data = write_table(tmp_path / "set", "label", lambda number: "ab"[number % 2])
    (data.parent / "5.png").write_bytes(b"")
    cut = (data.parent / "8.png").read_bytes()
    (data.parent / "8.png").write_bytes(cut[: len(cut) // 2])
    refused = medzoo_command("train", "--data", data, *QUICK, "--out", "run")
    assert refused.code == 1
    assert "row 7: " in refused.err
    assert not Path("run").exists()
    outcome = medzoo_command("train", "--data", data, *QUICK, "--on-error", "skip", "--out", "run")
    assert outcome.code == 0, outcome.err
    skipped = json.loads(Path("run/environment.json").read_text())["skipped"]
    assert skipped["count"] == 2
    assert skipped["rows"][0].startswith("row 7: ")
    assert skipped["rows"][1].startswith("row 10: ")
