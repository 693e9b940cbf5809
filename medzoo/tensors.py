"""Tensors as plain data: what one is called, how large it is, where its values can be read."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from medzoo.errors import PlanError, WeightsError, nearest
from medzoo.moments import Moments as Moments
from medzoo.moments import has_window as has_window
from medzoo.moments import measure_covariance as measure_covariance
from medzoo.moments import measure_moments as measure_moments
from medzoo.wiring import INPUT as INPUT
from medzoo.wiring import Channels


class Role(StrEnum):
    """What a tensor does in its layer; decides which treatments make sense for it."""

    KERNEL = "kernel"
    BIAS = "bias"
    NORM_SCALE = "norm_scale"
    NORM_SHIFT = "norm_shift"
    MOVING_MEAN = "moving_mean"
    MOVING_VARIANCE = "moving_variance"
    TOKEN = "token"
    POSITION = "position"
    OTHER = "other"


_ROLE_OF_NAME = {
    "kernel": Role.KERNEL,
    "depthwise_kernel": Role.KERNEL,
    "pointwise_kernel": Role.KERNEL,
    "bias": Role.BIAS,
    "gamma": Role.NORM_SCALE,
    "beta": Role.NORM_SHIFT,
    "moving_mean": Role.MOVING_MEAN,
    "moving_variance": Role.MOVING_VARIANCE,
    "cls_token": Role.TOKEN,
    "class_token": Role.TOKEN,
    "distillation_token": Role.TOKEN,
    "pos_embed": Role.POSITION,
    "position_embedding": Role.POSITION,
    "relative_position_bias_table": Role.POSITION,
}


def role_of(name: str) -> Role:
    """Tell a tensor's role from the last part of its Keras path.

    >>> role_of("conv1_bn/gamma")
    <Role.NORM_SCALE: 'norm_scale'>
    """
    return _ROLE_OF_NAME.get(name.rsplit("/", 1)[-1].split("#")[0], Role.OTHER)


@dataclass(frozen=True)
class Initializer:
    """How a layer fills a fresh tensor, as plain data.

    `distribution` is constant, uniform, normal or truncated_normal; `mode` says what `scale` means: `fan_in`,
    `fan_out` and `fan_avg` are variance scaling (Keras's own formulas), `absolute` takes `scale` as the
    constant, the half-width or the standard deviation itself.
    """

    distribution: str
    scale: float
    mode: str = "absolute"


@dataclass(frozen=True)
class TensorSpec:
    """One tensor's name (its Keras path), shape, dtype and role, and how a fresh one is filled if known."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: Role
    initializer: Initializer | None = None

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)


def format_shape(shape: tuple[int, ...]) -> str:
    """Write a shape as people do.

    >>> format_shape((3, 3, 1, 24))
    '3×3×1×24'
    """
    return "×".join(map(str, shape)) or "scalar"


@dataclass(frozen=True)
class LazyTensor:
    """A tensor whose values stay in their file until `read` is called.

    `has_values` is False where only mean and deviation are known (a moments file): then `read` raises
    `WeightsError`, and planning refuses every method that needs values. `read_blocks`, where there is one, gives
    the same values as bytes, little-endian and in C order, block by block; a block is good until the next.
    `covariance`, where there is one, gives what `measure_covariance` gives of the values, read as a kernel in Keras's
    axis order; it belongs to the values as `read` gives them, so that whatever turns those must not pass it on.
    """

    spec: TensorSpec
    read: Callable[[], np.ndarray]
    moments: Callable[[], Moments]
    has_values: bool = True
    read_blocks: Callable[[], Iterator[memoryview]] | None = None
    covariance: Callable[[], np.ndarray] | None = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read the values, so that `np.asarray(tensor)` works."""
        del copy  # every read gives a new array
        values = self.read()
        return values if dtype is None else values.astype(dtype)


def lazy_tensor(
    spec: TensorSpec,
    read: Callable[[], np.ndarray],
    read_blocks: Callable[[], Iterator[memoryview]] | None = None,
) -> LazyTensor:
    """Wrap a reading function; its moments, and the covariance of a window, are measured when asked for.

    The shape alone tells a window: the role of what a file only numbers is known later than its values.
    """
    covariance = (lambda: measure_covariance(read())) if has_window(spec.shape) else None
    return LazyTensor(spec, read, lambda: measure_moments(read()), True, read_blocks, covariance)


@dataclass(frozen=True)
class Source(Mapping[str, LazyTensor]):
    """Unread weights: a mapping from Keras path to `LazyTensor`, and where they came from.

    `origin` is the source as typed, `digest` the SHA-256 of the file's bytes (computed when first asked for).
    `model` and `preprocessing` name the network and the input contract where a card or a run says them, else
    they are empty; `input_size` and `head` are how a run's network was built, else 0 and empty. `notes` say what
    a reader left out or turned round; `metadata` is the file's own text metadata. `storage` and `numbered` are
    those of a `.weights.h5`, see `medzoo.weights.contents`.
    """

    tensors: Mapping[str, LazyTensor] = field(repr=False)
    origin: str
    format: str
    dialect: str = "keras"
    measure_digest: Callable[[], str] = field(default=lambda: "", repr=False)
    model: str = ""
    preprocessing: str = ""
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    storage: Mapping[str, str] = field(default_factory=dict, repr=False)
    numbered: frozenset[str] = field(default=frozenset(), repr=False)
    input_size: int = 0
    head: str = ""

    def __getitem__(self, name: str) -> LazyTensor:
        """Give one tensor, unread.

        Raises:
            WeightsError: no tensor has that name.
        """
        try:
            return self.tensors[name]
        except KeyError:
            raise UnknownTensorError(
                f"{self.origin} holds no tensor {name!r}", nearest(name, self.tensors)
            ) from None

    def __contains__(self, name: object) -> bool:
        """Tell whether a tensor has that name; a refusal, with the nearest names, takes a thousand times as long."""
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        """Iterate over names in the file's order."""
        return iter(self.tensors)

    def __len__(self) -> int:
        """Count the tensors."""
        return len(self.tensors)

    @property
    def digest(self) -> str:
        """The SHA-256 of what the tensors are read from, as `sha256:<hex>`."""
        return self.measure_digest()


