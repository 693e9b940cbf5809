"""Rows of the vision transformers.

ViT: Dosovitskiy et al. 2021, arXiv 2010.11929. DeiT: Touvron et al. 2021, arXiv 2012.12877.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from medzoo.errors import ConfigError
from medzoo.specs import HEAD, HEAD_STAGE, PREPROCESSINGS, ModelSpec, Scalar, Stage

#: Blocks, heads and channels per head; the embedding is heads × channels per head, the MLP four times that.
_SIZES = {"ti": (12, 3, 64), "s": (12, 6, 64), "b": (12, 12, 64), "l": (24, 16, 64), "h": (32, 16, 80)}

#: Larger factors than this are a slip of the pen.
_WIDEST = 8.0


def _row(size: str, patch: int, prefix_tokens: int = 1) -> dict[str, Scalar]:
    """Give the options of one row; `prefix_tokens` are the class token and, of distilled rows, the teacher's."""
    depth, heads, head_size = _SIZES[size]
    return {
        "patch": patch,
        "depth": depth,
        "heads": heads,
        "head_size": head_size,
        "prefix_tokens": prefix_tokens,
        "width": 1.0,
        "pre_logits": False,
        # Google's, timm's and DeiT's; transformers writes 1e-12 into the configurations of its ViTs.
        "epsilon": 1e-6,
    }


ROWS: Mapping[str, Mapping[str, Scalar]] = {
    **{f"vit_{size}{patch}": _row(size, patch) for patch in (16, 32) for size in ("ti", "s", "b", "l")},
    "vit_h14": _row("h", 14),
    **{f"deit_{size}16": _row(size, 16) for size in ("ti", "s", "b")},
    **{f"deit_{size}16_distilled": _row(size, 16, prefix_tokens=2) for size in ("ti", "s", "b")},
}

CHANGES: Mapping[str, str] = {
    "depth": "the first blocks to keep, from 1 to all (12; vit_l: 24, vit_h: 32)",
    "width": "a factor of all widths that leaves a whole number of heads, such as 0.5 or 2",
    "pre_logits": "true for the dense layer and tanh below the head after training on ImageNet-21k, or false",
    "epsilon": "the layer norms' epsilon, above 0 and at most 0.001",
}


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Lay the stages of a vision transformer: `embed`, a stage per block, the final `norm`, the head.

    Raises:
        ConfigError: an option outside its allowed values, which are named.

    >>> [stage.name for stage in describe_row("vit_b16", {**ROWS["vit_b16"], "depth": 2}).stages]
    ['embed', 'block1', 'block2', 'norm', 'head']
    """
    row = re.split("[+@]", name, maxsplit=1)[0]
    depth, deepest = options["depth"], ROWS[row]["depth"]
    if not 1 <= int(depth) <= int(deepest):
        raise ConfigError(f"depth={depth} for {name}", f"a whole number from 1 to {deepest}")
    count_heads(name, int(options["heads"]), float(options["width"]))
    check_epsilon(name, float(options["epsilon"]))
    distilled, pre_logits = options["prefix_tokens"] == 2, bool(options["pre_logits"])
    if distilled and pre_logits:
        raise ConfigError(f"pre_logits for {name}, which has two heads", "pre_logits=false")
    blocks = (
        Stage(f"block{block}", f"block{block}_*", f"block{block}_add2") for block in range(1, int(depth) + 1)
    )
    return ModelSpec(
        name,
        "vit",
        options,
        (
            Stage("embed", "patch_*|tokens|positions", "positions"),
            *blocks,
            Stage("norm", "norm|pre_logits", "pre_logits" if pre_logits else "norm"),
            Stage(HEAD, HEAD_STAGE.layers, f"{HEAD}_average") if distilled else HEAD_STAGE,
        ),
        input_size=224,
        smallest_input=int(options["patch"]),
        preprocessing=PREPROCESSINGS["torch" if row.startswith("deit") else "tf"],
        # The layer below the logits was trained on the class token alone.
        heads=("token", "none") if pre_logits or distilled else ("token", "gap", "none"),
        multiple=int(options["patch"]),
        sized=True,
    )


def count_heads(name: str, heads: int, width: float) -> int:
    """Count the attention heads of a network `width` times as wide; a head keeps its channels.

    The factor may be rounded: 0.333 of 12 heads are 4.

    Raises:
        ConfigError: no whole number of heads, none, or beyond any use.

    >>> count_heads("vit_b16", 12, 0.5)
    6
    """
    count = heads * width if math.isfinite(width) else 0.0
    if not 1 <= round(count) <= heads * _WIDEST or abs(count - round(count)) > 0.005:
        few = [f"{number / heads:.4g}" for number in range(1, heads + 1)]
        listed = ", ".join(few if heads <= 6 else [few[0], few[1], "…", *few[-2:]])
        raise ConfigError(
            f"width={width:g} for {name}, which has {heads} heads",
            f"a factor that leaves a whole number of heads: {listed}, … up to {_WIDEST:g}",
        )
    return round(count)


def check_epsilon(name: str, epsilon: float) -> None:
    """Refuse an epsilon of the layer norms that divides by nothing or drowns the variance.

    Raises:
        ConfigError: the value is not above 0 and at most 0.001.
    """
    if not 0.0 < epsilon <= 1e-3:
        raise ConfigError(f"epsilon={epsilon:g} for {name}", "a number above 0 and at most 0.001")
