"""medzoo transplant: every mode from end to end, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import medzoo
from medzoo.transplant.modes import MODES

#: Each mode as typed, from random weights of the network named first.
COMMANDS = {
    "copy": ("cbr_tiny", ()),
    "stats": ("cbr_tiny", ("--norm", "resample", "--exact", "--bias", "zero", "--ddof", "1")),
    "transfusion": ("cbr_tiny", ("--upto", "block2")),
    "wt-st": ("cbr_tiny", ("--upto", "block2", "--sampler", "shuffle")),
    "truncate": ("cbr_tiny", ("--at", "block3")),
    "slim": ("cbr_tiny", ("--above", "block2", "--factor", "2")),
    "select": ("cbr_tiny", ("--model", "cbr_tiny+width=0.5")),
    "gabor": ("cbr_tiny", ("--rest", "stats")),
    "covariance": ("cbr_tiny", ("--rest", "stats")),
    "inflate": ("cbr_tiny", ()),
    "widen": ("cbr_tiny", ("--model", "cbr_tiny+width=2")),
    "deepen": ("resnet20", ("--model", "resnet32")),
    "random": ("cbr_tiny", ()),
}


@pytest.fixture
def made(medzoo_command: Callable) -> Callable[[str], str]:
    """Write random weights of a network with four classes, and give the file's name."""

    def make(model: str) -> str:
        given = ("--mode", "random", "--model", model, "--classes", 4, "--channels", 3)
        assert medzoo_command("transplant", *given, "--seed", 9, "--out", f"{model}.safetensors").code == 0
        return f"{model}.safetensors"

    return make


def test_every_mode_is_tried() -> None:
    assert set(COMMANDS) == set(MODES)


@pytest.mark.parametrize("mode", COMMANDS)
def test_a_mode_plans_writes_verifies_and_replays(
    mode: str, medzoo_command: Callable, made: Callable
) -> None:
    model, options = COMMANDS[mode]
    source = made(model)
    given = ["--src", source, "--mode", mode, *options]
    given += [] if "--model" in options else ["--model", model]
    given += ["--channels", "1"] if mode not in ("widen", "deepen") else []
    outcome = medzoo_command("transplant", *given, "--out", "a.weights.h5")
    assert outcome.code == 0, outcome.err
    assert "coverage" in outcome.out.splitlines()[-1]
    assert medzoo_command("weights", "verify", "a.weights.h5").code == 0
    assert medzoo_command("transplant", "--plan", "a.plan.json", "--out", "b.weights.h5").code == 0
    first, second = (medzoo.open_weights(name) for name in ("a.weights.h5", "b.weights.h5"))
    for name, tensor in first.items():
        assert tensor.read().tobytes() == second[name].read().tobytes()
    plan = json.loads(Path("a.plan.json").read_text())
    built = medzoo.build(plan["model"], plan["classes"], plan["channels"], 32)
    built.load_weights("a.weights.h5")


@pytest.mark.parametrize("mode", COMMANDS)
def test_explained_rules_make_the_same_plan(mode: str, medzoo_command: Callable, made: Callable) -> None:
    model, options = COMMANDS[mode]
    source = made(model)
    target = ["--src", source] + ([] if "--model" in options else ["--model", model])
    given = [*target, "--mode", mode, *options]
    Path("r.toml").write_text(medzoo_command("transplant", *given, "--explain").out)
    named = json.loads(medzoo_command("transplant", *given, "--dry-run", "--json").out)
    again = ["--src", source, "--model", named["model"], "--rules", "r.toml", "--dry-run", "--json"]
    ruled = json.loads(medzoo_command("transplant", *again).out)
    assert ruled["steps"] == named["steps"]


