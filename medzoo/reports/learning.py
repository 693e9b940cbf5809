"""The sections of how a run was trained: its learning curves and its configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from medzoo.errors import TrainingError
from medzoo.evaluation.predictions import FloatArray
from medzoo.reports.blocks import Code, Facts, Figure, Figures, Key, Section, Text, say_why
from medzoo.reports.figures import MOST_POINTS, STYLES, Line, draw_lines
from medzoo.reports.subject import Subject
from medzoo.reports.wording import format_number, read_text
from medzoo.training.monitoring.history import find_best, list_metrics, read_history, title_metric

#: From a ratio of highest to lowest loss on, a linear axis shows the first validation and a flat line.
_LOGARITHMIC = 30.0

#: Validations up to which each is a dot.
_DOTTED = 40

Rows = Sequence[Mapping[str, float]]

_NO_RUN = "a table of predictions does not say how its scores were made"

#: What of a configuration stands above the whole of it.
_FACTS = (
    ("Data", ("data", "source")),
    ("Network", ("model", "name")),
    ("Weights", ("weights", "src")),
    ("Mode", ("weights", "mode")),
    ("Image size", ("data", "image_size")),
    ("Preprocessing", ("data", "preprocessing")),
    ("Epochs", ("training", "epochs")),
    ("Updates", ("training", "steps")),
    ("Batch size", ("training", "batch_size")),
    ("Learning rate", ("training", "learning_rate")),
    ("Optimiser", ("optimizer", "name")),
    ("Schedule", ("schedule", "kind")),
    ("Frozen up to", ("optimizer", "freeze")),
    ("Percent of training data", ("data", "fraction")),
    ("Seed", ("training", "seed")),
    ("Chosen by", ("validation", "metric")),
)


def make_learning(subject: Subject) -> Section:
    """Make the section of losses, validation scores and learning rate over the epochs."""
    key, title = "learning", "Learning curves"
    if not subject.is_run:
        return say_why(key, title, _NO_RUN)
    try:
        rows: Rows = read_history(subject.path)
    except TrainingError as error:
        return say_why(key, title, str(error))
    if not rows:
        return say_why(key, title, "history.csv has no validations")
    metric = read_text(subject.config, "validation", "metric") or "auroc"
    best = find_best(rows, metric)
    if len(rows) == 1:
        return Section(key, title, (Text("There was one validation."), _tell_only(rows[0])))
    figures = [_draw_losses(rows, best if metric == "loss" else None)]
    if list_metrics(rows):
        figures.append(_draw_scores(rows, metric, best if metric != "loss" else None))
    if np.isfinite(_column(rows, "learning_rate")).any():
        figures.append(_draw_rate(rows))
    shown = [figure for figure in figures if figure is not None]
    if not shown:
        return say_why(key, title, "history.csv holds no finite losses")
    notes: tuple[Text, ...] = ()
    if len(rows) > MOST_POINTS:
        notes = (Text(f"Of {len(rows):,} validations at most {MOST_POINTS} are drawn.", is_note=True),)
    return Section(key, title, (Figures(tuple(shown)), *notes))


def make_configuration(subject: Subject) -> Section:
    """Make the section of the settings: the main ones as facts, then the file as it is."""
    key, title = "configuration", "Configuration"
    if not subject.is_run:
        return say_why(key, title, _NO_RUN)
    try:
        text = (subject.path / "config.toml").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return say_why(key, title, "config.toml cannot be read")
    pairs = [(name, read_text(subject.config, *path)) for name, path in _FACTS]
    facts = Facts(tuple((name, value) for name, value in pairs if value))
    return Section(key, title, (facts, Code("config.toml", text)))


def _tell_only(row: Mapping[str, float]) -> Facts:
    """Tell what a single validation found: a point is no curve."""
    names = {"epoch": "Epoch", "step": "Updates", "loss": "Training loss", "val_loss": "Validation loss"}
    names |= {f"val_{name}": f"Validation {title_metric(name)}" for name in list_metrics([row])}
    return Facts(tuple((title, f"{row[name]:.4g}") for name, title in names.items() if name in row))


def _draw_losses(rows: Rows, best: int | None) -> Figure | None:
    """Draw the losses of training and validation, None where there is no finite one."""
    named = [("training", "loss"), ("validation", "val_loss")]
    lines, keys = _make_lines(rows, named)
    if not lines:
        return None
    values = np.concatenate([line.y[np.isfinite(line.y)] for line in lines])
    is_logarithmic = bool(values.min() > 0 and values.max() > _LOGARITHMIC * values.min())
    mark = _find_mark(rows, best, "val_loss")
    drawing = draw_lines(
        "losses",
        f"Losses over {len(rows):,} validations: {_tell_ends(lines, keys)}",
        lines,
        x_label="Epoch",
        y_label="Loss",
        is_share=False,
        is_logarithmic=is_logarithmic,
        mark=mark,
    )
    what = "Loss on training and validation images" + (", on a logarithmic axis" if is_logarithmic else "")
    return Figure(drawing, f"{what}.{_tell_mark(mark)}", tuple(keys))


def _draw_scores(rows: Rows, metric: str, best: int | None) -> Figure | None:
    """Draw the validation scores, the one that chose the best epoch first, None where all are undefined."""
    names = sorted(list_metrics(rows), key=lambda name: name != metric)[:STYLES]
    lines, keys = _make_lines(rows, [(title_metric(name), f"val_{name}") for name in names])
    if not lines:
        return None
    mark = _find_mark(rows, best, f"val_{metric}")
    drawing = draw_lines(
        "scores-by-epoch",
        f"Validation scores over {len(rows):,} validations: {_tell_ends(lines, keys)}",
        lines,
        x_label="Epoch",
        y_label="Validation score",
        is_share=False,
        mark=mark,
    )
    return Figure(drawing, f"Scores on validation images.{_tell_mark(mark)}", tuple(keys))


def _draw_rate(rows: Rows) -> Figure | None:
    """Draw the learning rate."""
    lines, keys = _make_lines(rows, [("learning rate", "learning_rate")])
    if not lines:
        return None
    drawing = draw_lines(
        "rate",
        f"Learning rate: {_tell_ends(lines, keys)}",
        lines,
        x_label="Epoch",
        y_label="Learning rate",
        is_share=False,
    )
    return Figure(drawing, "Learning rate at each validation.")


def _make_lines(rows: Rows, named: Sequence[tuple[str, str]]) -> tuple[list[Line], list[Key]]:
    """Make a line and a legend's key of each column that has a finite value."""
    lines, keys = [], []
    epochs = _column(rows, "epoch")
    kept = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_POINTS)).astype(int))
    for style, (title, name) in enumerate(named):
        values = _column(rows, name)
        if np.isfinite(values).any():
            lines.append(Line(epochs[kept], values[kept], style, has_dots=len(rows) <= _DOTTED))
            keys.append(Key(style, title))
    return lines, keys


