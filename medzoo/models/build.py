"""Spec → model: a plain functional keras.Model of logits."""

from __future__ import annotations

import keras

from medzoo.errors import ConfigError
from medzoo.models import applications, cbr, cifar_resnet
from medzoo.models.catalog import find_model
from medzoo.specs import HEAD, ModelSpec, check_input_size

_FEATURES = {
    "cbr": cbr.build_features,
    "cifar_resnet": cifar_resnet.build_features,
    "mobilenet": applications.build_features,
    "resnet": applications.build_features,
}


def build(
    model: ModelSpec | str,
    classes: int = 1000,
    channels: int = 3,
    input_size: int | None = None,
    dropout: float = 0.0,
) -> keras.Model:
    """Build a catalogue row as a plain `keras.Model`: (batch, size, size, channels) → logits (batch, classes).

    The head is global average pooling, dropout and a dense layer that computes in float32 under any precision
    policy. Names of layers do not depend on the options: they are the addresses of transplants.

    Raises:
        ConfigError: an unknown model, a count below 1, or an input smaller than the network's stride allows.

    >>> build("cbr_tiny", classes=2, channels=1, input_size=32).output_shape
    (None, 2)
    """
    spec = find_model(model) if isinstance(model, str) else model
    size = spec.input_size if input_size is None else input_size
    if classes < 1 or channels < 1:
        raise ConfigError(f"{classes} classes and {channels} channels", "at least 1 of each")
    check_input_size(spec, size)
    if not 0.0 <= dropout < 1.0:
        raise ConfigError(f"dropout {dropout}", "a rate of 0 or more and below 1")
    inputs = keras.Input((size, size, channels), name="image")
    features = _FEATURES[spec.family](spec, inputs)
    pooled = keras.layers.GlobalAveragePooling2D(name="head_pool")(features)
    pooled = keras.layers.Dropout(dropout, name="head_dropout")(pooled)
    # A float32 head: softmax and loss of a 16-bit head lose the small probabilities.
    logits = keras.layers.Dense(classes, dtype="float32", name=HEAD)(pooled)
    return keras.Model(inputs, logits, name=spec.name)
