"""Writing a text file so that a reader finds the old one or the new one, never half of it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..errors import DataError


def replace_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` in one step: beside it, synced to disk, then renamed over it.

    Raises DataError when the folder is missing or not writable; an existing `path` then stays as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     replace_text(Path(folder) / "a.json", "{}")
    ...     (Path(folder) / "a.json").read_text()
    '{}'
    """
    target = Path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        # newline="": the text's own line ends are kept, also inside quoted CSV fields.
        with beside.open("w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(target)
    except OSError as error:
        raise DataError(
            f"{target} cannot be written: {error.strerror}",
            "a folder that exists and is writable",
            "another path",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
