from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.calibration.chance import NO_INTERVAL
from medzoo.evaluation.calibration.metrics import ece, mce
from medzoo.evaluation.metrics.discrimination import accuracy, auroc, balanced_accuracy
from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.uncertainty import draws
from medzoo.evaluation.uncertainty.bootstrap import Shift, Spread, bootstrap, bootstrap_all, identify_patients
from medzoo.evaluation.uncertainty.by_class import OfClass
from medzoo.evaluation.uncertainty.counted import prepare_counted
from medzoo.evaluation.uncertainty.draws import Units, draw_blocks, find_units, leave_out
from medzoo.evaluation.uncertainty.resampling import Resampling

METRICS = {"auroc": auroc, "accuracy": accuracy, "balanced_accuracy": balanced_accuracy}


@pytest.mark.parametrize("patients", [None, [str(row // 3) for row in range(60)]])
@pytest.mark.parametrize("name", METRICS)
def test_any_function_of_predictions_gets_the_same_draws(make_predictions, noisy, name, patients):
    rows = make_predictions(noisy.labels, noisy.scores, patients=patients)

    def renamed(predictions: Predictions) -> float:
        return METRICS[name](predictions)

    fast = bootstrap(METRICS[name], rows, replicates=60, seed=3)
    slow = bootstrap(renamed, rows, replicates=60, seed=3)
    np.testing.assert_allclose(list(fast), list(slow), atol=1e-12)


def test_the_interval_of_an_accuracy_agrees_with_the_binomial(make_predictions):
    # 400 rows of which 80 % are right, 200 per class: the standard error is sqrt(.8 × .2 / 400) = .02.
    labels = np.arange(400) % 2
    right = np.arange(400) // 2 % 5 != 0
    low, high = bootstrap(
        accuracy, make_predictions(labels, np.where(right, labels, 1 - labels)), replicates=4000
    )
    # The quantiles of 4000 draws stray by about .001, and the accuracy moves in steps of .0025.
    assert low == pytest.approx(0.8 - 1.96 * 0.02, abs=0.004)
    assert high == pytest.approx(0.8 + 1.96 * 0.02, abs=0.004)


def test_stratified_draws_keep_the_classes(make_predictions):
    # One positive of 40: unstratified, a third of the resamples would have none and AUROC no value.
    rows = make_predictions([1] + [0] * 39, np.linspace(0, 1, 40))
    seen = []

    def count_positives(predictions: Predictions) -> float:
        seen.append(int(predictions.labels[:, 1].sum()))
        return 0.0

    bootstrap(count_positives, rows, replicates=50)
    assert set(seen) == {1}


def test_copies_of_one_patient_s_rows_do_not_narrow_the_interval(make_predictions, noisy):
    copies = np.repeat(np.arange(60), 8)
    labels, scores = noisy.labels[copies], noisy.scores[copies]
    rows = bootstrap(auroc, make_predictions(labels, scores))
    clustered = bootstrap(auroc, make_predictions(labels, scores, patients=copies.astype(str).tolist()))
    alone = bootstrap(auroc, noisy)
    # Eight copies look like eight times the evidence: a width sqrt(8) times too small.
    ratio = (clustered.high - clustered.low) / (rows.high - rows.low)
    assert ratio == pytest.approx(math.sqrt(8), rel=0.25)
    assert clustered.high - clustered.low == pytest.approx(alone.high - alone.low, rel=0.25)


def test_the_same_seed_gives_the_same_interval_and_another_one_another(noisy):
    assert bootstrap(auroc, noisy, seed=1) == bootstrap(auroc, noisy, seed=1)
    assert bootstrap(auroc, noisy, seed=1) != bootstrap(auroc, noisy, seed=2)


def test_rows_without_annotation_are_not_drawn(make_predictions, noisy):
    labels = np.vstack([noisy.labels, np.full((30, 2), np.nan)])
    scores = np.vstack([noisy.scores, np.full((30, 2), 0.5)])
    assert bootstrap(auroc, make_predictions(labels, scores)) == bootstrap(auroc, noisy)


def test_a_higher_level_is_wider(noisy):
    narrow, wide = bootstrap(auroc, noisy, level=0.5), bootstrap(auroc, noisy, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("defined", "reason"), [(5, None), (4, "no interval: undefined in 6 of 10 resamples")]
)
def test_at_least_half_of_the_resamples_must_define_the_metric(noisy, defined, reason):
    calls = []

    def sometimes(predictions: Predictions) -> float:
        calls.append(predictions)
        return 1 / len(calls) if len(calls) <= defined else float("nan")

    interval = bootstrap(sometimes, noisy, replicates=10)
    assert interval.reason == reason
    assert math.isnan(interval.low) == math.isnan(interval.high) == (reason is not None)


def test_undefined_resamples_are_left_out(make_predictions):
    # Three patients with one positive: AUROC is undefined in some resamples, and 0, .5 or 1 in the others.
    rows = make_predictions([0, 0, 1], [0, 0.9, 0.5], patients=["p", "q", "r"])
    assert list(bootstrap(auroc, rows)) == [0, 1]


def test_the_same_value_from_every_resample_is_no_interval(make_predictions):
    interval = bootstrap(auroc, make_predictions([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]))
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert interval.reason == "no interval: every resample gives 1.000"


@pytest.mark.parametrize(
    ("count", "patients", "reason"),
    [
        (1, None, "no interval from a single row"),
        (4, ["p"] * 4, "no interval from a single patient"),
        (0, None, "no interval from no row"),
    ],
)
def test_a_single_unit_has_no_interval(make_predictions, count, patients, reason):
    labels = np.eye(2)[np.arange(count) % 2].reshape(count, 2)
    interval = bootstrap(accuracy, make_predictions(labels, labels, patients=patients))
    assert math.isnan(interval.low)
    assert interval.reason == reason


def test_rows_without_patient_are_patients_of_their_own(make_predictions):
    rows = make_predictions([0, 1, 0, 1, 0], [0.5] * 5, patients=["z", "", "a", "", "z"])
    numbers = identify_patients(rows)
    assert numbers[0] == numbers[4]
    assert len(set(numbers.tolist())) == 4
    assert sorted(set(numbers.tolist())) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "options", [{"replicates": 0}, {"seed": -1}, {"level": 1.0}, {"level": 0.0}, {"kind": "normal"}]
)
def test_refuses_options_without_meaning(noisy, options):
    with pytest.raises(ConfigError):
        bootstrap(auroc, noisy, **options)


def test_several_metrics_share_one_set_of_draws(make_predictions):
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, (50, 3)).astype(float)
    labels[:5, 1] = np.nan
    rows = make_predictions(labels, generator.random((50, 3)), exclusive=False)
    metrics = {"macro": auroc, **{str(index): OfClass(auroc, index) for index in range(3)}}
    together = bootstrap_all(metrics, rows, Resampling(replicates=50))
    assert together == {name: bootstrap(metric, rows, replicates=50) for name, metric in metrics.items()}


def test_a_label_of_one_class_leaves_a_resample_s_macro_average_undefined(make_predictions):
    # Where one of the two patients is drawn twice, label b is always 0 or always 1.
    labels = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    rows = make_predictions(labels, np.full((4, 2), 0.5), exclusive=False, patients=["p", "p", "q", "q"])
    counts = np.array([[2, 1], [0, 1]])
    units = find_units(rows).of_rows
    np.testing.assert_array_equal(prepare_counted(auroc, rows, units)(counts), [np.nan, 0.5])
    np.testing.assert_array_equal(prepare_counted(OfClass(auroc, 0), rows, units)(counts), [0.5, 0.5])


@pytest.mark.parametrize("patients", [None, [str(row // 2) for row in range(60)]])
def test_blocks_do_not_change_the_draws(noisy, make_predictions, patients, monkeypatch):
    rows = make_predictions(noisy.labels, noisy.scores, patients=patients)
    units = find_units(rows)
    whole = np.hstack(list(draw_blocks(units, 7, seed=4)))
    monkeypatch.setattr(draws, "BLOCK", 180)
    blocks = list(draw_blocks(units, 7, seed=4))
    assert [block.shape[1] for block in blocks] == [3, 3, 1]
    np.testing.assert_array_equal(np.hstack(blocks), whole)
    assert (whole.sum(axis=0) == units.count).all()


def test_counts_too_large_for_float32_are_float64(noisy, monkeypatch):
    assert next(draw_blocks(find_units(noisy), 2, seed=0)).dtype == np.float32
    expected = bootstrap(auroc, noisy, replicates=50, kind="bca")
    monkeypatch.setattr(draws, "_SMALL", 59)
    assert next(draw_blocks(find_units(noisy), 2, seed=0)).dtype == np.float64
    assert bootstrap(auroc, noisy, replicates=50, kind="bca") == expected


def test_an_acceleration_beyond_its_formula_takes_the_extreme_resamples():
    assert Shift(0.0, 0.0).find_shares(0.9).round(3).tolist() == [0.05, 0.95]
    # 1 − a (b + z) is 0 at z = 2: from there on the formula would fall back to the middle.
    assert Shift(0.0, 0.5).find_shares(0.999)[1] == 1.0
    assert Shift(0.0, -0.5).find_shares(0.999)[0] == 0.0
    for shift in (Shift(0.1, 0.05), Shift(-0.3, -0.02)):
        low, high = shift.find_shares(0.9)
        assert shift.find_level(float(low)) == pytest.approx(0.05)
        assert shift.find_level(float(high)) == pytest.approx(0.95)


def test_rows_can_be_drawn_although_patients_are_known(make_predictions, noisy):
    patients = [str(row // 6) for row in range(60)]
    rows = make_predictions(noisy.labels, noisy.scores, patients=patients)
    assert bootstrap(auroc, rows, clustered=False) == bootstrap(auroc, noisy)
    assert bootstrap(auroc, rows, clustered=True) == bootstrap(auroc, rows)
    with pytest.raises(DataError, match="no patients"):
        bootstrap(auroc, noisy, clustered=True)


def test_a_skewed_value_moves_the_ends_of_a_bca_interval(make_predictions):
    # 47 of 50 right: the percentile interval is nearly symmetric, the accuracy's distribution is not.
    labels = np.arange(50) % 2
    said = np.where(np.arange(50) < 3, 1 - labels, labels)
    rows = make_predictions(labels, said, patients=[str(row) for row in range(50)])
    plain = bootstrap(accuracy, rows, replicates=8000)
    bca = bootstrap(accuracy, rows, replicates=8000, kind="bca")
    assert bca.low < plain.low
    assert bca.high <= plain.high
    # Clopper and Pearson's exact interval, 0.835 to 0.987, from another way altogether.
    assert bca.low == pytest.approx(0.835, abs=0.02)


def test_every_unit_is_left_out_once_alone_or_in_groups(monkeypatch):
    units = Units(
        np.arange(30), (np.arange(0, 30, 3), np.setdiff1d(np.arange(30), np.arange(0, 30, 3))), "row"
    )
    alone = np.hstack([block.counts for block in leave_out(units)])
    np.testing.assert_array_equal(alone.sum(axis=0), 29)
    np.testing.assert_array_equal(alone.sum(axis=1), 29)
    monkeypatch.setattr(draws, "GROUPS", 6)
    (block,) = leave_out(units)
    assert block.counts.shape == (30, 6)
    np.testing.assert_array_equal(block.counts.sum(axis=1), 5)
    np.testing.assert_allclose(block.shares, [0.5, 0.5, 0.75, 0.75, 0.75, 0.75])
    assert block.strata.tolist() == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("scores", "patients", "reason"),
    [
        (
            [0.1, 0.2, 0.3, 0.4, 0.25, 0.5],
            ["p", "p", "q", "r", "s", "s"],
            "undefined without one of the patients",
        ),
        ([0.1, 0.2, 0.3, 0.3, 0.5, 0.3], None, None),
    ],
)
def test_a_bca_interval_is_refused_with_the_reason(make_predictions, scores, patients, reason):
    interval = bootstrap(
        auroc, make_predictions([0, 0, 0, 0, 1, 1], scores, patients=patients), kind="bca", replicates=500
    )
    assert (interval.reason is None) == (reason is None)
    assert reason is None or interval.reason == f"no interval: {reason}"


def test_a_bca_interval_needs_resamples_on_both_sides(make_predictions):
    # No resample of 60 rows holds all of them, so that each has fewer distinct ones than the rows themselves.
    rows = make_predictions([0, 1] * 30, [0.5] * 60)

    def count_distinct(predictions: Predictions) -> float:
        return float(len(np.unique(predictions.ids)))

    assert (
        bootstrap(count_distinct, rows, kind="bca").reason
        == "no interval: every resample lies on one side of the value"
    )


@pytest.mark.parametrize("shift", [Shift(0.0, 0.0), Shift(0.4, 0.05), Shift(-0.6, -0.1), Shift(1.5, 0.2)])
def test_no_shift_takes_a_p_value_below_what_the_resamples_know(shift):
    for values in (np.linspace(0.1, 0.9, 300), -np.linspace(0.1, 0.9, 300)):
        assert Spread(values, shift).test_zero() >= 2 / 301


def test_an_error_over_bins_has_no_interval_and_says_so_once(noisy):
    metrics = {"plain": ece, "binned": partial(ece, bins=5), "class": OfClass(partial(mce, bins=5), 1)}
    for interval in bootstrap_all(metrics, noisy, Resampling(20)).values():
        assert np.isnan(list(interval)).all()
        assert interval.reason == NO_INTERVAL
        assert interval.reason.count("no interval") == 1
