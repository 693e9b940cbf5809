"""How often each kind of 95 % interval holds what it should: `python tests/coverage_simulation.py`.

Draws many sets of scores whose true AUROC is known, gives each set every kind of interval, and counts. Prints a
Markdown table: of the sets on which a kind has an interval, the share that holds the truth, the shares in which the
truth lies below and above it, and the sets without an interval. The same seed gives the same table.

- one image per patient: scores of both classes are normal, moved apart so that the AUROC is .8;
- patients with 1 to 5 images: half of the variance within a class is the patient's;
- two models on the same images: their errors correlate by .5, true AUROCs .8 and .75; without difference for the
  permutation test, of which the share of sets with p above .05 is counted;
- five runs of one training, tested on the same images: how far each moves the classes apart varies about the mean.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import ndtr, ndtri

from medzoo.evaluation.metrics.discrimination import auroc
from medzoo.evaluation.predictions import FloatArray, Predictions
from medzoo.evaluation.uncertainty.bootstrap import enclose, resample
from medzoo.evaluation.uncertainty.counted import Counted, prepare_counted
from medzoo.evaluation.uncertainty.delong import Components, delong_interval, delong_test, find_components
from medzoo.evaluation.uncertainty.draws import find_units
from medzoo.evaluation.uncertainty.paired import permutation_test
from medzoo.evaluation.uncertainty.resampling import Resampling
from medzoo.evaluation.uncertainty.seeds import summarise_seeds

LEVEL, TRUE, OTHER = 0.95, 0.8, 0.75
#: The share of the variance within a class that a patient's images share, and that two models' errors share.
SHARED = 0.5
MOST_IMAGES = 5
RUNS, RUN_DEVIATION = 5, 0.1

#: A kind of interval, its ends, and what it should hold.
Found = tuple[str, float, float, float]


def make_table(labels: FloatArray, logits: FloatArray, patients: FloatArray | None = None) -> Predictions:
    """Make a table of two classes; logits only matter by their order."""
    said = ndtr(logits)
    return Predictions(
        ids=np.arange(len(labels)).astype(np.str_),
        labels=np.stack([1 - labels, labels], axis=1),
        scores=np.stack([1 - said, said], axis=1),
        classes=("no", "yes"),
        splits=np.full(len(labels), "test"),
        patients=None if patients is None else patients.astype(np.str_),
    )


def separate(area: float) -> float:
    """Give how far two normal classes of variance 1 lie apart for this AUROC."""
    return math.sqrt(2) * float(ndtri(area))


def bootstrap_kinds(
    counted: Counted, rows: Predictions, resampling: Resampling, clustered: bool, kinds: Sequence[str]
) -> Iterator[tuple[str, float, float]]:
    """Give the ends of several kinds of interval from one set of draws, as `bootstrap` gives each."""
    units = find_units(rows, clustered)
    values = resample([counted], units, resampling)[0]
    for kind in kinds:
        low, high = enclose(values, counted, units, replace(resampling, kind=kind))  # type: ignore[arg-type]
        yield kind, low, high


def try_rows(count: int, generator: np.random.Generator, resampling: Resampling) -> Iterator[Found]:
    """Give the intervals of one set with one image per patient."""
    labels = np.repeat([0.0, 1.0], count)
    rows = make_table(labels, separate(TRUE) * labels + generator.normal(size=2 * count))
    units = find_units(rows)
    for kind, low, high in bootstrap_kinds(
        prepare_counted(auroc, rows, units.of_rows), rows, resampling, False, ("percentile", "bca")
    ):
        yield f"stratified bootstrap, {kind}", low, high, TRUE
    yield "DeLong, on the logit scale", *delong_interval(rows), TRUE
    yield "DeLong, area ± 1.96 errors (not offered)", *measure_plain(find_components(rows)), TRUE


def measure_plain(components: Components | str) -> tuple[float, float]:
    """Give DeLong's interval without the logit, to show why there is one."""
    if isinstance(components, str) or not (variance := components.find_variance()) > 0:
        return math.nan, math.nan
    half = float(ndtri((1 + LEVEL) / 2)) * math.sqrt(variance)
    return components.area - half, components.area + half


