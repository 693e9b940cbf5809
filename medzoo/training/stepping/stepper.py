"""Updates: a batch's loss, its gradients and what they change, compiled once; and how long the data were waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from medzoo.training.stepping.devices import Devices


class Loss(Protocol):
    """What is minimised: a sum of terms over a normaliser, so that parts of a batch add up to the batch's loss."""

    def parts(self, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        """Give the sum of terms and the normaliser."""


class Updater(Protocol):
    """What turns gradients into new weights."""

    def apply(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        """Update the variables, in a graph."""


@dataclass(frozen=True)
class Executed:
    """Updates done in one call: loss and images of each (n,), seconds in all and those waiting."""

    losses: NDArray[np.float64]
    sizes: NDArray[np.integer[Any]]
    seconds: float
    waiting: float

    @property
    def images(self) -> int:
        """How many images were seen."""
        return int(self.sizes.sum())


class Stepper:
    """Trains a network batch by batch in compiled code.

    A batch may be computed in `parts` pieces, one after another, which add up to the whole batch's gradient; batch
    norm sees each piece by itself. With `per_call` > 1 that many batches are taken in one call, inside the graph.
    `signature` is that of images and targets, the batch's size left open, so that a smaller last batch is no other
    function. On several devices each computes its share of the rows, of a batch or of a piece, and everything is
    summed before it is used: losses and weights are those of one device, where batch norm is synchronised. `traces`
    counts how often the step was compiled anew: once, and once more whenever `retrace` was called.
    """

    def __init__(
        self,
        model: Any,
        loss: Loss,
        updater: Updater,
        signature: Sequence[tf.TensorSpec],
        *,
        parts: int = 1,
        per_call: int = 1,
        jit: bool = False,
        after: Callable[[], None] | None = None,
        devices: Devices | None = None,
    ) -> None:
        self.model, self.loss, self.updater, self.signature = model, loss, updater, tuple(signature)
        self.parts, self.per_call, self.jit = parts, per_call, jit
        self.after, self.devices = after, devices or Devices()
        self.traces = 0
        self.retrace()

    def retrace(self) -> None:
        """Compile anew at the next call: which variables learn has changed."""
        self.variables = list(self.model.trainable_variables)
        self._single: Any = tf.function(self.update, jit_compile=self.jit, input_signature=self.signature)
        self._several: Any = tf.function(self._run_several, autograph=False)

    def update(self, images: Any, targets: Any) -> Any:
        """Update the weights by one batch, in a graph; gives its loss, float32."""
        self.traces += 1  # runs while the graph is made, and never again
        sums = (self._sum if self.parts == 1 else self._sum_parts)(images, targets)
        return self.devices.first(self.devices.run(self._apply, *sums))

    def _apply(self, total: Any, count: Any, gradients: list[Any]) -> Any:
        """Update the weights by the sums over a whole batch, and give its loss."""
        count = tf.maximum(count, 1e-12)
        self.updater.apply([gradient / count for gradient in gradients], self.variables)
        if self.after:
            self.after()
        return total / count

    def explain_uncompiled(self, batch_size: int) -> str:
        """Say why XLA cannot compile the step for a batch of this size; "" where it can. Nothing is run."""
        specs = [tf.TensorSpec((batch_size, *spec.shape[1:]), spec.dtype) for spec in self.signature]
        try:
            self._single.experimental_get_compiler_ir(*specs)(stage="hlo")
        except (tf.errors.OpError, ValueError, NotImplementedError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return (lines or [type(error).__name__])[0][:200]
        return ""

    def _sum(self, images: Any, targets: Any) -> tuple[Any, Any, list[Any]]:
        """Give the sums over all devices, which all of them then have."""
        return self.devices.run(self._sum_share, images, targets)  # type: ignore[no-any-return]

    def _sum_share(self, images: Any, targets: Any) -> tuple[Any, Any, list[Any]]:
        """Differentiate this device's share, and add what the others found."""
        total, count, gradients = self._differentiate(*self.devices.take_share(images, targets))
        total, count, *gradients = self.devices.add([total, count, *gradients])
        return total, count, gradients

    def _differentiate(self, images: Any, targets: Any, weight: Any = 1.0) -> tuple[Any, Any, list[Any]]:
        """Give the weighted sum of a batch's terms, its weighted normaliser and the gradients of the sum."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for variable in self.variables:
                tape.watch(variable.value)
            outputs = self.model(images, training=True)
            total, count = self.loss.parts(targets, outputs)
            total = tf.cast(total, tf.float32) * weight
        gradients = tape.gradient(
            total,
            [variable.value for variable in self.variables],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        # Dividing by the normaliser comes after all parts and devices are summed.
        return (
            total,
            tf.cast(count, tf.float32) * weight,
            [tf.convert_to_tensor(gradient) for gradient in gradients],
        )

    def _sum_parts(self, images: Any, targets: Any) -> tuple[Any, Any, list[Any]]:
        """Do the same piece by piece; the last piece may be smaller."""
        rows = tf.shape(images)[0]
        size = (rows + self.parts - 1) // self.parts

        def add(start: Any, total: Any, count: Any, sums: list[Any]) -> tuple[Any, ...]:
            """Add one piece."""
            piece = slice(start, start + size)
            more, number, gradients = self._sum(images[piece], targets[piece])
            more, number, *gradients = map(self.devices.first, (more, number, *gradients))
            added = [before + gradient for before, gradient in zip(sums, gradients, strict=True)]
            return start + size, total + more, count + number, added

        zeros = [tf.zeros(variable.shape, variable.dtype) for variable in self.variables]
        _, total, count, sums = tf.while_loop(
            lambda start, *_: start < rows,
            add,
            (tf.constant(0), tf.constant(0.0), tf.constant(0.0), zeros),
            parallel_iterations=1,
        )
        return total, count, sums

    def _run_several(self, batches: Any, number: Any) -> tuple[Any, Any, Any]:
        """Take a number of batches inside the graph; gives losses, images of each (n,) and seconds of waiting."""

        def take(index: Any, losses: Any, sizes: Any, waiting: Any) -> tuple[Any, ...]:
            """Take one batch; what has effects runs in the order that it is written in."""
            before = tf.timestamp()
            images, targets = next(batches)
            waiting += tf.timestamp() - before
            sizes = sizes.write(index, tf.shape(images)[0])
            return index + 1, losses.write(index, self._single(images, targets)), sizes, waiting

        arrays = tf.TensorArray(tf.float32, size=number), tf.TensorArray(tf.int32, size=number)
        _, losses, sizes, waiting = tf.while_loop(
            lambda index, *_: index < number,
            take,
            (tf.constant(0), *arrays, tf.constant(0.0, tf.float64)),
            parallel_iterations=1,
        )
        return losses.stack(), sizes.stack(), waiting

    def run(self, batches: Iterator[Any], number: int) -> Executed:
        """Take the next batches of a stream, at most `per_call`."""
        started = time.perf_counter()
        if self.per_call > 1:
            losses, sizes, waiting = self._several(batches, tf.constant(number))
            values = losses.numpy().astype(np.float64)
            return Executed(values, sizes.numpy(), time.perf_counter() - started, float(waiting))
        batch, targets = next(batches)
        waited = time.perf_counter() - started
        loss = float(self._single(batch, targets))
        seconds = time.perf_counter() - started
        return Executed(np.array([loss]), np.array([batch.shape[0]]), seconds, waited)
