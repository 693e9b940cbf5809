"""Swin (Liu et al. 2021, arXiv 2103.14030): attention within windows that shift in every second block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from medzoo.models.attention import (
    Shape,
    add_branch,
    add_mlp,
    attend,
    initialize,
    list_rates,
    make_dense,
)
from medzoo.models.rows.options import read_numbers
from medzoo.models.rows.swin import PATCH
from medzoo.models.rows.vit import count_heads
from medzoo.specs import ModelSpec
from medzoo.wiring import Channels

#: What is added to the scores of two tokens that only the cyclic shift made neighbours; e^-100 is nothing.
_APART = -100.0


@dataclass(frozen=True)
class Grid:
    """How a map of `height`×`width` tokens is cut into windows of `side`×`side`, shifted by `shift` tokens."""

    height: int
    width: int
    side: int
    shift: int

    @property
    def rows(self) -> int:
        """The windows from top to bottom, of a map padded to whole windows."""
        return -(-self.height // self.side)

    @property
    def columns(self) -> int:
        """The windows from left to right."""
        return -(-self.width // self.side)

    def label_regions(self) -> np.ndarray:
        """Label the tokens of every window by region: tokens of two regions lie together by the shift alone.

        Along either axis the shifted map has three: all but the last window, and the two parts of the last.
        """
        along = [
            (np.arange(size) >= size - self.side).astype("int32") + (np.arange(size) >= size - self.shift)
            for size in (self.rows * self.side, self.columns * self.side)
        ]
        labels = 3 * along[0][:, None] + along[1][None, :]
        windows = labels.reshape(self.rows, self.side, self.columns, self.side).swapaxes(1, 2)
        return np.asarray(windows.reshape(self.rows * self.columns, self.side**2))


def lay_grid(height: int, width: int, window: int, shifted: bool) -> Grid:
    """Lay the windows over a map: where the map's smaller side does not exceed the window, they shrink to it.

    Then nothing is left to shift. It is the rule of Microsoft's code, which makes smaller tables for smaller
    windows; here the table stays that of `window`, and its middle is used, as offsets within a smaller window
    are. So weights fit any input, and a map just larger than the window is padded with zeros as there.

    >>> lay_grid(56, 56, 7, True)
    Grid(height=56, width=56, side=7, shift=3)
    >>> lay_grid(4, 4, 7, True)
    Grid(height=4, width=4, side=4, shift=0)
    """
    side = min(height, width)
    if side <= window:
        return Grid(height, width, side, 0)
    return Grid(height, width, window, window // 2 if shifted else 0)


class _GridLayer(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """A layer of a Swin block that knows how its map is cut into windows."""

    def __init__(self, grid: Grid | dict[str, int], **options: Any) -> None:
        """Take the grid, as a dictionary where a file is read, and a layer's common options."""
        super().__init__(**options)
        self.grid = Grid(**grid) if isinstance(grid, dict) else grid

    def get_config(self) -> dict[str, Any]:
        """Give what `from_config` needs."""
        return {**super().get_config(), "grid": asdict(self.grid)}