class UnknownTensorError(WeightsError, KeyError):
    """A tensor name that the source lacks; a KeyError too, as `Mapping.get` expects."""

    __str__ = Exception.__str__


def source_from_arrays(arrays: Mapping[str, np.ndarray], origin: str = "arrays") -> Source:
    """Make a source from arrays in memory, named by Keras paths.

    >>> source_from_arrays({"dense/bias": np.zeros(3, "float32")})["dense/bias"].spec.shape
    (3,)
    """
    tensors = {}
    for name, values in arrays.items():
        spec = TensorSpec(name, tuple(values.shape), str(values.dtype), role_of(name))
        tensors[name] = lazy_tensor(spec, lambda values=values: values)  # type: ignore[misc]

    def digest() -> str:
        total = hashlib.sha256()
        for name in sorted(arrays):
            total.update(f"{name}:{arrays[name].dtype}:{arrays[name].shape}:".encode())
            total.update(np.ascontiguousarray(arrays[name]).tobytes())
        return f"sha256:{total.hexdigest()}"

    return Source(tensors, origin, "arrays", measure_digest=digest)


@dataclass(frozen=True)
class Target:
    """What must be filled: every tensor of a model, which channels reach each layer, and where each is stored.

    `feeds` gives the channels that reach each layer with weights; `axes` what each axis of a tensor holds, in the
    letters of `medzoo.wiring.AXES`; `blocks` the equal blocks that a layer's own channels are made of, where they
    are: the heads of the attention that it feeds, the groups of the convolution that it feeds or is; `epsilons` those
    of norm layers. `followers` names the batch norm that alone reads what a layer makes of the image; a row's table
    goes without, as all of the catalogue's stems without bias are followed so. `storage` gives each tensor's path in a
    Keras `.weights.h5` file, and is empty where that is not known. `stages` names the stage of each tensor, for
    catalogue rows.
    `model`, `classes`, `channels`, `input_size` and `head` say how the network described is built; `model` is empty
    for any other network, `input_size` is 0 and `head` empty where they are the network's own. `left_out` are globs of
    tensors that the network it is derived from has and this one goes without.
    """

    tensors: Mapping[str, TensorSpec] = field(repr=False)
    feeds: Mapping[str, Channels] = field(repr=False)
    storage: Mapping[str, str] = field(repr=False)
    model: str = ""
    classes: int = 0
    channels: int = 0
    input_size: int = 0
    head: str = ""
    left_out: tuple[str, ...] = ()
    axes: Mapping[str, str] = field(default_factory=dict, repr=False)
    blocks: Mapping[str, int] = field(default_factory=dict, repr=False)
    epsilons: Mapping[str, float] = field(default_factory=dict, repr=False)
    followers: Mapping[str, str] = field(default_factory=dict, repr=False)
    stages: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """The number of values in all tensors."""
        return sum(spec.size for spec in self.tensors.values())


def cast_target(target: Target, dtype: str) -> Target:
    """Give a target whose floating tensors have another dtype.

    Raises:
        PlanError: another dtype than float32, float16 or bfloat16.
    """
    if dtype not in ("float32", "float16", "bfloat16"):
        raise PlanError(f"dtype {dtype!r}", "float32, float16 or bfloat16", "--dtype bfloat16")
    tensors = {
        name: replace(spec, dtype=dtype) if "float" in spec.dtype else spec
        for name, spec in target.tensors.items()
    }
    return replace(target, tensors=tensors)


def name_variables(model: Any) -> dict[str, Any]:
    """Give every weight of a Keras model its name: the Keras path, unique across the model.

    Works on anything with Keras's `.weights` and `.path`, so that no framework is imported here. Where two
    weights share a path (two nested models with equal inner names), their order is appended: `path#2`.
    Seed-generator states are not weights.

    Raises:
        PlanError: the model has no weights yet, because it was not built.
    """
    named: dict[str, Any] = {}
    prefix = f"{model.name}/"
    if not getattr(model, "built", True) or not model.weights:
        raise PlanError(
            f"model {model.name!r} has no weights yet", "a built model", "model.build(input_shape) first"
        )
    # A Sequential model puts its own name before its layers' paths, a functional one does not.
    is_sequential = any(kind.__name__ == "Sequential" for kind in type(model).__mro__)
    for variable in model.weights:
        path = variable.path.removeprefix(prefix) if is_sequential else variable.path
        name, repeat = path, 1
        while name in named:
            repeat += 1
            name = f"{path}#{repeat}"
        named[name] = variable
    return named
