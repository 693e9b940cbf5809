"""One training step of a network by itself, for measuring how many images a second it takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from medzoo.data.dataset import Dataset
from medzoo.data.feeding.throughput import Step
from medzoo.specs import ModelSpec
from medzoo.training.stepping.hardware import (
    choose_acceleration,
    choose_precision,
    choose_xla,
    processor_flags,
)


def make_step(
    spec: ModelSpec, dataset: Dataset, channels: int, image_size: int, precision: str, gpu: bool
) -> Step:
    """Build the network for the data, with random weights, and give a function that trains it on one batch."""
    import keras

    from medzoo.models.build import build
    from medzoo.training.objectives import make_loss
    from medzoo.training.stepping.acceleration import accelerate

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(choose_precision(precision, processor_flags(), gpu, spec.family).value)
    try:
        network = build(spec, len(dataset.classes), channels, image_size)
    finally:
        keras.config.set_dtype_policy(policy)
    if choose_acceleration("auto", gpu).value == "on":
        accelerate(network)
    network.compile(
        optimizer=keras.optimizers.AdamW(1e-4),
        loss=make_loss(dataset.exclusive),
        jit_compile=choose_xla("auto", gpu).value == "on",
    )

    def step(images: Any, targets: Any) -> None:
        """Train on one batch, and wait for the loss."""
        float(np.asarray(network.train_on_batch(images, targets)).ravel()[0])

    return step
