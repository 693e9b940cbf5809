"""The narrowest member of each family: what needs many builds is tested on these."""

from __future__ import annotations

import pytest

import medzoo
from medzoo.models.tables.parts import find_totals
from medzoo.specs import ModelSpec

ROWS = medzoo.list_models()
EVERY_ROW = pytest.mark.parametrize("spec", ROWS, ids=lambda spec: spec.name)

NARROW: dict[str, ModelSpec] = {
    family: min(
        (spec for spec in ROWS if spec.family == family), key=lambda spec: find_totals(spec).parameters
    )
    for family in dict.fromkeys(spec.family for spec in ROWS)
}
EVERY_FAMILY = pytest.mark.parametrize("spec", NARROW.values(), ids=NARROW)


def least_size(spec: ModelSpec) -> int:
    """Give the least input of 32 pixels or more that a network takes."""
    least = max(32, spec.smallest_input)
    return least + -least % spec.multiple
