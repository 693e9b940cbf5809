"""Ctrl-C and SIGTERM: the step is finished, then the run is checkpointed and stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from medzoo.errors import TrainingError


class RunStoppedError(TrainingError):
    """A run that was asked to stop and can go on; `asked_by` is the signal's name."""

    def __init__(self, asked_by: str, found: str, remedy: str) -> None:
        super().__init__(found, "", remedy)
        self.asked_by = asked_by


@dataclass
class StopRequest:
    """Whether a signal has asked to stop, and which."""

    asked_by: str = ""


@contextmanager
def catch_stop() -> Iterator[StopRequest]:
    """Note the first Ctrl-C or SIGTERM instead of breaking off; a second one breaks off.

    Outside the main thread, where Python delivers no signals, nothing is caught.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        """Note the signal; the second time interrupt at once."""
        if request.asked_by:
            signal.default_int_handler(number, frame)
        request.asked_by = signal.Signals(number).name

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
