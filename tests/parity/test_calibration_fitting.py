"""Fitted calibrations against torch's LBFGS and scikit-learn's own calibrated classifiers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV

from medzoo.evaluation.calibration.fitting import fit_calibration
from medzoo.evaluation.calibration.maps import Platt, Temperature
from medzoo.evaluation.predictions import Predictions

ROWS = 300


def make_rows(classes: int, seed: int = 0, sharpness: float = 2.5, with_logits: bool = True) -> Predictions:
    """Validation rows that are too sure: their logits are `sharpness` times the true ones."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.2, (ROWS, classes))
    codes = np.array([generator.choice(classes, p=row) for row in softmax(logits, axis=1)])
    said = sharpness * logits
    ids, splits = np.arange(ROWS).astype(np.str_), np.full(ROWS, "validation")
    return Predictions(
        ids,
        np.eye(classes)[codes],
        softmax(said, axis=1),
        tuple("abcdef"[:classes]),
        splits,
        logits=said if with_logits else None,
    )


class Scored(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose input is its own output."""

    def __init__(self, classes: int = 2) -> None:
        self.classes = classes
        self.classes_ = np.arange(classes)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, inputs: np.ndarray, codes: np.ndarray) -> Scored:
        return self

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return self.decision_function(inputs).argmax(axis=1)

    def decision_function(self, inputs: np.ndarray) -> np.ndarray:
        return inputs[:, 1] if self.classes == 2 else inputs


def calibrate_with_sklearn(inputs: np.ndarray, codes: np.ndarray, method: str) -> np.ndarray:
    frozen = pytest.importorskip("sklearn.frozen", reason="scikit-learn < 1.6 has no frozen estimator")
    model = CalibratedClassifierCV(frozen.FrozenEstimator(Scored(inputs.shape[1])), method=method)
    return model.fit(inputs, codes).predict_proba(inputs)


@pytest.mark.parametrize("with_logits", [True, False])
@pytest.mark.parametrize("classes", [2, 5])
def test_the_temperature_is_torchs(classes: int, with_logits: bool) -> None:
    torch = pytest.importorskip("torch")
    rows = make_rows(classes, with_logits=with_logits)
    logits = torch.tensor(2.5 * np.random.default_rng(0).normal(0, 1.2, (ROWS, classes)), dtype=torch.float64)
    codes = torch.tensor(rows.labels.argmax(axis=1))
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [log_temperature],
        max_iter=200,
        tolerance_grad=1e-14,
        tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )

    def close() -> object:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits / torch.exp(log_temperature), codes)
        loss.backward()
        return loss

    optimiser.step(close)
    (fitted,) = fit_calibration(rows, "temperature").maps
    assert isinstance(fitted, Temperature)
    assert fitted.temperature == pytest.approx(float(torch.exp(log_temperature.detach())), rel=1e-6)
    assert fitted.temperature == pytest.approx(2.5, rel=0.25)


def test_each_labels_temperature_is_torchs_on_its_annotated_rows() -> None:
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(3)
    logits = generator.normal(0, 3, (ROWS, 2))
    labels = (generator.uniform(0, 1, logits.shape) < expit(logits / [3, 0.5])).astype(float)
    labels[::3, 1] = np.nan
    ids, splits = np.arange(ROWS).astype(np.str_), np.full(ROWS, "validation")
    rows = Predictions(ids, labels, expit(logits), ("a", "b"), splits, exclusive=False)
    for column, fitted in enumerate(fit_calibration(rows).maps):
        known = ~np.isnan(labels[:, column])
        inputs, target = torch.tensor(logits[known, column]), torch.tensor(labels[known, column])
        scale = torch.ones((), dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS(
            [scale], max_iter=200, tolerance_grad=1e-14, tolerance_change=1e-16, line_search_fn="strong_wolfe"
        )

        def close(scale=scale, inputs=inputs, target=target, optimiser=optimiser) -> object:
            optimiser.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(inputs * scale, target)
            loss.backward()
            return loss

        optimiser.step(close)
        assert isinstance(fitted, Temperature)
        assert fitted.temperature == pytest.approx(1 / float(scale.detach()), rel=1e-6)


@pytest.mark.parametrize(("method", "named"), [("platt", "sigmoid"), ("isotonic", "isotonic")])
def test_two_classes_are_calibrated_as_in_scikit_learn(method: str, named: str) -> None:
    rows = make_rows(2)
    codes = rows.labels.argmax(axis=1)
    assert rows.logits is not None
    odds = rows.logits[:, 1] - rows.logits[:, 0]
    expected = calibrate_with_sklearn(np.stack([-odds, odds], axis=1), codes, named)
    found = fit_calibration(rows, method).apply(rows).scores  # type: ignore[arg-type]
    # scikit-learn's sigmoid stops within 1e-5 or so of its optimum.
    np.testing.assert_allclose(found, expected, atol=1e-4 if method == "platt" else 1e-12)


@pytest.mark.parametrize(("method", "named"), [("platt", "sigmoid"), ("isotonic", "isotonic")])
def test_several_classes_are_each_against_the_rest_as_in_scikit_learn(method: str, named: str) -> None:
    rows = make_rows(4)
    codes = rows.labels.argmax(axis=1)
    # Platt's curve is over log odds here; scikit-learn's is over what it is given.
    inputs = np.log(rows.scores) - np.log1p(-rows.scores) if method == "platt" else rows.scores
    expected = calibrate_with_sklearn(inputs, codes, named)
    found = fit_calibration(rows, method).apply(rows).scores  # type: ignore[arg-type]
    np.testing.assert_allclose(found, expected, atol=1e-4 if method == "platt" else 1e-10)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)


def test_platts_targets_are_the_optimum_that_lbfgs_finds() -> None:
    from scipy.optimize import minimize

    rows = make_rows(2, seed=5)
    assert rows.logits is not None
    odds, true = rows.logits[:, 1] - rows.logits[:, 0], rows.labels[:, 1]
    positives = true.sum()
    targets = np.where(true == 1, (positives + 1) / (positives + 2), 1 / (ROWS - positives + 2))

    def lose(numbers: np.ndarray) -> float:
        line = numbers[0] * odds + numbers[1]
        return float((np.logaddexp(0, line) - targets * line).sum())

    best = minimize(lose, np.array([1.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    (fitted,) = fit_calibration(rows, "platt").maps
    assert isinstance(fitted, Platt)
    assert (fitted.slope, fitted.offset) == pytest.approx(tuple(best.x), abs=1e-6)
