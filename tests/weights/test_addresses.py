"""Addresses of weights: on the web, on this machine and on the hub."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from served import (
    OTHERS,
    WEIGHTS,
    Server,
    names_in,
    send,
)

from medzoo.errors import WeightsError
from medzoo.weights.downloads import fetch_url

pytestmark = pytest.mark.usefixtures("cache")


# Addresses


def test_a_web_address_is_cached_under_its_own_name(server: Server, cache: Path) -> None:
    server.answers |= {"a/best%20one.v2.npz": send(WEIGHTS), "b/best%20one.v2.npz": send(OTHERS)}
    first, second = (fetch_url(server.url(f"{folder}/best%20one.v2.npz")) for folder in "ab")
    assert (first.read_bytes(), second.read_bytes()) == (WEIGHTS, OTHERS)
    assert first.parent == second.parent == cache
    assert all(path.name.startswith("best_one_v2-") and path.suffix == ".npz" for path in (first, second))
    assert len(names_in(cache)) == 4
    assert fetch_url(server.url("a/best%20one.v2.npz")) == first
    assert len(server.asked) == 2
    first.write_bytes(OTHERS)
    with pytest.raises(WeightsError, match="does not have the digest of its first download"):
        fetch_url(server.url("a/best%20one.v2.npz"))


def test_an_address_without_a_file_s_name_has_one_all_the_same(server: Server) -> None:
    server.answers[""] = send(WEIGHTS)
    assert fetch_url(server.url("")).name.startswith("weights-")
    server.answers["x" * 300] = send(WEIGHTS)
    assert len(fetch_url(server.url("x" * 300)).name) < 120


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.org/a.h5",
        "https:///a.h5",
        "https://[a/b",
        "://a",
        "s3://bucket/a",
        "file://host/a.h5",
        "file://a",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(WeightsError, match=r"cannot open address .*expected .*(https://|file:///)") as error:
        fetch_url(url)
    assert "\n" not in str(error.value)


def test_a_file_s_address_is_its_path(tmp_path: Path) -> None:
    file = tmp_path / "a b#1?.npz"
    file.write_bytes(WEIGHTS)
    assert fetch_url(file.as_uri()) == file
    assert fetch_url(f"file://localhost{tmp_path}/a b#1?.npz") == file
    assert fetch_url(f"FILE://{file}") == file


@pytest.mark.parametrize("name", ["absent.npz", "a" * 300, "", "a\nb", "%00"])
def test_a_file_s_address_must_name_a_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match=r"no weights file|cannot open address") as error:
        fetch_url(f"file://{tmp_path}/{name}")
    assert "\n" not in str(error.value)


# The hub


def give_hub(monkeypatch: pytest.MonkeyPatch, act: Callable[..., str]) -> list[tuple[Any, ...]]:
    """Put a module in the place of the hub's client, and write down how it is called."""
    calls: list[tuple[Any, ...]] = []

    def hf_hub_download(
        repo_id: str, filename: str, *, revision: str | None, cache_dir: Path, local_files_only: bool
    ) -> str:
        calls.append((repo_id, filename, revision, cache_dir, local_files_only))
        return act()

    module = types.ModuleType("huggingface_hub")
    module.hf_hub_download = hf_hub_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return calls


def test_the_hub_s_client_fetches_hub_addresses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    calls = give_hub(monkeypatch, lambda: str(tmp_path / "model.safetensors"))
    assert fetch_url("hf://owner/repo/sub/model.safetensors@refs/pr/1") == tmp_path / "model.safetensors"
    monkeypatch.setenv("MEDZOO_OFFLINE", "0")
    fetch_url("hf://owner/repo/model.safetensors")
    assert calls == [
        ("owner/repo", "sub/model.safetensors", "refs/pr/1", cache / "hub", True),
        ("owner/repo", "model.safetensors", None, cache / "hub", False),
    ]


@pytest.mark.parametrize(
    "rest", ["", "owner/repo", "owner//a", "owner/repo/", "owner/repo/../a", "owner/repo/a@", "o/r/a@../../b"]
)
def test_other_hub_addresses_are_refused(monkeypatch: pytest.MonkeyPatch, rest: str) -> None:
    calls = give_hub(monkeypatch, lambda: "")
    with pytest.raises(WeightsError, match=r"cannot open address .*expected hf://owner/repository/path"):
        fetch_url(f"hf://{rest}")
    assert calls == []


def test_without_the_hub_s_client_its_installation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match=r"try pip install 'medzoo\[hub\]'"):
        fetch_url("hf://owner/repo/a.bin")


class EntryNotFoundError(Exception):
    """As the client calls it."""


class LocalEntryNotFoundError(EntryNotFoundError, FileNotFoundError):
    """As the client calls it."""


@pytest.mark.parametrize(
    ("error", "offline", "reason"),
    [
        (EntryNotFoundError("404\n\nlong"), "", "there is no such file in the repository"),
        (LocalEntryNotFoundError("x"), "1", "it is not cached and MEDZOO_OFFLINE is set"),
        (LocalEntryNotFoundError("x"), "", "it is not cached and the hub cannot be reached"),
        (OSError("\n 418 I'm a teapot\x1b[0m\nlong"), "", r"418 I'm a teapot\?\[0m\)"),
        (ValueError(""), "", "ValueError"),
    ],
)
def test_the_hub_s_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, offline: str, reason: str
) -> None:
    def fail() -> str:
        raise error

    monkeypatch.setenv("MEDZOO_OFFLINE", offline)
    give_hub(monkeypatch, fail)
    with pytest.raises(WeightsError, match=f"cannot download hf://owner/repo/a.bin .*{reason}") as refusal:
        fetch_url("hf://owner/repo/a.bin")
    assert "\n" not in str(refusal.value)
    assert "long" not in str(refusal.value)
