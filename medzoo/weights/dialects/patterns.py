"""Names with numbers in them: `layer{stage}.{block}`, and what a name says about the numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

_PLACE = re.compile(r"\{(\w+)(?:([+-]\d+)|:0(\d))?\}")


@cache
def list_places(pattern: str) -> tuple[str, ...]:
    """Name the numbers of a pattern.

    >>> list_places("layer{stage}.{block+1}")
    ('stage', 'block')
    """
    return tuple(place.group(1) for place in _PLACE.finditer(pattern))


@cache
def _compile(pattern: str) -> tuple[re.Pattern[str], Mapping[str, int]]:
    """Turn a pattern into a regular expression and the shifts of its numbers."""
    expression, end, shifts = "", 0, {}
    for place in _PLACE.finditer(pattern):
        name, shift, width = place.groups()
        expression += re.escape(pattern[end : place.start()])
        digits = rf"\d{{{width}}}" if width else r"0|[1-9]\d*"
        expression += f"(?P={name})" if name in shifts else f"(?P<{name}>{digits})"
        shifts[name] = int(shift or 0)
        end = place.end()
    return re.compile(expression + re.escape(pattern[end:]), re.ASCII), shifts


def match_name(pattern: str, name: str) -> dict[str, int] | None:
    """Give the numbers in a name that matches a pattern, shifts taken off; None where it does not match.

    >>> match_name("conv{stage+1}_block{block+1}", "conv2_block3")
    {'stage': 1, 'block': 2}
    """
    compiled, shifts = _compile(pattern)
    found = compiled.fullmatch(name)
    if found is None:
        return None
    numbers = {key: int(text) - shifts[key] for key, text in found.groupdict().items()}
    return None if min(numbers.values(), default=0) < 0 else numbers


def fill_pattern(pattern: str, numbers: Mapping[str, int]) -> str:
    """Put numbers into a pattern.

    >>> fill_pattern("unit{unit:02}", {"unit": 3})
    'unit03'
    """

    def put(place: re.Match[str]) -> str:
        name, shift, width = place.groups()
        return f"{numbers[name] + int(shift or 0):0{width or 1}d}"

    return _PLACE.sub(put, pattern)
