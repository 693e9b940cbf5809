from __future__ import annotations

import json
import math
from functools import partial

import numpy as np
import pytest

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.calibration.metrics import ece
from medzoo.evaluation.metrics.discrimination import accuracy, auroc
from medzoo.evaluation.metrics.thresholds import at_thresholds, choose_thresholds
from medzoo.evaluation.subgroups import score_groups, worst_group
from medzoo.evaluation.uncertainty.bootstrap import bootstrap
from medzoo.evaluation.uncertainty.by_class import OfClass
from medzoo.evaluation.uncertainty.resampling import Resampling

FEW = Resampling(replicates=200)


def draw(make_predictions, rng, count, shift_of_group, *, images=1, **groups):
    """Draw binary rows, `images` a patient; scores of positives are raised by their group's shift."""
    site = np.array(list(shift_of_group))[np.arange(count) % len(shift_of_group)]
    labels = rng.permutation(count) % 2
    raised = np.array([shift_of_group[name] for name in site]) * labels
    patient_effect = np.repeat(rng.normal(size=count), images)
    logits = np.repeat(raised, images) + 0.8 * patient_effect + 0.6 * rng.normal(size=count * images)
    return make_predictions(
        np.repeat(labels, images),
        1 / (1 + np.exp(-logits)),
        patients=[f"p{row // images}" for row in range(count * images)],
        groups={
            "site": np.repeat(site, images),
            **{name: np.repeat(v, images) for name, v in groups.items()},
        },
    )


def test_the_worst_group_of_a_simulation_is_found(make_predictions):
    rows = draw(make_predictions, np.random.default_rng(1), 600, {"a": 2.0, "b": 0.3, "c": 2.0})
    found = score_groups(rows, ["site"], "auroc", FEW)
    assert found.worst == "site=b"
    assert found.best in ("site=a", "site=c")
    assert found.p < 0.01
    assert found.gap.low > 0.05
    values = [score.value for score in found.groups.values()]
    assert found.gap.value == pytest.approx(max(values) - min(values))
    assert found.deviation == pytest.approx(np.std(values, ddof=1))
    assert found.gap.counts.patients == 600


def test_each_value_is_the_metric_on_the_groups_rows(make_predictions):
    rows = draw(make_predictions, np.random.default_rng(2), 100, {"a": 1.0, "b": 1.0})
    found = score_groups(rows, ["site"], accuracy, FEW)
    for name, score in found.groups.items():
        part = rows.take(rows.groups["site"] == name.removeprefix("site="))
        assert score.value == accuracy(part)
        assert score.counts.n == len(part) == 50
        assert score.low <= score.value <= score.high


def test_where_groups_are_equal_the_gap_is_rarely_significant(make_predictions):
    rng = np.random.default_rng(3)
    found = [
        score_groups(
            draw(make_predictions, rng, 200, {"a": 1.2, "b": 1.2, "c": 1.2}, images=2), ["site"], auroc, FEW
        )
        for _ in range(60)
    ]
    significant = sum(one.p < 0.05 for one in found)
    assert significant <= 8  # 3 expected; more than 8 by chance in 1 of 200
    assert all((one.gap.low == 0) == (one.p >= 0.05) or abs(one.p - 0.05) < 0.02 for one in found)
    # The gap of equal groups is not 0: `chance` says how large to expect it.
    assert np.mean([one.gap.value for one in found]) == pytest.approx(
        np.mean([one.chance for one in found]), rel=0.25
    )


def test_intervals_know_of_patients(make_predictions):
    rows = draw(make_predictions, np.random.default_rng(4), 120, {"a": 1.0, "b": 1.0}, images=6)
    blind = make_predictions(rows.labels[:, 1], rows.scores[:, 1], groups=dict(rows.groups))
    clustered, plain = (score_groups(one, ["site"], auroc, FEW) for one in (rows, blind))
    for name in ("site=a", "site=b"):
        widths = [one.groups[name].high - one.groups[name].low for one in (clustered, plain)]
        assert widths[0] > 1.5 * widths[1]
    assert clustered.gap.high - clustered.gap.low > plain.gap.high - plain.gap.low


