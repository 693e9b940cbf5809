from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.comparison import compare, write_p
from medzoo.evaluation.metrics.discrimination import auroc
from medzoo.evaluation.series import align_all
from medzoo.evaluation.uncertainty.multiplicity import adjust_holm
from medzoo.evaluation.uncertainty.paired import paired_bootstrap
from medzoo.evaluation.uncertainty.resampling import Resampling

FEW = Resampling(replicates=300)


@pytest.fixture(scope="module")
def predict(make_predictions):
    """Predict the same 200 patients with so much skill; noise of another seed is another run."""
    labels = np.arange(200) % 2
    difficulty = np.random.default_rng(0).normal(size=200)

    def make(skill, seed=1, **changes):
        logits = skill * labels + 0.7 * difficulty + 0.7 * np.random.default_rng(seed).normal(size=200)
        rows = make_predictions(
            labels,
            1 / (1 + np.exp(-logits)),
            patients=[f"p{row // 2}" for row in range(200)],
            splits=["test"] * 200,
        )
        return replace(rows, **changes) if changes else rows

    return make


def test_a_better_run_is_said_to_be_better(predict):
    found = compare({"old": predict(0.5), "new": predict(2.5, 2)}, ["auroc"], FEW)
    (one,) = found.differences
    assert (one.run, one.baseline, one.metric, one.better) == ("new", "old", "auroc", "new")
    assert one.difference.value == pytest.approx(
        found.scores["new"]["auroc"].value - found.scores["old"]["auroc"].value
    )
    assert one.difference.low > 0
    assert one.words.startswith("new is better (p ")
    turned = compare({"new": predict(2.5, 2), "old": predict(0.5)}, ["auroc"], FEW).differences[0]
    assert turned.better == "new"
    assert turned.difference.value == -one.difference.value


def test_runs_alike_have_no_significant_difference(predict):
    (one,) = compare({"a": predict(1.0, 1), "b": predict(1.0, 2)}, ["auroc"], FEW).differences
    assert one.better is None
    assert one.words == f"no significant difference (p {write_p(one.p)})"


def test_the_same_predictions_twice_do_not_differ(predict):
    found = compare({"a": predict(1.0), "b": predict(1.0)}, ["auroc", "accuracy"], FEW)
    for one in found.differences:
        assert one.difference.value == 0
        assert one.better is None


def test_holm_is_applied_over_runs_times_metrics(predict):
    runs = {"a": predict(0.8), "b": predict(1.4, 2), "c": predict(1.2, 3), "d": predict(0.9, 4)}
    found = compare(runs, ["auroc", "accuracy", "brier"], FEW)
    assert len(found.differences) == 3 * 3
    raw = [one.difference.p for one in found.differences]
    assert [one.p for one in found.differences] == pytest.approx(adjust_holm(raw))
    assert any(one.p > 2 * one.difference.p for one in found.differences)
    assert all(", adjusted)" in one.words for one in found.differences)


def test_an_adjusted_p_decides_and_not_the_raw_one(predict):
    runs = {"a": predict(1.0, 1), **{f"b{seed}": predict(1.35, seed) for seed in range(2, 12)}}
    found = compare(runs, ["auroc"], FEW)
    between = [one for one in found.differences if one.difference.p < 0.05 <= one.p]
    assert between, "the example has no difference that adjusting takes away"
    assert all(one.better is None for one in between)


def test_all_pairs_are_compared_where_asked(predict):
    runs = {"a": predict(0.8), "b": predict(1.4, 2), "c": predict(1.2, 3)}
    pairs = [(one.baseline, one.run) for one in compare(runs, ["auroc"], FEW, pairs="all").differences]
    assert pairs == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [one.baseline for one in compare(runs, ["auroc"], FEW).differences] == ["a", "a"]


def test_a_lower_brier_score_is_better(predict):
    (one,) = compare({"weak": predict(0.2), "strong": predict(3.0, 2)}, ["brier"], FEW).differences
    assert one.difference.value < 0
    assert one.better == "strong"


