from __future__ import annotations

import json

import numpy as np
import pytest

from medzoo.errors import DataError
from medzoo.evaluation.metrics.registry import METRICS
from medzoo.evaluation.scores import DEFAULT_METRICS, evaluate, format_metrics, write_metrics
from medzoo.evaluation.uncertainty.bootstrap import bootstrap


def test_entries_are_the_metrics_and_their_intervals(noisy):
    entries = evaluate(noisy, replicates=50, seed=4)["test"]
    assert list(entries) == list(DEFAULT_METRICS)
    for name, entry in entries.items():
        if name == "ece":
            assert entry["low"] is None
            assert 0 < entry["chance"] < 1
            assert "worse calibrated" in entry["reason"]
            continue
        low, high = bootstrap(METRICS[name].measure, noisy, replicates=50, seed=4)
        assert entry == {
            "value": METRICS[name].measure(noisy), "low": low, "high": high,
            "n": 60, "positives": 30, "negatives": 30,
        }  # fmt: skip
        assert low < entry["value"] < high


def test_each_split_is_scored_on_its_own(make_predictions):
    splits = ["test", "test", "train", "train"]
    metrics = evaluate(make_predictions([0, 1, 0, 1], [0.1, 0.9, 0.9, 0.1], splits=splits), replicates=5)
    assert list(metrics) == ["train", "test"]
    assert metrics["train"]["auroc"]["value"] == 0
    assert metrics["test"]["auroc"]["value"] == 1


def test_undefined_is_null_with_a_reason(make_predictions):
    entries = evaluate(make_predictions([1, 1, 1], [0.9, 0.8, 0.1]), replicates=5)["test"]
    assert entries["auroc"] == {
        "value": None, "low": None, "high": None, "n": 3, "positives": 3, "negatives": 0,
        "reason": "no row of class 'a'",
    }  # fmt: skip
    assert entries["accuracy"]["value"] == pytest.approx(2 / 3)
    assert "reason" not in entries["accuracy"]


def test_a_value_without_interval_says_why(make_predictions):
    rows = make_predictions([0, 1], [0.1, 0.9], patients=["p", "p"])
    entry = evaluate(rows, replicates=5)["test"]["auroc"]
    assert (entry["value"], entry["low"], entry["patients"]) == (1, None, 1)
    assert entry["reason"] == "no interval from a single patient"


def test_only_annotated_rows_and_their_patients_are_counted(make_predictions):
    rows = make_predictions(
        [[1, 0], [0, 1], [np.nan] * 2], [[1, 0], [0, 1], [1, 0]], patients=["p", "q", "r"]
    )
    entry = evaluate(rows, replicates=5)["test"]["accuracy"]
    assert (entry["n"], entry["patients"], entry["positives"], entry["negatives"]) == (2, 2, 1, 1)


def test_labels_have_entries_of_their_own(make_predictions):
    labels = [[1, 0], [0, 0], [0, np.nan], [1, 0]]
    scores = [[0.9, 0.5], [0.1, 0.5], [0.2, 0.5], [0.8, 0.5]]
    entry = evaluate(make_predictions(labels, scores, exclusive=False), replicates=20)["test"]["auroc"]
    assert entry["value"] is None
    assert entry["reason"] == "no positive row of label 'b'"
    assert entry["n"] == 4
    assert "positives" not in entry
    assert entry["labels"]["a"]["value"] == 1
    assert (entry["labels"]["a"]["positives"], entry["labels"]["a"]["negatives"]) == (2, 2)
    assert entry["labels"]["b"]["value"] is None
    assert entry["labels"]["b"]["n"] == 3


def test_two_calls_write_the_same_bytes(tmp_path, noisy):
    for name in ("one.json", "two.json"):
        write_metrics(evaluate(noisy, replicates=50), tmp_path / name)
    first = (tmp_path / "one.json").read_bytes()
    assert first == (tmp_path / "two.json").read_bytes()
    assert json.loads(first) == evaluate(noisy, replicates=50)


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        format_metrics({"test": {"auroc": {"value": float("nan")}}})


def test_thresholds_are_never_scored_on_the_rows_they_were_chosen_on(make_predictions, noisy):
    splits = ["validation"] * 30 + ["test"] * 30
    rows = make_predictions(noisy.labels, noisy.scores, splits=splits)
    found = evaluate(rows, replicates=5, threshold=("youden", "fixed=.5"))
    assert "sensitivity (youden)" in found["test"]
    assert "sensitivity (youden)" not in found["validation"]
    assert "sensitivity (fixed=.5)" in found["validation"]
    assert found["test"]["npv (youden)"]["at"]["n"] == 30


def test_a_rule_needs_validation_rows_and_a_fixed_threshold_none(noisy):
    with pytest.raises(DataError, match="no annotated validation rows"):
        evaluate(noisy, replicates=5, threshold="youden")
    assert "precision (fixed=.5)" in evaluate(noisy, replicates=5, threshold="fixed=.5")["test"]


def test_several_classes_have_entries_of_their_own_with_their_own_counts(make_predictions):
    true = np.array([0, 1, 2] * 10)
    scores = np.eye(3)[true] * 0.5 + 1 / 6
    entry = evaluate(make_predictions(np.eye(3)[true], scores), replicates=5)["test"]["auroc"]
    assert [part["positives"] for part in entry["classes"].values()] == [10, 10, 10]
    assert [part["negatives"] for part in entry["classes"].values()] == [20, 20, 20]


def test_errors_over_bins_say_their_bins_and_what_chance_gives(noisy):
    found = evaluate(noisy, replicates=5, metrics=("ece", "brier"))["test"]
    assert found["ece"]["bins"] == 15
    assert found["ece"]["low"] is None
    assert 0 < found["ece"]["chance"] < 1
    assert "chance" not in found["brier"]