def test_groups_share_their_draws_with_every_other_interval(make_predictions):
    rows = draw(make_predictions, np.random.default_rng(5), 60, {"a": 1.0}, images=2)
    one = score_groups(rows, ["site"], auroc, FEW)
    low, high = bootstrap(auroc, rows, replicates=200)
    assert (one.groups["site=a"].low, one.groups["site=a"].high) == pytest.approx((low, high), abs=1e-12)
    assert math.isnan(one.gap.value)
    assert one.gap.reason == "no gap: fewer than two groups with a part in it"
    assert one.worst is None


def test_groups_below_a_size_are_counted_and_not_measured(make_predictions):
    rng = np.random.default_rng(6)
    labels = np.arange(110) % 2
    groups = {"site": ["a"] * 50 + ["b"] * 50 + ["c"] * 6 + [""] * 4}
    found = score_groups(make_predictions(labels, rng.uniform(size=110), groups=groups), ["site"], auroc, FEW)
    assert list(found.groups) == ["site=a", "site=b"]
    assert found.too_small["site=c"].describe() == {"n": 6, "positives": 3, "negatives": 3}
    assert found.not_known["site"].n == 4
    described = found.describe()
    assert described["not_known"]["n"] == described["gaps"]["site"]["not_known"]["n"] == 4
    assert found.gap.counts.n == 100


def test_where_patients_are_known_the_size_is_theirs(make_predictions):
    rows = draw(make_predictions, np.random.default_rng(7), 38, {"a": 1.0, "b": 1.0}, images=3)
    found = score_groups(rows, ["site"], auroc, FEW)
    assert (found.too_small["site=a"].n, found.too_small["site=a"].patients) == (57, 19)
    assert not found.groups
    assert list(score_groups(rows, ["site"], auroc, FEW, smallest=19).groups) == ["site=a", "site=b"]


