"""Runs side by side: differences on the same patients, with intervals and p-values that know of one another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from medzoo.errors import ConfigError, nearest
from medzoo.evaluation.calibration.chance import NO_INTERVAL, is_binned
from medzoo.evaluation.gaps import none_for_nan
from medzoo.evaluation.metrics.calls import Metric, list_positive_columns
from medzoo.evaluation.metrics.registry import MetricSpec, find_metric
from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.score import Counts, Score, count_rows
from medzoo.evaluation.series import Series, align_all, measure_series, replicate_series, score_series
from medzoo.evaluation.uncertainty.bootstrap import Shift, Spread
from medzoo.evaluation.uncertainty.by_class import OfClass, take_class
from medzoo.evaluation.uncertainty.delong import delong_test
from medzoo.evaluation.uncertainty.multiplicity import adjust_holm
from medzoo.evaluation.uncertainty.paired import Difference, paired_bootstrap
from medzoo.evaluation.uncertainty.resampling import Resampling

#: Which runs are compared: each with the first, or each with each.
Pairs = Literal["first", "all"]

#: No more resamples than these are drawn where fewer were asked for: time and memory grow with them.
MOST_REPLICATES = 20_000

#: How far below the level of significance the smallest adjusted p-value must be able to lie: a fifth of it.
_ROOM = 5

#: Metrics of probabilities that a class against the rest has too; of calls it has none, which are the highest score.
_OF_CLASS = ("brier", "nll")


@dataclass(frozen=True)
class Compared:
    """Two runs by one metric: `difference` is that of `run` minus `baseline`, `p` is adjusted over the whole family.

    `better` names the better one, or is None where the difference is not significant; `words` say it in a sentence.
    `label` is the label or class that the metric is of, None where it is of the whole table.
    """

    run: str
    baseline: str
    metric: str
    difference: Difference
    p: float
    better: str | None
    words: str
    label: str | None = None

    @property
    def measured(self) -> str:
        """What was measured: the metric, and the label where it is of one."""
        return self.metric if self.label is None else f"{self.metric} {self.label}"

    def describe(self) -> dict[str, Any]:
        """Give everything as plain JSON, None where a number is undefined."""
        difference = self.difference
        entry: dict[str, Any] = {"run": self.run, "baseline": self.baseline, "metric": self.metric}
        entry |= {} if self.label is None else {"label": self.label}
        entry |= {
            "difference": none_for_nan(difference.value),
            "low": none_for_nan(difference.low),
            "high": none_for_nan(difference.high),
            "p": none_for_nan(difference.p),
            "p_adjusted": none_for_nan(self.p),
            "better": self.better,
            "words": self.words,
        }
        return entry if difference.reason is None else entry | {"reason": difference.reason}


@dataclass(frozen=True)
class _Question:
    """A metric of the whole table, or of one label or class of it, by its place."""

    spec: MetricSpec
    label: str | None = None
    column: int | None = None

    @property
    def measure(self) -> Metric:
        """The metric as a function of the whole table."""
        return self.spec.measure if self.column is None else OfClass(self.spec.measure, self.column)


@dataclass(frozen=True)
class Comparison:
    """Each run's scores by metric, its sample sd over seeds (NaN for one run), and the differences between runs.

    `replicates` are the resamples that were drawn; `test` says what the differences were tested by.
    """

    metrics: tuple[str, ...]
    scores: Mapping[str, Mapping[str, Score]]
    deviations: Mapping[str, Mapping[str, float]]
    seeds: Mapping[str, int]
    differences: tuple[Compared, ...]
    counts: Counts
    level: float
    replicates: int
    test: Literal["bootstrap", "delong"]

    def describe(self) -> dict[str, Any]:
        """Give everything as plain JSON, None where a number is undefined."""
        return {
            **self.counts.describe(),
            "level": self.level,
            "replicates": self.replicates,
            "test": self.test,
            "runs": {
                name: {
                    "seeds": self.seeds[name],
                    "metrics": {
                        metric: score.describe() | {"deviation": none_for_nan(self.deviations[name][metric])}
                        for metric, score in scores.items()
                    },
                }
                for name, scores in self.scores.items()
            },
            "differences": [compared.describe() for compared in self.differences],
        }


def compare(
    runs: Mapping[str, Predictions | Sequence[Predictions]],
    metrics: Sequence[str],
    resampling: Resampling,
    *,
    pairs: Pairs = "first",
    shared: bool = False,
    by_label: bool = False,
    delong: bool = False,
) -> Comparison:
    """Compare runs on the same test images: each with the first, or ("all") each with each.

    The value of a name may be several seeds of one training, which are one run then: their mean. Differences are
    paired: each resample draws patients once for both runs. p-values are adjusted by Holm over all pairs and metrics,
    and more resamples are drawn, up to 20,000, where the smallest possible p could not be significant then.
    `shared` compares on the images that all runs have as test images, where they have others too. `by_label` compares
    each label, or each of several exclusive classes against the rest, in place of the table's mean, by each metric
    that one label has; they share their draws and the adjustment. `delong` tests AUROC by DeLong's paired test, over
    patients where they are known, in place of the bootstrap.

    Raises:
        ConfigError: fewer than two runs, no metrics, no such metric, other pairs, `by_label` of a single label, or
            `delong` of other metrics, of a mean over labels, or with several seeds.
        DataError: other test or validation images, labels or classes.

    >>> true = np.array([0, 1] * 30)
    >>> def predict(said):
    ...     said = np.resize(said, 60)
    ...     return Predictions(np.arange(60).astype(str), np.eye(2)[true], np.stack([1 - said, said], axis=1),
    ...                        ("no", "yes"), np.array(["test"] * 60))
    >>> found = compare({"old": predict([0.1, 0.9, 0.9, 0.1]), "new": predict([0.1, 0.9, 0.1, 0.9, 0.9, 0.1])},
    ...                 ["accuracy"], Resampling(replicates=500))
    >>> found.scores["new"]["accuracy"].value > found.scores["old"]["accuracy"].value
    True
    >>> found.differences[0].run, found.differences[0].baseline
    ('new', 'old')
    """
    specs = _find_specs(metrics)
    if pairs not in ("first", "all"):
        raise ConfigError(f"pairs {pairs!r}", nearest(pairs, ("first", "all")))
    if len(runs) < 2:
        raise ConfigError(f"{len(runs)} run to compare", "two or more", "medzoo compare RUN_A RUN_B")
    series: Series = {
        name: [run] if isinstance(run, Predictions) else list(run) for name, run in runs.items()
    }
    aligned = align_all(series, shared=shared)
    questions = _list_questions(specs, next(iter(aligned.values()))[0], by_label)
    if delong:
        _check_delong(questions, aligned)
    chosen = list(itertools.combinations(aligned, 2))
    if pairs == "first":
        chosen = [pair for pair in chosen if pair[0] == next(iter(aligned))]
    asked = [(run, baseline, question) for baseline, run in chosen for question in questions]
    family, alpha = len(asked), 1 - resampling.level
    if not delong:
        wanted = min(find_replicates(family, alpha), MOST_REPLICATES)
        resampling = replace(resampling, replicates=max(resampling.replicates, wanted))
    scored = {name: score_series(specs, several, resampling) for name, several in aligned.items()}
    subtract = _subtract_by_delong if delong else _subtract
    measured = [
        subtract(question, aligned[run], aligned[baseline], resampling) for run, baseline, question in asked
    ]
    adjusted = adjust_holm([difference.p for difference in measured])
    # With a resample beyond 0, p is 4 / (R + 1) or more, however many are undefined; DeLong's p has no floor.
    floor = 0.0 if delong else 4 / (resampling.replicates + 1)
    return Comparison(
        metrics=tuple(spec.name for spec in specs),
        scores={name: {metric: score for metric, (score, _) in one.items()} for name, one in scored.items()},
        deviations={name: {metric: sd for metric, (_, sd) in one.items()} for name, one in scored.items()},
        seeds={name: len(several) for name, several in aligned.items()},
        differences=tuple(
            _judge(*entry, difference, p, family, alpha, floor)
            for entry, difference, p in zip(asked, measured, adjusted, strict=True)
        ),
        counts=count_rows(next(iter(aligned.values()))[0]),
        level=resampling.level,
        replicates=resampling.replicates,
        test="delong" if delong else "bootstrap",
    )


def find_replicates(family: int, alpha: float = 0.05) -> int:
    """Find how many resamples let the smallest p-value, adjusted over a family, lie at a fifth of alpha.

    The smallest p-value of R resamples is 2 / (R + 1), and Holm multiplies it by the family's size.

    >>> find_replicates(1), find_replicates(36)
    (199, 7199)
    """
    return math.ceil(round(2 * family * _ROOM / alpha, 6)) - 1


def _find_specs(metrics: Sequence[str]) -> list[MetricSpec]:
    """Find metrics by name, each once."""
    if not metrics:
        raise ConfigError("no metric", "one or more", "auroc")
    return [find_metric(name) for name in dict.fromkeys(metrics)]


def _list_questions(specs: Sequence[MetricSpec], rows: Predictions, by_label: bool) -> list[_Question]:
    """List the metrics, those that one label has for each label or class where asked for."""
    if not by_label:
        return [_Question(spec) for spec in specs]
    columns = list_positive_columns(rows)
    if len(columns) < 2:
        raise ConfigError(
            f"each label of {', '.join(rows.classes)}", "several labels or classes", "no --labels"
        )
    questions = []
    for spec in specs:
        if spec.needs in ("pooled", "top") or (
            rows.exclusive and spec.kind != "ranking" and spec.name not in _OF_CLASS
        ):
            questions.append(_Question(spec))
        else:
            questions += [_Question(spec, rows.classes[column], column) for column in columns]
    return questions


def _check_delong(questions: Sequence[_Question], aligned: Series) -> None:
    """Refuse what DeLong's test is not of."""
    other = next((question.spec.name for question in questions if question.spec.name != "auroc"), None)
    if other is not None:
        raise ConfigError(f"DeLong's test of {other}", "auroc alone", "no --delong, or --metric auroc")
    first = next(iter(aligned.values()))[0]
    if any(question.column is None for question in questions) and len(list_positive_columns(first)) > 1:
        found = f"DeLong's test of the mean AUROC of {len(first.classes)} labels or classes"
        raise ConfigError(found, "one AUROC at a time", "--labels, which tests each, or no --delong")
    several = next((name for name, runs in aligned.items() if len(runs) > 1), None)
    if several is not None:
        found = f"DeLong's test with several seeds of {several}"
        raise ConfigError(found, "one run of each", "--separate, which compares seeds, or no --delong")


