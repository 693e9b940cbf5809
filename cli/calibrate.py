"""medzoo calibrate: what turns a run's scores into probabilities, fitted on its validation rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from .output import clean, print_columns, print_json, print_note
from .score_text import write_number

if TYPE_CHECKING:
    from medzoo.evaluation.predictions import Predictions
    from medzoo.evaluation.score import Score
    from medzoo.evaluation.uncertainty.resampling import Resampling

#: What is measured before and after, beside its name.
METRICS = ("ece", "nll", "brier")

#: What is measured over bins, whose number changes it.
BINNED = "ece"

#: Fewer validation rows than this give isotonic regression steps of chance.
MANY_FOR_ISOTONIC = 1000


@click.command("calibrate")
@click.argument("run", metavar="RUN")
@click.option(
    "--method",
    default="temperature",
    show_default=True,
    metavar="temperature|platt|isotonic",
    help="One number for the logits, a logistic curve, or rising steps.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draws.")
@click.option("--replicates", type=click.IntRange(min=1), default=1000, show_default=True, help="Resamples.")
@click.option("--overwrite", is_flag=True, help="Replace the run's calibration.")
@click.option("--json", "as_json", is_flag=True, help="Print the calibration and its scores as JSON.")
def command(run: str, method: str, seed: int, replicates: int, overwrite: bool, as_json: bool) -> None:
    """Fit a calibration on a run's validation rows; `medzoo predict` applies it to new images.

    Prints NLL and Brier score before and after, with 95 % intervals, and the ECE beside what chance gives, on the
    validation rows that it was fitted on and on the test rows that it was not, and writes RUN/calibration.json.
    Labels are calibrated one by one. The run's own predictions stay as they are, and no network is needed.

    \b
    Examples:
      medzoo calibrate runs/chest
      medzoo calibrate runs/chest --method platt --overwrite
    """
    from medzoo.errors import ConfigError, DataError
    from medzoo.evaluation.calibration.calibration import write_calibration
    from medzoo.evaluation.calibration.fitting import fit_calibration
    from medzoo.evaluation.predictions import load_predictions
    from medzoo.evaluation.uncertainty.resampling import Resampling
    from medzoo.outputs import digest_file
    from medzoo.training.calibrated import CALIBRATION
    from medzoo.training.trained import read_run

    path = read_run(run).path
    target = path / CALIBRATION
    if target.exists() and not overwrite:
        raise ConfigError(f"{target} exists", "a run that is not calibrated", "--overwrite")
    predictions = load_predictions(path)
    validation = predictions.of_split("validation")
    if not len(validation.annotated()):
        raise DataError(
            f"{path} has no annotated validation rows", "rows to fit a calibration on", "another run"
        )
    source = digest_file(path / "predictions.csv")
    calibration = replace(fit_calibration(validation, method), source=source)  # type: ignore[arg-type]
    after = calibration.apply(predictions)
    resampling = Resampling(replicates=replicates, seed=seed)
    scores = {
        split: (
            measure_calibration(predictions.of_split(split), resampling),
            measure_calibration(after.of_split(split), resampling),
        )
        for split in ("validation", "test")
        if (predictions.splits == split).any()
    }
    write_calibration(calibration, target)
    if as_json:
        print_json(
            {
                "run": run,
                "calibration": calibration.describe(),
                "uncalibrated": calibration.uncalibrated,
                "splits": {split: describe_scores(*pair) for split, pair in scores.items()},
                "out": str(target),
            }
        )
        return
    click.echo(calibration.summarise())
    print_scores(scores)
    for name, reason in calibration.uncalibrated.items():
        print_note(f"{clean(name)} is not calibrated: {reason}")
    if method == "isotonic" and calibration.n < MANY_FOR_ISOTONIC:
        print_note(
            f"isotonic regression on {calibration.n:,} rows fits chance too; temperature and platt need fewer"
        )
    click.echo(str(target))


@dataclass(frozen=True)
class Measured:
    """One split's scores, and what its ECE would be by chance if the scores were right."""

    scores: dict[str, Score]
    chance: float


def measure_calibration(rows: Predictions, resampling: Resampling) -> Measured:
    """Measure the calibration of one split's rows, with intervals, and reasons where something is undefined."""
    from medzoo.evaluation.calibration.chance import measure_chance
    from medzoo.evaluation.calibration.metrics import ece
    from medzoo.evaluation.metrics.registry import explain_undefined, find_metric
    from medzoo.evaluation.scores import measure

    reasons = {name: explain_undefined(name, rows) or "" for name in METRICS}
    scores = measure({name: find_metric(name).measure for name in METRICS}, rows, resampling, reasons)
    if math.isnan(scores[BINNED].value):
        return Measured(scores, math.nan)
    return Measured(scores, measure_chance(ece, rows, seed=resampling.seed))


def describe_scores(before: Measured, after: Measured) -> dict[str, Any]:
    """Give the scores of one split as plain data: metric → before and after, bins and chance beside the ECE."""
    from medzoo.evaluation.calibration.bins import BINS

    return {
        name: {
            when: measured.scores[name].describe()
            | (
                {}
                if name != BINNED or math.isnan(measured.chance)
                else {"bins": BINS, "chance": measured.chance}
            )
            for when, measured in (("before", before), ("after", after))
        }
        for name in METRICS
    }


def print_scores(scores: dict[str, tuple[Measured, Measured]]) -> None:
    """Print a line for each split and metric, and below it why a number is missing."""
    from medzoo.evaluation.calibration.bins import BINS

    titles = {name: f"{name} ({BINS} bins)" if name == BINNED else name for name in METRICS}
    rows, reasons = [], []
    for split, pair in scores.items():
        for name in METRICS:
            counts = pair[0].scores[name].counts
            positives = "–" if counts.positives is None else f"{counts.positives:,}"
            numbers = [format_score(name, measured) for measured in pair]
            rows.append((split, titles[name], *numbers, f"{counts.n:,}", positives))
            reasons += [
                f"{name}: {found.reason}" for found in (each.scores[name] for each in pair) if found.reason
            ]
    print_columns(("split", "metric", "before", "after", "n", "positive"), rows, numbers=(4, 5))
    for line in dict.fromkeys(reasons):
        click.echo(clean(line))


def format_score(name: str, measured: Measured) -> str:
    """Give a score with its interval, an ECE with what chance gives."""
    score = measured.scores[name]
    if math.isnan(score.value):
        return "undefined"
    if name == BINNED:
        return f"{write_number(score.value)} (chance: up to {write_number(measured.chance)})"
    if math.isnan(score.low):
        return write_number(score.value)
    return f"{write_number(score.value)} ({write_number(score.low)} – {write_number(score.high)})"
