"""Which of the source's channels each target tensor keeps, where the target is narrower or wider."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from medzoo.errors import ConfigError, PlanError
from medzoo.tensors import Role, Source, Target, TensorSpec
from medzoo.transplant.kept import (
    Kept,
    choose,
    choose_blocks,
    combine,
    keep_heads,
    keep_in_groups,
    repeat,
)
from medzoo.transplant.ranges import Ranges, write_indices
from medzoo.transplant.ties import Ties, tie_summed
from medzoo.wiring import IMAGE, INPUT, Channels

#: How channels are chosen where a target has fewer: the first; evenly spread (Xu et al. 2024). Where it has more: the
#: source's own, then copies of some (Chen et al. 2016).
PICKS = ("first", "even", "widen")


def find_layer(name: str, target: Target) -> str:
    """Name the layer that a tensor belongs to as `Target.feeds` does, which leaves out the models around a layer.

    >>> from medzoo.wiring import IMAGE
    >>> target = Target({}, {"conv": IMAGE}, {}, axes={"inner/conv/kernel": "..io"})
    >>> find_layer("inner/conv/kernel", target), find_layer("mha/query/kernel", target)
    ('conv', 'mha/query')
    """
    layer = name.rpartition("/")[0]
    inner = layer.rpartition("/")[2]
    is_nested = layer not in target.feeds and inner in target.feeds
    # Of what lies within a composite layer nothing is known: "query" may be another layer's name as well.
    return inner if is_nested and "?" not in target.axes.get(name, "?") else layer


def reads_input(tensor: TensorSpec, target: Target) -> bool:
    """Tell whether a tensor is the kernel of a convolution that reads the model's input."""
    if tensor.role is not Role.KERNEL or len(tensor.shape) < 3:
        return False
    return target.feeds.get(find_layer(tensor.name, target)) == IMAGE


