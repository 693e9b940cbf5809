"""Sections → one HTML page that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import medzoo
from medzoo.reports.blocks import Section
from medzoo.reports.figures import COLOURS, STYLES
from medzoo.reports.wording import clean

_TEMPLATES = Path(__file__).parent / "templates"


def assemble_page(title: str, kind: str, lead: str, sections: Sequence[Section]) -> str:
    """Give the HTML of a page: its title, what it is about, a sentence with the result, its sections.

    Every text is escaped, and signs without a shape are replaced, wherever they come from.

    >>> from medzoo.reports.blocks import Text
    >>> page = assemble_page("<b>", "run", "", [Section("a", "A", (Text("1 < 2"),))])
    >>> "<h1>&lt;b&gt;</h1>" in page, "1 &lt; 2" in page
    (True, True)
    """
    return _load_template().render(
        title=title,
        kind=kind,
        lead=lead,
        sections=sections,
        style=Markup(_write_style()),
        version=medzoo.__version__,
    )


@cache
def _load_template() -> jinja2.Template:
    """Load the page's template; a name that it misspells is an error, not an empty place."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finish,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html")


def _finish(value: Any) -> Any:
    """Clean what a template prints; what is markup already has been cleaned."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _write_style() -> str:
    """Give the style sheet, with a rule for each style of a line."""
    dashes = ("none", "5 2", "1 2")
    rules = [
        f".style-{style} {{ stroke: var(--series-{style % COLOURS + 1}); "
        f"stroke-dasharray: {dashes[style // COLOURS]}; }}"
        for style in range(STYLES)
    ]
    return (_TEMPLATES / "style.css").read_text(encoding="utf-8") + "\n".join(rules)
