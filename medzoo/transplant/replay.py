"""The source of a plan that was made before, opened as it was then."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from medzoo.errors import WeightsError
from medzoo.tensors import Source, Target, source_from_arrays
from medzoo.transplant.methods import find_method
from medzoo.transplant.steps import Plan
from medzoo.weights.align import align
from medzoo.weights.source import open_weights


def open_planned(
    plan: Plan, row: str | None, describe: Callable[[Plan], Target], src: str | Path | None = None
) -> Source:
    """Open what a plan was made from (or `src` in its place): as values or as moments, under the plan's dialect.

    `row` is the catalogue row to which a tag belongs. `describe` gives the network that the plan fills, and is asked
    only where the file numbers its tensors instead of naming them. A plan that takes nothing has an empty source.
    Whether the source still is the one planned for, `run` checks.

    Raises:
        WeightsError: the source is not there any more, or is damaged.

    >>> import medzoo
    >>> from medzoo import recipes
    >>> target = medzoo.describe("cbr_tiny", classes=2)
    >>> plan = medzoo.make_plan(medzoo.source_from_arrays({}), target, recipes.random())
    >>> len(open_planned(plan, None, lambda plan: target))
    0
    """
    needs = {find_method(step.method).needs for step in plan.steps}
    if needs <= {"nothing"}:
        return source_from_arrays({}, origin="none")
    origin, dialect = src or plan.origin, plan.dialect or None
    source = open_weights(origin, row, "values" in needs, dialect)
    if "values" not in needs and source.digest != plan.source_digest:
        # A rule may have asked for values, and then have taken none of them: its plan is of the values all the same.
        with contextlib.suppress(WeightsError):
            source = open_weights(origin, row, True, dialect)
    return align(source, describe(plan)) if source.numbered else source
