"""Input contracts: which numbers a network takes, how a picture becomes them, and a check that it did."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from medzoo.errors import ConfigError, DataError

if TYPE_CHECKING:  # the catalogue reads this file, and starts without NumPy
    from numpy.typing import NDArray

#: How pixels between pixels are made; the first two are antialiased when a picture shrinks.
Interpolation = Literal["bilinear", "bicubic", "nearest"]

#: How a picture meets the square input: stretched; cut to its centre; or whole, on black.
Fit = Literal["squash", "crop", "pad"]

#: What every contract is a map of: 8-bit pixel values.
PIXELS = (0.0, 255.0)

#: How far beyond its range an image may lie, in pixel values: rounding, and a scaling by 128 in place of 127.5.
TOLERANCE = 1.25

#: Images of 0…255 of which none goes beyond this may have been scaled to 0…1 or −1…1 before.
SCALED_TO_ONE = 1.5

#: Images of 0…255 that differ by no more may be wrong: 12 bits in a 16-bit file, for one, end at 4095/257.
NEARLY_BLANK = 16.0


class LowContrastError(DataError):
    """Images within a contract's range that fill a sliver of it: to be warned of, and never refused.

    They may have been scaled before; but masks of 0 and 1, and pictures that are all but uniform, look alike.
    """


@dataclass(frozen=True)
class Preprocessing:
    """The numbers that a network was trained on, as a map of 8-bit pixel values, and how it meets a picture.

    Channels are put in `order`, then x′ = x·scale[channel] + offset[channel]. A network whose input has not
    three channels takes the means of both. `fit` and `interpolation` bring a picture to the input's size;
    under `crop` its shorter side becomes the input's size divided by `crop_fraction`. `published_fit` is how
    the weights' publishers did it in their evaluation, None where nobody says.
    """

    name: str
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    order: str = "rgb"
    interpolation: Interpolation = "bilinear"
    fit: Fit = "squash"
    crop_fraction: float = 0.875
    published_fit: Fit | None = None

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest number that 8-bit pixels become.

        >>> find_preprocessing("tf").range
        (-1.0, 1.0)
        """
        ends = [
            pixel * scale + offset
            for pixel in PIXELS
            for scale, offset in zip(self.scale, self.offset, strict=True)
        ]
        return min(ends), max(ends)

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean of each channel, in `order`, in the form x′ = (x/255 − mean) / deviation.

        >>> [round(mean, 3) for mean in find_preprocessing("torch").mean]
        [0.485, 0.456, 0.406]
        """
        return tuple(
            -offset / (PIXELS[1] * scale) for scale, offset in zip(self.scale, self.offset, strict=True)
        )

    @property
    def deviation(self) -> tuple[float, ...]:
        """The standard deviation of each channel, in `order`, in the form x′ = (x/255 − mean) / deviation.

        >>> [round(deviation, 3) for deviation in find_preprocessing("torch").deviation]
        [0.229, 0.224, 0.225]
        """
        return tuple(1 / (PIXELS[1] * scale) for scale in self.scale)

    def for_channels(self, count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Give scale and offset of each of `count` input channels: their means, unless there are three.

        >>> find_preprocessing("unit").for_channels(1)[1]
        (0.0,)
        """
        if count == len(self.scale):
            return self.scale, self.offset
        scale, offset = (sum(numbers) / len(numbers) for numbers in (self.scale, self.offset))
        return (scale,) * count, (offset,) * count


