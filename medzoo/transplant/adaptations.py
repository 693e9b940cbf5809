"""What brings a treated tensor to the target's shape, whatever the method: decided while planning, done in order.

The order is: inflation to 3-D, resizing of positions and patches, kept channels, input channels, classes, noise,
scale, dtype. A step's options and ranges say which of them it takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medzoo.errors import ConfigError, PlanError
from medzoo.specs import Scalar, find_preprocessing
from medzoo.tensors import Role, Source, TensorSpec
from medzoo.transplant.channels import PICKS
from medzoo.transplant.draws import draw_initial, draw_normal
from medzoo.transplant.inflation import WAYS, inflate
from medzoo.transplant.input_channels import (
    HOWS,
    adapt_channels,
    fold_contract,
    map_channels,
    read_channel_map,
)
from medzoo.transplant.ranges import divide_repeats, take_ranges
from medzoo.transplant.resizing import resize_patches, resize_positions, resize_table

HEAD_WAYS = ("fresh", "zero", "copy")
INTERPOLATIONS = ("bicubic", "bilinear")


@dataclass(frozen=True)
class Adaptations:
    """How shapes are brought together; the defaults are what a plain copy does.

    `pick` chooses among channels where widths differ (`first`, `even`, `widen`; empty refuses), `noise` is what
    breaks the symmetry of repeated ones, in deviations of the tensor. `channels` says how the first kernel follows
    from one for other input channels: a way of `input_channels.HOWS`, or a map such as `0:R,1:G`; `fold` whether the
    difference between the contracts of the channels is folded in. `inflate` fills 3-D kernels from 2-D ones. `head`
    overrides how the head is filled, `classes` maps the target's classes to the source's (`0:207,1:208`).
    `interpolation` and `antialias` are those of positions and patches.
    """

    pick: str = ""
    noise: float = 0.0
    channels: str = "sum"
    fold: bool = True
    inflate: str = ""
    head: str = ""
    classes: str = ""
    interpolation: str = "bicubic"
    antialias: bool = True

    def __post_init__(self) -> None:
        """Refuse words that are none.

        Raises:
            ConfigError: the allowed ones are named.
        """
        check_word("--pick", self.pick, PICKS, not self.pick)
        check_word("--channel-mode", self.channels, HOWS, ":" in self.channels)
        check_word("--inflate", self.inflate, WAYS, not self.inflate)
        check_word("--head-weights", self.head, HEAD_WAYS, not self.head)
        check_word("--interpolation", self.interpolation, INTERPOLATIONS)
        if not 0 <= self.noise < math.inf:
            raise ConfigError(f"noise {self.noise}", "0 or more", "--noise 0.01")


def check_word(option: str, value: str, allowed: tuple[str, ...], is_fine: bool = False) -> None:
    """Refuse a word that is not among the allowed ones."""
    if value not in allowed and not is_fine:
        raise ConfigError(f"{option} {value}", f"one of {', '.join(allowed)}", f"{option} {allowed[0]}")


#: What a plain copy does.
PLAIN = Adaptations()


def adapt(
    values: np.ndarray,
    target: TensorSpec,
    options: Mapping[str, Scalar],
    ranges: tuple[str, ...],
    source: Source,
    seed: int,
) -> np.ndarray:
    """Bring treated values to the target's shape and scale, as a step's options and ranges say.

    Raises:
        PlanError: sizes that cannot be brought together.
    """
    if "inflate" in options:
        values = inflate(values, (target.shape[0], *values.shape), str(options["inflate"]))
    if "resize" in options:
        values = _resize(values, target, options)
    if ranges:
        sizes = values.shape
        values = take_ranges(values, ranges)
        if "shared" in options:
            axis = int(options["shared"])
            values = divide_repeats(values, ranges[axis], sizes[axis], axis)
    if "channels" in options:
        values = _adapt_input(values, target, options)
    if "shift_of" in options:
        values = _shift(values, target, options, source)
    if "classes" in options:
        values = _map_classes(values, target, options, seed)
    if "noise" in options:
        deviation = float(options["noise"]) * float(values.std(dtype=np.float64))
        values = values + draw_normal(seed, f"{target.name}:noise", values.shape, 0.0, deviation)
    if "scale" in options:
        values = values * np.float32(options["scale"])
    return values


def _resize(values: np.ndarray, target: TensorSpec, options: Mapping[str, Scalar]) -> np.ndarray:
    """Resize position embeddings, tables of relative positions, or the kernel of patches."""
    how, antialias = str(options["resize"]), bool(options.get("antialias", True))
    if target.role is Role.KERNEL:
        return resize_patches(values, (target.shape[0], target.shape[1]), how, antialias)
    if len(target.shape) == 2:
        return resize_table(values, target.shape[0], how, antialias)
    return resize_positions(values, target.shape[1], int(options.get("prefix", 0)), how, antialias)


def _adapt_input(values: np.ndarray, target: TensorSpec, options: Mapping[str, Scalar]) -> np.ndarray:
    """Turn a first kernel into one for the target's input channels."""
    how, order = str(options["channels"]), str(options.get("order", "rgb"))
    if ":" in how:
        return map_channels(values, read_channel_map(how, values.shape[-2], order))
    if "fold" in options:
        return _fold(values, options)[0]
    return adapt_channels(values, target.shape[-2], how, order)


