"""The sections of scores and of the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import ConfigError
from medzoo.evaluation.metrics.curves import confusion_matrix
from medzoo.evaluation.metrics.registry import find_metric
from medzoo.evaluation.predictions import Predictions
from medzoo.reports.blocks import Block, Section, Table, Text, say_why
from medzoo.reports.subject import FIRST_TO_LAST, Subject
from medzoo.reports.wording import (
    format_count,
    format_interval,
    format_number,
    list_names,
    read_text,
    shorten,
)

#: More classes than this make a table that nobody reads; then the commonest confusions are listed.
MOST_CLASSES = 20
MOST_CONFUSIONS = 20

#: Rows of a table of scores beyond this are left out, and counted.
MOST_ROWS = 150

#: What a score was computed on, in the order of the columns.
COUNTS = ("n", "patients", "positives", "negatives")


def write_lead(subject: Subject) -> str:
    """Say the result in a sentence: the AUROC of the split that matters, with its interval and counts.

    >>> import numpy as np
    >>> from pathlib import Path
    >>> rows = Predictions(np.array(["a"]), np.eye(1, 2), np.eye(1, 2), ("no", "yes"), np.array(["test"]))
    >>> write_lead(Subject(Path("p.csv"), rows))
    "AUROC on the test split undefined: no row of class 'yes'."
    """
    entries = subject.metrics.get(subject.split, {})
    entry: Mapping[str, Any] = entries.get("auroc", {})
    if entry.get("value") is None:
        return f"AUROC on the {subject.split} split undefined: {entry.get('reason', 'not computed')}."
    interval = format_interval(entry["low"], entry["high"])
    around = f" (95 % interval {interval})" if interval != "–" else " (no interval)"
    patients = f" of {entry['patients']:,} patients" if "patients" in entry else ""
    if "positives" in entry:
        name = shorten(subject.predictions.classes[-1], 60)
        patients += f", {entry['positives']:,} of {name} and {entry['negatives']:,} not"
    return (
        f"AUROC {format_number(entry['value'])}{around} on the {subject.split} split, "
        f"{entry['n']:,} images{patients}."
    )


def make_scores(subject: Subject) -> Section:
    """Make the section of all scores: a table for each split, with intervals, counts and reasons."""
    blocks: list[Block] = [
        Text(
            f"Intervals are 95 % bootstrap intervals of {subject.resampling.replicates:,} resamples, "
            + (
                "drawn by patient."
                if subject.predictions.patients is not None
                else "drawn by image, since no patient is known."
            )
        )
    ]
    if subject.rule:
        blocks.append(
            Text(
                "Scores at youden have the threshold of the highest sensitivity + specificity on the validation split; "
                "of that split itself they would be too good, and are not given."
            )
        )
    for split in FIRST_TO_LAST:
        if split in subject.metrics:
            blocks.append(_make_table(split, subject.metrics[split]))
    ideal = subject.recorded.get("ideal_observer")
    if isinstance(ideal, Mapping) and "auroc" in ideal:
        limit = float(read_text(ideal, "auroc") or "nan")
        blocks.append(
            Text(
                f"The best possible reader of these synthetic images has an AUROC of {format_number(limit)}."
            )
        )
    return Section("scores", "Scores", tuple(blocks))


def _make_table(split: str, entries: Mapping[str, Mapping[str, Any]]) -> Table:
    """Make one split's table, the labels of a metric under it."""
    listed: list[tuple[str, Mapping[str, Any], bool]] = []
    notes = [
        _explain_chance(title_score(metric), entry) for metric, entry in entries.items() if "chance" in entry
    ]
    for metric, entry in entries.items():
        title = title_score(metric)
        listed.append((title, entry, False))
        inside = entry.get("labels") or entry.get("classes") or {}
        listed += [(label, one, True) for label, one in inside.items()]
        named = [(title, entry), *((f"{title}, {label}", one) for label, one in inside.items())]
        notes += [
            f"{name}: {one['reason']}." for name, one in named if one.get("reason") and "chance" not in one
        ]
    left_out = len(listed) - MOST_ROWS
    if left_out > 0:
        notes.append(f"{left_out:,} more rows are left out here; medzoo evaluate --json has all of them.")
    listed = listed[:MOST_ROWS]
    counts = [name for name in COUNTS if any(name in entry for _, entry, _ in listed)]
    rows = tuple(
        (
            name,
            format_number(entry.get("value")),
            f"by chance < {format_number(entry['chance'])}"
            if "chance" in entry
            else format_interval(entry.get("low"), entry.get("high")),
            *(format_count(entry.get(count)) for count in counts),
        )
        for name, entry, _ in listed
    )
    return Table(
        f"Scores on the {split} split",
        ("Metric", "Value", "95 % interval", *map(title_count, counts)),
        rows,
        numbers=frozenset({1, 2, *range(3, 3 + len(counts))}),
        notes=tuple(notes),
        groups=frozenset(place for place, (_, _, is_label) in enumerate(listed) if is_label),
    )


