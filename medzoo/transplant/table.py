"""A plan as text: one row per tensor."""

from __future__ import annotations

from collections import Counter

from medzoo.transplant.plan import Plan, Step, format_shape


def format_plan(plan: Plan) -> str:
    """Format a plan as aligned columns (tensor, source, method, target shape), then its totals."""
    header = ("tensor", "source", "method", "target shape")
    rows = [header, *(_row(step) for step in plan.steps)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in [*lines, summarise_plan(plan)])


def summarise_plan(plan: Plan) -> str:
    """Give a plan's totals in one line: how many tensors were treated how, and the coverage."""
    counts = Counter(step.method for step in plan.steps)
    treated = ", ".join(f"{count} {method}" for method, count in sorted(counts.items()))
    total = sum(step.target.size for step in plan.steps)
    unused = f"; {len(plan.unused)} source tensors unused" if plan.unused else ""
    return (
        f"{len(plan.steps)} tensors, {total:,} values: {treated}{unused}; "
        f"coverage {_format_share(plan.coverage)} % of values from the source"
    )


def _format_share(share: float) -> str:
    """Give a share in percent; only the whole is 100.0, and only nothing is 0.0."""
    percent = 100 * share
    return f"{min(percent, 99.9) if 0 < share < 1 else percent:.1f}"


def _row(step: Step) -> tuple[str, str, str, str]:
    """Format one step; the source's name is given where it differs, its shape where that differs."""
    source = "—"
    if step.source is not None:
        source = "same name" if step.source.name == step.target.name else step.source.name
        if step.source.shape != step.target.shape:
            source = f"{source}, {format_shape(step.source.shape)}"
    options = "".join(f", {key} {value}" for key, value in step.options.items())
    return step.target.name, source, step.method + options, format_shape(step.target.shape)
