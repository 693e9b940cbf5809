"""Small networks by the widths of their layers, each with what its kernels read, told by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers

from medzoo.models.attention import Attention

#: By hand, of how many channels how many are kept, and which: Xu et al. 2024, evenly.
EVEN = {
    (3, 2): (0, 2),
    (4, 2): (0, 2),
    (5, 3): (0, 2, 4),
    (6, 3): (0, 2, 4),
    (6, 4): (0, 2, 3, 5),
    (7, 4): (0, 2, 4, 6),
    (8, 3): (0, 4, 7),
    (8, 4): (0, 2, 4, 6),
    (9, 4): (0, 3, 5, 8),
    (10, 4): (0, 3, 6, 9),
    (128, 80): tuple(round(index * 127 / 79) for index in range(80)),  # a transition of DenseNet; no halves
}

Widths = Mapping[str, int]
#: By kernel the layers whose channels it reads, one after the other (`*4`: at each of four places).
Reads = Mapping[str, str]


def keep(pick: str, size: int, count: int) -> tuple[int, ...]:
    """Say which channels are kept, from the table."""
    if size == count or pick == "first":
        return tuple(range(count))
    if (size, count) in EVEN:
        return EVEN[size, count]
    assert size % count == 0, (size, count)
    return tuple(range(0, size, size // count))


@dataclass(frozen=True)
class Case:
    """A network by widths, with what its kernels read, and the widths of the source and the target."""

    build: Callable[[Widths], keras.Model]
    wide: Widths
    narrow: Widths
    reads: Reads
    groups: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def list_kept(self, pick: str, text: str) -> list[int]:
        """List the source's channels kept of what a kernel reads."""
        parts, places = text.split("*")[0].split(), int(text.partition("*")[2] or 1)
        kept: list[int] = []
        start = 0
        for part in parts:
            size, count = self.wide[part], self.narrow[part]
            blocks, blocks_kept = self.groups.get(part, (1, 1))
            width, width_kept = size // blocks, count // blocks_kept
            for block in keep(pick, blocks, blocks_kept):
                kept += [start + block * width + index for index in keep(pick, width, width_kept)]
            start += size
        return [place * start + index for place in range(places) for index in kept]


def conv(filters: int, name: str, size: int = 3, **options: Any) -> layers.Layer:
    """Make a convolution that keeps the image's size."""
    return layers.Conv2D(filters, size, padding="same", name=name, **options)


def finish(image: Any, features: Any) -> keras.Model:
    """Put pooling and a head on top."""
    pooled = layers.GlobalAveragePooling2D()(features)
    return keras.Model(image, layers.Dense(5, name="head")(pooled))


def add_norm(features: Any, name: str) -> Any:
    """Build a batch norm and a ReLU."""
    return layers.ReLU()(layers.BatchNormalization(name=name)(features))


def build_chain(widths: Widths) -> keras.Model:
    image = keras.Input((8, 8, 3))
    features = image
    for name in "abc":
        features = add_norm(conv(widths[name], name)(features), f"{name}_bn")
    return finish(image, features)


def build_sequential(widths: Widths) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            conv(widths["a"], "a"),
            layers.BatchNormalization(name="bn"),
            layers.LeakyReLU(),
            conv(widths["b"], "b", strides=2),
            layers.Flatten(),
            layers.Dense(widths["c"], name="c", activation="relu"),
            layers.Dense(5, name="head"),
        ]
    )


def build_dense_blocks(widths: Widths) -> keras.Model:
    """Two dense blocks of pre-activated layers with a transition between, as DenseNet's."""
    image = keras.Input((8, 8, 3))
    features = conv(widths["stem"], "stem")(image)
    for block in ("x", "y"):
        for layer in "12":
            new = add_norm(features, f"{block}{layer}_0bn")
            new = add_norm(
                conv(widths[f"{block}{layer}a"], f"{block}{layer}a", 1)(new), f"{block}{layer}_1bn"
            )
            new = conv(widths[f"{block}{layer}b"], f"{block}{layer}b")(new)
            features = layers.Concatenate()([features, new])
        if block == "x":
            features = layers.AveragePooling2D(2)(
                conv(widths["pool"], "pool", 1)(add_norm(features, "pool_bn"))
            )
    return finish(image, add_norm(features, "bn"))


def build_residual(widths: Widths) -> keras.Model:
    """Two residual blocks, the shortcut of the first a projection."""
    image = keras.Input((8, 8, 3))
    features = add_norm(conv(widths["stem"], "stem")(image), "stem_bn")
    for block in "xy":
        shortcut = features
        if block == "x":
            shortcut = layers.BatchNormalization(name="x0_bn")(conv(widths["x0"], "x0", 1)(features))
        branch = add_norm(conv(widths[f"{block}1"], f"{block}1")(features), f"{block}1_bn")
        branch = layers.BatchNormalization(name=f"{block}2_bn")(
            conv(widths[f"{block}2"], f"{block}2")(branch)
        )
        features = layers.ReLU()(layers.Add()([shortcut, branch]))
    return finish(image, features)


