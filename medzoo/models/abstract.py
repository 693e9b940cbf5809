"""Building networks without allocating their weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
from keras.src.backend.common import global_state

#: Where Keras keeps the variables that it means to give values later.
_PENDING = "uninitialized_variables"


@contextmanager
def build_without_weights() -> Iterator[None]:
    """Build layers and graphs within this scope: their variables have shapes and never values.

    `StatelessScope(initialize_variables=False)` is undocumented in Keras, and leaves the variables on a list of
    those to be given values whenever another scope ends: then gigabytes would be filled for networks long
    forgotten. Keras has no public name for that list. This is the only use of both; tests compare the answer with
    a real build, and look at the list.

    >>> with build_without_weights():
    ...     layer = keras.layers.Dense(10**6)
    ...     layer.build((None, 10**6))
    >>> tuple(layer.kernel.shape)
    (1000000, 1000000)
    """
    before = list(global_state.get_global_attribute(_PENDING, []))
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute(_PENDING, before)
