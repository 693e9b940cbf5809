"""The layers of a network that Keras numbered by itself, in their order of creation."""

from __future__ import annotations

import re
from typing import Any


def list_numbered(network: Any, kind: str) -> list[str]:
    """List a network's layers whose names are a class's and a number: `conv2d`, `conv2d_1`, …

    Keras counts through the process, so that numbers differ from build to build; their order does not.
    """
    found = (re.fullmatch(rf"{kind}(?:_(\d+))?", layer.name) for layer in network.layers)
    return [
        match[0]
        for match in sorted((match for match in found if match), key=lambda match: int(match[1] or 0))
    ]
