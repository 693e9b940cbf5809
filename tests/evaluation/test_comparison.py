from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation import comparison
from medzoo.evaluation.calibration.chance import NO_INTERVAL
from medzoo.evaluation.comparison import compare, find_replicates, write_p
from medzoo.evaluation.metrics.discrimination import auroc
from medzoo.evaluation.series import align_all
from medzoo.evaluation.uncertainty.by_class import OfClass, take_class
from medzoo.evaluation.uncertainty.delong import delong_test
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
    [
        (0.5, "= .50"),
        (0.049, "= .049"),
        (0.0504, "= .050"),
        (0.0123, "= .012"),
        (0.0999, "= .10"),
        (0.00099, "< .001"),
        (0.0, "< .001"),
        (0.9999, "= 1"),
    ],
)
def test_p_values_have_three_decimals_below_a_tenth_and_two_above(p, text):
    assert write_p(p) == text


def test_many_differences_draw_so_many_resamples_that_holm_can_reach_significance(predict):
    runs = {"best": predict(20.0), **{f"r{seed}": predict(0.0, seed) for seed in range(2, 7)}}
    found = compare(runs, ["auroc"], FEW, pairs="all")
    assert len(found.differences) == 15
    assert 15 * 2 / (found.replicates + 1) <= 0.01
    assert found.describe()["replicates"] == found.replicates == find_replicates(15) == 2999
    plain = [one for one in found.differences if one.baseline == "best"]
    assert all(one.better == "best" for one in plain)
    assert compare({"a": predict(1.0), "b": predict(1.0, 2)}, ["auroc"], FEW).replicates == 300


def test_more_resamples_than_needed_stay(predict):
    asked = Resampling(replicates=700)
    found = compare({"a": predict(1.0), "b": predict(1.2, 2)}, ["auroc", "accuracy"], asked)
    assert found.replicates == 700


def test_at_its_floor_a_p_value_is_not_said_to_be_no_difference(predict, monkeypatch):
    monkeypatch.setattr(comparison, "MOST_REPLICATES", 100)
    runs = {"best": predict(20.0), **{f"r{seed}": predict(0.0, seed) for seed in range(2, 7)}}
    found = compare(runs, ["auroc"], Resampling(replicates=100), pairs="all")
    assert found.replicates == 100
    plain = [one.words for one in found.differences if one.baseline == "best"]
    assert all(words.startswith("p at its floor; needs --replicates 2999 (p = ") for words in plain)
    rest = [one.words for one in found.differences if one.baseline != "best"]
    assert any(words.startswith("no significant difference") for words in rest)


@pytest.fixture(scope="module")
def labelled(make_predictions):
    """Predict three independent labels of 120 images, or three exclusive classes, with a skill for each."""
    rng = np.random.default_rng(5)
    several, single = rng.integers(0, 2, (120, 3)).astype(float), np.eye(3)[np.arange(120) % 3]

    def make(skills, seed, exclusive=False):
        true = single if exclusive else several
        noise = np.random.default_rng(seed).normal(size=(120, 3))
        said = 1 / (1 + np.exp(-(np.array(skills) * (true - 0.5) + noise)))
        said = said / said.sum(axis=1, keepdims=True) if exclusive else said
        return make_predictions(
            true, said, exclusive=exclusive, patients=[f"p{row // 2}" for row in range(120)]
        )

    return make


@pytest.mark.parametrize("exclusive", [False, True])
def test_each_label_is_compared_within_one_family(labelled, exclusive):
    old, new = labelled((1, 1, 1), 1, exclusive), labelled((1, 6, 1), 2, exclusive)
    found = compare({"old": old, "new": new}, ["auroc", "brier"], FEW, by_label=True)
    assert [one.measured for one in found.differences] == [
        f"{metric} {label}" for metric in ("auroc", "brier") for label in "abc"
    ]
    assert [one.p for one in found.differences] == pytest.approx(
        adjust_holm([one.difference.p for one in found.differences])
    )
    assert found.replicates == find_replicates(6)
    second = found.differences[1]
    # The label's own metric, on the whole table's draws.
    drawn = paired_bootstrap(OfClass(auroc, 1), new, old, Resampling(replicates=found.replicates))
    assert (second.difference.low, second.difference.high) == (drawn.low, drawn.high)
    assert second.difference.value == auroc(take_class(new, 1)) - auroc(take_class(old, 1))
    assert (second.label, second.better) == ("b", "new")
    assert second.difference.counts.positives == int(new.labels[:, 1].sum())
    described = found.describe()["differences"]
    assert [entry["label"] for entry in described] == list("abcabc")
    assert "label" not in compare({"old": old, "new": new}, ["auroc"], FEW).describe()["differences"][0]


