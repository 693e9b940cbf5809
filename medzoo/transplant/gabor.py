"""A synthetic first convolution: a bank of Gabor filters at the scale of a trained one (Raghu et al. 2019)."""

from __future__ import annotations

import math

import numpy as np

from medzoo.errors import ConfigError, PlanError

#: Frequencies run from this many cycles across the window, 0.08 cycles per pixel of 7×7, …
CYCLES_ACROSS = 0.56

#: … to this many cycles per pixel, whatever the window: stripes three pixels wide.
HIGHEST_FREQUENCY = 0.32

#: Even (a line) and odd (an edge), in radians.
PHASES = (0.0, math.pi / 2)

#: Frequencies of a whole bank, and the fewest orientations of any.
FREQUENCIES, FEWEST_ORIENTATIONS = 4, 4

#: σ·f of a Gaussian whose filter passes one octave: √(ln 2 / 2) / π · (2¹ + 1) / (2¹ − 1).
_ONE_OCTAVE = math.sqrt(math.log(2) / 2) / math.pi * 3

_PER = ("tensor", "filter")


def make_gabor(
    shape: tuple[int, ...], deviation: float, mean: float = 0.0, per: str = "tensor", aspect: float = 0.5
) -> np.ndarray:
    """Make a kernel (height, width, inputs, filters) of Gabor filters, the same for each input channel; float32.

    A filter is g(x, y) = exp(−(x′² + aspect²·y′²) / (2σ²))·cos(2πf·x′ + ψ), with x to the right, y down, both in pixels
    from the window's centre, and x′ along the orientation: x′ = x·cos θ + y·sin θ, y′ = −x·sin θ + y·cos θ. σ gives a
    bandwidth of one octave, 0.5622/f. `aspect` is γ: 0.5 makes filters twice as long along their stripes as across, 1
    round ones. Its mean is subtracted from each filter, so that none answers a uniform image.

    Filter i of n, n a multiple of 8 and at least 32, has phase i mod 2 of 0 and π/2, frequency (i div 2) mod 4, the
    lowest first, and orientation (i div 8)·π/(n/8): 64 filters are 8 orientations × 4 frequencies × 2 phases, and more
    filters are more orientations. Fewer than 32 are 4 orientations with fewer frequencies. Any other number is the next
    larger such bank, of which filters are left out at even steps.

    Frequencies are evenly spaced in octaves, from 0.56 cycles across the window's shorter side to 0.32 cycles per
    pixel: 0.08…0.32 for 7×7, 0.187…0.32 for 3×3. σ is then about as wide as the window at the lowest frequency of any
    window, which is a blob or a ramp; in 3×3 all are, and 8 of any number of filters are linearly independent.

    `deviation` is the standard deviation, population, of the whole tensor, with filters as strong to each other as the
    formula makes them; or, with `per="filter"`, of every filter. `mean` is added to all values.

    Raises:
        PlanError: no such shape, a window below 3×3, or numbers that are not finite, or below 0.
        ConfigError: another `per`.

    >>> bank = make_gabor((7, 7, 3, 64), deviation=0.1)
    >>> bank.shape, round(float(bank.std()), 6), bool(abs(bank.mean()) < 1e-6)
    ((7, 7, 3, 64), 0.1, True)
    """
    if per not in _PER:
        raise ConfigError(f"a scale per {per!r}", f"one of {', '.join(_PER)}")
    if len(shape) != 4 or min(shape) < 1 or min(shape[:2]) < 3:
        size = "×".join(map(str, shape)) or "a scalar"
        raise PlanError(
            f"a Gabor bank of {size}",
            "height × width × inputs × filters, 3×3 or more",
            "the first convolution alone",
        )
    numbers_fit = math.isfinite(mean) and math.isfinite(deviation) and math.isfinite(aspect)
    if not numbers_fit or deviation < 0 or aspect <= 0:
        raise PlanError(
            f"mean {mean:g}, deviation {deviation:g}, aspect {aspect:g}",
            "finite numbers, the deviation 0 or more, the aspect above 0",
        )
    height, width, inputs, count = shape
    filters = np.stack([_make_filter(height, width, *place, aspect) for place in list_places(shape)], axis=-1)
    filters -= filters.mean(axis=(0, 1))
    axes = (0, 1) if per == "filter" else (0, 1, 2)
    found = filters.std(axis=axes, keepdims=True)
    filters *= deviation / found
    whole = np.broadcast_to(filters[:, :, None, :] + mean, (height, width, inputs, count))
    return np.ascontiguousarray(whole, np.float32)


def list_places(shape: tuple[int, ...]) -> list[tuple[float, float, float]]:
    """List orientation (radians), frequency (cycles per pixel) and phase (radians) of each filter, in order.

    >>> [(round(theta, 2), frequency, round(phase, 2)) for theta, frequency, phase in list_places((7, 7, 3, 64))][8:10]
    [(0.39, 0.08, 0.0), (0.39, 0.08, 1.57)]
    """
    side, count = min(shape[:2]), shape[-1]
    orientations = max(FEWEST_ORIENTATIONS, math.ceil(count / (FREQUENCIES * len(PHASES))))
    steps = min(FREQUENCIES, math.ceil(count / (orientations * len(PHASES))))
    lowest = CYCLES_ACROSS / side
    # A single frequency is the middle one, in octaves.
    shares = [0.5] if steps == 1 else [step / (steps - 1) for step in range(steps)]
    bank = [
        (math.pi * orientation / orientations, lowest * (HIGHEST_FREQUENCY / lowest) ** share, phase)
        for orientation in range(orientations)
        for share in shares
        for phase in PHASES
    ]
    return [bank[index * len(bank) // count] for index in range(count)]


def _make_filter(
    height: int, width: int, theta: float, frequency: float, phase: float, aspect: float
) -> np.ndarray:
    """Sample one filter at the window's pixels, in float64."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x - (width - 1) / 2, y - (height - 1) / 2
    across = x * math.cos(theta) + y * math.sin(theta)
    along = -x * math.sin(theta) + y * math.cos(theta)
    sigma = _ONE_OCTAVE / frequency
    envelope = np.exp(-(across**2 + (aspect * along) ** 2) / (2 * sigma**2))
    return np.asarray(envelope * np.cos(2 * math.pi * frequency * across + phase))
