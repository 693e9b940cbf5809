"""A run's progress on standard error: a bar on a terminal, a line a validation everywhere."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar as Line
from rich.table import Table
from rich.text import Text

from medzoo.training.monitoring.history import title_metric
from medzoo.training.monitoring.watch import Progress

#: What lies between two figures, and the narrowest bar beside them; where there is less room there are two lines.
_GAP = "  "
_NARROWEST = 12
_WIDEST = 40


class ProgressBar:
    """Watches a run for a person: loss, chosen metric, images/s, time left, memory and the share of waiting.

    On a terminal a bar stands below the printed lines; it takes two lines where one has no room. Elsewhere there is
    a line a validation alone. The loss is the mean since the last validation, as the printed one is. The time left
    counts validations too, but not the first call, in which the step is compiled.

    >>> bar = ProgressBar("auroc", Console(width=120, force_terminal=False))
    >>> bar.begin(Progress(0, 20, 10))
    >>> row = {"epoch": 1, "loss": 0.7, "val_loss": 0.6, "val_auroc": 0.8, "images_per_second": 99.6}
    >>> bar.validated(Progress(10, 20, 10), row, is_best=True)
    epoch   1/2  loss 0.7000  validation loss 0.6000  AUROC 0.8000  100 images/s  best so far
    """

    def __init__(
        self,
        metric: str = "auroc",
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metric = metric
        self.console = console or Console(stderr=True, highlight=False)
        self.clock = clock
        self.progress = Progress(0, 1, 1)
        self.score: float | None = None
        # The losses' sum since the last validation and how many they are: one value, since a thread draws it.
        self._losses = (0.0, 0)
        self._before = 0
        self._first: tuple[float, int] | None = None
        self._live: Live | None = None

    def begin(self, progress: Progress) -> None:
        """Start the bar where the run starts, on a terminal."""
        self.progress, self._before = progress, progress.step
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(
                console=self.console, get_renderable=self.draw, refresh_per_second=4, transient=True
            )
            self._live.start()

    def stepped(self, progress: Progress, loss: float) -> None:
        """Take in updates; the bar is drawn by a thread of its own, so this costs no more than that."""
        steps = progress.step - self._before
        if self._first is None:
            self._first = self.clock(), progress.step
        self._losses = self._losses[0] + loss * steps, self._losses[1] + steps
        self._before = progress.step
        self.progress = progress

    def validated(self, progress: Progress, row: Mapping[str, float], is_best: bool) -> None:
        """Print the validation's line."""
        self.progress = progress
        self.score = row.get(f"val_{self.metric}")
        self.console.print(self._write_line(row, is_best), soft_wrap=True, markup=False, highlight=False)
        self._losses = 0.0, 0

    def end(self) -> None:
        """Remove the bar, also after an interruption."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _write_line(self, row: Mapping[str, float], is_best: bool) -> str:
        """Write a validation as one line."""
        epoch = f"{float(row['epoch']):.2f}".removesuffix(".00")
        parts = [f"epoch {epoch:>3}/{self._epochs}", f"loss {row['loss']:.4f}"]
        if "val_loss" in row:
            parts.append(f"validation loss {row['val_loss']:.4f}")
        if self.metric != "loss" and self.score is not None:
            parts.append(self._write_score(self.score))
        parts.append(f"{row['images_per_second']:.0f} images/s")
        return _GAP.join(parts + ["best so far"] * is_best)

    @property
    def _epochs(self) -> int:
        """How many epochs the run has, the last one perhaps in part."""
        return max(1, math.ceil(self.progress.steps / self.progress.steps_per_epoch))

    def _write_score(self, score: float) -> str:
        """Write the chosen metric's value."""
        title = "validation loss" if self.metric == "loss" else title_metric(self.metric)
        return f"{title} {'undefined' if math.isnan(score) else f'{score:.4f}'}"

    def draw(self) -> RenderableType:
        """Draw the bar as things stand, for whatever width it is printed at."""
        progress = self.progress
        epoch = min(progress.step // progress.steps_per_epoch + 1, self._epochs)
        done = progress.step / progress.steps
        front = f"epoch {epoch}/{self._epochs}"
        behind = f"{100 * done:3.0f} %{_GAP}{self._write_time_left()}"
        bar = Line(total=1.0, completed=done)
        return _Bar(front, bar, behind, _GAP.join(self._list_figures()))

    def _list_figures(self) -> list[str]:
        """List what is known by now: nothing is shown before it has been measured."""
        progress = self.progress
        total, steps = self._losses
        score = self.score
        figures = [f"loss {total / steps:.4f}"] if steps else []
        if score is not None:
            figures.append(self._write_score(score))
        if progress.seconds:
            figures.append(f"{progress.images_per_second:,.0f} images/s")
            figures.append(f"waiting {100 * progress.waiting / progress.seconds:.0f} %")
        memory = measure_memory()
        if memory is not None:
            figures.append(f"{memory / 1e9:.1f} GB" if memory >= 1e9 else f"{memory / 1e6:.0f} MB")
        return figures

    def _write_time_left(self) -> str:
        """Write the time left; nothing before the second call."""
        left = self._estimate_seconds_left()
        if left is None:
            return "–:–– left"
        minutes, seconds = divmod(round(left), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"

    def _estimate_seconds_left(self) -> float | None:
        """Estimate the seconds left from this process's pace since its first call."""
        if self._first is None or self.progress.step <= self._first[1]:
            return None
        pace = (self.clock() - self._first[0]) / (self.progress.step - self._first[1])
        return pace * (self.progress.steps - self.progress.step)


class _Bar:
    """The bar between its two ends, and the figures: behind it where there is room, else below it."""

    def __init__(self, front: str, bar: Line, behind: str, figures: str) -> None:
        self.front, self.bar, self.behind, self.figures = front, bar, behind, figures

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay the parts out for the terminal's width of this moment."""
        around = len(self.front) + len(self.behind) + 2 * len(_GAP)
        beside = options.max_width - around - len(self.figures) - len(_GAP)
        is_one_line = beside >= _NARROWEST
        room = beside if is_one_line else options.max_width - around
        if room >= _NARROWEST // 2:
            grid = Table.grid(padding=(0, len(_GAP), 0, 0), pad_edge=False)
            for _ in range(4 if is_one_line else 3):
                grid.add_column(no_wrap=True)
            self.bar.width = min(room, _WIDEST)
            cells: list[RenderableType] = [Text(self.front), self.bar, Text(self.behind)]
            grid.add_row(*cells, *([Text(self.figures)] if is_one_line else []))
            yield grid
        else:
            yield Text(f"{self.front}{_GAP}{self.behind}", no_wrap=True, overflow="ellipsis")
        if not is_one_line:
            yield Text(self.figures, no_wrap=True, overflow="ellipsis")


def measure_memory() -> int | None:
    """Measure this process's memory in bytes: what it holds now, or at most held where only that is told.

    None where the system tells neither.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource  # POSIX only
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # bytes there, else KiB
