"""Channels that change places wherever they travel change no answer: feeds, axes and blocks against real values."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import layers
from wired_networks import add_residuals, build_tiny, concatenate_three, conv, sequence, squeeze_and_excite

import medzoo
from medzoo.models.describe import describe_network
from medzoo.tensors import Target, name_variables
from medzoo.wiring import Channels


class Places:
    """New places for the channels that each layer makes, and for what is made of them."""

    def __init__(self, target: Target, groups: int) -> None:
        """Draw a permutation for each set of layers whose channels are summed; `groups` are those of group norms."""
        self.target, self.groups, self.tied = target, groups, {}
        self.random = np.random.default_rng(4)
        self.drawn: dict[str, np.ndarray] = {}
        self.fixed = {"head", "<input>"}
        for channels in target.feeds.values():
            self._tie(channels)
        self.fixed = {self._find(layer) for layer in self.fixed}

    def _tie(self, channels: Channels) -> None:
        """Note what must keep one order; what is mixed, or summed with what is no layer, stays in place."""
        alone = channels.kind == "sum" and all(part.kind == "layer" for part in channels.parts)
        if alone:
            for part in channels.parts[1:]:
                self.tied[self._find(part.layer)] = self._find(channels.parts[0].layer)
        elif channels.kind in ("mixed", "sum"):
            self.fixed |= set(channels.makers)
        for part in channels.parts:
            self._tie(part)

    def _find(self, layer: str) -> str:
        """Give the layer that stands for those tied to this one."""
        while self.tied.get(layer, layer) != layer:
            layer = self.tied[layer]
        return layer

    def of_layer(self, layer: str, size: int) -> np.ndarray:
        """Give the places that a layer's channels come from."""
        layer = self._find(layer)
        if layer in self.fixed:
            return np.arange(size)
        if layer not in self.drawn:
            blocks = self.target.blocks.get(layer)
            if blocks:  # queries and keys must agree
                order = np.roll(np.arange(size // blocks), 1)
                self.drawn[layer] = (np.arange(blocks)[:, None] * (size // blocks) + order).reshape(-1)
            else:
                count = self.groups or size
                outer = self.random.permutation(count)
                inner = self.random.permutation(size // count)
                self.drawn[layer] = (outer[:, None] * (size // count) + inner).reshape(-1)
        assert len(self.drawn[layer]) == size, layer
        return self.drawn[layer]

    def measure(self, layer: str) -> int:
        """Tell how many channels a layer makes."""
        if layer == "<input>":
            return 3
        return next(
            self.target.tensors[name].shape[axes.index("o")]
            for name, axes in self.target.axes.items()
            if name.rpartition("/")[0] == layer and "o" in axes
        )

    def of_channels(self, channels: Channels) -> np.ndarray:
        """Give the places that channels made of others come from."""
        if channels.kind == "layer":
            return self.of_layer(channels.layer, self.measure(channels.layer))
        parts = [self.of_channels(part) for part in channels.parts]
        if channels.kind == "concat":
            starts = np.cumsum([0, *map(len, parts)])
            return np.concatenate([part + start for part, start in zip(parts, starts, strict=False)])
        places = np.arange(channels.times)
        if channels.kind == "flatten":
            return (places[:, None] * len(parts[0]) + parts[0]).reshape(-1)
        if channels.kind == "spread":
            return (parts[0][:, None] * channels.times + places).reshape(-1)
        assert all(np.array_equal(part, parts[0]) for part in parts)
        return parts[0]

    def move(self, name: str, values: np.ndarray) -> np.ndarray:
        """Put a tensor's channels in their new places."""
        layer = name.rpartition("/")[0]
        for axis, letter in enumerate(self.target.axes[name]):
            if letter in "iIc":
                values = values.take(self.of_channels(self.target.feeds[layer]), axis)
            elif letter == "o":
                values = values.take(self.of_layer(layer, values.shape[axis]), axis)
            elif letter == "g":
                inner = self.of_channels(self.target.feeds[layer])[: values.shape[axis]]
                values = values.take(inner, axis)
        return values


MOVED: dict[str, tuple[Callable[[], keras.Model], int]] = {
    "dense block": (lambda: build_tiny(concatenate_three), 0),
    "residual sums": (lambda: build_tiny(add_residuals), 0),
    "squeeze and excite": (lambda: build_tiny(squeeze_and_excite), 0),
    "two filters": (
        lambda: build_tiny(
            sequence(conv(4, "a"), layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False))
        ),
        0,
    ),
    "groups": (lambda: build_tiny(sequence(conv(8, "a"), conv(12, "b", groups=4), conv(3, "c"))), 0),
    "groups of one": (lambda: build_tiny(sequence(conv(8, "a"), conv(8, "b", groups=8), conv(3, "c"))), 0),
    "separable": (lambda: build_tiny(sequence(conv(4, "a"), layers.SeparableConv2D(6, 3, name="b"))), 0),
    "transposed": (lambda: build_tiny(sequence(conv(4, "a"), layers.Conv2DTranspose(6, 2, name="b"))), 0),
    **{
        name: (
            lambda name=name, size=size: medzoo.build(name, classes=2, channels=3, input_size=size),
            groups,
        )
        for name, size, groups in (
            ("cbr_tiny", 32, 0),
            ("resnet50_torch@conv3", 32, 0),
            ("densenet121@conv3", 32, 0),
            ("mobilenet_v3_small_100@stage5", 32, 0),
            ("bit_r50x1@block2", 32, 32),
            ("convnext_tiny@stage_1", 32, 0),
            ("vit_ti16@block2", 32, 0),
            ("swin_t@stage2_block2", 56, 0),
            ("inception_v3@mixed_5", 96, 0),
        )
    },
}


@pytest.mark.parametrize("name", MOVED)
def test_channels_that_change_places_everywhere_change_no_answer(name: str) -> None:
    """Whatever a layer's channels are called, those who read them by feeds and axes find each where it went."""
    build, groups = MOVED[name]
    keras.utils.set_random_seed(3)
    network = build()
    random = np.random.default_rng(5)
    variables = name_variables(network)
    for path, variable in variables.items():
        if "kernel" not in path:
            variable.assign(random.uniform(0.5, 1.5, variable.shape).astype("float32"))
    images = random.normal(size=(2, *network.input_shape[1:])).astype("float32")
    expected = np.asarray(network(images))
    places = Places(describe_network(network), groups)
    moved = 0
    for path, variable in variables.items():
        before = np.asarray(variable)
        after = places.move(path, before)
        moved += not np.array_equal(before, after)
        variable.assign(after)
    assert moved > len(variables) // 2
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(
        np.asarray(network(images)), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
    )
