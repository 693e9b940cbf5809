"""Ways to treat one tensor: a function each, found by name in one table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from medzoo.errors import ConfigError, nearest
from medzoo.specs import Scalar
from medzoo.tensors import LazyTensor, Role, TensorSpec
from medzoo.transplant.covariance import draw_filters, resize_covariance
from medzoo.transplant.draws import block_generator, draw_initial, draw_normal
from medzoo.transplant.gabor import make_gabor

#: (target, source or None, seed, options) → values, at the source's shape if there is one.
Treatment = Callable[[TensorSpec, "LazyTensor | None", int, Mapping[str, Scalar]], np.ndarray]

#: What a method needs of the source: its values; its mean and deviation; those and its filters' covariance; nothing.
NEEDS = ("values", "moments", "covariance", "nothing")


@dataclass(frozen=True)
class Method:
    """A treatment, the roles it accepts, what it needs of the source (one of `NEEDS`)."""

    name: str
    accepts: frozenset[Role]
    needs: str
    treat: Treatment


METHODS: dict[str, Method] = {}


def method(name: str, accepts: frozenset[Role], needs: str) -> Callable[[Treatment], Treatment]:
    """Enter a function into the table of methods."""

    def enter(treat: Treatment) -> Treatment:
        METHODS[name] = Method(name, accepts, needs, treat)
        return treat

    return enter


def find_method(name: str) -> Method:
    """Find a method by name.

    Raises:
        ConfigError: no method has that name.
    """
    if name not in METHODS:
        raise ConfigError(f"unknown method {name!r}", nearest(name, METHODS))
    return METHODS[name]


def lacks_values(name: str, source: LazyTensor | None) -> bool:
    """Tell whether a method needs values of a tensor of which the source holds moments only."""
    return find_method(name).needs == "values" and source is not None and not source.has_values


def find_obstacle(name: str, target: TensorSpec, source: LazyTensor | None, depthwise: bool = False) -> str:
    """Say why a method cannot treat a tensor with what the source holds of it; empty where it can.

    >>> find_obstacle("zero", TensorSpec("a/moving_variance", (3,), "float32", Role.MOVING_VARIANCE), None)
    'zero cannot treat a moving_variance'
    """
    found = find_method(name)
    if target.role not in found.accepts:
        return f"{name} cannot treat a {target.role}"
    if name == "identity" and target.role is Role.KERNEL:
        if len(target.shape) < 2:
            return "identity cannot fill a kernel of fewer than two axes"
        before, after = target.shape[-2:]
        if depthwise:  # (…, channels, filters of each), or groups of one: (…, 1, channels)
            before, after = 1, 1 if before == 1 else after
        if before != after:
            return f"identity cannot turn {before} channels into {after}"
    if found.needs == "nothing":
        return ""
    if source is None:
        return "the source has no such tensor"
    given = source.spec.shape
    if name == "gabor" and (len(given) != 4 or min(given[:2]) < 3):
        return "gabor needs a convolution of 3×3 or more"
    if found.needs == "covariance":
        if len(given) != 4 or max(given[:2]) < 2:
            return f"{name} needs filters of 2×2 or more"
        if source.covariance is None:
            return f"{name} needs its filters' covariance, which the source does not hold"
    return ""


_ALL = frozenset(Role)
# A drawn moving variance could be negative, and of an unknown tensor nobody knows what a draw would do.
_DRAWN = _ALL - {Role.MOVING_VARIANCE, Role.OTHER}


@method("copy", accepts=_ALL, needs="values")
def copy(
    target: TensorSpec, source: LazyTensor | None, seed: int, options: Mapping[str, Scalar]
) -> np.ndarray:
    """Take the source's values as they are."""
    return np.asarray(source)


@method("resample", accepts=_DRAWN, needs="moments")
def resample(
    target: TensorSpec, source: LazyTensor | None, seed: int, options: Mapping[str, Scalar]
) -> np.ndarray:
    """Draw i.i.d. from a normal with the source tensor's mean and variance (Mean-Var, Raghu et al. 2019).

    The draw has the source's shape, so that a weights file and its moments file give the same tensors. `ddof=1`
    takes the deviation with n − 1 (Matsoukas et al. 2022); `exact` standardises the draw, so that its own mean and
    deviation are the source's and not only their expectation.
    """
    assert source is not None
    moments, size = source.moments(), source.spec.size
    deviation = moments.deviation
    if options.get("ddof") == 1:
        deviation = deviation * math.sqrt(size / (size - 1)) if size > 1 else 0.0
    if not options.get("exact"):
        return draw_normal(seed, target.name, source.spec.shape, moments.mean, deviation)
    values = draw_normal(seed, target.name, source.spec.shape, 0.0, 1.0).astype(np.float64)
    values -= values.mean() if size else 0.0
    spread = float(np.sqrt(np.square(values).mean())) if size else 0.0
    values *= deviation / spread if spread else 0.0
    return np.asarray(values + moments.mean, np.float32)


