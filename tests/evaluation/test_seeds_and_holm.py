from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.calibration.chance import NO_INTERVAL
from medzoo.evaluation.calibration.metrics import ece, mce
from medzoo.evaluation.metrics.discrimination import accuracy, auroc
from medzoo.evaluation.uncertainty.bootstrap import bootstrap
from medzoo.evaluation.uncertainty.by_class import OfClass
from medzoo.evaluation.uncertainty.multiplicity import adjust_holm
from medzoo.evaluation.uncertainty.resampling import Resampling
from medzoo.evaluation.uncertainty.seeds import summarise_seeds


def make_runs(make_predictions, strengths: list[float], count: int = 200, patients=None):
    """Make runs that share what they do not see of the rows, and differ in how strongly they see the label."""
    generator = np.random.default_rng(0)
    labels, noise = np.arange(count) % 2, generator.normal(size=count)
    return [
        make_predictions(labels, 1 / (1 + np.exp(-strength * labels - noise)), patients=patients)
        for strength in strengths
    ]


def test_equal_runs_vary_with_the_patients_alone(make_predictions):
    runs = make_runs(make_predictions, [0.8] * 4)
    found, alone = summarise_seeds(auroc, runs, Resampling(2000)), bootstrap(auroc, runs[0], replicates=2000)
    assert (found.mean, found.deviation, found.seeds) == (pytest.approx(auroc(runs[0])), 0.0, 4)
    np.testing.assert_allclose([found.low, found.high], list(alone), atol=1e-12)


def test_runs_that_differ_widen_the_interval_as_the_two_causes_add_up(make_predictions):
    runs = make_runs(make_predictions, [0.2, 0.7, 1.3], count=2000)
    found = summarise_seeds(auroc, runs, Resampling(6000))
    values = np.array([auroc(run) for run in runs])
    assert found.deviation == pytest.approx(values.std(ddof=1))
    # The variance of the mean: a third of the seeds' sample variance, and that of the patients.
    patients = bootstrap(auroc, runs[1], replicates=2000)
    expected = math.sqrt(values.var(ddof=1) / 3 + ((patients.high - patients.low) / 3.92) ** 2)
    assert (found.high - found.low) / 3.92 == pytest.approx(expected, rel=0.15)
    assert found.low < values.mean() < found.high


def test_patients_are_drawn_for_all_runs_together(make_predictions):
    # Drawn for each run anew, what six runs owe to the same patients would shrink by the root of six.
    runs = make_runs(make_predictions, [0.8] * 6, patients=[str(row // 4) for row in range(200)])
    found = summarise_seeds(accuracy, runs, Resampling(1000))
    alone = bootstrap(accuracy, runs[0], replicates=1000)
    assert found.high - found.low == pytest.approx(alone.high - alone.low, rel=0.02)
    assert found.counts.patients == 50


def test_a_single_run_has_neither_deviation_nor_interval(noisy):
    found = summarise_seeds(auroc, [noisy], Resampling(10))
    assert found.mean == auroc(noisy)
    assert math.isnan(found.deviation)
    assert math.isnan(found.low)
    assert found.reason == "no interval from a single run"
    assert found.describe()["deviation"] is None


@pytest.mark.parametrize(
    ("labels", "patients", "reason"),
    [
        ([1, 1, 1, 1], None, "undefined on these rows"),
        ([0, 1, 0, 1], ["p"] * 4, "no interval from a single patient"),
        ([0, 0, 1, 1], None, "no interval: every resample gives 1.000"),
        ([0, 1, 1, 1], ["p", "q", "q", "q"], "no interval: undefined in"),
    ],
)
def test_a_summary_without_interval_says_why(make_predictions, labels, patients, reason):
    run = make_predictions(labels, [0.1, 0.2, 0.8, 0.9], patients=patients)
    other = replace(run, scores=run.scores**1.01)
    found = summarise_seeds(auroc, [run, other], Resampling(50, seed=3))
    assert math.isnan(found.low)
    assert reason in found.reason or found.reason.startswith("no interval: every resample")


def test_runs_on_other_rows_are_refused(noisy):
    with pytest.raises(DataError, match="align"):
        summarise_seeds(auroc, [noisy, noisy.take(np.arange(50))], Resampling(10))
    with pytest.raises(DataError, match="no runs"):
        summarise_seeds(auroc, [], Resampling(10))


def test_holm_multiplies_by_the_tests_that_are_left():
    # Four tests: 4 × .005, 3 × .01, then 2 × .03 and no less for .04, whose own product is .04.
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_a_test_that_was_not_made_does_not_count():
    assert adjust_holm([0.02, float("nan"), 0.9]) == pytest.approx([0.04, float("nan"), 0.9], nan_ok=True)
    assert adjust_holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_order_and_stays_between_the_value_and_bonferroni(p_values):
    adjusted = adjust_holm(p_values)
    for one, two in zip(p_values, adjusted, strict=True):
        assert one <= two <= min(1, one * len(p_values)) + 1e-15
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_holm_refuses_what_is_no_p_value(value):
    with pytest.raises(ConfigError, match="p-value"):
        adjust_holm([0.5, value])


@pytest.mark.parametrize("metric", [ece, mce, partial(ece, bins=5), OfClass(mce, 1)])
def test_errors_over_bins_have_a_mean_over_seeds_and_no_interval(make_predictions, metric):
    runs = make_runs(make_predictions, [0.5, 1.0, 1.5])
    found = summarise_seeds(metric, runs, Resampling(50))
    assert found.mean == pytest.approx(np.mean([metric(run) for run in runs]))
    assert found.deviation > 0
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.reason == NO_INTERVAL
