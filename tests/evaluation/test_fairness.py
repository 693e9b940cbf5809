from __future__ import annotations

import json
import math

import numpy as np
import pytest

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.fairness import measure_calibration_gap, measure_equalised_odds
from medzoo.evaluation.metrics.thresholds import OperatingPoints, choose_thresholds
from medzoo.evaluation.uncertainty.resampling import Resampling

FEW = Resampling(replicates=300)


def at(threshold, *classes):
    return OperatingPoints(classes or ("b",), (threshold,) * len(classes or "b"), f"fixed={threshold}", 0)


@pytest.fixture(scope="module")
def unequal(make_predictions):
    """200 rows a group: of group a 80 % of the positives are called and 10 % of the negatives, of b 50 % and 30 %."""
    labels, scores, sites = [], [], []
    for site, hits, alarms in (("a", 0.8, 0.1), ("b", 0.5, 0.3)):
        for label, rate in ((1, hits), (0, alarms)):
            labels += [label] * 100
            scores += [0.7] * round(100 * rate) + [0.2] * (100 - round(100 * rate))
            sites += [site] * 100
    return make_predictions(np.array(labels), np.array(scores), groups={"site": sites})


def test_the_gap_is_the_larger_of_both_rates_differences(unequal):
    found = measure_equalised_odds(unequal, ["site"], at(0.5), FEW)
    assert found.true_positive_rates["site=a"].value == 0.8
    assert found.false_positive_rates["site=b"].value == 0.3
    assert found.gap.value == pytest.approx(0.3)
    assert found.p < 0.01
    assert 0.1 < found.gap.low < 0.3 < found.gap.high < 0.5
    assert (found.label, found.threshold, found.decided_by) == ("b", 0.5, "true-positive")
    assert found.title == "site"


def test_the_rate_that_differs_most_is_named(make_predictions):
    labels, calls = np.tile([0, 1], 60), np.tile([0, 1, 1, 1], 30)
    rows = make_predictions(labels, 0.1 + 0.8 * calls, groups={"site": ["a", "a", "b", "b"] * 30})
    found = measure_equalised_odds(rows, ["site"], at(0.5), FEW)
    assert found.decided_by == "false-positive"
    assert found.gap.value == 1


def test_the_threshold_is_that_of_the_points(unequal):
    found = measure_equalised_odds(unequal, ["site"], at(0.7), FEW)
    assert found.true_positive_rates["site=a"].value == 0.8  # a score that equals it is called
    above = measure_equalised_odds(unequal, ["site"], at(0.71), FEW)
    assert above.true_positive_rates["site=a"].value == 0
    assert above.gap.reason == "no interval: every resample gives the same"


def test_rates_are_those_of_counting(make_predictions):
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 300), np.round(rng.uniform(size=300), 2)
    site = np.array(["a", "b", "c"])[rng.integers(0, 3, 300)]
    rows = make_predictions(labels, scores, groups={"site": site})
    found = measure_equalised_odds(rows, ["site"], at(0.4), FEW)
    for name in "abc":
        for side, rates in ((1, found.true_positive_rates), (0, found.false_positive_rates)):
            chosen = (site == name) & (labels == side)
            assert rates[f"site={name}"].value == pytest.approx((scores[chosen] >= 0.4).mean())


def test_points_come_from_validation(make_predictions):
    labels = np.arange(300) % 2
    splits = ["validation"] * 60 + ["test"] * 240
    rows = make_predictions(labels, 0.1 + 0.2 * labels, groups={"site": ["a", "a", "b"] * 100}, splits=splits)
    points = choose_thresholds(rows.of_split("validation"), "youden")
    found = measure_equalised_odds(rows.of_split("test"), ["site"], points, FEW)
    assert found.threshold == pytest.approx(0.3)
    assert found.rule == "youden"
    assert found.gap.value == 0


def test_a_group_without_positives_has_one_rate_and_no_part_in_the_gap(make_predictions):
    labels = np.r_[np.tile([0, 1], 50), np.zeros(30)]
    groups = {"site": ["a", "a", "b", "b"] * 25 + ["c"] * 30}
    found = measure_equalised_odds(
        make_predictions(labels, np.full(130, 0.6), groups=groups), ["site"], at(0.5), FEW
    )
    assert math.isnan(found.true_positive_rates["site=c"].value)
    assert found.true_positive_rates["site=c"].reason == "no positive row"
    assert found.false_positive_rates["site=c"].value == 1
    assert found.describe()["not_known"] is None
    assert found.gap.value == 0


