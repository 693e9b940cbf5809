"""Digests of cached files: of several algorithms, computed once, and recorded where a card has none."""

from __future__ import annotations

import hashlib
import json
import re
import time
from pathlib import Path

from medzoo.errors import WeightsError
from medzoo.outputs import write_text

#: (device, inode, size, modification time, algorithm) → hexadecimal digest, so that gigabytes are hashed once.
_HASHED: dict[tuple[int, int, int, int, str], str] = {}


def hash_as(path: Path, digest: str) -> str:
    """Hash a file the way that another digest was: `sha256:…`, `md5:…` or `sha256-prefix:…`.

    Raises:
        WeightsError: the algorithm is not known.
    """
    algorithm, _, expected = digest.partition(":")
    if algorithm == "sha256-prefix" and expected:
        return f"{algorithm}:{_hash(path, 'sha256')[: len(expected)]}"
    if algorithm not in ("sha256", "md5"):
        raise WeightsError(f"digest {digest!r} is of no known kind", "sha256:…, md5:… or sha256-prefix:…")
    return f"{algorithm}:{_hash(path, algorithm)}"


def _hash(path: Path, algorithm: str) -> str:
    """Hash a file, once in a process as long as it stays the same."""
    status = path.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, algorithm)
    if key in _HASHED:
        return _HASHED[key]
    # A file written this instant may change again without its time telling: such a digest is not kept.
    settled = time.time() - status.st_mtime > 2
    with path.open("rb") as stream:
        # MD5 finds damage; against forgery it is no protection, which is why cards say which one they have.
        found = hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    if settled:
        _HASHED[key] = found
    return found


def record_path(path: Path) -> Path:
    """Give the path of the record that belongs to a cached file."""
    return path.with_name(f"{path.name}.digest")


def read_record(path: Path) -> str:
    """Read the digest that was recorded for a file, or an empty string.

    Raises:
        WeightsError: the record is damaged.
    """
    record = record_path(path)
    try:
        digest = json.loads(record.read_text(encoding="utf-8"))["digest"]
        if re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            return str(digest)
    except FileNotFoundError:
        return ""
    except (ValueError, KeyError, TypeError):
        pass  # refused below
    raise WeightsError(f"{record} holds no digest", "the record of a first download", f"rm {record}")


def write_record(path: Path, url: str) -> str:
    """Record a file's SHA-256 beside it, with its size and where it came from; give the digest.

    Raises:
        OSError: the folder cannot be written.
    """
    digest = hash_as(path, "sha256:")
    content = {"digest": digest, "size": path.stat().st_size, "url": url}
    write_text(record_path(path), json.dumps(content) + "\n")
    return digest