#: "tf", "caffe" and "torch" are the modes of keras.applications (`imagenet_utils.preprocess_input`); "torch" is
#: (x/255 − mean) / standard deviation over ImageNet, torchvision's too.
#: "tf128" is x/128 − 1, what keras.applications' EfficientNetV2 S, M and L make of pixels inside. "unit" is
#: x/255, "raw" is x as it is.
PREPROCESSINGS: Mapping[str, Preprocessing] = {
    "tf": Preprocessing("tf", (1 / 127.5, 1 / 127.5, 1 / 127.5), (-1.0, -1.0, -1.0)),
    "caffe": Preprocessing("caffe", (1.0, 1.0, 1.0), (-103.939, -116.779, -123.68), "bgr"),
    "torch": Preprocessing(
        "torch",
        (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
        (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225),
    ),
    "tf128": Preprocessing("tf128", (1 / 128, 1 / 128, 1 / 128), (-1.0, -1.0, -1.0)),
    "unit": Preprocessing("unit", (1 / 255, 1 / 255, 1 / 255), (0.0, 0.0, 0.0)),
    "raw": Preprocessing("raw", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
}

#: Networks that keras.applications scales inside, by the beginning of their row's name, and the contract that
#: equals what their first layers do. Here those layers are left out, so that scaling stands in one place and
#: any number of channels works: the contract does the same before the network.
#: EfficientNet: Rescaling 1/255, Normalization, Rescaling 1/√deviation. The variance in its files is a standard
#: deviation, so the last two divide by it once (tensorflow/tensorflow#49930).
#: EfficientNetV2: B, Rescaling 1/255 and Normalization; S, M and L, Rescaling 1/128 less 1.
#: ConvNeXt: Normalization by 255·mean and 255·deviation. MobileNetV3: Rescaling 1/127.5 less 1.
SCALED_INSIDE: Mapping[str, str] = {
    "efficientnetb": "torch",
    "efficientnetv2_b": "torch",
    "efficientnetv2_s": "tf128",
    "efficientnetv2_m": "tf128",
    "efficientnetv2_l": "tf128",
    "convnext_": "torch",
    "mobilenet_v3_": "tf",
}

_RESIZES = (
    # The cards' words for interpolation, size before the crop and size after it → fit
    (re.compile(r"(bilinear|bicubic) to (\d+), (?:centre crop|crops of) (\d+)\b.*"), "crop"),
    (re.compile(r"(bilinear|bicubic) straight to (\d+) × \2"), "squash"),
    (re.compile(r"centre crop to a square, then (linear) to (\d+) × \2"), "crop"),
)


def find_preprocessing(name: str) -> Preprocessing:
    """Find an input contract by name.

    Raises:
        ConfigError: no contract has that name; the known ones are given.

    >>> find_preprocessing("unit").offset
    (0.0, 0.0, 0.0)
    """
    if name not in PREPROCESSINGS:
        raise ConfigError(f"unknown input contract {name!r}", f"one of {', '.join(PREPROCESSINGS)}")
    return PREPROCESSINGS[name]


def find_scaled_inside(row: str) -> Preprocessing | None:
    """Find the contract that equals what keras.applications' network of that row does inside; None for the others.

    >>> find_scaled_inside("efficientnetv2_l").name
    'tf128'
    >>> find_scaled_inside("resnet50") is None
    True
    """
    return next(
        (PREPROCESSINGS[name] for start, name in SCALED_INSIDE.items() if row.startswith(start)), None
    )


def follow_resize(contract: Preprocessing, words: str) -> Preprocessing:
    """Give a contract the resize rule that a card states in words; other words change nothing.

    The publishers' fit is noted, and not followed: a centre crop loses what lies at a medical image's margin.

    >>> follow_resize(find_preprocessing("torch"), "bicubic to 438, centre crop 384").interpolation
    'bicubic'
    """
    for pattern, fit in _RESIZES:
        found = pattern.fullmatch(words)
        if found:
            interpolation = "bicubic" if found[1] == "bicubic" else "bilinear"
            fraction = int(found[3]) / int(found[2]) if found.re.groups == 3 else 1.0
            rule: Any = {"interpolation": interpolation, "published_fit": fit, "crop_fraction": fraction}
            return replace(contract, **rule)
    return contract


def check_range(images: NDArray[Any], contract: Preprocessing) -> str | None:
    """Compare images that a network is to take with the range that its contract makes of 8-bit pixels.

    `images` is (…, height, width, channels), in the network's units and the contract's order. Gives None, or
    one line that names both ranges and what to do: of numbers beyond the range, of those that are not finite,
    and, as a possibility, of those that fill a sliver of it, as pixels of 0…1 or of 12 bits do.

    >>> import numpy as np
    >>> pixels = np.linspace(0, 255, 48).reshape(1, 4, 4, 3)
    >>> check_range(pixels / 127.5 - 1, find_preprocessing("tf")) is None
    True
    >>> print(check_range(pixels, find_preprocessing("tf")))
    images span 0…255; expected -1…1, input contract tf; try to apply the contract, x·scale + offset: these are pixels
    """
    problem = compare_range(images, contract, "images")
    return None if problem is None else str(problem)


def compare_range(images: NDArray[Any], contract: Preprocessing, what: str) -> DataError | None:
    """Do what `check_range` does, with a name for the images, and the answer as an error that is not raised.

    Images that only fill a sliver of the range are a `LowContrastError`.
    """
    import numpy as np

    if not images.size:
        return None
    if (first := find_not_finite(images)) is not None:
        return DataError(
            f"{what} hold NaN or infinity, first in number {first}", "finite numbers", "to correct it"
        )
    low, high = float(images.min()), float(images.max())
    numbers = contract.for_channels(images.shape[-1])
    scale, offset = (np.asarray(values, dtype=np.float64) for values in numbers)
    axes = tuple(range(images.ndim - 1))
    # Back to pixels, where one tolerance means the same for every contract.
    lowest = float(((images.min(axis=axes) - offset) / scale).min())
    highest = float(((images.max(axis=axes) - offset) / scale).max())
    expected = f"{_span(*contract.range)}, input contract {contract.name}"
    if lowest < PIXELS[0] - TOLERANCE or highest > PIXELS[1] + TOLERANCE:
        are_pixels = low >= -TOLERANCE and 2 * SCALED_TO_ONE < high <= PIXELS[1] + TOLERANCE
        remedy = "to apply the contract, x·scale + offset: these are pixels" if are_pixels else ""
        return DataError(
            f"{what} span {_span(low, high)}",
            expected,
            remedy or f"to bring them to pixels of {_span(*PIXELS)} before it is applied",
        )
    contrast = float(((images.max(axis=axes) - images.min(axis=axes)) / scale).max())
    if contrast > NEARLY_BLANK:
        return None
    guess, remedy = "scaled before", "to look at some, and pixels or another contract if they were scaled"
    if highest <= SCALED_TO_ONE:
        guess = "scaled to 0…1 or -1…1 before"
        remedy = f"to look at some, and pixels of {_span(*PIXELS)} if they were scaled"
    elif highest <= NEARLY_BLANK:
        guess = "12 bits in a 16-bit file"
        remedy = "to look at some, and to stretch them if they are not blank"
    spans = f"span {_span(low, high)}, pixels of {_span(lowest, highest)} before the contract"
    return LowContrastError(f"{what} {spans}: all but blank, or {guess}", expected, remedy)


def compare_span(images: NDArray[Any], declared: tuple[float, float], what: str) -> DataError | None:
    """Compare images with the range of values that their data set declares; an error that is not raised, or None."""
    low, high = float(images.min()), float(images.max())
    slack = TOLERANCE * (declared[1] - declared[0]) / (PIXELS[1] - PIXELS[0])
    if declared[0] - slack <= low and high <= declared[1] + slack:
        return None
    found, expected = f"{what} span {_span(low, high)}", f"{_span(*declared)}, the data set's value_range"
    return DataError(found, expected, "to declare what they are")


def find_not_finite(images: NDArray[Any]) -> int | None:
    """Give the number of the first image, along the first axis, that holds NaN or infinity; None if none does."""
    import numpy as np

    if not np.issubdtype(images.dtype, np.inexact):
        return None
    return next((number for number, image in enumerate(images) if not np.isfinite(image).all()), None)


def _span(low: float, high: float) -> str:
    """Write a range of numbers.

    >>> _span(-1.0, 255 / 128 - 1)
    '-1…0.9922'
    """
    return f"{low:.4g}…{high:.4g}"
