"""Small pictures of images, as data URIs, read by the data set's own readers without TensorFlow."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medzoo.data.audit.pixels import open_fetch
from medzoo.data.dataset import BYTE_RANGE, Dataset
from medzoo.errors import DataError
from medzoo.reports.sources import OpenedData

#: Pixels of a picture's longer side; smaller images are kept as they are, and their pixels shown as squares.
SIDE = 256
SMALL = 96

#: Of JPEG, from 1 to 95.
QUALITY = 82


def make_pictures(opened: OpenedData, ids: Sequence[str]) -> tuple[Mapping[str, tuple[str, bool]], str]:
    """Give a data URI, and whether the image is small, for each of some ids; and why others have none, "" if all have.

    >>> from medzoo.data.phantom import make_phantom
    >>> phantom = make_phantom(0)
    >>> name = phantom.table["id"].iloc[0]
    >>> pictures, reason = make_pictures(OpenedData(phantom), [name])
    >>> pictures[name][0].startswith("data:image/"), reason
    (True, '')
    """
    dataset = opened.dataset
    if dataset is None:
        return {}, opened.reason
    places = {name: place for place, name in enumerate(dataset.table["id"].tolist())}
    found = [name for name in ids if name in places]
    if not found:
        return {}, f"the images of these ids are not in {dataset.name}"
    part = dataset.take(np.array([places[name] for name in found], int))
    pixels: dict[str, NDArray[Any]] = {}
    problems = []
    with open_fetch(part) as fetch:
        for row, name in enumerate(found):
            try:
                pixels[name] = np.asarray(fetch(row))
            except DataError as error:
                problems.append(str(error))
    if len(found) < len(ids):
        problems.append(f"{len(ids) - len(found):,} of these ids are not in {dataset.name}")
    low, high = _find_limits(part, list(pixels.values()))
    pictures = {name: encode_picture(values, low, high) for name, values in pixels.items()}
    return pictures, "; ".join(problems[:2])


def encode_picture(pixels: NDArray[Any], low: float, high: float) -> tuple[str, bool]:
    """Give an image (h, w, channels) as a data URI, values from `low` black to `high` white; and if it is small.

    Three channels are colours; of other numbers of channels the first is shown, of volumes the middle slice.

    >>> uri, is_small = encode_picture(np.zeros((8, 8, 1)), 0, 1)
    >>> uri[:22], is_small
    ('data:image/png;base64,', True)
    """
    if pixels.ndim == 4:
        pixels = pixels[len(pixels) // 2]
    scaled = (np.nan_to_num(pixels.astype(np.float64)) - low) / (high - low)
    levels = (255 * scaled.clip(0, 1)).round().astype(np.uint8)
    picture = Image.fromarray(levels if levels.shape[-1] == 3 else np.ascontiguousarray(levels[..., 0]))
    is_small = max(picture.size) <= SMALL
    stream = io.BytesIO()
    if is_small:
        picture.save(stream, "PNG", optimize=True)
    else:
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        picture.save(stream, "JPEG", quality=QUALITY, optimize=True)
    kind = "png" if is_small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}", is_small


def _find_limits(dataset: Dataset, shown: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Give the values that become black and white: 0 and 255, or of other arrays those of nearly all shown pixels."""
    if dataset.images is None or dataset.images.dtype == np.uint8 or not shown:
        return BYTE_RANGE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of images that are NaN throughout
        low, high = np.nanquantile(np.concatenate([pixels.ravel() for pixels in shown]), [0.005, 0.995])
    return (float(low), float(high)) if np.isfinite([low, high]).all() and low < high else BYTE_RANGE
