"""Other libraries on files: their remarks, which may hold what a header says of a patient, and their failures."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from medzoo.errors import DataError

_LOCK = threading.Lock()
_SILENCE: list[ExitStack] = []  # at most one, left by whoever is last: the filters are the whole process's
_INSIDE: set[object] = set()
_LOGGERS = ("pydicom", "nibabel", "nibabel.global", "PIL")


@contextmanager
def keep_quiet() -> Iterator[None]:
    """Silence warnings and the readers' loggers, from the first thread that enters until the last has left.

    `warnings.catch_warnings` alone would be undone out of order by threads, and could stay in force.
    """
    ticket = object()
    with _LOCK:
        if not _INSIDE:
            _SILENCE.append(_start_silence())
        _INSIDE.add(ticket)
    try:
        yield
    finally:
        with _LOCK:
            _INSIDE.remove(ticket)
            if not _INSIDE:
                _SILENCE.pop().close()


@contextmanager
def refuse_broken(name: str, expected: str) -> Iterator[None]:
    """Turn whatever a broken file makes another library stumble over into a DataError, and keep it quiet.

    The library's own message is left out: it may quote what the header says of a patient.
    """
    try:
        with keep_quiet():
            yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{name!r} needs more memory than there is", "a smaller image") from error
    except FileNotFoundError as error:
        raise DataError(f"no file {name!r}", "a file for every image") from error
    except Exception as error:  # noqa: BLE001 - there is no list of what broken files raise
        # `from None`: a traceback would print the message with the cause.
        raise DataError(
            f"cannot decode {name!r} ({type(error).__name__})", expected, "leaving it out"
        ) from None


def _start_silence() -> ExitStack:
    """Silence everything until the stack given is closed."""
    stack = ExitStack()
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")
    for logger in map(logging.getLogger, _LOGGERS):
        stack.callback(setattr, logger, "disabled", logger.disabled)
        logger.disabled = True
    return stack
