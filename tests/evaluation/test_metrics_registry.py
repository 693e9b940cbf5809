"""The registry's contract: names, what is undefined and why, and what no metric may depend on."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medzoo.errors import ConfigError
from medzoo.evaluation.metrics.decisions import npv, precision, sensitivity, specificity
from medzoo.evaluation.metrics.needs import NEEDS
from medzoo.evaluation.metrics.ranking import partial_auroc, top
from medzoo.evaluation.metrics.registry import METRICS, explain_undefined, find_metric
from medzoo.evaluation.metrics.thresholds import DECISIONS

NAN = float("nan")
CORRELATIONS = {"kappa", "kappa_linear", "mcc"}
RANKINGS = [name for name, spec in METRICS.items() if spec.kind == "ranking"]
#: What the scores' own values, or the calls, have no part in.
LABEL_RANKINGS = [name for name in RANKINGS if name not in ("top", "auroc_micro")]


@st.composite
def tables(draw: st.DrawFn, exclusive: bool | None = None) -> tuple[np.ndarray, np.ndarray, bool]:
    """Draw labels and scores in tenths, with rows or entries that nobody annotated."""
    exclusive = draw(st.booleans()) if exclusive is None else exclusive
    count, width = draw(st.integers(1, 14)), draw(st.integers(2, 4))
    scores = draw(arrays(int, (count, width), elements=st.integers(0, 10))) / 10
    if exclusive:
        codes = draw(arrays(int, count, elements=st.integers(0, width)))
        return np.vstack([np.eye(width), np.full(width, NAN)])[codes], scores, True
    labels = draw(arrays(np.float64, (count, width), elements=st.sampled_from([0.0, 1.0, NAN])))
    return labels, scores, False


def test_each_row_says_what_its_kind_says():
    assert {name for name, spec in METRICS.items() if spec.kind == "decision"} == set(DECISIONS)
    assert set(METRICS) == set(NEEDS)
    assert len({spec.title for spec in METRICS.values()}) == len(METRICS)
    for name, spec in METRICS.items():
        assert (spec.name, spec.needs) == (name, NEEDS[name])
        assert spec.higher_is_better == (spec.kind != "probability")
        assert find_metric(name) is spec


def test_the_page_has_a_row_for_each_metric_in_order():
    page = Path(__file__).parents[2] / "docs" / "evaluation-metrics.md"
    text = page.read_text(encoding="utf-8").partition("## By name")[0]
    assert re.findall(r"^\| `(.+?)` \|", text, re.MULTILINE) == list(METRICS)


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=40, deadline=None)
@given(table=tables())
def test_a_metric_is_nan_exactly_where_a_reason_is_given(make_predictions, name, table):
    labels, scores, exclusive = table
    rows = make_predictions(labels, scores, exclusive=exclusive)
    assert math.isnan(METRICS[name].measure(rows)) == (explain_undefined(name, rows) is not None)


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=40, deadline=None)
@given(table=tables(), seed=st.integers(0, 99))
def test_the_order_of_rows_and_rows_without_annotation_change_nothing(make_predictions, name, table, seed):
    labels, scores, exclusive = table
    rows = make_predictions(labels, scores, exclusive=exclusive)
    value = METRICS[name].measure(rows)
    shuffled = rows.take(np.random.default_rng(seed).permutation(len(rows)))
    assert METRICS[name].measure(shuffled) == pytest.approx(value, abs=1e-12, nan_ok=True)
    more = make_predictions(
        np.vstack([labels, np.full((2, labels.shape[1]), NAN)]),
        np.vstack([scores, scores[:1], scores[:1]]),
        exclusive=exclusive,
    )
    assert METRICS[name].measure(more) == pytest.approx(value, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", [name for name in METRICS if name != "nll"])
@settings(max_examples=40, deadline=None)
@given(table=tables())
def test_values_stay_within_their_bounds(make_predictions, name, table):
    labels, scores, exclusive = table
    value = METRICS[name].measure(make_predictions(labels, scores, exclusive=exclusive))
    # Scores that do not sum to 1 are as far as a row's squares may go here: one per class.
    highest = labels.shape[1] if name == "brier" and exclusive else 1
    lowest = -1 if name in CORRELATIONS else 0
    assert math.isnan(value) or lowest - 1e-12 <= value <= highest + 1e-12


@pytest.mark.parametrize("name", LABEL_RANKINGS)
@settings(max_examples=40, deadline=None)
@given(table=tables(exclusive=False), power=st.sampled_from([0.25, 0.5, 2, 3]))
def test_only_the_order_of_a_label_s_scores_counts(make_predictions, name, table, power):
    labels, scores, _ = table
    before = make_predictions(labels, scores, exclusive=False)
    after = make_predictions(labels, scores**power, exclusive=False)
    value = METRICS[name].measure(before)
    assert METRICS[name].measure(after) == pytest.approx(value, abs=1e-12, nan_ok=True)


@settings(max_examples=80, deadline=None)
@given(table=tables(exclusive=False))
def test_swapping_the_sides_of_labels_mirrors(make_predictions, table):
    labels, scores, _ = table
    # A score of .5 counts as positive from both sides.
    assume(not (scores == 0.5).any())
    rows = make_predictions(labels, scores, exclusive=False)
    swapped = make_predictions(1 - labels, 1 - scores, exclusive=False)
    wrong = make_predictions(1 - labels, scores, exclusive=False)
    for name in ("auroc", "auroc_micro", "accuracy", "balanced_accuracy", "kappa", "mcc"):
        value = METRICS[name].measure(rows)
        assert METRICS[name].measure(swapped) == pytest.approx(value, abs=1e-12, nan_ok=True)
        opposite = {"kappa": None, "mcc": -value}.get(name, 1 - value)
        if opposite is not None:
            assert METRICS[name].measure(wrong) == pytest.approx(opposite, abs=1e-12, nan_ok=True)
    assert sensitivity(swapped) == pytest.approx(specificity(rows), abs=1e-12, nan_ok=True)
    assert npv(swapped) == pytest.approx(precision(rows), abs=1e-12, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(table=tables(exclusive=True))
def test_the_top_one_is_the_accuracy(make_predictions, table):
    labels, scores, _ = table
    rows = make_predictions(labels, scores)
    assert top(rows, 1) == pytest.approx(METRICS["accuracy"].measure(rows), abs=1e-12, nan_ok=True)


def test_tops_counted_by_hand(make_predictions):
    scores = [[0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25], [0.1, 0.2, 0.3, 0.4]]
    rows = make_predictions(np.eye(4)[[1, 2, 1]], scores)
    # The places of the true classes are second, third (after the equals before it), third.
    assert [top(rows, count) for count in (1, 2, 3)] == [0, pytest.approx(1 / 3), 1]


@pytest.mark.parametrize(
    ("name", "labels", "scores", "exclusive", "reason"),
    [
        ("sensitivity", [0, 0], [0.2, 0.9], True, "no row of class 'b'"),
        ("specificity", [1, 1], [0.2, 0.9], True, "no row but of class 'b'"),
        ("precision", [0, 1], [0.2, 0.4], True, "no row is called 'b'"),
        ("npv", [0, 1], [0.8, 0.9], True, "every row is called 'b'"),
        ("precision", np.eye(3), [[0.4, 0.3, 0.3]] * 3, True, "no row is called 'b', 'c'"),
        ("specificity", np.eye(3)[[2, 2]], np.eye(3)[[2, 0]], True, "no row but of class 'c'"),
        ("mcc", [1, 1], [0.2, 0.9], True, "no row but of class 'b'"),
        ("kappa_linear", [[1, 0], [1, 1]], np.eye(2), False, "no negative row of label 'a'"),
        ("sensitivity", [[1, 0], [1, 0]], np.eye(2), False, "no positive row of label 'b'"),
        ("specificity", [[1, 0], [1, 0]], np.eye(2), False, "no negative row of label 'a'"),
        ("auroc_micro", [[0, NAN], [0, 0]], np.eye(2), False, "no positive row of any label"),
        ("auroc_micro", [0, 0], [0.1, 0.2], True, "no row of class 'b'"),
        ("top@2", [[0, 1]], [[0.1, 0.2]], False, "independent labels have no highest class"),
        ("top@2", [0, 1], [0.1, 0.2], True, "the top 2 of 2 classes are always right"),
        ("sensitivity@specificity=.8", [0, 0], [0.1, 0.2], True, "no row of class 'b'"),
        ("nll", [[0, NAN], [1, NAN]], np.eye(2), False, "no annotated row of label 'b'"),
    ],
)
def test_reasons(make_predictions, name, labels, scores, exclusive, reason):
    rows = make_predictions(labels, scores, exclusive=exclusive)
    assert explain_undefined(name, rows) == reason
    assert math.isnan(find_metric(name).measure(rows))


def test_what_one_side_alone_defines_is_defined(make_predictions):
    ill = make_predictions([1, 1, 1], [0.2, 0.9, 0.8])
    assert sensitivity(ill) == pytest.approx(2 / 3)
    assert precision(ill) == 1
    assert npv(ill) == 0
    well = make_predictions([0, 0, 0], [0.2, 0.9, 0.8])
    assert specificity(well) == pytest.approx(1 / 3)
    assert precision(well) == 0


def test_a_constant_call_is_no_correlation_and_not_undefined(make_predictions):
    rows = make_predictions([0, 1, 1], [0.1, 0.2, 0.3])
    assert METRICS["mcc"].measure(rows) == 0
    assert METRICS["f1"].measure(rows) == 0


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("partial_auroc@.05", "Partial AUROC .05"),
        ("top@2", "Top 2"),
        ("sensitivity@specificity=.95", "Sensitivity at specificity .95"),
        ("specificity@sensitivity=1", "Specificity at sensitivity 1"),
        ("partial_auroc", "Partial AUROC .1"),
        ("top", "Top 3"),
    ],
)
def test_names_with_a_number(name, title):
    spec = find_metric(name)
    assert (spec.name, spec.title) == (name, title)


def test_the_bare_name_means_the_default(noisy):
    for bare, name in (
        ("partial_auroc", "partial_auroc@.1"),
        ("sensitivity@specificity", "sensitivity@specificity=.9"),
    ):
        assert find_metric(bare).measure(noisy) == find_metric(name).measure(noisy)
        assert find_metric(bare).needs == find_metric(name).needs
    assert find_metric("partial_auroc@.5").measure(noisy) != find_metric("partial_auroc").measure(noisy)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auroq", "'auroc'"),
        ("f1@.5", "'f1'"),
        ("top@", "a whole number from 1; try top@3"),
        ("top@0", "a whole number from 1"),
        ("top@1.5", "a whole number from 1"),
        ("top@nan", "a whole number from 1"),
        ("top@inf", "a whole number from 1"),
        ("partial_auroc@10", "try partial_auroc@.1"),
        ("partial_auroc@ten", "a share above 0 and up to 1"),
        ("sensitivity@specificity=0", "a share above 0 and up to 1; try sensitivity@specificity=.9"),
        ("sensitivity@sensitivity=.9", "'specificity@sensitivity'"),
        ("", "one of"),
    ],
)
def test_names_that_are_refused(noisy, name, expected):
    for use in (find_metric, lambda name: explain_undefined(name, noisy)):
        with pytest.raises(ConfigError, match=expected.replace("(", r"\(")):
            use(name)


def test_shares_that_no_curve_has_are_refused(noisy):
    with pytest.raises(ConfigError, match="false-positive rate 0"):
        partial_auroc(noisy, 0)
    with pytest.raises(ConfigError, match="whole number"):
        top(noisy, 0)