@dataclass
class ChannelChooser:
    """Chooses, for one source and target, the kept channels of every layer, and so of every tensor.

    What a layer makes is chosen once; whatever reads it follows, through sums (whose parts are chosen alike),
    concatenations (with offsets from the source's own widths), flattening and depthwise filters. Heads of attention
    and groups of convolutions are kept whole where their widths agree, else narrowed each alike: a source does not say
    how many heads it has, so they are taken to be as wide as the target's wherever that divides its channels.
    """

    source: Source
    target: Target
    pick: str
    seed: int = 0
    _ties: Ties = field(init=False)
    _makers: dict[str, str] = field(default_factory=dict, init=False)
    _blocks: dict[str, int] = field(default_factory=dict, init=False)
    _source_groups: dict[str, int] = field(default_factory=dict, init=False)
    _made: dict[str, Kept | None] = field(default_factory=dict, init=False)
    _reached: dict[str, Kept | None] = field(default_factory=dict, init=False)
    _following: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        """Find which layers are chosen alike, which tensor tells a layer's width, and which have groups."""
        if self.pick not in PICKS:
            raise ConfigError(f"channels picked {self.pick!r}", f"one of {', '.join(PICKS)}")
        self._ties = tie_summed(self.target.feeds.values())
        for name, axes in self.target.axes.items():
            if "o" in axes and name in self.source:
                self._makers.setdefault(find_layer(name, self.target), name)
        for layer, count in self.target.blocks.items():
            leader = self._ties.find_leader(layer)
            # Of blocks within blocks, the smaller ones are kept or narrowed alike: so are the larger ones then.
            self._blocks[leader] = max(count, self._blocks.get(leader, 0))
        for name, axes in self.target.axes.items():
            if "g" in axes and name in self.source:
                self._note_groups(name, axes)

    def find_ranges(self, tensor: TensorSpec, given: tuple[int, ...]) -> tuple[Ranges, int | None]:
        """Find the indices that a target tensor keeps of its namesake, and the axis where repeats share a value.

        `given` is the namesake's shape, once it is inflated and resized.

        Raises:
            PlanError: sizes that no choice can bring together, or channels whose way is not known.
        """
        axes = self.target.axes.get(tensor.name, "?" * len(tensor.shape))
        layer = find_layer(tensor.name, self.target)
        ranges, shared = [], None
        for axis, letter in enumerate(axes):
            size, count = given[axis], tensor.shape[axis]
            kept = self._find_axis(letter, layer, size, count, tensor.name)
            if kept is None:
                if size != count and not (letter == "i" and reads_input(tensor, self.target)):
                    raise PlanError(
                        f"{tensor.name!r}: {size} on axis {axis} in the source, {count} here, and no choice is known"
                    )
                ranges.append("")
                continue
            if kept.size != size or len(kept.indices) != count:
                raise PlanError(
                    f"{tensor.name!r}: axis {axis} has {size} in the source and {count} here; what reaches it, "
                    f"{kept.size} and {len(kept.indices)}"
                )
            ranges.append(write_indices(kept.indices, size))
            if kept.repeats:
                self._check_widened(tensor, letter)
                shared = axis if letter == "i" else shared
        return (tuple(ranges) if any(ranges) else ()), shared

    def _find_axis(self, letter: str, layer: str, size: int, count: int, name: str) -> Kept | None:
        """Find what is kept along one axis; None where nothing is chosen."""
        if letter in "iIc":
            return self._find_reaching(layer)
        if letter == "o":
            return self._find_made(layer) if size != count else None
        if letter == "g":
            return self._find_in_groups(layer, size, count, name)
        if letter == "h":
            return self._find_heads(layer, size, count, name)
        return None

    def _note_groups(self, name: str, axes: str) -> None:
        """Work out how many groups a grouped convolution has in the source, from its kernel's shape."""
        layer = find_layer(name, self.target)
        channels = self.target.feeds.get(layer, Channels("mixed"))
        width = self.source[name].spec.shape[axes.index("g") - len(axes)]
        size = self._measure(channels)
        if size is not None:
            for each in (layer, *channels.makers):
                self._source_groups[self._ties.find_leader(each)] = size // width

    def _measure(self, channels: Channels) -> int | None:
        """Count in the source what an expression holds; None where the source does not say."""
        if channels.kind == "layer":
            sizes = self._find_sizes(channels.layer)
            return sizes[0] if sizes else None
        parts = [self._measure(part) for part in channels.parts]
        known = [part for part in parts if part is not None]
        if channels.kind == "sum":
            return known[0] if known else None
        if channels.kind == "mixed" or len(known) < len(parts):
            return None
        return sum(known) * channels.times

    def _find_sizes(self, layer: str) -> tuple[int, int] | None:
        """Give how many channels a layer makes in the source and in the target; None where the source lacks it."""
        name = self._makers.get(layer)
        if name is None:
            return None
        axes = self.target.axes[name]
        axis = axes.index("o") - len(axes)  # from the end: a kernel to be inflated has one axis less
        shape = self.source[name].spec.shape
        return (shape[axis], self.target.tensors[name].shape[axis]) if len(shape) >= -axis else None

    def _find_made(self, layer: str) -> Kept | None:
        """Find what is kept of the channels that a layer makes; None where the source lacks the layer."""
        if layer not in self._made:
            sizes = self._find_sizes(layer)
            self._made[layer] = None if sizes is None else self._choose_made(layer, *sizes)
        return self._made[layer]

    def _choose_made(self, layer: str, size: int, count: int) -> Kept:
        """Choose among the channels that a layer makes."""
        if size == count:
            return Kept(size, np.arange(size))
        followed = self._follow_model(layer)
        if followed is not None and (followed.size, len(followed.indices)) == (size, count):
            return followed
        leader = self._ties.find_leader(layer)
        blocks = self._blocks.get(leader, 0)
        found = f"{layer!r} makes {size} channels in the source, {count} here"
        if self.pick == "widen":
            if count < size:
                raise PlanError(found, "as many or more to widen", "--mode select for a narrower network")
            if blocks:
                raise PlanError(
                    f"{found}, in heads or groups, which cannot be widened",
                    "a network whose attention and grouped convolutions are as wide as the source's",
                )
            return Kept(size, repeat(leader, self.seed, size, count))
        if count > size:
            raise PlanError(found, "as many or fewer to choose from", "--mode widen for a wider network")
        if blocks < 2:
            return Kept(size, choose(self.pick, size, count))
        return Kept(size, self._choose_blocks(layer, size, count, blocks))

    def _follow_model(self, layer: str) -> Kept | None:
        """Find what is kept of the concatenation that a layer's channels are summed with, if there is one."""
        model = self._ties.find_model(layer)
        if model is None or layer in self._following:
            return None
        self._following.add(layer)  # a part of the concatenation may itself be summed with what it holds
        try:
            return self._evaluate(model)
        finally:
            self._following.remove(layer)

    def _choose_blocks(self, layer: str, size: int, count: int, blocks: int) -> np.ndarray:
        """Choose whole heads or groups where they are as wide in the source, else the same of each."""
        width = count // blocks
        guess = size // width if width and size % width == 0 else blocks
        known = self._source_groups.get(self._ties.find_leader(layer), guess)
        if count % blocks or size % known or known < blocks or size // known < width:
            raise PlanError(
                f"{layer!r} makes {size} channels in the source, {count} here, {blocks} heads or groups of {width}",
                "as many heads or groups or more in the source, each as wide or wider",
            )
        return choose_blocks(self.pick, size, count, known, blocks)

    def _find_in_groups(self, layer: str, size: int, count: int, name: str) -> Kept | None:
        """Find what each group of a convolution keeps of the channels that reach it."""
        reaching, made = self._find_reaching(layer), self._find_made(layer)
        if reaching is None or made is None:
            return None
        kept = keep_in_groups(reaching, made, size, count)
        if kept is None:
            raise PlanError(
                f"{name!r} has groups of {size} channels in the source and of {count} here, which would not keep "
                "what is their own",
                "as many groups of other widths, or fewer of the same",
            )
        return kept

    def _find_heads(self, layer: str, size: int, count: int, name: str) -> Kept | None:
        """Find which heads are kept, where the channels that reach a layer are those of heads."""
        reaching = self._find_reaching(layer)
        kept = None if reaching is None else keep_heads(reaching, size, count)
        if reaching is not None and kept is None:
            raise PlanError(
                f"{name!r} has {size} heads in the source and {count} here, of other widths",
                "heads as wide as the source's",
            )
        return kept

    def _find_reaching(self, layer: str) -> Kept | None:
        """Find what is kept of the channels that reach a layer; None where nothing is chosen among them."""
        if layer not in self._reached:
            self._reached[layer] = self._evaluate(self.target.feeds.get(layer, Channels("mixed")))
        return self._reached[layer]

    def _evaluate(self, channels: Channels) -> Kept | None:
        """Find what is kept of combined channels; None where the source does not say, or it is the image's."""
        if channels.kind == "layer":
            return None if channels.layer == INPUT else self._find_made(channels.layer)
        parts = [self._evaluate(part) for part in channels.parts]
        known = [part for part in parts if part is not None]
        if channels.kind == "sum":
            if any(part != known[0] for part in known[1:]):
                raise PlanError(
                    f"{', '.join(channels.makers[:3])} are summed, and would keep other channels each"
                )
            return known[0] if known else None
        if channels.kind == "mixed" or len(known) < len(parts):
            if not all(part.is_whole for part in known):
                raise PlanError(f"channels of {', '.join(channels.makers[:3])} are mixed in an unknown order")
            return None
        return combine(channels, known)

    def _check_widened(self, tensor: TensorSpec, letter: str) -> None:
        """Refuse what repeated channels would change: norms over channels, standardised kernels."""
        layer = tensor.name.rpartition("/")[0]
        over_channels = (
            layer in self.target.epsilons and f"{layer}/moving_variance" not in self.target.tensors
        )
        if letter == "I" or over_channels:
            raise PlanError(
                f"{tensor.name!r} normalises over channels, which repeated ones would change",
                "a network of convolutions, dense layers and batch norms",
                "--mode select for one that is narrower, --mode copy otherwise",
            )
