"""Keras 3's `.weights.h5`: groups by class and order, the layer's name as an attribute, variables numbered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py

from medzoo.errors import WeightsError
from medzoo.tensors import LazyTensor, TensorSpec, lazy_tensor, role_of
from medzoo.weights.contents import Contents
from medzoo.weights.formats.hdf5 import (
    check_dataset,
    dataset_reader,
    locate_object,
    member,
    name_dtype,
    nested_without_end,
    open_hdf5,
    read_metadata,
    refuse_damage,
)

NAME = "keras_v3"

#: Attribute that our own writer puts on each dataset: the tensor's Keras path, which Keras itself omits.
PATH_ATTRIBUTE = "medzoo_path"

#: Groups that hold a model's layers by class and order; Keras 2.12 to 2.15 wrote the second.
CONTAINERS = ("layers", "_layer_checkpoint_dependencies")

_PAIR = ("kernel", "bias")

#: Parts of attention layers, which are stored under their attributes' names.
_PARTS = ("querydense", "keydense", "valuedense", "outputdense")

_SEPARABLE = ("depthwise_kernel", "pointwise_kernel", "bias")

#: What each layer class stores, in order. Keras numbers variables; the file does not name them. Classes are
#: spelled without underscores, which Keras's versions set differently (conv2d, conv2_d).
_VARIABLES = {
    "batchnormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "layernormalization": ("gamma", "beta"),
    "groupnormalization": ("gamma", "beta"),
    "separableconv1d": _SEPARABLE,
    "separableconv2d": _SEPARABLE,
    "embedding": ("embeddings",),
    **dict.fromkeys(("dense", "einsumdense", *_PARTS), _PAIR),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "depthwiseconv1d", "depthwiseconv2d"), _PAIR),
    # Our own layers with weights.
    "standardizedconv2d": _PAIR,
    "prefixtokens": ("cls_token", "distillation_token"),
    "positionembedding": ("pos_embed",),
    "windowattention": ("relative_position_bias_table",),
    "layerscale": ("gamma",),
    **dict.fromkeys(("conv1dtranspose", "conv2dtranspose", "conv3dtranspose"), _PAIR),
}

#: What a compiled model stores beside its layers, and the note that says so.
_LEFT_OUT = {"optimizer": "optimiser state left out", "metrics": "metrics' state left out"}


def matches(file: h5py.File) -> bool:
    """Tell whether an open HDF5 file has this layout."""
    return "vars" in file or any(container in file for container in CONTAINERS)


def read_headers(path: Path) -> Contents:
    """Read names, shapes and dtypes; names are Keras paths (`conv1_bn/gamma`) as far as the file tells them.

    A file that medzoo wrote carries the exact paths. One of Keras 3.6 or later carries layer names; older ones
    do not, and their tensors are named by their groups (`conv2d_1/kernel`) and listed in `numbered`. So are
    variables of classes without a fixed list and of norms that lack scale or shift, and those of a layer whose
    group has an attribute's name instead of its class's, unless their shapes leave no doubt: `layer/0`.
    Layers of one name in two nested models are told apart as `medzoo.tensors.name_variables` does:
    `layer/kernel#2`; where the file does not hold their order, they are listed in `numbered` too.

    Raises:
        WeightsError: the file is damaged, or holds one tensor twice.
    """
    return read_parts([(open_hdf5(path), path)])


def read_parts(parts: Sequence[tuple[h5py.File, Path]], layers: Mapping[str, str] | None = None) -> Contents:
    """Read open files of this layout as one: a sharded model's layers are spread over several.

    `layers` gives layers' names by group (`layers/conv2d_1`) for files that hold none.

    Raises:
        WeightsError: a file is damaged, or holds one tensor twice.
    """
    reading = _Reading(dict(layers or {}))
    metadata: dict[str, str] = {}
    for file, path in parts:
        with refuse_damage(path):
            metadata = read_metadata(file) | metadata
    # Damage is found wherever the walk stands; in one of several files, its message names the group.
    with refuse_damage(parts[0][1]):
        reading.walk([_Part(file, path) for file, path in parts], "", "", ())
    return Contents(
        reading.tensors,
        notes=tuple(sorted(reading.notes)),
        metadata=metadata,
        storage=reading.storage,
        numbered=frozenset(reading.numbered),
    )


@dataclass(frozen=True)
class _Part:
    """One file's share of a group, and the file that a refusal names."""

    group: h5py.Group
    path: Path

    def child(self, name: str) -> _Part | None:
        """Give a group within this one; None where there is no such group."""
        found = member(self.group, name, self.path) if name in self.group else None
        return _Part(found, self.path) if isinstance(found, h5py.Group) else None


