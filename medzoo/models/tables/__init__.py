"""Generated tables: each catalogue row's Target as JSON, so that planning for it needs no Keras.

`python -m medzoo.models.tables.generate` writes them; a contract test compares each with an abstract build.
Dimensions that follow an option are written as the words "classes" and "channels"; channels that hold all that reach
an earlier layer, with a reference to it: `concat(=bn1,conv2)`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources

from medzoo.errors import ConfigError
from medzoo.tensors import Initializer, Role, Target, TensorSpec
from medzoo.wiring import Channels, join, read_channels

#: More classes or channels than this are a slip of the pen.
MOST = 1_000_000


def read_table(name: str, classes: int, channels: int) -> Target:
    """Read a catalogue row's Target for a number of classes and input channels.

    Raises:
        ConfigError: a count below 1, or beyond any use.
    """
    if not (1 <= classes <= MOST and 1 <= channels <= MOST):
        raise ConfigError(
            f"{classes} classes and {channels} channels", f"at least 1 of each and at most {MOST:,}"
        )
    text = (resources.files(__name__) / f"{name}.json").read_text(encoding="utf-8")
    table = json.loads(text)
    symbols = {"classes": classes, "channels": channels}
    initializers = [Initializer(*row) if row else None for row in table["initializers"]]
    tensors, storage, axes = {}, {}, {}
    for tensor, role, shape, letters, initializer, path in table["tensors"]:
        dimensions = tuple(symbols[size] if isinstance(size, str) else size for size in shape)
        tensors[tensor] = TensorSpec(tensor, dimensions, "float32", Role(role), initializers[initializer])
        storage[tensor], axes[tensor] = path, letters
    return Target(
        tensors,
        read_feeds(table["feeds"]),
        storage,
        name,
        classes,
        channels,
        axes=axes,
        blocks=table["blocks"],
        epsilons=table["epsilons"],
    )


def read_feeds(short: Mapping[str, str]) -> dict[str, Channels]:
    """Read the channels that reach each layer, where `=layer` stands for those that reach an earlier one.

    >>> str(read_feeds({"bn1": "concat(a,b)", "bn2": "concat(=bn1,c)"})["bn2"])
    'concat(a,b,c)'
    """
    feeds: dict[str, Channels] = {}
    for layer, text in short.items():
        feeds[layer] = (
            _fill_in(read_channels(text), feeds) if "(" in text or "=" in text else Channels("layer", text)
        )
    return feeds


def _fill_in(channels: Channels, feeds: Mapping[str, Channels]) -> Channels:
    """Put what reached earlier layers in the places of references to them."""
    if channels.kind == "layer":
        return feeds[channels.layer[1:]] if channels.layer.startswith("=") else channels
    parts = tuple(_fill_in(part, feeds) for part in channels.parts)
    if channels.kind in ("flatten", "spread"):
        return Channels(channels.kind, parts=parts, times=channels.times)
    return join(channels.kind, parts)
