"""What a batch norm computes when it is called: Keras's own way, or by the fused kernel, or with other statistics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import keras

#: Which statistics are used in training: those Keras would use, or always the stored ones.
Statistics = Literal["keras", "stored"]

#: What the fused kernel takes; it computes in float32 either way, as Keras does.
FUSED_DTYPES = ("float32", "bfloat16")


class NormCall:
    """Stands in for the `call` of one batch norm, and of no other.

    It is an attribute of the layer object, which stays a `keras.layers.BatchNormalization`: variables, names,
    configuration and files are those of the plain layer, and whoever loads them needs no medzoo.
    """

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.fused = False
        self.statistics: Statistics = "keras"

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Normalise as the layer does; the signature is that of Keras's `call`."""
        measuring = self._is_measuring(training)
        if self.fused and isinstance(measuring, bool) and mask is None and _fits_kernel(self.layer, inputs):
            return _normalise_fused(self.layer, inputs, measuring)
        return type(self.layer).call(self.layer, inputs, training=measuring, mask=mask)

    def _is_measuring(self, training: Any) -> Any:
        """Tell whether the batch's statistics are used; a tensor where `training` is one."""
        if self.statistics == "stored" or not self.layer.trainable:
            return False
        return bool(training) if training is None or isinstance(training, (bool, int)) else training


def find_norms(model: Any) -> list[Any]:
    """List the batch norms of a model, of the models within it too, or of a layer.

    >>> [norm.name for norm in find_norms(keras.Sequential([keras.layers.BatchNormalization(name="norm")]))]
    ['norm']
    """
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]


def find_call(layer: Any) -> NormCall | None:
    """Give what stands in for the layer's `call`; None where that is Keras's own."""
    owner = getattr(vars(layer).get("call"), "__self__", None)
    return owner if isinstance(owner, NormCall) else None


def take_call(layer: Any) -> NormCall:
    """Give what stands in for the layer's `call`, put in place where there is none."""
    found = find_call(layer)
    if found is None:
        found = NormCall(layer)
        # Keras's own __setattr__ would track it as a part of the layer, and its files list the parts.
        object.__setattr__(layer, "call", found.call)
    return found


def drop_idle_call(layer: Any) -> None:
    """Give the layer Keras's own `call` back, where what stands in for it does the same."""
    found = find_call(layer)
    if found is not None and not found.fused and found.statistics == "keras":
        object.__delattr__(layer, "call")


def forget_compiled(model: Any) -> None:
    """Have `fit`, `evaluate` and `predict` of the model, and of those within it, compiled anew when next used."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.Model):
            layer.train_function = layer.test_function = layer.predict_function = None


def explain_unfused(layer: Any) -> str:
    """Say why the fused kernel cannot stand in for a batch norm; empty where it can, as far as is known.

    >>> explain_unfused(keras.layers.BatchNormalization(renorm=True))
    'renorm'
    """
    plain, kind = keras.layers.BatchNormalization, type(layer)
    if keras.backend.backend() != "tensorflow":
        return f"Keras runs on {keras.backend.backend()}"
    if kind.call is not plain.call or kind._moments is not plain._moments:
        return f"{kind.__name__} computes in a way of its own"
    if layer.synchronized:
        return "synchronized"
    if layer.renorm:
        return "renorm"
    if layer.compute_dtype not in FUSED_DTYPES:
        return str(layer.compute_dtype)
    rank = layer.input_spec.ndim if layer.input_spec is not None else 4  # seen when it is called
    if rank != 4:
        return f"rank {rank}"
    return "" if layer.axis in (-1, 3) else f"axis {layer.axis}"


def count_reasons(reasons: Iterable[str]) -> str:
    """Write reasons with how often each applies.

    >>> count_reasons(["renorm", "rank 3", "renorm"])
    '2 renorm, 1 rank 3'
    """
    from collections import Counter

    return ", ".join(f"{number} {reason}" for reason, number in Counter(reasons).most_common())


def _fits_kernel(layer: Any, inputs: Any) -> bool:
    """Tell whether the fused kernel takes these inputs."""
    import tensorflow as tf

    return (
        isinstance(inputs, tf.Tensor) and inputs.shape.rank == 4 and inputs.dtype.name == layer.compute_dtype
    )


def _normalise_fused(layer: Any, inputs: Any, measuring: bool) -> Any:
    """Normalise (n, h, w, c) by TensorFlow's fused kernel, and move the stored statistics as Keras does.

    The kernel gives the variance over n − 1, Keras stores that over n; what is normalised by is that over n in both.
    """
    import tensorflow as tf

    channels = layer.moving_mean.shape[0]
    mean, variance = tf.cast(layer.moving_mean, tf.float32), tf.cast(layer.moving_variance, tf.float32)
    unused = tf.zeros(0, tf.float32)
    outputs = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.cast(layer.gamma, tf.float32) if layer.scale else tf.ones(channels, tf.float32),
        offset=tf.cast(layer.beta, tf.float32) if layer.center else tf.zeros(channels, tf.float32),
        mean=unused if measuring else mean,
        variance=unused if measuring else variance,
        epsilon=layer.epsilon,
        is_training=measuring,
    )
    if measuring:
        count = tf.cast(tf.size(inputs) // channels, tf.float32)
        # A kernel may divide by zero where there is one value; its variance is 0.
        biased = tf.math.multiply_no_nan(outputs.batch_variance, (count - 1) / tf.maximum(count, 1))
        keep, take = layer.momentum, 1.0 - layer.momentum
        layer.moving_mean.assign(mean * keep + outputs.batch_mean * take)
        layer.moving_variance.assign(variance * keep + biased * take)
    return outputs.y
