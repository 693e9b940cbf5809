"""What training minimises: cross-entropy over exclusive classes, or over labels of which some are unknown."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray


def make_loss(exclusive: bool, weights: NDArray[np.float64] | None = None) -> keras.losses.Loss:
    """Make the loss of logits (b, k) against targets (b, k).

    Exclusive classes: softmax cross-entropy; `weights` (k,) multiply the terms of each class, so that mixed
    targets are weighted by what they hold. Else sigmoid cross-entropy, its mean over the labels that are known:
    a NaN target counts for nothing; `weights` (k,) multiply the terms of positive labels.

    >>> loss = make_loss(False)
    >>> round(float(loss(np.array([[1.0, np.nan]], np.float32), np.array([[0.0, 9.0]], np.float32))), 4)
    0.6931
    """
    if exclusive and weights is None:
        return keras.losses.CategoricalCrossentropy(from_logits=True)
    return (WeightedCrossEntropy if exclusive else MaskedCrossEntropy)(weights)


class WeightedCrossEntropy(keras.losses.Loss):
    """Softmax cross-entropy whose terms are weighted by class."""

    def __init__(self, weights: NDArray[np.float64] | None) -> None:
        super().__init__(name="weighted_cross_entropy")
        self.weights = None if weights is None else np.asarray(weights, np.float32)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Give the loss of each row."""
        terms = y_true * ops.log_softmax(y_pred, axis=-1)
        return -ops.sum(terms if self.weights is None else terms * self.weights, axis=-1)


class MaskedCrossEntropy(keras.losses.Loss):
    """Sigmoid cross-entropy over known labels; its mean over the batch is that over the known entries."""

    def __init__(self, weights: NDArray[np.float64] | None) -> None:
        super().__init__(name="masked_cross_entropy")
        self.weights = None if weights is None else np.asarray(weights, np.float32)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Give the loss of each row, scaled such that their mean is the mean over known labels."""
        known = ops.logical_not(ops.isnan(y_true))
        # The unknown are replaced before any arithmetic: NaN times 0 is NaN, in gradients too.
        true = ops.where(known, y_true, ops.zeros_like(y_true))
        positive = (
            -ops.log_sigmoid(y_pred) if self.weights is None else -ops.log_sigmoid(y_pred) * self.weights
        )
        terms = true * positive - (1 - true) * ops.log_sigmoid(-y_pred)
        mask = ops.cast(known, terms.dtype)
        count = ops.maximum(ops.sum(mask), 1)
        return ops.sum(terms * mask, axis=-1) * (ops.cast(ops.shape(mask)[0], terms.dtype) / count)