def test_what_cannot_be_is_refused_in_a_line(refused: Callable, made: Callable) -> None:
    source = made("cbr_tiny")
    given = ("transplant", "--src", source, "--model", "cbr_tiny")

    def line(*options: object) -> str:
        return str(refused(*given, *options))

    assert "no stage 'block9'" in line("--mode", "wt-st", "--upto", "block9")
    assert "lies above --at block2" in line("--mode", "wt-st", "--upto", "block3", "--at", "block2")
    assert "--upto does not go with --mode stats" in line("--mode", "stats", "--upto", "block2")
    assert "without a stage" in line("--mode", "truncate")
    assert "expected -2 (nothing copied) to 2" in line("--mode", "wt-st", "--upto", "7")
    assert "unknown mode 'melt'" in line("--mode", "melt")
    assert "--norm loud; expected one of reset, keep, resample" in line("--mode", "stats", "--norm", "loud")
    assert "source channel '5'" in line("--channel-mode", "0:5", "--channels", 1)
    assert "maps 1 channels" in line("--channel-mode", "0:R", "--channels", 2)
    assert "--min-coverage 0.9" in line("--mode", "transfusion", "--upto", "block2", "--min-coverage", 0.9)
    assert "class '0:9'" in line("--classes-map", "0:9", "--classes", 2)
    assert not Path("cbr_tiny.cbr_tiny.safetensors.stats.weights.h5").exists()


def test_narrower_types_and_values_that_are_not_finite(medzoo_command: Callable, made: Callable) -> None:
    arrays = {name: np.asarray(tensor) for name, tensor in medzoo.open_weights(made("cbr_tiny")).items()}
    arrays["block2_conv/kernel"][0, 0, 0, 0] = 1e6
    np.savez("large.npz", **arrays)
    given = ("transplant", "--src", "large.npz", "--model", "cbr_tiny")
    outcome = medzoo_command(*given, "--dtype", "float16", "--out", "h.safetensors")
    assert outcome.code == 1
    assert "beyond float16" in outcome.err
    assert not Path("h.safetensors").exists()
    assert medzoo_command(*given, "--dtype", "bfloat16", "--out", "b.safetensors").code == 0
    assert medzoo.open_weights("b.safetensors")["head/kernel"].spec.dtype == "bfloat16"
    assert medzoo_command("weights", "verify", "b.safetensors").code == 0
    arrays["block2_conv/kernel"][0, 0, 0, 0] = np.nan
    np.savez("nan.npz", **arrays)
    given = ("transplant", "--src", "nan.npz", "--model", "cbr_tiny", "--out", "n.safetensors")
    outcome = medzoo_command(*given)
    assert outcome.code == 1
    assert "--allow-nonfinite" in outcome.err
    assert not Path("n.safetensors").exists()
    assert medzoo_command(*given, "--allow-nonfinite").code == 0
    assert np.isnan(medzoo.open_weights("n.safetensors")["block2_conv/kernel"].read()).sum() == 1


def test_a_keras_file_of_any_model_is_filled(medzoo_command: Callable, refused: Callable) -> None:
    import keras

    inputs = keras.Input((16, 16, 1), name="picture")
    features = keras.layers.Conv2D(4, 3, name="stem")(inputs)
    outputs = keras.layers.Dense(2, name="out")(keras.layers.GlobalAveragePooling2D(name="mean")(features))
    model = keras.Model(inputs, outputs, name="mine")
    model.save("mine.keras")
    arrays = {variable.path: np.asarray(variable) for variable in model.weights}
    arrays["stem/kernel"] = np.ones((3, 3, 3, 4), "float32")
    np.savez("theirs.npz", **arrays)
    outcome = medzoo_command(
        "transplant", "--src", "theirs.npz", "--model", "mine.keras", "--out", "m.weights.h5"
    )
    assert outcome.code == 0, outcome.err
    model.load_weights("m.weights.h5")
    assert np.all(np.asarray(model.get_layer("stem").kernel) == 3.0)
    assert "no stage" in refused(
        "transplant", "--src", "theirs.npz", "--model", "mine.keras", "--mode", "wt-st", "--upto", "stem"
    )


def test_scales_of_images_stand_in_the_plan(medzoo_command: Callable, made: Callable) -> None:
    given = ("transplant", "--mode", "random", "--model", "cbr_tiny", "--classes", 2, "--channels", 1)
    outcome = medzoo_command(*given, "--input-size", 32, "--lsuv", "phantom", "--out", "s.weights.h5")
    assert outcome.code == 0, outcome.err
    steps = json.loads(Path("s.plan.json").read_text())["steps"]
    scaled = [step["target"]["name"] for step in steps if "scale" in step["options"]]
    assert scaled == [f"block{number}_conv/kernel" for number in (1, 2, 3, 4)] + ["head/kernel"]
    assert medzoo_command("weights", "verify", "s.weights.h5").code == 0
