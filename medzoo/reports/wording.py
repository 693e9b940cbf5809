"""Numbers and names as the page prints them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

#: Names longer than this are cut in figures, where they would push the drawing aside; tables have them whole.
LONGEST = 28


def format_number(value: float | None) -> str:
    """Give three decimals without the leading zero, as shares are printed in the field's papers.

    >>> format_number(0.8914), format_number(1.0), format_number(-0.25), format_number(None)
    ('.891', '1.000', '−.250', 'undefined')
    """
    if value is None or math.isnan(value):
        return "undefined"
    text = f"{abs(value):.3f}"
    if abs(value) < 1 and text.startswith("0"):
        text = text[1:]
    return f"−{text}" if value < 0 and float(text) else text


def format_interval(low: float | None, high: float | None) -> str:
    """Give the two ends of an interval, or a dash where there is none.

    >>> format_interval(0.5, 1.0), format_interval(None, None)
    ('.500 – 1.000', '–')
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return "–"
    return f"{format_number(low)} – {format_number(high)}"


def format_count(value: int | None) -> str:
    """Give a whole number with commas, or a dash where it is not known.

    >>> format_count(12345), format_count(None)
    ('12,345', '–')
    """
    return "–" if value is None else f"{value:,}"


def format_share(part: int, whole: int) -> str:
    """Give a share in percent; nothing of nothing is a dash.

    >>> format_share(1, 8), format_share(0, 0)
    ('12.5 %', '–')
    """
    return f"{100 * part / whole:.1f} %" if whole else "–"


def shorten(text: str, most: int = LONGEST) -> str:
    """Cut a long name, so that what was cut is seen.

    >>> shorten("pleural thickening", 8)
    'pleural…'
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def clean(text: str) -> str:
    """Replace signs that have no shape, but for line ends: they would garble a line, or turn it round.

    >>> clean("a\\u202eb\\x00")
    'a�b�'
    """
    return "".join(sign if sign.isprintable() or sign == "\n" else "�" for sign in text)


def list_names(names: Sequence[str], most: int = 3) -> str:
    """List the first names, and how many more there are.

    >>> list_names(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


def count_noun(count: int, noun: str, plural: str = "") -> str:
    """Count something in words.

    >>> count_noun(1, "image"), count_noun(2, "class", "classes")
    ('1 image', '2 classes')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def read_text(content: Mapping[str, Any], *path: str) -> str:
    """Read a value of nested keys as text, a number as short as it can be; "" where there is none or more keys.

    >>> read_text({"model": {"name": "cbr_tiny"}}, "model", "name"), read_text({}, "model", "name")
    ('cbr_tiny', '')
    """
    value: Any = content
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return ""
        value = value[name]
    if isinstance(value, Mapping) or value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
