"""How near a CBR network comes to the ideal observer of the phantom, given fresh images at every step.

`make benchmark-phantom`. The phantom's lesion in power-law noise has a known best possible reader (d′ = 2). A network
that sees no image twice is limited by what it can compute and by its training alone: it must come near that reader, and
cannot be above it but for chance. Every seed trains in float32 and in bfloat16, on the same images in the same order.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from processes import describe_machine
from scipy.stats import norm

import medzoo
from medzoo.data import phantom
from medzoo.data.draws import make_generator
from medzoo.training.objectives import make_loss
from medzoo.training.optimisation.averaging import WeightAverage
from medzoo.training.optimisation.groups import make_groups
from medzoo.training.optimisation.schedules import make_schedule
from medzoo.training.optimisation.updates import make_updates
from medzoo.training.predict import predict_logits
from medzoo.training.settings import OptimizerSection, ScheduleSection, TrainingSection
from medzoo.training.stepping.acceleration import accelerate
from medzoo.training.stepping.stepper import Stepper

MODEL, HEAD = "cbr_tiny", "flatten"
BATCH, PEAK, TEST = 64, 1e-3, 10_000
POWER = phantom.noise_power(phantom.SIZE, phantom.BETA)
SIGNAL = phantom.scale_lesion(phantom.lesion(phantom.SIZE, phantom.SIGMA), POWER, phantom.DETECTABILITY)


def draw(count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw images (n, 32, 32, 1), every second one with the lesion, and their one-hot classes."""
    present = np.arange(count) % 2
    noise = phantom.draw_noise(count, POWER, generator)
    images = noise + present[:, None, None] * SIGNAL
    return images[..., None].astype(np.float32), np.eye(2, dtype=np.float32)[present]


def stream(steps: int, seed: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Give batches that nobody has seen."""
    generator = make_generator(seed, "fresh phantom")
    for _ in range(steps):
        images, targets = draw(BATCH, generator)
        yield tf.constant(images), tf.constant(targets)


def train(seed: int, precision: str, steps: int) -> tuple[keras.Model, float]:
    """Train one network; gives it and its images a second."""
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(precision)
    model = accelerate(medzoo.build(MODEL, classes=2, channels=1, input_size=phantom.SIZE, head=HEAD))
    spec = medzoo.find_model(MODEL)
    settings, training = OptimizerSection(average=0.999), TrainingSection(weight_decay=1e-4)
    schedule = make_schedule(ScheduleSection(), PEAK, steps, steps // 20)
    updates = make_updates(model, make_groups(model, spec.stages, settings), settings, training, schedule)
    average = WeightAverage(model, settings.average)
    signature = (tf.TensorSpec((None, 32, 32, 1)), tf.TensorSpec((None, 2)))
    stepper = Stepper(model, make_loss(True), updates, signature, after=average.update)
    batches = stream(steps, seed)
    started = time.perf_counter()
    for _ in range(steps):
        stepper.run(batches, 1)
    rate = steps * BATCH / (time.perf_counter() - started)
    for weight, mean in zip(model.weights, average.variables[1:], strict=True):
        weight.assign(mean)
    keras.config.set_dtype_policy("float32")
    return model, rate


def measure(model: keras.Model, images: np.ndarray, targets: np.ndarray) -> tuple[float, float, float]:
    """Give the test AUROC with its 95 % interval from 1,000 stratified resamples."""
    batches = [(images[start : start + 500], None) for start in range(0, len(images), 500)]
    logits = predict_logits(model, batches)
    scores, present = logits[:, 1] - logits[:, 0], targets[:, 1] == 1
    positives, negatives = np.sort(scores[present]), np.sort(scores[~present])
    generator = np.random.default_rng(0)

    def area(above: np.ndarray, below: np.ndarray) -> float:
        """Give the chance that one of `above` is above one of `below`, ties half."""
        below = np.sort(below)
        ranks = np.searchsorted(below, above, "left") + np.searchsorted(below, above, "right")
        return float(ranks.mean() / (2 * len(below)))

    drawn = [
        area(generator.choice(positives, len(positives)), generator.choice(negatives, len(negatives)))
        for _ in range(1000)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return area(positives, negatives), float(low), float(high)


def detect(area: float) -> float:
    """Give d′ = √2 Φ⁻¹(AUROC), as a share of the ideal observer's."""
    return float(math.sqrt(2) * norm.ppf(area) / phantom.DETECTABILITY)


def main() -> None:
    """Train, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    chosen = parser.parse_args()
    images, targets = draw(TEST, make_generator(0, "phantom test of the benchmark"))
    print(
        f"\n### The phantom with fresh images\n\n{describe_machine()}; {MODEL}, head {HEAD}, {chosen.steps:,} steps of "
        f"{BATCH} fresh images, AdamW, cosine from {PEAK:g}, average of weights .999; {TEST:,} test images, the same "
        "for all; d′ in percent of the ideal observer's.\n"
    )
    print("| seed | precision | test AUROC | d′ | 95 % interval | images/s |\n|---|---|---:|---:|---|---:|")
    rows = []
    for seed in range(chosen.seeds):
        for precision in ("float32", "mixed_bfloat16"):
            model, rate = train(seed, precision, chosen.steps)
            value, low, high = measure(model, images, targets)
            rows.append({"seed": seed, "precision": precision, "auroc": value, "low": low, "high": high})
            percent = [f"{detect(area):.1%}" for area in (value, low, high)]
            print(
                f"| {seed} | {precision} | {value:.4f} | {percent[0]} | {percent[1]} – {percent[2]} | {rate:.0f} |",
                flush=True,
            )
    for precision in ("float32", "mixed_bfloat16"):
        shares = [detect(float(row["auroc"])) for row in rows if row["precision"] == precision]
        spread = statistics.stdev(shares) if len(shares) > 1 else 0.0
        print(
            f"\n{precision}: mean {statistics.mean(shares):.1%}, sample deviation {spread:.1%}, n = {len(shares)}"
        )
    if chosen.out:
        chosen.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
