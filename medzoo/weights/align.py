"""Weights numbered by class and order → the names of the network that they are to fill."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from medzoo.errors import WeightsError
from medzoo.specs import HEAD
from medzoo.tensors import INPUT, LazyTensor, Role, Source, Target, TensorSpec
from medzoo.weights.formats.keras_v3 import CONTAINERS, name_by_group

Place = tuple[str | tuple[str, int], ...]


def align(source: Source, target: Target) -> Source:
    """Give tensors that a Keras file only numbers the names that the target has at the same places.

    Files of Keras before 3.6 hold no layer names: `conv2d_1` is the second convolution, whatever it is called.
    A tensor takes the target's name at its layer's class and order; every shape must then agree, but for the
    head's classes and for the input channels of layers that the model's input feeds. What the target has no
    place for keeps its name, and a source in which nothing is numbered is returned unchanged.

    Raises:
        WeightsError: a shape disagrees (the file belongs to another network), or two tensors get one name.
    """
    if not source.numbered or not target.storage:
        return source
    places = rank_places(source.storage.values())
    names = {place: name for name, place in target.storage.items()}
    ranked = {place: names[written] for written, place in rank_places(names).items()}
    tensors: dict[str, LazyTensor] = {}
    renamed: dict[str, str] = {}
    for name, tensor in source.tensors.items():
        new = name
        if name in source.numbered and name in source.storage:
            new = ranked.get(places[source.storage[name]], name)
            if not _may_rename(name, new, source.storage[name]):
                new = name
        if new != name:
            _check_shape(source, name, tensor.spec, target, new)
            role = target.tensors[new].role
            tensor = replace(tensor, spec=replace(tensor.spec, name=new, role=role))
        if new in tensors:
            raise WeightsError(f"{source.origin} holds two tensors for {new!r}", "unique names")
        tensors[new] = tensor
        renamed[name] = new
    return replace(
        source,
        tensors=tensors,
        storage={renamed.get(name, name): place for name, place in source.storage.items()},
        numbered=frozenset(renamed.get(name, name) for name in source.numbered if renamed.get(name) == name),
    )


def _may_rename(name: str, new: str, place: str) -> bool:
    """Tell whether a tensor's layer is unknown, or known and the one whose variable the target names."""
    layer = name.rpartition("/")[0]
    return layer == name_by_group(place.rpartition("/vars/")[0]) or layer == new.rpartition("/")[0]


def _check_shape(source: Source, name: str, found: TensorSpec, target: Target, new: str) -> None:
    """Refuse a tensor that does not fit the one whose place it has.

    Raises:
        WeightsError: naming the tensor, both shapes and what to do.
    """
    wanted = target.tensors[new]
    layer = new.rpartition("/")[0]
    pairs = list(zip(found.shape, wanted.shape, strict=False))
    differing = {axis - len(pairs) for axis, (size, other) in enumerate(pairs) if size != other}
    allowed = set()
    if layer == HEAD:
        allowed.add(-1)
    feed = target.feeds.get(layer)
    if feed is not None and INPUT in feed.makers and wanted.role is Role.KERNEL:
        allowed.add(-2)
    if len(found.shape) == len(wanted.shape) and differing <= allowed:
        return
    raise WeightsError(
        f"{source.origin} stores {name!r} of shape {found.shape} where {target.model or 'the model'} has"
        f" {new!r} of shape {wanted.shape}",
        "a file of the same network, whose layers are in the same order",
        "saving it again with Keras 3.6 or later, which writes layer names",
    )


def rank_places(places: Iterable[str]) -> dict[str, Place]:
    """Give each place of a `.weights.h5` by class and order among the layers with tensors.

    Keras numbers layers of one class, counting those without tensors or, before Keras 3, each one twice: the
    order stays the same, the numbers do not.

    >>> rank_places(["layers/conv2d_2/vars/0"])["layers/conv2d_2/vars/0"]
    ('layers', ('conv2d', 0), 'vars', '0')
    """
    split = {place: place.split("/") for place in places}
    children: dict[tuple[str, ...], set[str]] = {}
    for parts in split.values():
        for depth, part in enumerate(parts[:-1]):
            if part in CONTAINERS:
                children.setdefault(tuple(parts[: depth + 1]), set()).add(parts[depth + 1])
    ranks = {above: _rank(names) for above, names in children.items()}
    ranked: dict[str, Place] = {}
    for place, parts in split.items():
        found: list[str | tuple[str, int]] = []
        for depth, part in enumerate(parts):
            above = tuple(parts[:depth])
            found.append(ranks[above][part] if above in ranks else "layers" if part in CONTAINERS else part)
        ranked[place] = tuple(found)
    return ranked


def _rank(names: set[str]) -> dict[str, tuple[str, int]]:
    """Number groups of one class in their order: conv2d, conv2d_2, conv2d_4 → 0, 1, 2."""
    ranks: dict[str, tuple[str, int]] = {}
    counts: dict[str, int] = {}
    for name in sorted(names, key=lambda name: _natural_class(name)):
        kind = _natural_class(name)[0]
        counts[kind] = counts.get(kind, -1) + 1
        ranks[name] = (kind, counts[kind])
    return ranks


def _natural_class(name: str) -> tuple[str, int]:
    """Split a group's name into class, spelled without underscores, and number: conv2d_1 → conv2d, 1."""
    number = re.search(r"_([0-9]+)$", name)
    kind = name[: number.start()] if number else name
    return kind.replace("_", ""), int(number.group(1)) if number else 0
