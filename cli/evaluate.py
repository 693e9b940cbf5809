"""`medzoo evaluate`: the metrics of a run or of a table of predictions, with intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .metrics import print_metrics


@click.command("evaluate")
@click.argument("predictions", metavar="RUN|FILE")
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON and nothing else.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draws.")
@click.option("--replicates", type=click.IntRange(min=1), default=1000, show_default=True, help="Resamples.")
def command(predictions: str, as_json: bool, seed: int, replicates: int) -> None:
    """Print AUROC, accuracy and balanced accuracy with 95 % intervals, per split.

    RUN is the directory of a training run; FILE is a CSV table of predictions from anywhere, with the
    columns id, label and one score_<class> per class (or label_<name> of 0 and 1 per independent label),
    and where known patient and split. Intervals come from a bootstrap over patients, or over images where
    no patient is known. Nothing is written.

    \b
    Examples:
      medzoo evaluate runs/chest
      medzoo evaluate predictions.csv --replicates 2000 --json > metrics.json
    """
    from medzoo.errors import DataError
    from medzoo.evaluation.predictions import load_predictions
    from medzoo.evaluation.scores import evaluate, format_metrics

    loaded = load_predictions(predictions)
    if not len(loaded.annotated()):
        raise DataError(
            f"{predictions} has no labels", "a label in some rows", "medzoo predict on labelled data"
        )
    metrics: dict[str, Any] = dict(evaluate(loaded, replicates=replicates, seed=seed))
    ideal = _read_ideal_observer(predictions)
    if ideal:
        metrics["ideal_observer"] = ideal
    if as_json:
        click.echo(format_metrics(metrics), nl=False)
    else:
        print_metrics(metrics)


def _read_ideal_observer(run: str) -> dict[str, float]:
    """Give the metrics of the best possible reader, which the run of a synthetic data set records."""
    try:
        recorded = json.loads((Path(run) / "metrics.json").read_text(encoding="utf-8"))
        ideal = recorded.get("ideal_observer", {})
        return {name: float(value) for name, value in ideal.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        # The recorded metrics are a comparison only: without them the predictions still say everything.
        return {}
