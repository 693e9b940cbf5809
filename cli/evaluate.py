"""`medzoo evaluate`: the metrics of a run or of a table of predictions, with intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .compare import command as compare
from .metrics import print_metrics
from .output import print_note
from .shift import command as shift
from .subgroup_text import print_equalised_odds, print_subgroups

if TYPE_CHECKING:
    from medzoo.evaluation.fairness import EqualisedOdds
    from medzoo.evaluation.predictions import Predictions
    from medzoo.evaluation.subgroups import Subgroups
    from medzoo.evaluation.uncertainty.resampling import Resampling


@click.command("evaluate")
@click.argument("predictions", metavar="RUN|FILE")
@click.argument("other", metavar="[OTHER]", required=False)
@click.option("--data", help="Evaluate the run on these images too, as `medzoo shift` does.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="A metric; may be given again  [default: those of the table in docs/evaluation.md].",
)
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    metavar="RULE",
    help="Add decisions at thresholds chosen on validation rows: youden, f1, sensitivity=.9, specificity=.9, fixed=.5.",
)
@click.option(
    "--by", "columns", multiple=True, metavar="COLUMN", help="Scores by group, and the gap; a×b crosses two."
)
@click.option(
    "--band",
    "bands",
    multiple=True,
    metavar="COLUMN=EDGES",
    help="Make groups of a column of numbers, e.g. age=18,40,65.",
)
@click.option(
    "--label", metavar="NAME", help="With --by: the label whose rates and calibration are compared."
)
@click.option(
    "--smallest",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Groups of fewer patients (images where none is known) are named as too small.",
)
@click.option(
    "--interval",
    type=click.Choice(["percentile", "bca"]),
    default="percentile",
    show_default=True,
    help="Kind of bootstrap interval.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON and nothing else.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draws.")
@click.option("--replicates", type=click.IntRange(min=1), default=1000, show_default=True, help="Resamples.")
@click.pass_context
def command(
    context: click.Context,
    predictions: str,
    other: str | None,
    data: str | None,
    metrics: tuple[str, ...],
    thresholds: tuple[str, ...],
    columns: tuple[str, ...],
    bands: tuple[str, ...],
    label: str | None,
    smallest: int,
    interval: str,
    as_json: bool,
    seed: int,
    replicates: int,
) -> None:
    """Print metrics with 95 % intervals, per split; of two, how they differ on the same images.

    RUN is the directory of a training run; FILE is a CSV or Parquet table of predictions from anywhere, with the
    columns id, label and one score_<class> or logit_<class> per class (or label_<name> of 0 and 1 per independent
    label), and where known patient and split; every other column is a group. Intervals come from a bootstrap over
    patients, or over images where no patient is known. Nothing is written. With OTHER it is `medzoo compare`,
    with --data `medzoo shift`.

    \b
    Examples:
      medzoo evaluate runs/chest
      medzoo evaluate runs/chest --threshold sensitivity=.9 --by sex --by age --band age=18,40,65
      medzoo evaluate predictions.csv --metric auroc --metric partial_auroc@.1 --json > metrics.json
      medzoo evaluate runs/chest runs/other
      medzoo evaluate runs/chest --data other_hospital.csv
    """
    from medzoo.errors import ConfigError, DataError
    from medzoo.evaluation.fairness import EqualisedOdds
    from medzoo.evaluation.predictions import load_predictions
    from medzoo.evaluation.scores import DEFAULT_METRICS, evaluate, format_metrics
    from medzoo.evaluation.uncertainty.resampling import Resampling

    chosen = [name for name in ("bands", "label", "smallest") if _is_given(context, name)]
    if other is not None or data is not None:
        if thresholds or columns or chosen or _is_given(context, "interval") or (other and data):
            raise ConfigError(
                "--threshold, --by, --band, --label, --smallest, --interval beside a second run, or it with --data",
                "one question at a time",
                f"medzoo evaluate {predictions}",
            )
        shared = {"metrics": metrics, "as_json": as_json, "seed": seed, "replicates": replicates}
        if data is not None:
            context.invoke(shift, run=predictions, data=data, **shared)
        else:
            context.invoke(compare, runs=(predictions, other), **shared)
        return
    if chosen and not columns:
        raise ConfigError("--band, --label or --smallest without --by", "groups to score", "--by COLUMN")
    resampling = Resampling(replicates, seed, kind=interval)  # type: ignore[arg-type]  # click has checked it
    loaded = load_predictions(predictions)
    if columns and not len(loaded.of_split("test").annotated()):
        raise DataError(
            f"{predictions} has no labelled test rows", "some to score groups of", "leaving out --by"
        )
    if not len(loaded.annotated()):
        raise DataError(
            f"{predictions} has no labels", "a label in some rows", "medzoo predict on labelled data"
        )
    found: dict[str, Any] = dict(
        evaluate(
            loaded,
            replicates=replicates,
            seed=seed,
            metrics=metrics or DEFAULT_METRICS,
            threshold=thresholds,
            kind=resampling.kind,
        )
    )
    ideal = _read_ideal_observer(predictions)
    if ideal:
        found["ideal_observer"] = ideal
    groups = _score_groups(loaded, metrics, thresholds, columns, bands, label, smallest, resampling)
    if as_json:
        if groups:
            found["subgroups"] = [part.describe() | {"what": what} for what, part in groups]
        click.echo(format_metrics(found), nl=False)
        return
    is_binary = len(loaded.classes) == (2 if loaded.exclusive else 1)
    print_metrics(found, loaded.classes[-1] if is_binary else None)
    for what, part in groups:
        if isinstance(part, EqualisedOdds):
            print_equalised_odds(part)
        else:
            print_subgroups(part, what)


def _score_groups(
    rows: Predictions,
    metrics: tuple[str, ...],
    thresholds: tuple[str, ...],
    columns: tuple[str, ...],
    bands: tuple[str, ...],
    label: str | None,
    smallest: int,
    resampling: Resampling,
) -> list[tuple[str, Subgroups | EqualisedOdds]]:
    """Score the groups of each column on the test rows: metrics, then rates at thresholds, then calibration."""
    from medzoo.evaluation.fairness import measure_calibration_gap, measure_equalised_odds
    from medzoo.evaluation.metrics.thresholds import choose_thresholds
    from medzoo.evaluation.subgroups import score_groups

    if not columns:
        return []
    edges = dict(_read_band(text) for text in bands)
    test, validation = rows.of_split("test"), rows.of_split("validation")
    found: list[tuple[str, Subgroups | EqualisedOdds]] = [
        (name, score_groups(test, columns, name, resampling, smallest, edges))
        for name in metrics or ("auroc",)
    ]
    if len(rows.classes) > (2 if rows.exclusive else 1) and label is None:
        print_note("rates and calibration of groups are of one class or label: --label NAME adds them")
        return found
    rule = thresholds[0] if thresholds else "youden"
    if len(validation.annotated()) or rule.startswith("fixed"):
        points = choose_thresholds(validation, rule)
        odds = measure_equalised_odds(
            test, columns, points, resampling, label=label, smallest=smallest, bands=edges
        )
        found.append(("rates", odds))
    else:
        print_note("no rates of groups: there are no validation rows to choose a threshold on")
    excess = measure_calibration_gap(test, columns, resampling, label=label, smallest=smallest, bands=edges)
    return [*found, ("mean score − share of positives", excess)]


def _is_given(context: click.Context, name: str) -> bool:
    """Tell whether an option was typed."""
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _read_band(text: str) -> tuple[str, tuple[float, ...]]:
    """Read the edges of a column's bands, `age=18,40,65`.

    Raises:
        ConfigError: another form.
    """
    from medzoo.errors import ConfigError

    column, is_written, edges = text.partition("=")
    try:
        numbers = tuple(float(edge) for edge in edges.split(","))
    except ValueError:
        numbers = ()
    if not column.strip() or not is_written or not numbers:
        raise ConfigError(f"--band {text!r}", "a column and its edges", "--band age=18,40,65")
    return column.strip(), numbers


def _read_ideal_observer(run: str) -> dict[str, float]:
    """Give the metrics of the best possible reader, which the run of a synthetic data set records."""
    try:
        recorded = json.loads((Path(run) / "metrics.json").read_text(encoding="utf-8"))
        ideal = recorded.get("ideal_observer", {})
        return {name: float(value) for name, value in ideal.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        # The recorded metrics are a comparison only: without them the predictions still say everything.
        return {}
