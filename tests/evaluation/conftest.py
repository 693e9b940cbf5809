"""Tables of predictions small enough to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from medzoo.evaluation.predictions import Predictions


def make(
    labels: object,
    scores: object,
    *,
    exclusive: bool = True,
    patients: Sequence[str] | None = None,
    groups: dict[str, Sequence[str]] | None = None,
    splits: Sequence[str] | None = None,
) -> Predictions:
    """Name rows 0… and classes a… ; labels (n,) and scores (n,) are those of a binary last class."""
    true, said = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
    if true.ndim == 1:
        true, said = np.stack([1 - true, true], axis=1), np.stack([1 - said, said], axis=1)
    count, width = true.shape
    return Predictions(
        ids=np.array([str(row) for row in range(count)], dtype=np.str_),
        labels=true,
        scores=said,
        classes=tuple("abcdefgh"[:width]),
        splits=np.array(splits if splits is not None else ["test"] * count, dtype=np.str_),
        patients=None if patients is None else np.array(patients, dtype=np.str_),
        groups={name: np.array(values, dtype=np.str_) for name, values in (groups or {}).items()},
        exclusive=exclusive,
    )


@pytest.fixture(scope="session")
def make_predictions() -> Callable[..., Predictions]:
    return make


@pytest.fixture(scope="session")
def noisy() -> Predictions:
    """60 binary rows with scores in tenths, so that many are tied."""
    generator = np.random.default_rng(7)
    labels = np.arange(60) % 2
    return make(labels, np.clip(np.round(0.2 * labels + generator.uniform(0, 0.8, 60), 1), 0, 1))