def build_summed_blocks(widths: Widths) -> keras.Model:
    """Add two concatenations, part by part, and what a single layer makes, as Inception-ResNet does."""
    image = keras.Input((8, 8, 3))
    left, right = (
        layers.Concatenate()([conv(widths[first], first)(image), conv(widths[other], other)(image)])
        for first, other in ("ab", "cd")
    )
    total = layers.ReLU()(layers.Add()([left, right]))
    total = layers.Add()([conv(widths["e"], "e", 1)(total), total])
    return finish(image, conv(widths["f"], "f")(total))


def build_depthwise(widths: Widths) -> keras.Model:
    """Depthwise filters, two of each channel, as a depthwise layer and as groups of one; separable convolutions."""
    image = keras.Input((8, 8, 3))
    features = add_norm(conv(widths["a"], "a")(image), "a_bn")
    features = layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, name="filters")(features)
    features = add_norm(features, "filters_bn")
    features = conv(widths["b"], "b", 1)(features)
    features = add_norm(conv(widths["b"], "single", 7, groups=widths["b"])(features), "single_bn")
    features = layers.SeparableConv2D(widths["c"], 3, name="c")(features)
    features = layers.Conv2DTranspose(widths["d"], 2, name="d")(layers.ReLU()(features))
    return finish(image, features)


def build_grouped(widths: Widths) -> keras.Model:
    """A grouped convolution; what it reads is summed elsewhere with another layer's, the first by name."""
    image = keras.Input((8, 8, 3))
    features = add_norm(conv(widths["a"], "a")(image), "a_bn")
    total = layers.Add()([conv(widths["A"], "A")(image), features])
    features = add_norm(conv(widths["b"], "b", groups=widths["groups"])(features), "b_bn")
    parts = [conv(widths["c"], "c", 1)(features), conv(widths["c"], "c2", 1)(total)]
    return finish(image, layers.Add()(parts))


def build_gated(widths: Widths) -> keras.Model:
    """Squeeze and excitation, once by 1×1 convolutions, once by dense layers."""
    image = keras.Input((8, 8, 3))
    features = add_norm(conv(widths["a"], "a")(image), "a_bn")
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(features)
    gate = conv(widths["up"], "up", 1, activation="sigmoid")(
        conv(widths["down"], "down", 1, activation="relu")(pooled)
    )
    features = conv(widths["b"], "b")(layers.Multiply()([features, gate]))
    gate = layers.Dense(widths["up2"], "sigmoid", name="up2")(layers.GlobalAveragePooling2D()(features))
    gate = layers.Reshape((1, 1, widths["up2"]))(gate)
    return finish(image, conv(widths["c"], "c")(layers.Multiply()([features, gate])))


def build_flattened(widths: Widths, size: int = 8) -> keras.Model:
    image = keras.Input((size, size, 3))
    features = layers.MaxPooling2D(4)(conv(widths["a"], "a", activation="relu")(image))
    features = layers.Dense(widths["b"], "relu", name="b")(layers.Flatten()(features))
    return keras.Model(image, layers.Dense(5, name="head")(features))


def build_attending(widths: Widths) -> keras.Model:
    """Attention whose heads grow fewer while the embedding stays, as in a pruned transformer; a hidden layer."""
    image = keras.Input((8, 8, 3))
    tokens = layers.Reshape((4, 10))(layers.Conv2D(10, 4, 4, name="patches")(image))
    normed = layers.LayerNormalization(name="norm")(tokens)
    triple = [layers.Dense(widths[name], name=name)(normed) for name in ("query", "key", "value")]
    branch = Attention(widths["heads"], name="attention")(*triple)
    tokens = layers.Add()([tokens, layers.Dense(10, name="projection")(branch)])
    hidden = layers.Dense(widths["hidden"], "gelu", name="hidden")(
        layers.LayerNormalization(name="norm2")(tokens)
    )
    tokens = layers.Add()([tokens, layers.Dense(10, name="out")(hidden)])
    return keras.Model(image, layers.Dense(5, name="head")(layers.GlobalAveragePooling1D()(tokens)))


def build_two_headed(widths: Widths) -> keras.Model:
    """Two heads that average their logits, as a distilled network's."""
    image = keras.Input((8, 8, 3))
    features = add_norm(conv(widths["a"], "a")(image), "a_bn")
    pooled = layers.GlobalAveragePooling2D()(features)
    logits = [layers.Dense(5, name=name)(pooled) for name in ("head", "head_distillation")]
    return keras.Model(image, layers.Average()(logits))


def build_nested(widths: Widths) -> keras.Model:
    """A functional model and a sequential one within another."""
    image, inner = keras.Input((8, 8, 3)), keras.Input((8, 8, widths["a"]))
    functional = keras.Model(inner, add_norm(conv(widths["b"], "b")(inner), "b_bn"), name="inner")
    chain = keras.Sequential(
        [conv(widths["c"], "c"), layers.BatchNormalization(name="c_bn"), layers.ReLU()], name="chain"
    )
    return finish(image, chain(functional(conv(widths["a"], "a")(image))))


