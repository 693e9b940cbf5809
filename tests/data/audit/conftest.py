"""Pictures made of seeded noise, and data sets of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from medzoo.data.dataset import BYTE_RANGE, Dataset, sort_classes

MakePicture = Callable[..., NDArray[np.uint8]]
MakeDataset = Callable[..., Dataset]


@pytest.fixture
def make_picture() -> MakePicture:
    """Make a grey picture (side, side) with structure of all sizes: noise blurred a little and a lot."""

    def make(seed: int, side: int = 64) -> NDArray[np.uint8]:
        noise = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8))
        levels = sum(
            weight * np.asarray(noise.filter(ImageFilter.GaussianBlur(radius)), np.float64)
            for radius, weight in ((2, 4), (8, 12))
        )
        assert isinstance(levels, np.ndarray)
        levels = (levels - levels.min()) / (levels.max() - levels.min())
        return np.round(20 + 200 * levels).astype(np.uint8)

    return make


@pytest.fixture
def make_dataset() -> MakeDataset:
    """Make a data set of arrays (n, h, w); images are named by their number."""

    def make(
        images: Sequence[NDArray[np.generic]],
        splits: Sequence[str],
        labels: Sequence[str] | None = None,
        **columns: Sequence[str],
    ) -> Dataset:
        stacked = np.stack(images)
        pixels = stacked[..., None] if stacked.ndim == 3 else stacked
        named = list(labels or ["a", "b"] * (len(pixels) // 2 + 1))[: len(pixels)]
        table = {"id": [str(number) for number in range(len(pixels))], "split": list(splits), "label": named}
        return Dataset(
            name="pictures",
            classes=sort_classes(named),
            table=pd.DataFrame(table | {name: list(values) for name, values in columns.items()}),
            channels=pixels.shape[-1],
            size=pixels.shape[1:-1],
            value_range=BYTE_RANGE,
            images=pixels,
        )

    return make
