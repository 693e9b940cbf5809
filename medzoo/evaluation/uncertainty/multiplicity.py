"""Several hypotheses at once: p-values adjusted so that one false finding among them stays as unlikely as among one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medzoo.errors import ConfigError


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's step-down procedure (Scandinavian Journal of Statistics 6, 1979).

    Rejecting where the adjusted value is at most .05 keeps the chance of any false rejection at 5 %, however the
    tests depend on each other. The smallest of m values is multiplied by m, the next by m − 1, …; none falls below
    one that was smaller, none exceeds 1. NaN is a test that was not made: it stays NaN and does not count.
    Raises ConfigError for a value outside 0 to 1.

    >>> adjust_holm([0.25, 0.0625, float("nan"), 0.125])
    [0.25, 0.1875, nan, 0.25]
    """
    wrong = [p for p in p_values if p < 0 or p > 1]
    if wrong:
        raise ConfigError(f"the p-value {wrong[0]}", "0 to 1, or NaN where no test was made")
    values = np.asarray(p_values, dtype=np.float64)
    made = np.flatnonzero(~np.isnan(values))
    order = made[np.argsort(values[made], kind="stable")]
    stepped = np.maximum.accumulate(values[order] * np.arange(made.size, 0, -1))
    adjusted = np.full(values.shape, math.nan)
    adjusted[order] = np.minimum(stepped, 1)
    return [float(p) for p in adjusted]