@dataclass
class _Reading:
    """What has been found so far, by name."""

    layers: Mapping[str, str]
    tensors: dict[str, LazyTensor] = field(default_factory=dict)
    storage: dict[str, str] = field(default_factory=dict)
    numbered: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)
    repeats: dict[str, list[str]] = field(default_factory=dict)
    notes: set[str] = field(default_factory=set)
    visited: set[tuple[int, int]] = field(default_factory=set)

    def walk(self, parts: list[_Part], prefix: str, place: str, above: tuple[tuple[int, int], ...]) -> None:
        """Read every tensor below a group; `place` is its path, `prefix` the Keras path of its layers."""
        here = self.check_new(parts, above)
        variables = [found for part in parts if (found := part.child("vars"))]
        written = next((name for part in variables if (name := _text(part.group.attrs.get("name")))), "")
        layer = written or self.layers.get(place, "")
        if _is_seed(layer, place, variables):
            return
        self.read_variables(variables, f"{prefix}{layer}" if layer else "", place)
        children = {name for part in parts for name in part.group} - {"vars"}
        is_model = not place or any(container in children for container in CONTAINERS)
        if layer and place and not (is_model and _has_input(parts)):
            # A functional model's name is not part of its layers' Keras paths; any other layer's name is.
            prefix = f"{prefix}{layer}/"
        for name in sorted(children, key=_natural):
            inner = [found for part in parts if (found := part.child(name))]
            if inner and is_model and name in _LEFT_OUT:
                self.notes.add(_LEFT_OUT[name])
            elif inner:
                self.walk(inner, prefix, f"{place}/{name}".strip("/"), (*above, *here))

    def check_new(self, parts: list[_Part], above: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
        """Refuse groups met before: hard links lead in circles, or to more names than could ever be read."""
        here = []
        for part in parts:
            here.append(locate_object(part.group))
            if here[-1] in above:
                raise nested_without_end(part.path)
            if here[-1] in self.visited:
                raise WeightsError(f"{part.path} holds {part.group.name} twice", "each group under one name")
        self.visited.update(here)
        return here

    def read_variables(self, parts: list[_Part], layer: str, place: str) -> None:
        """Read the headers of one layer's numbered variables; an empty `layer` stands for no known name."""
        held = sorted(
            ((number, part) for part in parts for number in part.group), key=lambda at: _natural(at[0])
        )
        found = [(number, part, _check_variable(part, number)) for number, part in held]
        names = _name_variables(place, [(number, dataset) for number, _, dataset in found])
        for number, part, dataset in found:
            exact = _text(dataset.attrs.get(PATH_ATTRIBUTE))
            where = f"{place}/vars/{number}".strip("/")
            name = exact or f"{layer or name_by_group(place)}/{names.get(number, number)}"
            is_new = where not in self.places
            if name in self.tensors and is_new and not exact:
                # Without a name of its own, this layer's group has a name that a layer elsewhere has for its own.
                name = self.number_repeat(name, where) if layer else where
            if name in self.tensors or not is_new:
                raise WeightsError(f"{part.path} holds two tensors named {name!r}", "unique names")
            spec = TensorSpec(name, dataset.shape, name_dtype(dataset), role_of(name))
            self.tensors[name] = lazy_tensor(spec, dataset_reader(dataset, part.path))
            self.storage[name] = where
            self.places.add(where)
            if not exact and not (layer and number in names):
                self.numbered.add(name)

    def number_repeat(self, name: str, where: str) -> str:
        """Give a name that is taken its order among its like, and say where the file does not tell that order."""
        like = self.repeats.setdefault(name, [name])
        repeat = f"{name}#{len(like) + 1}"
        if like[-1] in self.numbered:
            self.numbered.add(repeat)
        elif not _is_ordered(self.storage[like[-1]], where):
            self.numbered.update((*like, repeat))
        like.append(repeat)
        return repeat


def _check_variable(part: _Part, number: str) -> h5py.Dataset:
    """Give one of a layer's variables."""
    return check_dataset(member(part.group, number, part.path), part.path)


def _is_ordered(place: str, later: str) -> bool:
    """Tell whether two places part at groups of one class: only those are numbered in the model's order."""
    pairs = zip(place.split("/"), later.split("/"), strict=False)
    parting = next(((one, other) for one, other in pairs if one != other), ("", "vars"))
    return _natural(parting[0])[0] == _natural(parting[1])[0]


def name_by_group(place: str) -> str:
    """Name a layer by its group where the file does not name it.

    >>> name_by_group("layers/functional/layers/conv2d_1")
    'functional/conv2d_1'
    """
    return "/".join(part for part in place.split("/") if part and part not in CONTAINERS) or "model"


def _name_variables(place: str, variables: Sequence[tuple[str, h5py.Dataset]]) -> Mapping[str, str]:
    """Name a layer's variables by its class, as far as their count, dtypes and shapes tell which ones they are."""
    above, _, group = place.rpartition("/")
    kind = re.sub(r"_\d+$", "", group).replace("_", "")
    names: tuple[str, ...] = _VARIABLES.get(kind, ())
    numbers = [number for number, _ in variables]
    if numbers != [str(index) for index in range(len(numbers))] or len(numbers) > len(names):
        return {}
    if any(dataset.dtype.kind != "f" for _, dataset in variables):
        return {}  # a quantised kernel, whose scale comes where the bias would
    # Below anything but a container, the group has the name of an attribute, whatever class its layer is of.
    if above.rpartition("/")[2] not in CONTAINERS and not _bear_out(
        kind, names, [dataset.shape for _, dataset in variables]
    ):
        return {}
    if "gamma" in names and len(numbers) < len(names):
        if kind == "batchnormalization" and len(numbers) == 2:
            return {"0": "moving_mean", "1": "moving_variance"}  # neither scale nor shift
        return {}  # a norm without scale or one without shift: the file does not tell which
    return dict(zip(numbers, names, strict=False))


def _bear_out(kind: str, names: tuple[str, ...], shapes: Sequence[tuple[int, ...]]) -> bool:
    """Tell whether shapes allow these names and hardly any other: a kernel and its bias, or a norm's four."""
    if names == _PAIR and len(shapes) == 2:
        kernel, bias = shapes
        if len(kernel) > 2 and len(bias) == 1 and bias[0] in (kernel[-2], kernel[-2] * kernel[-1]):
            return True  # a transposed convolution's, a depthwise one's
        return len(kernel) > len(bias) > 0 and kernel[-len(bias) :] == bias
    if len(shapes) == 1:
        return kind in _PARTS and len(shapes[0]) > 1
    return len(shapes) == 4 and all(len(shape) == 1 and shape == shapes[0] for shape in shapes)


def _has_input(parts: list[_Part]) -> bool:
    """Tell whether a model's layers begin with an input, which functional models alone store."""
    found = (part.child(container) for part in parts for container in CONTAINERS)
    return any(re.fullmatch(r"input_layer(_\d+)?", name) for part in found if part for name in part.group)


def _is_seed(layer: str, place: str, variables: list[_Part]) -> bool:
    """Tell whether a group holds the state of a random generator, such as a dropout's, which is no weight."""
    name = layer or place.rpartition("/")[2]
    if not re.fullmatch(r"(seed_|random_)?generator(_\d+)?", name):
        return False
    held = [member(part.group, number, part.path) for part in variables for number in part.group]
    # A network that is called generator holds more than one state of whole numbers.
    return len(held) == 1 and isinstance(held[0], h5py.Dataset) and held[0].dtype.kind in "iu"


def _text(value: object) -> str:
    """Read an attribute as text; anything else counts as absent."""
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, str) else ""


def _natural(name: str) -> tuple[str, int]:
    """Sort conv2d_2 before conv2d_10."""
    stem, number = re.fullmatch(r"(.*?)_?([0-9]*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
    return stem, int(number or 0)
