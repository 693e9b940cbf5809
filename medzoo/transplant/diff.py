"""What two plans do differently: their settings, the tensors that only one fills, the steps that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from medzoo.specs import Scalar
from medzoo.tensors import Initializer, TensorSpec
from medzoo.transplant.steps import Plan, Step, format_shape
from medzoo.transplant.table import align_columns, format_options, format_ranges

#: Fields of a plan that are compared apart from its steps, in the order in which they are printed.
_SETTINGS = tuple(item.name for item in fields(Plan) if item.name not in ("steps", "unused"))

#: A list of what only one plan leaves unused is cut after as many names.
_NAMES_SHOWN = 3


@dataclass(frozen=True)
class Change:
    """One thing that two plans have otherwise: what it is, and its value in each, as text."""

    what: str
    first: str
    second: str

    def __str__(self) -> str:
        """Write the change with an arrow."""
        return f"{self.what} {self.first} → {self.second}"


@dataclass(frozen=True)
class PlanDiff:
    """Where two plans differ: settings, tensors that only the first or the second fills, and changed steps by tensor.

    The order of steps and the names of stages change nothing that is made, and are not compared.
    """

    settings: tuple[Change, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    steps: Mapping[str, tuple[Change, ...]]

    def __len__(self) -> int:
        """Count the differences: settings, tensors of one plan alone, and tensors that are treated otherwise."""
        return len(self.settings) + len(self.only_first) + len(self.only_second) + len(self.steps)

    def __str__(self) -> str:
        """Print `same`, or the number of differences and then one a line."""
        if not len(self):
            return "same"
        head = f"{len(self)} differences" if len(self) > 1 else "1 difference"
        return "\n".join([head, *map(str, self.settings), *_format_tensors(self)])


def diff_plans(first: Plan, second: Plan) -> PlanDiff:
    """Compare two plans by what they are for and by what they do to each tensor.

    >>> import medzoo
    >>> from medzoo import recipes
    >>> source, target = medzoo.source_from_arrays({}), medzoo.describe("cbr_tiny", classes=2)
    >>> plans = [medzoo.make_plan(source, target, recipes.random(), seed) for seed in (0, 1)]
    >>> print(diff_plans(*plans))
    1 difference
    seed 0 → 1
    """
    settings = [
        Change(name.replace("_", " "), _show(getattr(first, name)), _show(getattr(second, name)))
        for name in _SETTINGS
        if getattr(first, name) != getattr(second, name)
    ]
    settings += _compare_unused(first.unused, second.unused)
    ours = {step.target.name: step for step in first.steps}
    theirs = {step.target.name: step for step in second.steps}
    changes = {
        name: tuple(_compare_steps(step, theirs[name])) for name, step in ours.items() if name in theirs
    }
    return PlanDiff(
        tuple(settings),
        tuple(name for name in ours if name not in theirs),
        tuple(name for name in theirs if name not in ours),
        {name: found for name, found in changes.items() if found},
    )


def describe_diff(diff: PlanDiff) -> dict[str, Any]:
    """Give a comparison as plain data, for `--json`."""

    def pairs(changes: Sequence[Change]) -> dict[str, list[str]]:
        return {change.what: [change.first, change.second] for change in changes}

    return {
        "differences": len(diff),
        "settings": pairs(diff.settings),
        "only_first": list(diff.only_first),
        "only_second": list(diff.only_second),
        "steps": {name: pairs(changes) for name, changes in diff.steps.items()},
    }


def _compare_unused(first: Sequence[str], second: Sequence[str]) -> Iterator[Change]:
    """Compare which source tensors two plans leave unused."""
    if set(first) != set(second):
        ours = [name for name in first if name not in set(second)]
        theirs = [name for name in second if name not in set(first)]
        yield Change("unused", _count_names(len(first), ours), _count_names(len(second), theirs))


def _count_names(count: int, alone: Sequence[str]) -> str:
    """Count source tensors, naming the first of those that only this plan leaves unused."""
    if not alone:
        return str(count)
    more = ", …" if len(alone) > _NAMES_SHOWN else ""
    return f"{count} (with {', '.join(alone[:_NAMES_SHOWN])}{more})"


def _compare_steps(first: Step, second: Step) -> Iterator[Change]:
    """Compare what two plans do to the tensor of one name; each aspect is compared as stored, shown as text."""
    ours, theirs = _list_aspects(first), _list_aspects(second)
    for what, (value, text) in ours.items():
        other, other_text = theirs[what]
        if value != other:
            # Texts are short, and what they leave out may be all that differs: then the whole is shown.
            is_told = text != other_text
            yield Change(what, text if is_told else repr(value), other_text if is_told else repr(other))


def _list_aspects(step: Step) -> dict[str, tuple[object, str]]:
    """List what a step is made of: each aspect's value and its text."""
    source, target = step.source, step.target
    return {
        "method": (step.method, step.method),
        "options": (dict(step.options), _show_options(step.options)),
        "source": (source, _show_source(source)),
        "ranges": (step.ranges if any(step.ranges) else (), _show_ranges(source, step.ranges)),
        "shape": (target.shape, format_shape(target.shape)),
        "dtype": (target.dtype, target.dtype),
        "role": (target.role, target.role.value),
        "initializer": (target.initializer, _show_initializer(target.initializer)),
    }


def _show(value: object) -> str:
    """Show a setting; an empty one is a dash."""
    return "—" if value in ("", None) else str(value)


def _show_options(options: Mapping[str, Scalar]) -> str:
    """Show a step's options."""
    return ", ".join(format_options(options)) or "—"


def _show_source(source: TensorSpec | None) -> str:
    """Show a step's source by name and shape."""
    return "—" if source is None else f"{source.name} {format_shape(source.shape)}"


def _show_ranges(source: TensorSpec | None, ranges: Sequence[str]) -> str:
    """Show how many of the source's indices a step keeps."""
    return ", ".join(format_ranges(source, ranges)) or "whole"


def _show_initializer(initializer: Initializer | None) -> str:
    """Show how a fresh tensor is filled."""
    if initializer is None:
        return "—"
    return f"{initializer.distribution} {initializer.scale:.4g} {initializer.mode}"


def _format_tensors(diff: PlanDiff) -> list[str]:
    """Format the tensors that differ, a line each, in columns."""
    rows = [(name, "; ".join(map(str, changes))) for name, changes in diff.steps.items()]
    rows += [(name, "in the first plan only") for name in diff.only_first]
    rows += [(name, "in the second plan only") for name in diff.only_second]
    return align_columns(rows) if rows else []
