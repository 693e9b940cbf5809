"""The section of single images: those that the network was most wrong about, and those it was most right about."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medzoo.evaluation.calibration.metrics import nll_losses
from medzoo.evaluation.predictions import FloatArray, Predictions
from medzoo.reports.blocks import Block, Case, Cases, Section, Text, say_why
from medzoo.reports.sources import OpenedData
from medzoo.reports.subject import Subject
from medzoo.reports.thumbnails import make_pictures
from medzoo.reports.wording import format_number, shorten

#: Images of each kind.
MOST_CASES = 6

#: Labels that are named under an image of several.
MOST_LABELS = 3


def make_cases(subject: Subject, opened: OpenedData) -> Section:
    """Make the section of the images with the highest and the lowest loss, one of each patient."""
    key, title = "cases", "Best and worst cases"
    rows = subject.rows
    if not len(rows):
        return say_why(key, title, f"no row of the {subject.split} split is annotated")
    losses = measure_losses(rows)
    worst = choose_cases(rows, losses, MOST_CASES)
    best = [place for place in choose_cases(rows, -losses, MOST_CASES) if place not in worst]
    pictures, reason = make_pictures(opened, [str(rows.ids[place]) for place in (*worst, *best)])
    intro = f"By the cross-entropy of the {subject.split} split's labels" + (
        ", at most one image of each patient." if rows.patients is not None else "."
    )
    blocks: list[Block] = [Text(intro)]
    if reason:
        blocks.append(Text(f"{'Some pictures' if pictures else 'Pictures'} are not shown: {reason}."))
    for heading, places in (("Most wrong", worst), ("Most right", best)):
        shown = tuple(
            _describe(rows, place, pictures.get(str(rows.ids[place]), ("", False))) for place in places
        )
        if shown:
            blocks.append(Cases(heading, shown))
    return Section(key, title, tuple(blocks))


def measure_losses(rows: Predictions) -> FloatArray:
    """Give each annotated row's cross-entropy (n,), of several labels the mean over those annotated.

    >>> two = Predictions(np.array(["a", "b"]), np.eye(2), np.array([[1.0, 0.0], [0.5, 0.5]]), ("no", "yes"),
    ...                   np.array(["test"] * 2))
    >>> measure_losses(two).round(3).tolist()
    [0.0, 0.693]
    """
    return np.asarray(np.nanmean(nll_losses(rows), axis=1))


def choose_cases(rows: Predictions, order: FloatArray, most: int) -> list[int]:
    """Choose the rows with the highest values, the first of equal ones, and of each patient one.

    >>> two = Predictions(np.array(["a", "b"]), np.eye(2), np.eye(2), ("no", "yes"), np.array(["test"] * 2),
    ...                   np.array(["p", "p"]))
    >>> choose_cases(two, np.array([0.1, 0.2]), 2)
    [1]
    """
    places: NDArray[np.int64] = np.argsort(-order, kind="stable")
    chosen: list[int] = []
    seen: set[str] = set()
    for place in places.tolist():
        patient = "" if rows.patients is None else str(rows.patients[place])
        if patient and patient in seen:
            continue
        seen.add(patient)
        chosen.append(place)
        if len(chosen) == most:
            break
    return chosen


def _describe(rows: Predictions, place: int, picture: tuple[str, bool]) -> Case:
    """Say what is true of an image and what the network said."""
    labels, scores = rows.labels[place], rows.scores[place]
    if rows.exclusive:
        true, said = int(np.nanargmax(labels)), int(scores.argmax())
        lines = [f"true: {shorten(rows.classes[true], 60)}, {format_number(float(scores[true]))}"]
        if said != true:
            lines.append(f"said: {shorten(rows.classes[said], 60)}, {format_number(float(scores[said]))}")
    else:
        gaps = np.nan_to_num(np.abs(labels - scores), nan=-1.0)
        named = [
            int(column) for column in np.argsort(-gaps, kind="stable")[:MOST_LABELS] if gaps[column] >= 0
        ]
        lines = [
            f"{shorten(rows.classes[column], 60)}: {'yes' if labels[column] == 1 else 'no'}, "
            f"{format_number(float(scores[column]))}"
            for column in named
        ]
    return Case(str(rows.ids[place]), picture[0], tuple(lines), picture[1])
