"""medzoo predict: what is written and printed, what is refused, and that a run's own images get the run's scores."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finished_run import write_pictures, write_run

NAMES = ("1.png", "2.png", "3.png")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of benign and malignant."""
    folder = tmp_path_factory.mktemp("runs") / "breast"
    write_run(folder)
    return folder


def read_rows(path: Path | str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_flat_folder_becomes_a_table_and_a_summary(
    medzoo_command: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "new", NAMES)
    outcome = medzoo_command("predict", run, "--data", "new")
    assert outcome.code == 0, outcome.err
    rows = read_rows("predictions.csv")
    assert list(rows[0]) == ["id", "split", "label", "score_benign", "score_malignant"]
    assert [(row["id"], row["split"], row["label"]) for row in rows] == [(name, "test", "") for name in NAMES]
    assert all(
        sum(float(row[f"score_{name}"]) for name in ("benign", "malignant")) == pytest.approx(1)
        for row in rows
    )
    likely = sum(float(row["score_benign"]) > 0.5 for row in rows)
    assert outcome.out.splitlines()[1].split()[:2] == ["benign", str(likely)]
    assert outcome.out.splitlines()[-1] == "predictions.csv"
    assert "data new: 3 images, labels known for 0" in outcome.err


def test_json_is_all_that_stdout_holds(medzoo_command: Callable[..., Any], run: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "new", NAMES)
    (tmp_path / "new" / "2.png").write_bytes(b"")
    arguments = ("predict", run, "--data", "new", "--on-error", "skip", "--tta", "both", "--out", "p.parquet")
    outcome = medzoo_command(*arguments, "--json")
    content = json.loads(outcome.out)
    assert (content["images"], content["labelled"], content["views"]) == (2, 0, "both")
    assert len(content["skipped"]) == 1
    assert sum(entry["likely"] for entry in content["classes"].values()) == 2
    assert sum(entry["mean_score"] for entry in content["classes"].values()) == pytest.approx(1)
    assert Path("p.parquet").read_bytes()[:4] == b"PAR1"


def test_labelled_predictions_can_be_evaluated(
    medzoo_command: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    names = tuple(f"{label}/{number}.png" for label in ("benign", "malignant") for number in range(4))
    write_pictures(tmp_path / "new", names)
    outcome = medzoo_command("predict", run, "--data", "new", "--out", "out.csv")
    assert "medzoo evaluate out.csv" in outcome.err
    metrics = json.loads(medzoo_command("evaluate", "out.csv", "--replicates", 20, "--json").out)
    assert metrics["test"]["auroc"]["n"] == 8
    unlabelled = medzoo_command("predict", run, "--data", "new", "--unlabelled", "--out", "plain.csv")
    assert "medzoo evaluate" not in unlabelled.err
    scores = [[row["score_benign"] for row in read_rows(name)] for name in ("out.csv", "plain.csv")]
    assert scores[0] == scores[1]


def test_nothing_is_overwritten_unasked(
    medzoo_command: Callable[..., Any], refused: Callable[..., str], run: Path, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "new", NAMES)
    (tmp_path / "out.csv").write_text("mine")
    assert "--overwrite" in refused("predict", run, "--data", "new", "--out", "out.csv")
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert medzoo_command("predict", run, "--data", "new", "--out", "out.csv", "--overwrite").code == 0
    assert len(read_rows("out.csv")) == 3
    before = (run / "predictions.csv").read_bytes()
    assert "lies in the run" in refused(
        "predict", run, "--data", "new", "--out", run / "predictions.csv", "--overwrite"
    )
    assert (run / "predictions.csv").read_bytes() == before


def test_refusals_say_what_to_type_and_write_nothing(
    refused: Callable[..., str], run: Path, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "new", NAMES)
    write_pictures(tmp_path / "pets", ("cat/1.png", "benign/1.png"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "new.csv").write_text("image,label\nnew/1.png,healthy\n")
    write_run(tmp_path / "unfinished")
    (tmp_path / "unfinished" / "metrics.json").unlink()
    for arguments, told in (
        ((run, "--data", "nowhere"), "no file or folder 'nowhere'"),
        ((run, "--data", "empty"), "empty holds no images"),
        ((run, "--data", "pets"), "--unlabelled"),
        ((run, "--data", "new.csv"), "row 2 has the label 'healthy'"),
        ((run, "--data", "new", "--tta", "rotate"), "--tta horizontal"),
        ((run, "--data", "new", "--batch-size", 0), "--batch-size 32"),
        ((run, "--data", "new", "--window", "nothing"), "nothing"),
        ((run, "--data", "new", "--out", "p.txt"), "--out predictions.csv"),
        (("unfinished", "--data", "new"), "is not finished"),
        (("new", "--data", "new"), "is no training run"),
        (("nothing", "--data", "new"), "no run 'nothing'"),
    ):
        assert told in refused("predict", *arguments)
    assert not (tmp_path / "predictions.csv").exists()


def test_a_broken_image_ends_it_and_writes_nothing(
    medzoo_command: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "new", NAMES)
    whole = (tmp_path / "new" / "2.png").read_bytes()
    (tmp_path / "new" / "2.png").write_bytes(whole[: len(whole) // 2])
    outcome = medzoo_command("predict", run, "--data", "new")
    assert outcome.code == 1
    last = outcome.err.strip().splitlines()[-1]
    assert last.startswith("medzoo: ")
    assert "2.png" in last
    assert "--on-error skip" in last
    assert not Path("predictions.csv").exists()


def test_a_trained_run_gives_its_own_images_its_own_scores(
    medzoo_command: Callable[..., Any], image_folder: Path
) -> None:
    arguments = ("--model", "cbr_tiny", "--image-size", 32, "--epochs", 1, "--batch-size", 8)
    trained = medzoo_command(
        "train", "--data", image_folder, *arguments, "--precision", "float32", "--out", "run"
    )
    assert trained.code == 0, trained.err
    outcome = medzoo_command("predict", "run", "--data", image_folder, "--out", "again.csv")
    assert outcome.code == 0, outcome.err
    assert "is what the run was trained on" in outcome.err
    again = {row["id"]: row for row in read_rows("again.csv")}
    assert len(again) == 24
    for row in read_rows("run/predictions.csv"):
        for name in ("split", "label"):
            assert again[row["id"]][name] == row[name]
        for name in ("score_bright", "score_dark"):
            assert float(again[row["id"]][name]) == pytest.approx(float(row[name]), abs=1e-6)


def test_real_images_of_other_kinds(medzoo_command: Callable[..., Any], run: Path, shared_data: Path) -> None:
    busi = shared_data / "busi_breast224"
    outcome = medzoo_command(
        "predict", run, "--data", busi / "manifest.csv", "--unlabelled", "--out", "busi.csv"
    )
    assert outcome.code == 0, outcome.err
    assert len(read_rows("busi.csv")) == 780
    dicom = shared_data / "dicom"
    outcome = medzoo_command("predict", run, "--data", dicom, "--on-error", "skip", "--out", "dicom.csv")
    assert outcome.code == 0, outcome.err
    rows = read_rows("dicom.csv")
    assert len(rows) == 41
    assert "MR_truncated.dcm" in outcome.err
    assert "MR_truncated.dcm" not in {row["id"] for row in rows}
    # One picture in four lossless codecs.
    same = {row["score_benign"] for row in rows if row["id"].startswith("RG3_")}
    assert len([row for row in rows if row["id"].startswith("RG3_")]) == 4
    assert max(map(float, same)) - min(map(float, same)) < 1e-6
