from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medzoo.errors import ConfigError
from medzoo.evaluation.bootstrap import bootstrap, identify_patients
from medzoo.evaluation.discrimination import METRICS, accuracy, auroc
from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.weighted import prepare_weighted


@st.composite
def resamples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, bool, np.ndarray]:
    exclusive = draw(st.booleans())
    count, width = draw(st.integers(1, 12)), draw(st.integers(2, 4))
    # Tenths, so that scores are often tied.
    scores = draw(arrays(int, (count, width), elements=st.integers(0, 10))) / 10
    if exclusive:
        codes = draw(arrays(int, count, elements=st.integers(0, width)))
        labels = np.vstack([np.eye(width), np.full(width, np.nan)])[codes]
    else:
        labels = draw(arrays(np.float64, (count, width), elements=st.sampled_from([0.0, 1.0, np.nan])))
    counts = draw(arrays(np.int64, count, elements=st.integers(0, 3)))
    return labels, scores, exclusive, counts


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=150, deadline=None)
@given(resample=resamples())
def test_counting_equals_scikit_learn_on_the_repeated_rows(make_predictions, name, resample):
    labels, scores, exclusive, counts = resample
    predictions = make_predictions(labels, scores, exclusive=exclusive)
    repeated = predictions.take(np.repeat(np.arange(len(counts)), counts))
    expected = METRICS[name](repeated)
    counted = prepare_weighted(METRICS[name], predictions)(counts)
    assert counted == pytest.approx(expected, abs=1e-12, nan_ok=True)


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


@pytest.mark.parametrize("options", [{"replicates": 0}, {"seed": -1}, {"level": 1.0}, {"level": 0.0}])
def test_refuses_options_without_meaning(noisy, options):
    with pytest.raises(ConfigError):
        bootstrap(auroc, noisy, **options)
