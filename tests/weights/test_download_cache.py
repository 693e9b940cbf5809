"""The cache of downloads: what lies in it is compared, recorded, and brought by one process at a time."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from served import (
    OTHERS,
    PAGE,
    SHA256,
    WEIGHTS,
    Card,
    Handler,
    Server,
    names_in,
    refuse,
    send,
)

from medzoo.errors import WeightsError
from medzoo.weights import digests, downloads, locking
from medzoo.weights.downloads import Fetched, cached_path, fetch, fetch_url, verify

pytestmark = pytest.mark.usefixtures("cache")


# Paths in the cache


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://a.org/x/mobilenet_1.0.h5", "net.tag.h5"),
        ("https://a.org/x/lr_0.01-res_224.npz", "net.tag.npz"),
        ("https://a.org/resnet20-12fca82f.th", "net.tag.th"),
        ("https://a.org/model.pth.tar?download=1", "net.tag.pth.tar"),
        ("https://a.org/v1.0.weights.h5#part", "net.tag.weights.h5"),
        ("https://a.org/v1/files", "net.tag"),
        ("https://a.org/odd.%2Fh5", "net.tag"),
        ("hf://owner/repository/model.safetensors", "net.tag.safetensors"),
    ],
)
def test_a_card_s_file_keeps_the_ending_of_its_address(cache: Path, url: str, name: str) -> None:
    assert cached_path(Card((url,))) == cache / name


def test_without_an_address_the_format_gives_the_ending(cache: Path) -> None:
    assert cached_path(Card(format="keras_legacy_h5")) == cache / "net.tag.h5"
    assert cached_path(Card(format="another")) == cache / "net.tag"


@pytest.mark.parametrize("name", ["../net.tag", "a/b", ".hidden", "", "a\nb"])
def test_a_card_s_name_cannot_leave_the_cache(name: str) -> None:
    with pytest.raises(WeightsError, match="cannot name a file"):
        cached_path(Card(("https://a.org/a.h5",), name=name))


def test_without_a_setting_the_platform_s_cache_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import pooch

    monkeypatch.delenv("MEDZOO_CACHE")
    assert downloads.cache_folder() == Path(pooch.os_cache("medzoo"))


# Without a download


@pytest.mark.parametrize("setting", ["1", "yes"])
def test_offline_nothing_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("MEDZOO_OFFLINE", setting)
    card = Card((server.url("a.npz"),))
    text = refuse(card, "net.tag is not cached and MEDZOO_OFFLINE is set")
    assert f"put the file from {card.urls[0]} at {cached_path(card)}" in text
    with pytest.raises(WeightsError, match="MEDZOO_OFFLINE"):
        fetch_url(server.url("a.npz"))
    assert server.asked == []


@pytest.mark.parametrize("urls", [(), ("https://a.org/form.npz",)])
def test_weights_for_people_are_never_asked_for(server: Server, cache: Path, urls: tuple[str, ...]) -> None:
    card = Card(urls, "", page="https://a.org/terms", by_hand=True)
    text = refuse(card, "net.tag is to be fetched by hand")
    assert f"put the file from {urls[0] if urls else card.page} at {cache / 'net.tag.npz'}" in text
    cache.mkdir(parents=True)
    (cache / "net.tag.npz").write_bytes(WEIGHTS)
    assert fetch(card) == Fetched(cache / "net.tag.npz", f"sha256:{SHA256}", newly_recorded=True)
    assert not fetch(card).newly_recorded


def test_other_bytes_in_the_cache_are_refused(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "net.tag.npz").write_bytes(OTHERS)
    card = Card(("https://a.org/a.npz",))
    text = refuse(card, r"does not have the digest of card net.tag; expected sha256:", ("net.tag.npz",))
    assert text.endswith(f"try rm {cache / 'net.tag.npz'}")
    assert verify(card).state == "differs"
    other_size = Card(card.urls, "", 5)
    refuse(other_size, rf"expected 5 bytes, found {len(OTHERS)} bytes; try rm", ("net.tag.npz",))


def test_a_page_saved_by_hand_is_refused(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "net.tag.npz").write_bytes(PAGE)
    refuse(Card(digest="", by_hand=True), r"net.tag.npz holds a page, not weights.*try rm", ("net.tag.npz",))


def test_a_folder_in_the_place_of_weights_is_one_line(cache: Path) -> None:
    (cache / "net.tag.npz").mkdir(parents=True)
    refuse(Card(("https://a.org/a.npz",)), r"cannot use .* \(Is a directory\)", ("net.tag.npz",))
    with pytest.raises(WeightsError, match=r"cannot read .*Is a directory"):
        verify(Card(("https://a.org/a.npz",)))


def test_a_card_for_a_file_on_this_machine_uses_it_in_place(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "my weights.npz"
    card = Card((file.as_uri(),))
    assert cached_path(card) == file
    refuse(card, "no weights file .*my weights.npz")
    file.write_bytes(WEIGHTS)
    assert fetch(card) == Fetched(file, card.digest)
    assert not cache.exists()


# The record of unverified weights


def test_the_first_download_is_recorded_and_compared_with_from_then_on(server: Server, cache: Path) -> None:
    server.answers["a.npz"] = send(WEIGHTS)
    card = Card((server.url("a.npz"),), "")
    assert verify(card).state == "absent"
    path = cache / "net.tag.npz"
    assert fetch(card) == Fetched(path, f"sha256:{SHA256}", newly_recorded=True)
    content = json.loads((cache / "net.tag.npz.digest").read_text())
    assert content == {"digest": f"sha256:{SHA256}", "size": len(WEIGHTS), "url": card.urls[0]}
    assert fetch(card) == Fetched(path, f"sha256:{SHA256}")
    assert verify(card) == downloads.Verdict("unverified-recorded", f"sha256:{SHA256}", f"sha256:{SHA256}")

    both = ("net.tag.npz", "net.tag.npz.digest")
    path.write_bytes(OTHERS)
    refuse(card, rf"does not have the digest of its first download.*try rm {path} {path}\.digest", both)
    assert verify(card).state == "differs"
    path.unlink()
    server.answers["a.npz"] = send(OTHERS)
    refuse(card, r"does not have the digest of its first download, in .*net.tag.npz.digest", both[1:])
    server.answers["a.npz"] = send(WEIGHTS)
    assert not fetch(card).newly_recorded


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"digest": 5}', '{"digest": "sha256:12"}', "\udcff"])
def test_a_damaged_record_is_refused(cache: Path, text: str) -> None:
    cache.mkdir(parents=True)
    (cache / "net.tag.npz").write_bytes(WEIGHTS)
    (cache / "net.tag.npz.digest").write_text(text, errors="surrogateescape")
    card = Card(("https://a.org/a.npz",), "")
    refuse(card, r"net.tag.npz.digest holds no digest.*try rm", ("net.tag.npz", "net.tag.npz.digest"))
    with pytest.raises(WeightsError, match="holds no digest"):
        verify(card)


def test_verifying_writes_nothing(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "net.tag.npz").write_bytes(WEIGHTS)
    card = Card(("https://a.org/a.npz",), "")
    assert verify(card) == downloads.Verdict("unverified", "", f"sha256:{SHA256}")
    assert names_in(cache) == ["net.tag.npz"]


def test_a_cache_that_may_only_be_read_still_serves(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(digests, "write_text", deny)
    cache.mkdir(parents=True)
    (cache / "net.tag.npz").write_bytes(WEIGHTS)
    assert fetch(Card(("https://a.org/a.npz",), "")) == Fetched(cache / "net.tag.npz", f"sha256:{SHA256}")


def test_a_file_is_hashed_once_until_it_changes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    plain = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *options: counted.append("") or plain(*options))
    cache.mkdir(parents=True)
    path = cache / "net.tag.npz"
    card = Card(("https://a.org/a.npz",))
    for when, content, state in ((1000, WEIGHTS, "ok"), (2000, OTHERS, "differs"), (3000, WEIGHTS, "ok")):
        path.write_bytes(content)
        os.utime(path, (when, when))
        assert [verify(card).state for _ in range(3)] == [state] * 3
    assert len(counted) == 3
    # A file of this very instant is not believed to stay as it is.
    path.write_bytes(OTHERS)
    assert verify(card).state == "differs"
    assert verify(card).state == "differs"
    assert len(counted) == 5


# Several at once


def slowly(handler: Handler) -> None:
    """Send whole weights in many pieces."""
    send(b"", stated=len(WEIGHTS))(handler)
    for start in range(0, len(WEIGHTS), 40_000):
        handler.wfile.write(WEIGHTS[start : start + 40_000])
        handler.wfile.flush()
        time.sleep(0.03)


@pytest.mark.parametrize("locked", [True, False])
def test_threads_do_not_collide(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    if not locked:
        monkeypatch.setitem(sys.modules, "fcntl", None)
    server.answers["a.npz"] = slowly
    card, paths = Card((server.url("a.npz"),)), []
    threads = [threading.Thread(target=lambda: paths.append(fetch(card).path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [cache / "net.tag.npz"] * 4
    assert paths[0].read_bytes() == WEIGHTS
    assert names_in(cache) == ["net.tag.npz"]
    if locked:
        assert server.asked == ["a.npz"]


def test_processes_do_not_collide(server: Server, cache: Path, tmp_path: Path) -> None:
    server.answers["a.npz"] = slowly
    code = (
        "import sys; from types import SimpleNamespace as Card; from medzoo.weights.downloads import fetch;"
        f"card = Card(name='net.tag', urls=(sys.argv[1],), digest='sha256:{SHA256}', size=0, by_hand=False);"
        "print(fetch(card).path)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, server.url("a.npz")], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [process.communicate()[0].strip() for process in started] == [str(cache / "net.tag.npz")] * 4
    assert (cache / "net.tag.npz").read_bytes() == WEIGHTS
    assert names_in(cache) == ["net.tag.npz"]
    assert server.asked == ["a.npz"]


def test_whoever_waited_for_a_removed_lock_takes_a_new_one(tmp_path: Path) -> None:
    inside, most = [], []

    def work() -> None:
        for _ in range(50):
            with locking.hold_lock(tmp_path / "a"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 200
    assert max(most) == 1
    assert names_in(tmp_path) == []


def test_a_file_system_without_locks_does_without(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", fail)
    server.answers["a.npz"] = send(WEIGHTS)
    assert fetch(Card((server.url("a.npz"),))).path.read_bytes() == WEIGHTS


def test_what_a_killed_process_left_is_removed(server: Server, cache: Path) -> None:
    cache.mkdir(parents=True)
    names = (".part-abcdefgh-net.tag.npz", ".part-abcdefgi-net.tag.npz", ".part-abcdefgh-other.npz")
    for name in names:
        (cache / name).write_bytes(b"half")
        os.utime(cache / name, (1000, 1000))
    os.utime(cache / names[1])
    server.answers["a.npz"] = send(WEIGHTS)
    fetch(Card((server.url("a.npz"),)))
    assert names_in(cache) == sorted((*names[1:], "net.tag.npz"))
