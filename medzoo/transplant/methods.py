"""Ways to treat one tensor: a function each, found by name in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from medzoo.errors import ConfigError, nearest
from medzoo.specs import Scalar
from medzoo.tensors import LazyTensor, Role, TensorSpec
from medzoo.transplant.draws import draw_initial, draw_normal

#: (target, source or None, seed, options) → values, at the source's shape if there is one.
Treatment = Callable[[TensorSpec, "LazyTensor | None", int, Mapping[str, Scalar]], np.ndarray]


@dataclass(frozen=True)
class Method:
    """A treatment, the roles it accepts, what it needs of the source (`values`, `moments` or `nothing`)."""

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


_ALL = frozenset(Role)


@method("copy", accepts=_ALL, needs="values")
def copy(
    target: TensorSpec, source: LazyTensor | None, seed: int, options: Mapping[str, Scalar]
) -> np.ndarray:
    """Take the source's values as they are."""
    return np.asarray(source)


# A drawn moving variance could be negative; tokens and positions carry structure: neither is ever resampled.
@method("resample", accepts=frozenset({Role.KERNEL, Role.BIAS}), needs="moments")
def resample(
    target: TensorSpec, source: LazyTensor | None, seed: int, options: Mapping[str, Scalar]
) -> np.ndarray:
    """Draw i.i.d. from a normal with the source tensor's mean and variance (Mean-Var, Raghu et al. 2019).

    The draw has the source's shape, so that a weights file and its moments file give the same tensors.
    """
    assert source is not None
    moments = source.moments()
    return draw_normal(seed, target.name, source.spec.shape, moments.mean, moments.deviation)


@method("fresh", accepts=_ALL, needs="nothing")
def fresh(
    target: TensorSpec, source: LazyTensor | None, seed: int, options: Mapping[str, Scalar]
) -> np.ndarray:
    """Fill as the layer's own initializer would: Glorot kernels, zero biases, neutral norms."""
    assert target.initializer is not None
    how = target.initializer
    return draw_initial(seed, target.name, target.shape, how.distribution, how.scale, how.mode)


@method("keep", accepts=_ALL, needs="nothing")
def keep(
    target: TensorSpec, source: LazyTensor | None, seed: int, options: Mapping[str, Scalar]
) -> np.ndarray:
    """Leave a live model's own values; never called, since `run` yields nothing for such a step."""
    raise AssertionError(f"{target.name} is kept")
