"""Model + images → predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from medzoo.data.dataset import Dataset
from medzoo.evaluation.predictions import Predictions

RESERVED = ("id", "split", "label", "patient")


def predict_logits(model: Any, batches: Any) -> np.ndarray:
    """Give a model's logits (n, k), float64, for batches in the table's order."""
    logits = [np.asarray(model.predict_on_batch(images)) for images, _ in batches]
    return np.concatenate(logits).astype(np.float64)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn logits (n, k) into probabilities whose rows sum to 1.

    >>> softmax(np.array([[0.0, 0.0]]))
    array([[0.5, 0.5]])
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Turn logits (n, k) into probabilities, each by itself.

    >>> sigmoid(np.array([[0.0, -800.0]]))
    array([[0.5, 0. ]])
    """
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))


def make_predictions(dataset: Dataset, logits: np.ndarray) -> Predictions:
    """Join logits (n, k) with a data set's table: labels, splits, patients and group columns."""
    table = dataset.table
    groups = {str(name): _text(table[name]) for name in table if name not in RESERVED}
    return Predictions(
        _text(table["id"]),
        dataset.targets.astype(np.float64),
        softmax(logits) if dataset.exclusive else sigmoid(logits),
        dataset.classes,
        _text(table["split"]),
        _text(table["patient"]) if "patient" in table else None,
        groups,
        exclusive=dataset.exclusive,
        logits=np.asarray(logits, np.float64),
    )


def _text(column: pd.Series) -> np.ndarray:
    """Give a column as an array of text."""
    return np.asarray(column.to_list(), dtype=np.str_)
