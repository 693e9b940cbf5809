"""medzoo runs: the runs of a folder, how far each is and what it scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .output import clean, print_columns, print_json, print_note

if TYPE_CHECKING:
    from medzoo.training.listing import RunState, Score


@click.command("runs")
@click.argument("folder", metavar="[DIR]", default="runs")
@click.option("--json", "as_json", is_flag=True, help="Print the runs as JSON and nothing else.")
def command(folder: str, as_json: bool) -> None:
    """List the runs in DIR  [default: runs] with their state, best epoch and test score.

    A run is finished, running, stopped (it goes on from its last checkpoint with `medzoo train --resume RUN`) or
    broken, with the reason below the table. The score is the one of the test images, with its 95 % interval and the
    number of images. Nothing is changed.

    \b
    Example:
      medzoo runs
      medzoo runs studies/chest --json
    """
    from medzoo.training.listing import list_runs

    runs = list_runs(folder)
    if as_json:
        print_json([_describe(run) for run in runs])
        return
    if not runs:
        print_note(f"no runs in {clean(folder)}; medzoo train makes one")
        return
    _print_table(runs)
    for run in runs:
        if run.note:
            click.echo(clean(f"{run.name}: {run.note}"))
    stopped = next((run for run in runs if run.state == "stopped"), None)
    if stopped is not None:
        print_note(f"to go on: medzoo train --resume {clean(str(stopped.path))}")


def _describe(run: RunState) -> dict[str, Any]:
    """Give a run as plain data."""
    from dataclasses import asdict

    return {"name": run.name, **asdict(run), "path": str(run.path)}


def _print_table(runs: list[RunState]) -> None:
    """Print a line a run; the metric stands above where all have the same."""
    from medzoo.training.monitoring.history import title_metric

    metrics = {run.score.metric for run in runs if run.score}
    same = title_metric(metrics.pop()) if len(metrics) == 1 else ""
    header = (
        "run",
        "state",
        "best epoch",
        f"test {same or 'score'}",
        "95 % interval",
        "n",
        "network",
        "mode",
    )
    rows = []
    for run in runs:
        value, interval, count = _format_score(run.score)
        if run.score and not same:
            value = f"{title_metric(run.score.metric)} {value}"
        best = "–" if run.best_epoch is None else f"{run.best_epoch:g}"
        rows.append((run.name, _format_state(run), best, value, interval, count, run.network, run.mode))
    print_columns(header, rows, numbers=(2, 5))


def _format_state(run: RunState) -> str:
    """Give a run's state, with the step where it is not done."""
    if run.state not in ("running", "stopped") or (run.steps is None and not run.step):
        return run.state
    return f"{run.state} at {run.step:,}" + (f" of {run.steps:,}" if run.steps else "")


def _format_score(score: Score | None) -> tuple[str, str, str]:
    """Give a score, its interval and the number of images as text."""
    if score is None:
        return "–", "–", "–"
    if score.value is None:
        return "undefined", "–", str(score.n)
    low, high = score.low, score.high
    interval = "none" if low is None or high is None else f"{_format(low)} – {_format(high)}"
    return _format(score.value), interval, str(score.n)


def _format(value: float) -> str:
    """Give three decimals without the leading zero, as `medzoo evaluate` does."""
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3f}"
