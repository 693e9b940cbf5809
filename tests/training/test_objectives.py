"""Losses against formulas written out, and labels that nobody annotated."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from medzoo.training.objectives import make_loss


def draw(seed: int, rows: int = 6, columns: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Draw targets of 0 and 1 and logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, columns)).astype(np.float32) * 3
    return (rng.random((rows, columns)) < 0.5).astype(np.float32), logits


def cross_entropy(targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Sigmoid cross-entropy of each entry, in float64."""
    logits = logits.astype(np.float64)
    return targets * np.logaddexp(0, -logits) + (1 - targets) * np.logaddexp(0, logits)


def test_unknown_labels_count_for_nothing_in_loss_and_gradient() -> None:
    import tensorflow as tf

    targets, logits = draw(0)
    targets[0, :] = np.nan
    targets[3, 1] = np.nan
    known = ~np.isnan(targets)
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = make_loss(False)(targets, variable)
    assert float(loss) == pytest.approx(cross_entropy(targets, logits)[known].mean(), rel=1e-6)
    gradient = tape.gradient(loss, variable).numpy()
    assert np.isfinite(gradient).all()
    assert (gradient[~known] == 0).all()
    assert (gradient[known] != 0).all()


def test_a_batch_without_any_known_label_has_no_loss() -> None:
    _, logits = draw(1)
    assert float(make_loss(False)(np.full_like(logits, np.nan), logits)) == 0.0


def test_positive_weights_multiply_positive_terms_alone() -> None:
    targets, logits = draw(2)
    weights = np.array([1.0, 4.0, 0.5])
    terms = cross_entropy(targets, logits) * np.where(targets == 1, weights, 1.0)
    assert float(make_loss(False, weights)(targets, logits)) == pytest.approx(terms.mean(), rel=1e-6)


def test_class_weights_multiply_each_class() -> None:
    targets, logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 2]], draw(3, rows=4)[1]
    weights = np.array([2.0, 1.0, 0.5])
    logs = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    expected = -(targets * logs * weights).sum(axis=1).mean()
    assert float(make_loss(True, weights)(targets, logits)) == pytest.approx(expected, rel=1e-5)


def test_without_weights_exclusive_classes_have_keras_own_loss() -> None:
    assert isinstance(make_loss(True), keras.losses.CategoricalCrossentropy)


@pytest.mark.parametrize("exclusive", [True, False])
def test_losses_are_float32_under_mixed_precision(exclusive: bool) -> None:
    targets, logits = draw(4)
    loss = make_loss(exclusive, np.ones(3))
    value = loss(targets, keras.ops.cast(logits, "bfloat16"))
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
