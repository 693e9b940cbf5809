"""Small data sets of seeded noise, and what becomes of them in batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from medzoo.contracts import Preprocessing
from medzoo.data.dataset import BYTE_RANGE, Dataset
from medzoo.data.feeding.pipeline import make_batches


def make_units(scale: tuple[float, ...], offset: tuple[float, ...], order: str = "rgb") -> Preprocessing:
    return Preprocessing("units", scale, offset, order)  # type: ignore[arg-type]


def make_arrays(count: int = 10, channels: int = 1, size: tuple[int, ...] = (6, 6), seed: int = 0) -> Dataset:
    images = np.random.default_rng(seed).integers(0, 256, (count, *size, channels), dtype=np.uint8)
    table = pd.DataFrame({"id": [str(n) for n in range(count)], "split": "train"})
    table["label"] = np.resize(["a", "b", "c", "a", "a"], count).tolist()
    return Dataset("arrays", ("a", "b", "c"), table, channels, size, BYTE_RANGE, images=images)


def read_batches(dataset: Dataset, **options: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    defaults = {"batch_size": 4, "image_size": 6, "channels": 1, "preprocessing": None, "shuffle": False}
    return list(make_batches(dataset, **(defaults | options)).as_numpy_iterator())


def collect(dataset: Dataset, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    batches = read_batches(dataset, **options)
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])
