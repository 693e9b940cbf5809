"""Counting how often rows were drawn gives what the metric gives on the repeated rows."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medzoo.evaluation.metrics.discrimination import auroc
from medzoo.evaluation.metrics.registry import METRICS, find_metric
from medzoo.evaluation.metrics.thresholds import DECISIONS, OperatingPoints, at_thresholds
from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.uncertainty import counted as counted_module
from medzoo.evaluation.uncertainty import counted_ranks
from medzoo.evaluation.uncertainty.by_class import OfClass
from medzoo.evaluation.uncertainty.counted import prepare_counted

#: Metrics with a number of their own, beside the registry's.
FURTHER = (
    "partial_auroc@.35",
    "partial_auroc@1",
    "top@1",
    "sensitivity@specificity=.5",
    "specificity@sensitivity=.5",
)


def normalise(scores: np.ndarray) -> np.ndarray:
    """Make each row sum to 1, so that scores are those of exclusive classes."""
    raised = scores + 0.01
    return raised / raised.sum(axis=1, keepdims=True)


@st.composite
def resamples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, bool, np.ndarray]:
    exclusive = draw(st.booleans())
    count, width = draw(st.integers(1, 12)), draw(st.integers(2, 4))
    # Tenths, so that scores are often tied.
    scores = draw(arrays(int, (count, width), elements=st.integers(0, 10))) / 10
    if exclusive:
        scores = normalise(scores)
        codes = draw(arrays(int, count, elements=st.integers(0, width)))
        labels = np.vstack([np.eye(width), np.full(width, np.nan)])[codes]
    else:
        labels = draw(arrays(np.float64, (count, width), elements=st.sampled_from([0.0, 1.0, np.nan])))
    counts = draw(arrays(np.int64, (count, 3), elements=st.integers(0, 3)))
    return labels, scores, exclusive, counts


def expect(metric, predictions: Predictions, counts: np.ndarray) -> list[float]:
    """Give the metric on the repeated rows of each resample."""
    every = np.arange(len(predictions))
    return [metric(predictions.take(np.repeat(every, drawn))) for drawn in counts.T]


@pytest.mark.parametrize("name", [*METRICS, *FURTHER])
@settings(max_examples=60, deadline=None)
@given(resample=resamples())
def test_counting_equals_the_metric_on_the_repeated_rows(make_predictions, name, resample):
    labels, scores, exclusive, counts = resample
    predictions = make_predictions(labels, scores, exclusive=exclusive)
    metric = find_metric(name).measure
    counted = prepare_counted(metric, predictions)(counts)
    np.testing.assert_allclose(counted, expect(metric, predictions, counts), atol=1e-12)


@pytest.mark.parametrize("name", DECISIONS)
@settings(max_examples=40, deadline=None)
@given(resample=resamples(), threshold=st.sampled_from([0.0, 0.3, 0.5, float("nan")]))
def test_decisions_at_thresholds_are_counted(make_predictions, name, resample, threshold):
    labels, scores, exclusive, counts = resample
    predictions = make_predictions(labels, scores, exclusive=exclusive)
    classes = predictions.classes[1:] if exclusive and labels.shape[1] == 2 else predictions.classes
    points = OperatingPoints(classes, (0.4, *[threshold] * (len(classes) - 1)), "fixed", 0)
    metric = at_thresholds(name, points)
    counted = prepare_counted(metric, predictions)(counts)
    np.testing.assert_allclose(counted, expect(metric, predictions, counts), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(resample=resamples())
def test_one_label_of_a_table_is_counted(make_predictions, resample):
    labels, scores, exclusive, counts = resample
    predictions = make_predictions(labels, scores, exclusive=exclusive)
    metric = OfClass(auroc, 1)
    counted = prepare_counted(metric, predictions)(counts)
    np.testing.assert_allclose(counted, expect(metric, predictions, counts), atol=1e-12)


@pytest.mark.parametrize("name", ["auroc", "auprc", "accuracy", "ece", "ece_equal_mass", "brier"])
def test_counts_of_patients_repeat_all_their_rows(make_predictions, noisy, name):
    metric = METRICS[name].measure
    patients = np.arange(60) % 17
    counts = np.random.default_rng(0).integers(0, 4, (17, 5))
    predictions = make_predictions(noisy.labels, noisy.scores)
    counted = prepare_counted(metric, predictions, patients)(counts)
    np.testing.assert_allclose(counted, expect(metric, predictions, counts[patients]), atol=1e-12)


@pytest.mark.parametrize("name", ["auroc", "auprc", "average_precision", "partial_auroc"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_many_steps_are_walked_in_several_runs(make_predictions, name, share):
    generator = np.random.default_rng(3)
    labels = (generator.random(900) < share).astype(float)
    scores = np.round(np.clip(0.2 * labels + generator.random(900), 0, 1), 3)
    predictions = make_predictions(labels, scores)
    assert counted_ranks._count_runs(len(np.unique(scores[labels == (share < 0.5)]))) > 1
    metric = METRICS[name].measure
    counts = generator.integers(0, 5, (900, 4))
    counted = prepare_counted(metric, predictions)(counts.astype(np.float32))
    np.testing.assert_allclose(counted, expect(metric, predictions, counts), atol=1e-12)


def test_the_areas_are_exact_and_not_only_near(make_predictions):
    # Areas of thousands of pairs of whole numbers, divided once: the same float, whatever the order of summing.
    generator = np.random.default_rng(5)
    labels, scores = np.arange(3000) % 3 == 0, np.round(generator.random(3000), 2)
    counts = generator.integers(0, 40, (3000, 2))
    found = prepare_counted(auroc, make_predictions(labels, scores))(counts.astype(np.float32))
    for drawn, area in zip(counts.T.astype(object), found, strict=True):
        positives, negatives = (
            [sum(drawn[(labels == side) & (scores == score)]) for score in np.unique(scores)]
            for side in (True, False)
        )
        below = np.cumsum(np.array(negatives, dtype=object))
        pairs = sum(p * (2 * b - n) for p, b, n in zip(positives, below, negatives, strict=True))
        assert area == pairs / (2 * sum(positives) * sum(negatives))


def test_every_metric_of_the_registry_is_counted_but_one():
    decisions = {id(metric) for metric in DECISIONS.values()}
    repeated = [
        name
        for name, spec in METRICS.items()
        if spec.measure not in counted_module._FORMS and id(spec.measure) not in decisions
    ]
    assert repeated == ["ece_equal_mass"]


def test_a_function_that_is_a_partial_keeps_its_options(make_predictions, noisy):
    metric = partial(METRICS["ece"].measure, bins=3)
    counts = np.random.default_rng(0).integers(0, 4, (60, 2))
    counted = prepare_counted(metric, noisy)(counts)
    np.testing.assert_allclose(counted, expect(metric, noisy, counts), atol=1e-12)
    assert counted[0] != pytest.approx(prepare_counted(METRICS["ece"].measure, noisy)(counts)[0])
