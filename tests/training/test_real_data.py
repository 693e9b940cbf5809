"""Real images through the whole chain: BreastMNIST from its archive, BUSI from its CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import medzoo
from medzoo.training.config import make_config


@pytest.mark.slow
def test_breastmnist_with_copied_weights_beats_chance(
    shared_data: Path, shared_weights: Path, tmp_path: Path
) -> None:
    settings = {
        "data": {"source": str(shared_data / "medmnist" / "breastmnist.npz"), "image_size": 64},
        "model": {"name": "mobilenet_075"},
        "weights": {"src": str(shared_weights / "mobilenet_7_5_224_tf.h5"), "mode": "copy"},
        "training": {"epochs": 6, "precision": "float32"},
        "run": {"out": str(tmp_path / "run")},
    }
    run = medzoo.train(make_config(settings))
    predictions = medzoo.load_predictions(run)
    metrics = medzoo.evaluate(predictions)
    assert metrics["test"]["auroc"]["n"] == 156
    assert metrics["validation"]["auroc"]["n"] == 78
    assert metrics["test"]["auroc"]["low"] > 0.5
    assert predictions.classes[0] == "malignant"


@pytest.mark.slow
def test_busi_from_its_csv_keeps_the_split_and_the_groups(shared_data: Path, tmp_path: Path) -> None:
    manifest = shared_data / "busi_breast224" / "manifest.csv"
    settings = {
        "data": {"source": str(manifest), "label_column": "busi_class", "image_size": 32},
        "training": {"epochs": 1, "precision": "float32"},
        "run": {"out": str(tmp_path / "run")},
    }
    run = medzoo.train(make_config(settings))
    predictions = medzoo.load_predictions(run)
    assert predictions.classes == ("benign", "malignant", "normal")
    rows = list(csv.DictReader(manifest.open()))
    assert sorted(predictions.of_split("test").ids) == sorted(r["file"] for r in rows if r["split"] == "test")
    assert set(medzoo.by_group(medzoo.accuracy, predictions, "breastmnist_label")) == {"0", "1"}