def test_crossings_find_what_neither_column_shows(make_predictions):
    count = 800
    sex, side = np.array(["F", "M"])[np.arange(count) % 2], np.array(["L", "R"])[np.arange(count) // 2 % 2]
    rng = np.random.default_rng(8)
    labels = np.arange(count) // 4 % 2
    reversed_group = (sex == "F") == (side == "L")
    logits = np.where(reversed_group, 0.2, 2.0) * labels + rng.normal(size=count)
    rows = make_predictions(labels, 1 / (1 + np.exp(-logits)), groups={"sex": sex, "side": side})
    found = score_groups(rows, ["sex", "side", "sex × side"], auroc, FEW)
    assert len(found.groups) == 2 + 2 + 4
    assert found.gaps["sex × side"].p < 0.01 < found.gaps["sex"].p
    assert found.gap.value == found.gaps["sex × side"].score.value
    assert found.worst in ("sex=F × side=L", "sex=M × side=R")


def test_one_gap_over_several_columns_is_wider_than_that_of_one(make_predictions):
    rng = np.random.default_rng(9)
    noise = {f"column{number}": np.array(["x", "y"])[rng.integers(0, 2, 300)] for number in range(5)}
    rows = draw(make_predictions, rng, 300, {"a": 1.0, "b": 1.0}, **noise)
    found = score_groups(rows, ["site", *noise], auroc, FEW)
    alone = score_groups(rows, ["site"], auroc, FEW)
    assert found.gaps["site"] == alone.gaps["site"]
    assert found.chance > 1.3 * alone.chance


def test_a_group_without_a_value_says_why_and_has_no_part_in_the_gap(make_predictions):
    labels = np.r_[np.arange(100) % 2, np.zeros(30)]
    groups = {"site": ["a"] * 50 + ["b"] * 50 + ["c"] * 30}
    scores = np.random.default_rng(10).uniform(size=130)
    found = score_groups(make_predictions(labels, scores, groups=groups), ["site"], auroc, FEW)
    assert math.isnan(found.groups["site=c"].value)
    assert found.groups["site=c"].reason == "no row of class 'b'"
    assert found.worst in ("site=a", "site=b")
    assert not math.isnan(found.gap.low)


def test_a_low_brier_score_is_the_better_one(make_predictions):
    labels = np.arange(80) % 2
    scores = np.where(np.arange(80) < 40, np.where(labels, 0.9, 0.1), np.where(labels, 0.6, 0.4))
    scores += np.random.default_rng(11).uniform(-0.05, 0.05, 80)
    rows = make_predictions(labels, scores, groups={"site": ["good"] * 40 + ["bad"] * 40})
    found = score_groups(rows, ["site"], "brier", FEW)
    assert (found.worst, found.best) == ("site=bad", "site=good")


def test_decisions_are_made_at_thresholds_of_validation(make_predictions):
    rng = np.random.default_rng(12)
    labels = np.arange(160) % 2
    rows = make_predictions(
        labels,
        0.2 * rng.uniform(size=160) + 0.1 * labels,
        groups={"site": ["a", "a", "b", "b"] * 40},
        splits=["validation"] * 80 + ["test"] * 80,
    )
    points = choose_thresholds(rows.of_split("validation"), "youden")
    found = score_groups(rows.of_split("test"), ["site"], at_thresholds("sensitivity", points), FEW)
    assert found.metric == "sensitivity"
    assert min(score.value for score in found.groups.values()) > 0.4  # at .5 it would be 0


def test_the_worst_group_is_a_metric_of_its_own(make_predictions):
    rows = draw(make_predictions, np.random.default_rng(13), 200, {"a": 2.0, "b": 0.2})
    found = score_groups(rows, ["site"], auroc, FEW)
    assert worst_group(["site"], auroc)(rows) == found.groups["site=b"].value


def test_nothing_depends_on_the_order_of_rows_but_the_draws(make_predictions):
    rows = draw(make_predictions, np.random.default_rng(14), 90, {"a": 1.0, "b": 1.0, "c": 1.0})
    mixed = rows.take(np.random.default_rng(0).permutation(90))
    one, other = (score_groups(each, ["site"], auroc, FEW) for each in (rows, mixed))
    assert {n: s.value for n, s in one.groups.items()} == pytest.approx(
        {n: s.value for n, s in other.groups.items()}
    )


def test_labels_that_nobody_annotated_are_left_out(make_predictions):
    labels = np.tile([[0.0, 1.0], [1.0, 0.0], [np.nan, np.nan]], (30, 1))
    scores = np.random.default_rng(15).uniform(size=(90, 2))
    groups = {"site": np.repeat(["a", "b"], 45)}
    found = score_groups(
        make_predictions(labels, scores, exclusive=False, groups=groups), ["site"], auroc, FEW
    )
    assert [score.counts.n for score in found.groups.values()] == [30, 30]


def test_everything_is_json(make_predictions):
    rows = draw(make_predictions, np.random.default_rng(16), 42, {"a": 1.0, "b": 1.0, "c": 1.0})
    described = score_groups(rows, ["site"], auroc, FEW, smallest=15).describe()
    text = json.loads(json.dumps(described, allow_nan=False))
    assert text["gap"]["reason"].startswith("no gap")
    assert set(text["too_small"]) == {"site=a", "site=b", "site=c"}


def test_wrong_names_are_refused(make_predictions):
    rows = make_predictions([0, 1], [0.1, 0.9], groups={"sex": ["F", "M"]})
    with pytest.raises(ConfigError, match="no metric 'aurok'"):
        score_groups(rows, ["sex"], "aurok", FEW)
    with pytest.raises(DataError, match="no group column 'side'"):
        score_groups(rows, ["side"], auroc, FEW)
    with pytest.raises(ConfigError, match="bands of 'age'"):
        score_groups(rows, ["sex"], auroc, FEW, bands={"age": (1,)})
    with pytest.raises(ConfigError, match="no group column"):
        score_groups(rows, [], auroc, FEW)


def draw_equal(make_predictions, seed, positives, negatives, **changes):
    """Draw a group of so few positives and negatives, and one of 150 and 150, that the scores tell apart alike."""
    rng = np.random.default_rng([seed, positives])
    labels = np.r_[np.ones(positives), np.zeros(negatives), np.ones(150), np.zeros(150)]
    scores = 1 / (1 + np.exp(-1.8 * labels - rng.normal(size=len(labels))))
    groups = {"site": ["few"] * (positives + negatives) + ["many"] * 300}
    return make_predictions(labels, scores, groups=groups, **changes)


@pytest.mark.parametrize(("positives", "negatives"), [(1, 40), (3, 40), (8, 40), (20, 40)])
def test_equal_groups_of_few_positives_are_not_called_different(make_predictions, positives, negatives):
    significant = 0
    for seed in range(40):
        rows = draw_equal(make_predictions, seed, positives, negatives)
        significant += score_groups(rows, ["site"], auroc, FEW).p <= 0.05
    assert significant <= 7  # of 40; with one positive about 20 were, before a least number was asked for


def test_a_group_of_few_positives_keeps_its_score_and_has_no_part_in_the_gap(make_predictions):
    rows = draw_equal(make_predictions, 0, 19, 60)
    found = score_groups(rows, ["site"], auroc, FEW)
    few = found.groups["site=few"]
    assert few.low < few.value < few.high
    assert few.reason == "no part in the gap: 19 images of 'b', fewer than 20"
    assert found.groups["site=many"].reason is None
    assert (found.worst, found.best) == (None, None)
    assert found.gap.reason == "no gap: fewer than two groups with a part in it"
    assert found.gap.counts.n == 300
    turned = make_predictions(1 - rows.labels[:, 1], rows.scores[:, 0], groups=dict(rows.groups))
    negatives = score_groups(turned, ["site"], auroc, FEW).groups["site=few"]
    assert negatives.reason == "no part in the gap: 19 images not of 'b', fewer than 20"
    assert not math.isnan(score_groups(draw_equal(make_predictions, 0, 20, 60), ["site"], auroc, FEW).p)


def test_what_is_counted_of_a_class_are_patients(make_predictions):
    patients = [f"p{row // 2}" if row < 100 else f"q{row}" for row in range(400)]
    rows = draw_equal(make_predictions, 0, 30, 70, patients=patients)  # 15 patients with 30 positive images
    few = score_groups(rows, ["site"], auroc, FEW).groups["site=few"]
    assert few.reason == "no part in the gap: 15 patients of 'b', fewer than 20"


@pytest.mark.parametrize(
    ("metric", "kind"),
    [
        ("accuracy", None),
        ("brier", None),
        ("specificity", None),
        ("sensitivity", "of 'b'"),
        ("mcc", "of 'b'"),
        ("f1", "of 'b'"),
        ("auroc_micro", "of 'b'"),
        ("partial_auroc@.2", "of 'b'"),
        (partial(auroc), "of 'b'"),
        (OfClass(auroc, 1), "of 'b'"),
    ],
)
def test_a_metric_asks_for_the_classes_that_it_needs(make_predictions, metric, kind):
    few = score_groups(draw_equal(make_predictions, 1, 5, 60), ["site"], metric, FEW).groups["site=few"]
    if kind is None:
        assert few.reason is None
    else:
        assert few.reason.endswith(f"no part in the gap: 5 images {kind}, fewer than 20")


def test_predictive_values_ask_for_rows_that_are_called(make_predictions):
    labels, called = np.tile([0, 1], 100), np.r_[np.ones(5), np.zeros(55), np.tile([0, 1, 1, 0], 35)]
    rows = make_predictions(labels, 0.1 + 0.8 * called, groups={"site": ["few"] * 60 + ["many"] * 140})
    reasons = {
        name: score_groups(rows, ["site"], name, FEW).groups["site=few"].reason
        for name in ("precision", "npv")
    }
    assert reasons == {"precision": "no part in the gap: 5 images called 'b', fewer than 20", "npv": None}


def test_one_label_may_be_compared_where_another_is_rare(make_predictions):
    rng = np.random.default_rng(17)
    labels = np.stack([np.arange(200) % 2, np.arange(200) % 50 == 0], axis=1).astype(float)
    site = {"site": np.repeat(["x", "y"], 100)}
    rows = make_predictions(labels, rng.uniform(size=(200, 2)), exclusive=False, groups=site)
    mean = score_groups(rows, ["site"], auroc, FEW)
    assert mean.groups["site=x"].reason == "no part in the gap: 2 images of 'b', fewer than 20"
    assert not math.isnan(score_groups(rows, ["site"], OfClass(auroc, 0), FEW).p)


def test_errors_over_bins_of_groups_are_refused_in_every_guise(make_predictions):
    rows = draw_equal(make_predictions, 0, 30, 30)
    for metric in ("ece", "mce", ece, partial(ece, bins=5), OfClass(ece, 1)):
        with pytest.raises(ConfigError, match="grows as a group shrinks"):
            score_groups(rows, ["site"], metric, FEW)
        with pytest.raises(ConfigError, match="grows as a group shrinks"):
            worst_group(["site"], metric)
