"""What each axis of a layer's weights holds, in the letters of `medzoo.wiring.AXES`."""

from __future__ import annotations

from typing import Any

from medzoo.models.relay import CONVOLUTIONS, DEPTHWISE, NORMS, SEPARABLE, count_filters, kind_of

#: Letters of axes whose meaning hangs on what reaches the layer.
OF_INPUTS = "iIgcm"


def letter_axes(layer: Any, variable: Any) -> str:
    """Give a letter for each axis of one of a layer's own weights; `?` for all where its class is not known.

    >>> from types import SimpleNamespace as Stub
    >>> letter_axes(Stub(channels_like="Dense"), Stub(name="kernel", shape=(3, 5)))
    'io'
    """
    rank = len(variable.shape)
    declared = getattr(layer, "weight_axes", {})
    letters = declared.get(variable.name) or _letter(layer, variable.name, "." * (rank - 2))
    return letters if len(letters) == rank else "?" * rank


def _letter(layer: Any, weight: str, places: str) -> str:
    """Give the letters of a weight by its layer's class; `places` are a kernel's axes before the last two."""
    kind = kind_of(layer)
    filters = count_filters(layer)
    if kind in NORMS:
        return "c" if _is_last(layer) else ""
    if kind == "LayerScale":
        return "c"
    if weight == "bias" and kind in DEPTHWISE | CONVOLUTIONS and filters:
        return "c" if filters == 1 else "?"
    letters: dict[str, str] = {}
    if kind == "Dense":
        letters = {"kernel": "io", "bias": "o"}
    elif kind in CONVOLUTIONS:
        letters = {"kernel": f"{places}{_letter_kernel(layer, filters)}", "bias": "o"}
    elif kind.endswith("Transpose") and kind.removesuffix("Transpose") in CONVOLUTIONS:
        if getattr(layer, "groups", 1) == 1:
            letters = {"kernel": f"{places}oi", "bias": "o"}
    elif kind in DEPTHWISE:
        letters = {"kernel": f"{places}cm"}
    elif kind in SEPARABLE:
        inner = "i" if layer.depth_multiplier == 1 else "?"
        letters = {"depthwise_kernel": f"{places}cm", "pointwise_kernel": f"{places}{inner}o", "bias": "o"}
    return letters.get(weight, "")


def _letter_kernel(layer: Any, filters: int) -> str:
    """Give the letters of the last two axes of a convolution's kernel."""
    if filters:
        return ".c" if filters == 1 else ".?"
    standardizes = getattr(layer, "standardizes_kernel", False)
    if layer.groups > 1:
        return "?o" if standardizes else "go"
    return "Io" if standardizes else "io"


def _is_last(layer: Any) -> bool:
    """Tell whether a norm layer has a value for each place of the last axis alone."""
    axes = list(layer.axis) if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    rank = getattr(getattr(layer, "input_spec", None), "ndim", None)
    return axes in ([-1], [rank and rank - 1])
