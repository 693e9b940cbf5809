"""medzoo transplant, as typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import medzoo
from medzoo.outputs import digest_file

NAME = "mobilenet_075.imagenet.stats"


def test_the_command_of_the_readme_works_as_typed(medzoo_command: Callable, tmp_path: Path) -> None:
    outcome = medzoo_command("transplant", "--src", "imagenet", "--mode", "stats")
    assert outcome.code == 0
    first, header, *rows = outcome.out.splitlines()
    assert "the default model" in first
    assert "moments" in first
    assert header.split() == ["tensor", "source", "method", "target", "shape"]
    assert sum("/" in row for row in rows) == 137
    assert sum("coverage" in row for row in rows) == 15 + 1
    assert "coverage 69.2 %" in rows[-1]
    assert {path.name for path in tmp_path.iterdir()} == {f"{NAME}.weights.h5", f"{NAME}.plan.json"}


def test_typed_twice_it_finds_its_work_done(medzoo_command: Callable, tmp_path: Path) -> None:
    medzoo_command("transplant", "--src", "imagenet", "--mode", "stats")
    before = digest_file(tmp_path / f"{NAME}.weights.h5")
    again = medzoo_command("transplant", "--src", "imagenet", "--mode", "stats")
    assert again.code == 0
    assert "nothing to do" in again.err
    assert digest_file(tmp_path / f"{NAME}.weights.h5") == before


def test_another_output_is_never_overwritten_unasked(
    medzoo_command: Callable, refused: Callable, tmp_path: Path
) -> None:
    medzoo_command("transplant", "--src", "imagenet", "--mode", "stats")
    before = digest_file(tmp_path / f"{NAME}.weights.h5")
    outcome = medzoo_command("transplant", "--src", "imagenet", "--mode", "stats", "--seed", "1")
    assert outcome.code == 1
    assert "--overwrite" in outcome.err
    assert digest_file(tmp_path / f"{NAME}.weights.h5") == before
    assert (
        medzoo_command("transplant", "--src", "imagenet", "--mode", "stats", "--seed", 1, "--overwrite").code
        == 0
    )
    assert digest_file(tmp_path / f"{NAME}.weights.h5") != before


def test_a_trained_file_of_the_same_plan_is_not_taken_for_it(
    medzoo_command: Callable, tmp_path: Path
) -> None:
    medzoo_command("transplant", "--src", "imagenet", "--mode", "stats")
    with (tmp_path / f"{NAME}.weights.h5").open("ab") as stream:
        stream.write(b"changed")
    outcome = medzoo_command("transplant", "--src", "imagenet", "--mode", "stats")
    assert outcome.code == 1
    assert "holds something else" in outcome.err


def test_replay_gives_the_same_bytes(medzoo_command: Callable, tmp_path: Path) -> None:
    medzoo_command("transplant", "--src", "imagenet", "--mode", "stats", "--classes", 2, "--channels", 1)
    outcome = medzoo_command("transplant", "--plan", f"{NAME}.plan.json", "--out", "again.weights.h5")
    assert outcome.code == 0
    assert digest_file(tmp_path / "again.weights.h5") == digest_file(tmp_path / f"{NAME}.weights.h5")


def test_replay_refuses_a_plan_whose_tensors_came_out_otherwise(
    medzoo_command: Callable, refused: Callable, tmp_path: Path
) -> None:
    medzoo_command("transplant", "--src", "imagenet", "--mode", "stats")
    plan = tmp_path / f"{NAME}.plan.json"
    plan.write_text(plan.read_text().replace('"seed": 0', '"seed": 5'))
    outcome = medzoo_command("transplant", "--plan", plan, "--out", "again.weights.h5")
    assert outcome.code == 1
    assert "differ from the recorded ones" in outcome.err
    assert not (tmp_path / "again.weights.h5").exists()


def test_dry_run_writes_nothing(medzoo_command: Callable, tmp_path: Path) -> None:
    assert medzoo_command("transplant", "--src", "imagenet", "--mode", "stats", "--dry-run").code == 0
    assert list(tmp_path.iterdir()) == []


def test_json_alone_is_on_stdout(medzoo_command: Callable) -> None:
    outcome = medzoo_command("transplant", "--src", "imagenet", "--mode", "stats", "--dry-run", "--json")
    content = json.loads(outcome.out)
    assert content["model"] == "mobilenet_075"
    assert len(content["steps"]) == 137
    assert content["coverage"] == pytest.approx(0.69184, abs=1e-5)


def test_safetensors_has_keras_paths(medzoo_command: Callable) -> None:
    from safetensors.numpy import load_file

    arguments = ("--src", "imagenet", "--mode", "stats", "--classes", 3, "--out", "a.safetensors")
    assert medzoo_command("transplant", *arguments).code == 0
    tensors = load_file("a.safetensors")
    assert tensors["head/kernel"].shape == (768, 3)
    assert set(tensors) == set(medzoo.describe("mobilenet_075", classes=3).tensors)


def test_random_needs_no_source(medzoo_command: Callable) -> None:
    outcome = medzoo_command("transplant", "--mode", "random", "--model", "cbr_tiny", "--classes", 2)
    assert outcome.code == 0
    assert Path("cbr_tiny.random.weights.h5").exists()
    assert "coverage 0.0 %" in outcome.out


def test_transfusion_from_a_file(medzoo_command: Callable, shared_weights: Path) -> None:
    file = shared_weights / "mobilenet_7_5_224_tf.h5"
    arguments = ("--model", "mobilenet_075", "--mode", "transfusion", "--upto", "block2", "--classes", 2)
    outcome = medzoo_command("transplant", "--src", file, *arguments, "--json", "--out", "a.weights.h5")
    steps = {step["target"]["name"]: step["method"] for step in json.loads(outcome.out)["steps"]}
    assert steps["conv1/kernel"] == steps["conv_pw_2_bn/moving_mean"] == "copy"
    assert steps["conv_dw_3/kernel"] == steps["head/kernel"] == "fresh"


def test_copy_with_one_channel_and_two_classes_loads_into_keras(
    medzoo_command: Callable, shared_weights: Path
) -> None:
    file = shared_weights / "mobilenet_7_5_224_tf.h5"
    arguments = ("--model", "mobilenet_075", "--mode", "copy", "--classes", 2, "--channels", 1)
    assert medzoo_command("transplant", "--src", file, *arguments, "--out", "a.weights.h5").code == 0
    model = medzoo.build("mobilenet_075", classes=2, channels=1, input_size=64)
    model.load_weights("a.weights.h5")
    source = medzoo.open_weights(file)
    summed = np.asarray(source["conv1/kernel"]).astype(np.float64).sum(axis=2, keepdims=True)
    np.testing.assert_array_equal(model.get_layer("conv1").kernel.numpy(), summed.astype(np.float32))


def test_a_keras_model_is_a_source_for_its_own_network(medzoo_command: Callable) -> None:
    medzoo.build("cbr_tiny", classes=2, channels=1, input_size=32).save_weights("own.weights.h5")
    outcome = medzoo_command(
        "transplant", "--src", "own.weights.h5", "--model", "cbr_tiny", "--out", "a.weights.h5"
    )
    assert outcome.code == 0
    assert "coverage 100.0 %" in outcome.out


@pytest.fixture(scope="module")
def own_weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file that Keras writes of a cbr_tiny with 2 classes and 1 channel."""
    path = tmp_path_factory.mktemp("own") / "own.weights.h5"
    medzoo.build("cbr_tiny", classes=2, channels=1, input_size=32).save_weights(path)
    return path.read_bytes()