def _subtract(
    question: _Question, run: Sequence[Predictions], baseline: Sequence[Predictions], resampling: Resampling
) -> Difference:
    """Give the paired difference run − baseline: of two runs, or of the means over two sets of seeds."""
    if len(run) == 1 and len(baseline) == 1:
        found = paired_bootstrap(question.measure, run[0], baseline[0], resampling)
    else:
        found = _subtract_seeds(question.measure, run, baseline, resampling)
    if question.column is None:
        return found
    return replace(found, counts=count_rows(take_class(run[0], question.column)))


def _subtract_by_delong(
    question: _Question, run: Sequence[Predictions], baseline: Sequence[Predictions], resampling: Resampling
) -> Difference:
    """Give the difference of two AUROCs run − baseline, with DeLong's interval and p-value."""
    return delong_test(run[0], baseline[0], question.column, resampling.level)


def _subtract_seeds(
    metric: Metric, run: Sequence[Predictions], baseline: Sequence[Predictions], resampling: Resampling
) -> Difference:
    """Give the difference of means over seeds: each resample draws patients for all runs, then seeds of each side."""
    value = measure_series(metric, run) - measure_series(metric, baseline)
    counts = count_rows(run[0])
    if math.isnan(value):
        return Difference(math.nan, math.nan, math.nan, math.nan, counts, "undefined for a run")
    if is_binned(metric):
        return Difference(value, math.nan, math.nan, math.nan, counts, NO_INTERVAL)
    drawn = replicate_series(metric, {"run": run, "baseline": baseline}, resampling)
    differences = drawn["run"] - drawn["baseline"]
    defined = differences[~np.isnan(differences)]
    if 2 * defined.size < differences.size or not np.ptp(defined):
        lost = f"undefined in {differences.size - defined.size} of {differences.size} resamples"
        reason = (
            f"no interval: {lost if defined.size < differences.size else 'every resample gives the same'}"
        )
        return Difference(value, math.nan, math.nan, math.nan, counts, reason)
    # Whatever kind is asked for: which seeds are drawn has no influence function that BCa could be built on.
    spread = Spread(defined, Shift(0.0, 0.0))
    low, high = spread.find_interval(resampling.level)
    return Difference(value, low, high, spread.test_zero(), counts)


