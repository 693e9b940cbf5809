"""A plan as text: one row per tensor, under a line for each stage where stages are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from medzoo.specs import Scalar
from medzoo.tensors import TensorSpec
from medzoo.transplant.ranges import count_indices
from medzoo.transplant.record import describe_step
from medzoo.transplant.steps import Plan, Step, format_shape

_HEADER = ("tensor", "source", "method", "target shape")

#: What stands over the tensors of no stage, where others have one.
_NO_STAGE = "no stage"

#: Values of options are cut after as many signs.
_LONGEST_VALUE = 32


class StageSummary(NamedTuple):
    """What a plan does to one stage: its tensors, their values, the share from the source, tensors by method."""

    stage: str
    tensors: int
    values: int
    coverage: float
    methods: Mapping[str, int]


def format_plan(plan: Plan) -> str:
    """Format a plan as aligned columns (tensor, source, method, target shape), then its totals.

    Where the steps have stages, each has a line of its totals with its rows indented below.
    """
    has_stages = any(step.stage for step in plan.steps)
    indent = "  " if has_stages else ""
    rows = [_HEADER, *((indent + name, *rest) for name, *rest in map(_row, plan.steps))]
    lines = align_columns(rows)
    if has_stages:
        lines = [lines[0], *_insert_stages(plan.steps, lines[1:])]
    return "\n".join([*lines, summarise_plan(plan)])


def align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Format rows of equally many cells as lines whose columns begin at the same place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ((cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return ["  ".join(cells).rstrip() for cells in padded]


def _insert_stages(steps: Sequence[Step], lines: Sequence[str]) -> Iterator[str]:
    """Give the lines of the steps with each stage's own line before them."""
    rows = iter(lines)
    for summary in _summarise(steps):
        yield f"{summary.stage or _NO_STAGE}: {_format_totals(summary)}"
        for _ in range(summary.tensors):
            yield next(rows)


def summarise_stages(plan: Plan) -> list[StageSummary]:
    """Give each stage's totals, bottom-up; the empty list where no stage is known.

    `values` counts numbers, `coverage` is the share of them that comes from the source, `methods` counts tensors.
    The stage of tensors that belong to none is empty.

    >>> import medzoo
    >>> from medzoo import recipes
    >>> target = medzoo.describe("cbr_tiny", classes=2)
    >>> plan = medzoo.make_plan(medzoo.source_from_arrays({}), target, recipes.random())
    >>> sum(summary.tensors for summary in summarise_stages(plan)) in (0, len(plan.steps))
    True
    """
    return _summarise(plan.steps) if any(step.stage for step in plan.steps) else []


def _summarise(steps: Sequence[Step]) -> list[StageSummary]:
    """Summarise each run of consecutive steps of one stage."""
    groups = [(stage, list(group)) for stage, group in groupby(steps, key=lambda step: step.stage)]
    return [_summarise_group(stage, group) for stage, group in groups]


def _summarise_group(stage: str, steps: Sequence[Step]) -> StageSummary:
    """Add up steps; the coverage of no values at all is 0."""
    values = sum(step.target.size for step in steps)
    used = sum(step.covered for step in steps)
    methods = Counter(step.method for step in steps)
    return StageSummary(
        stage, len(steps), values, used / values if values else 0.0, dict(sorted(methods.items()))
    )


def summarise_plan(plan: Plan) -> str:
    """Give a plan's totals in one line: how many tensors were treated how, and the coverage."""
    unused = f"; {len(plan.unused)} source tensors unused" if plan.unused else ""
    return f"{_format_totals(_summarise_group('', plan.steps), unused)} of values from the source"


def _format_totals(summary: StageSummary, more: str = "") -> str:
    """Format the totals of some steps, with what else there is to say before the coverage."""
    treated = ", ".join(f"{count} {method}" for method, count in summary.methods.items())
    tensors = "1 tensor" if summary.tensors == 1 else f"{summary.tensors} tensors"
    values = f"{summary.values:,} values"
    return f"{tensors}, {values}: {treated}{more}; coverage {_format_share(summary.coverage)} %"


