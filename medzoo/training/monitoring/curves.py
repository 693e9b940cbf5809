"""The curves of a run as a picture: losses, scores with the best marked, learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medzoo.errors import ConfigError
from medzoo.outputs import write_beside
from medzoo.training.monitoring.history import find_best, list_metrics, title_metric

FILE = "curves.png"

#: From a ratio of highest to lowest loss on, a linear axis shows the first validation and a flat line.
_LOGARITHMIC = 30.0

#: Validations up to which each is a dot; more of them are a line.
_DOTTED = 40

#: Blue, orange and further ones that people with any colour vision tell apart (Okabe & Ito 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
_GREY = "#666666"


def draw_curves(rows: Sequence[Mapping[str, float]], path: str | Path, metric: str = "auroc") -> None:
    """Draw a history as a PNG of three panels over the epochs: losses, scores of validation, learning rate.

    `metric` is what the best row was chosen by; that row is marked. Panels of which the rows hold nothing are left
    out. The picture appears whole or not at all and takes the place of an earlier one.

    Raises:
        ConfigError: there are no rows, or matplotlib is not installed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_curves([{"epoch": 1, "step": 8, "loss": 0.7}], Path(folder) / "curves.png")
    ...     (Path(folder) / "curves.png").read_bytes()[1:4]
    b'PNG'
    """
    if not rows:
        raise ConfigError("a history without rows", "one row or more")
    # A figure and its own canvas, without pyplot: nothing is kept for the process, and no display is asked for.
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "matplotlib is not installed", "it, to draw curves", "pip install matplotlib"
        ) from error
    panels = [_draw_losses]
    panels += [_draw_scores] if list_metrics(rows) else []
    panels += [_draw_rate] if _is_known(rows, "learning_rate") else []
    figure = Figure(figsize=(8, 0.5 + 2.5 * len(panels)), dpi=120, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)  # whose methods have no types
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for draw, axes in zip(panels, all_axes, strict=True):
        draw(axes, rows, metric)
        axes.grid(True, color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[-1].set_xlabel("epoch")
    _fit_epochs(all_axes[-1], _column(rows, "epoch"))
    with write_beside(Path(path)) as beside:
        canvas.print_png(beside)


def _column(rows: Sequence[Mapping[str, float]], name: str) -> list[float]:
    """Give a column, NaN where a row lacks it or where no axis has room for it."""
    values = (row.get(name, math.nan) for row in rows)
    return [value if math.isfinite(value) else math.nan for value in values]


def _is_known(rows: Sequence[Mapping[str, float]], name: str) -> bool:
    """Tell whether any row has a finite value of a column."""
    return not all(math.isnan(value) for value in _column(rows, name))


def _draw(axes: Any, rows: Sequence[Mapping[str, float]], name: str, colour: str, label: str) -> None:
    """Draw one column, with dots where the validations are few."""
    marker = "o" if len(rows) <= _DOTTED else ""
    axes.plot(
        _column(rows, "epoch"),
        _column(rows, name),
        color=colour,
        label=label,
        marker=marker,
        markersize=3.5,
        linewidth=1.4,
    )


def _draw_losses(axes: Any, rows: Sequence[Mapping[str, float]], metric: str) -> None:
    """Draw the losses; the best row is marked here where the loss chose it, for want of a score too."""
    _draw(axes, rows, "loss", _COLOURS[0], "training")
    if _is_known(rows, "val_loss"):
        _draw(axes, rows, "val_loss", _COLOURS[1], "validation")
        if metric == "loss" or not _is_known(rows, f"val_{metric}"):
            _mark_best(axes, rows, "loss", "val_loss")
    values = [value for name in ("loss", "val_loss") for value in _column(rows, name) if value == value]
    if values and min(values) > 0 and max(values) > _LOGARITHMIC * min(values):
        axes.set_yscale("log")
    axes.set_ylabel("loss")
    _explain(axes)


def _draw_scores(axes: Any, rows: Sequence[Mapping[str, float]], metric: str) -> None:
    """Draw the scores of validation, the chosen one first and marked."""
    names = sorted(list_metrics(rows), key=lambda name: name != metric)
    for place, name in enumerate(names):
        is_known = _is_known(rows, f"val_{name}")
        label = title_metric(name) + ("" if is_known else " (undefined)")
        _draw(axes, rows, f"val_{name}", _COLOURS[place % len(_COLOURS)], label)
    if metric in names and _is_known(rows, f"val_{metric}"):
        _mark_best(axes, rows, metric, f"val_{metric}")
    if not any(_is_known(rows, f"val_{name}") for name in names):
        axes.set_yticks([])
        axes.text(0.5, 0.5, "undefined on these images", transform=axes.transAxes, ha="center", color=_GREY)
    axes.set_ylabel("validation")
    _explain(axes)


def _draw_rate(axes: Any, rows: Sequence[Mapping[str, float]], metric: str) -> None:
    """Draw the learning rate at each validation."""
    del metric
    _draw(axes, rows, "learning_rate", _GREY, "learning rate")
    axes.set_ylim(bottom=0)
    if not any(value > 0 for value in _column(rows, "learning_rate")):
        axes.set(ylim=(0, 1), yticks=[0])  # a schedule's end alone: nothing gives the axis a scale
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    axes.set_ylabel("learning rate")


def _mark_best(axes: Any, rows: Sequence[Mapping[str, float]], metric: str, name: str) -> None:
    """Mark the best row with a ring and say its value and epoch in the legend."""
    index = find_best(rows, metric)
    if index is None or math.isnan(value := _column(rows, name)[index]):
        return
    epoch = _column(rows, "epoch")[index]
    axes.plot(
        [epoch],
        [value],
        linestyle="",
        marker="o",
        markersize=9,
        markerfacecolor="none",
        markeredgecolor="black",
        markeredgewidth=1.4,
        zorder=5,
        label=f"best: {value:.4f}, epoch {epoch:g}",
    )


def _explain(axes: Any) -> None:
    """Put the legend above the panel, where it hides no curve."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=6, frameon=False, fontsize=9, borderaxespad=0.1
    )


def _fit_epochs(axes: Any, epochs: Sequence[float]) -> None:
    """Fit the epochs' axis: whole numbers where they are whole, and room around a single validation."""
    from matplotlib.ticker import MaxNLocator

    known = [epoch for epoch in epochs if not math.isnan(epoch)]
    if not known:
        return
    if max(known) >= 3 or all(float(epoch).is_integer() for epoch in known):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    room = 0.03 * (max(known) - min(known)) or 0.5
    axes.set_xlim(min(known) - room, max(known) + room)
