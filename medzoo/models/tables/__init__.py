"""Generated tables: each catalogue row's Target as JSON, so that planning for it needs no Keras.

`python -m medzoo.models.tables.generate` writes them; a contract test compares each with an abstract build.
Dimensions that follow an option are written as the words "classes" and "channels"; suppliers that begin with all of
an earlier layer's, as a reference to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources

from medzoo.errors import ConfigError
from medzoo.tensors import Initializer, Role, Target, TensorSpec

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
    tensors, storage = {}, {}
    for tensor, role, shape, initializer, path in table["tensors"]:
        dimensions = tuple(symbols[size] if isinstance(size, str) else size for size in shape)
        tensors[tensor] = TensorSpec(tensor, dimensions, "float32", Role(role), initializers[initializer])
        storage[tensor] = path
    return Target(tensors, _read_feeds(table["feeds"]), storage, name, classes, channels)


def _read_feeds(short: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Write out suppliers that begin with all of an earlier layer's, given as `=layer`."""
    feeds: dict[str, tuple[str, ...]] = {}
    for layer, suppliers in short.items():
        known = feeds[suppliers[0][1:]] if suppliers and suppliers[0].startswith("=") else ()
        feeds[layer] = (*known, *suppliers[1 if known else 0 :])
    return feeds
