"""Metrics as a person reads them: a table per split, each value with its interval and n."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

#: The entry of a run's metrics that is no split: what the best possible reader reaches on its data.
IDEAL = "ideal_observer"


def print_metrics(metrics: dict[str, Any]) -> None:
    """Print metrics to stdout, the test AUROC beside the ideal observer's where that is known."""
    from rich.console import Console

    console = Console()
    for split, entries in metrics.items():
        if split != IDEAL:
            console.print(_draw_table(split, entries))
            for line in _list_reasons(entries):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
    ideal = metrics.get(IDEAL, {})
    if "auroc" in ideal and "test" in metrics:
        value = _format_entry(metrics["test"]["auroc"])[0]
        console.print(f"test AUROC {value}, ideal observer {_format_number(ideal['auroc'])}", highlight=False)


def _draw_table(split: str, entries: dict[str, dict[str, Any]]) -> Table:
    """Draw one split's metrics, the labels of a metric below it."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=split, title_justify="left", title_style="bold")
    for name in ("metric", "value", "95 % interval", "n"):
        table.add_column(name, justify="right" if name == "n" else "left")
    for metric, entry in entries.items():
        for name, row in _list_rows(metric, entry):
            value, interval = _format_entry(row)
            table.add_row(escape(name), escape(value), escape(interval), str(row["n"]))
    return table


def _list_rows(metric: str, entry: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """List a metric's row and those of its labels."""
    labels: dict[str, dict[str, Any]] = entry.get("labels", {})
    return [(metric, entry), *((f"  {label}", row) for label, row in labels.items())]


def _list_reasons(entries: dict[str, dict[str, Any]]) -> list[str]:
    """Say below the table why a value or an interval is not in it."""
    rows = (row for metric, entry in entries.items() for row in _list_rows(metric, entry))
    return [f"{name.strip()}: {row['reason']}" for name, row in rows if row.get("reason")]


def _format_entry(entry: dict[str, Any]) -> tuple[str, str]:
    """Give the value and the interval of a metric as text; the reasons stand below the table."""
    if entry["value"] is None:
        return "undefined", "–"
    if entry["low"] is None:
        return _format_number(entry["value"]), "none"
    return _format_number(entry["value"]), f"{_format_number(entry['low'])} – {_format_number(entry['high'])}"


def _format_number(value: float) -> str:
    """Give three decimals without the leading zero, as shares are printed in the field's papers."""
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3f}"
