"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, `$MEDZOO_TEST_DATA/data`; skips where the variable is unset."""
    folder = os.environ.get("MEDZOO_TEST_DATA")
    if not folder:
        pytest.skip("MEDZOO_TEST_DATA is not set: it names the folder that holds data/")
    data = Path(folder) / "data"
    if not data.is_dir():
        pytest.fail(f"MEDZOO_TEST_DATA is set, but there is no folder {data}")
    return data
