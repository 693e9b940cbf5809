"""Runs on the same test images: brought into one order, several seeds of one training measured as one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from medzoo.errors import DataError
from medzoo.evaluation.metrics.calls import Metric
from medzoo.evaluation.metrics.registry import MetricSpec
from medzoo.evaluation.predictions import FloatArray, Predictions
from medzoo.evaluation.score import Score, count_rows
from medzoo.evaluation.subgroups import explain_spec
from medzoo.evaluation.tables.pairing import align
from medzoo.evaluation.uncertainty.bootstrap import Interval, bootstrap_all, resample
from medzoo.evaluation.uncertainty.counted import prepare_counted
from medzoo.evaluation.uncertainty.draws import find_units
from medzoo.evaluation.uncertainty.resampling import Resampling
from medzoo.evaluation.uncertainty.seeds import summarise_seeds

#: Keys the draws of seeds, which are not those of patients.
_STREAM = int.from_bytes(b"series", "big")

#: A name and the runs behind it: one, or several seeds of one training.
Series = Mapping[str, Sequence[Predictions]]

#: How many ids a refusal names of each side.
NAMED = 3


def align_all(series: Series, *, shared: bool = False) -> dict[str, list[Predictions]]:
    """Give the annotated test images of all runs in the order of the first run, or say which ones they do not share.

    `shared` keeps the images that all runs have as test images; else other test images are refused, and so are other
    validation images, where two runs have any: what one chose its weights by must not be what the other is tested on.

    Raises:
        DataError: no test images; other images, naming some; other classes, labels or patients of the same images.
    """
    runs = [(name, run) for name, several in series.items() for run in several]
    (first_name, first), *others = runs
    if not shared:
        for name, run in others:
            for split in ("test", "validation"):
                _check_images(first_name, first, name, run, split)
    kept = _find_shared([run for _, run in runs])
    reference = _take_ids(first, kept)
    if not len(reference.annotated()):
        found = "there are no shared test images" if shared else f"{first_name} has no labelled test images"
        raise DataError(found, "test images with labels", "medzoo predict on labelled data, or other runs")
    ordered = []
    for name, run in runs:
        reference, other = align(reference, _take_ids(run, kept), (first_name, name))
        ordered.append((name, other))
    aligned: dict[str, list[Predictions]] = {}
    for name, run in ordered:
        # Where a single run knows the patients, all are drawn by them.
        aligned.setdefault(name, []).append(replace(run, patients=reference.patients).annotated())
    return aligned


def measure_series(metric: Metric, runs: Sequence[Predictions]) -> float:
    """Give the mean of a metric over the seeds of one training; NaN where one is."""
    return float(np.mean([metric(run) for run in runs]))


def replicate_series(metric: Metric, series: Series, resampling: Resampling) -> dict[str, FloatArray]:
    """Give the mean over seeds in each resample (R,) of aligned runs: patients are drawn once for all, then seeds.

    Of s seeds of a training s − 1 are drawn, with replacement, as `summarise_seeds` does.
    """
    rows = next(iter(series.values()))[0]
    units = find_units(rows)
    counted = {
        (name, place): prepare_counted(metric, run, units.of_rows)
        for name, runs in series.items()
        for place, run in enumerate(runs)
    }
    drawn = dict(zip(counted, resample(list(counted.values()), units, resampling), strict=True))
    generator = np.random.Generator(np.random.SFC64(np.random.SeedSequence([resampling.seed, _STREAM])))
    means = {}
    for name, runs in series.items():
        values = np.stack([drawn[name, place] for place in range(len(runs))])
        if len(runs) > 1:
            chosen = generator.integers(0, len(runs), (len(runs) - 1, values.shape[1]))
            values = np.take_along_axis(values, chosen, axis=0)
        means[name] = values.mean(axis=0)
    return means


def score_series(
    specs: Sequence[MetricSpec], runs: Sequence[Predictions], resampling: Resampling
) -> dict[str, tuple[Score, float]]:
    """Score one run by each metric, or the mean over seeds; with the seeds' sample sd, NaN for one run."""
    rows = runs[0]
    counts = count_rows(rows)
    if len(runs) > 1:
        summaries = {spec.name: summarise_seeds(spec.measure, runs, resampling) for spec in specs}
        return {
            name: (Score(one.mean, one.low, one.high, counts, one.reason), one.deviation)
            for name, one in summaries.items()
        }
    values = {spec.name: spec.measure(rows) for spec in specs}
    defined = {spec.name: spec.measure for spec in specs if not math.isnan(values[spec.name])}
    intervals = bootstrap_all(defined, rows, resampling) if defined else {}
    for spec in specs:
        if spec.name not in defined:
            intervals[spec.name] = Interval(math.nan, math.nan, explain_spec(spec, rows) or "undefined")
    return {
        name: (
            Score(value, intervals[name].low, intervals[name].high, counts, intervals[name].reason),
            math.nan,
        )
        for name, value in values.items()
    }


def _check_images(name: str, run: Predictions, other_name: str, other: Predictions, split: str) -> None:
    """Refuse runs whose images of a split are not the same; of validation, only where both have some."""
    ours, theirs = run.ids[run.splits == split], other.ids[other.splits == split]
    if split == "validation" and not (ours.size and theirs.size):
        return
    alone = [np.setdiff1d(ours, theirs), np.setdiff1d(theirs, ours)]
    if not alone[0].size and not alone[1].size:
        return
    told = [
        f"{ids.size:,} in {owner} alone ({', '.join(map(repr, ids[:NAMED].tolist()))}{', …' * (ids.size > NAMED)})"
        for owner, ids in zip((name, other_name), alone, strict=True)
        if ids.size
    ]
    both = np.intersect1d(run.ids[run.splits == "test"], other.ids[other.splits == "test"]).size
    raise DataError(
        f"{name} and {other_name} have other {split} images: {', '.join(told)}",
        f"the same {split} images",
        f"--shared, which compares on the {both:,} images that are test images of both"
        if both
        else "medzoo predict RUN --data DATA, with each run on the same images",
    )


def _find_shared(runs: Sequence[Predictions]) -> set[str]:
    """Find the ids that are test images of all runs."""
    ids = [set(run.ids[run.splits == "test"].tolist()) for run in runs]
    return set.intersection(*ids)


def _take_ids(run: Predictions, ids: set[str]) -> Predictions:
    """Give the test rows of some ids, in the run's order."""
    test = run.of_split("test")
    return test.take(
        np.array([row for row, name in enumerate(test.ids.tolist()) if name in ids], dtype=np.int64)
    )