def _judge(
    run: str,
    baseline: str,
    question: _Question,
    difference: Difference,
    p: float,
    family: int,
    alpha: float,
    floor: float,
) -> Compared:
    """Say what a difference means; below `floor`, 0 lies outside of all resamples and p could not be smaller."""
    spec = question.spec
    compared = Compared(run, baseline, spec.name, difference, p, None, "", question.label)
    if math.isnan(p):
        return replace(compared, words=f"no comparison: {difference.reason or 'undefined'}")
    told = f"p {write_p(p)}{', adjusted' if family > 1 else ''}"
    if p > alpha and difference.p < floor:
        needed = find_replicates(family, alpha)
        return replace(compared, words=f"p at its floor; needs --replicates {needed} ({told})")
    if p > alpha or difference.value == 0:
        return replace(compared, words=f"no significant difference ({told})")
    better = run if (difference.value > 0) == spec.higher_is_better else baseline
    return replace(compared, better=better, words=f"{better} is better ({told})")


def write_p(p: float) -> str:
    """Write a p-value with its sign of equality: three decimals below .1, two above, and never 0.

    >>> write_p(0.314), write_p(0.0123), write_p(0.0001), write_p(1.0)
    ('= .31', '= .012', '< .001', '= 1')
    """
    if p < 0.001:
        return "< .001"
    if p > 0.995:
        return "= 1"
    return f"= {p:.2f}".replace("0.", ".") if p >= 0.0995 else f"= {p:.3f}".replace("0.", ".")