def test_two_runs_are_compared_by_the_paired_bootstrap(predict):
    a, b = predict(0.8), predict(1.4, 2)
    (one,) = compare({"a": a, "b": b}, ["auroc"], FEW).differences
    assert one.difference == paired_bootstrap(auroc, b, a, FEW)
    assert one.difference.counts.patients == 100


def test_rows_in_another_order_are_the_same_rows(predict):
    a, b = predict(0.8), predict(1.4, 2)
    mixed = b.take(np.random.default_rng(0).permutation(200))
    assert compare({"a": a, "b": mixed}, ["auroc"], FEW) == compare({"a": a, "b": b}, ["auroc"], FEW)


def test_patients_that_one_run_knows_are_drawn_for_all(predict):
    a, b = predict(0.8), predict(1.4, 2)
    blind = compare({"a": replace(a, patients=None), "b": b}, ["auroc"], FEW)
    assert blind == compare({"a": a, "b": b}, ["auroc"], FEW)
    assert compare({"a": replace(a, patients=None), "b": replace(b, patients=None)}, ["auroc"], FEW) != blind


def test_other_test_images_are_refused_by_name(predict):
    a = predict(1.0)
    b = predict(1.0).take(np.arange(5, 200))
    with pytest.raises(DataError) as refusal:
        compare({"one": a, "two": b}, ["auroc"], FEW)
    assert "one and two have other test images: 5 in one alone ('0', '1', '2', …)" in str(refusal.value)
    assert "--shared, which compares on the 195 images" in str(refusal.value)


def test_the_shared_test_images_are_compared_where_asked(predict):
    a, b = predict(1.0).take(np.arange(150)), predict(1.4, 2).take(np.arange(100, 200))
    found = compare({"a": a, "b": b}, ["auroc"], FEW, shared=True)
    assert found.counts.n == 50
    assert found.scores["a"]["auroc"].value == auroc(a.take(np.arange(100, 150)))
    apart = predict(1.0).take(np.arange(20)), predict(1.0).take(np.arange(40, 60))
    with pytest.raises(DataError, match="no shared test images"):
        compare(dict(zip("ab", apart, strict=True)), ["auroc"], FEW, shared=True)


def test_what_one_run_validated_on_is_no_shared_test_image(predict):
    splits = np.array(["validation"] * 60 + ["test"] * 140)
    a, b = predict(1.0, splits=splits), predict(1.4, 2, splits=splits[::-1])
    with pytest.raises(DataError, match="other test images"):
        compare({"a": a, "b": b}, ["auroc"], FEW)
    assert compare({"a": a, "b": b}, ["auroc"], FEW, shared=True).counts.n == 80


def test_other_validation_images_are_refused_where_both_have_some(predict):
    splits = np.array(["validation"] * 60 + ["test"] * 140)
    a = predict(1.0, splits=splits)
    b = predict(1.4, 2, splits=splits).take(np.arange(10, 200))
    with pytest.raises(DataError, match="other validation images: 10 in a alone"):
        compare({"a": a, "b": b}, ["auroc"], FEW)
    assert compare({"a": a, "b": b.of_split("test")}, ["auroc"], FEW).counts.n == 140


def test_other_labels_of_the_same_image_are_refused(predict):
    a = predict(1.0)
    labels = a.labels.copy()
    labels[7] = labels[7, ::-1]
    with pytest.raises(DataError, match="'7'"):
        compare({"a": a, "b": replace(a, labels=labels)}, ["auroc"], FEW)


def test_no_test_images_no_comparison(predict):
    none = predict(1.0, splits=np.array(["validation"] * 200))
    with pytest.raises(DataError, match="no labelled test images"):
        compare({"a": none, "b": none}, ["auroc"], FEW)


