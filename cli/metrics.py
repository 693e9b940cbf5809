"""Metrics as a person reads them: a table per split, each value with its interval and n."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .score_text import write_number

if TYPE_CHECKING:
    from rich.table import Table

#: The entry of a run's metrics that is no split: what the best possible reader reaches on its data.
IDEAL = "ideal_observer"

#: What a score was computed on, where it is known, and the heading of its column.
COUNTS = {"n": "n", "positives": "pos.", "negatives": "neg."}


def print_metrics(metrics: dict[str, Any], positive: str | None = None) -> None:
    """Print metrics to stdout, `positive` of two classes named; the ideal observer beside the test AUROC."""
    from rich.console import Console

    console = Console()
    for split, entries in metrics.items():
        if split != IDEAL:
            console.print(_draw_table(split, entries, positive))
            for line in _list_reasons(entries):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
    ideal = metrics.get(IDEAL, {})
    if "auroc" in ideal and "test" in metrics:
        value = _format_entry(metrics["test"]["auroc"])[0]
        console.print(f"test AUROC {value}, ideal observer {write_number(ideal['auroc'])}", highlight=False)


def _draw_table(split: str, entries: dict[str, dict[str, Any]], positive: str | None) -> Table:
    """Draw one split's metrics, the labels of a metric below it."""
    from rich.markup import escape
    from rich.table import Table

    patients = max((row.get("patients", 0) for row in entries.values()), default=0)
    title = f"{split}, {patients:,} patients" if patients else split
    if positive is not None:
        title += f"; positive: {positive!r}"
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    counted = [name for name in COUNTS if any(name in row for _, row in _list_all(entries))]
    for name in ("metric", "value", "95 % interval", *counted):
        table.add_column(
            COUNTS.get(name, name), justify="right" if name in COUNTS else "left", no_wrap=name != "metric"
        )
    for name, row in _list_all(entries):
        value, interval = _format_entry(row)
        table.add_row(
            escape(name), escape(value), escape(interval), *(str(row.get(count, "")) for count in counted)
        )
    return table


def _list_all(entries: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """List the rows of all metrics."""
    return [pair for metric, entry in entries.items() for pair in _list_rows(metric, entry)]


def _list_rows(metric: str, entry: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """List a metric's row and those of its labels or classes."""
    parts: dict[str, dict[str, Any]] = entry.get("labels", entry.get("classes", {}))
    return [(metric, entry), *((f"  {name}", row) for name, row in parts.items())]


def _list_reasons(entries: dict[str, dict[str, Any]]) -> list[str]:
    """Say below the table why a value or an interval is not in it."""
    told: dict[str, list[str]] = {}
    for name, row in _list_all(entries):
        if row.get("reason") and "chance" not in row:
            told.setdefault(row["reason"], []).append(name.strip())
    lines = [f"{', '.join(dict.fromkeys(names))}: {reason}" for reason, names in told.items()]
    for name, row in entries.items():
        if "bins" in row:
            lines.append(f"{name}: {row['bins']} bins")
    for chosen in {row["at"]["rule"]: row["at"] for row in entries.values() if "at" in row}.values():
        on = "" if chosen["rule"].startswith("fixed") else f", chosen on {chosen['n']:,} validation rows"
        lines.append(f"{chosen['rule']}: thresholds {_list_numbers(chosen['thresholds'])}{on}")
    return lines


def _list_numbers(numbers: dict[str, float | None]) -> str:
    """Give named numbers as text."""
    return ", ".join(f"{name} {'none' if x is None else write_number(x)}" for name, x in numbers.items())


def _format_entry(entry: dict[str, Any]) -> tuple[str, str]:
    """Give the value and the interval of a metric as text; the reasons stand below the table."""
    if entry["value"] is None:
        return "undefined", "–"
    if "chance" in entry:
        return write_number(entry["value"]), f"chance < {write_number(entry['chance'])}"
    if entry["low"] is None:
        return write_number(entry["value"]), "none"
    return write_number(entry["value"]), f"{write_number(entry['low'])} – {write_number(entry['high'])}"
