"""Other people's libraries, which `make parity` installs; without them their tests are skipped, saying so."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest


def require(name: str) -> Any:
    """Import a library, or skip the module; under `make parity` its absence is a failure."""
    if os.environ.get("MEDZOO_PARITY"):
        return importlib.import_module(name)
    return pytest.importorskip(name, reason=f"{name} is not installed; make parity installs it")
