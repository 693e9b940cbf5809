from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.metrics.discrimination import auroc
from medzoo.evaluation.uncertainty.bootstrap import bootstrap
from medzoo.evaluation.uncertainty.delong import delong_interval, delong_test, find_components


def rescale(rows, power: float):
    """Raise the scores to a power, which keeps their order."""
    last = rows.scores[:, 1] ** power
    return replace(rows, scores=np.stack([1 - last, last], axis=1))


def test_the_area_is_the_auroc_and_the_interval_holds_it(noisy):
    low, high = delong_interval(noisy)
    assert find_components(noisy).area == pytest.approx(auroc(noisy), abs=1e-12)
    assert low < auroc(noisy) < high
    wide = delong_interval(noisy, level=0.99)
    assert wide.low < low < high < wide.high


def test_it_is_near_the_bootstrap_on_many_rows(make_predictions):
    generator = np.random.default_rng(2)
    labels = np.arange(800) % 2
    rows = make_predictions(labels, np.clip(0.2 * labels + 0.8 * generator.random(800), 0, 1))
    np.testing.assert_allclose(
        list(delong_interval(rows)), list(bootstrap(auroc, rows, replicates=4000)), atol=0.004
    )


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 1), min_size=1, max_size=14),
    scores=st.lists(st.integers(0, 5), min_size=14, max_size=14),
)
def test_no_interval_leaves_0_to_1_and_each_refusal_has_a_reason(make_predictions, labels, scores):
    rows = make_predictions(labels, np.array(scores[: len(labels)]) / 5)
    interval = delong_interval(rows)
    assert math.isnan(interval.low) == (interval.reason is not None)
    assert interval.reason or 0 < interval.low < interval.high < 1


@pytest.mark.parametrize("power", [0.5, 3.0])
def test_only_the_order_of_scores_counts_and_swapped_labels_mirror(make_predictions, noisy, power):
    interval = delong_interval(noisy)
    np.testing.assert_allclose(list(delong_interval(rescale(noisy, power))), list(interval), atol=1e-12)
    mirrored = delong_interval(make_predictions(1 - noisy.labels[:, 1], noisy.scores[:, 1]))
    np.testing.assert_allclose([1 - mirrored.high, 1 - mirrored.low], list(interval), atol=1e-12)


@pytest.mark.parametrize(
    ("labels", "scores", "patients", "reason"),
    [
        ([0, 0, 0], [0.1, 0.2, 0.3], None, "no positive row"),
        ([1, 1], [0.1, 0.2], None, "no negative row"),
        ([1, 0, 0], [0.1, 0.2, 0.05], None, "a single positive row"),
        ([0, 1, 1], [0.1, 0.2, 0.05], None, "a single negative row"),
        ([1, 1, 0, 0], [0.1, 0.3, 0.2, 0.4], ["p", "p", "q", "r"], "a single patient with positive rows"),
        ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], None, "every positive scores above every negative"),
        ([1, 1, 0, 0], [0.1, 0.2, 0.3, 0.4], None, "every positive scores below every negative"),
        ([0, 0, 1, 1], [0.5] * 4, None, "no row moves the AUROC"),
    ],
)
def test_what_has_no_variance_is_refused_with_the_reason(make_predictions, labels, scores, patients, reason):
    interval = delong_interval(make_predictions(labels, scores, patients=patients))
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert interval.reason == f"no interval: {reason}"


def test_copies_of_a_patient_s_rows_do_not_narrow_the_clustered_interval(make_predictions, noisy):
    copies = np.repeat(np.arange(60), 5)
    rows = make_predictions(noisy.labels[copies], noisy.scores[copies], patients=copies.astype(str).tolist())
    np.testing.assert_allclose(list(delong_interval(rows)), list(delong_interval(noisy)), atol=1e-12)
    narrow = delong_interval(rows, clustered=False)
    wide = delong_interval(rows)
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(math.sqrt(5), rel=0.1)


def test_patients_with_both_classes_are_near_the_clustered_bootstrap(make_predictions):
    generator = np.random.default_rng(4)
    patients = np.repeat(np.arange(300), 4)
    labels = np.arange(1200) % 2
    scores = 0.25 * labels + 0.45 * generator.random(300)[patients] + 0.3 * generator.random(1200)
    rows = make_predictions(labels, scores, patients=patients.astype(str).tolist())
    found, drawn = delong_interval(rows), bootstrap(auroc, rows, replicates=4000)
    assert found.high - found.low == pytest.approx(drawn.high - drawn.low, rel=0.06)
    # What a patient adds to both classes alike does not move the AUROC: rows drawn alone would be too wide here.
    alone = delong_interval(rows, clustered=False)
    assert found.high - found.low < 0.9 * (alone.high - alone.low)


def test_rows_without_a_label_are_left_out(make_predictions, noisy):
    labels = np.vstack([noisy.labels, np.full((30, 2), np.nan)])
    rows = make_predictions(labels, np.vstack([noisy.scores, np.full((30, 2), 0.5)]))
    assert delong_interval(rows) == delong_interval(noisy)


def test_a_column_must_be_chosen_among_several(make_predictions):
    labels = np.eye(3)[np.arange(30) % 3]
    scores = np.random.default_rng(0).random((30, 3))
    rows = make_predictions(labels, scores / scores.sum(axis=1, keepdims=True))
    with pytest.raises(ConfigError, match="0: a, 1: b, 2: c"):
        delong_interval(rows)
    with pytest.raises(ConfigError, match="no column 3"):
        delong_interval(rows, column=3)
    assert 0 < delong_interval(rows, column=2).low < 1
    with pytest.raises(ConfigError, match="level"):
        delong_interval(rows, column=2, level=1.0)


def test_two_models_that_order_rows_alike_have_p_1_and_no_interval(noisy):
    found = delong_test(noisy, rescale(noisy, 2.0))
    assert (found.value, found.p) == (0.0, 1.0)
    assert math.isnan(found.low)
    assert found.reason


def test_opposite_perfect_models_have_no_p_value(make_predictions):
    rows = make_predictions([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    found = delong_test(rows, make_predictions([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1]))
    assert found.value == 1
    assert math.isnan(found.p)
    assert found.reason == "no interval: the difference has no variance"


def test_swapping_the_models_turns_the_difference_round(make_predictions, noisy):
    other = make_predictions(noisy.labels, np.roll(noisy.scores, 6, axis=0))
    one, two = delong_test(noisy, other), delong_test(other, noisy)
    assert one.value == pytest.approx(auroc(noisy) - auroc(other))
    np.testing.assert_allclose(
        [one.value, one.low, one.high, one.p], [-two.value, -two.high, -two.low, two.p]
    )
    assert one.counts.positives == 30


def test_a_refused_test_says_why(make_predictions):
    rows = make_predictions([0, 0, 1], [0.1, 0.2, 0.8])
    found = delong_test(rows, rows)
    assert math.isnan(found.p)
    assert found.reason == "no interval: a single positive row"


def test_other_rows_are_refused(make_predictions, noisy):
    with pytest.raises(DataError, match="60 and 40"):
        delong_test(noisy, noisy.take(np.arange(40)))
    with pytest.raises(DataError, match="'0' of test and '59' of test"):
        delong_test(noisy, noisy.take(np.arange(60)[::-1]))
    with pytest.raises(DataError, match="labels of '0'"):
        delong_test(noisy, make_predictions(1 - noisy.labels[:, 1], noisy.scores[:, 1]))
