"""Logits and features of a run: those of its own network, prepared as in the run; and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from finished_run import write_pictures, write_run

from medzoo.data.containers.arrays import dataset_from_arrays
from medzoo.errors import ConfigError, DataError
from medzoo.models.build import build
from medzoo.training.features import extract_features, make_features_model, read_features
from medzoo.training.inference import open_for, predict
from medzoo.training.trained import load_network, read_run

NAMES = tuple(f"{number}.png" for number in range(7))


def test_features_are_what_the_last_layer_reads(tmp_path: Path) -> None:
    model = write_run(tmp_path / "run")
    pixels = write_pictures(tmp_path / "new", NAMES)
    found = read_features(tmp_path / "run", tmp_path / "new", batch_size=3)
    inputs = pixels / np.float32(127.5) - 1
    below = keras.Model(model.input, model.get_layer("head").input)
    np.testing.assert_allclose(found.values, below(inputs, training=False), rtol=1e-4, atol=1e-6)
    kernel, bias = (np.asarray(weight) for weight in model.get_layer("head").weights)
    np.testing.assert_allclose(found.values @ kernel + bias, found.predictions.logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.predictions.logits, model(inputs, training=False), rtol=1e-4, atol=1e-5)
    scores = predict(tmp_path / "run", tmp_path / "new").scores
    np.testing.assert_allclose(found.predictions.scores, scores, atol=1e-6)
    assert found.predictions.ids.tolist() == list(NAMES)


def test_independent_labels_have_sigmoids(tmp_path: Path) -> None:
    write_run(tmp_path / "run", ("Edema", "Mass"), exclusive=False)
    write_pictures(tmp_path / "new", NAMES)
    predictions = read_features(tmp_path / "run", tmp_path / "new").predictions
    assert not predictions.exclusive
    np.testing.assert_allclose(predictions.scores, 1 / (1 + np.exp(-predictions.logits)))


@pytest.mark.parametrize(
    ("name", "head", "width"),
    [("cbr_tiny", "flatten", None), ("deit_ti16_distilled", None, 2 * 192), ("deit_ti16", "token", 192)],
)
def test_every_kind_of_head_has_features(name: str, head: str | None, width: int | None) -> None:
    side = 32 if name == "cbr_tiny" else 224
    model = build(name, classes=3, channels=3, input_size=side, head=head, dropout=0.5)
    features = make_features_model(model)
    outputs = features(np.zeros((1, side, side, 3), np.float32), training=False)
    dense = [layer for layer in model.layers if layer.name in ("head", "head_distillation")]
    assert outputs["features"].shape[1] == (width or dense[0].kernel.shape[0])
    parts = np.split(np.asarray(outputs["features"]), len(dense), axis=1)
    logits = np.mean([np.asarray(layer(part)) for layer, part in zip(dense, parts, strict=True)], axis=0)
    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-5)


def test_a_network_without_a_head_has_its_last_dense_layer_or_is_refused() -> None:
    inputs = keras.Input((4,))
    wide = keras.layers.Dense(5, name="wide")(inputs)
    foreign = keras.Model(inputs, keras.layers.Dense(2, name="said")(wide))
    assert make_features_model(foreign).output["features"].shape == (None, 5)
    with pytest.raises(ConfigError, match="no dense layer"):
        make_features_model(keras.Model(inputs, keras.layers.ReLU()(inputs)))


def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    model = write_run(tmp_path / "run")
    write_pictures(tmp_path / "new", NAMES)
    with pytest.raises(ConfigError, match="batch size 0"):
        read_features(tmp_path / "run", tmp_path / "new", batch_size=0)
    (tmp_path / "new" / "3.png").write_bytes((tmp_path / "new" / "3.png").read_bytes()[:90])
    with pytest.raises(DataError, match=r"3\.png"):
        read_features(tmp_path / "run", tmp_path / "new")
    pixels = np.zeros((12, 32, 32, 1), np.float32)
    dataset = dataset_from_arrays(pixels, ["benign", "malignant"] * 6, value_range=(0, 1))
    trained = read_run(tmp_path / "run")
    opened = open_for(trained, dataset)
    kernel, _ = model.get_layer("head").weights
    kernel.assign(np.full(kernel.shape, np.nan))
    model.save_weights(tmp_path / "run" / "best.weights.h5")
    with pytest.raises(DataError, match="gives no numbers for image '0'"):
        extract_features(trained, make_features_model(load_network(trained)), opened)
    broken = replace(opened, images=np.full_like(opened.images, np.nan))
    with pytest.raises(DataError, match="NaN or infinity"):
        extract_features(trained, make_features_model(load_network(trained)), broken)