def test_a_metric_that_no_single_class_has_stays_that_of_the_table(labelled):
    runs = {"old": labelled((1, 1, 1), 1, True), "new": labelled((1, 6, 1), 2, True)}
    found = compare(runs, ["accuracy", "auroc_micro"], FEW, by_label=True)
    assert [one.measured for one in found.differences] == ["accuracy", "auroc_micro"]
    both = {"old": labelled((1, 1, 1), 1), "new": labelled((1, 6, 1), 2)}
    found = compare(both, ["accuracy", "auroc_micro"], FEW, by_label=True)
    assert [one.label for one in found.differences] == ["a", "b", "c", None]


def test_labels_are_compared_over_seeds_too(labelled):
    old, new = [labelled((0, 0, 0), seed) for seed in (1, 2)], [labelled((0, 6, 0), seed) for seed in (3, 4)]
    found = compare({"old": old, "new": new}, ["auroc"], FEW, by_label=True)
    values = [np.mean([auroc(take_class(run, 1)) for run in several]) for several in (new, old)]
    assert found.differences[1].difference.value == pytest.approx(values[0] - values[1])
    assert found.differences[1].better == "new"


def test_delong_tests_two_runs_by_patient(predict):
    a, b = predict(0.8), predict(1.4, 2)
    found = compare({"a": a, "b": b}, ["auroc"], FEW, delong=True)
    (one,) = found.differences
    assert one.difference == delong_test(b, a)
    assert one.difference != delong_test(b, a, clustered=False)
    assert (one.p, found.test, found.describe()["test"]) == (one.difference.p, "delong", "delong")
    assert compare({"a": a, "b": b}, ["auroc"], FEW).test == "bootstrap"


def test_delong_tests_each_label(labelled):
    old, new = labelled((1, 1, 1), 1), labelled((1, 6, 1), 2)
    found = compare({"old": old, "new": new}, ["auroc"], FEW, by_label=True, delong=True)
    assert [one.difference for one in found.differences] == [
        delong_test(new, old, column) for column in range(3)
    ]
    assert found.replicates == FEW.replicates  # its p-values need none
    assert found.differences[1].better == "new"


def test_labels_and_delong_are_refused_where_they_do_not_apply(predict, labelled):
    two, three = (
        {"a": predict(1.0), "b": predict(1.2, 2)},
        {"a": labelled((1,) * 3, 1), "b": labelled((2,) * 3, 2)},
    )
    with pytest.raises(ConfigError, match="each label of a, b"):
        compare(two, ["auroc"], FEW, by_label=True)
    with pytest.raises(ConfigError, match=r"mean AUROC of 3 labels.*--labels"):
        compare(three, ["auroc"], FEW, delong=True)
    with pytest.raises(ConfigError, match="DeLong's test of accuracy"):
        compare(two, ["auroc", "accuracy"], FEW, delong=True)
    with pytest.raises(ConfigError, match=r"several seeds of b.*--separate"):
        compare({"a": two["a"], "b": [two["b"], predict(1.2, 3)]}, ["auroc"], FEW, delong=True)


@pytest.mark.parametrize("seeds", [1, 3])
def test_no_calibrated_run_is_better_by_an_error_over_bins(make_predictions, seeds):
    rng = np.random.default_rng(0)
    risk = rng.uniform(0.05, 0.95, 300)
    labels = (rng.uniform(size=300) < risk).astype(float)
    # Both calibrated: one knows the risk of each row, the other that of all.
    sharp = [make_predictions(labels, risk) for _ in range(seeds)]
    flat = [make_predictions(labels, np.full(300, labels.mean() - 0.001 * seed)) for seed in range(seeds)]
    found = compare({"sharp": sharp, "flat": flat}, ["ece", "mce"], FEW)
    for one in found.differences:
        assert one.better is None
        assert math.isnan(one.p)
        assert math.isnan(one.difference.p)
        assert math.isnan(one.difference.low)
        assert one.difference.reason == NO_INTERVAL
        assert not math.isnan(one.difference.value)
    for scores in found.scores.values():
        assert {score.reason for score in scores.values()} == {NO_INTERVAL}
