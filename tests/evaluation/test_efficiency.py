from __future__ import annotations

import json
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.calibration.chance import NO_INTERVAL
from medzoo.evaluation.calibration.metrics import ece
from medzoo.evaluation.efficiency import (
    AT_SMALLEST,
    NOT_REACHED,
    efficiency_curve,
    find_crossing,
    labels_saved,
    make_monotone,
)
from medzoo.evaluation.metrics.discrimination import accuracy, auroc
from medzoo.evaluation.uncertainty.resampling import Resampling

FEW = Resampling(replicates=200)
FRACTIONS = (1, 2, 5, 10, 20, 50, 100)


@pytest.fixture(scope="module")
def right(make_predictions):
    """Predict 1,000 rows of which a share is right: the accuracy is that share exactly."""
    labels = np.arange(1000) % 2
    order = np.random.default_rng(0).permutation(1000)

    def make(share, seed=None):
        mixed = order if seed is None else np.random.default_rng(seed).permutation(1000)
        is_right = np.zeros(1000, dtype=bool)
        is_right[mixed[: round(1000 * share)]] = True
        return make_predictions(labels, np.where(is_right == (labels == 1), 0.9, 0.1))

    return make


def rise(fraction):
    """A made score: .6 at 1 % and .05 more each time the fraction doubles… in straight lines over its logarithm."""
    return 0.6 + 0.05 * math.log2(fraction)


@pytest.mark.parametrize("true_fraction", [2, 3, 7, 30, 64, 100])
def test_labels_saved_gives_back_the_true_fraction(right, true_fraction):
    points = [(fraction, right(rise(fraction))) for fraction in FRACTIONS]
    found = labels_saved(points, right(rise(true_fraction)), accuracy, FEW)
    assert found.fraction == pytest.approx(true_fraction, rel=0.02)
    assert found.saved == pytest.approx(100 - true_fraction, abs=0.02 * true_fraction)
    assert found.low <= found.fraction <= found.high
    assert found.reason is None
    assert found.target == pytest.approx(rise(true_fraction), abs=0.001)


def test_a_score_that_is_not_reached_is_an_answer(right):
    points = [(fraction, right(rise(fraction))) for fraction in (1, 10, 50)]
    found = labels_saved(points, right(0.99), accuracy, FEW)
    assert math.isnan(found.fraction)
    assert found.reason == NOT_REACHED
    assert (found.low, found.high, found.reached) == (math.inf, math.inf, 0)
    described = json.loads(json.dumps(found.describe(), allow_nan=False))
    assert (described["fraction"], described["high"], described["reason"]) == (None, NOT_REACHED, NOT_REACHED)


def test_an_interval_may_end_where_it_is_not_reached(right):
    points = [(fraction, right(share, 5)) for fraction, share in ((10, 0.7), (100, 0.81))]
    found = labels_saved(points, right(0.8, 6), accuracy, FEW)
    assert 50 < found.fraction < 100
    assert found.low < found.fraction
    assert math.isinf(found.high)
    assert 0.5 < found.reached < 1


def test_a_score_that_the_smallest_fraction_reaches(right):
    points = [(fraction, right(0.9)) for fraction in (5, 100)]
    found = labels_saved(points, right(0.7), accuracy, FEW)
    assert (found.fraction, found.reason) == (5, AT_SMALLEST)


def test_a_lucky_small_run_does_not_decide_alone(right):
    points = [(1, right(0.6)), (5, right(0.80)), (20, right(0.70)), (100, right(0.9))]
    found = labels_saved(points, right(0.79), accuracy, FEW)
    assert 20 < found.fraction < 100  # 5 % alone would have answered 4.7


def test_where_lower_is_better_the_curve_falls(right):
    def brier_like(share):
        return right(share)

    points = [(fraction, brier_like(rise(fraction))) for fraction in FRACTIONS]
    found = labels_saved(points, brier_like(rise(10)), "brier", FEW)
    assert found.fraction == pytest.approx(10, rel=0.02)
    assert found.target > 0


