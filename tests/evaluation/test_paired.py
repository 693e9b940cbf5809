from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.calibration.chance import NO_INTERVAL
from medzoo.evaluation.calibration.metrics import nll
from medzoo.evaluation.metrics.calls import Metric
from medzoo.evaluation.metrics.discrimination import accuracy, auroc
from medzoo.evaluation.metrics.registry import METRICS
from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.uncertainty.by_class import OfClass
from medzoo.evaluation.uncertainty.delong import delong_test
from medzoo.evaluation.uncertainty.paired import Difference, paired_bootstrap, permutation_test
from medzoo.evaluation.uncertainty.resampling import Resampling


def make_pair(make_predictions, count: int = 300, gain: float = 0.3, seed: int = 0, patients=None):
    """Make two models on the same rows, of which the first sees the label better by `gain`."""
    generator = np.random.default_rng(seed)
    labels, shared = np.arange(count) % 2, generator.normal(size=count)
    models = []
    for strength in (0.6 + gain, 0.6):
        logits = strength * labels + 0.7 * shared + 0.7 * generator.normal(size=count)
        models.append(make_predictions(labels, 1 / (1 + np.exp(-logits)), patients=patients))
    return models


def test_the_difference_agrees_with_delong(make_predictions):
    a, b = make_pair(make_predictions)
    found, expected = paired_bootstrap(auroc, a, b, Resampling(replicates=4000)), delong_test(a, b)
    assert found.value == pytest.approx(expected.value)
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high], atol=0.006)
    assert 0 < found.p < 0.05
    assert found.p == pytest.approx(expected.p, abs=0.02)
    assert permutation_test(auroc, a, b) == pytest.approx(expected.p, abs=0.02)


@pytest.mark.parametrize("name", ["auroc", "accuracy", "brier", "mcc", "auprc"])
@pytest.mark.parametrize("kind", ["percentile", "bca"])
def test_the_p_value_is_below_5_percent_where_the_interval_leaves_0_out(make_predictions, name, kind):
    for seed in range(6):
        a, b = make_pair(make_predictions, count=120, gain=0.45, seed=seed)
        found = paired_bootstrap(METRICS[name].measure, a, b, Resampling(replicates=800, kind=kind))
        # A resample more is counted against the difference: at the very edge the two may part.
        if not 0.045 < found.p < 0.06:
            assert (found.p < 0.05) == (not found.low <= 0 <= found.high)


def test_swapping_the_models_turns_the_difference_round(make_predictions):
    a, b = make_pair(make_predictions)
    one, two = (paired_bootstrap(accuracy, *pair, Resampling(replicates=300)) for pair in ((a, b), (b, a)))
    np.testing.assert_allclose(
        [one.value, one.low, one.high, one.p], [-two.value, -two.high, -two.low, two.p]
    )
    assert permutation_test(accuracy, a, b) == permutation_test(accuracy, b, a)


def test_a_model_does_not_differ_from_itself(noisy):
    found = paired_bootstrap(auroc, noisy, noisy, Resampling(replicates=100))
    assert (found.value, found.p) == (0.0, 1.0)
    assert math.isnan(found.low)
    assert found.reason == "no interval: every resample gives 0.000"
    assert permutation_test(auroc, noisy, noisy, permutations=50) == 1.0


def test_patients_are_drawn_and_swapped_whole(make_predictions):
    # Six copies of each row: no more is known than from the rows alone.
    alone = make_pair(make_predictions, count=100, gain=0.6)
    copies = np.repeat(np.arange(100), 6)
    patients = copies.astype(str).tolist()
    many = [make_predictions(rows.labels[copies], rows.scores[copies], patients=patients) for rows in alone]
    resampling = Resampling(replicates=2000)
    clustered, rows = paired_bootstrap(auroc, *many, resampling), paired_bootstrap(auroc, *alone, resampling)
    assert clustered.high - clustered.low == pytest.approx(rows.high - rows.low, rel=0.1)
    unclustered = paired_bootstrap(auroc, *many, resampling, clustered=False)
    assert unclustered.high - unclustered.low < 0.6 * (clustered.high - clustered.low)
    assert clustered.counts.patients == 100
    expected = permutation_test(auroc, *alone, permutations=4000)
    assert permutation_test(auroc, *many, permutations=4000) == pytest.approx(expected, abs=0.03)
    assert permutation_test(auroc, *many, clustered=False) < expected / 2


def test_every_swap_of_two_rows_is_as_likely(make_predictions):
    # Three wrong calls of b, each swapped or not: the difference is as large in 2 of 8 permutations.
    labels = [0, 0, 0, 1, 1, 1]
    a, b = make_predictions(labels, labels), make_predictions(labels, [1, 1, 0, 0, 1, 1])
    assert permutation_test(accuracy, a, b, permutations=20_000) == pytest.approx(2 / 8, abs=0.01)
    # One resample is the observed one.
    assert permutation_test(accuracy, a, b, permutations=1) in (0.5, 1.0)


