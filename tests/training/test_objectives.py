"""Losses against formulas written out in float64, labels that nobody annotated, and parts that add up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from medzoo.errors import ConfigError
from medzoo.training.objectives import Objective, make_loss, measure_objective

Oracle = Callable[[np.ndarray, np.ndarray], np.ndarray]

WEIGHTS = np.array([2.0, 1.0, 0.5])
GRADES = (0.0, 1.0, 4.0)


def draw(seed: int, rows: int = 6, columns: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Draw targets of 0 and 1 and logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, columns)).astype(np.float32) * 3
    return (rng.random((rows, columns)) < 0.5).astype(np.float32), logits


def draw_classes(seed: int, mixed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Draw one-hot or mixed rows and logits."""
    rng = np.random.default_rng(seed)
    targets = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 7)]
    return (0.7 * targets + 0.3 * targets[::-1] if mixed else targets), draw(seed, rows=7)[1]


def softmax(logits: np.ndarray) -> np.ndarray:
    exact = np.exp(logits.astype(np.float64))
    return exact / exact.sum(axis=1, keepdims=True)


def sigmoid_terms(
    targets: np.ndarray, logits: np.ndarray, weights: np.ndarray | float = 1.0, focal: float = 0.0
) -> np.ndarray:
    """Sigmoid cross-entropy of each entry, in float64; NaN stays NaN."""
    positive = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return -(
        weights * targets * (1 - positive) ** focal * np.log(positive)
        + (1 - targets) * positive**focal * np.log(1 - positive)
    )


def softmax_terms(
    targets: np.ndarray, logits: np.ndarray, weights: np.ndarray | float = 1.0, focal: float = 0.0
) -> np.ndarray:
    """Softmax cross-entropy of each entry, in float64."""
    share = softmax(logits)
    return -weights * targets * (1 - share) ** focal * np.log(share)


