"""The parts of training that decide numbers: schedule, hardware rules, best epoch, weights on disk, folders."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medzoo
from medzoo.errors import ConfigError
from medzoo.training.rundir import FILES, Run, choose_folder, open_run
from medzoo.training.stepping.hardware import choose_precision, choose_xla

SETTINGS = {"config.toml": ""}


@pytest.mark.parametrize(
    ("flags", "gpu", "expected"),
    [
        ({"amx_bf16"}, False, "mixed_bfloat16"),
        ({"avx512_bf16"}, False, "mixed_bfloat16"),
        ({"avx2"}, False, "float32"),
        (set(), True, "mixed_bfloat16"),
    ],
)
def test_precision_follows_the_hardware(flags: set[str], gpu: bool, expected: str) -> None:
    choice = choose_precision("auto", frozenset(flags), gpu)
    assert choice.value == expected
    assert choice.reason
    assert choose_precision("float32", frozenset(flags), gpu).value == "float32"


def test_xla_is_for_the_gpu() -> None:
    assert choose_xla("auto", has_gpu=True).value == "on"
    assert choose_xla("auto", has_gpu=False).value == "off"
    assert choose_xla("on", has_gpu=False).value == "on"


def test_folders_are_numbered_when_nobody_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert choose_folder(None, False, "a") == Path("runs/a")
    (tmp_path / "runs" / "a").mkdir(parents=True)
    assert choose_folder(None, False, "a") == Path("runs/a-2")


def test_only_a_run_can_be_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"precious\.txt"):
        choose_folder(str(tmp_path), True, "a")
    (tmp_path / "precious.txt").rename(tmp_path / FILES[0])
    with pytest.raises(ConfigError, match="--overwrite"):
        choose_folder(str(tmp_path), False, "a")
    assert choose_folder(str(tmp_path), True, "a") == tmp_path
    (tmp_path / ".part-x-best.weights.h5").write_text("left by a killed run")
    assert choose_folder(str(tmp_path), True, "a") == tmp_path


def _write_run(folder: Path) -> None:
    folder.mkdir()
    (folder / "metrics.json").write_text("old")


def test_an_earlier_run_is_replaced_when_the_new_one_is_done(tmp_path: Path) -> None:
    _write_run(tmp_path / "run")
    with open_run(tmp_path / "run", SETTINGS) as run:
        assert sorted(entry.name for entry in (tmp_path / "run").iterdir()) == ["config.toml", "lock"]
        (run / "metrics.json").write_text("new")
    assert (tmp_path / "run" / "metrics.json").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_an_earlier_run_comes_back_when_nothing_was_learnt(tmp_path: Path) -> None:
    _write_run(tmp_path / "run")
    with pytest.raises(FileNotFoundError), open_run(tmp_path / "run", SETTINGS) as run:
        (run / "absent").read_text()
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
    assert (tmp_path / "run" / "metrics.json").read_text() == "old"


def test_both_runs_stay_when_the_new_one_breaks_off(tmp_path: Path) -> None:
    _write_run(tmp_path / "run")

    def break_off(run: Run) -> None:
        (run / "history.csv").write_text("one epoch")
        (run / "absent").read_text()

    with pytest.raises(FileNotFoundError), open_run(tmp_path / "run", SETTINGS) as run:
        break_off(run)
    assert (tmp_path / "run" / "history.csv").exists()
    assert (tmp_path / "run.replaced" / "metrics.json").read_text() == "old"
    with pytest.raises(ConfigError, match="rm -r"), open_run(tmp_path / "run", SETTINGS):
        pass


def _score(labels: list[int], epochs: list[list[float]], **options: object) -> Any:
    """Run the callback over scripted epochs; each epoch gives a logit per validation row."""
    targets = np.eye(2, dtype=np.float32)[labels]
    score = medzoo.ExactScore([(None, targets)], **options)

    class Scripted:
        """A model whose outputs are known."""

        stop_training = False
        logits = iter([np.array([[0.0, value] for value in row]) for row in epochs])

        def predict_on_batch(self, images: object) -> np.ndarray:
            """Give the next epoch's outputs."""
            return next(self.logits)

    score.set_model(Scripted())
    for epoch in range(len(epochs)):
        if not score.model.stop_training:
            score.on_epoch_end(epoch, {"loss": 1.0})
    return score