CASES: dict[str, Case] = {
    "chain": Case(
        build_chain,
        {"a": 6, "b": 8, "c": 5},
        {"a": 3, "b": 3, "c": 3},
        {"b/kernel": "a", "c/kernel": "b", "head/kernel": "c"},
    ),
    "only the middle": Case(
        build_chain, {"a": 4, "b": 9, "c": 4}, {"a": 4, "b": 4, "c": 4}, {"c/kernel": "b"}
    ),
    "sequential": Case(
        build_sequential,
        {"a": 6, "b": 7, "c": 10},
        {"a": 4, "b": 4, "c": 4},
        {"b/kernel": "a", "c/kernel": "b*16", "head/kernel": "c"},
    ),
    "dense blocks": Case(
        build_dense_blocks,
        {
            "stem": 6,
            "x1a": 8,
            "x1b": 4,
            "x2a": 8,
            "x2b": 5,
            "pool": 7,
            "y1a": 8,
            "y1b": 4,
            "y2a": 8,
            "y2b": 3,
        },
        {
            "stem": 4,
            "x1a": 4,
            "x1b": 2,
            "x2a": 4,
            "x2b": 3,
            "pool": 4,
            "y1a": 4,
            "y1b": 2,
            "y2a": 3,
            "y2b": 2,
        },
        {
            "x1a/kernel": "stem",
            "x1b/kernel": "x1a",
            "x2a/kernel": "stem x1b",
            "x2b/kernel": "x2a",
            "pool/kernel": "stem x1b x2b",
            "y1a/kernel": "pool",
            "y1b/kernel": "y1a",
            "y2a/kernel": "pool y1b",
            "y2b/kernel": "y2a",
            "head/kernel": "pool y1b y2b",
        },
    ),
    "residual sums": Case(
        build_residual,
        {"stem": 6, "x0": 8, "x1": 5, "x2": 8, "y1": 7, "y2": 8},
        {"stem": 4, "x0": 3, "x1": 3, "x2": 3, "y1": 4, "y2": 3},
        {
            "x0/kernel": "stem",
            "x1/kernel": "stem",
            "x2/kernel": "x1",
            "y1/kernel": "x0",
            "y2/kernel": "y1",
            "head/kernel": "y2",
        },
    ),
    "sums of concatenations": Case(
        build_summed_blocks,
        {"a": 6, "b": 4, "c": 6, "d": 4, "e": 10, "f": 5},
        {"a": 3, "b": 2, "c": 3, "d": 2, "e": 5, "f": 3},
        {"e/kernel": "a b", "f/kernel": "c d", "head/kernel": "f"},
    ),
    "depthwise": Case(
        build_depthwise,
        {"a": 6, "a_twice": 12, "b": 8, "c": 7, "d": 9},
        {"a": 3, "a_twice": 6, "b": 4, "c": 4, "d": 4},
        {
            "b/kernel": "a_twice",
            "c/pointwise_kernel": "b",
            "d/kernel": "c",
            "head/kernel": "d",
        },
        groups={"a_twice": (6, 3)},  # both filters of a channel
    ),
    "fewer groups": Case(
        build_grouped,
        {"a": 12, "A": 12, "b": 16, "c": 5, "groups": 4},
        {"a": 6, "A": 6, "b": 8, "c": 3, "groups": 2},
        {"b/kernel": "a", "c/kernel": "b", "c2/kernel": "a", "head/kernel": "c"},
        groups={"a": (4, 2), "b": (4, 2)},
    ),
    "narrower groups": Case(
        build_grouped,
        {"a": 12, "A": 12, "b": 20, "c": 5, "groups": 2},
        {"a": 6, "A": 6, "b": 8, "c": 3, "groups": 2},
        {"b/kernel": "a", "c/kernel": "b", "c2/kernel": "a", "head/kernel": "c"},
        groups={"a": (2, 2), "b": (2, 2)},
    ),
    "gates": Case(
        build_gated,
        {"a": 8, "down": 4, "up": 8, "b": 9, "up2": 9, "c": 5},
        {"a": 3, "down": 2, "up": 3, "b": 4, "up2": 4, "c": 3},
        {
            "down/kernel": "a",
            "up/kernel": "down",
            "b/kernel": "a",
            "up2/kernel": "b",
            "c/kernel": "b",
            "head/kernel": "c",
        },
    ),
    "flattened": Case(
        build_flattened,
        {"a": 5, "b": 10},
        {"a": 3, "b": 4},
        {"b/kernel": "a*4", "head/kernel": "b"},
    ),
    "attention": Case(
        build_attending,
        {"query": 18, "key": 18, "value": 18, "heads": 6, "hidden": 9},
        {"query": 9, "key": 9, "value": 9, "heads": 3, "hidden": 4},
        {"projection/kernel": "value", "out/kernel": "hidden"},
        groups={"value": (6, 3)},
    ),
    "two heads": Case(
        build_two_headed,
        {"a": 8},
        {"a": 3},
        {"head/kernel": "a", "head_distillation/kernel": "a"},
    ),
    "nested": Case(
        build_nested,
        {"a": 6, "b": 8, "c": 5},
        {"a": 4, "b": 3, "c": 3},
        {"b/kernel": "a", "chain/c/kernel": "b", "head/kernel": "c"},
    ),
}
