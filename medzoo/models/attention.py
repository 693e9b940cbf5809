"""What vision transformers are made of: tokens, positions, attention of several heads, residual branches."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np

from medzoo.wiring import Channels

#: A shape with its batch; None where a size is not known.
Shape = tuple[Any, ...]


def initialize() -> Any:
    """Make the initializer of kernels, tokens and positions: DeiT's and Swin's normal of deviation 0.02."""
    return keras.initializers.TruncatedNormal(stddev=0.02)


def attend(query: Any, key: Any, value: Any, heads: int, bias: Any = None) -> Any:
    """Mix values by the softmax of scaled dot products, in each head apart: (…, tokens, channels) as all three are.

    `bias` is added to the scores (…, heads, tokens, tokens). Scores and softmax are float32 under any precision
    policy; queries are scaled before the product, which float16 could not hold otherwise.
    """
    size = query.shape[-1] // heads
    query, key, value = (_split_heads(tensor, heads, size) for tensor in (query * size**-0.5, key, value))
    # Timed on CPU beside einsum and dot_product_attention (ViT's and Swin's shapes, with and without XLA, forward
    # and backward): the fastest in five of eight cases, at most 1.4 times the fastest in the others.
    scores = keras.ops.cast(keras.ops.matmul(query, keras.ops.swapaxes(key, -1, -2)), "float32")
    if bias is not None:
        scores = scores + bias
    # Keras warns of a softmax over one token; its weight is 1, whatever the score.
    weights = keras.ops.softmax(scores, axis=-1) if scores.shape[-1] != 1 else 0.0 * scores + 1.0
    mixed = keras.ops.swapaxes(keras.ops.matmul(keras.ops.cast(weights, value.dtype), value), -2, -3)
    return keras.ops.reshape(mixed, (-1, *mixed.shape[1:-2], heads * size))


def _split_heads(tensor: Any, heads: int, size: int) -> Any:
    """Turn (…, tokens, channels) into (…, heads, tokens, channels of a head)."""
    return keras.ops.swapaxes(keras.ops.reshape(tensor, (-1, *tensor.shape[1:-1], heads, size)), -2, -3)


@keras.saving.register_keras_serializable("medzoo")
class PrefixTokens(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """Put learnt tokens before those of an image: (batch, n, channels) → (batch, n + 1 or 2, channels).

    The class token `cls_token` comes first; with `prefix_tokens=2`, `distillation_token` follows.
    """

    channels_like = "Identity"
    weight_axes: ClassVar = {"cls_token": "..c", "distillation_token": "..c"}

    def __init__(self, prefix_tokens: int = 1, **options: Any) -> None:
        """Take the number of tokens, 1 or 2, and a layer's common options."""
        super().__init__(**options)
        self.prefix_tokens = prefix_tokens
        self.cls_token_initializer = initialize()
        self.distillation_token_initializer = initialize()

    def build(self, input_shape: Shape) -> None:
        """Make the tokens, each (1, 1, channels)."""
        shape = (1, 1, input_shape[-1])
        self.cls_token = self.add_weight(
            name="cls_token", shape=shape, initializer=self.cls_token_initializer
        )
        if self.prefix_tokens == 2:
            self.distillation_token = self.add_weight(
                name="distillation_token", shape=shape, initializer=self.distillation_token_initializer
            )

    def call(self, inputs: Any) -> Any:
        """Repeat the tokens for every image and put them first."""
        tokens = [self.cls_token, *([self.distillation_token] if self.prefix_tokens == 2 else [])]
        shape = (keras.ops.shape(inputs)[0], 1, inputs.shape[-1])
        repeated = [keras.ops.broadcast_to(keras.ops.cast(token, inputs.dtype), shape) for token in tokens]
        return keras.ops.concatenate([*repeated, inputs], axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Give the output's shape."""
        batch, tokens, channels = input_shape
        return (batch, None if tokens is None else tokens + self.prefix_tokens, channels)

    def get_config(self) -> dict[str, Any]:
        """Give what `from_config` needs."""
        return {**super().get_config(), "prefix_tokens": self.prefix_tokens}


@keras.saving.register_keras_serializable("medzoo")
class PositionEmbedding(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """Add a learnt vector to every token: (batch, tokens, channels), `pos_embed` is (1, tokens, channels)."""

    channels_like = "Identity"
    weight_axes: ClassVar = {"pos_embed": ".pc"}

    def build(self, input_shape: Shape) -> None:
        """Make the positions, as many as there are tokens."""
        self.pos_embed_initializer = initialize()
        self.pos_embed = self.add_weight(
            name="pos_embed", shape=(1, *input_shape[1:]), initializer=self.pos_embed_initializer
        )

    def call(self, inputs: Any) -> Any:
        """Add the positions."""
        return inputs + keras.ops.cast(self.pos_embed, inputs.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Give the output's shape: the input's."""
        return input_shape


@keras.saving.register_keras_serializable("medzoo")
class Attention(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """Attention of several heads without weights: queries, keys, values (batch, tokens, channels) → the same."""

    def __init__(self, heads: int, **options: Any) -> None:
        """Take the number of heads, which divides the channels, and a layer's common options."""
        super().__init__(**options)
        self.heads = heads

    def call(self, query: Any, key: Any, value: Any) -> Any:
        """Mix the values of all tokens."""
        return attend(query, key, value, self.heads)

    def relay_channels(self, query: Channels, key: Channels, value: Channels) -> Channels:
        """Give the values' channels: queries and keys say how much, only values say what."""
        del query, key
        return value

    def compute_output_shape(self, query_shape: Shape, key_shape: Shape, value_shape: Shape) -> Shape:
        """Give the output's shape: the queries' tokens, the values' channels."""
        del key_shape
        return (*query_shape[:-1], value_shape[-1])

    def count_macs(self, *input_shapes: tuple[int, ...]) -> int:
        """Count the multiply-accumulates of one image: scores, then values; shapes are without the batch.

        >>> Attention(heads=2).count_macs((5, 8), (5, 8), (5, 8))
        400
        """
        (tokens, channels), (keys, _), _ = input_shapes
        return 2 * tokens * keys * channels

    def get_config(self) -> dict[str, Any]:
        """Give what `from_config` needs."""
        return {**super().get_config(), "heads": self.heads}


def make_dense(units: int, name: str, bias: bool = True) -> Any:
    """Make a dense layer with the initializer of transformers."""
    return keras.layers.Dense(units, use_bias=bias, kernel_initializer=initialize(), name=name)


def add_branch(features: Any, branch: Any, rate: float, name: str, number: int) -> Any:
    """Add a residual branch to its features; in training, drop it from `rate` of the images (drop path)."""
    shape = (None, *(1 for _ in branch.shape[1:]))
    branch = keras.layers.Dropout(rate, noise_shape=shape, name=f"{name}_drop{number}")(branch)
    return keras.layers.Add(name=f"{name}_add{number}")([features, branch])


def add_mlp(features: Any, epsilon: float, rate: float, name: str) -> Any:
    """Build a block's second half: norm, a dense layer four times as wide, exact GELU, a dense layer, the sum."""
    channels = features.shape[-1]
    branch = keras.layers.LayerNormalization(epsilon=epsilon, name=f"{name}_norm2")(features)
    branch = make_dense(4 * channels, f"{name}_mlp1")(branch)
    branch = keras.layers.Activation("gelu", name=f"{name}_gelu")(branch)
    branch = make_dense(channels, f"{name}_mlp2")(branch)
    return add_branch(features, branch, rate, name, 2)


def list_rates(drop_path: float, blocks: int) -> list[float]:
    """List each block's rate of drop path, rising evenly from 0 to `drop_path`.

    >>> list_rates(0.2, 3)
    [0.0, 0.1, 0.2]
    """
    return [float(rate) for rate in np.linspace(0.0, drop_path, blocks)]
