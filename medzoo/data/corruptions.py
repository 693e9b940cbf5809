"""Corruptions: images made worse in five strengths, as they are decoded and before a network's input contract.

Noise, blur, contrast and JPEG have the parameters of ImageNet-C (Hendrycks & Dietterich 2019, "Benchmarking Neural
Network Robustness to Common Corruptions and Perturbations"), which are for pictures of 224 pixels; sizes are scaled
to other pictures.  The change of intensity is our own, after what differs between scanners.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from medzoo.data.draws import make_generator
from medzoo.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:  # a data set holds a corruption
    from medzoo.data.dataset import Dataset

Pixels = NDArray[np.float32]

STRENGTHS = (1, 2, 3, 4, 5)
SIDE = 224  # pixels of the shorter side for which lengths are given

#: Standard deviation of the noise, as a part of the range.
NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)
#: Standard deviation of the blur in pixels, of 224.
BLUR = (1.0, 2.0, 3.0, 4.0, 6.0)
#: What is left of the differences from the mean.
CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
#: Quality of the JPEG.
JPEG = (25, 18, 15, 10, 7)
#: The exponent, the gain and the greatest gain of a smooth field, each up or down by chance.
INTENSITY = ((1.1, 0.05, 0.05), (1.2, 0.1, 0.1), (1.35, 0.15, 0.2), (1.55, 0.2, 0.3), (1.8, 0.3, 0.4))
WAVES = 3  # half periods along each side, 0 to 2, of which the field is made


@dataclass(frozen=True)
class Corruption:
    """What is done to every image of a data set: a kind, a strength from 1 to 5, and the range of the pixels.

    The seed, the kind and the image's id decide what is random: neither the other images nor the strength do, so
    that the strengths of one image differ by the amount alone.
    Raises ConfigError for a kind or a strength that does not exist, and for a negative seed.

    >>> worse = Corruption("contrast", 3)
    >>> worse.apply(np.array([[[0.0], [200.0]]]), "image 1").ravel().round().tolist()
    [80.0, 120.0]
    """

    name: str
    strength: int
    seed: int = 0
    low: float = 0.0
    high: float = 255.0

    def __post_init__(self) -> None:
        """Refuse what is no corruption."""
        if self.name not in CORRUPTIONS:
            raise ConfigError(f"there is no corruption {self.name!r}", nearest(self.name, CORRUPTIONS))
        if self.strength not in STRENGTHS:
            raise ConfigError(f"strength {self.strength} of a corruption", "1, 2, 3, 4 or 5")
        if self.seed < 0:
            raise ConfigError(f"the seed {self.seed}", "0 or more", "0")

    def apply(self, image: NDArray[Any], image_id: str) -> Pixels:
        """Corrupt one decoded image (height, width, channels); gives float32 within the range, fractions kept."""
        span = self.high - self.low
        unit = np.clip((np.asarray(image, np.float32) - np.float32(self.low)) / np.float32(span), 0, 1)
        generator = make_generator(self.seed, f"corruption {self.name} of {image_id}")
        changed = np.clip(CORRUPTIONS[self.name](unit, self.strength - 1, generator), 0, 1)
        return (changed * np.float32(span) + np.float32(self.low)).astype(np.float32, copy=False)


def corrupt_dataset(dataset: Dataset, name: str, strength: int, seed: int = 0) -> Dataset:
    """Give a data set whose images are corrupted whenever they are decoded: arrays, files and DICOM alike.

    The range is the one that the data set declares; where it declares none, from the lowest to the highest of its
    values, so that a part of such a data set is to be taken afterwards.

    Raises:
        ConfigError: a kind or a strength that does not exist, or a negative seed.
        DataError: the images are volumes, or of one value throughout.

    >>> from medzoo.data.phantom import make_phantom
    >>> phantom = make_phantom(counts={"train": 4, "validation": 2, "test": 2})
    >>> corrupt_dataset(phantom, "blur", 5).corruption.strength
    5
    """
    if dataset.is_volume:
        raise DataError(f"{dataset.name} holds volumes", "pictures, which alone are corrupted")
    low, high = _find_range(dataset)
    return replace(dataset, corruption=Corruption(name, strength, seed, low, high))


def _find_range(dataset: Dataset) -> tuple[float, float]:
    """Give the range that a data set declares, or else that of its values."""
    if dataset.value_range is not None:
        return dataset.value_range
    if dataset.images is None or not dataset.images.size:
        raise DataError(f"{dataset.name} declares no range of values", "one, such as 0…255")
    low, high = float(dataset.images.min()), float(dataset.images.max())
    if not high > low:
        raise DataError(f"{dataset.name}: every pixel is {low:g}", "images with differences")
    return low, high


def _add_noise(image: Pixels, level: int, generator: np.random.Generator) -> Pixels:
    """Add Gaussian noise whose grain is a pixel, or in larger pictures a 224th of the shorter side.

    Noise of single pixels would vanish from a large picture when it is brought to a network's size.
    """
    height, width, channels = image.shape
    scale = max(1.0, min(height, width) / SIDE)
    coarse = max(1, round(height / scale)), max(1, round(width / scale))
    noise = generator.standard_normal((*coarse, channels), dtype=np.float32)
    rows, columns = (np.arange(side) * few // side for side, few in zip((height, width), coarse, strict=True))
    return cast(Pixels, image + np.float32(NOISE[level]) * noise[rows][:, columns])


def _blur(image: Pixels, level: int, generator: np.random.Generator) -> Pixels:
    """Blur with a Gaussian; the picture goes on beyond its borders as it is there."""
    from scipy.ndimage import gaussian_filter

    del generator
    sigma = BLUR[level] * min(image.shape[:2]) / SIDE
    return cast(Pixels, gaussian_filter(image, (sigma, sigma, 0), mode="nearest"))


def _lower_contrast(image: Pixels, level: int, generator: np.random.Generator) -> Pixels:
    """Bring every pixel nearer to the mean of its channel."""
    del generator
    mean = image.mean(axis=(0, 1), keepdims=True, dtype=np.float64).astype(np.float32)
    return cast(Pixels, (image - mean) * np.float32(CONTRAST[level]) + mean)


def _compress(image: Pixels, level: int, generator: np.random.Generator) -> Pixels:
    """Write and read the picture as JPEG: grey and colour as they are, other channels each as grey."""
    del generator
    bytes_ = np.rint(image * 255).astype(np.uint8)
    parts = [bytes_] if image.shape[-1] in (1, 3) else np.split(bytes_, image.shape[-1], axis=-1)
    pages = [_pass_through_jpeg(part, JPEG[level]) for part in parts]
    return np.concatenate(pages, axis=-1).astype(np.float32) / np.float32(255)


def _pass_through_jpeg(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Write and read one picture (height, width, 1 or 3)."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(
        file, "JPEG", quality=quality
    )
    with Image.open(file) as read:
        return np.asarray(read).reshape(picture.shape)


def _change_intensity(image: Pixels, level: int, generator: np.random.Generator) -> Pixels:
    """Change grey values as another scanner might: an exponent, a gain, and a gain that varies smoothly."""
    exponent, gain, most = INTENSITY[level]
    power = exponent if generator.random() < 0.5 else 1 / exponent
    factor = 1 + gain if generator.random() < 0.5 else 1 - gain
    field = _draw_field(image.shape[0], image.shape[1], generator)
    return cast(
        Pixels, image ** np.float32(power) * (factor * (1 + most * field))[..., None].astype(np.float32)
    )


def _draw_field(height: int, width: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Draw a smooth field (height, width) of few cosines whose greatest deviation from 0 is 1."""
    amounts = generator.standard_normal((WAVES, WAVES))
    amounts[0, 0] = 0  # a gain of the whole picture is drawn by itself
    down, right = (
        np.cos(np.pi * np.arange(WAVES)[:, None] * (np.arange(side) + 0.5) / side) for side in (height, width)
    )
    field: NDArray[np.float64] = down.T @ amounts @ right
    greatest = np.abs(field).max()
    return field / greatest if greatest > 0 else field


#: Kinds of corruption by name: (image of 0…1 (height, width, channels), strength − 1, generator) → image.
CORRUPTIONS: Mapping[str, Callable[[Pixels, int, np.random.Generator], Pixels]] = {
    "noise": _add_noise,
    "blur": _blur,
    "contrast": _lower_contrast,
    "jpeg": _compress,
    "intensity": _change_intensity,
}
