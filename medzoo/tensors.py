"""Tensors as plain data: what one is called, how large it is, where its values can be read."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from medzoo.errors import PlanError, WeightsError, nearest

#: Values held in memory at once while measuring: 2**20 float64 values are 8 MB.
MEASURING_BLOCK = 2**20


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


@dataclass(frozen=True)
class Moments:
    """A tensor's mean and standard deviation over all its values (population, 1/n), in float64."""

    mean: float
    deviation: float


def measure_moments(values: np.ndarray) -> Moments:
    """Measure mean and population standard deviation of any array in float64, in two passes over blocks.

    The blocks have a fixed size and their sums are added exactly, so that the result does not depend on the
    memory layout or on how the values were read. An empty array has mean 0 and deviation 0.

    >>> measure_moments(np.array([1.0, 3.0]))
    Moments(mean=2.0, deviation=1.0)
    """
    flat = np.asarray(values).reshape(-1)
    if flat.size == 0:
        return Moments(0.0, 0.0)
    blocks = [slice(start, start + MEASURING_BLOCK) for start in range(0, flat.size, MEASURING_BLOCK)]
    mean = math.fsum(float(np.sum(flat[block].astype(np.float64))) for block in blocks) / flat.size
    squares = math.fsum(float(np.sum(np.square(flat[block].astype(np.float64) - mean))) for block in blocks)
    return Moments(mean, math.sqrt(squares / flat.size))


@dataclass(frozen=True)
class LazyTensor:
    """A tensor whose values stay in their file until `read` is called.

    `has_values` is False where only mean and deviation are known (a moments file): then `read` raises
    `WeightsError`, and planning refuses every method that needs values. `read_blocks`, where there is one, gives
    the same values as bytes, little-endian and in C order, block by block; a block is good until the next.
    """

    spec: TensorSpec
    read: Callable[[], np.ndarray]
    moments: Callable[[], Moments]
    has_values: bool = True
    read_blocks: Callable[[], Iterator[memoryview]] | None = None

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
    """Wrap a reading function; its moments are measured from the values when asked for."""
    return LazyTensor(spec, read, lambda: measure_moments(read()), read_blocks=read_blocks)


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
    """What must be filled: every tensor of a model, which layers feed each layer, and where each is stored.

    `feeds` gives, for each layer, the layers that supply its input channels (`INPUT` for the model's input);
    `storage` gives each tensor's path in a Keras `.weights.h5` file, and is empty where that is not known.
    `model`, `classes`, `channels`, `input_size` and `head` say how the network described is built; `model` is empty
    for any other network, `input_size` is 0 and `head` empty where they are the network's own. `left_out` are globs of
    tensors that the network it is derived from has and this one goes without.
    """

    tensors: Mapping[str, TensorSpec] = field(repr=False)
    feeds: Mapping[str, tuple[str, ...]] = field(repr=False)
    storage: Mapping[str, str] = field(repr=False)
    model: str = ""
    classes: int = 0
    channels: int = 0
    input_size: int = 0
    head: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The number of values in all tensors."""
        return sum(spec.size for spec in self.tensors.values())


#: The name under which `Target.feeds` lists the model's own input.
INPUT = "<input>"


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
