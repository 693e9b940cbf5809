"""Weights served on this machine: cards, a server's answers, and what a refused download must look like."""

from __future__ import annotations

import hashlib
import http.server
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medzoo.errors import WeightsError
from medzoo.weights import downloads
from medzoo.weights.downloads import fetch

Handler = http.server.BaseHTTPRequestHandler


def make_weights(seed: int = 0, count: int = 100_000) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, kernel=np.random.default_rng(seed).normal(size=count).astype("float32"))
    return stream.getvalue()


WEIGHTS, OTHERS = make_weights(), make_weights(1)
SHA256, MD5 = hashlib.sha256(WEIGHTS).hexdigest(), hashlib.md5(WEIGHTS).hexdigest()
PAGE = b"\n<!DOCTYPE html><html><body>Sign in to continue</body></html>"


@dataclass(frozen=True)
class Card:
    """A card as downloads see it."""

    urls: tuple[str, ...] = ()
    digest: str = f"sha256:{SHA256}"
    size: int = 0
    name: str = "net.tag"
    page: str = ""
    format: str = "npz"
    by_hand: bool = False


@dataclass
class Server:
    """What is served: path → answer; and how often each was asked for."""

    answers: dict[str, Callable[[Handler], None]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def send(
    body: bytes,
    status: int = 200,
    kind: str = "application/octet-stream",
    stated: int | None = None,
    **headers: str,
) -> Callable[[Handler], None]:
    """Answer with a body; `stated` is a false length, and -1 leaves it out."""

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        if stated != -1:
            handler.send_header("Content-Length", str(len(body) if stated is None else stated))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def break_off(handler: Handler) -> None:
    """Announce whole weights and hang up at half."""
    send(WEIGHTS[: len(WEIGHTS) // 2], stated=len(WEIGHTS))(handler)


def redirect(target: str) -> Callable[[Handler], None]:
    return send(b"", 302, Location=target)


def in_turn(*answers: Callable[[Handler], None]) -> Callable[[Handler], None]:
    """Answer differently each time."""
    rest = list(answers)
    return lambda handler: rest.pop(0)(handler)


class Bar:
    """A progress bar that writes down what it is told."""

    def __init__(self) -> None:
        self.total = 0
        self.count = 0
        self.told: list[str] = []

    def update(self, size: int) -> None:
        self.count += size

    def reset(self) -> None:
        self.count = 0
        self.told.append("reset")

    def close(self) -> None:
        self.told.append("close")


def refuse(card: Card, message: str, remains: tuple[str, ...] = (), **options: Any) -> str:
    """Fetch what must be refused: in one line, and with nothing left behind."""
    with pytest.raises(WeightsError, match=message) as error:
        fetch(card, **options)
    text = str(error.value)
    assert "\n" not in text
    assert "expected " in text
    folder = downloads.cache_folder()
    assert (
        sorted(path.name for path in folder.iterdir()) == sorted(remains) if folder.is_dir() else not remains
    )
    return text