def test_one_of_several_labels_is_asked_for(make_predictions):
    labels = np.tile([[0.0, 1.0], [1.0, np.nan], [1.0, 1.0], [0.0, 0.0]], (25, 1))
    scores = np.tile([0.2, 0.9], (100, 1))
    rows = make_predictions(labels, scores, exclusive=False, groups={"site": ["a"] * 48 + ["b"] * 52})
    with pytest.raises(ConfigError, match="no label of 2"):
        measure_equalised_odds(rows, ["site"], at(0.5, "a", "b"), FEW)
    with pytest.raises(ConfigError, match="no label 'c'"):
        measure_equalised_odds(rows, ["site"], at(0.5, "a", "b"), FEW, label="c")
    found = measure_equalised_odds(rows, ["site"], at(0.5, "a", "b"), FEW, label="b")
    assert found.true_positive_rates["site=a"].counts.n == 36  # the rows annotated for b
    assert json.dumps(found.describe(), allow_nan=False)


def test_points_of_other_classes_are_refused(unequal):
    with pytest.raises(DataError, match="thresholds for malignant"):
        measure_equalised_odds(unequal, ["site"], at(0.5, "malignant"), FEW)
    with pytest.raises(ConfigError, match="'a' is the negative class"):
        measure_equalised_odds(unequal, ["site"], at(0.5), FEW, label="a")


def test_the_calibration_gap_is_in_the_large(make_predictions):
    rng = np.random.default_rng(1)
    risk = rng.uniform(0.1, 0.9, 2000)
    labels = (rng.uniform(size=2000) < risk).astype(float)
    site = np.array(["a", "b"])[np.arange(2000) % 2]
    said = np.where(site == "a", risk, np.clip(risk + 0.1, 0, 1))
    found = measure_calibration_gap(make_predictions(labels, said, groups={"site": site}), ["site"], FEW)
    assert found.groups["site=a"].value == pytest.approx(0, abs=0.03)
    assert found.groups["site=b"].value == pytest.approx(0.1, abs=0.03)
    assert found.gap.low < 0.1 < found.gap.high
    assert found.worst == "site=b"
    assert found.p < 0.01


def test_a_small_calibrated_group_is_not_called_worse(make_predictions):
    rng = np.random.default_rng(2)
    significant = 0
    for _ in range(40):
        risk = rng.uniform(0.1, 0.9, 370)
        labels = (rng.uniform(size=370) < risk).astype(float)
        rows = make_predictions(labels, risk, groups={"site": ["large"] * 300 + ["small"] * 70})
        significant += measure_calibration_gap(rows, ["site"], FEW).p < 0.05
    assert significant <= 7


@pytest.mark.parametrize("positives", [1, 3, 8])
def test_equal_rates_are_not_called_different_for_want_of_positives(make_predictions, positives):
    labels = np.r_[np.ones(positives), np.zeros(40), np.ones(150), np.zeros(150)]
    groups = {"site": ["few"] * (positives + 40) + ["many"] * 300}
    for seed in range(12):
        called = np.random.default_rng([seed, positives]).uniform(size=len(labels)) < 0.2 + 0.6 * labels
        rows = make_predictions(labels, 0.1 + 0.8 * called, groups=groups)
        found = measure_equalised_odds(rows, ["site"], at(0.5), FEW)
        assert not found.p <= 0.05
    reason = found.true_positive_rates["site=few"].reason
    assert reason.endswith(
        f"no part in the gap: {positives} image{'s' * (positives > 1)} of 'b', fewer than 20"
    )
    assert found.false_positive_rates["site=few"].reason is None
    assert (found.decided_by, found.gap.counts.n) == (None, 300)


def test_calibration_in_the_large_asks_for_positives_too(make_predictions):
    labels = np.r_[np.ones(2), np.zeros(58), np.tile([0, 1], 100)]
    rows = make_predictions(labels, np.full(260, 0.4), groups={"site": ["few"] * 60 + ["many"] * 200})
    found = measure_calibration_gap(rows, ["site"], FEW)
    assert found.groups["site=few"].reason == "no part in the gap: 2 images of 'b', fewer than 20"
    assert (found.worst, math.isnan(found.p)) == (None, True)
