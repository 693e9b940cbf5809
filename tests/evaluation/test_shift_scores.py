"""Metrics in and out of a distribution, and under corruptions: values, intervals, and what is undefined."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.calibration.chance import NO_INTERVAL
from medzoo.evaluation.metrics.registry import find_metric
from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.shift.comparing import compare_shift
from medzoo.evaluation.shift.robustness import measure_robustness
from medzoo.evaluation.uncertainty.bootstrap import bootstrap
from medzoo.evaluation.uncertainty.resampling import Resampling

QUICK = Resampling(replicates=300, seed=5)


def draw(gap: float, count: int = 200, seed: int = 0, **options: Any) -> Predictions:
    """Draw predictions of two classes whose scores lie a gap apart."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % 2
    score = 1 / (1 + np.exp(-rng.normal((truth - 0.5) * gap, 1)))
    return Predictions(
        ids=np.array([str(number) for number in range(count)]),
        labels=np.eye(2)[truth],
        scores=np.stack([1 - score, score], axis=1),
        classes=("no", "yes"),
        splits=np.array(["test"] * count),
        **options,
    )


def test_both_sides_and_their_difference_have_intervals() -> None:
    inside, outside = draw(2), draw(0.5, 300, seed=1)
    found = compare_shift(inside, outside, ["auroc", "brier"], QUICK)
    for name, one in found.items():
        measure = find_metric(name).measure
        assert one.inside.value == measure(inside)
        assert one.outside.value == measure(outside)
        assert one.difference.value == pytest.approx(one.outside.value - one.inside.value)
        for score in (one.inside, one.outside, one.difference):
            assert score.low < score.value < score.high
        # The run's own interval is the one that `medzoo evaluate` prints.
        low, high = bootstrap(measure, inside, replicates=300, seed=5)
        assert (one.inside.low, one.inside.high) == (low, high)
    one = found["auroc"]
    widths = [score.high - score.low for score in (one.inside, one.outside, one.difference)]
    assert widths[2] == pytest.approx(math.hypot(*widths[:2]), rel=0.15)
    assert one.difference.high < 0
    described = one.describe()
    assert described["out_of_distribution"]["n"] == 300
    assert described["difference"]["positives"] == 250


def test_the_two_are_drawn_independently() -> None:
    """The same table on both sides: were the draws the same, every difference would be 0."""
    rows = draw(1)
    difference = compare_shift(rows, rows, ["accuracy"], QUICK)["accuracy"].difference
    assert difference.value == 0
    assert difference.low < -0.03 < 0.03 < difference.high


def test_patients_are_drawn_whole_on_each_side() -> None:
    patients = np.repeat(np.arange(20), 10).astype(str)
    score = np.repeat(np.random.default_rng(0).uniform(0, 1, 20), 10)
    scores = {"scores": np.stack([1 - score, score], axis=1)}
    rows = draw(0)
    whole, single = (
        compare_shift(
            *(Predictions(**(vars(rows) | scores | {"patients": some})) for _ in "ab"), ["brier"], QUICK
        )
        for some in (patients, None)
    )
    widths = [found["brier"].difference.high - found["brier"].difference.low for found in (whole, single)]
    assert whole["brier"].difference.counts.patients == 40
    assert widths[0] != widths[1]


def test_undefined_sides_say_so() -> None:
    inside = draw(1)
    labels = np.tile([1.0, 0.0], (200, 1))
    one_class = Predictions(**(vars(draw(1)) | {"labels": labels}))
    unknown = Predictions(**(vars(draw(1)) | {"labels": np.full((200, 2), np.nan)}))
    for outside, reason in ((one_class, "no row of class 'yes'"), (unknown, "no annotated rows")):
        found = compare_shift(inside, outside, ["auroc"], QUICK)["auroc"]
        assert not math.isnan(found.inside.low)
        assert found.outside.reason == reason
        assert found.difference.reason == f"out of the distribution: {reason}"
        assert math.isnan(found.difference.value)
        assert found.describe()["difference"]["value"] is None


def test_every_kind_of_interval_is_drawn() -> None:
    inside, outside = draw(2), draw(0.5, 300, seed=1)
    kind = Resampling(replicates=300, seed=5, kind="bca")
    one = compare_shift(inside, outside, ["auroc"], kind)["auroc"]
    assert (one.inside.low, one.inside.high) == tuple(
        bootstrap(find_metric("auroc").measure, inside, replicates=300, seed=5, kind="bca")
    )
    assert one.difference.low < one.difference.value < one.difference.high
    curve = measure_robustness(inside, {"noise": [draw(1.5)]}, "auroc", kind).curves["noise"]
    assert curve.change.low < curve.change.value < curve.change.high


