"""A download's progress bar on standard error."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class DownloadBar:
    """A bar that appears with the first bytes and is silent where standard error is no terminal.

    It has what a downloader asks of a bar: `total`, `update`, `reset` and `close`.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.total = 0
        self._progress: Any = None
        self._task: Any = None

    def __enter__(self) -> DownloadBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def update(self, size: int) -> None:
        """Count `size` more bytes."""
        if self._progress is None:
            self._start()
        self._progress.update(self._task, advance=size, total=self.total or None)

    def reset(self) -> None:
        """Start counting anew, as for a second try."""
        if self._progress is not None:
            self._progress.reset(self._task)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _start(self) -> None:
        """Draw the bar; rich is loaded only when something is downloaded."""
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

        console = Console(stderr=True)
        self._progress = Progress(
            "{task.description}",
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._progress.start()
        self._task = self._progress.add_task(self.title, total=self.total or None)
