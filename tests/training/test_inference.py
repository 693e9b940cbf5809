"""Predictions of new images: the network's own numbers, under the run's own preparation; and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_run import CLASSES, write_pictures, write_run
from PIL import Image

from medzoo.contracts import Preprocessing
from medzoo.data.containers.arrays import dataset_from_arrays
from medzoo.errors import ConfigError, DataError, WeightsError
from medzoo.evaluation.predictions import read_predictions
from medzoo.training.inference import predict
from medzoo.training.trained import read_run
from medzoo.training.writing import check_out, write_table

NAMES = tuple(f"{number}.png" for number in range(7))

#: No published contract: only the run's own record knows it.
OWN = Preprocessing("own", (0.01, 0.02, 0.03), (-0.5, 0.1, 0.0), "bgr", "bicubic", "pad", 0.9)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A run's folder and its network."""
    folder = tmp_path_factory.mktemp("runs") / "breast"
    return folder, write_run(folder)


def softmax(logits: Any) -> np.ndarray:
    powers = np.exp(np.asarray(logits, np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


def expect(model: Any, pixels: np.ndarray) -> np.ndarray:
    """Compute probabilities straight from pixels that have the input's size, under the contract tf."""
    return softmax(model(pixels / np.float32(127.5) - 1, training=False))


def test_scores_are_the_networks_for_any_batch_size(run: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = run
    pixels = write_pictures(tmp_path / "new", NAMES)
    expected = expect(model, pixels)
    assert np.ptp(expected[:, 0]) > 1e-3  # images differ, so that their order shows
    for batch_size in (None, 3):
        predictions = predict(folder, tmp_path / "new", batch_size=batch_size)
        np.testing.assert_allclose(predictions.scores, expected, atol=2e-6)
    assert predictions.ids.tolist() == list(NAMES)
    assert predictions.classes == CLASSES
    assert set(predictions.splits) == {"test"}
    assert np.isnan(predictions.labels).all()


def test_mirrored_views_are_averaged_as_probabilities(run: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = run
    pixels = write_pictures(tmp_path / "new", NAMES)
    views = [pixels, pixels[:, :, ::-1], pixels[:, ::-1], pixels[:, ::-1, ::-1]]
    scores = [expect(model, view) for view in views]
    for name, count in (("none", 1), ("horizontal", 2), ("both", 4)):
        predictions = predict(folder, tmp_path / "new", augment_test=name)
        np.testing.assert_allclose(predictions.scores, np.mean(scores[:count], axis=0), atol=2e-6)
    with pytest.raises(ConfigError, match="one of none, horizontal, both"):
        predict(folder, tmp_path / "new", augment_test="rotate")


def test_the_runs_own_contract_and_resize_rule_hold(tmp_path: Path) -> None:
    model = write_run(tmp_path / "run", ("a", "b", "c"), channels=3, contract=OWN)
    picture = np.full((16, 32, 3), (10, 100, 200), np.uint8)
    Image.fromarray(picture).save(tmp_path / "wide.png")
    inputs = np.full((1, 32, 32, 3), OWN.offset, np.float32)  # what black becomes
    inputs[:, 8:24] = np.float32([200, 100, 10]) * np.float32(OWN.scale) + np.float32(OWN.offset)
    predictions = predict(tmp_path / "run", tmp_path / "wide.png")
    np.testing.assert_allclose(predictions.scores, softmax(model(inputs, training=False)), atol=2e-6)


def test_independent_labels_get_sigmoids_and_keep_what_is_unknown(tmp_path: Path) -> None:
    model = write_run(tmp_path / "run", ("Edema", "Mass"), exclusive=False)
    pixels = write_pictures(tmp_path, NAMES[:2])
    (tmp_path / "new.csv").write_text("image,Mass,sex\n0.png,1,F\n1.png,,M\n")
    predictions = predict(tmp_path / "run", tmp_path / "new.csv")
    logits = np.asarray(model(pixels / np.float32(127.5) - 1), np.float64)
    np.testing.assert_allclose(predictions.scores, 1 / (1 + np.exp(-logits)), atol=2e-6)
    np.testing.assert_array_equal(predictions.labels, [[np.nan, 1], [np.nan, np.nan]])
    assert predictions.groups["sex"].tolist() == ["F", "M"]
    assert not predictions.exclusive


def test_colour_becomes_grey_and_grey_colour_with_a_note(run: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = run
    colour = write_pictures(tmp_path / "colour", ("1.png",), "RGB")
    told: list[str] = []
    predictions = predict(folder, tmp_path / "colour", report=told.append)
    grey = (colour @ np.array([0.2989, 0.587, 0.114]))[..., None].astype(np.float32)
    np.testing.assert_allclose(predictions.scores, expect(model, grey), atol=1e-5)
    assert any("colour images are made grey" in line for line in told)
    wide = write_run(tmp_path / "wide", channels=3)
    pixels = write_pictures(tmp_path / "grey", ("1.png",))
    predictions = predict(tmp_path / "wide", tmp_path / "grey")
    np.testing.assert_allclose(predictions.scores, expect(wide, pixels.repeat(3, axis=-1)), atol=2e-6)
    write_run(tmp_path / "two", channels=2)
    with pytest.raises(DataError, match="a network of 2 input channels for images of 1"):
        predict(tmp_path / "two", tmp_path / "grey")


def test_arrays_and_open_data_are_predicted_too(run: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = run
    pixels = write_pictures(tmp_path, NAMES)
    dataset = dataset_from_arrays(pixels, [*CLASSES, *CLASSES, *CLASSES, "benign"])
    predictions = predict(folder, dataset)
    np.testing.assert_allclose(predictions.scores, expect(model, pixels), atol=2e-6)
    assert predictions.labels[:3].tolist() == [[1, 0], [0, 1], [1, 0]]
    assert np.isnan(predict(folder, dataset, unlabelled=True).labels).all()


def test_the_runs_own_source_keeps_the_runs_splits(tmp_path: Path) -> None:
    names = [f"{label}/{number}.png" for label in CLASSES for number in range(10)]
    write_pictures(tmp_path / "own", tuple(names))
    write_run(tmp_path / "run", data={"source": str(tmp_path / "own")})
    told: list[str] = []
    own = predict(tmp_path / "run", tmp_path / "own", report=told.append)
    assert sorted(set(own.splits)) == ["test", "train", "validation"]
    assert any("has changed since the run" in line for line in told)  # the run's digest is made up
    (tmp_path / "own").rename(tmp_path / "moved")
    assert set(predict(tmp_path / "run", tmp_path / "moved").splits) == {"test"}


def test_images_named_as_the_runs_own_are_pointed_at(tmp_path: Path) -> None:
    write_pictures(tmp_path / "new", NAMES)
    write_run(tmp_path / "run", ids=("0.png", "3.png", "other.png"))
    told: list[str] = []
    predict(tmp_path / "run", tmp_path / "new", report=told.append)
    assert any("2 of 7 images are named as the run's own" in line for line in told)


def test_broken_images_are_named_or_skipped(run: tuple[Path, Any], tmp_path: Path) -> None:
    folder, _ = run
    write_pictures(tmp_path / "new", NAMES)
    whole = (tmp_path / "new" / "3.png").read_bytes()
    (tmp_path / "new" / "3.png").write_bytes(whole[: len(whole) // 2])
    for report in (None, lambda line: None):
        with pytest.raises(DataError, match=r"3\.png"):
            predict(folder, tmp_path / "new", report=report)
    predictions = predict(folder, tmp_path / "new", options={"on_error": "skip"})
    assert predictions.ids.tolist() == [name for name in NAMES if name != "3.png"]


def test_the_runs_windows_hold_and_are_named_where_they_do_not_apply(tmp_path: Path) -> None:
    write_run(tmp_path / "run", data={"windows": ["40/400"]})
    write_pictures(tmp_path / "new", NAMES[:1])
    with pytest.raises(DataError, match="the run's is 40/400"):
        predict(tmp_path / "run", tmp_path / "new")


def test_what_is_no_finished_run_is_refused(run: tuple[Path, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run"):
        read_run(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="is no training run"):
        read_run(tmp_path)
    write_run(tmp_path / "runs" / "one")
    with pytest.raises(ConfigError, match="is no training run") as raised:
        read_run(tmp_path / "runs")
    assert raised.value.remedy == str(tmp_path / "runs" / "one")
    (tmp_path / "runs" / "one" / "metrics.json").unlink()
    with pytest.raises(ConfigError, match=r"is not finished: it has no metrics\.json"):
        read_run(tmp_path / "runs" / "one")
    environment = run[0] / "environment.json"
    assert read_run(run[0]).preprocessing.name == "tf"
    whole = environment.read_text()
    try:
        environment.write_text(json.dumps({"precision": {"value": "float32"}}))
        with pytest.raises(ConfigError, match="does not say how images were prepared"):
            read_run(run[0])
    finally:
        environment.write_text(whole)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    write_run(tmp_path / "other", ("a", "b", "c"))
    (tmp_path / "other" / "best.weights.h5").rename(tmp_path / "run" / "best.weights.h5")
    write_pictures(tmp_path / "new", NAMES[:1])
    with pytest.raises(WeightsError, match=r"cannot read .*best\.weights\.h5"):
        predict(tmp_path / "run", tmp_path / "new")
    (tmp_path / "run" / "best.weights.h5").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"cannot read .*best\.weights\.h5"):
        predict(tmp_path / "run", tmp_path / "new")


def test_precision_of_the_process_is_left_as_it_was(run: tuple[Path, Any], tmp_path: Path) -> None:
    import keras

    write_pictures(tmp_path / "new", NAMES[:1])
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        predictions = predict(run[0], tmp_path / "new")
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(predictions.scores, predict(run[0], tmp_path / "new").scores)


@pytest.mark.parametrize("labels", ["image,label\n0.png,malignant\n1.png,\n", "image\n0.png\n1.png\n"])
def test_files_say_what_the_predictions_say(run: tuple[Path, Any], tmp_path: Path, labels: str) -> None:
    import pandas as pd

    write_pictures(tmp_path, NAMES[:2])
    (tmp_path / "new.csv").write_text(labels)
    predictions = predict(run[0], tmp_path / "new.csv")
    write_table(predictions, tmp_path / "out.csv")
    again = read_predictions(tmp_path / "out.csv")
    np.testing.assert_array_equal(again.scores, predictions.scores)
    np.testing.assert_array_equal(again.labels, predictions.labels)
    write_table(predictions, tmp_path / "out.parquet")
    table = pd.read_parquet(tmp_path / "out.parquet")
    text = pd.read_csv(tmp_path / "out.csv", dtype={"label": object})
    assert list(table) == list(text)
    np.testing.assert_array_equal(table.filter(like="score_"), predictions.scores)
    assert table["label"].fillna("").tolist() == text["label"].fillna("").tolist()
    with pytest.raises(ConfigError, match="exists"):
        write_table(predictions, tmp_path / "out.csv")
    write_table(predictions, tmp_path / "out.csv", overwrite=True)


def test_places_where_predictions_do_not_go(run: tuple[Path, Any], tmp_path: Path) -> None:
    for path, told in (
        (tmp_path / "out.txt", "ending in .csv or .parquet"),
        (run[0] / "new.csv", "lies in the run"),
    ):
        with pytest.raises(ConfigError, match=told):
            check_out(path, True, run[0])
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        check_out(tmp_path / "a.csv", True)
