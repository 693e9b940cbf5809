"""The cache of published weights: downloaded once, checked by digest, never half there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol
from urllib.parse import unquote

from medzoo.errors import WeightsError
from medzoo.outputs import write_beside
from medzoo.weights.addresses import clean, find_suffix, read_file_url, show_address, split_address
from medzoo.weights.digests import hash_as, read_record, record_path, write_record
from medzoo.weights.locking import hold_lock
from medzoo.weights.transfer import Progress, find_text, transfer

#: Opens a file with the reader that it needs, and raises WeightsError where none can.
Check = Callable[[Path], object]

#: What a file is called whose address nobody knows: its card's format tells.
_SUFFIX_OF_FORMAT = {
    "keras_legacy_h5": ".h5",
    "keras_v3": ".weights.h5",
    "npz": ".npz",
    "safetensors": ".safetensors",
    "torch": ".pth",
}


class Card(Protocol):
    """What a download needs to know of a card; see `WeightCard`."""

    @property
    def name(self) -> str:
        """Which weights these are; also the file's name in the cache, without its ending."""

    @property
    def urls(self) -> tuple[str, ...]:
        """The origin, then its mirrors."""

    @property
    def page(self) -> str:
        """Where people find the file."""

    @property
    def format(self) -> str:
        """The file's format."""

    @property
    def digest(self) -> str:
        """`sha256:…`, `md5:…`, `sha256-prefix:…`, or empty: unverified."""

    @property
    def size(self) -> int:
        """Size in bytes, or 0: unknown."""

    @property
    def by_hand(self) -> bool:
        """Whether only people may fetch the file."""


@dataclass(frozen=True)
class Fetched:
    """A card's weights on this machine: path, SHA-256, and whether that was recorded for the first time now."""

    path: Path
    digest: str
    newly_recorded: bool = False


@dataclass(frozen=True)
class Verdict:
    """How cached weights compare with their card, or with the digest recorded on their first download.

    `unverified` is a file of an unverified card that was never opened, so that nothing is recorded yet.
    """

    state: Literal["absent", "ok", "differs", "unverified-recorded", "unverified"]
    expected: str = ""
    found: str = ""


@dataclass(frozen=True)
class _Address:
    """A plain address, as a card of which nothing else is known."""

    name: str
    urls: tuple[str, ...]
    page: str = ""
    format: str = ""
    digest: str = ""
    size: int = 0
    by_hand: bool = False


def cache_folder() -> Path:
    """Give the folder for downloaded weights: `MEDZOO_CACHE`, or the platform's cache folder."""
    import pooch

    return Path(os.environ.get("MEDZOO_CACHE") or pooch.os_cache("medzoo"))


def cached_path(card: Card) -> Path:
    """Give the path at which a card's weights lie, or will lie once fetched.

    Weights at a `file://` address lie where they are; they are not copied.

    Raises:
        WeightsError: the card's name is no file name, or its `file://` address names another machine.
    """
    if card.urls and card.urls[0].lower().startswith("file://"):
        return read_file_url(card.urls[0])
    if not re.fullmatch(r"[\w-][\w.+-]*", card.name):
        raise WeightsError(f"card {card.name!r} cannot name a file", "a name of letters, digits and ._-")
    suffix = find_suffix(card.urls[0]) if card.urls else _SUFFIX_OF_FORMAT.get(card.format, "")
    return cache_folder() / f"{card.name}{suffix}"


