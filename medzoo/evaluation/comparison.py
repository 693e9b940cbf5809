"""Runs side by side: differences on the same patients, with intervals and p-values that know of one another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from medzoo.errors import ConfigError, nearest
from medzoo.evaluation.gaps import none_for_nan
from medzoo.evaluation.metrics.registry import MetricSpec, find_metric
from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.score import Counts, Score, count_rows
from medzoo.evaluation.series import Series, align_all, measure_series, replicate_series, score_series
from medzoo.evaluation.uncertainty.bootstrap import Shift, Spread
from medzoo.evaluation.uncertainty.multiplicity import adjust_holm
from medzoo.evaluation.uncertainty.paired import Difference, paired_bootstrap
from medzoo.evaluation.uncertainty.resampling import Resampling

#: Which runs are compared: each with the first, or each with each.
Pairs = Literal["first", "all"]


@dataclass(frozen=True)
class Compared:
    """Two runs by one metric: `difference` is that of `run` minus `baseline`, `p` is adjusted over the whole family.

    `better` names the better one, or is None where the difference is not significant; `words` say it in a sentence.
    """

    run: str
    baseline: str
    metric: str
    difference: Difference
    p: float
    better: str | None
    words: str

    def describe(self) -> dict[str, Any]:
        """Give everything as plain JSON, None where a number is undefined."""
        difference = self.difference
        entry: dict[str, Any] = {"run": self.run, "baseline": self.baseline, "metric": self.metric}
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
class Comparison:
    """Each run's scores by metric, its sample sd over seeds (NaN for one run), and the differences between runs."""

    metrics: tuple[str, ...]
    scores: Mapping[str, Mapping[str, Score]]
    deviations: Mapping[str, Mapping[str, float]]
    seeds: Mapping[str, int]
    differences: tuple[Compared, ...]
    counts: Counts
    level: float

    def describe(self) -> dict[str, Any]:
        """Give everything as plain JSON, None where a number is undefined."""
        return {
            **self.counts.describe(),
            "level": self.level,
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
) -> Comparison:
    """Compare runs on the same test images: each with the first, or ("all") each with each.

    The value of a name may be several seeds of one training, which are one run then: their mean. Differences are
    paired: each resample draws patients once for both runs. p-values are adjusted by Holm over all pairs and metrics.
    `shared` compares on the images that all runs have as test images, where they have others too.

    Raises:
        ConfigError: fewer than two runs, no metrics, no such metric, or other pairs.
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
    scored = {name: score_series(specs, several, resampling) for name, several in aligned.items()}
    chosen = list(itertools.combinations(aligned, 2))
    if pairs == "first":
        chosen = [pair for pair in chosen if pair[0] == next(iter(aligned))]
    measured = [
        (run, baseline, spec, _subtract(spec, aligned[run], aligned[baseline], resampling))
        for baseline, run in chosen
        for spec in specs
    ]
    adjusted = adjust_holm([difference.p for *_, difference in measured])
    return Comparison(
        metrics=tuple(spec.name for spec in specs),
        scores={name: {metric: score for metric, (score, _) in one.items()} for name, one in scored.items()},
        deviations={name: {metric: sd for metric, (_, sd) in one.items()} for name, one in scored.items()},
        seeds={name: len(several) for name, several in aligned.items()},
        differences=tuple(
            _judge(*entry, p, len(measured), 1 - resampling.level)
            for entry, p in zip(measured, adjusted, strict=True)
        ),
        counts=count_rows(next(iter(aligned.values()))[0]),
        level=resampling.level,
    )


def _find_specs(metrics: Sequence[str]) -> list[MetricSpec]:
    """Find metrics by name, each once."""
    if not metrics:
        raise ConfigError("no metric", "one or more", "auroc")
    return [find_metric(name) for name in dict.fromkeys(metrics)]


def _subtract(
    spec: MetricSpec, run: Sequence[Predictions], baseline: Sequence[Predictions], resampling: Resampling
) -> Difference:
    """Give the paired difference run − baseline: of two runs, or of the means over two sets of seeds."""
    if len(run) == 1 and len(baseline) == 1:
        return paired_bootstrap(spec.measure, run[0], baseline[0], resampling)
    return _subtract_seeds(spec, run, baseline, resampling)


def _subtract_seeds(
    spec: MetricSpec, run: Sequence[Predictions], baseline: Sequence[Predictions], resampling: Resampling
) -> Difference:
    """Give the difference of means over seeds: each resample draws patients for all runs, then seeds of each side."""
    value = measure_series(spec.measure, run) - measure_series(spec.measure, baseline)
    counts = count_rows(run[0])
    if math.isnan(value):
        return Difference(math.nan, math.nan, math.nan, math.nan, counts, "undefined for a run")
    drawn = replicate_series(spec.measure, {"run": run, "baseline": baseline}, resampling)
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
    spec: MetricSpec,
    difference: Difference,
    p: float,
    family: int,
    alpha: float,
) -> Compared:
    """Say what a difference means."""
    compared = Compared(run, baseline, spec.name, difference, p, None, "")
    if math.isnan(p):
        return replace(compared, words=f"no comparison: {difference.reason or 'undefined'}")
    told = f"p {write_p(p)}{', adjusted' if family > 1 else ''}"
    if p > alpha or difference.value == 0:
        return replace(compared, words=f"no significant difference ({told})")
    better = run if (difference.value > 0) == spec.higher_is_better else baseline
    return replace(compared, better=better, words=f"{better} is better ({told})")


def write_p(p: float) -> str:
    """Write a p-value with two digits and its sign of equality.

    >>> write_p(0.314), write_p(0.0123), write_p(0.0001), write_p(1.0)
    ('= .31', '= .012', '< .001', '= 1')
    """
    if p < 0.001:
        return "< .001"
    if p > 0.995:
        return "= 1"
    return f"= {p:.2f}".replace("0.", ".") if p >= 0.0995 else f"= {p:.2g}".replace("0.", ".")
