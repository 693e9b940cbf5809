"""A watcher's failure is told once and stops nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medzoo.training.monitoring.watch import Progress, Watcher
from medzoo.training.settings import RunSection


def check_watchers(run: RunSection) -> None:
    """Refuse watchers whose packages are not installed, before a run begins.

    Raises:
        ConfigError: the extra to install is named.
    """
    if run.tensorboard:
        from medzoo.training.monitoring.events import require_tensorboard

        require_tensorboard()
    if run.mlflow is not None:
        from medzoo.training.monitoring.tracking import require_mlflow

        require_mlflow()


class Guarded:
    """Watches through another watcher, which is left alone from its first failure on.

    A run of hours must not end because a disk of event files is full or a tracking server is gone. `report` receives
    one line that says so. Refusals at the start are no failures: see `require_tensorboard`, `require_mlflow`.

    >>> class Broken:
    ...     def begin(self, progress): raise OSError("no room")
    ...     def end(self): print("ended")
    >>> guarded = Guarded(Broken(), "the event files", print)
    >>> guarded.begin(Progress(0, 10, 5)); guarded.begin(Progress(1, 10, 5)); guarded.end()
    note: the event files failed, training goes on without: no room
    ended
    """

    def __init__(self, watcher: Watcher, name: str, report: Callable[[str], None] | None = None) -> None:
        self.watcher, self.name, self.report = watcher, name, report
        self.is_broken = False

    def begin(self, progress: Progress) -> None:
        """Pass the start on."""
        self._try(self.watcher.begin, progress)

    def stepped(self, progress: Progress, loss: float) -> None:
        """Pass updates on."""
        self._try(self.watcher.stepped, progress, loss)

    def validated(self, progress: Progress, row: Mapping[str, float], is_best: bool) -> None:
        """Pass a validation on."""
        self._try(self.watcher.validated, progress, row, is_best)

    def end(self) -> None:
        """Pass the end on, to a broken watcher too: it may hold a terminal or a file."""
        was_broken, self.is_broken = self.is_broken, False
        self._try(self.watcher.end, is_quiet=was_broken)

    def _try(self, call: Callable[..., None], *arguments: Any, is_quiet: bool = False) -> None:
        """Call the watcher unless it is broken; after a failure it is."""
        if self.is_broken:
            return
        try:
            call(*arguments)
        except Exception as error:  # noqa: BLE001 - a watcher talks to disks and servers: anything may come
            self.is_broken = True
            if self.report and not is_quiet:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                self.report(f"note: {self.name} failed, training goes on without: {reason}")
