"""What validations decide, on scores written by hand, and that a restored monitor decides the same."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medzoo.errors import ConfigError, TrainingError
from medzoo.training.monitoring.monitor import Monitor, Until, Verdict, parse_until
from medzoo.training.settings import ScheduleSection, ValidationSection

NAN, INF = math.nan, math.inf


def make(schedule: dict[str, object] | None = None, **validation: object) -> Monitor:
    """Make a monitor of some settings."""
    return Monitor(
        ValidationSection.model_validate(validation), ScheduleSection.model_validate(schedule or {})
    )


def feed(monitor: Monitor, rows: list[tuple[float, float]]) -> list[Verdict]:
    """Feed (metric, loss) rows, 10 steps apart; the metric is that of the validation."""
    verdicts = []
    for index, (score, loss) in enumerate(rows):
        scores = {"loss": loss, **({} if monitor.metric == "loss" else {monitor.metric: score})}
        verdicts.append(monitor.update(10 * (index + 1), scores))
    return verdicts


def test_the_best_is_by_the_metric_then_by_the_lower_loss() -> None:
    monitor = make()
    rows = [(0.5, 0.9), (0.8, 0.5), (0.8, 0.5), (0.8, 0.4), (0.7, 0.1), (0.8, 0.6)]
    assert [verdict.is_best for verdict in feed(monitor, rows)] == [True, True, False, True, False, False]
    assert (monitor.best_step, monitor.best_scores) == (40, {"loss": 0.4, "auroc": 0.8})


def test_the_best_loss_is_the_lowest() -> None:
    verdicts = feed(make(metric="loss"), [(NAN, 0.9), (NAN, 0.5), (NAN, 0.7), (NAN, NAN)])
    assert [verdict.is_best for verdict in verdicts] == [True, True, False, False]


def test_where_the_metric_is_undefined_the_loss_alone_decides() -> None:
    monitor = make(early_stopping=2)
    verdicts = feed(monitor, [(NAN, 0.9), (NAN, 0.5), (NAN, 0.7), (NAN, 0.6)])
    assert [verdict.is_best for verdict in verdicts] == [True, True, False, False]
    assert [verdict.stop is None for verdict in verdicts] == [True, True, True, False]


def test_any_score_is_better_than_an_undefined_one() -> None:
    verdicts = feed(make(early_stopping=1), [(NAN, 0.1), (0.2, 0.9)])
    assert [(verdict.is_best, verdict.stop) for verdict in verdicts] == [(True, None), (True, None)]


def test_the_first_validation_is_the_best_whatever_it_is() -> None:
    assert feed(make(), [(NAN, NAN)])[0].is_best


@pytest.mark.parametrize("metric", ["auroc", "loss"])
def test_early_stopping_counts_validations_without_gain_since_the_last(metric: str) -> None:
    heights = [0.5, 0.6, 0.6, 0.59, 0.61, 0.6, 0.6, 0.6]
    rows = [(height, 1 - height) for height in heights]
    stops = [verdict.stop for verdict in feed(make(metric=metric, early_stopping=3), rows)]
    assert stops == [None] * 7 + [f"no gain in {metric} in 3 validations"]


def test_small_gains_count_once_they_add_up() -> None:
    rows = [(0.50, 1.0), (0.54, 1.0), (0.58, 1.0), (0.62, 1.0)]
    monitor = make(early_stopping=3, least_gain=0.1)
    verdicts = feed(monitor, rows)
    assert [verdict.is_best for verdict in verdicts] == [True] * 4
    assert all(verdict.stop is None for verdict in verdicts)
    stops = [verdict.stop for verdict in feed(make(early_stopping=2, least_gain=0.1), rows)]
    assert [stop is None for stop in stops] == [True, True, False, True]


def test_a_plateau_lowers_the_rate_and_counts_anew() -> None:
    monitor = make({"kind": "plateau", "patience": 2})
    heights = [0.5, 0.5, 0.5, 0.5, 0.5, 0.6, 0.6, 0.6]
    lowered = [verdict.lower_rate for verdict in feed(monitor, [(height, 1.0) for height in heights])]
    assert lowered == [False, False, True, False, True, False, False, True]


def test_only_a_plateau_schedule_lowers_the_rate() -> None:
    assert not any(verdict.lower_rate for verdict in feed(make({"patience": 1}), [(0.5, 1.0)] * 9))


def test_a_plateau_may_be_of_another_metric() -> None:
    monitor = make({"kind": "plateau", "patience": 1, "metric": "loss"})
    assert monitor.metrics == ("loss", "auroc")
    verdicts = feed(monitor, [(0.5, 1.0), (0.5, 0.9), (0.9, 0.9)])
    assert [verdict.lower_rate for verdict in verdicts] == [False, False, True]


@pytest.mark.parametrize(
    ("until", "rows", "crossing"),
    [
        ("auroc=.90", [(0.8, 1), (0.85, 1), (0.95, 1)], (25, 30)),  # half-way from .85 to .95
        ("auroc=.90", [(0.8, 1), (0.9, 1)], (20, 20)),
        ("auroc=.90", [(0.95, 1)], (10, 10)),  # nothing is known before
        ("auroc=.90", [(NAN, 1), (0.95, 1)], (20, 20)),
        ("loss=.5", [(0.1, 0.9), (0.1, 0.4)], (18, 20)),  # four fifths of the way
        ("loss=.5", [(0.1, INF), (0.1, 0.4)], (20, 20)),
    ],
)
def test_the_first_crossing_is_interpolated_and_ends_the_run(
    until: str, rows: list[tuple[float, float]], crossing: tuple[float, int]
) -> None:
    monitor = make(until=until)
    stops = [verdict.stop for verdict in feed(monitor, rows)]
    assert stops[:-1] == [None] * (len(rows) - 1)
    assert stops[-1] == f"{until.replace('.90', '.9')} is reached, at step {crossing[0]}"
    found = monitor.crossing()
    assert found is not None
    assert found["step"] == pytest.approx(crossing[0])
    assert found["validated_at"] == crossing[1]


def test_a_loss_above_one_is_written_whole() -> None:
    assert str(parse_until("loss=10.5")) == "loss=10.5"


def test_a_score_that_was_not_reached_has_no_step() -> None:
    monitor = make(until="auroc=.90")
    assert [verdict.stop for verdict in feed(monitor, [(0.8, 1), (0.899, 1)])] == [None, None]
    assert monitor.crossing() == {"metric": "auroc", "value": 0.9, "step": None, "validated_at": None}
    assert make().crossing() is None


def test_the_first_crossing_stays_the_first() -> None:
    monitor = make(until="auroc=.90")
    feed(monitor, [(0.8, 1), (1.0, 1)])
    first = monitor.crossing()
    monitor.update(30, {"auroc": 0.5, "loss": 1})
    monitor.update(40, {"auroc": 1.0, "loss": 1})
    assert monitor.crossing() == first


@pytest.mark.parametrize("text", ["auroc=.90", " auroc = 0.9 ", "auroc=9e-1"])
def test_until_is_read(text: str) -> None:
    assert parse_until(text) == Until("auroc", 0.9)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("auroc", "auroc=.90"),
        ("=.9", "there is no metric ''"),
        ("auc=.9", "'auroc'"),
        ("auroc=high", "'high' is no number"),
        ("auroc=", "no number"),
        ("auroc=90", "up to 1"),
        ("auroc=nan", "up to 1"),
        ("loss=0", "above 0"),
        ("loss=inf", "above 0"),
    ],
)
def test_an_until_that_cannot_be_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make(until=text)


score = st.sampled_from([NAN, INF, 0.0, 0.5, 0.501, 0.6, 0.9, 1.0])


@given(st.lists(st.tuples(score, score), min_size=1, max_size=25), st.integers(0, 25), st.data())
def test_a_restored_monitor_decides_as_if_it_had_never_stopped(
    rows: list[tuple[float, float]], cut: int, data: st.DataObject
) -> None:
    metric = data.draw(st.sampled_from(["auroc", "loss"]))
    settings = {"metric": metric, "early_stopping": 3, "least_gain": 0.01, "until": "auroc=.95"}
    schedule = {"kind": "plateau", "patience": 2, "metric": "loss"}
    whole, first, second = (make(schedule, **settings) for _ in range(3))

    def update(monitor: Monitor, index: int) -> Verdict:
        return monitor.update(10 * index, {"auroc": rows[index][0], "loss": rows[index][1]})

    expected = [update(whole, index) for index in range(len(rows))]
    cut = min(cut, len(rows))
    before = [update(first, index) for index in range(cut)]
    second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    assert json.dumps(second.state()) == json.dumps(first.state())
    assert before + [update(second, index) for index in range(cut, len(rows))] == expected
    assert (second.best_step, second.crossing()) == (whole.best_step, whole.crossing())


def test_a_state_of_another_kind_is_refused() -> None:
    with pytest.raises(TrainingError, match="monitor's state"):
        make().restore({"best": 1})


def test_a_validation_without_a_needed_score_is_refused() -> None:
    with pytest.raises(TrainingError, match="without kappa"):
        make(until="kappa=.5").update(1, {"auroc": 1.0, "loss": 0.0})
