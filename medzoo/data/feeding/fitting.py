"""A picture or a volume brought to the input's size and units, as graph code of one image or of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medzoo.contracts import Preprocessing
from medzoo.data.dataset import Dataset
from medzoo.data.feeding.resampling import resample
from medzoo.errors import DataError

LUMINANCE = (3, 1)  # channels of the images and of the network: colour that becomes grey
REPEATED = (1, 3)  # grey that becomes colour


def choose_sides(dataset: Dataset, image_size: int | tuple[int, int, int]) -> tuple[int, ...]:
    """Choose the sides that images are brought to: a square or a cube for one number, else depth, height and width.

    Raises DataError for three sides where the images are no volumes.
    """
    rank = len(dataset.size)
    if isinstance(image_size, int):
        return (image_size,) * rank
    if len(image_size) != rank:
        raise DataError(
            f"{dataset.name}: an input of {'×'.join(map(str, image_size))} for images of {rank} dimensions",
            "one number, for a square",
        )
    return tuple(image_size)


def decode(encoded: Any, channels: int) -> Any:
    """Decode the bytes of one JPEG, PNG or GIF to an image tensor uint8 (height, width, channels), as Pillow does."""
    import tensorflow as tf

    # decode_jpeg reads PNG and GIF as well.  Its default transform was up to 5 grey levels off Pillow's.
    image = tf.io.decode_jpeg(encoded, channels=channels, dct_method="INTEGER_ACCURATE")
    image.set_shape((None, None, channels))
    return image


def fit_image(
    image: Any, dataset: Dataset, sides: tuple[int, ...], channels: int, contract: Preprocessing
) -> Any:
    """Fit one image to float32 (*sides, channels); of that size and uncut, it stays bit for bit.

    Grey that becomes colour keeps its one channel here: `spread_channels` repeats it.
    """
    import tensorflow as tf

    if (dataset.channels, channels) == LUMINANCE:
        image = tf.image.rgb_to_grayscale(tf.cast(image, tf.float32))
    known = tuple(image.shape[:-1])

    def change() -> Any:
        """Resize the image."""
        return resize(image, sides, contract, find_darkest(image, dataset))

    # Of the size already, resizing changes nothing but costs; asking each image costs a tenth of a millisecond.
    if None in known and contract.fit != "crop" and dataset.size == sides:
        image = tf.cond(
            tf.reduce_all(tf.equal(tf.shape(image)[:-1], sides)), lambda: tf.cast(image, tf.float32), change
        )
    elif contract.fit == "crop" or known != sides:
        image = change()
    else:
        image = tf.cast(image, tf.float32)
    image.set_shape((*sides, count_fitted(dataset.channels, channels)))
    return image


def count_fitted(stored: int, wanted: int) -> int:
    """Count the channels of an image that is fitted and not yet spread.

    >>> count_fitted(1, 3), count_fitted(3, 1), count_fitted(5, 5)
    (1, 1, 5)
    """
    return stored if (stored, wanted) == REPEATED else wanted


def spread_channels(images: Any, channels: int) -> Any:
    """Repeat the grey of images (…, 1) over the network's channels; images that have these stay."""
    import tensorflow as tf

    return images if images.shape[-1] == channels else tf.repeat(images, channels, axis=-1)


def find_darkest(image: Any, dataset: Dataset) -> Any:
    """Give what stands for black around an image tensor: the lowest value declared, else the image's own lowest.

    Where no range is declared the image is in the network's units, where 0 is often a middle grey.
    """
    import tensorflow as tf

    if dataset.value_range is None:
        return tf.cast(tf.reduce_min(image), tf.float32)
    return tf.constant(dataset.value_range[0], tf.float32)


def resize(image: Any, sides: tuple[int, ...], contract: Preprocessing, darkest: Any) -> Any:
    """Bring an image tensor (…, channels), a picture or a volume, to (*sides, channels) as the contract says.

    Proportions are kept by `pad` and `crop`: one side meets its own exactly, and the others follow.  Under `pad`
    the borders are filled with `darkest`.
    """
    import tensorflow as tf

    if contract.fit == "squash":
        return interpolate(image, sides, contract)
    stored = tf.unstack(tf.shape(image)[:-1], num=len(sides))
    ratios = tf.stack([side / given for side, given in zip(sides, stored, strict=True)])
    if contract.fit == "pad":
        whole, given = _choose_leading(tf.argmin(ratios), sides, stored)
        inner = [tf.cast(tf.round(whole * side / given), tf.int32) for side in stored]
        # At most the side: where sides differ, rounding could go one beyond.
        inner = [tf.clip_by_value(one, 1, side) for one, side in zip(inner, sides, strict=True)]
        before = [(side - one) // 2 for one, side in zip(inner, sides, strict=True)]
        borders = [[first, side - one - first] for first, one, side in zip(before, inner, sides, strict=True)]
        return tf.pad(interpolate(image, inner, contract), [*borders, [0, 0]], constant_values=darkest)
    # As torchvision's Resize and CenterCrop: sides are cut to whole pixels, halves are rounded to even.
    outer = tuple(round(side / contract.crop_fraction) for side in sides)
    whole, given = _choose_leading(tf.argmax(ratios), outer, stored)
    outgrown = [tf.maximum(whole * one // given, side) for one, side in zip(stored, sides, strict=True)]
    start = [tf.cast(tf.round((one - side) / 2), tf.int32) for one, side in zip(outgrown, sides, strict=True)]
    return tf.slice(interpolate(image, outgrown, contract), [*start, 0], [*sides, -1])


def _choose_leading(axis: Any, sides: Sequence[int], stored: Sequence[Any]) -> tuple[Any, Any]:
    """Give the wanted and the stored side of the axis that decides the scale."""
    import tensorflow as tf

    return tf.gather(tf.constant(sides, tf.int32), axis), tf.gather(tf.stack(stored), axis)


def interpolate(image: Any, sides: Sequence[Any], contract: Preprocessing) -> Any:
    """Resize an image tensor (…, channels) to its sides, never beyond its own darkest and brightest values."""
    import tensorflow as tf

    resized = resample(image, sides, contract.interpolation)
    if contract.interpolation == "bicubic":  # it overshoots at edges, which 8-bit pixels cannot hold
        lowest, highest = (tf.cast(end(image), tf.float32) for end in (tf.reduce_min, tf.reduce_max))
        resized = tf.clip_by_value(resized, lowest, highest)
    return resized


def preprocess(images: Any, preprocessing: Preprocessing) -> Any:
    """Order the colours, scale and shift image tensors (…, channels) as the network expects."""
    scale, offset = (
        np.asarray(numbers, dtype=np.float64) for numbers in preprocessing.for_channels(images.shape[-1])
    )
    if images.shape[-1] == 3 and preprocessing.order == "bgr":
        images = images[..., ::-1]
    if (scale == 1).all() and not offset.any():
        return images
    return images * scale.astype(np.float32) + offset.astype(np.float32)
