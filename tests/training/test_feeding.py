"""What a network is fed in training, and what is said of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medzoo.contracts import find_preprocessing
from medzoo.data.dataset import Dataset
from medzoo.data.feeding.cache import Cache, MemoryCache
from medzoo.training.feeding import Feeding, feed_again, feed_plain, find_unbalanced
from medzoo.training.settings import TrainingSection


def make_dataset(marks: np.ndarray) -> Dataset:
    """Make a data set of two labels an image, whose last row is for the test."""
    splits = ["train"] * (len(marks) - 1) + ["test"]
    table = pd.DataFrame({"id": [str(row) for row in range(len(marks))], "split": splits, "label": ""})
    images = np.random.default_rng(0).integers(0, 256, (len(marks), 4, 4, 1), np.uint8)
    return Dataset(
        "two", ("mass", "hernia"), table, 1, (4, 4), (0.0, 255.0), images, marks=marks.astype(np.float32)
    )


def test_labels_that_weights_cannot_balance_are_told() -> None:
    dataset = make_dataset(np.array([[1, 0], [0, 0], [1, np.nan], [0, 1]]))
    told = find_unbalanced(dataset, TrainingSection(balance="weights"))
    assert told == ("label 'hernia' has no positive image: its weight is 1",)
    assert find_unbalanced(dataset, TrainingSection(balance="oversample")) == ()


@pytest.mark.parametrize("cache", ["memory", "off"])
def test_batches_that_come_again_are_made_once(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset(np.zeros((30, 2)))
    feeding = Feeding(3, 1, find_preprocessing("unit"), cache)
    kept: list[int] = []
    keep = MemoryCache.put

    def count(self: MemoryCache, rows: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Count images on their way into the cache."""
        kept.append(len(rows))
        return keep(self, rows, images)

    monkeypatch.setattr(MemoryCache, "put", count)
    again = feed_again(dataset, feeding, 4, seed=5, count=3)
    shuffled = feed_plain(dataset, "train", Feeding(3, 1, feeding.preprocessing, "off"), 4, seed=5)
    expected = [images for images, _ in shuffled.take(3).as_numpy_iterator()]
    for _ in range(2):
        found = [images for images, _ in again.as_numpy_iterator()]
        assert np.array_equal(found, expected)
    assert sum(kept) == (12 if cache == "memory" else 0)