def test_seeds_of_one_training_are_one_run(predict):
    old, new = [predict(0.8, seed) for seed in (1, 2, 3)], [predict(2.0, seed) for seed in (4, 5, 6)]
    found = compare({"old": old, "new": new}, ["auroc"], FEW)
    values = [auroc(run) for run in new]
    assert found.scores["new"]["auroc"].value == pytest.approx(np.mean(values))
    assert found.deviations["new"]["auroc"] == pytest.approx(np.std(values, ddof=1))
    assert found.seeds == {"old": 3, "new": 3}
    (one,) = found.differences
    assert one.difference.value == pytest.approx(np.mean(values) - np.mean([auroc(run) for run in old]))
    assert one.better == "new"
    assert one.difference.low < one.difference.value < one.difference.high


def test_seeds_that_scatter_widen_the_interval(predict):
    steady = [predict(1.0, seed) for seed in (1, 2, 3)]
    scattered = [predict(skill, seed) for skill, seed in ((0.2, 1), (1.0, 2), (1.8, 3))]
    other = [predict(1.0, seed) for seed in (4, 5, 6)]
    widths = []
    for series in (steady, scattered):
        (one,) = compare({"a": series, "b": other}, ["auroc"], FEW).differences
        widths.append(one.difference.high - one.difference.low)
    assert widths[1] > 1.3 * widths[0]


def test_one_run_may_meet_several_seeds(predict):
    (one,) = compare({"a": predict(0.2), "b": [predict(2.5, 2), predict(2.5, 3)]}, ["auroc"], FEW).differences
    assert one.better == "b"


def test_what_is_undefined_is_not_compared(predict):
    a = predict(1.0).take(np.arange(0, 200, 2))
    found = compare({"a": a, "b": predict(1.5, 2).take(np.arange(0, 200, 2))}, ["auroc", "accuracy"], FEW)
    undefined, defined = found.differences
    assert math.isnan(undefined.difference.value)
    assert math.isnan(undefined.p)
    assert found.scores["a"]["auroc"].reason == "no row of class 'b'"
    assert undefined.words.startswith("no comparison: ")
    assert defined.p == pytest.approx(defined.difference.p)  # what is undefined does not count in the family
    assert json.dumps(found.describe(), allow_nan=False)


def test_several_labels_with_gaps_are_compared(make_predictions):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, (120, 3)).astype(float)
    labels[rng.uniform(size=labels.shape) < 0.2] = np.nan
    weak, strong = (
        make_predictions(
            labels,
            1 / (1 + np.exp(-skill * np.nan_to_num(labels) - rng.normal(size=(120, 3)))),
            exclusive=False,
        )
        for skill in (0.2, 2.5)
    )
    (one,) = compare({"weak": weak, "strong": strong}, ["auroc"], FEW).differences
    assert one.better == "strong"


def test_wrong_wishes_are_refused(predict):
    with pytest.raises(ConfigError, match="two or more"):
        compare({"a": predict(1.0)}, ["auroc"], FEW)
    with pytest.raises(ConfigError, match="no metric"):
        compare({"a": predict(1.0), "b": predict(1.0)}, [], FEW)
    with pytest.raises(ConfigError, match="'aurok'"):
        compare({"a": predict(1.0), "b": predict(1.0)}, ["aurok"], FEW)
    with pytest.raises(ConfigError, match="pairs 'some'"):
        compare({"a": predict(1.0), "b": predict(1.0)}, ["auroc"], FEW, pairs="some")


def test_rows_that_nobody_annotated_are_left_out_of_all(predict):
    a, b = predict(1.0), predict(1.2, 2)
    labels = a.labels.copy()
    labels[:20] = np.nan
    aligned = align_all({"a": [replace(a, labels=labels)], "b": [replace(b, labels=labels)]})
    assert [len(runs[0]) for runs in aligned.values()] == [180, 180]


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.5, "= .50"), (0.049, "= .049"), (0.0499, "= .05"), (0.00099, "< .001"), (0.9999, "= 1")],
)
def test_p_values_are_written_with_two_digits(p, text):
    assert write_p(p) == text
