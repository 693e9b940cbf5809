"""The devices of a run and what they do together: share a batch, sum, tell each other what one of them knows."""

from __future__ import annotations

import signal
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import ConfigError, TrainingError
from medzoo.training.predict import predict_logits

#: The longest text that hosts tell each other, in bytes.
LONGEST = 4096


class Devices:
    """One device, several of a machine, or those of several hosts, of which host 0 is the chief.

    Every host makes the same batches, of the whole batch size, and every device takes its share of the rows: the
    random choices of a batch do not depend on how many devices there are. Without a strategy everything is computed
    as it stands, by one device. Methods that tell other hosts something must be called by all of them alike.
    """

    def __init__(self, strategy: Any | None = None, host: int = 0, hosts: int = 1) -> None:
        self.strategy, self.host, self.hosts = strategy, host, hosts
        self.count = 1 if strategy is None else int(strategy.num_replicas_in_sync)
        self._add: Any = None

    @property
    def is_chief(self) -> bool:
        """Tell whether this host writes and prints."""
        return self.host == 0

    def scope(self) -> AbstractContextManager[Any]:
        """Within it variables are made that every device holds."""
        return self.strategy.scope() if self.strategy is not None else nullcontext()

    def describe(self) -> str:
        """Say what there is.

        >>> Devices().describe()
        '1 device'
        """
        on = f" on {self.hosts} hosts" if self.hosts > 1 else ""
        return f"{self.count} device{'s' * (self.count > 1)}{on}"

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function on every device of this host, in a graph; what it gives differs from device to device."""
        return function(*arguments) if self.strategy is None else self.strategy.run(function, arguments)

    def first(self, value: Any) -> Any:
        """Give the first device's part of what `run` gave, where all have the same."""
        return value if self.strategy is None else self.strategy.experimental_local_results(value)[0]

    def find_share(self, rows: Any) -> tuple[Any, Any, Any]:
        """Give the first row of this device's share of a batch, the one after its last, and its weight; within `run`.

        Shares differ by one row at most, and weigh 1. In a batch of fewer rows than devices each device takes all
        of them, with a weight such that they count once: convolutions of no images at all are not to be relied on.
        """
        import tensorflow as tf

        place = tf.distribute.get_replica_context().replica_id_in_sync_group
        is_small = rows < self.count
        start = tf.where(is_small, 0, rows * place // self.count)
        stop = tf.where(is_small, rows, rows * (place + 1) // self.count)
        return start, stop, tf.where(is_small, 1.0 / self.count, 1.0)

    def take_share(self, *batch: Any) -> list[Any]:
        """Take this device's rows of tensors (n, …), and last the weight of its sums; within `run`."""
        import tensorflow as tf

        if self.strategy is None:
            return [*batch, 1.0]
        start, stop, weight = self.find_share(tf.shape(batch[0])[0])
        with tf.device("CPU:0"):  # where batches are made: a device is sent no more than its share
            return [*(tensor[start:stop] for tensor in batch), weight]

    def add(self, tensors: list[Any]) -> list[Any]:
        """Sum tensors over all devices of all hosts, within `run`."""
        import tensorflow as tf

        if self.strategy is None:
            return tensors
        return list(tf.distribute.get_replica_context().all_reduce("SUM", tensors))

    def gather(self, numbers: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the numbers of every host (hosts, n), float64, to all of them."""
        own = np.asarray(numbers, np.float64)
        if self.hosts == 1:
            return own[None]
        import tensorflow as tf

        table = np.zeros((self.hosts, len(own)))
        table[self.host] = own
        if self._add is None:
            self._add = tf.function(lambda rows: self.first(self.run(self._add_once, rows)))
        return np.asarray(self._add(tf.constant(table)).numpy())

    def _add_once(self, table: Any) -> Any:
        """Sum tables over hosts: of a host's devices the first alone counts."""
        import tensorflow as tf

        place = tf.distribute.get_replica_context().replica_id_in_sync_group
        is_first = tf.equal(place % (self.count // self.hosts), 0)
        return self.add([tf.where(is_first, table, tf.zeros_like(table))])[0]

    def share(self, numbers: Sequence[float]) -> list[float]:
        """Give the chief's numbers to all hosts."""
        return [float(number) for number in self.gather(numbers)[0]]

    def share_text(self, text: str) -> str:
        """Give the chief's text to all hosts, cut to 4,096 bytes."""
        if self.hosts == 1:
            return text
        own = np.zeros(LONGEST)
        told = text.encode()[:LONGEST]
        own[: len(told)] = np.frombuffer(told, np.uint8)
        return bytes(self.gather(own)[0].astype(np.uint8)).rstrip(b"\0").decode(errors="replace")

    def hear(self, signal_name: str) -> str:
        """Give the signal that asked this host or another one to stop, the same to all; "" where none did."""
        if self.hosts == 1:
            return signal_name
        own = signal.Signals[signal_name].value if signal_name else 0
        heard = int(self.gather([own]).max())
        return signal.Signals(heard).name if heard else ""

    @contextmanager
    def meet(self) -> Iterator[None]:
        """Do something on every host and wait for all; where one fails the others stop, and do not wait for ever.

        Raises:
            TrainingError: another host failed.
        """
        try:
            yield
        except BaseException:
            if self.hosts > 1:
                import tensorflow as tf

                with suppress(tf.errors.OpError):  # the others may be gone
                    self.gather([1])
            raise
        failed = np.flatnonzero(self.gather([0])[:, 0])
        if failed.size:
            raise TrainingError(
                f"host {failed[0]}, counted from 0, stopped and says itself why", "all of them at work"
            )

    def refuse_differences(self, parts: Mapping[str, bytes]) -> None:
        """Refuse to train where the hosts do not have the same.

        Raises:
            ConfigError: some part differs; it is named.
        """
        marks = self.gather([zlib.crc32(part) for part in parts.values()])
        different = [name for name, column in zip(parts, marks.T, strict=True) if (column != column[0]).any()]
        if different:
            raise ConfigError(
                f"the hosts do not have the same {' and '.join(different)}",
                "one run, told alike to all of them",
                "the same options, files and packages on every host",
            )

    def spread_seeds(self, model: Any) -> None:
        """Let every device draw its own dropout, which otherwise falls on the same places of all shares.

        Call it where all devices hold the first one's seeds: at the start, or when a checkpoint has been restored.
        """
        if self.strategy is None:
            return
        weights = {id(weight) for weight in model.weights}
        first = self.host * (self.count // self.hosts)
        for variable in model.variables:
            if id(variable) not in weights:
                for place, part in enumerate(self.strategy.experimental_local_results(variable.value)):
                    part.assign(part.numpy() + np.array([first + place, 0], part.dtype.as_numpy_dtype))

    def make_predict(self, model: Any) -> Callable[[Any], NDArray[np.float64]]:
        """Make what gives a model's logits (n, k), float64, for batches; every host gets all of them."""
        import tensorflow as tf

        if self.strategy is None:
            return lambda batches: predict_logits(model, batches)

        def forward_share(images: Any) -> Any:
            """Pass this device's share through, and put it among those of the others."""
            start, stop, _ = self.find_share(tf.shape(images)[0])
            own, weight = self.take_share(images)
            outputs = tf.cast(model(own, training=False), tf.float32) * weight
            return self.add([tf.pad(outputs, [[start, tf.shape(images)[0] - stop], [0, 0]])])[0]

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def forward(images: Any) -> Any:
            """Pass a batch through the network, on all devices."""
            return self.first(self.run(forward_share, images))

        def predict(batches: Any) -> NDArray[np.float64]:
            """Give the logits of all batches."""
            logits = [forward(images).numpy() for images, _ in batches]
            return np.concatenate(logits).astype(np.float64)

        return predict


def synchronize_norms(model: Any) -> Any:
    """Let every batch norm measure the whole batch, over all devices; gives the model itself. Before it is traced.

    Keras adds sums, squares and counts, so that shares of unequal size count for what they hold.
    """
    from medzoo.training.stepping.norm_call import find_norms

    for norm in find_norms(model):
        norm.synchronized = True
    return model
