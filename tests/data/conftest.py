"""Tiny image files and manifests, written by the tests themselves."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WriteImage = Callable[..., Path]
WriteManifest = Callable[..., Path]


@pytest.fixture
def write_image(tmp_path: Path) -> WriteImage:
    """Write an image of seeded noise below the temporary folder."""

    def write(name: str, mode: str = "L", size: tuple[int, int] = (9, 8), seed: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        if mode == "I;16":
            image = Image.fromarray(rng.integers(0, 65536, size[::-1]).astype(np.uint16))
        else:
            image = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).convert(mode)
        image.save(path)
        return path

    return write


@pytest.fixture
def write_manifest(tmp_path: Path) -> WriteManifest:
    """Write a CSV file below the temporary folder."""

    def write(header: Sequence[str], rows: Sequence[Sequence[str]], name: str = "manifest.csv") -> Path:
        path = tmp_path / name
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    return write
