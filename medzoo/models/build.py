"""Spec → model: a plain functional keras.Model of logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras

from medzoo.errors import ConfigError
from medzoo.models import (
    bit,
    cbr,
    cifar_resnet,
    convnext,
    densenet,
    efficientnet,
    efficientnet_v2,
    inception_resnet_v2,
    inception_v3,
    mobilenet,
    mobilenet_v2,
    mobilenet_v3,
    nasnet,
    resnet,
    resnet_v2,
    swin,
    vgg,
    vit,
    xception,
)
from medzoo.models.catalog import check_drop_path, find_model
from medzoo.models.heads import add_head
from medzoo.specs import ModelSpec, check_input_size, choose_head, list_parts, write_network_name

_BUILDERS: dict[str, Callable[[ModelSpec, Any, float], Iterator[Any]]] = {
    "bit": bit.build_parts,
    "cbr": cbr.build_parts,
    "cifar_resnet": cifar_resnet.build_parts,
    "convnext": convnext.build_parts,
    "densenet": densenet.build_parts,
    "efficientnet": efficientnet.build_parts,
    "efficientnet_v2": efficientnet_v2.build_parts,
    "inception_resnet_v2": inception_resnet_v2.build_parts,
    "inception_v3": inception_v3.build_parts,
    "mobilenet": mobilenet.build_parts,
    "mobilenet_v2": mobilenet_v2.build_parts,
    "mobilenet_v3": mobilenet_v3.build_parts,
    "nasnet": nasnet.build_parts,
    "resnet": resnet.build_parts,
    "resnet_v2": resnet_v2.build_parts,
    "swin": swin.build_parts,
    "vgg": vgg.build_parts,
    "vit": vit.build_parts,
    "xception": xception.build_parts,
}


def build(
    model: ModelSpec | str,
    classes: int = 1000,
    channels: int = 3,
    input_size: int | None = None,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    head: str | None = None,
) -> keras.Model:
    """Build a network as a plain `keras.Model`: (batch, size, size, channels) → logits (batch, classes).

    `head` is `gap`, `flatten`, `token` or `none` (no logits: the features of the last stage), where the family
    has it; without it, the network's own. Dropout precedes the dense layer, which computes in float32 under any
    precision policy; `drop_path` is the greatest rate of stochastic depth (Huang et al. 2016), reached by the last
    block. Names of layers do not depend on these options: they are the addresses of transplants. The model of a
    derived network is named with words for the signs: `resnet50.at.conv4_block4`.

    Raises:
        ConfigError: an unknown model, a count below 1, an input that the network cannot take, or a head or a
            `drop_path` that the family does not have.

    >>> build("cbr_tiny", classes=2, channels=1, input_size=32).output_shape
    (None, 2)
    """
    spec = find_model(model) if isinstance(model, str) else model
    size = spec.input_size if input_size is None else input_size
    _check_options(spec, classes, channels, dropout, drop_path)
    check_input_size(spec, size)
    head = choose_head(spec, head)
    inputs = keras.Input((size, size, channels), name="image")
    features = inputs
    # A builder builds a part when it is asked for it: of a cut network, nothing above the cut.
    parts = _BUILDERS[spec.family](spec, inputs, drop_path)
    for _ in list_parts(spec.stages[:-1]):
        features = next(parts)
    logits = add_head(spec, features, classes, head, dropout)
    return keras.Model(inputs, logits, name=write_network_name(spec.name))


def _check_options(spec: ModelSpec, classes: int, channels: int, dropout: float, drop_path: float) -> None:
    """Refuse counts and rates that no network can have, and a drop path where there is none to drop."""
    if keras.config.image_data_format() != "channels_last":
        raise ConfigError(
            f"Keras's image_data_format {keras.config.image_data_format()!r}",
            "'channels_last'",
            'keras.config.set_image_data_format("channels_last")',
        )
    if classes < 1 or channels < 1:
        raise ConfigError(f"{classes} classes and {channels} channels", "at least 1 of each")
    if not 0.0 <= dropout < 1.0:
        raise ConfigError(f"dropout {dropout}", "a rate of 0 or more and below 1")
    check_drop_path(spec, drop_path)
