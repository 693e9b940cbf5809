"""Scores, differences and costs as cells of a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medzoo.evaluation.score import Counts, Score

#: What stands in a cell where nothing is known.
UNKNOWN = "–"


def write_number(value: float) -> str:
    """Write three decimals without the leading zero, and a true minus sign.

    >>> write_number(0.1234), write_number(-0.5), write_number(1), write_number(math.nan)
    ('.123', '−.500', '1.000', '–')
    """
    if math.isnan(value):
        return UNKNOWN
    text = f"{abs(value):.3f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + text.removeprefix("0")


def write_signed(value: float) -> str:
    """Write a difference with its sign.

    >>> write_signed(0.1234), write_signed(-0.5), write_signed(0)
    ('+.123', '−.500', '.000')
    """
    text = write_number(value)
    return f"+{text}" if value > 0 and text != ".000" else text


def write_interval(low: float, high: float, signed: bool = False) -> str:
    """Write the two ends of an interval; where there is none, a dash.

    >>> write_interval(0.5, 0.75), write_interval(math.nan, math.nan)
    ('.500 to .750', '–')
    """
    if math.isnan(low):
        return UNKNOWN
    write = write_signed if signed else write_number
    return f"{write(low)} to {write(high)}"


def write_score(score: Score, deviation: float = math.nan) -> str:
    """Write a score with its interval, and the sample standard deviation over seeds where there are several."""
    if math.isnan(score.value):
        return "undefined"
    spread = "" if math.isnan(deviation) else f" ± {write_number(deviation)}"
    return f"{write_number(score.value)}{spread} ({write_interval(score.low, score.high)})"


def write_counts(counts: Counts) -> str:
    """Write what a score was computed on.

    >>> from medzoo.evaluation.score import Counts
    >>> write_counts(Counts(1200, patients=300))
    '1,200 images, 300 patients'
    """
    named = {"n": "images", "patients": "patients", "positives": "positives", "negatives": "negatives"}
    return ", ".join(f"{count:,} {named[name]}" for name, count in counts.describe().items())


def shorten_paths(paths: list[str]) -> dict[str, str]:
    """Name each path by as many of its last parts as tell all of them apart.

    >>> shorten_paths(["runs/a", "runs/b"]), shorten_paths(["one/p.csv", "two/p.csv"])
    ({'runs/a': 'a', 'runs/b': 'b'}, {'one/p.csv': 'one/p.csv', 'two/p.csv': 'two/p.csv'})
    """
    parts = {path: [part for part in path.split("/") if part] for path in paths}
    for depth in range(1, max(map(len, parts.values())) + 1):
        names = {path: "/".join(pieces[-depth:]) for path, pieces in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    return {path: path for path in paths}
