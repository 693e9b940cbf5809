"""One process at a time downloads a file."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

#: Seconds after which a partial file belongs to a process that was killed.
_STALE = 24 * 3600.0


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Let one process at a time download a file; others wait, and then find it there.

    The lock spares a second download, no more: every process writes beside the final name and renames. Where
    files cannot be locked (some network folders, another user's lock, no `fcntl`), it is therefore left out.
    """
    held = _wait(path.with_name(f".lock-{path.name}"))
    try:
        if held is not None:
            _remove_stale(path)
        yield
    finally:
        if held is not None:
            Path(held.name).unlink(missing_ok=True)
            held.close()


def _remove_stale(path: Path) -> None:
    """Remove what killed processes left of downloads to `path`."""
    for part in path.parent.glob(f".part-????????-{path.name}"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _STALE:
                part.unlink()


def _wait(lock: Path) -> IO[bytes] | None:
    """Wait for a lock file and give it, held until it is closed; None where locking does not work."""
    try:
        import fcntl
    except ImportError:
        return None
    while True:
        try:
            stream = lock.open("ab")
        except OSError:
            return None
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
            # Whoever held it has removed it: a lock on a file without a name keeps nobody out.
            if lock.exists() and os.path.samestat(os.fstat(stream.fileno()), lock.stat()):
                return stream
        except FileNotFoundError:
            pass  # removed between the two looks: once more
        except OSError:
            stream.close()
            return None
        except BaseException:
            stream.close()
            raise
        stream.close()
