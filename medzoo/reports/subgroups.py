"""The section of subgroups: a forest plot and a table for each column."""

from __future__ import annotations

import math
from collections.abc import Mapping

from medzoo.errors import MedzooError
from medzoo.evaluation.comparison import write_p
from medzoo.evaluation.gaps import Gap
from medzoo.evaluation.grouping import Grouping, group_rows
from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.score import Score
from medzoo.evaluation.subgroups import Subgroups, score_groups
from medzoo.reports.blocks import Block, Figure, Figures, Key, Section, Table, Text, say_why
from medzoo.reports.figures import COLOURS, Bar, draw_forest
from medzoo.reports.scoring import COUNTS, title_count
from medzoo.reports.subject import Subject
from medzoo.reports.wording import format_count, format_interval, format_number, list_names, shorten

#: Columns that are compared where nobody asks for any: of so many groups, with so many images for each.
MOST_VALUES = 12
LEAST_IMAGES = 10
MOST_COLUMNS = 6

#: Rows of a forest plot beyond this are in the table alone.
MOST_BARS = 40

METRIC = "auroc"

#: The style of what is not a group.
_OVERALL = COLOURS - 1


def make_subgroups(subject: Subject) -> Section:
    """Make the section of the metric in each group of each column asked for, or else of those that are groups."""
    key, title = "subgroups", "Subgroups"
    rows = subject.rows
    if not rows.groups:
        return say_why(key, title, "the predictions have no group columns")
    if not len(rows):
        return say_why(key, title, f"no row of the {subject.split} split is annotated")
    columns = subject.by or choose_columns(rows)
    if not columns:
        names = list_names(sorted(rows.groups))
        return say_why(
            key, title, f"no column holds 2 to {MOST_VALUES} groups of some size ({names}); --by names one"
        )
    blocks: list[Block] = []
    titles: dict[str, Grouping] = {}
    for column in columns:
        try:
            titles[column] = group_rows(rows, column)
        except MedzooError as error:
            blocks.append(Text(f"{column}: not shown, {error}."))
    if titles:
        found = score_groups(rows, list(titles), METRIC, subject.resampling)
        blocks = [*_draw_groups(found, titles, subject), _list_groups(found, titles, subject.split), *blocks]
    return Section(key, title, tuple(blocks))


def choose_columns(rows: Predictions) -> tuple[str, ...]:
    """Choose the group columns that hold groups, and no names or measurements.

    >>> import numpy as np
    >>> groups = {"sex": np.repeat(["F", "M"], 20), "file": np.arange(40).astype(str)}
    >>> true = np.eye(2)[np.arange(40) % 2]
    >>> rows = Predictions(np.arange(40).astype(str), true, true, ("no", "yes"), np.array(["test"] * 40),
    ...                    groups=groups)
    >>> choose_columns(rows)
    ('sex',)
    """
    return tuple(name for name in rows.groups if _holds_groups(rows, name))[:MOST_COLUMNS]


def _holds_groups(rows: Predictions, column: str) -> bool:
    """Tell whether a column, or the bands of its numbers, has several values, and enough images for each."""
    try:
        members = group_rows(rows, column).members
    except MedzooError:
        return False
    images = sum(len(indices) for indices in members.values())
    return 2 <= len(members) <= MOST_VALUES and images >= LEAST_IMAGES * len(members)


def _draw_groups(found: Subgroups, titles: Mapping[str, Grouping], subject: Subject) -> list[Block]:
    """Draw the groups that have a value, a colour for each column."""
    entry = subject.find_entry(METRIC)
    overall = entry.get("value")
    bars, keys, left_out = [], [], 0
    if overall is not None:
        ends = [math.nan if entry[end] is None else float(entry[end]) for end in ("low", "high")]
        bars.append(Bar("all images", float(overall), ends[0], ends[1], _OVERALL))
    for style, (column, grouping) in enumerate(titles.items()):
        scores = [(name, found.groups[name]) for name in grouping.members if name in found.groups]
        known = [(name, score) for name, score in scores if not math.isnan(score.value)]
        shown = known[: max(0, MOST_BARS - len(bars))]
        left_out += len(known) - len(shown)
        bars += [Bar(name, score.value, score.low, score.high, style) for name, score in shown]
        if shown:
            keys.append(Key(style, shorten(column, 60)))
    if len(bars) < 2:
        return []
    spoken = "; ".join(f"{bar.label} {format_number(bar.value)}" for bar in bars)
    drawing = draw_forest(
        "groups",
        f"AUROC of each group: {spoken}",
        bars,
        x_label="AUROC",
        level=None if overall is None else float(overall),
    )
    caption = (
        f"AUROC of each group with its 95 % interval, {subject.split} split; the line is that of all images together."
        + (f" {left_out:,} more groups are in the table." if left_out else "")
    )
    return [Figures((Figure(drawing, caption, tuple(keys)),))]


def _list_groups(found: Subgroups, titles: Mapping[str, Grouping], split: str) -> Table:
    """List the groups with intervals and counts, those that are too small without a score."""
    listed = []
    for name in (name for grouping in titles.values() for name in grouping.members):
        score = found.groups.get(name)
        counts = found.too_small[name] if score is None else score.counts
        listed.append(
            (name, *(("too small", "–") if score is None else _write_score(score)), counts.describe())
        )
    numbers = [name for name in COUNTS if any(name in counts for *_, counts in listed)]
    rows = [(*cells, *(format_count(counts.get(name)) for name in numbers)) for *cells, counts in listed]
    notes = [_tell_gap(column, gap) for column, gap in found.gaps.items()]
    notes += [f"{name}: {score.reason}." for name, score in found.groups.items() if score.reason]
    if found.too_small:
        notes.append(
            f"Groups of fewer than {found.smallest} patients, or images where no patient is known, are too small."
        )
    notes += [f"{column} is not known of {counts.n:,} images." for column, counts in found.not_known.items()]
    return Table(
        f"AUROC of each group on the {split} split",
        ("Group", "AUROC", "95 % interval", *map(title_count, numbers)),
        tuple(rows),
        numbers=frozenset(range(1, 3 + len(numbers))),
        notes=tuple(notes),
    )


def _write_score(score: Score) -> tuple[str, str]:
    """Write a value and its interval."""
    return format_number(score.value), format_interval(score.low, score.high)


def _tell_gap(column: str, gap: Gap) -> str:
    """Say how far a column's groups are apart, and how far equal groups would be."""
    score = gap.score
    if math.isnan(score.value):
        return f"{column}: {score.reason or 'no gap'}."
    value, interval = _write_score(score)
    told = f"{column}: largest difference between two groups {value} (95 % interval {interval}), n {score.counts.n:,}"
    if math.isnan(gap.p):
        return f"{told}."
    return f"{told}; equal groups of these sizes would show {format_number(gap.chance)} (p {write_p(gap.p)})."
