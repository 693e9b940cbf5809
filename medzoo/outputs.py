"""Outputs that are never half there: written beside their final name, synced, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def write_beside(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; on success sync it and rename it to `path`.

    On any exception, Ctrl-C included, the temporary file is removed and an existing `path` stays as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with write_beside(Path(folder) / "a.txt") as beside:
    ...         _ = beside.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: Keras and h5py choose a format by it.
    handle, name = tempfile.mkstemp(prefix=".part-", suffix=f"-{path.name}", dir=path.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb+") as written:
            os.fsync(written.fileno())
        # mkstemp makes files private; an output has the permissions that a plain open() would give it.
        mask = os.umask(0)
        os.umask(mask)
        beside.chmod(0o666 & ~mask)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file in one step."""
    # newline="": the text's own line ends are kept, also inside quoted CSV fields.
    with write_beside(path) as beside, beside.open("w", encoding="utf-8", newline="") as stream:
        stream.write(text)


def digest_file(path: Path) -> str:
    """Give the SHA-256 of a file's bytes as `sha256:<hex>`, reading 1 MB at a time."""
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(2**20):
            total.update(chunk)
    return f"sha256:{total.hexdigest()}"