def _explain_chance(title: str, entry: Mapping[str, Any]) -> str:
    """Say what stands in place of an interval beside an error over bins."""
    return (
        f"{title}: over M = {entry['bins']} bins. It is above 0 by chance even where the scores are right, and then "
        f"below {format_number(entry['chance'])} in 95 % of cases, which stands in place of an interval; only a "
        "larger one is a finding."
    )


def title_score(metric: str) -> str:
    """Write a metric's name as a person reads it, with the rule of its thresholds.

    >>> title_score("auroc"), title_score("sensitivity (youden)")
    ('AUROC', 'Sensitivity at youden')
    """
    name, _, rest = metric.partition(" (")
    try:
        title = find_metric(name).title
    except ConfigError:  # of a later release
        title = name
    return f"{title} at {rest.removesuffix(')')}" if rest else title


def title_count(name: str) -> str:
    """Write the head of a column of counts.

    >>> title_count("n"), title_count("patients")
    ('n', 'Patients')
    """
    return name if name == "n" else name.capitalize()


def make_confusion(subject: Subject) -> Section:
    """Make the section of what was taken for what, at the highest score, or at .5 of independent labels."""
    key, title = "confusion", "Confusion matrix"
    rows = subject.rows
    if not len(rows):
        return say_why(key, title, f"no row of the {subject.split} split is annotated")
    if not rows.exclusive:
        return Section(key, title, (_count_labels(rows, subject.split),))
    size, matrix = len(rows.classes), confusion_matrix(rows)
    if size > MOST_CLASSES:
        return Section(key, title, (_list_confusions(rows, matrix),))
    totals = matrix.sum(axis=1)
    levels = {
        (row, column + 1): _choose_level(int(matrix[row, column]), int(totals[row]))
        for row in range(size)
        for column in range(size)
    }
    table = Table(
        f"Images of the {subject.split} split: true class (rows), class with the highest score (columns)",
        ("True class", *rows.classes, "All"),
        tuple(
            (name, *(f"{count:,}" for count in matrix[row]), f"{totals[row]:,}")
            for row, name in enumerate(rows.classes)
        ),
        numbers=frozenset(range(1, size + 2)),
        notes=("The darker a cell, the larger its share of its row.",),
        levels=levels,
    )
    return Section(key, title, (table,))


def _choose_level(part: int, whole: int) -> int:
    """Choose a cell's shade, 0 to 4, by its share of the row."""
    return min(4, int(np.ceil(4 * part / whole))) if whole else 0


def _count_labels(rows: Predictions, split: str) -> Table:
    """Count hits and misses of every independent label."""
    counted = []
    for name, ((right, alarms), (missed, hit)) in zip(
        rows.classes, confusion_matrix(rows).tolist(), strict=True
    ):
        counted.append((name, f"{hit:,}", f"{alarms:,}", f"{missed:,}", f"{right:,}"))
    return Table(
        f"Each label on the {split} split at a score of .5",
        ("Label", "True positives", "False positives", "False negatives", "True negatives"),
        tuple(counted[:MOST_ROWS]),
        numbers=frozenset({1, 2, 3, 4}),
    )


def _list_confusions(rows: Predictions, matrix: NDArray[np.int64]) -> Table:
    """List the commonest confusions among many classes."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [divmod(int(place), len(rows.classes)) for place in order]
    listed = tuple(
        (rows.classes[true], rows.classes[said], f"{wrong[true, said]:,}", f"{matrix[true].sum():,}")
        for true, said in pairs
        if wrong[true, said]
    )
    return Table(
        f"The commonest confusions; a matrix of {len(rows.classes):,} classes would be too large to read",
        ("True class", "Taken for", "Images", "Images of the class"),
        listed,
        numbers=frozenset({2, 3}),
        notes=() if listed else (f"No image was taken for another class ({list_names(rows.classes)}).",),
    )
