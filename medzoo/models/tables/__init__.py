"""Generated tables: each catalogue row's Target as JSON, so that planning for it needs no Keras.

`python -m medzoo.models.tables.generate` writes them; a contract test compares each with an abstract build.
Dimensions that follow an option are written as the words "classes" and "channels".
"""

from __future__ import annotations

import json
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
    feeds = {layer: tuple(suppliers) for layer, suppliers in table["feeds"].items()}
    return Target(tensors, feeds, storage, name, classes, channels)