def test_one_image_gives_a_value_and_no_interval() -> None:
    one = compare_shift(draw(1), draw(1).take(np.array([0])), ["accuracy"], QUICK)["accuracy"]
    assert one.outside.value in (0.0, 1.0)
    assert math.isnan(one.outside.low)
    assert one.outside.reason == "no interval from a single row"
    assert one.difference.value == one.outside.value - one.inside.value
    assert math.isnan(one.difference.low)  # else it would be the interval of the other side
    assert one.difference.reason == "out of the distribution: no interval from a single row"
    parted = compare_shift(draw(40), draw(1), ["auroc"], QUICK)["auroc"]
    assert parted.difference.reason == "in the distribution: no interval: every resample gives 1.000"


def test_other_classes_and_metrics_are_refused() -> None:
    rows = draw(1)
    other = Predictions(**(vars(rows) | {"classes": ("no", "maybe")}))
    with pytest.raises(DataError, match="no, maybe beside those of no, yes"):
        compare_shift(rows, other, ["auroc"], QUICK)
    with pytest.raises(ConfigError, match="no metric 'aurok'"):
        compare_shift(rows, rows, ["aurok"], QUICK)


def test_a_curve_holds_every_strength_the_mean_and_the_change() -> None:
    clean = draw(3)
    steps = {"noise": [draw(gap) for gap in (2, 1)], "blur": [draw(2.5)]}
    found = measure_robustness(clean, steps, "auroc", QUICK)
    auroc = find_metric("auroc").measure
    noise = found.curves["noise"]
    assert [score.value for score in noise.scores] == [auroc(rows) for rows in (clean, *steps["noise"])]
    assert noise.mean.value == pytest.approx(np.mean([auroc(rows) for rows in steps["noise"]]))
    assert noise.change.value == pytest.approx(noise.mean.value - auroc(clean))
    # Every corruption weighs the same, however many strengths it has.
    assert found.mean.value == pytest.approx((noise.mean.value + auroc(steps["blur"][0])) / 2)
    for score in (*noise.scores, noise.mean, noise.change, found.mean, found.change):
        assert score.low < score.value < score.high
    assert noise.change.high < 0
    described = found.describe()
    assert list(described["corruptions"]) == ["noise", "blur"]
    assert len(described["corruptions"]["noise"]["strengths"]) == 3


def test_changes_are_paired() -> None:
    """The same images throughout: what every draw has in common does not widen the change."""
    clean = draw(1)
    shaken = clean.scores[:, 1] + np.random.default_rng(1).normal(0, 0.01, 200)
    near = Predictions(**(vars(clean) | {"scores": np.stack([1 - shaken, shaken], axis=1).clip(0, 1)}))
    curve = measure_robustness(clean, {"noise": [near]}, "brier", QUICK).curves["noise"]
    assert curve.change.high - curve.change.low < 0.2 * (curve.mean.high - curve.mean.low)


def test_undefined_curves_and_other_images_are_told() -> None:
    clean = draw(1)
    alone = Predictions(**(vars(clean) | {"labels": np.tile([1.0, 0.0], (200, 1))}))
    found = measure_robustness(alone, {"noise": [alone]}, "auroc", QUICK)
    assert found.mean.reason == found.curves["noise"].scores[0].reason == "no row of class 'yes'"
    assert math.isnan(found.change.value)
    # Two rows of one class change places: the ids alone tell.
    with pytest.raises(DataError, match="predictions of noise 1 are not of the same images"):
        measure_robustness(
            clean, {"noise": [clean.take(np.array([2, 1, 0, *range(3, 200)]))]}, "auroc", QUICK
        )
    with pytest.raises(DataError, match="no strength of 'noise'"):
        measure_robustness(clean, {"noise": []}, "auroc", QUICK)
    with pytest.raises(DataError, match="no corruptions"):
        measure_robustness(clean, {}, "auroc", QUICK)


def test_errors_over_bins_have_no_interval_under_corruption() -> None:
    clean = draw(2)
    scores = clean.scores[::-1]
    found = measure_robustness(
        clean, {"noise": [Predictions(**(vars(clean) | {"scores": scores}))]}, "ece", QUICK
    )
    curve = found.curves["noise"]
    assert curve.change.value == pytest.approx(curve.mean.value - curve.scores[0].value)
    for score in (*curve.scores, curve.mean, curve.change, found.mean, found.change):
        assert not math.isnan(score.value)
        assert math.isnan(score.low)
        assert math.isnan(score.high)
        assert score.reason == NO_INTERVAL
    shifted = compare_shift(clean, draw(0.5, 300, seed=1), ["ece"], QUICK)["ece"]
    assert shifted.inside.reason == shifted.outside.reason == NO_INTERVAL
