"""Architectures as plain data: a name, options, stages from bottom to top."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from medzoo.errors import ConfigError, nearest

#: The stage that every catalogue row ends with, and the name of its one layer with weights.
HEAD = "head"

Scalar = str | int | float | bool


@dataclass(frozen=True)
class Stage:
    """A named part of a network: the layers in it, the layer whose output leaves it, the blocks within it.

    `layers` is one or more globs joined by `|`: `"conv1_*|pool1_*"`.
    """

    name: str
    layers: str
    output: str
    blocks: tuple[Stage, ...] = ()

    def holds(self, layer: str) -> bool:
        """Tell whether a layer belongs to this stage.

        >>> Stage("conv1", "conv1_*|pool1_*", "pool1_pool").holds("conv1_bn")
        True
        """
        return any(fnmatchcase(layer, pattern) for pattern in self.layers.split("|"))


@dataclass(frozen=True)
class Preprocessing:
    """The numbers that a network was trained on, as a map of 8-bit pixel values.

    Channels are put in `order`, then x′ = x·scale[channel] + offset[channel]. A network with one input channel
    takes the means of both.
    """

    name: str
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    order: str = "rgb"


#: "tf", "caffe" and "torch" are the modes of keras.applications (`imagenet_utils.preprocess_input`); "torch" is
#: (x/255 − mean) / standard deviation over ImageNet, torchvision's too. "unit" is x/255, "raw" is x as it is.
PREPROCESSINGS: Mapping[str, Preprocessing] = {
    "tf": Preprocessing("tf", (1 / 127.5, 1 / 127.5, 1 / 127.5), (-1.0, -1.0, -1.0)),
    "caffe": Preprocessing("caffe", (1.0, 1.0, 1.0), (-103.939, -116.779, -123.68), "bgr"),
    "torch": Preprocessing(
        "torch",
        (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
        (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225),
    ),
    "unit": Preprocessing("unit", (1 / 255, 1 / 255, 1 / 255), (0.0, 0.0, 0.0)),
    "raw": Preprocessing("raw", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
}


def find_preprocessing(name: str) -> Preprocessing:
    """Find an input contract by name.

    Raises:
        ConfigError: no contract has that name; the nearest names are given.

    >>> find_preprocessing("unit").offset
    (0.0, 0.0, 0.0)
    """
    if name not in PREPROCESSINGS:
        raise ConfigError(f"unknown input contract {name!r}", f"one of {', '.join(PREPROCESSINGS)}")
    return PREPROCESSINGS[name]


@dataclass(frozen=True)
class ModelSpec:
    """One row of the catalogue: a network by name, family, options and stages, bottom-up."""

    name: str
    family: str
    options: Mapping[str, Scalar]
    stages: tuple[Stage, ...]
    input_size: int
    smallest_input: int
    preprocessing: Preprocessing = field(default=PREPROCESSINGS["tf"])


def check_input_size(spec: ModelSpec, size: int) -> None:
    """Refuse an input of size×size pixels that the network's strides would reduce to nothing.

    Raises:
        ConfigError: the least size is named.
    """
    if size < spec.smallest_input:
        raise ConfigError(
            f"an input of {size}×{size} pixels is too small for {spec.name}",
            f"{spec.smallest_input} or more",
            f"--image-size {spec.smallest_input}",
        )


def find_stage(stages: Sequence[Stage], name: str) -> tuple[tuple[Stage, ...], tuple[Stage, ...]]:
    """Split stages at the last one kept: those up to and including `name`, and those above it.

    `name` may be a stage or a block within one; the blocks of that stage above it then count as above.

    Raises:
        ConfigError: no stage or block has that name; the nearest names are given.

    >>> below, above = find_stage((Stage("a", "a_*", "a_out"), Stage("head", "head", "head")), "a")
    >>> [stage.name for stage in below], [stage.name for stage in above]
    (['a'], ['head'])
    """
    for index, stage in enumerate(stages):
        if stage.name == name:
            return tuple(stages[: index + 1]), tuple(stages[index + 1 :])
        for position, block in enumerate(stage.blocks):
            if block.name == name:
                below = (*stages[:index], *stage.blocks[: position + 1])
                return below, (*stage.blocks[position + 1 :], *stages[index + 1 :])
    known = [part.name for stage in stages for part in (stage, *stage.blocks)]
    raise ConfigError(f"no stage {name!r} in this network", nearest(name, known))


def name_stage(stages: Iterable[Stage], layer: str) -> str:
    """Name the stage that holds a layer, or give an empty string."""
    return next((stage.name for stage in stages if stage.holds(layer)), "")
