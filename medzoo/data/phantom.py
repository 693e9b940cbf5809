"""The built-in data set: a faint lesion in mammogram-like noise, whose best possible AUROC is known."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medzoo.data.dataset import Dataset
from medzoo.data.draws import make_generator

SIZE = 32  # pixels
BETA = 3.0  # the exponent of the noise power in mammograms (Burgess, 1999)
SIGMA = 2.0  # the lesion's standard deviation in pixels
DETECTABILITY = 2.0  # d′ of the ideal observer: AUROC .921
COUNTS: Mapping[str, int] = {"train": 4000, "validation": 1000, "test": 4000}
CLASSES = ("absent", "present")


def make_phantom(
    seed: int = 0, counts: Mapping[str, int] = COUNTS, detectability: float = DETECTABILITY
) -> Dataset:
    """Make the lesion phantom: 32×32 power-law noise, every second image with a faint central lesion.

    Images are float32 (n, 32, 32, 1) in units of the noise's standard deviation, neither clipped nor
    standardised, so that the prewhitening matched filter is the ideal observer and `limit` its exact AUROC.
    Each split is drawn from (seed, split name).

    >>> phantom = make_phantom(counts={"train": 4, "validation": 2, "test": 2})
    >>> phantom.images.shape, round(phantom.limit, 3)
    ((8, 32, 32, 1), 0.921)
    """
    power = noise_power(SIZE, BETA)
    signal = scale_lesion(lesion(SIZE, SIGMA), power, detectability)
    images, rows = [], []
    for split, count in counts.items():
        present = np.arange(count) % 2
        noise = draw_noise(count, power, make_generator(seed, f"phantom {split}"))
        images.append((noise + present[:, None, None] * signal).astype(np.float32))
        rows += [(f"{split}/{number}", split, CLASSES[there]) for number, there in enumerate(present)]
    return Dataset(
        name="phantom",
        classes=CLASSES,
        table=pd.DataFrame(rows, columns=["id", "split", "label"]),
        channels=1,
        size=(SIZE, SIZE),
        value_range=None,
        images=np.concatenate(images)[..., None],
        limit=ideal_auroc(detectability),
    )


def noise_power(size: int, beta: float) -> NDArray[np.float64]:
    """Return the noise power P(f) = E|DFT(noise)|² ∝ 1/f^β per bin, (size, size), for unit pixel variance.

    f is the radial frequency in cycles per pixel; P(0), where 1/f^β diverges, is P(1/size)
    (Burgess, "Mammographic structure: data preparation and spatial statistics analysis", 1999).

    >>> round(float(noise_power(32, 3.0).sum() / 32**4), 12)    # the pixel variance, by Parseval's theorem
    1.0
    """
    frequencies = np.fft.fftfreq(size)
    radius = np.hypot(frequencies[:, None], frequencies[None, :])
    radius[0, 0] = 1 / size
    power = radius**-beta
    scaled: NDArray[np.float64] = power * (size**4 / power.sum())
    return scaled


def draw_noise(count: int, power: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw stationary Gaussian noise images (count, size, size) of the given power from white noise."""
    size = len(power)
    # White noise of unit variance has E|DFT|² = size² in every bin.
    gain = np.sqrt(power)[:, : size // 2 + 1] / size
    white = rng.standard_normal((count, size, size))
    return np.fft.irfft2(np.fft.rfft2(white) * gain, s=(size, size))


def lesion(size: int, sigma: float) -> NDArray[np.float64]:
    """Return a Gaussian bump of height 1 in the middle of the image, (size, size); sigma in pixels."""
    offset = np.arange(size) - (size - 1) / 2
    profile = np.exp(-(offset**2) / (2 * sigma**2))
    return np.outer(profile, profile)


def scale_lesion(
    shape: NDArray[np.float64], power: NDArray[np.float64], detectability_wanted: float
) -> NDArray[np.float64]:
    """Scale a lesion (size, size) to the amplitude at which the ideal observer reaches the d′ wanted."""
    return shape * (detectability_wanted / detectability(shape, power))


def detectability(signal: NDArray[np.float64], power: NDArray[np.float64]) -> float:
    """Return the ideal observer's d′ for a known signal in Gaussian noise: d′² = Σ |S(f)|² / P(f).

    S is the signal's DFT and P(f) = E|DFT(noise)|², both (size, size) (Barrett & Myers, "Foundations of Image
    Science", 2004, section 13.2).

    >>> detectability(np.eye(4), np.full((4, 4), 16.0))    # unit white noise: the signal's norm
    2.0
    """
    return float(np.sqrt((np.abs(np.fft.fft2(signal)) ** 2 / power).sum()))


def ideal_auroc(detectability: float) -> float:
    """Return the AUROC of two unit normals d′ apart: Φ(d′/√2).

    >>> round(ideal_auroc(2.0), 3)
    0.921
    """
    return 0.5 * (1 + math.erf(detectability / 2))


def matched_filter(
    images: ArrayLike, signal: NDArray[np.float64], power: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Score images (n, size, size) or (n, size, size, 1) by the prewhitening matched filter; returns (n,).

    The score is the ideal observer's: Re Σ S*(f) G(f) / P(f), whose variance in noise alone is d′².

    >>> power, signal = noise_power(32, 3.0), lesion(32, 2.0)
    >>> bool(np.isclose(matched_filter(signal[None], signal, power)[0], detectability(signal, power) ** 2))
    True
    """
    size = len(signal)
    # Σ S* G / P over the bins is size² times the inner product with the inverse DFT of S / P.
    template = np.fft.ifft2(np.fft.fft2(signal) / power).real * size**2
    flat = np.asarray(images, dtype=np.float64).reshape(-1, size * size)
    scores: NDArray[np.float64] = flat @ template.reshape(-1)
    return scores
