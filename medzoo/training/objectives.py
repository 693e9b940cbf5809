"""What training minimises: losses of logits, over exclusive classes or labels of which some are unknown.

Each is a sum of terms over a count of them, so that the parts of a batch, computed one after another or on several
devices, add up to the loss of the whole. All are linear in the targets or take them as a distribution: mixed images
(MixUp, CutMix) are weighed by what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from medzoo.errors import ConfigError
from medzoo.training.objective_kinds import check_values, refuse_unfit, resolve_kind

#: Below this 1 − p is taken for it: the power of 0 has no gradient.
LEAST = 1e-20


def make_loss(
    exclusive: bool,
    weights: NDArray[np.float64] | None = None,
    *,
    kind: str = "auto",
    focal: float = 0.0,
    label_smoothing: float = 0.0,
    values: ArrayLike | None = None,
) -> Objective:
    """Make the loss of logits (b, k) against targets (b, k).

    softmax: cross-entropy of exclusive classes, one-hot or mixed; `weights` (k,) multiply the terms of each class.
    sigmoid: cross-entropy of independent labels, its mean over the labels that are known: a NaN target counts for
    nothing; `weights` (k,) multiply the terms of positive labels. ordinal: the squared distance between the
    cumulative probabilities and those of the target, of exclusive classes in their order. regression: of exclusive
    classes, the squared error of the expected grade, the mean of `values` (k,) under the probabilities; else that
    of outputs against any real targets, over those that are not NaN. auto is softmax or sigmoid.

    `focal` is γ of the focal loss; `label_smoothing` the share of a target that goes to all classes alike, or to
    both sides of a label.

    Raises:
        ConfigError: a kind that does not exist or does not fit, or options that do not fit it.

    >>> loss = make_loss(False)
    >>> round(float(loss(np.array([[1.0, np.nan]], np.float32), np.array([[0.0, 9.0]], np.float32))), 4)
    0.6931
    """
    kind = resolve_kind(kind, exclusive)
    refuse_unfit(kind, weights is not None, focal, label_smoothing)
    if (values is not None) != (kind == "regression" and exclusive):
        raise ConfigError(
            f"the {kind} objective with{'' if values is not None else 'out'} values of classes",
            "values where exclusive classes are graded, and only there",
        )
    if kind == "softmax":
        return SoftmaxLoss(weights, focal, label_smoothing)
    if kind == "sigmoid":
        return SigmoidLoss(weights, focal, label_smoothing)
    if kind == "ordinal":
        return OrdinalLoss()
    return SquaredError() if values is None else GradeLoss(values)


def measure_objective(loss: Objective, targets: NDArray[Any], logits: NDArray[Any]) -> float:
    """Measure a loss over all rows of targets and logits (n, k) at once; NaN where no target is known.

    >>> measure_objective(make_loss(True, kind="ordinal"), np.eye(2), np.array([[99.0, 0.0], [99.0, 0.0]]))
    0.5
    """
    total, count = (float(part) for part in loss.parts(targets, logits))
    return total / count if count else float("nan")


class Objective(keras.losses.Loss):
    """A loss that is a sum of terms over their count."""

    def measure(self, true: Any, said: Any) -> tuple[Any, Any]:
        """Give each row's sum of terms (b,) and their count (b,), float32, of targets and outputs (b, k)."""
        raise NotImplementedError

    def parts(self, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        """Give the sum of terms and their count, scalars, whose quotient over any batches is those batches' loss.

        The count is 0 where no target is known, and so is the sum.
        """
        rows, counts = self.measure(
            ops.cast(ops.convert_to_tensor(y_true), "float32"),
            ops.cast(ops.convert_to_tensor(y_pred), "float32"),
        )
        return ops.sum(rows), ops.sum(counts)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Give the loss of each row, scaled such that their mean is the quotient of `parts`."""
        rows, counts = self.measure(y_true, y_pred)
        return rows * (ops.cast(ops.shape(rows)[0], rows.dtype) / ops.maximum(ops.sum(counts), 1))


class CrossEntropy(Objective):
    """What the cross-entropies share: their options, and how a saved model keeps them."""

    def __init__(
        self, weights: ArrayLike | None = None, focal: float = 0.0, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.weights = None if weights is None else np.asarray(weights, np.float32)
        self.focal, self.label_smoothing = focal, label_smoothing

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that make the same loss."""
        weights = None if self.weights is None else self.weights.tolist()
        return {"weights": weights, "focal": self.focal, "label_smoothing": self.label_smoothing}

    def smooth(self, true: Any, share: float) -> Any:
        """Move the smoothed part of every target to `share`."""
        return (
            true * (1 - self.label_smoothing) + self.label_smoothing * share if self.label_smoothing else true
        )


class SoftmaxLoss(CrossEntropy):
    """Softmax cross-entropy; weighted by class, focal (Lin et al., 2017) or smoothed where asked for."""

    def measure(self, true: Any, said: Any) -> tuple[Any, Any]:
        """Give each row's terms; a row counts once."""
        true = self.smooth(true, 1 / said.shape[-1])
        if self.weights is None and not self.focal:
            # One kernel; its gradient takes rows that sum to 1 for granted, which weighted ones do not.
            rows = ops.categorical_crossentropy(true, said, from_logits=True)
            return rows, ops.ones_like(rows)
        logs = ops.log_softmax(said, axis=-1)
        terms = true * logs
        if self.weights is not None:
            terms = terms * self.weights
        if self.focal:
            terms = terms * ops.power(ops.maximum(-ops.expm1(logs), LEAST), self.focal)
        rows = -ops.sum(terms, axis=-1)
        return rows, ops.ones_like(rows)


class SigmoidLoss(CrossEntropy):
    """Sigmoid cross-entropy over known labels; `weights` are those of positive ones, else as for SoftmaxLoss."""

    def measure(self, true: Any, said: Any) -> tuple[Any, Any]:
        """Give each row's terms and how many of its labels are known."""
        true, mask = _mask_unknown(true)
        true = self.smooth(true, 0.5)
        log_positive, log_negative = ops.log_sigmoid(said), ops.log_sigmoid(-said)
        positive, negative = -true * log_positive, (true - 1) * log_negative
        if self.weights is not None:
            positive = positive * self.weights
        if self.focal:
            positive = positive * ops.exp(self.focal * log_negative)
            negative = negative * ops.exp(self.focal * log_positive)
        return ops.sum((positive + negative) * mask, axis=-1), ops.sum(mask, axis=-1)


class OrdinalLoss(Objective):
    """The squared earth mover's distance between the probabilities and the target (Hou et al., 2016)."""

    def measure(self, true: Any, said: Any) -> tuple[Any, Any]:
        """Give each row's distance; a row counts once."""
        gaps = ops.cumsum(ops.softmax(said, axis=-1) - true, axis=-1)
        rows = ops.sum(ops.square(gaps), axis=-1)
        return rows, ops.ones_like(rows)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that make the same loss: none."""
        return {}


class GradeLoss(Objective):
    """The squared error of the expected grade, where each exclusive class has a number."""

    def __init__(self, values: ArrayLike | Sequence[float]) -> None:
        super().__init__()
        self.values = check_values(np.asarray(values, np.float64)).astype(np.float32)

    def measure(self, true: Any, said: Any) -> tuple[Any, Any]:
        """Give each row's error; a row counts once."""
        rows = ops.square(ops.sum((ops.softmax(said, axis=-1) - true) * self.values, axis=-1))
        return rows, ops.ones_like(rows)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that make the same loss."""
        return {"values": self.values.tolist()}


class SquaredError(Objective):
    """The squared error of outputs against real targets, over those that are known."""

    def measure(self, true: Any, said: Any) -> tuple[Any, Any]:
        """Give each row's errors and how many of its targets are known."""
        true, mask = _mask_unknown(true)
        return ops.sum(ops.square(said - true) * mask, axis=-1), ops.sum(mask, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that make the same loss: none."""
        return {}


def _mask_unknown(true: Any) -> tuple[Any, Any]:
    """Give the targets with 0 for NaN, and the mask of those that are known.

    The unknown are replaced before any arithmetic: NaN times 0 is NaN, in gradients too.
    """
    known = ops.logical_not(ops.isnan(true))
    return ops.where(known, true, ops.zeros_like(true)), ops.cast(known, true.dtype)
