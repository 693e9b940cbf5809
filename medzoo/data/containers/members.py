"""The files in an archive: what each is, and which names and sizes are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from medzoo.data.containers.folder import is_sidecar, is_visible
from medzoo.errors import DataError

MEMBER_LIMIT = 10**9  # bytes that one image may unpack to
#: An image of more than so many bytes that unpacks to this many times its stored bytes is a bomb.
RATIO_FROM, RATIO_LIMIT = 2**26, 200


@dataclass(frozen=True)
class Member:
    """One file in an archive: its name, where its stored bytes lie, and the bytes themselves if already read."""

    name: str
    offset: int
    length: int
    size: int  # unpacked
    packed: bool = False
    content: bytes | None = None


def clean_name(name: str, path: Path) -> str:
    """Give a member's name with "/" between its parts, or "" for one that is not the user's.

    Raises DataError for an absolute name and for one that leads out of the archive.

    >>> clean_name("./cat\\\\1.png", Path("pets.zip")), clean_name("__MACOSX/cat/._1.png", Path("pets.zip"))
    ('cat/1.png', '')
    """
    name = name.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in parts:
        raise DataError(
            f"{path} holds {name!r}, which lies outside of it", "names below the archive", "another archive"
        )
    return "/".join(parts) if all(map(is_visible, parts)) else ""


def check_size(member: Member, path: Path) -> None:
    """Refuse a member that unpacks to far more than an image has."""
    size = member.size
    if is_sidecar(member.name):
        return  # never read
    if size > MEMBER_LIMIT or (size > RATIO_FROM and size > RATIO_LIMIT * member.length):
        raise DataError(
            f"{path}: {member.name!r} would unpack from {member.length:,} to {size:,} bytes",
            f"images of at most {MEMBER_LIMIT:,} bytes, and no more than {RATIO_LIMIT} times their stored size",
            "leaving it out, or unpacking the archive to a folder",
        )
