"""A server of weights on this machine, and a cache of each test's own."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Handler, Server

from medzoo.weights import transfer


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    served = Server()

    class Answer(Handler):
        def do_GET(self) -> None:  # noqa: N802
            path = self.path.strip("/").partition("?")[0]
            served.asked.append(path)
            with contextlib.suppress(ConnectionError):  # the client has hung up, as it should
                served.answers[path](self)

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    served.port = server.server_port
    yield served
    server.shutdown()
    server.server_close()


@pytest.fixture
def server(running: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that answers nothing yet; downloads are allowed and do not wait between tries."""
    running.answers, running.asked = {}, []
    monkeypatch.setenv("MEDZOO_OFFLINE", "")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(transfer, "PAUSE", 0.0)
    return running


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of our own, which is made on first use."""
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "a" / "cache"))
    return tmp_path / "a" / "cache"