def try_patients(count: int, generator: np.random.Generator, resampling: Resampling) -> Iterator[Found]:
    """Give the intervals of one set of patients with several images."""
    patients = np.repeat(np.arange(2 * count), generator.integers(1, MOST_IMAGES + 1, 2 * count))
    labels = (patients >= count).astype(np.float64)
    own, shared = generator.normal(size=patients.size), generator.normal(size=2 * count)[patients]
    logits = separate(TRUE) * labels + math.sqrt(SHARED) * shared + math.sqrt(1 - SHARED) * own
    rows = make_table(labels, logits, patients)
    for clustered, name in ((True, "patient-clustered"), (False, "images drawn one by one:")):
        units = find_units(rows, clustered)
        counted = prepare_counted(auroc, rows, units.of_rows)
        kinds = ("percentile", "bca") if clustered else ("percentile",)
        for kind, low, high in bootstrap_kinds(counted, rows, resampling, clustered, kinds):
            yield f"{name} bootstrap, {kind}", low, high, TRUE
        yield f"{name} DeLong", *delong_interval(rows, clustered=clustered), TRUE


def make_pair(count: int, areas: tuple[float, float], generator: np.random.Generator) -> list[Predictions]:
    """Make two models' tables of the same images, whose errors correlate."""
    labels, shared = np.repeat([0.0, 1.0], count), generator.normal(size=2 * count)
    return [
        make_table(
            labels,
            separate(area) * labels
            + math.sqrt(SHARED) * shared
            + math.sqrt(1 - SHARED) * generator.normal(size=2 * count),
        )
        for area in areas
    ]


def try_pairs(count: int, generator: np.random.Generator, resampling: Resampling) -> Iterator[Found]:
    """Give the intervals of the difference of two models on one set."""
    a, b = make_pair(count, (TRUE, OTHER), generator)
    first, second = (prepare_counted(auroc, rows) for rows in (a, b))
    for kind, low, high in bootstrap_kinds(
        lambda counts: first(counts) - second(counts), a, resampling, False, ("percentile", "bca")
    ):
        yield f"paired bootstrap of a difference, {kind}", low, high, TRUE - OTHER
    found = delong_test(a, b)
    yield "DeLong, of a difference", found.low, found.high, TRUE - OTHER
    p = permutation_test(
        auroc,
        *make_pair(count, (TRUE, TRUE), generator),
        permutations=resampling.replicates - 1,
        seed=resampling.seed,
    )
    # An interval that holds 0 where the test does not reject.
    yield "permutation test, no difference: p > .05", 0.0, p, 1 - LEVEL


def try_runs(count: int, generator: np.random.Generator, resampling: Resampling) -> Iterator[Found]:
    """Give the interval over seeds and patients of five runs tested on one set."""
    labels, shared = np.repeat([0.0, 1.0], count), generator.normal(size=2 * count)
    distances = separate(TRUE) + RUN_DEVIATION * generator.normal(size=RUNS)
    runs = [make_table(labels, distance * labels + shared) for distance in distances]
    found = summarise_seeds(auroc, runs, resampling)
    # The mean over all runs that might have been.
    true = float(ndtr(separate(TRUE) / math.sqrt(2 + RUN_DEVIATION**2)))
    yield f"{RUNS} runs, seeds × patients", found.low, found.high, true


TRIALS = (try_rows, try_patients, try_pairs, try_runs)


def simulate(count: int, sets: int, seed: int, replicates: int) -> dict[str, FloatArray]:
    """Count, for each kind, the sets whose interval holds the truth, lies above it, lies below it, or is undefined."""
    counts: dict[str, FloatArray] = {}
    for trial in TRIALS:
        for number in range(sets):
            generator = np.random.default_rng([seed, count, number])
            # Every set's resamples are its own.
            resampling = Resampling(replicates=replicates, seed=seed * sets + number, level=LEVEL)
            for name, low, high, true in trial(count, generator, resampling):
                tally = counts.setdefault(name, np.zeros(4))
                if math.isnan(low) or math.isnan(high):
                    tally[3] += 1
                else:
                    tally[[low <= true <= high, true < low, true > high].index(True)] += 1
    return counts


def main() -> None:
    """Simulate and print a table for each number of patients."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--patients", type=int, nargs="+", default=[150], help="of each class")
    options = parser.parse_args()
    for count in options.patients:
        start = time.perf_counter()
        counts = simulate(count, options.sets, options.seed, options.replicates)
        print(f"\n### {count} + {count} patients\n")
        print(
            f"True AUROC {TRUE}, {options.sets:,} sets, seed {options.seed}, {options.replicates:,} resamples.\n"
        )
        print("| 95 % interval | holds the truth | truth below | truth above | none |")
        print("|---|---:|---:|---:|---:|")
        for name, (held, below, above, none) in counts.items():
            total = held + below + above
            shares = [f"{100 * part / total:.1f} %" if total else "–" for part in (held, below, above)]
            print(f"| {name} | {' | '.join(shares)} | {none:.0f} |", flush=True)
        print(f"{count} + {count}: {time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
