"""Drawings as inline SVG whose colours are the page's own, so that they follow its colour scheme.

matplotlib draws in colours that nothing else has; afterwards each becomes a CSS variable. Text stays text: it can be
searched, read aloud and set in the page's font.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from medzoo.evaluation.predictions import FloatArray
from medzoo.reports.wording import clean, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: No curve has more points: beyond that a reader sees no difference and the page grows.
MOST_POINTS = 500

#: Inches. As wide as a phone at 72 pixels an inch, so that letters keep their size there.
WIDTH = 4.8

#: Colours of series; each is `--series-N` of the style sheet.
COLOURS = 6
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))

#: Styles of lines that differ in colour or dashes.
STYLES = COLOURS * len(DASHES)

_INK, _FAINT = "#f0b001", "#f0b002"
_SERIES = "#f0a0{:02d}"

# matplotlib's stubs know each name by itself, and no dict of some.
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "medzoo",
    "font.family": ["DejaVu Sans"],
    "font.size": 10.5,
    "text.color": _INK,
    "text.usetex": False,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.linewidth": 0.7,
    "axes.unicode_minus": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "path.simplify": True,
}


@dataclass(frozen=True, eq=False)
class Line:
    """A line of a drawing, x and y (n,), in one of the styles; `low` and `high` (n,) are drawn as bars around y."""

    x: FloatArray
    y: FloatArray
    style: int = 0
    has_dots: bool = False
    low: FloatArray | None = None
    high: FloatArray | None = None


@dataclass(frozen=True)
class Bar:
    """A row of a forest plot: its name, a value with the ends of its interval (NaN: none), and its style."""

    label: str
    value: float
    low: float
    high: float
    style: int = 0


def draw_lines(
    name: str,
    alternative: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    is_square: bool = False,
    is_share: bool = True,
    is_logarithmic: bool = False,
    diagonal: str = "",
    level: float | None = None,
    mark: tuple[float, float] | None = None,
) -> Markup:
    """Draw lines over two axes as an SVG with `alternative` as its text.

    `name` is unique on the page. If `is_share` both axes run from 0 to 1, if `is_square` they are equally long.
    `diagonal` is "up" or "", a line from corner to corner; `level` a faint line across; `mark` a ring.

    >>> line = Line(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    >>> drawing = draw_lines("roc", "a line", [line], x_label="x", y_label="y")
    >>> drawing.startswith("<svg"), "var(--series-1)" in drawing
    (True, True)
    """

    def draw(axes: Axes) -> None:
        """Put everything into the axes."""
        if diagonal:
            axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1.0, zorder=1)
        if level is not None:
            axes.axhline(level, color=_FAINT, linewidth=1.0, zorder=1)
        for line in lines:
            _draw_line(axes, line)
        if mark is not None:
            axes.plot(
                *mark,
                color=_INK,
                linestyle="",
                marker="o",
                markersize=9,
                markerfacecolor="none",
                markeredgecolor=_INK,
            )
        if is_share:
            axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
            axes.set_xticks(np.linspace(0, 1, 6))
            axes.set_yticks(np.linspace(0, 1, 6))
        if is_logarithmic:
            axes.set_yscale("log")
        if is_square:
            axes.set_aspect("equal")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(True)

    return _render(name, alternative, draw, 4.4 if is_square else 3.1)


def draw_forest(
    name: str, alternative: str, bars: Sequence[Bar], *, x_label: str, level: float | None = None
) -> Markup:
    """Draw values with their intervals, a row each from top to bottom, as an SVG; `level` is a faint line down.

    >>> "female" in draw_forest("g", "one group", [Bar("female", 0.8, 0.7, 0.9)], x_label="AUROC")
    True
    """

    def draw(axes: Axes) -> None:
        """Put everything into the axes."""
        places = np.arange(len(bars))
        if level is not None:
            axes.axvline(level, color=_FAINT, linewidth=1.2, zorder=1)
        for place, bar in zip(places, bars, strict=True):
            colour = _colour(bar.style)
            axes.plot([bar.low, bar.high], [place, place], color=colour, linewidth=1.8)
            axes.plot([bar.value], [place], color=colour, marker="s", markersize=5.5)
        labels = [clean(shorten(bar.label)) for bar in bars]
        axes.set_yticks(places, labels, parse_math=False)
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(x_label)
        axes.grid(True, axis="x")

    return _render(name, alternative, draw, 0.9 + 0.27 * len(bars))


def draw_counts(
    name: str, alternative: str, edges: FloatArray, counts: NDArray[np.int_], x_label: str
) -> Markup:
    """Draw how many rows lie between edges (m + 1,) as bars of heights counts (m,), as an SVG.

    >>> "var(--series-1)" in draw_counts("c", "x", np.array([0.0, 1.0]), np.array([3]), "p")
    True
    """

    def draw(axes: Axes) -> None:
        """Put everything into the axes."""
        axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=_colour(0), edgecolor=_FAINT)
        axes.set(xlim=(-0.01, 1.01))
        axes.set_xlabel(x_label)
        axes.set_ylabel("rows")
        axes.grid(True, axis="y")

    return _render(name, alternative, draw, 1.8)


def thin(x: FloatArray, y: FloatArray, most: int = MOST_POINTS) -> tuple[FloatArray, FloatArray]:
    """Give at most `most` points of a line (n,), evenly along its length in the unit square, both ends among them.

    >>> x = np.linspace(0, 1, 10_001)
    >>> thinned, _ = thin(x, x**2)
    >>> len(thinned) <= 500, float(thinned[0]), float(thinned[-1])
    (True, 0.0, 1.0)
    """
    if len(x) <= most:
        return x, y
    steps = np.abs(np.diff(x)) + np.abs(np.diff(y))
    length = np.concatenate([[0.0], np.cumsum(np.nan_to_num(steps))])
    places = np.searchsorted(length, np.linspace(0, length[-1], most - 1))
    kept = np.unique(np.concatenate([[0], places.clip(0, len(x) - 1), [len(x) - 1]]))
    return x[kept], y[kept]


def _draw_line(axes: Axes, line: Line) -> None:
    """Draw one line with its dots and bars."""
    colour, dashes = _colour(line.style), DASHES[line.style // COLOURS % len(DASHES)]
    if line.low is not None and line.high is not None:
        axes.vlines(line.x, line.low, line.high, color=colour, linewidth=1.2)
    marker = "o" if line.has_dots else ""
    # A dash pattern is a tuple, which matplotlib's stubs know as a style.
    style: Any = dashes
    axes.plot(line.x, line.y, color=colour, linestyle=style, marker=marker, markersize=4)


def _colour(style: int) -> str:
    """Give the colour that stands for a style until it becomes the page's."""
    return _SERIES.format(style % COLOURS + 1)


def _render(name: str, alternative: str, draw: Callable[[Axes], None], height: float) -> Markup:
    """Draw into a figure of its own, without pyplot: nothing is kept for the process, and no display is asked for."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_SETTINGS), warnings.catch_warnings():
        # Text stays text: the reader's own fonts draw it, and what the measuring one lacks is no fault of the page.
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from", UserWarning)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)
        draw(axes)
        return _inline(name, alternative, _write_svg(figure))


def _write_svg(figure: Figure) -> str:
    """Write a figure as SVG text that is the same whenever the figure is."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue().decode("utf-8")


def _inline(name: str, alternative: str, svg: str) -> Markup:
    """Make a whole SVG file one element of a page: no declarations, ids of its own, the page's colours."""
    opening = re.search(r"<svg[^>]*>", svg)
    assert opening is not None
    box = re.search(r'viewBox="[^"]*"', opening.group())
    assert box is not None
    body = svg[opening.end() :]
    # A <style> within an SVG would hold for the whole page.
    for unwanted in (r"<metadata>.*?</metadata>", r"<style.*?</style>", r"<!--.*?-->"):
        body = re.sub(unwanted, "", body, flags=re.DOTALL)
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', body))
    # Within tags alone: the text of a label may look like anything.
    body = re.sub(r"<[^>]*>", lambda tag: _adapt_tag(tag.group(), name, used), body)
    body = re.sub(r"\n\s*", "\n", body)
    head = f'<svg {box.group()} role="img" aria-label="{escape(clean(alternative))}">'
    return Markup(head + body.strip())


def _adapt_tag(tag: str, name: str, used: set[str]) -> str:
    """Give one tag of an SVG ids that no other drawing has, none that nothing refers to, and the page's colours."""
    tag = re.sub(r' id="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", tag)
    tag = tag.replace('xlink:href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    tag = tag.replace(_INK, "currentColor").replace(_FAINT, "var(--faint)")
    return re.sub(r"#f0a0(\d\d)", lambda found: f"var(--series-{int(found[1])})", tag)