@keras.saving.register_keras_serializable("medzoo")
class SplitWindows(_GridLayer):
    """Cut a map into windows: (batch, height, width, channels) → (batch, windows, side², channels).

    Windows that the map does not fill are padded with zeros at the bottom and on the right; then the map is
    shifted up and to the left, cyclically.
    """

    channels_like = "Identity"

    def call(self, inputs: Any) -> Any:
        """Pad, shift, cut."""
        grid, channels = self.grid, inputs.shape[-1]
        bottom, right = grid.rows * grid.side - grid.height, grid.columns * grid.side - grid.width
        if bottom or right:
            inputs = keras.ops.pad(inputs, ((0, 0), (0, bottom), (0, right), (0, 0)))
        if grid.shift:
            inputs = keras.ops.roll(inputs, (-grid.shift, -grid.shift), axis=(1, 2))
        parts = keras.ops.reshape(inputs, (-1, grid.rows, grid.side, grid.columns, grid.side, channels))
        parts = keras.ops.transpose(parts, (0, 1, 3, 2, 4, 5))
        return keras.ops.reshape(parts, (-1, grid.rows * grid.columns, grid.side**2, channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Give the output's shape."""
        return (input_shape[0], self.grid.rows * self.grid.columns, self.grid.side**2, input_shape[-1])


@keras.saving.register_keras_serializable("medzoo")
class JoinWindows(_GridLayer):
    """Put windows back into a map: (batch, windows, side², channels) → (batch, height, width, channels)."""

    channels_like = "Identity"

    def call(self, inputs: Any) -> Any:
        """Join, shift back, crop what was padded."""
        grid, channels = self.grid, inputs.shape[-1]
        parts = keras.ops.reshape(inputs, (-1, grid.rows, grid.columns, grid.side, grid.side, channels))
        parts = keras.ops.transpose(parts, (0, 1, 3, 2, 4, 5))
        joined = keras.ops.reshape(parts, (-1, grid.rows * grid.side, grid.columns * grid.side, channels))
        if grid.shift:
            joined = keras.ops.roll(joined, (grid.shift, grid.shift), axis=(1, 2))
        return joined[:, : grid.height, : grid.width, :]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Give the output's shape."""
        return (input_shape[0], self.grid.height, self.grid.width, input_shape[-1])


@keras.saving.register_keras_serializable("medzoo")
class WindowAttention(_GridLayer):
    """Attention of several heads within each window: queries, keys, values (batch, windows, tokens, channels) → same.

    It owns `relative_position_bias_table` ((2·window − 1)², heads): what each head adds to the score of two
    tokens by how far they are apart, rows first. Tokens that the shift alone brought together are kept apart.
    """

    weight_axes: ClassVar = {"relative_position_bias_table": "ph"}

    def __init__(self, grid: Grid | dict[str, int], window: int, heads: int, **options: Any) -> None:
        """Take the grid, the window that the table is for, the number of heads, a layer's common options."""
        super().__init__(grid, **options)
        self.window, self.heads = window, heads
        self.relative_position_bias_table_initializer = initialize()

    def build(self, query_shape: Shape, key_shape: Shape, value_shape: Shape) -> None:
        """Make the table, whose shape hangs on no input."""
        del query_shape, key_shape, value_shape
        self.relative_position_bias_table = self.add_weight(
            name="relative_position_bias_table",
            shape=((2 * self.window - 1) ** 2, self.heads),
            initializer=self.relative_position_bias_table_initializer,
            autocast=False,  # it is added to scores, which are float32
        )

    def call(self, query: Any, key: Any, value: Any) -> Any:
        """Mix the values of each window."""
        side = self.grid.side**2
        bias = keras.ops.take(self.relative_position_bias_table, self._index_offsets().ravel(), axis=0)
        bias = keras.ops.transpose(keras.ops.reshape(bias, (side, side, self.heads)), (2, 0, 1))
        bias = keras.ops.cast(bias, "float32")
        if self.grid.shift:
            # Compared where it runs: a stored mask of a large map would weigh as much as the network.
            regions = keras.ops.convert_to_tensor(self.grid.label_regions())
            apart = regions[:, None, :, None] != regions[:, None, None, :]
            bias = bias + _APART * keras.ops.cast(apart, "float32")
        return attend(query, key, value, self.heads, bias)

    def relay_channels(self, query: Channels, key: Channels, value: Channels) -> Channels:
        """Give the values' channels: queries and keys say how much, only values say what."""
        del query, key
        return value

    def _index_offsets(self) -> np.ndarray:
        """Give each pair of tokens of a window its row of the table."""
        rows, columns = np.divmod(np.arange(self.grid.side**2, dtype="int32"), self.grid.side)
        down = rows[:, None] - rows[None, :] + self.window - 1
        across = columns[:, None] - columns[None, :] + self.window - 1
        return np.asarray(down * (2 * self.window - 1) + across)

    def compute_output_shape(self, query_shape: Shape, key_shape: Shape, value_shape: Shape) -> Shape:
        """Give the output's shape: the queries'."""
        del key_shape, value_shape
        return query_shape

    def count_macs(self, *input_shapes: tuple[int, ...]) -> int:
        """Count the multiply-accumulates of one image: scores, then values; shapes are without the batch.

        >>> WindowAttention(lay_grid(4, 4, 2, False), window=2, heads=2).count_macs((4, 4, 8), (4, 4, 8), (4, 4, 8))
        1024
        """
        windows, tokens, channels = input_shapes[0]
        return 2 * windows * tokens**2 * channels

    def get_config(self) -> dict[str, Any]:
        """Give what `from_config` needs."""
        return {**super().get_config(), "window": self.window, "heads": self.heads}


@keras.saving.register_keras_serializable("medzoo")
class MergePatches(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """Put four neighbours' channels together: (batch, height, width, c) → (batch, ⌈height/2⌉, ⌈width/2⌉, 4c).

    Their order is that of every Swin: top left, bottom left, top right, bottom right. Odd sides are padded
    with zeros.
    """

    def call(self, inputs: Any) -> Any:
        """Pad, then gather."""
        _, height, width, channels = inputs.shape
        if height % 2 or width % 2:
            inputs = keras.ops.pad(inputs, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
        height, width = -(-height // 2), -(-width // 2)
        parts = keras.ops.reshape(inputs, (-1, height, 2, width, 2, channels))
        parts = keras.ops.transpose(parts, (0, 1, 3, 4, 2, 5))
        return keras.ops.reshape(parts, (-1, height, width, 4 * channels))

    def relay_channels(self, inputs: Channels) -> Channels:
        """Give the channels of each of the four, one after the other."""
        return Channels("flatten", parts=(inputs,), times=4)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Give the output's shape."""
        batch, height, width, channels = input_shape
        return (batch, -(-height // 2), -(-width // 2), 4 * channels)


def build_parts(spec: ModelSpec, inputs: Any, drop_path: float) -> Iterator[Any]:
    """Build a Swin on `inputs` (batch, height, width, channels), part by part.

    Every part's output is (batch, height, width, channels); sides are a quarter of the input's, and halved,
    rounded up, by every patch merging. `drop_path` is the last block's rate.
    """
    options = spec.options
    depths = read_numbers(options["depths"])
    heads = count_heads(spec.name, int(options["heads"]), float(options["width"]))
    channels, epsilon = heads * int(options["head_size"]), float(options["epsilon"])
    rates = iter(list_rates(drop_path, sum(depths)))
    features = keras.layers.Conv2D(
        channels, PATCH, PATCH, kernel_initializer="lecun_normal", name="patch_embed"
    )(inputs)
    features = keras.layers.LayerNormalization(epsilon=epsilon, name="patch_norm")(features)
    yield features
    for stage, depth in enumerate(depths, start=1):
        if stage > 1:
            features = _merge(features, epsilon, f"stage{stage - 1}_downsample")
            yield features
        for block in range(1, depth + 1):
            name, rate = f"stage{stage}_block{block}", next(rates)
            _, height, width, _ = features.shape
            grid = lay_grid(height, width, int(options["window"]), shifted=block % 2 == 0)
            attention = WindowAttention(
                grid, int(options["window"]), heads * 2 ** (stage - 1), name=f"{name}_positions"
            )
            features = _add_attention(features, attention, epsilon, rate, name)
            features = add_mlp(features, epsilon, rate, name)
            yield features
    yield keras.layers.LayerNormalization(epsilon=epsilon, name="norm")(features)


def _merge(features: Any, epsilon: float, name: str) -> Any:
    """Build patch merging: four neighbours' channels, a norm, half as many channels."""
    channels = features.shape[-1]
    features = MergePatches(name=f"{name}_patches")(features)
    features = keras.layers.LayerNormalization(epsilon=epsilon, name=f"{name}_norm")(features)
    return make_dense(2 * channels, f"{name}_reduction", bias=False)(features)


def _add_attention(features: Any, attention: WindowAttention, epsilon: float, rate: float, name: str) -> Any:
    """Build a block's first half: norm, windows, attention within each, projection, the map again, the sum."""
    channels = features.shape[-1]
    branch = keras.layers.LayerNormalization(epsilon=epsilon, name=f"{name}_norm1")(features)
    branch = SplitWindows(attention.grid, name=f"{name}_windows")(branch)
    triple = [make_dense(channels, f"{name}_{part}")(branch) for part in ("query", "key", "value")]
    branch = make_dense(channels, f"{name}_projection")(attention(*triple))
    branch = JoinWindows(attention.grid, name=f"{name}_unwindow")(branch)
    return add_branch(features, branch, rate, name, 1)
