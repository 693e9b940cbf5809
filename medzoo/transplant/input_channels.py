"""Input channels: how a kernel that reads the image becomes one for other channels, or for other numbers in them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medzoo.errors import ConfigError, PlanError, nearest

#: Ways to bring a kernel to another number of input channels.
HOWS = ("sum", "mean", "first", "luminance", "tile")

#: What red, green and blue add to a grey value (ITU-R BT.601); their sum is 1.
LUMINANCE = {"r": 0.299, "g": 0.587, "b": 0.114}

#: Orders that a network's three channels may have.
ORDERS = ("rgb", "bgr")

#: A map of more target channels than this is a mistake, not a network.
_MOST_CHANNELS = 4096


def adapt_channels(kernel: np.ndarray, channels: int, how: str = "sum", order: str = "rgb") -> np.ndarray:
    """Turn a kernel (…, C, filters) into one for `channels` = n input channels; the same number changes nothing.

    `w_c` is the slice of source channel c; sums are in float64, the result has the kernel's dtype.

    - `sum`, timm's rule: one channel gets Σ w_c, which answers a grey image as the kernel did its C copies; n channels
      get the slices in order, repeated, cut to n and multiplied by C/n, which keeps the scale of what follows.
    - `mean`: every channel gets the mean of the w_c; one channel answers a grey image with 1/C of what `sum` gives.
    - `first`: the slices in order, repeated and cut, as they are: one channel gets w_0, red where the order is RGB
      (Matsoukas et al. 2022).
    - `luminance`: every channel gets Σ l_c·w_c·C/n, with l_c the share of red, green or blue in a grey value. Σ l_c is
      1, so that one channel answers a grey image as `sum` does where the slices are equal, and leans towards the green
      slice where they are not. `order` says where the three are.
    - `tile`: the slices repeated, cut and multiplied by C/n: `sum`, but for one channel, which gets C·w_0.

    Raises:
        ConfigError: another way, or another order.
        PlanError: no channels, or luminance of other than three source channels.

    >>> [adapt_channels(np.array([[2.0], [3.0], [4.0]]), 1, how).item() for how in ("sum", "mean", "first", "tile")]
    [9.0, 3.0, 2.0, 6.0]
    """
    if how not in HOWS:
        raise ConfigError(f"input channels {how!r}", nearest(how, HOWS))
    _check_order(order)
    if kernel.ndim < 2 or channels < 1 or kernel.shape[-2] < 1:
        raise PlanError(
            f"a kernel of {kernel.ndim} axes for {channels} input channels",
            "one channel or more",
            "--channels 1",
        )
    count = kernel.shape[-2]
    if channels == count:
        return kernel
    if how == "luminance" and count != len(LUMINANCE):
        raise PlanError(
            f"luminance of {count} source channels", "3, red, green and blue", "the channels' sum or mean"
        )
    values = kernel.astype(np.float64)
    if how == "sum" and channels == 1:
        adapted = values.sum(axis=-2, keepdims=True)
    elif how == "mean":
        adapted = np.repeat(values.mean(axis=-2, keepdims=True), channels, axis=-2)
    elif how == "luminance":
        weights = np.array([LUMINANCE[letter] for letter in order]) * (count / channels)
        adapted = np.repeat((values * weights[:, None]).sum(axis=-2, keepdims=True), channels, axis=-2)
    else:
        adapted = values[..., np.arange(channels) % count, :]
        if how != "first":
            adapted = adapted * (count / channels)
    return np.asarray(adapted, kernel.dtype)


def map_channels(kernel: np.ndarray, sources: Sequence[int]) -> np.ndarray:
    """Give target channel i the slice of source channel `sources[i]` of a kernel (…, C, filters), unscaled.

    >>> map_channels(np.array([[2.0], [3.0], [4.0]]), (0, 0, 1)).ravel().tolist()
    [2.0, 2.0, 3.0]
    """
    return np.take(kernel, np.asarray(sources, np.intp), axis=-2)


def read_channel_map(text: str, source_channels: int, order: str = "rgb") -> tuple[int, ...]:
    """Read a map such as `"0:R,1:R,2:G"`: for each target channel from 0 on, the source channel whose slice it gets.

    Source channels are numbers from 0 on, or, where there are three, R, G and B, whose numbers follow from `order`: the
    order in which the source's network takes them. A source channel may be given several times, or never; each target
    channel once.

    Raises:
        PlanError: no such map, a target channel that is missing or given twice, or a source channel that is not there.
        ConfigError: another order.

    >>> read_channel_map("0:R,1:R,2:G", 3), read_channel_map("1:0, 0:B", 3, "bgr")
    ((0, 0, 1), (0, 0))
    """
    _check_order(order)
    chosen: dict[int, int] = {}
    for part in text.split(","):
        target_text, colon, source_text = (piece.strip() for piece in part.partition(":"))
        target = _read_number(target_text)
        if not colon or target is None or target >= _MOST_CHANNELS:
            raise PlanError(f"channel map entry {part.strip()[:40]!r}", "TARGET:SOURCE", '"0:R,1:R,2:G"')
        if target in chosen:
            raise PlanError(
                f"the channel map gives target channel {target} twice", "each target channel once"
            )
        chosen[target] = _find_source(source_text, source_channels, order)
    missing = next((channel for channel in range(len(chosen)) if channel not in chosen), None)
    if missing is not None:
        raise PlanError(
            f"the channel map leaves out target channel {missing}",
            f"all of 0 to {max(chosen)}",
            f"to add {missing}:0",
        )
    return tuple(chosen[channel] for channel in range(len(chosen)))


def _find_source(text: str, count: int, order: str) -> int:
    """Find the number of a source channel that is written as a number or a letter.

    Raises:
        PlanError: the source has no such channel.
    """
    letter = text.lower()
    number = order.index(letter) if len(letter) == 1 and letter in order else _read_number(text)
    if number is not None and letter in order and count != len(order):
        raise PlanError(
            f"source channel {text!r} of {count}",
            f"R, G and B of three channels, or 0 to {count - 1}",
            f'"0:{count - 1}"',
        )
    if number is None or number >= count:
        letters = ", or R, G or B" if count == len(order) else ""
        raise PlanError(
            f"the channel map asks for source channel {text[:40]!r}, and the source has {count}",
            f"0 to {count - 1}{letters}",
        )
    return number


def _read_number(text: str) -> int | None:
    """Read a short whole number of ASCII digits; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None


