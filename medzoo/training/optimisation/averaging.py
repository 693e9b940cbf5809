"""A moving average of the weights, which validates better than the last of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras


class WeightAverage:
    """Keeps an exponential moving average of everything in a model that is saved: weights and moving statistics.

    After n updates the next keeps min(`decay`, (1 + n) / (10 + n)) of the average, so that the first weights do not
    linger. Values that are not floating are taken as they are; seeds are left out. Under a strategy make it, as the
    model, within the scope: every device averages what it holds.
    """

    def __init__(self, model: Any, decay: float) -> None:
        self.decay = decay
        self._weights = list(model.weights)
        self._averages = [_copy(index, weight) for index, weight in enumerate(self._weights)]
        self.counter = keras.Variable(
            0, dtype="int", trainable=False, aggregation="only_first_replica", name="average_counter"
        )

    @property
    def variables(self) -> list[Any]:
        """All state, in a fixed order: the count of updates, then the averages in the model's order."""
        return [self.counter, *self._averages]

    def update(self) -> None:
        """Move the averages towards the weights, in a graph or at once; after each update of the weights."""
        import tensorflow as tf

        count = keras.ops.cast(self.counter, "float32")
        moved = 1.0 - keras.ops.minimum(self.decay, (1.0 + count) / (10.0 + count))
        if tf.distribute.has_strategy():
            tf.distribute.get_replica_context().merge_call(self._move_everywhere, args=(moved,))
        else:
            for average, weight in zip(self._averages, self._weights, strict=True):
                _move(average.value, weight.value, moved)
        self.counter.assign_add(1)

    def _move_everywhere(self, strategy: Any, moved: Any) -> None:
        """Move every device's copy of the averages."""
        for average, weight in zip(self._averages, self._weights, strict=True):
            strategy.extended.update(average.value, _move, args=(weight.value, moved), group=False)

    @contextmanager
    def swap(self) -> Iterator[None]:
        """Put the averages into the model, and the very weights from before back afterwards.

        Whatever is done to the model's weights in between, such as recalibration, is undone with it.
        """
        kept = [weight.numpy() for weight in self._weights]
        try:
            for average, weight in zip(self._averages, self._weights, strict=True):
                weight.assign(average.value)
            yield
        finally:
            for weight, value in zip(self._weights, kept, strict=True):
                weight.assign(value)


def _copy(index: int, weight: Any) -> Any:
    """Make the average of one weight, which begins as the weight is."""
    return keras.Variable(
        weight.numpy(),
        dtype=weight.dtype,
        trainable=False,
        autocast=False,
        name=f"average_{index}_{weight.path.replace('/', '_')}",
    )


def _move(average: Any, weight: Any, moved: Any) -> None:
    """Move one average, a TensorFlow variable, by a share of its distance to the weight."""
    import tensorflow as tf

    if average.dtype.is_floating:
        average.assign_add((weight - average) * tf.cast(moved, average.dtype))
    else:
        average.assign(weight)