def fetch(card: Card, progress: Progress | None = None, check: Check | None = None) -> Fetched:
    """Give a card's weights, downloading them on first use and comparing them with the card's digest.

    The card's addresses are tried in order. Nothing is renamed into the cache before its size, digest and `check`
    (which opens it as weights) have passed. An unverified card's first file is recorded beside it, in
    `<file>.digest`, and compared with from then on. `MEDZOO_OFFLINE=1` forbids downloads.

    Raises:
        WeightsError: there is no network, the bytes are not the card's, only people may fetch them, or the cache
            cannot be written.
    """
    path = cached_path(card)
    try:
        if path.exists():
            return _record(_examine(card, path, path, check), path, "")
        _refuse_download(card, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with hold_lock(path):
            if path.exists():  # another process brought it while this one waited
                return _record(_examine(card, path, path, check), path, "")
            return _download(card, path, progress, check)
    except OSError as error:
        raise WeightsError(
            f"cannot use {path} ({error.strerror or type(error).__name__})",
            "a readable file in a cache folder that has room and can be written",
            "MEDZOO_CACHE=another folder",
        ) from error


def verify(card: Card) -> Verdict:
    """Compare a card's cached weights with its digest, or with the recorded one; nothing is written.

    Raises:
        WeightsError: the file or its record cannot be read.
    """
    path = cached_path(card)
    try:
        return _judge(card, path, path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise WeightsError(f"cannot read {path} ({reason})", "a readable file") from error


def _judge(card: Card, file: Path, path: Path) -> Verdict:
    """Compare a file that lies at, or will become, `path` with what is known of it."""
    expected = card.digest or read_record(path)
    if not file.exists():
        return Verdict("absent", expected)
    size = file.stat().st_size
    if card.size and size != card.size:
        return Verdict("differs", f"{card.size} bytes", f"{size} bytes")
    found = hash_as(file, expected or "sha256:")
    if not expected:
        return Verdict("unverified", "", found)
    if found.lower() != expected.lower():
        return Verdict("differs", expected, found)
    return Verdict("ok" if card.digest else "unverified-recorded", expected, found)


def fetch_url(url: str, progress: Progress | None = None, check: Check | None = None) -> Path:
    """Give the file at an address: `hf://owner/repository/file[@revision]`, `file:///path` or `https://…`.

    Web addresses are kept in the cache as unverified weights are: the first download's digest is recorded.

    Raises:
        WeightsError: no such address or file, or what `fetch` refuses.
    """
    scheme = url.partition("://")[0].lower()
    if scheme == "file":
        path = read_file_url(url)
        with contextlib.suppress(OSError):  # a folder that may not be entered, a name too long
            if path.is_file():
                if check is not None:
                    check(path)
                return path
        raise WeightsError(f"no weights file {clean(str(path))}", f"the file that {clean(url)} names")
    if scheme == "hf":
        from medzoo.weights.hub import fetch_from_hub

        found = fetch_from_hub(url, cache_folder() / "hub", is_offline())
        if check is not None:
            check(found)
        return found
    if scheme not in ("http", "https") or not split_address(url).hostname:
        raise WeightsError(
            f"cannot open address {show_address(url)!r}", "https://…, hf://owner/repository/file, file:///…"
        )
    # The hash keeps two addresses apart whose files are both called model.h5.
    suffix, short = find_suffix(url), hashlib.sha256(url.encode(errors="replace")).hexdigest()[:8]
    stem = PurePosixPath(split_address(url).path).name.removesuffix(suffix)
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", unquote(stem, errors="replace")).strip("_")[-80:] or "weights"
    return fetch(_Address(f"{stem}-{short}", (url,)), progress, check).path


def is_offline() -> bool:
    """Tell whether `MEDZOO_OFFLINE` forbids downloads."""
    return os.environ.get("MEDZOO_OFFLINE", "") not in ("", "0")


def _refuse_download(card: Card, path: Path) -> None:
    """Refuse what may not, or cannot, be downloaded.

    Raises:
        WeightsError: only people may fetch it, it has no address, its file is gone, or `MEDZOO_OFFLINE` is set.
    """
    if card.urls and card.urls[0].lower().startswith("file://"):
        raise WeightsError(f"no weights file {path}", f"the file of card {card.name}", "to put it back")
    if card.by_hand or not card.urls:
        raise WeightsError(
            f"{card.name} is to be fetched by hand", f"its file at {path}", _explain(card, path)
        )
    if is_offline():
        raise WeightsError(
            f"{card.name} is not cached and MEDZOO_OFFLINE is set", "a cached file", _explain(card, path)
        )


def _explain(card: Card, path: Path) -> str:
    """Say how to do by hand what a download would have done."""
    where = show_address(card.urls[0]) if card.urls else card.page or "its authors"
    return f"to put the file from {where} at {path}, or give a weights file as --src"


def _download(card: Card, path: Path, progress: Progress | None, check: Check | None) -> Fetched:
    """Download a card's weights from the first of its addresses that has them."""
    refusals: list[WeightsError] = []
    for url in card.urls:
        parts = split_address(url)
        try:
            if parts.scheme.lower() not in ("http", "https"):
                raise WeightsError("is no address on the web")
            with write_beside(path) as beside:
                transfer(url, beside, card.size, progress)
                verdict = _examine(card, beside, path, check)
        except WeightsError as refusal:
            # The partial file's own name says nothing: it is gone.
            reason = clean(re.sub(r"\S*\.part-\w{8}-", "", refusal.found))
            refusals.append(WeightsError(f"{parts.hostname}: {reason}", refusal.expected))
            if progress is not None:
                progress.reset()
        else:
            if progress is not None:
                progress.close()
            return _record(verdict, path, show_address(url))
    reasons = ", ".join(refusal.found for refusal in refusals)
    expected = refusals[0].expected or f"the file of card {card.name}"
    raise WeightsError(f"cannot download {card.name} ({reasons})", expected, _explain(card, path))


def _examine(card: Card, file: Path, path: Path, check: Check | None) -> Verdict:
    """Compare a file with what is known of it; where that is nothing, look whether it is weights at all.

    Raises:
        WeightsError: it is another file, or no weights.
    """
    verdict = _judge(card, file, path)
    text = "" if verdict.state in ("ok", "unverified-recorded") else find_text(file)
    if text and file != path:
        raise WeightsError(f"the server answered with {text}, not with weights")
    if verdict.state == "differs":
        if card.urls and card.urls[0].lower().startswith("file://"):
            # The user's own file, where it lies: never one to remove.
            raise WeightsError(
                f"{file} is not the file that card {card.name} was made of",
                f"{verdict.expected}, found {verdict.found}",
                f"medzoo weights add {file} --name {card.name} --overwrite",
            )
        first = not card.digest and verdict.expected.startswith("sha256:")
        whose = f"of its first download, in {record_path(path)}" if first else f"of card {card.name}"
        raise WeightsError(
            f"{file} does not have the digest {whose}",
            f"{verdict.expected}, found {verdict.found}",
            f"rm {path} {record_path(path)}" if first else f"rm {path}",
        )
    if text:
        raise WeightsError(f"{path} holds {text}, not weights", "a weights file", f"rm {path}")
    # What is cached and known has been opened before; a download is opened whatever its digest.
    if check is not None and (file != path or verdict.state == "unverified"):
        check(file)
    return verdict


def _record(verdict: Verdict, path: Path, url: str) -> Fetched:
    """Tell an accepted file's digest, and record it where nothing was known of it."""
    # Beside a file of the user's own nothing is written.
    if verdict.state != "unverified" or cache_folder() not in path.parents:
        return Fetched(path, verdict.found)
    try:
        return Fetched(path, write_record(path, url), newly_recorded=True)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        # Someone else's cache may be read-only; its files are of use all the same.
        return Fetched(path, verdict.found)
