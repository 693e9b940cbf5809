"""What a refused plan says: which tensors have no place or no source, both inventories, a rule to paste."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medzoo.errors import PlanError, nearest
from medzoo.tensors import Source, Target, TensorSpec
from medzoo.transplant.steps import format_shape

#: Names listed of each inventory; the whole ones are what `medzoo weights inspect` and `--dry-run` print.
LISTED = 4


class AbsentError(PlanError):
    """A tensor that the source lacks; the nearest names are looked for once, by what explains all problems."""


def explain_problems(
    problems: Sequence[tuple[TensorSpec, PlanError]], source: Source, target: Target, unused: Sequence[str]
) -> PlanError:
    """Make one error of all impossible steps: the first in words, all counted, what the source has left over."""
    tensor, first = problems[0]
    others = [spec.name for spec, _ in problems[1:]]
    more = f" (and {len(others)} more such tensors: {_list(others)})" if others else ""
    left = f"; left over in the source: {_list(unused)}" if unused else ""
    near = f", nearest {name_nearest(tensor.name, source)}" if isinstance(first, AbsentError) else ""
    found = f"{first.found}{near}{more}; {_describe(source, target)}{left}"
    rule = f'rule = [{{ match = "{tensor.name}", method = "fresh" }}] in a --rules FILE'
    return PlanError(found, first.expected or "weights of the same architecture", first.remedy or rule)


def explain_left_over(left_over: Sequence[str], source: Source, target: Target) -> PlanError:
    """Make the error of source tensors that are neither used nor ignored."""
    first = left_over[0]
    others = f": {_list(left_over)}" if len(left_over) > 1 else ""
    return PlanError(
        f"{len(left_over)} of {len(source)} tensors of {source.origin} have no place in the target, first {first!r}"
        f", nearest {name_nearest(first, target.tensors)}{others}; {_describe(source, target)}",
        "every source tensor to be used or ignored",
        f"--ignore '{first}' or --ignore '*' for all, or --mode select from a deeper network",
    )


def name_nearest(name: str, known: Iterable[str]) -> str:
    """Name the two spellings nearest to a tensor's, or say that there are none."""
    names = list(known)
    return nearest(name, names, count=2).removeprefix("one of ") if names else "none"


def _describe(source: Source, target: Target) -> str:
    """Say how many tensors each side has, and which come first."""
    mine = _list([f"{name} {format_shape(tensor.spec.shape)}" for name, tensor in source.items()])
    theirs = _list([f"{name} {format_shape(spec.shape)}" for name, spec in target.tensors.items()])
    return f"source {len(source)} tensors ({mine}), target {len(target.tensors)} ({theirs})"


def _list(names: Sequence[str]) -> str:
    """List the first names."""
    return ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
