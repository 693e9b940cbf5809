"""The metrics against scikit-learn's own multi-class and multi-label forms, which the code does not call."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score, roc_auc_score

from medzoo.evaluation.metrics.discrimination import accuracy, auroc, balanced_accuracy
from medzoo.evaluation.predictions import Predictions


def make_exclusive(classes: int, seed: int) -> tuple[Predictions, np.ndarray]:
    generator = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(classes), generator.integers(0, classes, 300)])
    # Whole-number logits tie many scores.
    logits = generator.integers(-2, 3, (len(codes), classes)) + np.eye(classes)[codes]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ids, splits = np.arange(len(codes)).astype(np.str_), np.full(len(codes), "test")
    return Predictions(ids, np.eye(classes)[codes], scores, tuple("abcdef"[:classes]), splits), codes


@pytest.mark.parametrize("seed", range(3))
def test_binary(seed):
    predictions, codes = make_exclusive(2, seed)
    assert auroc(predictions) == pytest.approx(roc_auc_score(codes, predictions.scores[:, 1]), abs=1e-12)
    guesses = predictions.scores.argmax(axis=1)
    assert accuracy(predictions) == pytest.approx(accuracy_score(codes, guesses), abs=1e-12)
    expected = balanced_accuracy_score(codes, guesses)
    assert balanced_accuracy(predictions) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("classes", [3, 4, 6])
def test_several_classes(classes):
    predictions, codes = make_exclusive(classes, classes)
    expected = roc_auc_score(codes, predictions.scores, multi_class="ovr", average="macro")
    assert auroc(predictions) == pytest.approx(expected, abs=1e-12)
    guesses = predictions.scores.argmax(axis=1)
    assert accuracy(predictions) == pytest.approx(accuracy_score(codes, guesses), abs=1e-12)
    expected = recall_score(codes, guesses, average="macro")
    assert balanced_accuracy(predictions) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("width", [1, 5])
def test_labels(width):
    generator = np.random.default_rng(width)
    labels = generator.integers(0, 2, (200, width)).astype(float)
    scores = np.round(np.clip(0.3 * labels + generator.uniform(0, 0.7, labels.shape), 0, 1), 2)
    ids, splits = np.arange(200).astype(np.str_), np.full(200, "test")
    predictions = Predictions(ids, labels, scores, tuple("abcdef"[:width]), splits, exclusive=False)
    assert auroc(predictions) == pytest.approx(roc_auc_score(labels, scores, average="macro"), abs=1e-12)
    assert accuracy(predictions) == pytest.approx(((scores >= 0.5) == labels).mean(), abs=1e-12)
    guesses = (scores >= 0.5).astype(int)
    recalls = [
        recall_score(labels, guesses, average="macro"),
        recall_score(1 - labels, 1 - guesses, average="macro"),
    ]
    assert balanced_accuracy(predictions) == pytest.approx(np.mean(recalls), abs=1e-12)