def test_a_scale_plays_no_part_for_order(make_predictions):
    a, b = make_pair(make_predictions, gain=0.0)
    last = b.scores[:, 1] / 10
    scaled = replace(b, scores=np.stack([1 - last, last], axis=1))
    assert permutation_test(auroc, a, scaled) == permutation_test(auroc, a, b)


def test_swaps_test_at_their_level(make_predictions):
    # No difference: p is below .25 in a quarter of the tables. The deviation of 200 tables is .031.
    p_values = [
        permutation_test(auroc, *make_pair(make_predictions, 60, 0.0, seed), permutations=99)
        for seed in range(200)
    ]
    assert np.mean(np.array(p_values) <= 0.25) == pytest.approx(0.25, abs=0.1)


def test_undefined_metrics_have_no_difference(make_predictions):
    rows = make_predictions([1, 1], [0.1, 0.9])
    found = paired_bootstrap(auroc, rows, rows, Resampling(replicates=10))
    assert found.reason == "undefined on these rows"
    assert math.isnan(permutation_test(auroc, rows, rows))
    single = make_predictions([0, 1, 0, 1], [0.1, 0.9, 0.2, 0.4], patients=["p"] * 4)
    found = paired_bootstrap(auroc, single, single, Resampling(replicates=10))
    assert found.reason == "no interval from a single patient"
    assert found.describe()["p"] is None


def test_swaps_that_leave_a_metric_undefined_give_no_p_value(noisy):
    values = iter([0.5, 0.4])

    def seldom(predictions: Predictions) -> float:
        return next(values, float("nan"))

    assert math.isnan(permutation_test(seldom, noisy, noisy, permutations=10))


@pytest.mark.parametrize("metric", [auroc, accuracy])
def test_rows_that_differ_are_refused(make_predictions, noisy, metric: Metric):
    other = make_predictions(noisy.labels, noisy.scores, patients=["p"] * 60)
    with pytest.raises(DataError, match="patient"):
        paired_bootstrap(
            metric, replace(other, patients=np.array(["q"] * 60)), other, Resampling(replicates=10)
        )
    with pytest.raises(DataError, match="align"):
        permutation_test(metric, noisy, noisy.take(np.arange(59)))
    labels = make_predictions(np.eye(3)[[0, 1]], np.eye(3)[[0, 1]])
    with pytest.raises(DataError, match="classes"):
        permutation_test(metric, noisy, labels)


@pytest.mark.parametrize("options", [{"permutations": 0}, {"seed": -1}])
def test_refuses_options_without_meaning(noisy, options):
    with pytest.raises(ConfigError):
        permutation_test(auroc, noisy, noisy, **options)


def test_a_difference_describes_itself(noisy):
    found = Difference(0.1, 0.0, 0.2, 0.04, paired_bootstrap(auroc, noisy, noisy, Resampling(2)).counts)
    assert found.describe() == {
        "value": 0.1,
        "low": 0.0,
        "high": 0.2,
        "p": 0.04,
        "n": 60,
        "positives": 30,
        "negatives": 30,
    }


def test_a_bca_p_value_is_no_smaller_than_one_resample(make_predictions):
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 2
    sure = make_predictions(
        labels, np.clip(np.where(labels == 1, 0.9, 0.1) + 0.02 * rng.normal(size=30), 0.01, 0.99)
    )
    vague = make_predictions(labels, np.full(30, 0.5) + 0.1 * rng.normal(size=30))
    found = paired_bootstrap(nll, sure, vague, Resampling(replicates=300, kind="bca"))
    assert found.value < 0
    assert found.p >= 2 / 301


def draw_calibrated(make_predictions, seed, count=300):
    """Draw two models of the same rows whose scores are right: one knows more of the rows than the other."""
    rng = np.random.default_rng(seed)
    known, hidden = rng.uniform(0.05, 0.95, count), rng.uniform(-0.04, 0.04, count)
    labels = (rng.uniform(size=count) < known + hidden).astype(float)
    return make_predictions(labels, known + hidden), make_predictions(labels, known)


@pytest.mark.parametrize("name", ["ece", "mce", "ece_equal_mass", "ece_classwise"])
def test_two_calibrated_models_never_differ_by_an_error_over_bins(make_predictions, name):
    measure = METRICS[name].measure
    for metric in (measure, partial(measure, bins=7), OfClass(measure, 1)):
        for seed in range(3):
            a, b = draw_calibrated(make_predictions, seed)
            found = paired_bootstrap(metric, a, b, Resampling(replicates=50))
            assert found.value == metric(a) - metric(b)
            assert all(math.isnan(number) for number in (found.low, found.high, found.p))
            assert found.reason == NO_INTERVAL
            assert math.isnan(permutation_test(metric, a, b, permutations=20))