REFUSALS = {
    "missing file": (("--src", "absent.h5", "--model", "cbr_tiny"), "no weights file absent.h5"),
    "empty file": (("--src", "empty.h5", "--model", "cbr_tiny"), "empty.h5 is empty"),
    "text": (("--src", "text.h5", "--model", "cbr_tiny"), "is no weights file"),
    "truncated": (("--src", "cut.h5", "--model", "cbr_tiny"), "damaged"),
    "unknown card": (("--src", "mobilenet_75.imagenet", "--mode", "stats"), "'mobilenet_075.imagenet'"),
    "unknown tag": (("--src", "imagenett", "--mode", "stats"), "mobilenet_075.imagenet"),
    "unknown model": (("--src", "imagenet", "--mode", "stats", "--model", "mobilenet_75"), "'mobilenet_075'"),
    "no such card of the model": (
        ("--src", "imagenet", "--mode", "stats", "--model", "resnet50"),
        "resnet50.imagenet",
    ),
    "unknown mode": (("--src", "imagenet", "--mode", "stat"), "'stats'"),
    "unknown stage": (
        ("--src", "whole.h5", "--mode", "transfusion", "--upto", "blok1", "--model", "cbr_tiny"),
        "'block1'",
    ),
    "no stage": (("--src", "whole.h5", "--mode", "transfusion", "--model", "cbr_tiny"), "--upto"),
    "shapes": (("--src", "whole.h5", "--model", "cbr_small"), "5×5×1×32 in the source, 7×7×1×32"),
    "other network": (("--src", "whole.h5", "--model", "mobilenet_075"), "the source has no 'conv1/kernel'"),
    "values from moments": (("--src", "imagenet", "--mode", "stats", "--norm", "keep"), "MEDZOO_OFFLINE"),
    "coverage": (("--src", "imagenet", "--mode", "stats", "--min-coverage", "0.9"), "coverage 0.69"),
    "suffix": (
        ("--src", "imagenet", "--mode", "stats", "--out", "a.hdf5"),
        ".weights.h5, .safetensors or .h5",
    ),
    "classes": (("--src", "imagenet", "--mode", "stats", "--classes", "0"), "at least 1"),
    "seed": (("--src", "imagenet", "--mode", "stats", "--seed", "-1"), "seed -1"),
    "no head": (("--mode", "random", "--model", "cbr_tiny"), "--classes"),
    "no plan": (("--plan", "absent.json"), "no plan file"),
    "not a plan": (("--plan", "text.h5"), "no whole plan"),
    "a file alone": (("--src", "whole.h5"), "--model"),
    "nowhere": (("--src", "imagenet", "--mode", "stats", "--out", "text.h5/a.weights.h5"), "text.h5"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_input_is_one_line_and_leaves_nothing(
    case: str, medzoo_command: Callable, own_weights: bytes, tmp_path: Path
) -> None:
    (tmp_path / "whole.h5").write_bytes(own_weights)
    whole = own_weights
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "text.h5").write_text("<html>not found</html>")
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    before = sorted(path.name for path in tmp_path.iterdir())
    arguments, expected = REFUSALS[case]
    outcome = medzoo_command("transplant", *arguments)
    assert outcome.code == 1, outcome
    assert expected in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1, outcome.err
    assert "Traceback" not in outcome.err
    assert "internal error" not in outcome.err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [("--mode", "stats"), ("--plan", "p.json", "--seed", "1"), ("--src", "imagenet", "--min-coverage", "2")],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], medzoo_command: Callable) -> None:
    assert medzoo_command("transplant", *arguments).code == 2


def test_a_folder_called_imagenet_does_not_stand_in_the_way(medzoo_command: Callable, tmp_path: Path) -> None:
    for name in ("imagenet", "mobilenet_075.imagenet"):
        (tmp_path / name).mkdir()
    assert medzoo_command("transplant", "--src", "imagenet", "--mode", "stats").code == 0
    replay = medzoo_command("transplant", "--plan", f"{NAME}.plan.json", "--out", "again.weights.h5")
    assert replay.code == 0


def test_two_formats_of_one_plan_do_not_share_a_record(medzoo_command: Callable, tmp_path: Path) -> None:
    arguments = ("transplant", "--src", "imagenet", "--mode", "stats", "--classes", 2)
    assert medzoo_command(*arguments, "--out", "a.weights.h5").code == 0
    record = (tmp_path / "a.plan.json").read_text()
    second = medzoo_command(*arguments, "--out", "a.safetensors")
    assert second.code == 1
    assert "a.plan.json is the record of a.weights.h5" in second.err
    assert (tmp_path / "a.plan.json").read_text() == record
    assert not (tmp_path / "a.safetensors").exists()
