"""medzoo calibrate: what it fits, prints, writes and refuses; and what medzoo predict does with it."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_run import write_pictures, write_run
from scipy.special import expit, logit

from medzoo.errors import ConfigError
from medzoo.evaluation.calibration.calibration import read_calibration
from medzoo.evaluation.calibration.metrics import ece, nll
from medzoo.evaluation.predictions import Predictions, load_predictions, write_predictions

ROWS = 160
LABELS = ("edema", "fracture", "nodule")
NAMES = ("1.png", "2.png", "3.png")


def draw_two_classes() -> Predictions:
    """Validation and test rows whose logits are three times too large."""
    generator = np.random.default_rng(0)
    odds = generator.normal(0, 4, ROWS)
    codes = (generator.uniform(0, 1, ROWS) < expit(odds / 3)).astype(int)
    said = expit(odds)
    return Predictions(
        np.array([f"{row}.png" for row in range(ROWS)]),
        np.eye(2)[codes],
        np.stack([1 - said, said], axis=1),
        ("benign", "malignant"),
        np.repeat(["validation", "test"], ROWS // 2),
        logits=np.stack([np.zeros(ROWS), odds], axis=1),
    )


def draw_three_labels() -> Predictions:
    """As above, and a label that no validation row has."""
    generator = np.random.default_rng(1)
    odds = generator.normal(0, 4, (ROWS, 3))
    labels = (generator.uniform(0, 1, odds.shape) < expit(odds / 3)).astype(float)
    labels[: ROWS // 2, 1] = 0
    two = draw_two_classes()
    return Predictions(two.ids, labels, expit(odds), LABELS, two.splits, exclusive=False, logits=odds)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of benign and malignant, not calibrated."""
    folder = tmp_path_factory.mktemp("runs") / "breast"
    write_run(folder)
    write_predictions(draw_two_classes(), folder / "predictions.csv")
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of that run, to calibrate."""
    return Path(shutil.copytree(trained, tmp_path / "breast"))


def read_scores(path: str | Path) -> np.ndarray:
    with Path(path).open(encoding="utf-8") as file:
        return np.array([float(row["score_malignant"]) for row in csv.DictReader(file)])


def test_before_and_after_are_printed_with_interval_and_n(
    medzoo_command: Callable[..., Any], run: Path
) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    outcome = medzoo_command("calibrate", run, "--replicates", 50)
    assert outcome.code == 0, outcome.err
    calibration = read_calibration(run / "calibration.json")
    (fitted,) = calibration.maps
    lines = outcome.out.splitlines()
    assert lines[0] == f"temperature {fitted.temperature:.3f}, fitted on 80 validation images"  # type: ignore[union-attr]
    assert fitted.temperature == pytest.approx(3, rel=0.4)  # type: ignore[union-attr]
    assert lines[1].split() == ["split", "metric", "before", "after", "n", "positive"]
    assert [line.split()[:2] for line in lines[2:8]] == [
        [split, metric] for split in ("validation", "test") for metric in ("ece", "nll", "brier")
    ]
    assert lines[8].startswith("ece: no interval")
    assert lines[9] == str(run / "calibration.json")
    rows = load_predictions(run).of_split("test")
    (line,) = [line for line in lines if line.startswith("test") and " ece " in line]
    for value in (ece(rows), ece(calibration.apply(rows))):
        assert f"{value:.3f}".removeprefix("0") + " (chance: up to " in line
    (line,) = [line for line in lines if line.startswith("test") and " nll " in line]
    assert f"{nll(rows):.3f}".removeprefix("0") + " (" in line
    assert line.split()[-2:] == ["80", str(int(rows.labels[:, 1].sum()))]
    after = {path.name: path.read_bytes() for path in run.iterdir()}
    assert after.pop("calibration.json")
    assert after == before


def test_json_is_the_calibration_and_its_scores(medzoo_command: Callable[..., Any], run: Path) -> None:
    outcome = medzoo_command("calibrate", run, "--method", "isotonic", "--replicates", 20, "--json")
    content = json.loads(outcome.out)
    assert content["calibration"] == json.loads((run / "calibration.json").read_text())
    assert content["calibration"]["method"] == "isotonic"
    rows = load_predictions(run).of_split("validation")
    entry = content["splits"]["validation"]["nll"]
    assert entry["before"]["value"] == pytest.approx(nll(rows))
    assert entry["after"]["value"] < entry["before"]["value"]
    assert set(entry["after"]) == {"value", "low", "high", "n", "positives", "negatives"}
    entry = content["splits"]["validation"]["ece"]
    assert entry["before"]["value"] > entry["before"]["chance"]  # three times too sure
    assert entry["after"]["value"] < entry["after"]["chance"]
    assert (entry["after"]["low"], entry["after"]["high"]) == (None, None)


def test_few_rows_for_isotonic_are_told_of(medzoo_command: Callable[..., Any], run: Path) -> None:
    outcome = medzoo_command("calibrate", run, "--method", "isotonic", "--replicates", 5)
    assert "isotonic regression on 80 rows fits chance too" in outcome.err


def test_a_label_that_no_validation_row_has_is_named(
    medzoo_command: Callable[..., Any], tmp_path: Path
) -> None:
    write_run(tmp_path / "chest", LABELS, exclusive=False)
    write_predictions(draw_three_labels(), tmp_path / "chest" / "predictions.csv")
    outcome = medzoo_command("calibrate", "chest", "--replicates", 5)
    assert outcome.out.startswith("temperature of 2 of 3 labels, fitted on 80 validation images\n")
    assert "fracture is not calibrated: no positive validation row" in outcome.err
    maps = json.loads(Path("chest/calibration.json").read_text())["maps"]
    assert maps["fracture"] == {"uncalibrated": "no positive validation row"}
    assert sorted(maps["edema"]) == ["temperature"]
    write_pictures(tmp_path / "new", NAMES)
    told = medzoo_command("predict", "chest", "--data", "new", "--out", "new.csv").err
    assert "scores are calibrated: temperature of 2 of 3 labels" in told
    assert "'fracture' is not calibrated: no positive validation row" in told


def test_predict_calibrates_once_and_says_so(
    medzoo_command: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "new", NAMES)
    untold = medzoo_command("predict", run, "--data", "new", "--out", "before.csv")
    assert "calibrated" not in untold.err
    medzoo_command("calibrate", run, "--replicates", 5)
    (fitted,) = read_calibration(run / "calibration.json").maps
    raw = medzoo_command("predict", run, "--data", "new", "--out", "raw.csv", "--uncalibrated", "--json")
    assert json.loads(raw.out)["calibration"] is None
    assert "calibrated" not in raw.err
    done = medzoo_command("predict", run, "--data", "new", "--out", "done.csv")
    assert f"scores are calibrated: temperature {fitted.temperature:.3f}" in done.err  # type: ignore[union-attr]
    np.testing.assert_array_equal(read_scores("raw.csv"), read_scores("before.csv"))
    expected = expit(logit(read_scores("raw.csv")) / fitted.temperature)  # type: ignore[union-attr]
    assert np.abs(expected - read_scores("raw.csv")).max() > 1e-3
    np.testing.assert_allclose(read_scores("done.csv"), expected, atol=1e-12)
    both = medzoo_command("predict", run, "--data", "new", "--out", "both.csv", "--tta", "both", "--json")
    assert "fitted on single views" in both.err
    assert json.loads(both.out)["calibration"] == "temperature"


def test_the_library_does_as_the_command_does(
    medzoo_command: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    from medzoo.training.inference import predict

    write_pictures(tmp_path / "new", NAMES)
    medzoo_command("calibrate", run, "--replicates", 5)
    said: list[str] = []
    done = predict(run, tmp_path / "new", report=said.append)
    raw = predict(run, tmp_path / "new", calibrated=False)
    assert any(line.startswith("scores are calibrated: temperature") for line in said)
    np.testing.assert_allclose(read_calibration(run / "calibration.json").apply(raw).scores, done.scores)
    assert (done.scores != raw.scores).all()


def test_a_second_calibration_is_of_the_networks_own_scores(
    medzoo_command: Callable[..., Any], refused: Callable[..., str], run: Path
) -> None:
    medzoo_command("calibrate", run, "--replicates", 5)
    first = (run / "calibration.json").read_bytes()
    assert "--overwrite" in refused("calibrate", run, "--method", "platt")
    assert (run / "calibration.json").read_bytes() == first
    assert medzoo_command("calibrate", run, "--replicates", 5, "--overwrite").code == 0
    assert (run / "calibration.json").read_bytes() == first


def test_a_calibration_of_other_predictions_is_refused(
    medzoo_command: Callable[..., Any], refused: Callable[..., str], run: Path, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "new", NAMES)
    medzoo_command("calibrate", run, "--replicates", 5)
    rows = draw_two_classes()
    write_predictions(replace(rows, scores=rows.scores[:, ::-1], logits=None), run / "predictions.csv")
    told = refused("predict", run, "--data", "new")
    assert "fitted on other predictions" in told
    assert "medzoo calibrate" in told
    assert not Path("predictions.csv").exists()
    assert medzoo_command("predict", run, "--data", "new", "--uncalibrated").code == 0
    (run / "calibration.json").write_text("{")
    assert "--uncalibrated" in refused("predict", run, "--data", "new", "--out", "other.csv")


def test_refusals_write_nothing(refused: Callable[..., str], run: Path, tmp_path: Path) -> None:
    rows = draw_two_classes()
    assert "'temperature'" in refused("calibrate", run, "--method", "temprature")
    assert "no run 'nowhere'" in refused("calibrate", "nowhere")
    write_predictions(rows.of_split("test"), run / "predictions.csv")
    assert "has no annotated validation rows" in refused("calibrate", run)
    right = replace(rows, labels=np.eye(2)[rows.scores.argmax(axis=1)])
    write_predictions(right, run / "predictions.csv")
    assert "no validation row is wrong" in refused("calibrate", run)
    (run / "metrics.json").unlink()
    assert "is not finished" in refused("calibrate", run)
    assert not (run / "calibration.json").exists()


def test_a_calibrated_run_can_be_replaced(medzoo_command: Callable[..., Any], run: Path) -> None:
    from medzoo.training.rundir import choose_folder

    medzoo_command("calibrate", run, "--replicates", 5)
    assert choose_folder(str(run), True, "") == run
    (run / "mine.json").write_text("")
    with pytest.raises(ConfigError, match=r"holds 'mine\.json'"):
        choose_folder(str(run), True, "")


def test_a_trained_run_is_calibrated_as_its_images_are_predicted(
    medzoo_command: Callable[..., Any], image_folder: Path
) -> None:
    arguments = ["--data", image_folder, "--model", "cbr_tiny", "--image-size", 32, "--epochs", 3]
    arguments += ["--batch-size", 8, "--precision", "float32", "--out", "run"]
    trained = medzoo_command("train", *arguments)
    assert trained.code == 0, trained.err
    made = medzoo_command("calibrate", "run", "--method", "platt", "--replicates", 20)
    assert made.code == 0, made.err
    own = load_predictions("run")
    expected = read_calibration("run/calibration.json").apply(own)
    assert medzoo_command("predict", "run", "--data", image_folder, "--out", "again.csv").code == 0
    again = load_predictions("again.csv")
    places = [again.ids.tolist().index(name) for name in own.ids]
    np.testing.assert_allclose(again.scores[places], expected.scores, atol=1e-6)
    assert np.abs(expected.scores - own.scores).max() > 1e-3


@pytest.mark.slow
def test_no_framework_is_loaded(run: Path) -> None:
    code = (
        "import sys\ntry:\n    from medzoo.cli import main; main(['calibrate', sys.argv[1], '--replicates', '5'])\n"
        "except SystemExit as stop:\n    print(stop.code, sorted({'keras', 'tensorflow', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