def test_seeds_of_a_fraction_are_their_mean(right):
    points = [(10, right(0.7, 1)), (10, right(0.8, 2)), (100, right(0.9, 3))]
    curve = efficiency_curve(points, accuracy, FEW)
    first, last = curve.points
    assert first.score.value == pytest.approx(0.75)
    assert (first.seeds, last.seeds) == (2, 1)
    assert first.deviation == pytest.approx(np.std([0.7, 0.8], ddof=1))
    assert math.isnan(last.deviation)
    found = labels_saved(points, [right(0.8, 4), right(0.9, 5)], accuracy, FEW)
    assert found.target == pytest.approx(0.85)
    assert 10 < found.fraction < 100
    assert json.dumps(curve.describe(), allow_nan=False)


def test_scattered_seeds_widen_the_interval(right):
    widths = []
    for spread in (0.0, 0.06):
        points = [(10, right(0.7 - spread, 1)), (10, right(0.7 + spread, 2)), (100, right(0.9, 3))]
        found = labels_saved(points, right(0.8, 4), accuracy, FEW)
        widths.append(math.log(found.high / found.low))
    assert widths[1] > 1.3 * widths[0]


def test_points_may_come_in_any_order(right):
    points = [(fraction, right(rise(fraction))) for fraction in FRACTIONS]
    curve = efficiency_curve(points[::-1], accuracy, FEW)
    assert [point.fraction for point in curve.points] == list(FRACTIONS)
    assert labels_saved(points, right(0.8), accuracy, FEW) == labels_saved(
        points[::-1], right(0.8), accuracy, FEW
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_the_monotone_curve_is_monotone_with_the_same_mean(scores):
    rising = make_monotone(np.array(scores))
    assert (np.diff(rising) >= 0).all()
    assert rising.mean() == pytest.approx(np.mean(scores))
    assert rising.min() >= min(scores) - 1e-12
    assert make_monotone(np.sort(scores)).tolist() == sorted(scores)


def test_the_monotone_curve_is_that_of_scikit_learn():
    from sklearn.isotonic import isotonic_regression

    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = rng.uniform(size=9)
        assert make_monotone(scores) == pytest.approx(isotonic_regression(scores))


@given(st.lists(st.floats(0.5, 1), min_size=2, max_size=7), st.floats(0.4, 1.1))
def test_the_crossing_lies_on_the_curve(scores, target):
    fractions = np.array(FRACTIONS[: len(scores)], dtype=float)
    rising = make_monotone(np.array(scores))
    found = find_crossing(fractions, np.array(scores), target)
    if target > rising[-1]:
        assert found == math.inf
    elif target <= rising[0]:
        assert found == fractions[0]
    else:
        assert np.interp(math.log(found), np.log(fractions), rising) == pytest.approx(target, abs=1e-9)


def test_wrong_wishes_are_refused(right):
    with pytest.raises(ConfigError, match="no runs"):
        efficiency_curve([], auroc, FEW)
    with pytest.raises(ConfigError, match="fraction 120"):
        efficiency_curve([(120, right(0.7))], auroc, FEW)
    with pytest.raises(ConfigError, match="one fraction"):
        labels_saved([(10, right(0.7)), (10, right(0.8))], right(0.9), auroc, FEW)
    with pytest.raises(DataError, match="the run of 10 % and the run of 100 % have other test images"):
        efficiency_curve([(10, right(0.7)), (100, right(0.7).take(np.arange(500)))], auroc, FEW)


def test_an_undefined_score_says_whose(right):
    rows = right(0.7)
    one_class = rows.take(np.flatnonzero(rows.labels[:, 1] == 1))
    found = labels_saved([(10, one_class), (100, one_class)], one_class, auroc, FEW)
    assert math.isnan(found.fraction)
    assert found.reason == "undefined for the run of 10 %"


def test_errors_over_bins_have_no_interval_over_fractions(make_predictions):
    def predict(off):
        return make_predictions(np.arange(200) % 2, np.full(200, 0.5 + off))

    points = [(10, predict(0.3)), (100, predict(0.1)), (100, predict(0.12))]
    for metric in ("ece", partial(ece, bins=5)):
        curve = efficiency_curve(points, metric, FEW)
        assert [point.score.reason for point in curve.points] == [NO_INTERVAL, NO_INTERVAL]
    saved = labels_saved(points, predict(0.2), "ece", FEW)
    assert 10 < saved.fraction < 100
    assert math.isnan(saved.low)
    assert math.isnan(saved.high)
    assert math.isnan(saved.reached)
    assert saved.reason == NO_INTERVAL
