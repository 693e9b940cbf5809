"""Which layers' channels are put on top of each other, and so have one order and are chosen alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from medzoo.wiring import INPUT, Channels


@dataclass
class Ties:
    """Layers joined by sums, directly or by way of others; of each such set the first by name stands for all.

    `models` holds by layer what it is summed with that is no layer: a concatenation, whose parts' choice it follows.
    """

    models: dict[str, Channels] = field(default_factory=dict)
    _leaders: dict[str, str] = field(default_factory=dict)

    def find_model(self, layer: str) -> Channels | None:
        """Give what a layer, or any that its channels are summed with, is summed with that is no layer."""
        leader = self.find_leader(layer)
        return next((model for each, model in self.models.items() if self.find_leader(each) == leader), None)

    def find_leader(self, layer: str) -> str:
        """Give the layer that stands for all whose channels are summed with this one's.

        >>> from medzoo.wiring import read_channels
        >>> tie_summed([read_channels("sum(b,a)"), read_channels("sum(c,b)")]).find_leader("c")
        'a'
        """
        while layer in self._leaders:
            layer = self._leaders[layer]
        return layer

    def _join(self, first: str, other: str) -> None:
        """Let one layer stand for both sets."""
        leader, follower = sorted((self.find_leader(first), self.find_leader(other)))
        if leader != follower:
            self._leaders[follower] = leader

    def tie(self, first: Channels, other: Channels) -> None:
        """Tie the layers of two expressions that are summed, part by part where both are made alike."""
        if first.kind == "sum":
            first = first.parts[0]
        if other.kind == "sum":
            other = other.parts[0]
        if other.kind == "layer":
            first, other = other, first
        if first.kind == other.kind == "layer":
            if INPUT not in (first.layer, other.layer):
                self._join(first.layer, other.layer)
        elif first.kind == "layer" and other.kind != "mixed":
            self.models.setdefault(first.layer, other)
        elif (first.kind, first.times, len(first.parts)) == (other.kind, other.times, len(other.parts)):
            for mine, theirs in zip(first.parts, other.parts, strict=True):
                self.tie(mine, theirs)


def tie_summed(expressions: Iterable[Channels]) -> Ties:
    """Tie the layers that any of the expressions sums.

    Of concatenations that are summed, the parts are tied one by one.
    """
    ties = Ties()
    for expression in expressions:
        for total in _list_sums(expression):
            anchors: dict[str, Channels] = {}
            for part in total.parts:
                for anchor in (anchors.setdefault(part.kind, part), *anchors.values()):
                    ties.tie(anchor, part)
    return ties


def _list_sums(channels: Channels) -> Iterator[Channels]:
    """List the sums within an expression."""
    if channels.kind == "sum":
        yield channels
    for part in channels.parts:
        yield from _list_sums(part)
