"""`medzoo evaluate`: the metrics of a run or of a table of predictions, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table


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
    from medzoo.evaluation.predictions import load_predictions
    from medzoo.evaluation.scores import evaluate, format_metrics

    metrics = evaluate(load_predictions(predictions), replicates=replicates, seed=seed)
    if as_json:
        click.echo(format_metrics(metrics), nl=False)
        return
    from rich.console import Console

    console = Console()
    ideal = _read_ideal_observer(predictions)
    for split, entries in metrics.items():
        console.print(_draw_table(split, entries))
        if split == "test" and "auroc" in ideal:
            value = _format_entry(entries["auroc"])[0]
            console.print(f"auroc {value}; ideal observer {_format_number(ideal['auroc'])}", highlight=False)


def _read_ideal_observer(run: str) -> dict[str, float]:
    """Give the metrics of the best possible reader, which the run of a synthetic data set records."""
    import json
    from pathlib import Path

    try:
        recorded = json.loads((Path(run) / "metrics.json").read_text(encoding="utf-8"))
        ideal = recorded.get("ideal_observer", {})
        return {name: float(value) for name, value in ideal.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        # The recorded metrics are a comparison only: without them the predictions still say everything.
        return {}


def _draw_table(split: str, entries: dict[str, dict[str, Any]]) -> Table:
    """Draw one split's metrics, the labels of a metric below it."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=split, title_justify="left", title_style="bold")
    for name in ("metric", "value", "95 % interval", "n"):
        table.add_column(name, justify="right" if name == "n" else "left")
    for metric, entry in entries.items():
        labels: dict[str, dict[str, Any]] = entry.get("labels", {})
        for name, row in [(metric, entry), *((f"  {label}", values) for label, values in labels.items())]:
            value, interval = _format_entry(row)
            table.add_row(escape(name), escape(value), escape(interval), str(row["n"]))
    return table


def _format_entry(entry: dict[str, Any]) -> tuple[str, str]:
    """Give the value and the interval of a metric as text, or why there is none."""
    reason = entry.get("reason", "")
    if entry["value"] is None:
        return f"undefined ({reason})", "–"
    if entry["low"] is None:
        return _format_number(entry["value"]), f"undefined ({reason})"
    return _format_number(entry["value"]), f"{_format_number(entry['low'])} – {_format_number(entry['high'])}"


def _format_number(value: float) -> str:
    """Give three decimals without the leading zero, as shares are printed in the field's papers."""
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3f}"
