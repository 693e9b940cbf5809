"""What a page is made of, as plain data: sections of paragraphs, facts, tables, figures, cases and listings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup


@dataclass(frozen=True)
class Text:
    """A paragraph; a note is set smaller, for what a reader may skip."""

    kind: ClassVar[str] = "text"
    text: str
    is_note: bool = False


@dataclass(frozen=True)
class Facts:
    """Names and values, one pair a line."""

    kind: ClassVar[str] = "facts"
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """A table: each row's first cell is its head.

    `numbers` are the columns set flush right, `levels` shades cells (row, column) from 0 (not at all) to 4, `groups`
    are rows that stand under the one above, `notes` stand below.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()
    levels: Mapping[tuple[int, int], int] = field(default_factory=dict)
    groups: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Key:
    """A line of a figure's legend: the number of the style it is drawn in, its name and what else is to say."""

    style: int
    label: str
    value: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption and legend; the drawing carries its own text for those who do not see it."""

    drawing: Markup
    caption: str
    keys: tuple[Key, ...] = ()


@dataclass(frozen=True)
class Figures:
    """Figures side by side where there is room."""

    kind: ClassVar[str] = "figures"
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Case:
    """One image: its picture as a data URI ("" where it cannot be shown), what is true and what was said."""

    name: str
    picture: str
    lines: tuple[str, ...]
    is_small: bool = False

    @property
    def alternative(self) -> str:
        """What the picture shows, in words."""
        return f"image {self.name}: {'; '.join(self.lines)}"


@dataclass(frozen=True)
class Cases:
    """A row of images under one heading."""

    kind: ClassVar[str] = "cases"
    title: str
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Code:
    """Text as it stands in a file, or commands as they are typed."""

    kind: ClassVar[str] = "code"
    caption: str
    text: str


Block = Text | Facts | Table | Figures | Cases | Code


@dataclass(frozen=True)
class Section:
    """A part of the page: the name it is linked by, its heading, and what stands in it.

    >>> say_why("curves", "Curves", "no labels").blocks
    (Text(text='Not shown: no labels.', is_note=False),)
    """

    key: str
    title: str
    blocks: tuple[Block, ...]


def say_why(key: str, title: str, reason: str) -> Section:
    """Give the section of what cannot be shown, with the reason in one sentence."""
    return Section(key, title, (Text(f"Not shown: {reason.rstrip('.')}."),))