def distances(targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Squared differences of cumulative shares, entry by entry."""
    return (np.cumsum(softmax(logits), axis=1) - np.cumsum(targets, axis=1)) ** 2


def grade_errors(targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The squared error of each row's expected grade."""
    return (softmax(logits) @ GRADES - targets @ GRADES)[:, np.newaxis] ** 2


CLASS_LOSSES: dict[str, tuple[Objective, Oracle]] = {
    "plain": (make_loss(True), softmax_terms),
    "weighted": (make_loss(True, WEIGHTS), lambda t, x: softmax_terms(t, x, WEIGHTS)),
    "focal": (make_loss(True, focal=2.0), lambda t, x: softmax_terms(t, x, focal=2.0)),
    "smooth": (make_loss(True, label_smoothing=0.3), lambda t, x: softmax_terms(0.7 * t + 0.1, x)),
    "all": (
        make_loss(True, WEIGHTS, kind="softmax", focal=0.5, label_smoothing=0.3),
        lambda t, x: softmax_terms(0.7 * t + 0.1, x, WEIGHTS, 0.5),
    ),
    "ordinal": (make_loss(True, kind="ordinal"), distances),
    "grades": (make_loss(True, kind="regression", values=GRADES), grade_errors),
}

LABEL_LOSSES: dict[str, tuple[Objective, Oracle]] = {
    "plain": (make_loss(False), sigmoid_terms),
    "weighted": (make_loss(False, WEIGHTS), lambda t, x: sigmoid_terms(t, x, WEIGHTS)),
    "focal": (make_loss(False, focal=2.0), lambda t, x: sigmoid_terms(t, x, focal=2.0)),
    "smooth": (make_loss(False, label_smoothing=0.2), lambda t, x: sigmoid_terms(0.8 * t + 0.1, x)),
    "all": (
        make_loss(False, WEIGHTS, kind="sigmoid", focal=1.5, label_smoothing=0.2),
        lambda t, x: sigmoid_terms(0.8 * t + 0.1, x, WEIGHTS, 1.5),
    ),
    "numbers": (make_loss(False, kind="regression"), lambda t, x: (x.astype(np.float64) - t) ** 2),
}


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_losses_of_classes_are_their_formulas_also_of_mixed_targets(name: str, mixed: bool) -> None:
    loss, oracle = CLASS_LOSSES[name]
    targets, logits = draw_classes(1, mixed)
    assert float(loss(targets, logits)) == pytest.approx(oracle(targets, logits).sum(axis=1).mean(), rel=1e-5)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("name", LABEL_LOSSES)
def test_losses_of_labels_are_their_formulas_over_known_entries(name: str, mixed: bool) -> None:
    loss, oracle = LABEL_LOSSES[name]
    targets, logits = draw(2)
    targets = 0.7 * targets + 0.3 * targets[::-1] if mixed else targets
    targets[0, :] = targets[3, 1] = np.nan
    assert float(loss(targets, logits)) == pytest.approx(np.nanmean(oracle(targets, logits)), rel=1e-5)


@pytest.mark.parametrize("exclusive", [True, False])
def test_focal_and_weighted_losses_of_a_mixture_are_the_mixture_of_losses(exclusive: bool) -> None:
    loss = make_loss(exclusive, WEIGHTS, focal=2.0, label_smoothing=0.1)
    (first, logits), second = draw_classes(3), draw_classes(4)[0]
    mixed = 0.6 * float(loss(first, logits)) + 0.4 * float(loss(second, logits))
    assert float(loss(0.6 * first + 0.4 * second, logits)) == pytest.approx(mixed, rel=1e-5)


@pytest.mark.parametrize("name", LABEL_LOSSES)
def test_unknown_labels_count_for_nothing_in_loss_and_gradient(name: str) -> None:
    import tensorflow as tf

    targets, logits = draw(0)
    targets[0, :] = targets[3, 1] = np.nan
    known = ~np.isnan(targets)
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        total, count = LABEL_LOSSES[name][0].parts(targets, variable)
    assert float(count) == known.sum()
    gradient = tape.gradient(total, variable).numpy()
    assert np.isfinite(gradient).all()
    assert (gradient[~known] == 0).all()
    assert (gradient[known] != 0).all()


@pytest.mark.parametrize("name", LABEL_LOSSES)
def test_a_batch_without_any_known_label_has_no_loss(name: str) -> None:
    _, logits = draw(1)
    loss, unknown = LABEL_LOSSES[name][0], np.full_like(logits, np.nan)
    assert float(loss(unknown, logits)) == 0.0
    assert [float(part) for part in loss.parts(unknown, logits)] == [0.0, 0.0]
    assert np.isnan(measure_objective(loss, unknown, logits))


@pytest.mark.parametrize("exclusive", [True, False])
def test_parts_of_any_batches_add_up_to_the_loss_of_all(exclusive: bool) -> None:
    for loss, _ in (CLASS_LOSSES if exclusive else LABEL_LOSSES).values():
        targets, logits = draw_classes(5) if exclusive else draw(5, rows=7)
        if not exclusive:
            targets[:2, :2] = targets[4] = np.nan  # the pieces know unequal numbers of labels
        whole = float(loss(targets, logits))
        pieces = [loss.parts(targets[rows], logits[rows]) for rows in (slice(0, 1), slice(1, 5), slice(5, 7))]
        total, count = np.sum([[float(part) for part in piece] for piece in pieces], axis=0)
        assert total / count == pytest.approx(whole, rel=1e-6)
        assert measure_objective(loss, targets, logits) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("mixed", [False, True])
def test_plain_softmax_is_keras_own_loss_to_the_bit(mixed: bool) -> None:
    import tensorflow as tf

    targets, logits = draw_classes(6, mixed)
    gradients = []
    for loss in (make_loss(True), keras.losses.CategoricalCrossentropy(from_logits=True)):
        variable = tf.Variable(logits)
        with tf.GradientTape() as tape:
            value = loss(targets, variable)
        gradients.append((value.numpy(), tape.gradient(value, variable).numpy()))
    assert gradients[0][0] == gradients[1][0]
    np.testing.assert_array_equal(gradients[0][1], gradients[1][1])


@pytest.mark.parametrize("name", [*CLASS_LOSSES, *(f"labels {name}" for name in LABEL_LOSSES)])
def test_sure_answers_right_and_wrong_have_finite_losses_and_gradients(name: str) -> None:
    import tensorflow as tf

    losses = {**CLASS_LOSSES, **{f"labels {key}": value for key, value in LABEL_LOSSES.items()}}
    targets = np.eye(3, dtype=np.float32)[[0, 0, 1]]
    variable = tf.Variable(np.array([[200, 0, 0], [-200, 0, 200], [0, 18, 0]], np.float32))
    with tf.GradientTape() as tape:
        total, _ = losses[name][0].parts(targets, variable)
    assert np.isfinite(float(total))
    assert np.isfinite(tape.gradient(total, variable).numpy()).all()


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_losses_are_float32_under_mixed_precision(name: str) -> None:
    targets, logits = draw_classes(7)
    said = keras.ops.cast(logits, "bfloat16")
    loss = CLASS_LOSSES[name][0]
    for value in (loss(targets, said), *loss.parts(targets, said)):
        assert keras.backend.standardize_dtype(value.dtype) == "float32"


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_a_compiled_model_is_saved_and_loaded_with_its_loss(name: str, tmp_path: Path) -> None:
    loss = CLASS_LOSSES[name][0]
    targets, logits = draw_classes(8)
    again = type(loss).from_config(loss.get_config())
    assert float(again(targets, logits)) == float(loss(targets, logits))
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    model.compile(optimizer="sgd", loss=loss)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(
        tmp_path / "model.keras", custom_objects={type(loss).__name__: type(loss)}
    )
    assert loaded.evaluate(logits, targets, verbose=0) == model.evaluate(logits, targets, verbose=0)


@pytest.mark.parametrize(
    ("exclusive", "weights", "options", "says"),
    [
        (True, None, {"kind": "softmx"}, "'softmax'"),
        (True, None, {"kind": "sigmoid"}, "objective.kind=softmax"),
        (False, None, {"kind": "softmax"}, "objective.kind=sigmoid"),
        (False, None, {"kind": "ordinal"}, "objective.kind=sigmoid"),
        (True, WEIGHTS, {"kind": "ordinal"}, "--balance oversample"),
        (False, WEIGHTS, {"kind": "regression"}, "--balance oversample"),
        (True, None, {"kind": "ordinal", "focal": 2.0}, "objective.focal=0"),
        (True, None, {"kind": "regression", "values": GRADES, "label_smoothing": 0.1}, "label_smoothing=0"),
        (True, None, {"focal": -1.0}, "γ"),
        (True, None, {"label_smoothing": 1.0}, "below 1"),
        (True, None, {"kind": "regression"}, "without values"),
        (True, None, {"values": GRADES}, "with values"),
        (False, None, {"kind": "regression", "values": GRADES}, "with values"),
        (True, None, {"kind": "regression", "values": [1.0, np.nan]}, "finite"),
        (True, None, {"kind": "regression", "values": [2.0, 2.0]}, "not all the same"),
    ],
)
def test_what_does_not_fit_is_refused(
    exclusive: bool, weights: np.ndarray | None, options: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        make_loss(exclusive, weights, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["all", "ordinal", "grades"])
def test_parts_compile_for_any_number_of_rows(name: str) -> None:
    import tensorflow as tf

    loss = CLASS_LOSSES[name][0]
    signature = [tf.TensorSpec((None, 3), tf.float32)] * 2
    compiled = tf.function(loss.parts, input_signature=signature, jit_compile=True)
    targets, logits = draw_classes(9)
    for rows in (slice(0, 3), slice(0, 7)):
        expected = [float(part) for part in loss.parts(targets[rows], logits[rows])]
        found = [float(part) for part in compiled(targets[rows], logits[rows])]
        assert found == pytest.approx(expected, rel=1e-5)
