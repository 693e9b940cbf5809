"""Calibration: what it leaves, what it refuses, and that it is the same before and after the file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medzoo.errors import ConfigError, DataError
from medzoo.evaluation.calibration.bins import reliability_bins
from medzoo.evaluation.calibration.calibration import (
    Calibration,
    find_log_odds,
    find_logits,
    normalise,
    read_calibration,
    write_calibration,
)
from medzoo.evaluation.calibration.chance import measure_chance
from medzoo.evaluation.calibration.fitting import fit_calibration
from medzoo.evaluation.calibration.maps import Isotonic, Platt, Temperature, Unchanged
from medzoo.evaluation.calibration.metrics import (
    brier,
    brier_decomposition,
    ece,
    ece_classwise,
    ece_equal_mass,
    mce,
    nll,
)
from medzoo.evaluation.metrics.discrimination import auroc
from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.uncertainty.counted import prepare_counted

METRICS = (ece, ece_equal_mass, ece_classwise, mce, brier, nll)
METHODS = ("temperature", "platt", "isotonic")


def draw_labels(seed: int, count: int = 120, width: int = 3, masked: float = 0.2) -> Predictions:
    """Rows of independent labels with scores that are too sure, some not annotated."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 3, (count, width))
    labels = (generator.uniform(0, 1, logits.shape) < 1 / (1 + np.exp(-logits / 3))).astype(float)
    labels[generator.uniform(0, 1, logits.shape) < masked] = np.nan
    return name_rows(labels, 1 / (1 + np.exp(-logits)), exclusive=False)


def draw_classes(seed: int, count: int = 120, classes: int = 3) -> Predictions:
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (count, classes))
    shares = np.exp(logits / 2) / np.exp(logits / 2).sum(axis=1, keepdims=True)
    codes = np.array([generator.choice(classes, p=row) for row in shares])
    labels = np.eye(classes)[codes]
    labels[:5] = np.nan
    return name_rows(labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))


def name_rows(labels: np.ndarray, scores: np.ndarray, exclusive: bool = True) -> Predictions:
    ids, splits = np.arange(len(labels)).astype(np.str_), np.full(len(labels), "validation")
    return Predictions(ids, labels, scores, tuple("abcdef"[: labels.shape[1]]), splits, exclusive=exclusive)


KINDS = {
    "two": lambda seed: draw_classes(seed, classes=2),
    "three": draw_classes,
    "labels": draw_labels,
    "label": lambda seed: draw_labels(seed, width=1),
}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.__name__)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(sorted(KINDS)))
def test_bounds_hold_and_the_order_of_rows_is_nothing(metric, seed: int, kind: str) -> None:
    rows = KINDS[kind](seed)
    rows = replace(rows, scores=np.round(rows.scores, 2)) if not rows.exclusive else rows  # ties
    value = metric(rows)
    shuffled = rows.take(np.random.default_rng(seed).permutation(len(rows)))
    assert metric(shuffled) == pytest.approx(value, abs=1e-12)
    assert 0 <= value <= {"brier": 2, "nll": 37}.get(metric.__name__, 1)
    assert mce(rows) >= ece(rows) - 1e-12


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.__name__)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(sorted(KINDS)))
def test_counting_is_repeating_rows(metric, seed: int, kind: str) -> None:
    rows = KINDS[kind](seed)
    counted = prepare_counted(metric, rows)
    counts = np.random.default_rng(seed).integers(0, 3, (len(rows), 5)).astype(np.uint16)
    expected = [metric(rows.take(np.repeat(np.arange(len(rows)), column))) for column in counts.T]
    np.testing.assert_allclose(counted(counts), expected, atol=1e-12)


def test_a_resample_without_a_labels_rows_is_undefined() -> None:
    rows = draw_labels(0, count=4, masked=0)
    rows.labels[1:, 2] = np.nan
    for metric in (ece, ece_classwise, mce, brier, nll):
        values = prepare_counted(metric, rows)(np.array([[1, 0], [1, 1], [1, 1], [1, 1]]))
        assert np.isnan(values).tolist() == [False, True]
        assert np.isnan(metric(rows.take(np.array([1, 2, 3]))))
        assert np.isnan(metric(rows.take(np.array([], dtype=int))))