@method("shuffle", accepts=_DRAWN, needs="values")
def shuffle(
    target: TensorSpec, source: LazyTensor | None, seed: int, options: Mapping[str, Scalar]
) -> np.ndarray:
    """Put the source's values in a random order (Matsoukas et al. 2022, their code's other sampler)."""
    values = np.asarray(source)
    order = block_generator(seed, target.name, 0).permutation(values.size)
    return values.reshape(-1)[order].reshape(values.shape)


@method("bootstrap", accepts=_DRAWN, needs="values")
def bootstrap(
    target: TensorSpec, source: LazyTensor | None, seed: int, options: Mapping[str, Scalar]
) -> np.ndarray:
    """Draw from the source's values with replacement (Matsoukas et al. 2022, their code's other sampler)."""
    values = np.asarray(source)
    drawn = block_generator(seed, target.name, 0).integers(0, max(values.size, 1), values.size)
    return values.reshape(-1)[drawn].reshape(values.shape)


@method("mean", accepts=_ALL, needs="moments")
def mean(
    target: TensorSpec, source: LazyTensor | None, seed: int, options: Mapping[str, Scalar]
) -> np.ndarray:
    """Fill with the mean of the source's values: what stands for a variance where the others are drawn."""
    assert source is not None
    return np.full(source.spec.shape, source.moments().mean, np.float32)


@method("covariance", accepts=frozenset({Role.KERNEL}), needs="covariance")
def covariance(
    target: TensorSpec, source: LazyTensor | None, seed: int, options: Mapping[str, Scalar]
) -> np.ndarray:
    """Draw filters from a normal with the spatial covariance of the source's (Trockman et al. 2023).

    A target of another filter size takes the covariance resized by blocks.
    """
    assert source is not None
    assert source.covariance is not None
    matrix, size, window = source.covariance(), source.spec.shape[:2], target.shape[-4:-2]
    if window != size:
        matrix = resize_covariance(matrix, size, window)
    return draw_filters(seed, target.name, (*window, *source.spec.shape[2:]), matrix)


@method("gabor", accepts=frozenset({Role.KERNEL}), needs="moments")
def gabor(
    target: TensorSpec, source: LazyTensor | None, seed: int, options: Mapping[str, Scalar]
) -> np.ndarray:
    """Fill a first convolution with Gabor filters at the source's scale (Raghu et al. 2019)."""
    assert source is not None
    return make_gabor(source.spec.shape, source.moments().deviation)


@method("fresh", accepts=_ALL, needs="nothing")
def fresh(
    target: TensorSpec, source: LazyTensor | None, seed: int, options: Mapping[str, Scalar]
) -> np.ndarray:
    """Fill as the layer's own initializer would: Glorot kernels, zero biases, neutral norms."""
    assert target.initializer is not None
    how = target.initializer
    return draw_initial(seed, target.name, target.shape, how.distribution, how.scale, how.mode)


@method("zero", accepts=_ALL - {Role.MOVING_VARIANCE}, needs="nothing")
def zero(
    target: TensorSpec, source: LazyTensor | None, seed: int, options: Mapping[str, Scalar]
) -> np.ndarray:
    """Fill with zeros."""
    return np.zeros(target.shape, np.float32)


@method("identity", accepts=_ALL - {Role.TOKEN, Role.POSITION, Role.OTHER}, needs="nothing")
def identity(
    target: TensorSpec, source: LazyTensor | None, seed: int, options: Mapping[str, Scalar]
) -> np.ndarray:
    """Fill a layer so that it gives on what it gets (Net2DeeperNet, Chen et al. 2016).

    Kernels are 1 at their centre from each channel to itself; a norm's scale is √(1 + epsilon), which undoes what
    its moving statistics, 0 and 1, would do. Of a norm without a scale the variance is 1 − epsilon.
    """
    if target.role is not Role.KERNEL:
        epsilon = float(options.get("epsilon", 0.0))
        constants = {Role.NORM_SCALE: math.sqrt(1 + epsilon), Role.MOVING_VARIANCE: 1 - epsilon}
        return np.full(target.shape, constants.get(target.role, 0.0), np.float32)
    values = np.zeros(target.shape, np.float32)
    centre = tuple((size - 1) // 2 for size in target.shape[:-2])
    values[centre] = 1.0 if options.get("depthwise") else np.eye(target.shape[-1], dtype=np.float32)
    return values


@method("keep", accepts=_ALL, needs="nothing")
def keep(
    target: TensorSpec, source: LazyTensor | None, seed: int, options: Mapping[str, Scalar]
) -> np.ndarray:
    """Leave a live model's own values; never called, since `run` yields nothing for such a step."""
    raise AssertionError(f"{target.name} is kept")
