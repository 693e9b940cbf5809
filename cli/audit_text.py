"""An audit as a person reads it: classes per split, findings by weight, the first pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .output import clean

if TYPE_CHECKING:
    from rich.table import Table

    from medzoo.data.audit.findings import Audit, Pair, Prevalence

_MOST_CLASSES = 30
_MOST_PAIRS = 10
_MOST_ALIKE = 3
_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def print_audit(audit: Audit) -> None:
    """Print an audit to stdout."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(Text(_describe(audit)), soft_wrap=True)
    console.print(_draw_classes(audit))
    if audit.findings:
        console.print(_draw_findings(audit))
    if audit.pairs:
        console.print(_draw_pairs(audit))
    counts = [sum(finding.severity == name for finding in audit.findings) for name in _STYLES]
    text = ", ".join(
        f"{count} {name}{'' if count == 1 else 's'}" for count, name in zip(counts, _STYLES, strict=True)
    )
    console.print(Text(text))


def _describe(audit: Audit) -> str:
    """Describe the data in one line."""
    patients = "no patients known" if audit.patients is None else f"{audit.patients:,} patients"
    pixels = f"{audit.decoded:,} decoded" if audit.decoded else "pixels not looked at"
    return f"{clean(audit.name)}: {sum(audit.splits.values()):,} images, {patients}, {pixels}"


def _draw_classes(audit: Audit) -> Table:
    """Draw how often each class occurs in each split; the positives of what is annotated, and their share."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="classes", title_justify="left", title_style="bold")
    table.add_column("class")
    for split, count in audit.splits.items():
        table.add_column(f"{split} ({count:,})", justify="right")
    cells = {(row.split, row.label): _format_prevalence(row) for row in audit.prevalence}
    for label in audit.classes[:_MOST_CLASSES]:
        table.add_row(Text(clean(label)), *(cells[split, label] for split in audit.splits))
    if len(audit.classes) > _MOST_CLASSES:
        table.add_row(f"and {len(audit.classes) - _MOST_CLASSES:,} more (--json lists them)")
    return table


def _format_prevalence(row: Prevalence) -> str:
    """Give a count with its share, and how many nobody annotated."""
    share = "–" if row.share is None else f"{100 * row.share:.1f} %"
    unknown = f", {row.unknown:,} unknown" if row.unknown else ""
    return f"{row.positives:,} ({share}{unknown})"


def _draw_findings(audit: Audit) -> Table:
    """Draw the findings, errors first."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="findings", title_justify="left", title_style="bold")
    table.add_column("weight")
    table.add_column("finding")
    table.add_column("what was found", overflow="fold", ratio=1)
    for kind in dict.fromkeys(finding.kind for finding in audit.findings):
        alike = audit.of_kind(kind)
        lines = [clean(finding.message) for finding in alike[:_MOST_ALIKE]]
        if len(alike) > _MOST_ALIKE:  # a wide table has many columns with gaps
            lines.append(f"and {len(alike) - _MOST_ALIKE} more like these (--json lists them)")
        severity = alike[0].severity
        table.add_row(Text(severity, style=_STYLES[severity]), kind.replace("_", " "), Text("\n".join(lines)))
    return table


def _draw_pairs(audit: Audit) -> Table:
    """Draw the first pairs of copies."""
    from rich.table import Table
    from rich.text import Text

    shown = audit.pairs[:_MOST_PAIRS]
    title = f"copies: {len(shown)} of {len(audit.pairs):,} pairs, leaks first"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("distance", justify="right")
    table.add_column("first", overflow="fold")
    table.add_column("second", overflow="fold")
    if any(pair.turned for pair in shown):
        table.add_column("second is")
    for pair in shown:
        cells = [Text(clean(_name(pair, side))) for side in (0, 1)]
        turned = [pair.turned] if any(other.turned for other in shown) else []
        table.add_row("equal" if pair.exact else f"{pair.distance:.3f}", *cells, *turned)
    return table


def _name(pair: Pair, side: int) -> str:
    """Name one image of a pair with its split and label."""
    return f"{(pair.first, pair.second)[side]} ({pair.splits[side]}, {pair.labels[side]})"