def _check_order(order: str) -> None:
    """Refuse an order of channels that no contract has.

    Raises:
        ConfigError: it is none.
    """
    if order not in ORDERS:
        raise ConfigError(f"channel order {order!r}", f"one of {', '.join(ORDERS)}")


def fold_contract(
    kernel: np.ndarray,
    scale_from: Sequence[float],
    offset_from: Sequence[float],
    scale_to: Sequence[float],
    offset_to: Sequence[float],
) -> tuple[np.ndarray, np.ndarray]:
    """Fold input normalisation into a kernel (…, C, filters) that was trained on x = pixel·scale_from + offset_from.

    Gives the kernel for x′ = pixel·scale_to + offset_to, in the kernel's dtype, and a shift for each filter, float64,
    such that conv(x) = conv′(x′) + shift. `scale_from` and `offset_from` have a number for each of the C channels;
    `scale_to` and `offset_to` have C as well, channel by channel, or one: then x′ is a grey image, the kernel has one
    channel, and x is the same pixels in all C channels. With x_c = (s_c/t)·x′ + (o_c − u·s_c/t), the kernel is
    w_c·s_c/t, summed over c for a grey image, and the shift Σ w_c·(o_c − u·s_c/t) over window and channels.

    The shift is to be added to the layer's bias or, where a batch norm follows directly, subtracted from its moving
    mean. A kernel that is standardised before use (BiT's) undoes any scale: nothing can be folded into it.

    It holds wherever the window lies within the image. Zero padding puts x = 0 beyond the border before and x′ = 0
    after, which is the same pixel value only where o_c/s_c = u/t; elsewhere, outputs whose window reaches beyond the
    border differ, as no bias can make up for it there.

    Raises:
        PlanError: numbers that are not finite, a scale of 0, or counts that fit neither case.

    >>> weights = np.ones((1, 1, 3, 1))
    >>> folded, shift = fold_contract(weights, (1.0, 1.0, 1.0), (-1.0, -2.0, -3.0), (0.5,), (0.0,))
    >>> folded.item(), shift.item()
    (6.0, -6.0)
    """
    numbers = [np.asarray(given, np.float64) for given in (scale_from, offset_from, scale_to, offset_to)]
    s, o, t, u = numbers
    count = kernel.shape[-2] if kernel.ndim >= 2 else 0
    sizes = [given.size for given in numbers]
    if not count or sizes[:2] != [count, count] or sizes[2] != sizes[3] or sizes[2] not in (1, count):
        raise PlanError(
            f"contracts of {sizes[0]} and {sizes[2]} channels for a kernel of {count}",
            f"{count} and {count}, or {count} and 1" if count else "a kernel with input channels",
        )
    if not all(np.isfinite(given).all() for given in numbers) or not (np.all(s) and np.all(t)):
        raise PlanError(
            "an input contract whose numbers are not finite, or with a scale of 0", "x·scale + offset"
        )
    ratio = s / t
    values = kernel.astype(np.float64)
    folded = values * ratio[:, None]
    if t.size == 1 < count:
        folded = folded.sum(axis=-2, keepdims=True)
    sums = values.reshape(math.prod(kernel.shape[:-2]), *kernel.shape[-2:]).sum(axis=0)
    shift = (sums * (o - u * ratio)[:, None]).sum(axis=0)
    return np.asarray(folded, kernel.dtype), shift
