"""The sections of how far scores can be believed: reliability, and what is left when doubtful images are set aside."""

from __future__ import annotations

import math

import numpy as np

from medzoo.errors import DataError, MedzooError
from medzoo.evaluation.calibration.bins import BINS, ReliabilityBins, reliability_bins
from medzoo.evaluation.calibration.calibration import Calibration, read_calibration
from medzoo.evaluation.calibration.chance import measure_chance
from medzoo.evaluation.calibration.metrics import ece
from medzoo.evaluation.predictions import FloatArray, Predictions
from medzoo.evaluation.score import Score
from medzoo.evaluation.scores import measure
from medzoo.evaluation.selective import risk_coverage
from medzoo.evaluation.uncertainty.by_class import take_class
from medzoo.outputs import digest_file
from medzoo.reports.blocks import Block, Figure, Figures, Key, Section, Text, say_why
from medzoo.reports.figures import MOST_POINTS, Line, draw_counts, draw_lines, thin
from medzoo.reports.rankings import list_drawable
from medzoo.reports.subject import Subject
from medzoo.reports.wording import format_interval, format_number
from medzoo.training.calibrated import CALIBRATION

#: Sorting more images than this a thousand times would take minutes.
MOST_RESAMPLED = 5000


def make_calibration(subject: Subject) -> Section:
    """Make the section of the reliability diagram: how often what was said came true."""
    key, title = "calibration", "Calibration"
    if not len(subject.rows):
        return say_why(key, title, f"no row of the {subject.split} split is annotated")
    blocks: list[Block] = [_draw_reliability(subject, subject.rows, "reliability", "")]
    path = subject.path / CALIBRATION
    if subject.is_run and path.is_file():
        try:
            fitted = read_own_calibration(subject)
            mended = fitted.apply(subject.rows)
        except MedzooError as error:
            blocks.append(Text(f"The run's calibration is not shown: {error}."))
        else:
            what = f"after {fitted.method} calibration, fitted on {fitted.n:,} validation rows"
            blocks.append(_draw_reliability(subject, mended, "calibrated", what))
    elif subject.is_run:
        blocks.append(
            Text(
                "The scores are the network's own; medzoo calibrate fits probabilities on validation.",
                is_note=True,
            )
        )
    return Section(key, title, tuple(blocks))


def read_own_calibration(subject: Subject) -> Calibration:
    """Read a run's calibration as `medzoo predict` does, but from a run that may lack what predicting needs.

    Raises:
        DataError: the file is no calibration, or was fitted on other predictions than the run's.
    """
    path, table = subject.path / CALIBRATION, subject.path / "predictions.csv"
    remedy = f"medzoo calibrate {subject.path} --overwrite"
    try:
        fitted = read_calibration(path)
    except DataError as error:
        raise DataError(error.found, error.expected, remedy) from error
    if not table.is_file() or fitted.source != digest_file(table):
        raise DataError(
            f"{path} was fitted on other predictions than the run's", "a calibration of this run", remedy
        )
    return fitted


def _draw_reliability(subject: Subject, rows: Predictions, name: str, what: str) -> Figures:
    """Draw the diagram of some scores, and how many rows each bin has."""
    if rows.exclusive:
        column = 1 if subject.is_binary else None
        bins = reliability_bins(rows, column)
        counted = (bins.edges, bins.counts)
        said = f"the score of {rows.classes[1]}" if subject.is_binary else "the highest score"
        lines = [_draw_bins(bins, 0, has_bars=True)]
        keys: tuple[Key, ...] = ()
        x_label = f"Mean score of {'the positive class' if subject.is_binary else 'the top class'}"
        y_label = "Share that came true"
    else:
        columns = list_drawable(rows)
        each = [reliability_bins(rows, column) for column in columns]
        pooled = reliability_bins(rows)
        counted = (pooled.edges, pooled.counts)
        said = "the score of each label"
        lines = [_draw_bins(bins, style, has_bars=len(columns) == 1) for style, bins in enumerate(each)]
        keys = tuple(
            Key(style, rows.classes[column], _write_error(take_class(rows, column), subject))
            for style, column in enumerate(columns)
        )
        x_label, y_label = "Mean score", "Share that came true"
    of_what = "of the top class" if rows.exclusive else "of each label, then their mean"
    error = f"Expected calibration error (ECE) {of_what}: {_write_error(rows, subject).removeprefix('ECE ')}."
    after = f", {what}" if what else ""
    caption = (
        f"Reliability on the {subject.split} split{after}: {said} in {BINS} bins of equal width against the share "
        f"that came true; on the diagonal both agree. {error}"
    )
    drawing = draw_lines(
        name,
        f"Reliability diagram{after}. {error}",
        lines,
        x_label=x_label,
        y_label=y_label,
        is_square=True,
        diagonal="up",
    )
    histogram = draw_counts(
        f"{name}-counts",
        f"How many scores lie in each bin, {int(counted[1].sum()):,} in all",
        counted[0],
        counted[1],
        "Score",
    )
    unit = "rows" if rows.exclusive else "pairs of image and label"
    below = f"How many of {int(counted[1].sum()):,} {unit} have a score in each bin."
    return Figures((Figure(drawing, caption, keys), Figure(histogram, below)))


