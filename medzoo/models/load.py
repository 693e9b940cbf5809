"""Whole saved networks: the layers of ours that are in them are known by name only once they are imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

import medzoo.models.build  # noqa: F401  registers the layers
from medzoo.errors import WeightsError


def load_model(path: str | Path) -> Any:
    """Load a network from a `.keras` file that Keras wrote of one of ours.

    `keras.saving.load_model` does the same once any network was built; before, it does not know the layers of
    transformers, BiT and ConvNeXt, which are medzoo's own.

    Raises:
        WeightsError: no such file, or none that Keras can load.

    >>> import tempfile
    >>> model = medzoo.models.build.build("cbr_tiny", classes=2, channels=1, input_size=32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/network.keras")
    ...     load_model(f"{folder}/network.keras").output_shape
    (None, 2)
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no file {path}", "a .keras file", "model.save(…) to write one")
    try:
        return keras.saving.load_model(path)
    except (ValueError, TypeError, KeyError, OSError) as error:
        reason = str(error).split("\n", 1)[0]
        raise WeightsError(
            f"Keras cannot load {path}: {reason}", "a .keras file", "medzoo weights inspect for weights alone"
        ) from error
