"""The dozen lines of docs/design.md, offline, on the bundled moments and on a weights file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import medzoo
from medzoo import recipes


def write_images(folder: Path) -> Path:
    """Write 40 small grey images of 20 patients, half of them bright, with a CSV that names them."""
    generator = np.random.default_rng(1)
    rows = []
    for number in range(40):
        label = ("normal", "abnormal")[number % 2]
        pixels = np.clip(generator.normal(90 + 80 * (number % 2), 20, (32, 32)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        sex = "FM"[number // 4 % 2]
        rows.append(
            {
                "image": f"{number}.png",
                "label": label,
                "patient": f"p{number // 2 * 2 + number % 2}",
                "sex": sex,
            }
        )
    pd.DataFrame(rows).to_csv(folder / "chest.csv", index=False)
    return folder / "chest.csv"


def test_a_dozen_lines_on_the_bundled_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path)
    source = medzoo.open_weights("mobilenet_075.imagenet", values=False)
    assert source["conv1/kernel"].spec.shape == (3, 3, 3, 24)

    spec = medzoo.find_model("mobilenet_075")
    model = medzoo.build(spec, classes=14, channels=1, input_size=32)
    rules = recipes.stats(spec.stages)
    plan = medzoo.make_plan(source, medzoo.describe(model), rules, seed=0)
    assert "conv_pw_13/kernel" in str(plan)
    medzoo.apply(plan, source, model)
    drawn = model.get_layer("conv_pw_13").kernel.numpy()
    moments = source["conv_pw_13/kernel"].moments()
    assert drawn.std() == pytest.approx(moments.deviation, rel=0.01)

    Path("chest.toml").write_text(
        '[data]\nsource = "chest.csv"\n[weights]\nsrc = "imagenet"\nmode = "stats"\n'
        '[training]\nepochs = 1\nprecision = "float32"\n[run]\nout = "chest"\n'
    )
    run = medzoo.train(medzoo.read_config("chest.toml"))
    predictions = medzoo.load_predictions(run)
    by_sex = medzoo.by_group(medzoo.auroc, predictions, "sex")
    assert set(by_sex) == {"F", "M"}
    assert predictions.patients is not None


def test_a_dozen_lines_on_a_weights_file(shared_weights: Path) -> None:
    source = medzoo.open_weights(shared_weights / "mobilenet_7_5_224_tf.h5")
    spec = medzoo.find_model("mobilenet_075")
    model = medzoo.build(spec, classes=14, channels=1, input_size=32)
    rules = recipes.transfusion(spec.stages, upto="block3")
    plan = medzoo.make_plan(source, medzoo.describe(model), rules, seed=0)
    medzoo.apply(plan, source, model)
    copied = model.get_layer("conv_pw_3").kernel.numpy()
    np.testing.assert_array_equal(copied, np.asarray(source["conv_pw_3/kernel"]))
    fresh = model.get_layer("conv_pw_4").kernel.numpy()
    assert not np.array_equal(fresh, np.asarray(source["conv_pw_4/kernel"]))
    assert np.abs(fresh).max() <= np.sqrt(6 / (96 + 192)) + 1e-6  # Glorot's bound for 96 → 192