def test_the_best_epoch_is_by_auroc_then_by_loss() -> None:
    worse, good, better_loss = [1, 2, 1, 2], [-1, 0, 1, 2], [-3, -3, 3, 3]
    score = _score([0, 0, 1, 1], [worse, good, better_loss, worse])
    assert score.best_epoch == 3
    assert [row["val_auroc"] for row in score.history] == [0.5, 1.0, 1.0, 0.5]


def test_the_score_is_exact_where_200_thresholds_would_not_be() -> None:
    # All scores within one of 200 thresholds' steps: a binned AUROC is .5, the exact one is 1.
    score = _score([0] * 5 + [1] * 5, [[i * 1e-4 for i in range(10)]])
    assert score.history[0]["val_auroc"] == 1.0


def test_one_class_in_validation_falls_back_on_the_loss() -> None:
    score = _score([1, 1], [[1, 1], [3, 3], [2, 2]])
    assert math.isnan(score.history[0]["val_auroc"])
    assert score.best_epoch == 2


def test_the_callback_stops_early_and_says_when_a_score_was_reached() -> None:
    flat = [[0.0, 1.0]] * 5
    score = _score([0, 1], flat, early_stopping=2, until="auroc=1")
    assert len(score.history) == 1  # reached at once
    assert score.crossing() == {"metric": "auroc", "value": 1.0, "step": 1, "validated_at": 1}
    assert len(_score([1, 0], flat, early_stopping=2).history) == 3


def test_best_weights_restore_the_model_and_carry_keras_paths(tmp_path: Path) -> None:
    from medzoo.training.monitoring.scores import save_weights

    model = medzoo.build("cbr_tiny", classes=2, channels=1, input_size=32)
    save_weights(model, Run(tmp_path))
    other = medzoo.build("cbr_tiny", classes=2, channels=1, input_size=32)
    other.load_weights(tmp_path / "best.weights.h5")
    for mine, theirs in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    assert set(medzoo.open_weights(tmp_path)) == {weight.path for weight in model.weights}


@pytest.mark.slow
def test_the_phantom_is_learnt_and_never_beyond_its_limit(tmp_path: Path) -> None:
    from medzoo.training.config import make_config

    settings = {"training": {"epochs": 2, "precision": "float32"}, "run": {"out": str(tmp_path / "run")}}
    run = medzoo.train(make_config(settings))
    metrics = medzoo.evaluate(medzoo.load_predictions(run).of_split("test"))
    area = metrics["test"]["auroc"]
    assert area["n"] == 4000
    assert area["value"] > 0.7
    assert area["low"] < 0.9214, "significantly above the ideal observer: labels leak into the images"


@pytest.mark.parametrize("size", [1, 7, 48])
def test_recalibration_measures_what_training_sees(size: int) -> None:
    """The moving statistics become those of all values, whatever they were before and however batched."""
    import keras
    import tensorflow as tf

    from medzoo.training.stepping.norms import make_recalibration

    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="norm")(inputs))
    images = np.random.default_rng(0).normal([3.0, -1.0], [0.01, 5.0], (48, 4, 4, 2)).astype(np.float32)
    images += np.arange(48, dtype=np.float32)[:, None, None, None]  # batches differ from each other
    batches = tf.data.Dataset.from_tensor_slices((images, images)).batch(size)
    recalibrate = make_recalibration(model, batches)
    assert recalibrate is not None
    recalibrate()
    norm = model.get_layer("norm")
    variance = images.astype(np.float64).var(axis=(0, 1, 2))
    np.testing.assert_allclose(norm.moving_mean.numpy(), images.mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance.numpy(), variance, rtol=1e-3)
    assert norm.momentum == 0.99


def test_a_network_without_batch_norm_needs_no_recalibration() -> None:
    import keras

    from medzoo.training.stepping.norms import make_recalibration

    inputs = keras.Input((3,))
    assert make_recalibration(keras.Model(inputs, keras.layers.Dense(2)(inputs)), None) is None
