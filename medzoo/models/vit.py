"""Vision transformers: patches and prefix tokens, attention among all of them.

ViT: Dosovitskiy et al. 2021, arXiv 2010.11929. DeiT: Touvron et al. 2021, arXiv 2012.12877.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from medzoo.models.attention import (
    Attention,
    PositionEmbedding,
    PrefixTokens,
    add_branch,
    add_mlp,
    list_rates,
    make_dense,
)
from medzoo.models.rows.vit import count_heads
from medzoo.specs import ModelSpec


def build_parts(spec: ModelSpec, inputs: Any, drop_path: float) -> Iterator[Any]:
    """Build a vision transformer on `inputs` (batch, height, width, channels), part by part.

    Every part's output is (batch, tokens, channels), prefix tokens first, then patches row by row. The number
    of positions follows the input's size. `drop_path` is the last block's rate.
    """
    options = spec.options
    heads = count_heads(spec.name, int(options["heads"]), float(options["width"]))
    channels, epsilon = heads * int(options["head_size"]), float(options["epsilon"])
    features = keras.layers.Conv2D(
        channels,
        int(options["patch"]),
        int(options["patch"]),
        kernel_initializer="lecun_normal",
        name="patch_embed",
    )(inputs)
    features = keras.layers.Reshape((-1, channels), name="patch_flatten")(features)
    features = PrefixTokens(int(options["prefix_tokens"]), name="tokens")(features)
    features = PositionEmbedding(name="positions")(features)
    yield features
    for block, rate in enumerate(list_rates(drop_path, int(options["depth"])), start=1):
        features = _add_attention(features, heads, epsilon, rate, f"block{block}")
        features = add_mlp(features, epsilon, rate, f"block{block}")
        yield features
    features = keras.layers.LayerNormalization(epsilon=epsilon, name="norm")(features)
    if options["pre_logits"]:
        # Released files hold it between the class token and the head; applied to all tokens it gives the same.
        features = keras.layers.Dense(channels, activation="tanh", name="pre_logits")(features)
    yield features


def _add_attention(features: Any, heads: int, epsilon: float, rate: float, name: str) -> Any:
    """Build a block's first half: norm, attention among all tokens, projection, the sum."""
    channels = features.shape[-1]
    branch = keras.layers.LayerNormalization(epsilon=epsilon, name=f"{name}_norm1")(features)
    triple = [make_dense(channels, f"{name}_{part}")(branch) for part in ("query", "key", "value")]
    branch = Attention(heads, name=f"{name}_attention")(*triple)
    branch = make_dense(channels, f"{name}_projection")(branch)
    return add_branch(features, branch, rate, name, 1)