def _fold(values: np.ndarray, options: Mapping[str, Scalar]) -> tuple[np.ndarray, np.ndarray]:
    """Sum a first kernel over channels of one contract for a grey image under the mean of its numbers."""
    contract = find_preprocessing(str(options["fold"]))
    return fold_contract(values, *contract.for_channels(values.shape[-2]), *contract.for_channels(1))


def _shift(
    values: np.ndarray, target: TensorSpec, options: Mapping[str, Scalar], source: Source
) -> np.ndarray:
    """Add what folding the contract leaves over to a bias, or take it from the mean that a norm subtracts."""
    kernel = np.asarray(source[str(options["shift_of"])])
    shift = _fold(kernel, options)[1]
    sign = 1.0 if target.role is Role.BIAS else -1.0
    return np.asarray(values.astype(np.float64) + sign * shift, values.dtype)


def read_classes(text: str, classes: int, given: int) -> dict[int, int]:
    """Read a map of the target's classes to the source's: `0:207,1:208`.

    Raises:
        PlanError: no such text, a class beyond either head, or one given twice.

    >>> read_classes("0:7,2:1", 3, 10)
    {0: 7, 2: 1}
    """
    pairs: dict[int, int] = {}
    for part in text.split(","):
        ends = part.split(":")
        if len(ends) != 2 or not all(end.strip().isdecimal() for end in ends):
            raise PlanError(f"classes {text[:60]!r}", "pairs TARGET:SOURCE", "--classes-map 0:207,1:208")
        mine, theirs = (int(end) for end in ends)
        if mine >= classes or theirs >= given or mine in pairs:
            raise PlanError(
                f"class {part!r} of a map",
                f"each of 0 to {classes - 1} at most once, to one of 0 to {given - 1} of the source",
                "--classes-map 0:207,1:208",
            )
        pairs[mine] = theirs
    return pairs


def _map_classes(
    values: np.ndarray, target: TensorSpec, options: Mapping[str, Scalar], seed: int
) -> np.ndarray:
    """Take the head's columns of the classes that are mapped; the others start afresh."""
    pairs = read_classes(str(options["classes"]), target.shape[-1], values.shape[-1])
    how = target.initializer
    assert how is not None
    mapped = draw_initial(seed, target.name, target.shape, how.distribution, how.scale, how.mode)
    mapped[..., list(pairs)] = values[..., list(pairs.values())]
    return mapped
