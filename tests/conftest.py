"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A machine that is busy with something else makes no property false.
settings.register_profile("medzoo", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("medzoo")


def _shared(part: str) -> Path:
    """Give one folder of `$MEDZOO_TEST_DATA`; skip where the variable is unset, fail where the folder is absent."""
    root = os.environ.get("MEDZOO_TEST_DATA")
    if not root:
        pytest.skip(f"MEDZOO_TEST_DATA is not set: it names the folder that holds {part}/")
    folder = Path(root) / part
    if not folder.is_dir():
        pytest.fail(f"MEDZOO_TEST_DATA is set, but there is no folder {folder}")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, `$MEDZOO_TEST_DATA/data`."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """The folder of real weights, `$MEDZOO_TEST_DATA/weights`."""
    return _shared("weights")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reaches for a network, for the user's cache or for the user's cards."""
    monkeypatch.setenv("MEDZOO_OFFLINE", "1")
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    # A folder per test: a card that one test adds must not be found by the next.
    monkeypatch.setenv("MEDZOO_CARDS", str(tmp_path_factory.getbasetemp() / "cards" / uuid.uuid4().hex))
