"""A finished run without a training: its files as `medzoo train` writes them, the network as it is drawn."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.contracts import Preprocessing, find_preprocessing

SIZE = 32
CLASSES = ("benign", "malignant")


def write_run(
    folder: Path,
    classes: tuple[str, ...] = CLASSES,
    *,
    exclusive: bool = True,
    channels: int = 1,
    contract: Preprocessing | None = None,
    data: dict[str, Any] | None = None,
    ids: tuple[str, ...] = ("own",),
) -> Any:
    """Write a run of cbr_tiny, 32×32, and give its network."""
    import keras

    from medzoo.models.build import build
    from medzoo.training.config import format_config, make_config

    contract = contract or find_preprocessing("tf")
    folder.mkdir(parents=True)
    section = {"source": "phantom", "image_size": SIZE, "preprocessing": contract.name, **(data or {})}
    config = {
        "data": section,
        "model": {"name": "cbr_tiny", "channels": channels},
        "training": {"batch_size": 4},
    }
    (folder / "config.toml").write_text(format_config(make_config(config)))
    environment = {
        "precision": {"value": "float32", "reason": "a test"},
        "preprocessing": asdict(contract) | {"range": contract.range},
        "table_digest": "0" * 64,
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    labels = ["label"] if exclusive else [f"label_{name}" for name in classes]
    scores = [f"score_{name}" for name in classes]
    row = [f"{1 / len(classes)}" for _ in classes]
    lines = [",".join(["id", "split", *labels, *scores])]
    lines += [",".join([name, "test", *[""] * len(labels), *row]) for name in ids]
    (folder / "predictions.csv").write_text("\n".join(lines) + "\n")
    (folder / "metrics.json").write_text("{}")
    keras.utils.set_random_seed(0)
    model = build("cbr_tiny", len(classes), channels, SIZE)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):  # statistics that are not those it begins with
            layer.moving_mean.assign(np.linspace(-0.1, 0.1, layer.moving_mean.shape[0]))
    model.save_weights(folder / "best.weights.h5")
    return model


def write_pictures(folder: Path, names: tuple[str, ...], mode: str = "L", size: int = SIZE) -> np.ndarray:
    """Write pictures of seeded noise below a folder, and give their pixels (n, size, size, channels)."""
    from PIL import Image

    rng = np.random.default_rng(len(names))
    pixels = rng.integers(0, 256, (len(names), size, size, len(mode)), dtype=np.uint8)
    for name, picture in zip(names, pixels, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture if mode == "RGB" else picture[..., 0]).save(path)
    return pixels
