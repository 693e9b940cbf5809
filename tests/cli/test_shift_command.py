"""medzoo shift: what is printed, what JSON holds, which options go together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finished_run import CLASSES, write_pictures, write_run

from medzoo.evaluation.predictions import write_predictions
from medzoo.training.inference import predict

NAMES = tuple(f"{CLASSES[number % 2]}/{number}.png" for number in range(40))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, its own pictures and others beside it."""
    root = tmp_path_factory.mktemp("shift")
    write_pictures(root / "own", NAMES)
    write_pictures(root / "other", NAMES[:10])
    write_run(root / "run", data={"source": str(root / "own")})
    predictions = predict(root / "run", root / "own")
    write_predictions(predictions.take(predictions.splits != "train"), root / "run" / "predictions.csv")
    return root / "run"


def test_metrics_and_detection_are_printed_with_counts(medzoo_command: Callable[..., Any], run: Path) -> None:
    outcome = medzoo_command("shift", run, "--data", run.parent / "other", "--detect", "--replicates", "50")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    header = "metric in 95 % interval out 95 % interval out − in 95 % interval"
    assert " ".join(lines[0].split()) == header
    assert [line.split()[0] for line in lines[1:5]] == ["auroc", "accuracy", "balanced_accuracy", "brier"]
    assert "out: other, n 10, positives 5, negatives 5" in lines
    assert any(line.startswith("in: the run's test images, n ") for line in lines)
    after = outcome.out.partition("strangeness")[2]
    assert all(f"\n{name} " in after for name in ("max_softmax", "energy", "mahalanobis", "k_nearest"))
    assert "of 10 images out of the distribution" in after
    assert "data other: 10 images" in outcome.err


def test_json_is_all_that_stdout_holds(medzoo_command: Callable[..., Any], run: Path) -> None:
    arguments = ("shift", run, "--data", run.parent / "other", "--metric", "brier", "--replicates", "50")
    outcome = medzoo_command(*arguments, "--json")
    content = json.loads(outcome.out)
    assert list(content["metrics"]) == ["brier"]
    entry = content["metrics"]["brier"]
    assert entry["out_of_distribution"]["n"] == 10
    assert entry["difference"]["low"] < entry["difference"]["value"] < entry["difference"]["high"]
    assert "detection" not in content


def test_corruptions_are_printed_by_strength(medzoo_command: Callable[..., Any], run: Path) -> None:
    arguments = ("shift", run, "--corruption", "contrast", "--metric", "accuracy", "--replicates", "50")
    outcome = medzoo_command(*arguments)
    assert outcome.code == 0, outcome.err
    lines = [line.split() for line in outcome.out.splitlines()]
    assert lines[0][:3] == ["corruption", "strength", "accuracy"]
    kinds = [
        ("none", "0"),
        *(("contrast", str(step)) for step in range(1, 6)),
        ("contrast", "mean"),
        ("all", "mean"),
    ]
    assert [tuple(line[:2]) for line in lines[1:9]] == kinds
    assert "contrast: " in outcome.err
    content = json.loads(medzoo_command(*arguments, "--json").out)
    assert list(content["corruptions"]) == ["contrast"]
    assert len(content["corruptions"]["contrast"]["strengths"]) == 6


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "neither --data nor --corruptions"),
        (("--data", "other", "--corruptions"), "--data together with corruptions"),
        (("--corruptions", "--detect"), "an option of other data with --corruptions"),
        (("--corruptions", "--frame", "first"), "an option of other data with --corruptions"),
        (("--corruptions", "--metric", "auroc", "--metric", "brier"), "2 metrics of corruptions"),
        (("--corruption", "nosie"), "there is no corruption 'nosie'"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_line(
    medzoo_command: Callable[..., Any], run: Path, options: tuple[str, ...], reason: str
) -> None:
    outcome = medzoo_command("shift", run, *options)
    assert outcome.code == 1
    assert reason in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert outcome.out == ""
