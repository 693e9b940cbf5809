"""medzoo transplant: what is never replaced, which names a user's own model keeps, which colours a file has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

import medzoo
from medzoo.errors import ConfigError
from medzoo.transplant.modes import Recipe, name_target


@pytest.fixture
def random_file(medzoo_command: Callable) -> str:
    """Random weights of cbr_tiny with ten classes."""
    given = ("--mode", "random", "--model", "cbr_tiny", "--classes", 10, "--channels", 3)
    assert medzoo_command("transplant", *given, "--out", "r.safetensors").code == 0
    return "r.safetensors"


def test_the_source_itself_is_no_output(refused: Callable, random_file: str) -> None:
    before = Path(random_file).read_bytes()
    given = ("transplant", "--src", random_file, "--model", "cbr_tiny", "--mode", "stats")
    assert "is the source itself" in refused(*given, "--out", random_file, "--overwrite")
    assert Path(random_file).read_bytes() == before


def test_the_record_of_another_format_is_not_taken_over(medzoo_command: Callable, random_file: str) -> None:
    given = ("transplant", "--src", random_file, "--model", "cbr_tiny", "--mode", "stats")
    assert medzoo_command(*given, "--out", "j.weights.h5").code == 0
    outcome = medzoo_command(*given, "--seed", 1, "--out", "j.safetensors", "--overwrite")
    assert outcome.code == 1
    assert "is the record of" in outcome.err
    assert medzoo_command("weights", "verify", "j.weights.h5").code == 0


def test_an_unknown_ending_is_refused_before_the_plan(refused: Callable, random_file: str) -> None:
    given = ("transplant", "--src", random_file, "--model", "cbr_tiny", "--out", "x.txt", "--dry-run")
    assert "output 'x.txt'" in refused(*given)


def test_mapped_classes_need_the_source_s_features(refused: Callable, random_file: str) -> None:
    given = (
        "transplant",
        "--src",
        random_file,
        "--model",
        "cbr_tiny",
        "--mode",
        "truncate",
        "--at",
        "block3",
    )
    line = refused(*given, "--classes", 2, "--classes-map", "0:7,1:8", "--dry-run")
    assert "reads other features" in line


def test_a_mapped_head_counts_for_its_mapped_classes(medzoo_command: Callable, random_file: str) -> None:
    given = (
        "transplant",
        "--src",
        random_file,
        "--model",
        "cbr_tiny",
        "--classes",
        4,
        "--classes-map",
        "0:7",
    )
    content = json.loads(medzoo_command(*given, "--dry-run", "--json").out)
    sizes = [int(np.prod(step["target"]["shape"])) for step in content["steps"]]
    head = 256 * 4 + 4
    assert content["coverage"] == pytest.approx((sum(sizes) - head * 3 / 4) / sum(sizes))


def test_a_model_of_keras_applications_keeps_its_names(medzoo_command: Callable) -> None:
    inputs = keras.Input((16, 16, 3), name="picture")
    features = keras.layers.GlobalAveragePooling2D(name="mean")(
        keras.layers.Conv2D(4, 3, name="stem")(inputs)
    )
    model = keras.Model(inputs, keras.layers.Dense(2, name="predictions")(features), name="mine")
    model.save("mine.keras")
    outcome = medzoo_command(
        "transplant", "--src", "mine.keras", "--model", "mine.keras", "--out", "m.weights.h5"
    )
    assert outcome.code == 0, outcome.err
    assert medzoo_command("weights", "verify", "m.weights.h5").code == 0
    assert medzoo_command("transplant", "--plan", "m.plan.json", "--out", "n.weights.h5").code == 0
    again = medzoo.open_weights("m.weights.h5", dialect="keras")
    assert np.array_equal(
        again["predictions/kernel"].read(), np.asarray(model.get_layer("predictions").kernel)
    )


def test_colours_of_a_file_are_those_of_its_network(medzoo_command: Callable) -> None:
    """Networks of the caffe contract read blue, green, red: their red is the last slice."""
    assert medzoo.find_model("resnet50").preprocessing.order == "bgr"
    target = medzoo.describe("resnet50@conv2_block1", classes=2)
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=spec.shape).astype("float32") for name, spec in target.tensors.items()}
    for channel in range(3):
        arrays["conv1_conv/kernel"][:, :, channel] = channel
    np.savez("caffe.npz", **arrays)
    given = ("--src", "caffe.npz", "--model", "resnet50@conv2_block1", "--channels", 1)
    outcome = medzoo_command("transplant", *given, "--channel-mode", "0:R", "--out", "red.safetensors")
    assert outcome.code == 0, outcome.err
    assert np.all(medzoo.open_weights("red.safetensors")["conv1_conv/kernel"].read() == 2.0)


def test_an_assumed_contract_that_is_folded_is_said(medzoo_command: Callable) -> None:
    target = medzoo.describe("resnet50@conv2_block1", classes=2)
    arrays = {name: np.ones(spec.shape, "float32") for name, spec in target.tensors.items()}
    np.savez("caffe.npz", **arrays)
    given = (
        "transplant",
        "--src",
        "caffe.npz",
        "--model",
        "resnet50@conv2_block1",
        "--channels",
        1,
        "--dry-run",
    )
    assert "names no input contract: caffe is taken" in medzoo_command(*given).err
    assert "contract" not in medzoo_command(*given, "--no-fold").err


def test_a_plan_without_its_source_s_digest_is_none(
    medzoo_command: Callable, refused: Callable, random_file: str
) -> None:
    given = ("transplant", "--src", random_file, "--model", "cbr_tiny", "--mode", "stats")
    assert medzoo_command(*given, "--out", "s.safetensors").code == 0
    content = json.loads(Path("s.plan.json").read_text())
    Path("t.plan.json").write_text(json.dumps(content | {"source_digest": ""}))
    assert "no whole plan" in refused("transplant", "--plan", "t.plan.json", "--out", "t.safetensors")


def test_a_derived_network_is_derived_once() -> None:
    slim = Recipe("slim", above="conv3", at="conv4")
    name = name_target(slim, "resnet50")
    assert name == "resnet50+slim=conv3:2@conv4"
    assert name_target(slim, name) == name
    with pytest.raises(ConfigError, match="thinned already"):
        name_target(Recipe("slim", above="conv3", factor=4), "resnet50+slim=conv3:2")
    with pytest.raises(ConfigError, match="cut already"):
        name_target(Recipe("truncate", at="conv3"), "resnet50@conv4")
