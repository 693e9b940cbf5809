"""A small network as plain data, and arrays for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import medzoo
from medzoo.tensors import Source, Target


def _arrays(target: Target, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(0.1, 1, spec.shape).astype("float32") for name, spec in target.tensors.items()}


@pytest.fixture
def arrays_for() -> Callable[..., dict[str, np.ndarray]]:
    """Make random arrays for every tensor of a target."""
    return _arrays


@pytest.fixture(scope="session")
def tiny_arrays() -> dict[str, np.ndarray]:
    """Arrays for cbr_tiny with five classes and three channels."""
    return _arrays(medzoo.describe("cbr_tiny", classes=5, channels=3))


@pytest.fixture(scope="session")
def tiny(tiny_arrays: dict[str, np.ndarray]) -> Source:
    """The same arrays as a source."""
    return medzoo.source_from_arrays(tiny_arrays, origin="tiny")