def _draw_bins(bins: ReliabilityBins, style: int, has_bars: bool) -> Line:
    """Make a line of the bins that hold anything."""
    full = bins.counts > 0
    low, high = (bins.low[full], bins.high[full]) if has_bars else (None, None)
    return Line(bins.confidence[full], bins.observed[full], style, has_dots=True, low=low, high=high)


def _write_error(rows: Predictions, subject: Subject) -> str:
    """Write the expected calibration error, what it would be by chance, and n."""
    score = measure({"ece": ece}, rows, subject.resampling)["ece"]
    if math.isnan(score.value):
        return f"ECE {write_score(score)}"
    chance = measure_chance(ece, rows, seed=subject.resampling.seed)
    return f"ECE {format_number(score.value)} (below {format_number(chance)} by chance alone), n {score.counts.n:,}"


def write_score(score: Score) -> str:
    """Write a score with its interval and n, for a line of text.

    >>> from medzoo.evaluation.score import Counts
    >>> write_score(Score(0.1, 0.05, 0.2, Counts(40)))
    '.100 (.050 – .200), n 40'
    """
    interval = format_interval(score.low, score.high)
    around = f" ({interval})" if interval != "–" else f" ({score.reason or 'no interval'})"
    return f"{format_number(score.value)}{around}, n {score.counts.n:,}"


def make_selective(subject: Subject) -> Section:
    """Make the section of the risk–coverage curve: the share of errors among the images that are kept."""
    key, title = "selective", "Risk and coverage"
    rows = subject.rows
    if not len(rows):
        return say_why(key, title, f"no row of the {subject.split} split is annotated")
    curve = risk_coverage(rows)
    coverage, risk = np.asarray(curve.coverage, np.float64), np.asarray(curve.risk, np.float64)
    known = np.isfinite(coverage) & np.isfinite(risk)
    coverage, risk = coverage[known], risk[known]
    if not coverage.size:
        return say_why(key, title, "no image has a risk that is defined")
    shown_at, shown = thin(coverage, risk)
    caption = (
        f"Share of wrong answers among the images that the network is surest of, {subject.split} split: all images at "
        f"the right, the surest alone at the left. Area under the curve {_write_area(subject)}."
    )
    if len(coverage) > MOST_POINTS:
        caption += f" Drawn with at most {MOST_POINTS} points."
    drawing = draw_lines(
        "selective",
        f"Risk–coverage curve. {_read_risks(coverage, risk)}",
        [Line(shown_at, shown)],
        x_label="Coverage: share of images kept",
        y_label="Risk: share of those wrong",
        is_share=False,
    )
    return Section(key, title, (Figures((Figure(drawing, caption),)),))


def _write_area(subject: Subject) -> str:
    """Write the area under the risk–coverage curve with its interval, where the images are few enough for one."""
    rows = subject.rows
    if len(rows) > MOST_RESAMPLED:
        area = format_number(_measure_area(rows))
        return f"{area} (no interval is computed for more than {MOST_RESAMPLED:,} images), n {len(rows):,}"
    return write_score(measure({"area": _measure_area}, rows, subject.resampling)["area"])


def _measure_area(rows: Predictions) -> float:
    """Give the area under the risk–coverage curve."""
    return float(risk_coverage(rows).area)


def _read_risks(coverage: FloatArray, risk: FloatArray) -> str:
    """Read the risk off the curve where all, half and a fifth of the images are kept."""
    parts = []
    for share in (1.0, 0.5, 0.2):
        place = int(np.abs(coverage - share).argmin())
        parts.append(f"{format_number(float(risk[place]))} at {coverage[place]:.0%}".replace("%", " %"))
    return f"Risk {', '.join(parts)} coverage."
