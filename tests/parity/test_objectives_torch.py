"""The losses and their gradients against PyTorch's own, of the same targets and logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from foreign import require

from medzoo.training.objectives import Objective, make_loss

torch = require("torch")

ROWS, CLASSES = 9, 4
WEIGHTS = np.array([2.0, 1.0, 0.5, 3.0])


def draw(mixed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Draw one-hot or mixed rows and logits."""
    rng = np.random.default_rng(0)
    targets = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, ROWS)]
    logits = 3 * rng.normal(size=(ROWS, CLASSES)).astype(np.float32)
    return (0.8 * targets + 0.2 * targets[::-1] if mixed else targets), logits


def differentiate(loss: Objective, targets: np.ndarray, logits: np.ndarray) -> tuple[float, np.ndarray]:
    """Give our loss and its gradient."""
    import tensorflow as tf

    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(targets, variable)
    return float(value), tape.gradient(value, variable).numpy()


def compare(loss: Objective, targets: np.ndarray, logits: np.ndarray, theirs: Any) -> None:
    """Compare loss and gradient with a function of PyTorch's tensors."""
    variable = torch.tensor(logits, requires_grad=True)
    expected = theirs(torch.tensor(targets), variable)
    expected.backward()
    value, gradient = differentiate(loss, targets, logits)
    assert value == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, variable.grad.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_softmax(mixed: bool, weighted: bool, smoothing: float) -> None:
    targets, logits = draw(mixed)
    weights = WEIGHTS if weighted else None
    factors = torch.tensor(WEIGHTS, dtype=torch.float32) if weighted else None

    def theirs(true: Any, said: Any) -> Any:
        """Targets given as shares are averaged over rows by PyTorch, too."""
        return torch.nn.functional.cross_entropy(said, true, factors, label_smoothing=smoothing)

    compare(make_loss(True, weights, label_smoothing=smoothing), targets, logits, theirs)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_sigmoid(mixed: bool, weighted: bool) -> None:
    targets, logits = draw(mixed)
    targets[2, 1] = targets[5] = np.nan
    factors = torch.tensor(WEIGHTS if weighted else np.ones(CLASSES), dtype=torch.float32)

    def theirs(true: Any, said: Any) -> Any:
        """Average over known entries."""
        known = ~torch.isnan(true)
        terms = torch.nn.functional.binary_cross_entropy_with_logits(
            said, torch.nan_to_num(true), pos_weight=factors, reduction="none"
        )
        return terms[known].mean()

    compare(make_loss(False, WEIGHTS if weighted else None), targets, logits, theirs)


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("focal", [0.5, 2.0])
def test_focal_of_certain_targets(exclusive: bool, focal: float) -> None:
    """The published form: the loss of the true side times (1 − its probability)^γ, as torchvision has it."""
    targets, logits = draw(mixed=False)

    def theirs(true: Any, said: Any) -> Any:
        """Write it by the probability of the true side."""
        if exclusive:
            losses = torch.nn.functional.cross_entropy(said, true, reduction="none")
        else:
            losses = torch.nn.functional.binary_cross_entropy_with_logits(said, true, reduction="none")
        return (losses * (1 - torch.exp(-losses)) ** focal).mean()

    compare(make_loss(exclusive, focal=focal), targets, logits, theirs)


@pytest.mark.parametrize("mixed", [False, True])
def test_ordinal_and_grades(mixed: bool) -> None:
    targets, logits = draw(mixed)
    values = torch.tensor([0.0, 1.0, 2.0, 5.0])

    def distance(true: Any, said: Any) -> Any:
        """The squared distance of cumulative shares."""
        return ((said.softmax(1).cumsum(1) - true.cumsum(1)) ** 2).sum(1).mean()

    def grades(true: Any, said: Any) -> Any:
        """The squared error of expected grades."""
        return torch.nn.functional.mse_loss(said.softmax(1) @ values, true @ values)

    compare(make_loss(True, kind="ordinal"), targets, logits, distance)
    compare(make_loss(True, kind="regression", values=values.numpy()), targets, logits, grades)


def test_real_targets() -> None:
    targets, logits = draw(mixed=True)
    compare(make_loss(False, kind="regression"), targets, logits, torch.nn.functional.mse_loss)
