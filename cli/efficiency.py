"""medzoo efficiency: scores over fractions of the training data, and how much of it another start would save."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .compare import check_paths
from .output import clean, print_columns, print_json, print_note
from .score_text import write_counts, write_interval, write_number

if TYPE_CHECKING:
    from medzoo.evaluation.efficiency import EfficiencyCurve, LabelsSaved
    from medzoo.evaluation.predictions import Predictions
    from medzoo.training.facts import RunFacts

#: A table of predictions with the percent of the training patients that its run had: 10=small.csv.
_MARKED = re.compile(r"(?P<fraction>\d+\.?\d*|\.\d+)=(?P<path>.+)")


@click.command("efficiency")
@click.argument("runs", metavar="RUN|PERCENT=FILE…", nargs=-1)
@click.option(
    "--against", multiple=True, metavar="RUN|FILE", help="The full-data run to be reached; again for seeds."
)
@click.option("--metric", default="auroc", show_default=True, metavar="NAME", help="The score.")
@click.option("--json", "as_json", is_flag=True, help="Print the curve as JSON and nothing else.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draws.")
@click.option("--replicates", type=click.IntRange(min=1), default=1000, show_default=True, help="Resamples.")
def command(
    runs: tuple[str, ...], against: tuple[str, ...], metric: str, as_json: bool, seed: int, replicates: int
) -> None:
    """Print the score of runs that were trained on fractions of the same patients.

    Each RUN's fraction is that of its config.toml (medzoo train --fraction), and runs of one fraction are seeds. A
    table of predictions is given with its percent. With --against, the fraction is found at which these runs reach
    that run's score, by monotone interpolation, with a 95 % interval over patients and seeds; "not reached" is an
    answer. Nothing is written.

    \b
    Examples:
      medzoo efficiency runs/imagenet-10 runs/imagenet-50 runs/imagenet-100 --against runs/random-100
      medzoo efficiency 10=small.csv 100=all.csv --against others.csv --metric auprc
    """
    from medzoo.evaluation.efficiency import efficiency_curve, labels_saved
    from medzoo.evaluation.uncertainty.resampling import Resampling

    points, facts = _read_points(runs)
    full = _read_full(against, runs)
    _check_series(facts)
    resampling = Resampling(replicates=replicates, seed=seed)
    curve = efficiency_curve(points, metric, resampling)
    saved = labels_saved(points, full, metric, resampling) if full else None
    if as_json:
        described = curve.describe() | {"runs": list(runs)}
        if saved is not None:
            described |= {"against": list(against), "labels_saved": saved.describe()}
        print_json(described)
        return
    click.echo(f"test: {write_counts(curve.points[0].score.counts)}")
    _print_curve(curve)
    if saved is not None:
        click.echo()
        click.echo(clean(tell_saved(saved, curve, " and ".join(against))))


def tell_saved(saved: LabelsSaved, curve: EfficiencyCurve, target: str) -> str:
    """Say in a sentence or two with how much of the data a score is reached."""
    from medzoo.evaluation.efficiency import AT_SMALLEST, NOT_REACHED

    score = f"{curve.metric} {write_number(saved.target)} of {target}"
    largest = curve.points[-1].fraction
    if saved.reason == NOT_REACHED:
        told = f"{score}: not reached with up to {largest:g} % of the training patients"
    elif math.isnan(saved.fraction):
        return f"{score}: no answer, {saved.reason}"
    elif saved.reason == AT_SMALLEST:
        told = f"{score}: reached with {saved.fraction:g} % already, the smallest fraction there is"
    else:
        told = (
            f"{score}: reached with {_write_percent(saved.fraction)} of the training patients, "
            f"so {_write_percent(saved.saved)} of the labels are saved"
        )
    if math.isnan(saved.low):
        return f"{told}; no interval"
    share = f"reached in {_write_percent(100 * saved.reached)} of the resamples"
    if math.isinf(saved.low):
        return f"{told}; {share}"
    ends = " to ".join(
        NOT_REACHED if math.isinf(end) else _write_percent(end) for end in (saved.low, saved.high)
    )
    return f"{told}; 95 % interval {ends}, {share}"


def _write_percent(value: float) -> str:
    """Write a percentage with two digits or more."""
    return f"{value:.0f} %" if value >= 9.95 or value == 0 else f"{value:.2g} %"


def _read_points(runs: tuple[str, ...]) -> tuple[list[tuple[float, Predictions]], list[RunFacts]]:
    """Read each run's fraction and predictions, and what is known of the runs that are none of tables."""
    from medzoo.errors import ConfigError
    from medzoo.evaluation.predictions import load_predictions
    from medzoo.training.facts import read_facts

    check_paths(tuple(_split_mark(run)[1] for run in runs))
    points, known = [], []
    for run in runs:
        percent, path = _split_mark(run)
        facts = read_facts(Path(path))
        if facts is None and percent is None:
            if Path(path).exists():
                found, remedy = f"{path} does not say its fraction", f"10={path}, if it was trained on 10 %"
                raise ConfigError(found, "a run, or PERCENT=FILE", remedy)
            raise ConfigError(f"there is no {path}", "a run, or PERCENT=FILE", "medzoo runs")
        if facts is not None:
            known.append(facts)
        fraction = percent if percent is not None else facts.fraction if facts else 100.0
        points.append((fraction, load_predictions(path)))
    return points, known


def _split_mark(run: str) -> tuple[float | None, str]:
    """Split PERCENT=FILE; a path that is there is a path, whatever its name."""
    marked = None if Path(run).exists() else _MARKED.fullmatch(run)
    return (float(marked["fraction"]), marked["path"]) if marked else (None, run)


def _read_full(against: tuple[str, ...], runs: tuple[str, ...]) -> list[Predictions]:
    """Read the predictions of the runs to be reached, which had all of the data."""
    from medzoo.errors import ConfigError
    from medzoo.evaluation.predictions import load_predictions
    from medzoo.training.facts import read_facts

    if against:
        check_paths(against)
    own = tuple(_split_mark(run)[1] for run in runs)
    for path in against:
        facts = read_facts(Path(path))
        if facts is not None and facts.fraction < 100:
            found = f"--against {path}, which was trained on {facts.fraction:g} % of the patients"
            raise ConfigError(found, "a run with all of the data", "medzoo train without --fraction")
        try:
            check_paths((*own, path))
        except ConfigError as error:
            found = f"--against {path}, which is one of the curve's own"
            raise ConfigError(found, "another run") from error
    return [load_predictions(path) for path in against]


def _check_series(facts: list[RunFacts]) -> None:
    """Refuse runs that differ by more than fraction and seed: their curve would be of two things."""
    from medzoo.errors import ConfigError
    from medzoo.training.config import list_differences

    for one in facts[1:]:
        differences = list_differences(facts[0].settings, one.settings)
        if differences:
            found = f"{facts[0].path} and {one.path} differ by more than fraction and seed: {differences[0]}"
            raise ConfigError(found, "runs of one training", "medzoo compare for different ones")


def _print_curve(curve: EfficiencyCurve) -> None:
    """Print a line a fraction."""
    header = ("patients", curve.metric, "95 % interval", "seeds", "sd")
    rows = [
        (
            f"{point.fraction:g} %",
            "undefined" if math.isnan(point.score.value) else write_number(point.score.value),
            write_interval(point.score.low, point.score.high),
            str(point.seeds),
            write_number(point.deviation),
        )
        for point in curve.points
    ]
    print_columns(header, rows, numbers=(0, 3))
    for point in curve.points:
        if point.score.reason:
            print_note(f"{point.fraction:g} %: {point.score.reason}")
