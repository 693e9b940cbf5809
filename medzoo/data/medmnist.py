"""MedMNIST archives: one .npz of images and labels per split (Yang et al., MedMNIST v2, 2023)."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medzoo.data.dataset import BYTE_RANGE, Dataset, sort_classes
from medzoo.data.splits import complete_splits
from medzoo.errors import DataError

PREFIXES: Mapping[str, str] = {"train": "train", "validation": "val", "test": "test"}
# The names MedMNIST publishes; an archive itself holds numbers only.
CLASS_NAMES: Mapping[str, tuple[str, ...]] = {
    "breastmnist": ("malignant", "normal, benign"),
    "pneumoniamnist": ("normal", "pneumonia"),
}


def read_medmnist(path: Path, seed: int = 0) -> Dataset:
    """Read a 2-D MedMNIST archive: uint8 images (n, height, width) or (n, height, width, 3), labels (n, 1).

    Ids are the split and the number in it ("train/0"); classes are numbers unless the published names are
    known.  Raises DataError for an archive of other arrays, for volumes and for several labels per image.
    """
    arrays = load_arrays(path)
    images, rows = [], []
    for split, prefix in PREFIXES.items():
        pixels, labels = arrays[f"{prefix}_images"], arrays[f"{prefix}_labels"]
        images.append(shape_images(pixels, f"{path}: {prefix}_images"))
        numbers = shape_labels(labels, len(pixels), f"{path}: {prefix}_labels")
        rows += [(f"{split}/{number}", split, str(label)) for number, label in enumerate(numbers)]
    shapes = {pixels.shape[1:] for pixels in images}
    if len(shapes) > 1:
        raise DataError(f"{path}: the splits' images differ in shape: {sorted(shapes)}", "one shape")
    table = name_classes(pd.DataFrame(rows, columns=["id", "split", "label"]), path.stem.lower())
    table, notes = complete_splits(table, seed, str(path))
    pixels = np.concatenate(images)
    return Dataset(
        name=path.stem,
        classes=sort_classes(table["label"]),
        table=table,
        channels=pixels.shape[3],
        size=(pixels.shape[1], pixels.shape[2]),
        value_range=BYTE_RANGE,
        images=pixels,
        notes=notes,
    )


def load_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Load an archive's six arrays; nothing in it is ever unpickled."""
    wanted = [f"{prefix}_{kind}" for prefix in PREFIXES.values() for kind in ("images", "labels")]
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in wanted if key not in archive]
            if missing:
                raise DataError(
                    f"{path} has no {missing[0]}, only {', '.join(archive) or 'nothing'}", "a MedMNIST .npz"
                )
            return {key: archive[key] for key in wanted}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {path}: {error}", "a MedMNIST .npz") from error


def shape_images(pixels: NDArray[np.generic], place: str) -> NDArray[np.uint8]:
    """Give 2-D images their channel axis: (n, height, width, 1 or 3)."""
    if pixels.dtype != np.uint8:
        raise DataError(f"{place} is {pixels.dtype}", "uint8 images")
    bytes_: NDArray[np.uint8] = pixels.view(np.uint8)
    if bytes_.ndim == 3:
        return bytes_[..., None]
    if bytes_.ndim == 4 and bytes_.shape[3] in (1, 3):
        return bytes_
    if bytes_.ndim >= 4:
        raise DataError(
            f"{place} holds volumes, {bytes_.shape}", "2-D images; 3-D data are not supported yet"
        )
    raise DataError(f"{place} has the shape {bytes_.shape}", "(n, height, width) or (n, height, width, 3)")


def shape_labels(labels: NDArray[np.generic], count: int, place: str) -> list[int]:
    """Return one whole number per image from labels (n,) or (n, 1)."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise DataError(
            f"{place} holds {labels.shape[1]} labels per image",
            "one label per image; several are not supported yet",
        )
    if labels.ndim not in (1, 2) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{place} is {labels.dtype} of shape {labels.shape}", "whole numbers of shape (n, 1)")
    if labels.size != count:
        raise DataError(f"{place} has {labels.size} labels for {count} images", "one label per image")
    return [int(label) for label in labels.reshape(-1)]


def name_classes(table: pd.DataFrame, stem: str) -> pd.DataFrame:
    """Replace label numbers by published names; "breastmnist_224" names the same classes as "breastmnist"."""
    names = CLASS_NAMES.get(stem.split("_")[0], ())
    known = {str(number): name for number, name in enumerate(names)}
    if not names or not set(table["label"]) <= known.keys():
        return table
    return table.assign(label=table["label"].map(known))
