"""The section of ROC and precision–recall curves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medzoo.evaluation.metrics.calls import list_positive_columns
from medzoo.evaluation.metrics.curves import Curve, precision_recall_points, roc_points
from medzoo.evaluation.predictions import Predictions
from medzoo.reports.blocks import Figure, Figures, Key, Section, Text, say_why
from medzoo.reports.figures import MOST_POINTS, Line, draw_lines, thin
from medzoo.reports.scoring import title_score
from medzoo.reports.subject import Subject
from medzoo.reports.wording import count_noun, format_interval, format_number, list_names

#: Curves beyond this many are not told apart; the classes with the most positives are drawn.
MOST_CURVES = 14


def make_curves(subject: Subject) -> Section:
    """Make the section of both curves, one for each class or label that has positives and negatives."""
    key, title = "curves", "ROC and precision–recall curves"
    rows = subject.rows
    if not len(rows):
        return say_why(key, title, f"no row of the {subject.split} split is annotated")
    columns = list_drawable(rows)
    if not columns:
        return say_why(
            key, title, f"the {subject.split} split has no class with both positive and negative images"
        )
    notes = _list_notes(rows, columns)
    figures = (
        _draw(subject, columns, "auroc", roc_points, "False positive rate", "True positive rate"),
        _draw(subject, columns, "auprc", precision_recall_points, "Recall", "Precision"),
    )
    return Section(key, title, (Figures(figures), *(Text(note, is_note=True) for note in notes)))


def list_drawable(rows: Predictions) -> list[int]:
    """List the classes or labels with positives and negatives, the most positives first, at most MOST_CURVES.

    >>> rows = Predictions(np.array(["a", "b"]), np.eye(2), np.eye(2), ("no", "yes"), np.array(["test"] * 2))
    >>> list_drawable(rows)
    [1]
    """
    positives, negatives = (rows.labels == 1).sum(axis=0), (rows.labels == 0).sum(axis=0)
    known = [column for column in list_positive_columns(rows) if positives[column] and negatives[column]]
    most = sorted(known, key=lambda column: -positives[column])[:MOST_CURVES]
    return sorted(most)


def write_area(subject: Subject, metric: str, class_name: str) -> str:
    """Write the area under a class's curve, with its interval and counts, as the table of scores has it."""
    entry = subject.find_entry(metric, class_name)
    name = title_score(metric).partition(",")[0]
    if entry.get("value") is None:
        return f"{name} undefined"
    interval = format_interval(entry["low"], entry["high"])
    around = f" ({interval})" if interval != "–" else ""
    counts = f", n {entry['positives']:,} + {entry['negatives']:,}" if "positives" in entry else ""
    return f"{name} {format_number(entry['value'])}{around}{counts}"


def _draw(
    subject: Subject,
    columns: list[int],
    metric: str,
    measure: Callable[[Predictions, int], Curve],
    x_label: str,
    y_label: str,
) -> Figure:
    """Draw one kind of curve for all columns; the legend gives the areas."""
    rows = subject.rows
    lines, keys = [], []
    for style, column in enumerate(columns):
        curve = measure(rows, column)
        x, y = thin(np.asarray(curve.x, np.float64), np.asarray(curve.y, np.float64))
        lines.append(Line(x, y, style))
        keys.append(Key(style, rows.classes[column], write_area(subject, metric, rows.classes[column])))
    what = "ROC curve" if metric == "auroc" else "Precision–recall curve"
    kind = "label" if not rows.exclusive else "class against the rest"
    scope = f"of {rows.classes[columns[0]]}" if len(columns) == 1 else f"of each {kind}"
    caption = f"{what} {scope}, {subject.split} split. In brackets the 95 % interval; n counts positives + negatives."
    spoken = "; ".join(f"{key.label}: {key.value}" for key in keys)
    drawing = draw_lines(
        f"curve-{metric}",
        f"{what} {scope}. {spoken}",
        lines,
        x_label=x_label,
        y_label=y_label,
        is_square=True,
        diagonal="up" if metric == "auroc" else "",
    )
    return Figure(drawing, caption, tuple(keys))


def _list_notes(rows: Predictions, columns: list[int]) -> list[str]:
    """Say what was left out of the figures."""
    wanted = list_positive_columns(rows)
    positives, negatives = (rows.labels == 1).sum(axis=0), (rows.labels == 0).sum(axis=0)
    undefined = [rows.classes[column] for column in wanted if not (positives[column] and negatives[column])]
    dropped = len(wanted) - len(undefined) - len(columns)
    notes = []
    if undefined:
        notes.append(f"Without positives or negatives, and so without a curve: {list_names(undefined, 10)}.")
    if dropped:
        notes.append(f"{count_noun(dropped, 'class', 'classes')} with fewer positives are not drawn.")
    if len(rows) > MOST_POINTS:
        notes.append(
            f"Curves are drawn with at most {MOST_POINTS} points each; the areas are computed from all rows."
        )
    return notes
