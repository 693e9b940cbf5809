"""Every family trained with XLA on the CPU: `python tests/xla.py [--batch N] [FAMILY …]`.

The narrowest row of each family takes steps on one batch, compiled with XLA and without, from the same weights: the
first loss must be the same to 1e-4, and a later one lower than the first. Compiling takes a minute for some. The last
batch norms of a network on its smallest input see no more values than the batch has images: of 4 values they amplify
what differs in the last digits.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import medzoo
from medzoo.models.tables.parts import find_totals
from medzoo.specs import ModelSpec
from medzoo.training.objectives import make_loss
from medzoo.training.optimisation.groups import make_groups
from medzoo.training.optimisation.updates import make_updates
from medzoo.training.settings import OptimizerSection, TrainingSection
from medzoo.training.stepping.acceleration import accelerate
from medzoo.training.stepping.stepper import Stepper

STEPS = 8


def list_narrow() -> dict[str, ModelSpec]:
    """Find the narrowest row of every family."""
    rows = sorted(medzoo.list_models(), key=lambda spec: -find_totals(spec).parameters)
    return {spec.family: spec for spec in rows}


def train(
    spec: ModelSpec, size: int, batch: int, jit: bool, weights: list[np.ndarray] | None
) -> tuple[list[float], float, list[np.ndarray]]:
    """Take steps from some weights, or fresh ones; gives the losses, the seconds of the first, what they began from.

    Fresh weights are another's in a second build: a network of keras.applications is made once in a process.
    """
    keras.utils.set_random_seed(0)
    model = accelerate(medzoo.build(spec, classes=2, channels=1, input_size=size))
    if weights is not None:
        model.set_weights(weights)
    begun = model.get_weights()
    settings, training = OptimizerSection(name="sgd", clip_norm=1.0), TrainingSection(weight_decay=0)
    updates = make_updates(
        model, make_groups(model, spec.stages, settings), settings, training, lambda _: 0.01
    )
    signature = (tf.TensorSpec((None, size, size, 1)), tf.TensorSpec((None, 2)))
    stepper = Stepper(model, make_loss(True), updates, signature, jit=jit)
    generator = np.random.default_rng(0)
    images = tf.constant(generator.normal(size=(batch, size, size, 1)).astype(np.float32))
    targets = tf.constant(np.eye(2, dtype=np.float32)[np.arange(batch) % 2])
    started = time.perf_counter()
    losses = [float(stepper.run(iter([(images, targets)]), 1).losses[0])]
    seconds = time.perf_counter() - started
    losses += [float(stepper.run(iter([(images, targets)]), 1).losses[0]) for _ in range(STEPS - 1)]
    return losses, seconds, begun


def main() -> int:
    """Try every family, and print a table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--batch", type=int, default=4, help="images")
    parser.add_argument("families", nargs="*")
    options = parser.parse_args()
    wrong = 0
    print(
        "| family | row | pixels | compiles in s | first losses differ by | loss |\n|---|---|---:|---:|---:|---|"
    )
    for family, spec in sorted(list_narrow().items()):
        if options.families and family not in options.families:
            continue
        least = max(32, spec.smallest_input)
        size = least + -least % spec.multiple
        compiled, seconds, weights = train(spec, size, options.batch, jit=True, weights=None)
        plain, _, _ = train(spec, size, options.batch, jit=False, weights=weights)
        difference = abs(compiled[0] - plain[0])
        is_right = difference < 1e-4 and min(compiled[1:]) < compiled[0]
        wrong += not is_right
        verdict = "" if is_right else " WRONG"
        print(
            f"| {family} | {spec.name} | {size} | {seconds:.0f} | {difference:.1e} | "
            f"{compiled[0]:.4f} → {compiled[-1]:.4f}{verdict} |",
            flush=True,
        )
        keras.backend.clear_session()
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
