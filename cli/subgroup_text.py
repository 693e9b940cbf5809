"""Scores of groups as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from .output import clean, print_columns
from .score_text import UNKNOWN, write_number

if TYPE_CHECKING:
    from medzoo.evaluation.fairness import EqualisedOdds
    from medzoo.evaluation.subgroups import Subgroups


def print_subgroups(found: Subgroups, what: str) -> None:
    """Print one metric in the groups of a column, worst group and gap below."""
    entries = found.describe()
    click.echo(f"\n{what} by {clean(found.title)}")
    rows = [(name, *_list_cells(entry)) for name, entry in entries["groups"].items()]
    print_columns(("group", "value", "95 % interval", "n", "positives", "negatives"), rows, numbers=(3, 4, 5))
    _print_gaps(entries, f"worst {found.worst}" if found.worst is not None else "")
    _print_left_out(entries, found.smallest)


def print_equalised_odds(found: EqualisedOdds) -> None:
    """Print true- and false-positive rates of the groups of a column, and the gap."""
    entries = found.describe()
    threshold = "none" if entries["threshold"] is None else write_number(entries["threshold"])
    on = "" if found.rule.startswith("fixed") else ", from validation"
    click.echo(f"\nrates of {clean(found.label)} at {threshold} ({found.rule}{on}) by {clean(found.title)}")
    rows = [
        (
            name,
            *_list_cells(rates["true_positive_rate"])[:2],
            str(rates["true_positive_rate"].get("positives", UNKNOWN)),
            *_list_cells(rates["false_positive_rate"])[:2],
            str(rates["false_positive_rate"].get("negatives", UNKNOWN)),
            str(rates["true_positive_rate"]["n"]),
        )
        for name, rates in entries["groups"].items()
    ]
    hits = ("true positives", "95 % interval", "of positives")
    alarms = ("false positives", "95 % interval", "of negatives")
    print_columns(("group", *hits, *alarms, "n"), rows, numbers=(3, 6, 7))
    _print_gaps(entries, f"in the {found.decided_by} rate" if found.decided_by else "", "equalised-odds gap")
    _print_left_out(entries, found.smallest)


def _print_gaps(entries: Mapping[str, Any], remark: str, name: str = "gap") -> None:
    """Print the largest difference between groups of each column, and over all where there are several."""
    from medzoo.evaluation.comparison import write_p

    gaps = {f"{name} by {title}": gap for title, gap in entries["gaps"].items()}
    if len(gaps) > 1:
        gaps[f"largest {name}, all columns together"] = entries["gap"]
    for place, (title, gap) in enumerate(gaps.items(), start=1):
        value, interval = _list_cells(gap)[:2]
        parts = [f"{title}: {value} ({interval})"]
        if gap.get("chance") is not None:
            parts.append(f"by chance {write_number(gap['chance'])}")
        if gap.get("p") is not None:
            parts.append(f"p {write_p(gap['p'])}")
        parts.append(f"n = {gap['n']}")
        if remark and place == len(gaps):
            parts.append(remark)
        if gap.get("reason"):
            parts.append(gap["reason"])
        click.echo(clean(", ".join(parts)))


def _print_left_out(entries: Mapping[str, Any], smallest: int) -> None:
    """Name the groups that were not measured, with their sizes."""
    small = [
        f"{clean(name)} (n = {counts['n']}"
        + (f", {counts['patients']} patients)" if "patients" in counts else ")")
        for name, counts in entries["too_small"].items()
    ]
    if small:
        click.echo(f"too small, below {smallest}: {', '.join(small)}")
    if entries["not_known"]:
        click.echo(f"group not known: n = {entries['not_known']['n']}")
    for name, entry in entries["groups"].items():
        parts = [entry] if "value" in entry else list(entry.values())
        for reason in dict.fromkeys(part["reason"] for part in parts if part.get("reason")):
            click.echo(f"{clean(name)}: {reason}")


def _list_cells(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Give value, interval, n, positives and negatives of a score as text."""
    value = "undefined" if entry["value"] is None else write_number(entry["value"])
    ends = (entry["low"], entry["high"])
    interval = "–" if None in ends else " – ".join(write_number(end) for end in ends)
    return value, interval, *(str(entry.get(name, "")) for name in ("n", "positives", "negatives"))
