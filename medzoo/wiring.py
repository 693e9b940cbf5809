"""How channels travel through a network, as plain data: which layers make what reaches a layer, and in what order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from medzoo.errors import PlanError

#: The producer that stands for the model's own input.
INPUT = "<input>"

#: What the axes of a tensor hold, a letter each, in `Target.axes`.
#: `.` something that is never chosen from: a side of a kernel, a constant 1, a window's positions
#: `i` the channels that reach the layer; `I` the same, of a kernel that is standardised over them before use
#: `g` those of one group of a grouped convolution
#: `o` the channels that the layer makes
#: `c` the channels that reach the layer and leave it in the same order: norms, scales, depthwise kernels
#: `m` filters for each channel of a depthwise convolution
#: `h` attention heads; `p` positions of tokens or of a window
#: `?` nothing is known
AXES = ".iIgocmhp?"

_KINDS = ("layer", "sum", "concat", "flatten", "spread", "mixed")


@dataclass(frozen=True)
class Channels:
    """The channels at one place of a network: those of a layer that makes them, or a combination of others.

    `layer`: those that the layer named `layer` makes (`INPUT` for the image's). `sum`: the parts, one on top of the
    other, as addition, multiplication and averages do; all have one order. `concat`: the parts, one after the other.
    `flatten`: the one part at each of `times` places, its channels varying fastest. `spread`: of each channel of the
    one part, `times` in a row, as a depthwise convolution makes. `mixed`: made of the parts in an unknown order.
    """

    kind: str
    layer: str = ""
    parts: tuple[Channels, ...] = ()
    times: int = 1

    def __post_init__(self) -> None:
        """Refuse a kind that is none."""
        assert self.kind in _KINDS, self.kind

    @cached_property
    def makers(self) -> tuple[str, ...]:
        """The layers that make these channels, each once, in order.

        >>> read_channels("concat(a,sum(b,a))").makers
        ('a', 'b')
        """
        if self.kind == "layer":
            return (self.layer,)
        return tuple(dict.fromkeys(name for part in self.parts for name in part.makers))

    def __str__(self) -> str:
        """Write the expression as text, which `read_channels` reads.

        >>> str(Channels("flatten", parts=(Channels("layer", "conv"),), times=49))
        'flatten:49(conv)'
        """
        if self.kind == "layer":
            return self.layer
        count = f":{self.times}" if self.kind in ("flatten", "spread") else ""
        return f"{self.kind}{count}({','.join(map(str, self.parts))})"


#: The channels of the image.
IMAGE = Channels("layer", INPUT)


def join(kind: str, parts: tuple[Channels, ...]) -> Channels:
    """Combine channels as `sum`, `concat` or `mixed`: one part is itself, equal kinds within are taken apart.

    >>> str(join("concat", (join("concat", (Channels("layer", "a"), Channels("layer", "b"))), IMAGE)))
    'concat(a,b,<input>)'
    """
    flat = tuple(inner for part in parts for inner in (part.parts if part.kind == kind else (part,)))
    if kind in ("sum", "mixed"):
        flat = tuple(dict.fromkeys(flat))
    if len(flat) == 1 and kind != "mixed":
        return flat[0]
    return Channels(kind, parts=flat)


_TOKEN = re.compile(r"(?:(sum|concat|mixed|flatten|spread)(?::(\d+))?\()|([^(),]+)|([),])")


def read_channels(text: str) -> Channels:
    """Read an expression as `str` writes it.

    Raises:
        PlanError: it is none.

    >>> read_channels("sum(a,concat(b,c))").parts[1].makers
    ('b', 'c')
    """
    tokens = _TOKEN.finditer(text)
    try:
        return _read(next(tokens), tokens)
    except (StopIteration, RuntimeError):
        raise PlanError(f"channels {text[:60]!r}", "an expression such as sum(a,concat(b,c))") from None


def _read(token: re.Match[str], tokens: Iterator[re.Match[str]]) -> Channels:
    """Read the expression that begins with a token."""
    if token[3]:
        return Channels("layer", token[3])
    if not token[1]:
        raise StopIteration
    parts: list[Channels] = []
    while True:
        following = next(tokens)
        if following[4] == ")" and not parts:  # made of nothing that is known
            return Channels(token[1])
        parts.append(_read(following, tokens))
        if next(tokens)[4] == ")":
            return Channels(token[1], parts=tuple(parts), times=int(token[2] or 1))
