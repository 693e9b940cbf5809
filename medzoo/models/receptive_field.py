"""How much of the input one output position sees, followed through a model's graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medzoo.models.graph import Call, Wire

#: Every position sees the whole input.
ALL: Literal["all"] = "all"

#: Side in pixels, one side per axis where they differ, the whole input, or None where nothing is known.
ReceptiveField = int | tuple[int, ...] | Literal["all"] | None

_WINDOWS = {"Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D", "DepthwiseConv2D"} | {
    "SeparableConv1D",
    "SeparableConv2D",
}
_POOLS = {f"{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3)}
_PADS = {f"{kind}{rank}D" for kind in ("ZeroPadding", "Cropping") for rank in (1, 2, 3)}
#: Layers that mix every position. Squeeze-and-excitation holds a global pooling.
_MIXERS = {"BaseGlobalPooling", "BaseAdaptivePooling", "MultiHeadAttention", "GroupedQueryAttention"} | {
    "Attention",
    "AdditiveAttention",
    "Flatten",
}
#: Layers that move positions or do anything at all: what comes out at a place did not come in there.
_MOVERS = {"Permute", "Transpose", "Lambda", "RNN", "Flip", "Roll", "Wrapper"} | {
    f"UpSampling{rank}D" for rank in (1, 2, 3)
}


@dataclass(frozen=True)
class Window:
    """What an output sees along one axis: the first position's `start` and `size`, and the `step` to the next.

    All in pixels of the input; padding makes `start` negative.
    """

    start: int
    size: int
    step: int

    def slide(self, kernel: int, stride: int = 1, dilation: int = 1, padding: int = 0) -> Window:
        """Give the window after a kernel that starts `padding` positions before the first one."""
        reach = (kernel - 1) * dilation * self.step
        return Window(self.start - padding * self.step, self.size + reach, self.step * stride)


#: One window per spatial axis (none for a table of numbers), the whole input, or unknown.
Sight = tuple[Window, ...] | Literal["all"] | None


def trace_sights(inputs: Iterable[Wire], calls: Iterable[Call]) -> dict[Wire, Sight]:
    """Follow windows from the inputs (…, channels) through every call: Araujo et al. 2019, with exact unions.

    Convolutions and pooling widen a window, strides spread the positions, branches are united with their
    alignment. Statistics of norms are left out, as usual: group and layer norms strictly see everything.
    Layers that work position by position keep the window; attention, global pooling and flattening see all,
    and so does everything above them. A layer of one's own says so by an attribute `sees_all = True`; where it
    multiplies (`count_macs`) without that, where positions are moved or their number changes, nothing is known.
    """
    sights: dict[Wire, Sight] = {
        wire: tuple(Window(0, 1, 1) for _ in wire.shape[:-1]) or None for wire in inputs
    }
    for call in calls:
        sight = _look(call, [sights[wire] for wire in call.inputs])
        sights.update((wire, sight) for wire in call.outputs)
    return sights


def measure_side(sight: Sight) -> ReceptiveField:
    """Give a sight as one side in pixels, or one per axis where they differ.

    >>> measure_side((Window(-3, 7, 2), Window(-3, 7, 2)))
    7
    """
    if not isinstance(sight, tuple):
        return sight
    sides = tuple(window.size for window in sight)
    return sides[0] if len(set(sides)) == 1 else sides


def _look(call: Call, seen: list[Sight]) -> Sight:
    """Tell what the outputs of one call see, from what its inputs see."""
    operation, kinds = call.operation, {kind.__name__ for kind in type(call.operation).__mro__}
    if ALL in seen or kinds & _MIXERS or getattr(operation, "sees_all", False):
        return ALL
    sight = _unite(seen)
    if not isinstance(sight, tuple) or kinds & _MOVERS:
        return None
    if kinds & _PADS:
        return _shift(operation, sight)
    if kinds & _POOLS:
        return _slide(operation, sight, operation.pool_size, call.inputs[0].shape)
    if kinds & _WINDOWS:
        return _slide(operation, sight, operation.kernel_size, call.inputs[0].shape)
    return sight if _keeps_positions(call, kinds) else None


def _unite(seen: Sequence[Sight]) -> Sight:
    """Unite the windows of branches that meet; unknown where one is, or where their positions do not match."""
    known = [sight for sight in seen if isinstance(sight, tuple)]
    if len(known) < len(seen) or len({len(sight) for sight in known}) != 1:
        return None
    united = []
    for windows in zip(*known, strict=True):
        if len({window.step for window in windows}) != 1:
            return None
        start = min(window.start for window in windows)
        end = max(window.start + window.size for window in windows)
        united.append(Window(start, end - start, windows[0].step))
    return tuple(united)


def _slide(operation: Any, sight: tuple[Window, ...], kernel: Sequence[int], shape: tuple[int, ...]) -> Sight:
    """Slide a convolution's or a pooling's window over every axis."""
    if operation.data_format != "channels_last" or len(kernel) != len(sight):
        return None
    dilations = getattr(operation, "dilation_rate", 1)
    dilations = (dilations,) * len(kernel) if isinstance(dilations, int) else dilations
    return tuple(
        window.slide(size, stride, dilation, _pad(operation.padding, length, size, stride, dilation))
        for window, size, stride, dilation, length in zip(
            sight, kernel, operation.strides, dilations, shape[:-1], strict=True
        )
    )


def _pad(padding: str, length: int, kernel: int, stride: int, dilation: int) -> int:
    """Count the positions that padding adds before the first one."""
    reach = (kernel - 1) * dilation
    if padding == "causal":
        return reach
    if padding == "same":
        return max((math.ceil(length / stride) - 1) * stride + reach + 1 - length, 0) // 2
    return 0


def _shift(operation: Any, sight: tuple[Window, ...]) -> Sight:
    """Shift the windows by what zero padding puts before the first position, or cropping takes away."""
    amounts, sign = getattr(operation, "padding", None), 1
    if amounts is None:
        amounts, sign = operation.cropping, -1
    amounts = amounts if isinstance(amounts[0], tuple) else (amounts,)
    # Told "channels first", a padding layer pads the axes one further on: the last may be channels.
    first = 1 if getattr(operation, "data_format", "") == "channels_first" else 0
    before = {axis: amount[0] for axis, amount in enumerate(amounts, start=first)}
    return tuple(window.slide(1, padding=sign * before.get(axis, 0)) for axis, window in enumerate(sight))


def _keeps_positions(call: Call, kinds: set[str]) -> bool:
    """Tell whether a call works at every position on its own, as norms, activations, sums and dense layers do.

    The positions of a map may become a list of tokens, and tokens may be added to it.
    """
    if hasattr(call.operation, "count_macs") and "Dense" not in kinds:
        return False
    if any(len(wire.shape) < 2 for wire in (*call.inputs[:1], *call.outputs)):
        return False
    before, after = call.inputs[0].shape, call.outputs[0].shape
    if kinds & {"Dense", "EinsumDense"}:
        return before[:-1] == after[:-1]
    if len(after) == 2:
        return before[-1] == after[-1] and after[0] >= math.prod(before[:-1])
    return before[:-1] == after[:-1]
