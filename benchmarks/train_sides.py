"""The sides that `train.py` compares, each served by a process of its own: `python benchmarks/train_sides.py NAME …`.

A side trains one network for some seconds whenever a line is sent to it, and answers with images per second. Every
side minimises the cross-entropy of two classes with AdamW (learning rate .001, weight decay .0001).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

RATE, DECAY, CLASSES, CHANNELS, WORKERS = 1e-3, 1e-4, 2, 1, 2

#: A batch of random images and one-hot labels, for the step by itself.
BARE = "bare"

Round = Callable[[], int]


def draw_batch(size: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw images (batch, size, size, 1) and one-hot labels (batch, 2)."""
    generator = np.random.default_rng(0)
    images = generator.random((batch, size, size, CHANNELS), np.float32)
    return images, np.eye(CLASSES, dtype=np.float32)[generator.integers(0, CLASSES, batch)]


def count_files(folder: str) -> int:
    """Count the training images of a class folder."""
    return sum(1 for _ in Path(folder, "train").glob("*/*.jpg"))


def serve_medzoo(
    name: str, size: int, batch: int, folder: str, precision: str, amount: int, cache: str
) -> Any:
    """Train as `medzoo train` does: its own step, and, of files, its own pipeline."""
    import tensorflow as tf

    from medzoo.training.assembly import assemble
    from medzoo.training.config import make_config
    from medzoo.training.feeding import feed_training
    from medzoo.training.prepare import prepare

    data = {"source": "phantom"} if folder == BARE else {"source": folder, "cache": cache}
    training = {"batch_size": batch, "precision": precision, "learning_rate": RATE, "weight_decay": DECAY}
    training |= {"epochs": 10_000, "flips": "horizontal", "warmup": 0}
    config = make_config(
        {
            "data": {**data, "image_size": size},
            "model": {"name": name, "channels": CHANNELS},
            "training": training,
            "schedule": {"kind": "constant"},
        }
    )
    prepared = prepare(config)
    import keras

    keras.config.set_dtype_policy(prepared.precision.value)
    assembly = assemble(prepared)
    if folder == BARE:
        batches = iter(tf.data.Dataset.from_tensors(draw_batch(size, batch)).repeat())
        steps = amount
    else:
        batches = iter(feed_training(prepared.dataset, prepared.feeding, prepared.config.training))
        steps = amount * assembly.steps_per_epoch

    def train() -> int:
        """Take the steps one by one."""
        return sum(assembly.stepper.run(batches, 1).images for _ in range(steps))

    return train, sum(int(np.prod(variable.shape)) for variable in assembly.model.trainable_variables)


def serve_keras(name: str, size: int, batch: int, folder: str, precision: str, amount: int) -> Any:
    """Train by `fit`, as a user of Keras writes it."""
    import keras
    import tensorflow as tf

    import medzoo

    keras.config.set_dtype_policy(precision)
    model = medzoo.build(name, classes=CLASSES, channels=CHANNELS, input_size=size)
    model.compile(
        keras.optimizers.AdamW(RATE, weight_decay=DECAY),
        keras.losses.CategoricalCrossentropy(from_logits=True),
    )
    parameters = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    if folder == BARE:
        batches = tf.data.Dataset.from_tensors(draw_batch(size, batch)).repeat()
        options = tf.data.Options()
        options.autotune.enabled = (
            False  # the step alone: an autotuned pipeline can stall where an epoch ends
        )
        batches = batches.with_options(options)

        def train() -> int:
            """Take the steps as one epoch."""
            model.fit(batches, steps_per_epoch=amount, epochs=1, verbose=0)
            return amount * batch

        return train, parameters
    pictures = keras.utils.image_dataset_from_directory(
        f"{folder}/train",
        label_mode="categorical",
        color_mode="grayscale",
        batch_size=batch,
        image_size=(size, size),
        verbose=False,
    )
    pictures = pictures.map(
        lambda images, labels: (tf.image.random_flip_left_right(images / 127.5 - 1), labels),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).prefetch(tf.data.AUTOTUNE)

    def train_epochs() -> int:
        """Take some epochs of the files."""
        model.fit(pictures, epochs=amount, verbose=0)
        return amount * count_files(folder)

    return train_epochs, parameters


def serve_torch(name: str, size: int, batch: int, folder: str, precision: str, amount: int) -> Any:
    """Train by a plain loop of PyTorch, eager, in channels_last."""
    import torch
    from torch_networks import make_network

    network = make_network(name, CHANNELS, CLASSES, size).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY, fused=True)
    half = precision == "mixed_bfloat16"

    def step(images: torch.Tensor, labels: torch.Tensor) -> int:
        """Take one step."""
        images = images.contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = network(images)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        return len(images)

    parameters = sum(weights.numel() for weights in network.parameters())
    if folder == BARE:
        drawn, targets = draw_batch(size, batch)
        images, labels = torch.from_numpy(drawn).permute(0, 3, 1, 2), torch.from_numpy(targets)
        return lambda: sum(step(images, labels) for _ in range(amount)), parameters
    paths = sorted(Path(folder, "train").glob("*/*.jpg"))
    names = sorted({path.parent.name for path in paths})

    class Pictures(torch.utils.data.Dataset):  # type: ignore[misc]
        """The files, read as they are asked for."""

        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
            from PIL import Image

            with Image.open(paths[row]) as picture:
                grey = picture.convert("L").resize((size, size), Image.Resampling.BILINEAR)
            image = torch.from_numpy(np.asarray(grey, np.float32)[None] / 127.5 - 1)
            return (image.flip(2) if torch.rand(()) < 0.5 else image), names.index(paths[row].parent.name)

    loader = torch.utils.data.DataLoader(
        Pictures(), batch, shuffle=True, num_workers=WORKERS, persistent_workers=True
    )
    return lambda: sum(step(*pair) for _ in range(amount) for pair in loader), parameters


#: Side → what serves it, in which precision, and with which further arguments.
SIDES: dict[str, tuple[Any, str, tuple[Any, ...]]] = {
    f"{maker} {precision}": (serve, precision, ("off",) if maker == "medzoo" else ())
    for precision in ("float32", "mixed_bfloat16")
    for maker, serve in (("medzoo", serve_medzoo), ("Keras fit", serve_keras), ("PyTorch", serve_torch))
}


def main() -> None:
    """Serve `SIDE NETWORK SIZE BATCH FOLDER AMOUNT` (steps of a batch, or epochs of a folder) until the input ends."""
    side, name, size, batch, folder, amount = sys.argv[1:]
    serve, precision, more = SIDES[side]
    train, parameters = serve(name, int(size), int(batch), folder, precision, int(amount), *more)
    print(parameters, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        images = train()
        print(images / (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main()
