"""A run on other data and on its own under corruption: the numbers are those of its parts, and refusals are plain."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from finished_run import CLASSES, write_pictures, write_run
from PIL import Image

from medzoo.data.containers.arrays import dataset_from_arrays
from medzoo.data.corruptions import Corruption
from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.metrics.registry import find_metric
from medzoo.evaluation.predictions import load_predictions, write_predictions
from medzoo.evaluation.shift.comparing import compare_shift
from medzoo.evaluation.shift.detection import detection_scores
from medzoo.evaluation.shift.detectors import energy, k_nearest, mahalanobis
from medzoo.evaluation.uncertainty.resampling import Resampling
from medzoo.training import shifting
from medzoo.training.features import read_features
from medzoo.training.inference import predict
from medzoo.training.shifting import evaluate_corruptions, evaluate_shift

QUICK = Resampling(replicates=50)
COUNT = 60


def write_set(
    folder: Path, count: int = COUNT, change: Callable[[np.ndarray], np.ndarray] | None = None
) -> None:
    """Write pictures in class folders, changed where asked for."""
    names = tuple(f"{CLASSES[number % 2]}/{number}.png" for number in range(count))
    pixels = write_pictures(folder, names)
    for name, picture in zip(names, pixels if change is None else change(pixels), strict=True):
        Image.fromarray(picture[..., 0]).save(folder / name)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its own pictures beside it, and the predictions of their validation and test parts."""
    root = tmp_path_factory.mktemp("shift")
    write_set(root / "own")
    write_run(root / "run", data={"source": str(root / "own")})
    predictions = predict(root / "run", root / "own")
    write_predictions(predictions.take(predictions.splits != "train"), root / "run" / "predictions.csv")
    write_set(root / "dark", 30, lambda pixels: pixels // 8)
    write_set(root / "alike", 30)
    return root / "run"


def test_other_data_stand_beside_the_runs_test_images(run: Path) -> None:
    told: list[str] = []
    shift = evaluate_shift(
        run, run.parent / "dark", metrics=["auroc", "brier"], resampling=QUICK, report=told.append
    )
    inside = load_predictions(run).of_split("test")
    outside = predict(run, run.parent / "dark")
    np.testing.assert_allclose(shift.outside.scores, outside.scores, atol=1e-6)
    assert shift.metrics == compare_shift(inside, shift.outside, ["auroc", "brier"], QUICK)
    assert shift.metrics["brier"].outside.value == pytest.approx(find_metric("brier").measure(outside))
    assert (shift.metrics["auroc"].inside.counts.n, shift.metrics["auroc"].outside.counts.n) == (
        len(inside),
        30,
    )
    assert shift.detection == {}
    assert shift.data == "dark"
    assert list(shift.describe()) == ["run", "data", "metrics"]
    assert any("data dark: 30 images" in line for line in told)


def test_strangeness_is_measured_on_the_runs_own_images(run: Path) -> None:
    shift = evaluate_shift(run, run.parent / "alike", detect=True, resampling=QUICK)
    own, outside = (read_features(run, run.parent / name) for name in ("own", "alike"))
    splits = own.predictions.splits
    training, test = own.values[splits == "train"], own.values[splits == "test"]
    labels = own.predictions.labels[splits == "train"]
    logits = own.predictions.logits[splits == "test"], outside.predictions.logits
    wanted = {
        "energy": [energy(some) for some in logits],
        "mahalanobis": [mahalanobis(training, some, labels) for some in (test, outside.values)],
        "k_nearest": [k_nearest(training, some) for some in (test, outside.values)],
    }
    assert list(shift.detection) == ["max_softmax", *wanted]
    for name, (first, second) in wanted.items():
        expected = detection_scores(first, second, QUICK)
        assert shift.detection[name].auroc.value == pytest.approx(expected.auroc.value)
        assert shift.detection[name].fpr95.value == pytest.approx(expected.fpr95.value)
        assert 0 < expected.auroc.value < 1  # of the same kind: what is fitted on what decides the value
    assert shift.describe()["detection"]["energy"]["auroc"]["positives"] == 30
    dark = evaluate_shift(run, run.parent / "dark", detect=True, resampling=QUICK)
    assert dark.detection["mahalanobis"].auroc.value > 0.99  # an eighth of the light cannot be missed


def test_detection_needs_no_labels_and_says_what_it_cannot(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.zeros((12, 32, 32, 1), np.uint8)
    pixels[::2] = 200
    other = dataset_from_arrays(pixels, [*CLASSES] * 6, name="made")
    with pytest.raises(DataError, match=r"made has no labels.*--detect"):
        evaluate_shift(run, other, unlabelled=True, resampling=QUICK)
    monkeypatch.setattr(shifting, "FITTED", 1)
    shift = evaluate_shift(run, other, unlabelled=True, detect=True, resampling=QUICK)
    assert shift.metrics["auroc"].outside.reason == "no annotated rows"
    assert "1 training images" in str(shift.detection["mahalanobis"].auroc.reason)
    assert math.isnan(shift.detection["mahalanobis"].fpr95.value)
    assert not math.isnan(shift.detection["k_nearest"].auroc.value)


def test_the_runs_own_data_and_slips_are_refused_before_any_work(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shifting, "load_network", lambda trained: pytest.fail("the network was loaded"))
    with pytest.raises(DataError, match="own is what the run was trained on"):
        evaluate_shift(run, run.parent / "own")
    with pytest.raises(ConfigError, match="no metric 'aurok'"):
        evaluate_shift(run, run.parent / "dark", metrics=["aurok"])
    with pytest.raises(ConfigError, match="no metric 'aurok'"):
        evaluate_corruptions(run, metric="aurok")
    with pytest.raises(ConfigError, match="no corruption 'fog'"):
        evaluate_corruptions(run, names=["fog"])


def test_labels_of_other_classes_are_refused(run: Path, tmp_path: Path) -> None:
    other = dataset_from_arrays(np.zeros((9, 32, 32, 1), np.uint8), ["benign", "malignant", "normal"] * 3)
    with pytest.raises(DataError, match="'normal', which is no class of the run"):
        evaluate_shift(run, other)


def test_corruptions_are_of_the_test_images_as_they_are_stored(run: Path) -> None:
    found = evaluate_corruptions(run, names=["noise", "jpeg"], metric="brier", seed=3, resampling=QUICK)
    own = predict(run, run.parent / "own").of_split("test")
    brier = find_metric("brier").measure
    for name, curve in found.curves.items():
        assert len(curve.scores) == 6
        assert curve.scores[0].value == pytest.approx(brier(own))
        assert len({score.value for score in curve.scores}) == 6
        pictures = [np.asarray(Image.open(run.parent / "own" / key))[..., None] for key in own.ids]
        worse = [
            Corruption(name, 4, seed=3).apply(picture, str(key))
            for picture, key in zip(pictures, own.ids, strict=True)
        ]
        # Made by hand and given as an array, whose ids are others.
        labels = [CLASSES[row.argmax()] for row in own.labels]
        made = dataset_from_arrays(np.stack(worse), labels, value_range=(0, 255))
        assert curve.scores[4].value == pytest.approx(brier(predict(run, made)), abs=1e-6)
    again = evaluate_corruptions(run, names=["noise"], metric="brier", seed=4, resampling=QUICK)
    assert again.curves["noise"].scores[1].value != found.curves["noise"].scores[1].value


def test_data_that_are_gone_are_named(tmp_path: Path) -> None:
    write_run(tmp_path / "run", data={"source": str(tmp_path / "gone")})
    with pytest.raises(DataError, match="gone"):
        evaluate_corruptions(tmp_path / "run")


def test_data_that_have_changed_are_refused(run: Path, tmp_path: Path) -> None:
    """Dealt anew, images that the run was trained on would pass for its test images."""
    write_set(tmp_path / "own", COUNT + 8)
    write_run(tmp_path / "run", data={"source": str(tmp_path / "own")})
    (tmp_path / "run" / "predictions.csv").write_text((run / "predictions.csv").read_text())
    with pytest.raises(DataError, match=r"own has changed since the run: \d+ test images are others"):
        evaluate_corruptions(tmp_path / "run")
