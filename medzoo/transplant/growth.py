"""How layers that a source lacks are filled so that a deeper network answers as the source's does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from medzoo.errors import PlanError
from medzoo.specs import HEAD
from medzoo.tensors import Role, Source, Target
from medzoo.transplant.channels import find_layer
from medzoo.wiring import Channels


def find_identities(source: Source, target: Target) -> dict[str, str]:
    """Say how each layer that the source lacks is filled: `zero`, `identity` or `fresh` (Net2DeeperNet).

    What a new layer adds to channels of the source's is made zero, so that a new residual block gives on what reaches
    it; the layers within such a block start afresh. Any other new layer is the identity, with its norm: that keeps the
    function after ReLU alone (Chen et al. 2016), at stride 1. A new branch is taken to be added: one that multiplies
    what an old layer makes is not told apart. A head starts afresh.

    Raises:
        PlanError: a network whose graph is not known, or a new layer that would change the answer however it is
            filled: channels beside the source's (DenseNet's growth), a norm over channels or a layer of unknown
            weights in the main path, a last layer that no other reads.
    """
    if not target.feeds:
        raise PlanError("a model without a graph", "a functional or sequential model", "--mode copy")
    growth = _Growth(source, target)
    layers = {name.rpartition("/")[0]: growth.holder_of[name] for name in target.tensors}
    methods = {holder: growth.find_method(holder) for holder in sorted(growth.new)}
    return {layer: methods[holder] for layer, holder in layers.items() if holder in methods}


@dataclass
class _Growth:
    """What of a target is new, who reads whom, and which of the new layers lie within new residual branches.

    A holder is a layer as `Target.feeds` names it: of the weights within a composite layer, the composite.
    """

    source: Source
    target: Target
    holder_of: dict[str, str] = field(default_factory=dict)
    new: set[str] = field(default_factory=set)
    makers: set[str] = field(default_factory=set)
    readers: dict[str, set[str]] = field(default_factory=dict)
    zero: set[str] = field(default_factory=set)
    within: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Read the target's wiring once."""
        tensors, feeds = self.target.tensors, self.target.feeds
        self.holder_of = {name: _find_holder(name, self.target) for name in tensors}
        self.new = {self.holder_of[name] for name in tensors if name not in self.source}
        self.new -= {self.holder_of[name] for name in tensors if name in self.source}
        self.makers = {maker for channels in feeds.values() for maker in channels.makers}
        self.makers |= {self.holder_of[name] for name, axes in self.target.axes.items() if "o" in axes}
        for layer, channels in feeds.items():
            for maker in channels.makers:
                self.readers.setdefault(maker, set()).add(layer)
            for part in _walk(channels):
                self._note_sum(part)
                if part.kind == "concat" and layer not in self.new:
                    self._check_beside(part, layer)
        self._find_within()

    def _note_sum(self, channels: Channels) -> None:
        """Note the new layers whose channels are added to those of the source's."""
        parts = channels.parts if channels.kind == "sum" else ()
        if all(set(part.makers) & self.new for part in parts):
            return
        for part in parts:
            if part.kind == "mixed" and set(part.makers) <= self.new:
                raise _refuse(part.makers[0], "adds channels in an unknown order to those of the source's")
            self.zero |= set(part.makers) & self.new

    def _check_beside(self, channels: Channels, layer: str) -> None:
        """Refuse new channels that a layer of the source's would get beside its own."""
        for part in channels.parts:
            if part.makers and set(part.makers) <= self.new:
                raise PlanError(
                    f"{part.makers[0]!r} gives {layer!r} channels that the source has none for",
                    "a deeper network without concatenations",
                    "--mode widen, or another network",
                )

    def _find_within(self) -> None:
        """Find the makers from which every way leads to a zero."""
        self.within = set(self.zero)
        pending = (self.new & self.makers) - self.within
        while True:
            # What attention's queries and keys make says how much, not what: nobody reads it as channels.
            more = {
                layer
                for layer in pending
                if (follow := self.readers.get(layer, set()) & self.makers) <= self.within
                and (follow or layer in self.target.blocks)
            }
            if not more:
                return
            self.within |= more
            pending -= more

    def find_method(self, layer: str) -> str:
        """Say how one new layer is filled."""
        if layer in (HEAD, f"{HEAD}_distillation"):
            return "fresh"
        if layer not in self.makers:
            return self._find_method_of_carrier(layer)
        if layer in self.within and layer not in self.zero:
            return "fresh"
        if self._is_unknown(layer):
            raise _refuse(layer, "is new and has weights whose axes are not known")
        if layer in self.zero:
            return "zero"
        if not self.readers.get(layer, set()) & self.makers:
            raise _refuse(layer, "is new, and no layer reads what it makes")
        return "identity"

    def _find_method_of_carrier(self, layer: str) -> str:
        """Say how a new layer is filled that gives on the channels which reach it: a norm, a depthwise filter."""
        channels = self.target.feeds.get(layer, Channels("mixed"))
        if channels.makers and set(channels.makers) <= self.within:
            return "fresh"
        names = [name for name, holder in self.holder_of.items() if holder == layer]
        paths = {name.rpartition("/")[0] for name in names}
        is_batch_norm = any(name.endswith("/moving_variance") for name in names)
        if paths & set(self.target.epsilons) and not is_batch_norm:
            # Within a branch, what reads the same channels reads them through this norm.
            if any(self.target.feeds.get(other) == channels for other in self.within):
                return "fresh"
            raise _refuse(layer, "is new and normalises over channels that the source's layers read")
        return "identity"

    def _is_unknown(self, layer: str) -> bool:
        """Tell whether nothing is known of the axes of a layer's kernels."""
        kernels = [
            name
            for name, holder in self.holder_of.items()
            if holder == layer and self.target.tensors[name].role in (Role.KERNEL, Role.OTHER)
        ]
        return any(set(self.target.axes.get(name, "?")) == {"?"} for name in kernels)


def _find_holder(name: str, target: Target) -> str:
    """Name the layer of `Target.feeds` that holds a tensor: its own, or the composite one around it."""
    layer = find_layer(name, target)
    around = [layer, *_list_around(layer)]
    return next((path for path in around if path in target.feeds), layer)


def _list_around(path: str) -> Iterable[str]:
    """List the paths around one, innermost first."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _walk(channels: Channels) -> Iterator[Channels]:
    """Walk an expression, outermost first."""
    yield channels
    for part in channels.parts:
        yield from _walk(part)


def _refuse(layer: str, why: str) -> PlanError:
    """Say that a new layer would change the answer."""
    return PlanError(
        f"{layer!r} {why}",
        "new residual blocks, or new layers after ReLU with batch norms",
        "--mode copy with a rule for the new layers",
    )
