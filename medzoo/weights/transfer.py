"""One address → one file: the HTTP side of a download, with nothing believed that a server says."""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urljoin, urlsplit

from medzoo.errors import WeightsError
from medzoo.weights.addresses import clean

#: How often a download is begun, where the connection breaks after the server has answered.
TRIES = 3

#: Seconds before the second try, and twice that before the third: a restarting server needs a moment.
PAUSE = 1.0

#: A body of unknown size is cut off here; no published weights come near.
LARGEST = 20 * 10**9

#: Seconds to connect, and to wait for the next bytes.
_TIMEOUT = (15, 60)

_CHUNK = 2**18

#: What a download asks for; `identity`, since a compressed body has another length than the file.
_HEADERS = {"User-Agent": "medzoo", "Accept-Encoding": "identity"}

_WEB = ("http", "https")


class Progress(Protocol):
    """A bar, as a caller may draw one: bytes in all (0: unknown), then bytes as they come."""

    total: int

    def update(self, size: int) -> None:
        """Count `size` more bytes."""

    def reset(self) -> None:
        """Count from nothing: the download starts anew."""

    def close(self) -> None:
        """End: nothing more will come."""


def transfer(url: str, path: Path, size: int = 0, progress: Progress | None = None) -> None:
    """Download one address to `path`, at most `size` bytes where that is known (0: it is not).

    A connection that breaks is tried again from the start, `TRIES` times in all: a resumed file could be made of
    two versions, and weights without a digest would show no sign of it. The caller removes `path` on a failure.

    Raises:
        WeightsError: the server cannot be reached, or its answer is refused; `found` is the reason alone.
        OSError: `path` cannot be written.
    """
    for number in range(1, TRIES + 1):
        try:
            with path.open("wb") as stream:
                _download_once(url, _Sink(stream, size, progress))
            return
        except ConnectionError as error:
            if number == TRIES:
                raise WeightsError(
                    f"the connection broke {TRIES} times, last {error}", "a network"
                ) from error
        if progress is not None:
            progress.reset()
        time.sleep(PAUSE * number)


class _Sink:
    """What pooch writes a body to: it counts, stops at the limit, and keeps a disk's error apart from a network's."""

    def __init__(self, stream: IO[bytes], size: int, progress: Progress | None) -> None:
        self.stream, self.size, self.progress = stream, size, progress
        self.stated = self.received = 0
        self.answered = False
        self.failure: OSError | None = None

    def write(self, chunk: bytes) -> None:
        """Write a chunk of the body."""
        self.received += len(chunk)
        if self.received > (self.size or LARGEST):
            raise WeightsError(f"sent more than the {self.size or LARGEST} bytes that the file may have")
        try:
            self.stream.write(chunk)
        except OSError as error:
            self.failure = error
            raise
        if self.progress is not None:
            self.progress.update(len(chunk))

    def flush(self) -> None:
        """Do nothing: pooch flushes each chunk, and a whole file is synced once."""

    def inspect(self, answer: Any) -> None:
        """Refuse an answer by its status and headers, before its body is read.

        Raises:
            WeightsError: it leads elsewhere than the web, is an error, a page, or of another size.
        """
        if answer.is_redirect:
            target = urljoin(answer.url, answer.headers["location"])
            if urlsplit(target).scheme.lower() not in _WEB:
                raise WeightsError(f"redirects to {target}, which is not on the web")
            answer.close()  # its own body would be read whole, of whatever length
            return
        if answer.status_code != HTTPStatus.OK:
            raise WeightsError(f"answered {_name_status(answer.status_code)}")
        if answer.headers.get("content-type", "").lower().startswith(("text/html", "application/xhtml")):
            raise WeightsError("the server answered with a page, not with weights")
        self.answered = True
        length = answer.headers.get("content-length", "")
        if not length.isdecimal() or answer.headers.get("content-encoding", "identity") != "identity":
            return  # no length, or that of the compressed body
        self.stated = int(length)
        if self.stated > (self.size or LARGEST) or (self.size and self.stated != self.size):
            raise WeightsError(f"offers {self.stated} bytes, not {self.size or f'at most {LARGEST}'}")
        if self.progress is not None:
            self.progress.total = self.stated


def _download_once(url: str, sink: _Sink) -> None:
    """Try a download once.

    Raises:
        ConnectionError: the connection broke; another try may do better.
        WeightsError: the server cannot be reached, or its answer is refused.
        OSError: the file cannot be written.
    """
    import pooch

    answers: list[Any] = []

    def inspect(answer: Any, *_: Any, **__: Any) -> None:
        """Take each answer, redirects too, as requests' hooks are called."""
        answers.append(answer)
        sink.inspect(answer)

    download = pooch.HTTPDownloader(
        chunk_size=_CHUNK, timeout=_TIMEOUT, headers=_HEADERS, hooks={"response": inspect}
    )
    try:
        download(url, sink, None)
    except (OSError, ValueError) as error:
        if sink.failure is not None:
            raise
        reason = _find_reason(error)
        if sink.answered or any(isinstance(cause, ConnectionResetError) for cause in _list_causes(error)):
            raise ConnectionError(f"after {sink.received} bytes: {reason}") from error
        # An answer that was no end (a redirect) has come over a network that works.
        raise WeightsError(reason, "" if answers else "a network") from error
    finally:
        for answer in answers:
            answer.close()
    due = max(sink.stated, sink.size)
    if sink.received < due:
        raise ConnectionError(f"after {sink.received} of {due} bytes")


def find_text(path: Path) -> str:
    """Say what a file holds in the place of weights: "a page", other text or nothing; empty for bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        start = stream.read(512)
    try:
        # An incremental decoder forgives a letter that the 512th byte cuts in two.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(start).strip()
    except UnicodeDecodeError:
        return ""
    if not start:
        return "nothing"
    if text.startswith("<"):
        return "a page"
    if path.suffix == ".json" and text.startswith(("{", "[")):
        return ""
    if all(letter.isprintable() or letter.isspace() for letter in text):
        return f"text ({text.splitlines()[0][:60] if text else 'spaces'})"
    return ""


def _name_status(code: int) -> str:
    """Name an HTTP status; the server's own words may hold anything."""
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    """List an error and what it came from, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _find_reason(error: BaseException) -> str:
    """Say in a few words why a request failed: the innermost error's, since the outer ones repeat addresses."""
    innermost = list(_list_causes(error))[-1]
    text = innermost.strerror if isinstance(innermost, OSError) and innermost.strerror else str(innermost)
    return clean(text)[:160] or type(innermost).__name__
