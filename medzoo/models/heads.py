"""Heads: how features become logits."""

from __future__ import annotations

from typing import Any

import keras

from medzoo.specs import HEAD, ModelSpec


def add_head(spec: ModelSpec, features: Any, classes: int, head: str, dropout: float) -> Any:
    """Build the head on features (batch, height, width, channels) or (batch, tokens, channels).

    `gap` averages over positions (of tokens, over those of the image's patches), `flatten` keeps every position,
    `token` takes the class token, `none` gives the features themselves. Dropout and a dense layer follow, which
    computes in float32 under any precision policy. A distilled network averages its two heads' logits.
    """
    if head == "none":
        return features
    epsilon = float(spec.options.get("pooled_norm", 0.0))
    if head == "token" and int(spec.options["prefix_tokens"]) == 2:
        logits = [
            _add_dense(_take_token(features, index, suffix), classes, dropout, f"{HEAD}{suffix}")
            for index, suffix in enumerate(("", "_distillation"))
        ]
        return keras.layers.Average(dtype="float32", name=f"{HEAD}_average")(logits)
    if head == "token":
        pooled = _take_token(features, 0, "")
    elif head == "flatten":
        pooled = keras.layers.Flatten(name=f"{HEAD}_flatten")(features)
    elif len(features.shape) == 2:
        pooled = features  # dense layers below have seen every position
    elif len(features.shape) == 3:
        prefix = int(spec.options["prefix_tokens"])
        patches = keras.layers.Cropping1D((prefix, 0), name=f"{HEAD}_patches")(features)
        pooled = keras.layers.GlobalAveragePooling1D(name=f"{HEAD}_pool")(patches)
    else:
        pooled = keras.layers.GlobalAveragePooling2D(name=f"{HEAD}_pool")(features)
    if epsilon:
        pooled = keras.layers.LayerNormalization(epsilon=epsilon, name=f"{HEAD}_norm")(pooled)
    return _add_dense(pooled, classes, dropout, HEAD, str(spec.options.get("head_start", "glorot_uniform")))


def _take_token(features: Any, index: int, suffix: str) -> Any:
    """Take one token of (batch, tokens, channels)."""
    rest = features.shape[1] - index - 1
    token = keras.layers.Cropping1D((index, rest), name=f"{HEAD}_token{suffix}")(features)
    return keras.layers.Flatten(name=f"{HEAD}_flatten{suffix}")(token)


def _add_dense(pooled: Any, classes: int, dropout: float, name: str, start: str = "glorot_uniform") -> Any:
    """Build dropout and the dense layer of logits."""
    pooled = keras.layers.Dropout(dropout, name=f"{name}_dropout")(pooled)
    # A float32 head: softmax and loss of a 16-bit head lose the small probabilities.
    return keras.layers.Dense(classes, dtype="float32", kernel_initializer=start, name=name)(pooled)