def _find_mark(rows: Rows, best: int | None, name: str) -> tuple[float, float] | None:
    """Give epoch and value of the best row, None where there is none or it has no such value."""
    if best is None:
        return None
    epoch, value = _column(rows, "epoch")[best], _column(rows, name)[best]
    return (float(epoch), float(value)) if math.isfinite(epoch) and math.isfinite(value) else None


def _tell_mark(mark: tuple[float, float] | None) -> str:
    """Say what the ring is, where there is one."""
    if mark is None:
        return ""
    return f" The ring is the epoch whose weights were kept: {mark[0]:g}, {format_number(mark[1])}."


def _tell_ends(lines: Sequence[Line], keys: Sequence[Key]) -> str:
    """Say where each line begins and ends, for those who do not see it."""
    told = []
    for line, key in zip(lines, keys, strict=True):
        known = line.y[np.isfinite(line.y)]
        told.append(f"{key.label} from {known[0]:.4g} to {known[-1]:.4g}")
    return "; ".join(told)


def _column(rows: Rows, name: str) -> FloatArray:
    """Give a column, (n,), NaN where a row lacks it or no axis has room for it."""
    values = np.array([row.get(name, math.nan) for row in rows], dtype=np.float64)
    values[~np.isfinite(values)] = math.nan
    return values
