"""Public data sets by name: downloaded once into the cache, and checked by the digest they are published with."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Protocol

from medzoo.data.containers.medmnist_sets import SETS, SMALLEST, URL, name_file
from medzoo.errors import DataError, nearest
from medzoo.outputs import write_beside

PREFIX = "medmnist:"
#: Seconds to connect, and to wait for the next bytes.
TIMEOUT = (15, 60)
CHUNK = 2**18


class Progress(Protocol):
    """A bar, as a caller may draw one: bytes in all (0: unknown), then bytes as they come."""

    total: int

    def update(self, size: int) -> None:
        """Count `size` more bytes."""

    def reset(self) -> None:
        """Count from nothing: the download starts anew."""

    def close(self) -> None:
        """End: nothing more will come."""


def fetch_medmnist(source: str, progress: Progress | None = None) -> Path:
    """Give the file of "medmnist:NAME" or "medmnist:NAME@SIDE", downloading it on first use.

    `SIDE` is the images' side in pixels, 28 unless given.  `MEDZOO_CACHE` names the cache's folder, and
    `MEDZOO_OFFLINE=1` forbids downloads.  Raises DataError for a name or side that MedMNIST does not publish,
    without a network, and for bytes that are not the published ones.
    """
    name, side = parse_medmnist(source)
    file = name_file(name, side)
    return fetch_file(
        URL.format(file=file), cache_folder() / "medmnist" / file, SETS[name].digests[side], progress
    )


def parse_medmnist(source: str) -> tuple[str, int]:
    """Read a set's name and the images' side from a source.

    Raises DataError for one that MedMNIST does not publish.

    >>> parse_medmnist("medmnist:breastmnist"), parse_medmnist("medmnist:OrganMNIST3D@64")
    (('breastmnist', 28), ('organmnist3d', 64))
    """
    name, _, side = source.removeprefix(PREFIX).partition("@")
    name = name.strip().lower()
    if name not in SETS:
        raise DataError(f"{source!r} is no set of MedMNIST", nearest(name, SETS), f"{PREFIX}breastmnist")
    sides = SETS[name].digests
    text = side if "@" in source else str(SMALLEST)
    if text not in map(str, sides):
        raise DataError(
            f"{name} has no images of side {text!r}",
            f"one of {', '.join(map(str, sides))}",
            f"{PREFIX}{name}@{max(sides)}",
        )
    return name, int(text)


def fetch_file(url: str, path: Path, md5: str, progress: Progress | None = None) -> Path:
    """Give the file at `path`, downloading it from an address unless it is there; its MD5 must be `md5`.

    Nothing is renamed to `path` before its digest has been checked.  Raises DataError as `fetch_medmnist` does.
    """
    by_hand = f"to put the file from {url} at {path}"
    try:
        if path.exists():
            found = hash_file(path)
            if found == md5:
                return path
            raise DataError(
                f"{path} is not the published file", f"MD5 {md5}, found {found}", f"rm '{path}', or {by_hand}"
            )
        if is_offline():
            raise DataError(f"{path.name} is not cached and MEDZOO_OFFLINE is set", "a cached file", by_hand)
        with write_beside(path) as beside:
            download(url, beside, by_hand, progress)
            found = hash_file(beside)
            if found != md5:
                raise DataError(f"{url} sent another file", f"MD5 {md5}, found {found}", by_hand)
    except OSError as error:
        raise DataError(
            f"cannot use {path} ({error.strerror or type(error).__name__})",
            "a readable file in a cache folder that has room and can be written",
            "MEDZOO_CACHE=another folder",
        ) from error
    return path


def download(url: str, path: Path, by_hand: str, progress: Progress | None = None) -> None:
    """Download an address to `path`; what comes is whatever the server sends.

    Raises DataError where the network fails, OSError where the disk does.
    """
    import pooch

    # "identity": a compressed body has another length than the file.
    headers = {"User-Agent": "medzoo", "Accept-Encoding": "identity"}
    downloader = pooch.HTTPDownloader(
        timeout=TIMEOUT, headers=headers, chunk_size=CHUNK, progressbar=progress or False
    )
    try:
        downloader(url, str(path), None)
    except (OSError, ValueError) as error:
        # The disk's errors have a number; the network's, which requests makes OSErrors too, have none.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"cannot download {url} ({str(error)[:160]})", "a network", by_hand) from error


def cache_folder() -> Path:
    """Give the folder for downloads: `MEDZOO_CACHE`, or the platform's cache folder."""
    import pooch

    return Path(os.environ.get("MEDZOO_CACHE") or pooch.os_cache("medzoo"))


def is_offline() -> bool:
    """Tell whether `MEDZOO_OFFLINE` forbids downloads."""
    return os.environ.get("MEDZOO_OFFLINE", "") not in ("", "0")


def hash_file(path: Path) -> str:
    """Give the MD5 of a file, the digest MedMNIST publishes: against damage, not against forgery."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