def _format_share(share: float) -> str:
    """Give a share in percent; only the whole is 100.0, and only nothing is 0.0."""
    percent = 100 * share
    return f"{min(max(percent, 0.1), 99.9) if 0 < share < 1 else percent:.1f}"


def _row(step: Step) -> tuple[str, str, str, str]:
    """Format one step; the source's name is given where it differs, its shape where ranges do not tell it."""
    source = "—"
    if step.source is not None:
        source = "same name" if step.source.name == step.target.name else step.source.name
        if _kept_shape(step.source, step.ranges) != step.target.shape:
            source = f"{source}, {format_shape(step.source.shape)}"
    treatment = [step.method, *format_options(step.options), *format_ranges(step.source, step.ranges)]
    return step.target.name, source, ", ".join(treatment), format_shape(step.target.shape)


def format_options(options: Mapping[str, Scalar]) -> list[str]:
    """Write options as people do: a switch is its name, numbers are short.

    >>> format_options({"exact": True, "channels": "sum", "scale": 0.123456789, "fold": False})
    ['exact', 'channels sum', 'scale 0.1235', 'fold no']
    """
    return [key if value is True else f"{key} {_format_value(value)}" for key, value in options.items()]


def _format_value(value: Scalar) -> str:
    """Write one option's value: a fraction with four digits, of a long text (a map of classes) the beginning."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def format_ranges(source: TensorSpec | None, ranges: Sequence[str]) -> list[str]:
    """Say how many of the source's indices are kept along the axes that do not stay whole; axes count from 0.

    >>> from medzoo.tensors import Role
    >>> format_ranges(TensorSpec("a/kernel", (3, 3, 96, 64), "float32", Role.KERNEL), ("", "", "0:24", "0:64:2"))
    ['axes 2 3: 24×32 of 96×64 kept']
    """
    if source is None or not any(ranges):
        return []
    kinds: dict[str, list[tuple[int, int, int]]] = {}
    for axis, (text, size) in enumerate(_pair_axes(source, ranges)):
        if text:
            count = count_indices(text, size)
            # Where indices repeat, there are more of them than the source has.
            kind = "kept" if count < size else "reordered" if count == size else "repeated"
            kinds.setdefault(kind, []).append((axis, count, size))
    return [_format_axes(kind, axes) for kind, axes in kinds.items()]


def _format_axes(kind: str, axes: Sequence[tuple[int, int, int]]) -> str:
    """Format what one way of choosing does to some axes: each is its number, the count chosen and the size."""
    which, counts, sizes = (tuple(column) for column in zip(*axes, strict=True))
    counted = f"{format_shape(counts)} of {format_shape(sizes)}" if counts != sizes else format_shape(sizes)
    return f"{'axes' if len(which) > 1 else 'axis'} {' '.join(map(str, which))}: {counted} {kind}"


def _pair_axes(source: TensorSpec, ranges: Sequence[str]) -> list[tuple[str, int]]:
    """Pair each axis's indices with its size; an axis that inflation puts before the source's own has one of 1."""
    sizes = (*(1 for _ in range(len(ranges) - len(source.shape))), *source.shape)
    return list(zip(ranges, sizes, strict=True))


def _kept_shape(source: TensorSpec, ranges: Sequence[str]) -> tuple[int, ...]:
    """Give a source tensor's shape after its ranges."""
    if not any(ranges):
        return source.shape
    return tuple(count_indices(text, size) for text, size in _pair_axes(source, ranges))


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Give a plan as plain data, as `--json` prints it: what it is for, its totals by stage, every step."""
    return {
        "model": plan.model,
        "classes": plan.classes,
        "channels": plan.channels,
        "seed": plan.seed,
        "source": plan.origin,
        "source_digest": plan.source_digest,
        "coverage": plan.coverage,
        "unused": list(plan.unused),
        "stages": [summary._asdict() for summary in summarise_stages(plan)],
        "steps": [describe_step(step) for step in plan.steps],
    }