def test_one_label_without_rows_leaves_the_mean_undefined() -> None:
    rows = draw_labels(0, masked=0)
    rows.labels[:, 1] = np.nan
    for metric in METRICS:
        assert np.isnan(metric(rows))


def test_equal_mass_of_scores_of_0_and_1_has_no_bin_of_width_0() -> None:
    rows = name_rows(
        np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([[0.0], [0.0], [1.0], [1.0]]), exclusive=False
    )
    assert reliability_bins(rows, 0, 4, "mass").edges.tolist() == [0, 0.5, 1]


def test_perfect_and_worst_probabilities_are_0_and_1() -> None:
    right = name_rows(np.eye(2)[[0, 1]], np.eye(2)[[0, 1]])
    wrong = name_rows(np.eye(2)[[0, 1]], np.eye(2)[[1, 0]])
    for metric in METRICS:
        assert metric(right) == pytest.approx(0, abs=1e-12)
        assert metric(wrong) == pytest.approx(36.04 if metric is nll else 1, abs=1e-2)


def test_intervals_of_bins_are_wilsons_and_wider_where_patients_repeat() -> None:
    rows = name_rows(np.repeat([[1.0], [0.0]], [6, 4], axis=0), np.full((10, 1), 0.5), exclusive=False)
    found = reliability_bins(rows, 0, 1)
    # Wilson (1927): 6 of 10.
    assert (found.low[0], found.high[0]) == pytest.approx((0.3127, 0.8318), abs=1e-4)
    one_each = replace(rows, patients=np.arange(10).astype(np.str_))
    assert reliability_bins(one_each, 0, 1).high[0] == pytest.approx(found.high[0], abs=0.01)
    pairs = reliability_bins(replace(rows, patients=(np.arange(10) // 2).astype(np.str_)), 0, 1)
    # Patients' sums differ from .6 a row by .8 three times and by −1.2 twice: a variance of 4.8 / 10² · 5 / 4 = .06,
    # which 4 independent rows would have.
    assert (pairs.low[0], pairs.high[0]) == pytest.approx((0.2046, 0.8974), abs=2e-4)
    mixed = replace(rows, patients=np.array(list("abcdefghij"))[[0, 1, 2, 3, 4, 5, 0, 1, 2, 3]])
    # Patients of one image of either kind vary less than independent rows; no more than there are is claimed.
    assert reliability_bins(mixed, 0, 1).high[0] == pytest.approx(found.high[0])
    alike = replace(rows, labels=np.ones((10, 1)), patients=(np.arange(10) // 5).astype(np.str_))
    # 2 patients, all true: Wilson's lower end for 2 of 2, not for 10 of 10.
    assert reliability_bins(alike, 0, 1).low[0] == pytest.approx(0.3424, abs=1e-4)


def test_bins_of_the_top_label_of_one_label_and_of_all() -> None:
    rows = draw_labels(1)
    everything = reliability_bins(rows)
    assert everything.counts.sum() == (~np.isnan(rows.labels)).sum()
    assert reliability_bins(rows, 1).counts.sum() == (~np.isnan(rows.labels[:, 1])).sum()
    top = reliability_bins(draw_classes(1))
    assert top.counts[:4].tolist() == [0, 0, 0, 0]  # the highest of three is a third at least
    assert np.isnan(top.observed[:4]).all()
    assert np.isnan(top.low[:4]).all()
    for arguments in ({"column": 3}, {"column": -1}, {"bins": 0}, {"equal": "size"}):
        with pytest.raises(ConfigError):
            reliability_bins(rows, **arguments)  # type: ignore[arg-type]
    nothing = rows.take(np.array([], dtype=int))
    assert reliability_bins(nothing, 0, 4, "mass").counts.tolist() == [0] * 4
    assert np.isnan(brier_decomposition(nothing, 0)).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_was_fitted_is_better_on_its_rows_and_survives_the_file(
    kind: str, method: str, tmp_path: Path
) -> None:
    rows = KINDS[kind](4)
    calibration = fit_calibration(rows, method)  # type: ignore[arg-type]
    after = calibration.apply(rows)
    assert brier(after) < brier(rows)
    if method == "temperature":
        assert nll(after) < nll(rows)
    if method != "isotonic" and kind != "three":
        assert auroc(after) == auroc(rows)  # order is left alone
    assert (calibration.n, calibration.uncalibrated) == (len(rows.annotated()), {})
    write_calibration(calibration, tmp_path / "c.json")
    again = read_calibration(tmp_path / "c.json")
    assert again == calibration
    np.testing.assert_array_equal(again.apply(rows).scores, after.scores)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_chance_is_what_right_scores_give(kind: str) -> None:
    rows = KINDS[kind](5)
    chance = measure_chance(ece, rows)
    generator = np.random.default_rng(9)
    above = []
    for _ in range(200):
        if rows.exclusive:
            codes = [generator.choice(len(rows.classes), p=row) for row in rows.scores]
            labels = np.eye(len(rows.classes))[codes]
        else:
            labels = (generator.uniform(size=rows.scores.shape) < rows.scores).astype(float)
        labels[np.isnan(rows.labels)] = np.nan
        above.append(ece(replace(rows, labels=labels)) > chance)
    assert 0 < np.mean(above) < 0.12
    assert ece(rows) > chance  # these scores are too sure
    assert measure_chance(ece, rows, seed=1) != chance == measure_chance(ece, rows)
    assert np.isnan(measure_chance(ece, rows.take(np.array([], dtype=int))))


def test_scores_alone_give_what_their_logits_give() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 4, (50, 3))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for scores, exclusive in ((softmax, True), (1 / (1 + np.exp(-logits)), False)):
        bare = name_rows(np.full((50, 3), np.nan), scores, exclusive=exclusive)
        with_logits = replace(bare, logits=logits)
        np.testing.assert_allclose(find_log_odds(bare), find_log_odds(with_logits), atol=1e-9)
        fixed = Calibration(
            "temperature", ("a", "b", "c"), exclusive, (Temperature(1.7),) * (1 if exclusive else 3), 9
        )
        after = fixed.apply(with_logits)
        np.testing.assert_allclose(fixed.apply(bare).scores, after.scores, atol=1e-12)
        assert after.logits is None


def test_logits_say_more_than_scores_that_are_1() -> None:
    certain = name_rows(np.full((1, 1), np.nan), np.array([[1.0]]), exclusive=False)
    fixed = Calibration("temperature", ("a",), False, (Temperature(10.0),), 9)
    after = fixed.apply(replace(certain, logits=np.array([[60.0]])))
    assert after.scores[0, 0] == pytest.approx(1 / (1 + np.exp(-6)), abs=1e-12)


def test_scores_of_0_and_1_stay_finite() -> None:
    sure = name_rows(np.full((2, 2), np.nan), np.eye(2))
    certain = name_rows(np.full((2, 1), np.nan), np.array([[0.0], [1.0]]), exclusive=False)
    for rows in (sure, certain):
        assert np.isfinite(find_logits(rows)).all()
        count = 1 if rows.exclusive else len(rows.classes)
        fixed = Calibration("temperature", rows.classes, rows.exclusive, (Temperature(2.0),) * count, 9)
        assert fixed.apply(rows).scores.ravel() == pytest.approx(rows.scores.ravel(), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_label_that_cannot_be_fitted_stays_and_says_why(method: str) -> None:
    rows = draw_labels(2, masked=0)
    rows.labels[:, 0] = 1
    rows.labels[:, 2] = np.nan
    calibration = fit_calibration(rows, method)  # type: ignore[arg-type]
    assert calibration.uncalibrated == {"a": "no negative validation row", "c": "no annotated validation row"}
    after = calibration.apply(rows).scores
    np.testing.assert_array_equal(after[:, [0, 2]], rows.scores[:, [0, 2]])
    assert (after[:, 1] != rows.scores[:, 1]).mean() > 0.9


def test_a_class_without_rows_stays_among_those_that_are_fitted() -> None:
    rows = draw_classes(3, classes=4).annotated()
    rows = rows.take(np.flatnonzero(rows.labels[:, 3] == 0))
    calibration = fit_calibration(rows, "platt")
    assert calibration.uncalibrated == {"d": "no positive validation row"}
    assert calibration.apply(rows).scores.sum(axis=1) == pytest.approx(1)


def refuse(rows: Predictions, method: str) -> str:
    with pytest.raises(DataError) as refused:
        fit_calibration(rows, method)  # type: ignore[arg-type]
    return str(refused.value)


def test_what_no_calibration_can_mend_is_refused_with_the_reason() -> None:
    said = np.linspace(0.05, 0.95, 20)
    true = (said > 0.5).astype(int)
    separated = name_rows(np.eye(2)[true], np.stack([1 - said, said], axis=1))
    assert "no validation row is wrong" in refuse(separated, "temperature")
    assert "--method platt" in refuse(separated, "temperature")
    (curve,) = fit_calibration(separated, "platt").maps  # towards Platt's targets there is one
    assert isinstance(curve, Platt)
    assert curve.slope > 1
    reversed_rows = name_rows(np.eye(2)[1 - true], separated.scores)
    for method in METHODS:
        assert "no higher where it is true" in refuse(reversed_rows, method)
    flat = name_rows(np.eye(2)[true], np.full((20, 2), 0.5))
    assert "one score" in refuse(flat, "platt")
    assert "one score" in refuse(flat, "isotonic")
    for scale, told in ((1e5, "above 1000"), (1e-5, "below 0.001")):
        logits = scale * np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        codes = [1, 1, 0, 0]
        extreme = replace(name_rows(np.eye(2)[codes], np.full((4, 2), 0.5)), logits=logits)
        assert f"the temperature would be {told}" in refuse(extreme, "temperature")
    one_class = name_rows(np.eye(3)[[1] * 4], np.full((4, 3), 1 / 3))
    assert "no validation row but of class 'b'" in refuse(one_class, "temperature")
    unlabelled = name_rows(np.full((4, 2), np.nan), np.full((4, 2), 0.5))
    assert "no annotated validation rows" in refuse(unlabelled, "platt")
    with pytest.raises(ConfigError, match="'temperature'"):
        fit_calibration(separated, "temprature")  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_fitted_on_test_rows(method: str) -> None:
    rows = draw_labels(0)
    some = rows.splits.copy()
    some[3] = "test"
    for splits in (np.full(len(rows), "test"), some):
        assert "of_split('validation')" in refuse(replace(rows, splits=splits), method)


def test_other_classes_than_those_it_was_fitted_on_are_refused() -> None:
    calibration = fit_calibration(draw_labels(0))
    with pytest.raises(DataError, match="which the calibration was fitted on"):
        calibration.apply(draw_classes(0))
    with pytest.raises(DataError, match="2 maps for 3 classes"):
        replace(calibration, maps=calibration.maps[:2])


def test_a_row_that_no_class_wants_becomes_even() -> None:
    np.testing.assert_array_equal(normalise(np.array([[0.0, 0.0, 0.0, 0.0]])), np.full((1, 4), 0.25))


@pytest.mark.parametrize(
    "edit",
    [
        {"version": 2},
        {"method": "magic"},
        {"classes": ["a"]},
        {"maps": {"b": {"temperature": 0}}},
        {"maps": {"b": {"temperature": "NaN"}}},
        {"maps": {"b": {"slope": -1, "offset": 0}}},
        {"maps": {"b": {"scores": [0.5, 0.2], "probabilities": [0, 1]}}},
        {"maps": {"b": {"scores": [0.2, 0.5], "probabilities": [1, 0]}}},
        {"maps": {"b": {"scores": [0.2, 0.5], "probabilities": [0, 2]}}},
        {"maps": {"b": {"scores": [], "probabilities": []}}},
        {"maps": {"b": 3}},
        {"maps": {"b": {"temperature": 1.5}, "c": {"temperature": 1.5}}},
        {"maps": []},
        {"n": "many"},
    ],
    ids=str,
)
def test_a_damaged_file_is_refused_in_one_line(edit: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    write_calibration(Calibration("temperature", ("a", "b"), True, (Temperature(1.5),), 20), path)
    read_calibration(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | edit))
    with pytest.raises(DataError, match=r"is no calibration.*medzoo calibrate RUN"):
        read_calibration(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_calibration(tmp_path / "absent.json")
    for text in ("", "{", "[]", "{}", "3"):
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(DataError, match="is no calibration"):
            read_calibration(tmp_path / "c.json")


def test_a_summary_says_what_was_fitted() -> None:
    maps = (Isotonic((0.1, 0.9), (0.0, 1.0)), Unchanged("no positive validation row"))
    said = Calibration("isotonic", ("a", "b"), False, maps, 1234).summarise()
    assert said == "isotonic of 1 of 2 labels, fitted on 1,234 validation images"
