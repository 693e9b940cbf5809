"""Architectures as plain data: a name, options, stages from bottom to top."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from medzoo.contracts import PREPROCESSINGS as PREPROCESSINGS
from medzoo.contracts import Preprocessing as Preprocessing
from medzoo.contracts import find_preprocessing as find_preprocessing
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
class ModelSpec:
    """A network by name, family, options and stages, bottom-up: a row of the catalogue, or one derived from it.

    `heads` are the kinds of head that it can have, its own first. Both sides of an input are `smallest_input`
    or more and multiples of `multiple`. Tensors of a network whose `sized` is true follow the input's size.
    """

    name: str
    family: str
    options: Mapping[str, Scalar]
    stages: tuple[Stage, ...]
    input_size: int
    smallest_input: int
    preprocessing: Preprocessing = field(default=PREPROCESSINGS["tf"])
    heads: tuple[str, ...] = ("gap", "flatten", "none")
    multiple: int = 1
    sized: bool = False

    @property
    def row(self) -> str:
        """The name of the catalogue row that this network is, or is derived from.

        Weights are published for rows: `resnet50@conv3` takes those of `resnet50`.
        """
        return re.split("[+@]", self.name, maxsplit=1)[0]

    @property
    def is_cut(self) -> bool:
        """Whether the network ends after one of its row's stages."""
        return "@" in self.name


#: TensorFlow's graphs refuse these signs in names: what stands for each in a Keras model's.
_SIGNS = (("@", ".at."), ("+", ".with."), ("=", ".is."), (":", ".by."))


def write_network_name(name: str) -> str:
    """Write the name of a row or of a derived network as a Keras model can have it.

    >>> write_network_name("resnet50+slim=conv3:2@conv4_block4")
    'resnet50.with.slim.is.conv3.by.2.at.conv4_block4'
    """
    for sign, word in _SIGNS:
        name = name.replace(sign, word)
    return name


def read_network_name(name: str) -> str:
    """Read the name of a row or of a derived network from a Keras model's.

    >>> read_network_name("vit_b16.with.depth.is.5")
    'vit_b16+depth=5'
    """
    for sign, word in _SIGNS:
        name = name.replace(word, sign)
    return name


#: What every network ends with.
HEAD_STAGE = Stage(HEAD, f"{HEAD}|{HEAD}_*", HEAD)


def list_parts(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """List the parts of a network from bottom to top: blocks, and stages that have none.

    >>> [part.name for part in list_parts((Stage("a", "a*", "a2", (Stage("a1", "a1", "a1"),)), HEAD_STAGE))]
    ['a1', 'head']
    """
    return tuple(part for stage in stages for part in (stage.blocks or (stage,)))


def check_input_size(spec: ModelSpec, size: int) -> None:
    """Refuse an input of size×size pixels that the network cannot take.

    Raises:
        ConfigError: strides would reduce it to nothing, or it is no multiple of a patch; the nearest size is named.
    """
    if size < spec.smallest_input:
        raise ConfigError(
            f"an input of {size}×{size} pixels is too small for {spec.name}",
            f"{spec.smallest_input} or more",
            f"--image-size {spec.smallest_input}",
        )
    if size % spec.multiple:
        near = size + spec.multiple // 2
        near -= near % spec.multiple
        raise ConfigError(
            f"an input of {size}×{size} pixels for {spec.name}",
            f"a multiple of {spec.multiple}",
            f"--image-size {max(near, spec.smallest_input)}",
        )


def choose_head(spec: ModelSpec, head: str | None) -> str:
    """Give the kind of head that was asked for, or the network's own.

    Raises:
        ConfigError: the family has no such head; those that it has are named.
    """
    if head is None:
        return spec.heads[0]
    if head not in spec.heads:
        raise ConfigError(f"no head {head!r} for {spec.name}", f"one of {', '.join(spec.heads)}")
    return head


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
    if not known:
        raise ConfigError(
            f"no stage {name!r}: this network declares none", "a network of the catalogue", "--rules FILE"
        )
    raise ConfigError(f"no stage {name!r} in this network", nearest(name, known))


def name_stage(stages: Iterable[Stage], layer: str) -> str:
    """Name the stage that holds a layer, or give an empty string."""
    return next((stage.name for stage in stages if stage.holds(layer)), "")
