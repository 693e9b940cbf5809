"""Downloads of weights: checked, bounded, whole or not there, against a server on this machine."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from served import (
    MD5,
    OTHERS,
    PAGE,
    SHA256,
    WEIGHTS,
    Bar,
    Card,
    Handler,
    Server,
    break_off,
    in_turn,
    names_in,
    redirect,
    refuse,
    send,
)

from medzoo.errors import WeightsError
from medzoo.weights import downloads, transfer
from medzoo.weights.downloads import Fetched, fetch, verify

pytestmark = pytest.mark.usefixtures("cache")


# What arrives


@pytest.mark.parametrize(
    "digest", [f"sha256:{SHA256}", f"sha256:{SHA256.upper()}", f"md5:{MD5}", f"sha256-prefix:{SHA256[:8]}"]
)
@pytest.mark.parametrize("size", [0, len(WEIGHTS)])
def test_weights_arrive_once_and_whole(server: Server, cache: Path, digest: str, size: int) -> None:
    server.answers["a.npz"] = send(WEIGHTS)
    bar = Bar()
    card = Card((server.url("a.npz"),), digest, size)
    fetched = fetch(card, bar)
    assert fetched == Fetched(cache / "net.tag.npz", digest.lower())
    assert fetched.path.read_bytes() == WEIGHTS
    assert (bar.total, bar.count, bar.told) == (len(WEIGHTS), len(WEIGHTS), ["close"])
    assert fetch(card) == fetched
    assert server.asked == ["a.npz"]
    assert names_in(cache) == ["net.tag.npz"]
    assert verify(card).state == "ok"


def test_redirects_on_the_web_are_followed_without_reading_their_bodies(server: Server) -> None:
    sent: list[int] = []

    def babble(handler: Handler) -> None:
        send(b"", 302, stated=-1, Location="/b.npz")(handler)
        for _ in range(100):
            handler.wfile.write(b"x" * 2**20)
            sent.append(2**20)

    server.answers |= {"a.npz": babble, "b.npz": redirect(server.url("c.npz")), "c.npz": send(WEIGHTS)}
    assert fetch(Card((server.url("a.npz"),))).path.read_bytes() == WEIGHTS
    assert server.asked == ["a.npz", "b.npz", "c.npz"]
    assert sum(sent) < 50 * 2**20


def test_a_broken_connection_starts_afresh(server: Server) -> None:
    bar = Bar()
    server.answers["a.npz"] = in_turn(break_off, send(WEIGHTS[:1000], stated=len(WEIGHTS)), send(WEIGHTS))
    assert fetch(Card((server.url("a.npz"),)), bar).path.read_bytes() == WEIGHTS
    assert len(server.asked) == 3
    assert (bar.count, bar.told) == (len(WEIGHTS), ["reset", "reset", "close"])


def test_a_server_that_hangs_up_without_an_answer_is_asked_again(server: Server) -> None:
    server.answers["a.npz"] = in_turn(lambda handler: handler.connection.close(), send(WEIGHTS))
    assert fetch(Card((server.url("a.npz"),))).path.read_bytes() == WEIGHTS


def test_a_mirror_stands_in(server: Server) -> None:
    server.answers |= {"a.npz": send(b"", 404), "b.npz": send(OTHERS), "c.npz": send(WEIGHTS)}
    urls = tuple(map(server.url, ("a.npz", "b.npz", "c.npz")))
    assert fetch(Card(urls)).path.read_bytes() == WEIGHTS
    assert server.asked == ["a.npz", "b.npz", "c.npz"]


def test_every_mirror_s_reason_is_told(server: Server) -> None:
    server.answers |= {"a.npz": send(b"", 404), "b.npz": send(PAGE, kind="text/html; charset=utf-8")}
    urls = (server.url("a.npz"), server.url("b.npz"), "ftp://a.org/c.npz")
    text = refuse(
        Card(urls), r"cannot download net\.tag \(127\.0\.0\.1: answered 404 Not Found, 127\.0\.0\.1: "
    )
    assert "the server answered with a page, not with weights, a.org: is no address on the web)" in text
    assert f"put the file from {urls[0]} at {downloads.cache_folder() / 'net.tag.npz'}" in text


# What is refused


def drown(handler: Handler) -> None:
    """Send far too much, without a length."""
    send(b"", stated=-1)(handler)
    for _ in range(100):
        handler.wfile.write(WEIGHTS)


UNVERIFIED = {"digest": ""}
REFUSED: dict[str, tuple[Callable[[Handler], None], dict[str, Any], str]] = {
    "404": (send(b"", 404), {}, "answered 404 Not Found"),
    "500": (send(b"", 500), {}, "answered 500 Internal Server Error"),
    "no content": (send(b"", 204), {}, "answered 204 No Content"),
    "odd status": (send(b"", 799), {}, r"answered 799\)"),
    "to a file": (
        redirect("file:///etc/hostname"),
        {},
        "redirects to file:///etc/hostname, which is not on the web",
    ),
    "in circles": (redirect("/a.npz"), {}, "Exceeded 30 redirects"),
    "page": (send(PAGE, kind="text/html"), {}, "the server answered with a page, not with weights"),
    "weights called a page": (
        send(WEIGHTS, kind="Text/HTML; charset=utf-8"),
        {},
        "the server answered with a page, not with weights",
    ),
    "unmarked page": (send(PAGE), {}, "the server answered with a page, not with weights"),
    "unverified page": (send(PAGE), UNVERIFIED, "the server answered with a page, not with weights"),
    "pointer": (
        send(b"version https://git-lfs\n"),
        UNVERIFIED,
        r"answered with text \(version https://git-lfs\), not",
    ),
    "nothing": (send(b""), UNVERIFIED, "the server answered with nothing, not with weights"),
    "json": (send(b'{"error": 1}'), UNVERIFIED, "answered with text"),
    "other bytes": (send(OTHERS), {}, "net.tag.npz does not have the digest of card net.tag"),
    "other md5": (send(OTHERS), {"digest": f"md5:{MD5}"}, "does not have the digest"),
    "other prefix": (send(OTHERS), {"digest": f"sha256-prefix:{SHA256[:8]}"}, "does not have the digest"),
    "unknown digest": (send(WEIGHTS), {"digest": "crc:12"}, "digest 'crc:12' is of no known kind"),
    "more than the card": (send(WEIGHTS), {"size": len(WEIGHTS) - 1}, rf"offers {len(WEIGHTS)} bytes"),
    "less than the card": (send(WEIGHTS), {"size": len(WEIGHTS) + 1}, rf"offers {len(WEIGHTS)} bytes"),
    "more than stated nowhere": (drown, {"size": len(WEIGHTS)}, rf"sent more than the {len(WEIGHTS)} bytes"),
    "too large": (send(b"", stated=10**11), {}, "offers 100000000000 bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_card_s_file_is_refused(server: Server, name: str) -> None:
    answer, fields, message = REFUSED[name]
    server.answers["a.npz"] = answer
    refuse(Card((server.url("a.npz"),), **fields), message)
    assert len(server.asked) == (31 if name == "in circles" else 1)


def test_without_a_known_size_a_body_has_a_bound_all_the_same(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "LARGEST", 10**6)
    server.answers["a.npz"] = drown
    refuse(Card((server.url("a.npz"),)), "sent more than the 1000000 bytes")


def test_a_compressed_body_is_bounded_by_what_it_unpacks_to(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gzip

    monkeypatch.setattr(transfer, "LARGEST", 10**6)
    server.answers["a.npz"] = send(gzip.compress(bytes(10**7)), Content_Encoding="gzip")
    refuse(Card((server.url("a.npz"),)), "sent more than the 1000000 bytes")


def test_a_compressed_body_arrives_unpacked(server: Server) -> None:
    import gzip

    server.answers["a.npz"] = send(gzip.compress(WEIGHTS), Content_Encoding="gzip")
    assert fetch(Card((server.url("a.npz"),), size=len(WEIGHTS))).path.read_bytes() == WEIGHTS


def test_a_connection_that_always_breaks_is_given_up(server: Server) -> None:
    server.answers["a.npz"] = break_off
    refuse(
        Card((server.url("a.npz"),)),
        r"the connection broke 3 times, last after \d+ bytes: .*expected a network",
    )
    assert len(server.asked) == 3


def test_a_body_cut_short_without_a_stated_length_is_noticed_by_its_size(server: Server) -> None:
    server.answers["a.npz"] = in_turn(send(WEIGHTS[:5000], stated=-1), send(WEIGHTS, stated=-1))
    card = Card((server.url("a.npz"),), "", len(WEIGHTS))
    assert fetch(card).path.read_bytes() == WEIGHTS
    assert len(server.asked) == 2


def test_no_server_at_all_is_a_network_s_fault(server: Server) -> None:
    text = refuse(
        Card(("http://127.0.0.1:9/a.npz",)), r"cannot download net.tag \(127.0.0.1: Connection refused\)"
    )
    assert "; expected a network; try to put the file" in text


@pytest.mark.parametrize("target", ["http://[broken/", "gopher://a.org/", "http:///", "\x1b[31m"])
def test_a_redirect_to_nowhere_is_one_line(server: Server, target: str) -> None:
    server.answers["a.npz"] = in_turn(redirect(target), *[send(b"", 404)] * 9)
    assert "\x1b" not in refuse(Card((server.url("a.npz"),)), "cannot download net.tag")


def test_secrets_in_an_address_are_not_printed(server: Server) -> None:
    server.answers["a.npz"] = send(b"", 404)
    url = server.url("a.npz").replace("://", "://me:hunter2@")
    assert "hunter2" not in refuse(Card((url,)), "answered 404")


def test_the_caller_s_check_comes_before_the_cache(server: Server, cache: Path) -> None:
    def check(path: Path) -> None:
        assert path.suffix == ".npz"
        if path.read_bytes() != WEIGHTS:
            raise WeightsError(f"{path} is no .npz file", "a weights file")

    server.answers |= {"a.npz": send(b"\0garbage"), "b.npz": send(WEIGHTS)}
    card = Card((server.url("a.npz"),), "")
    text = refuse(card, r"127.0.0.1: net.tag.npz is no .npz file\); expected a weights file", check=check)
    assert ".part-" not in text
    both = Card((*card.urls, server.url("b.npz")), "")
    assert fetch(both, check=check) == Fetched(cache / "net.tag.npz", f"sha256:{SHA256}", newly_recorded=True)


def test_a_download_is_opened_whatever_its_digest_and_a_known_file_is_not(server: Server) -> None:
    def check(path: Path) -> None:
        raise WeightsError("no weights")

    server.answers["a.npz"] = send(WEIGHTS)
    card = Card((server.url("a.npz"),))
    refuse(card, "no weights", check=check)
    assert fetch(card) == fetch(card, check=check)


def test_an_interrupted_download_leaves_nothing(server: Server, cache: Path) -> None:
    class Impatient(Bar):
        def update(self, size: int) -> None:
            raise KeyboardInterrupt

    server.answers["a.npz"] = send(WEIGHTS)
    with pytest.raises(KeyboardInterrupt):
        fetch(Card((server.url("a.npz"),)), Impatient())
    assert names_in(cache) == []
    assert fetch(Card((server.url("a.npz"),))).path.read_bytes() == WEIGHTS


class FullDisk(io.BytesIO):
    """A file on a disk without room."""

    def write(self, chunk: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_not_the_network_s_fault(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Path.open

    def open_full(path: Path, mode: str = "r", *options: Any, **named: Any) -> Any:
        return FullDisk() if mode == "wb" and "part" in path.name else plain(path, mode, *options, **named)

    monkeypatch.setattr(Path, "open", open_full)
    server.answers |= {"a.npz": send(WEIGHTS), "b.npz": send(WEIGHTS)}
    text = refuse(
        Card((server.url("a.npz"), server.url("b.npz"))), "cannot use .*net.tag.npz .No space left on device"
    )
    assert "MEDZOO_CACHE=" in text
    assert server.asked == ["a.npz"]


def test_a_cache_that_cannot_be_made_is_one_line(server: Server, cache: Path) -> None:
    cache.parent.write_text("a file where the cache's parent should be")
    server.answers["a.npz"] = send(WEIGHTS)
    with pytest.raises(WeightsError, match=r"cannot use .*net.tag.npz \(Not a directory\).*MEDZOO_CACHE="):
        fetch(Card((server.url("a.npz"),)))
    assert server.asked == []


def test_a_cache_that_may_not_be_written_is_one_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("medzoo.outputs.tempfile.mkstemp", deny)
    refuse(Card((server.url("a.npz"),)), r"cannot use .*net.tag.npz \(Permission denied\).*MEDZOO_CACHE=")
