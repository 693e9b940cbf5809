"""Memory that a table of predictions takes, compared with what is free: refused before, not killed amid."""

from __future__ import annotations

from pathlib import Path

from medzoo.errors import DataError


def check_room(path: Path, needed: int, what: str) -> None:
    """Refuse what needs more bytes of memory than are free; where nothing tells how many are, go on.

    Raises DataError with both numbers.

    >>> check_room(Path("p.csv"), 1, "its rows")
    """
    free = find_free_memory()
    if free is not None and needed > free:
        raise DataError(
            f"{path}: {what} take about {name_bytes(needed)} of memory, and {name_bytes(free)} are free",
            "a table that fits in memory",
            "fewer columns, shorter ids, one split at a time, or a machine with more memory",
        )


def find_free_memory() -> int | None:
    """Find how many bytes of memory are free, in the machine and in the container; None where nothing tells."""
    free = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")
        limit, used = (
            (group / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current")
        )
        if limit != "max":
            free.append(max(0, int(limit) - int(used)))
    except (OSError, ValueError):
        pass  # another system, or no container: what was found counts
    return min(free, default=None)


def name_bytes(count: int) -> str:
    """Write a number of bytes.

    >>> name_bytes(1_234_567), name_bytes(20 * 10**9)
    ('1.2 MB', '20.0 GB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 10**9 else f"{count / 1e6:.1f} MB"
