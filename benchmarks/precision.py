"""Training steps in float32 and mixed_bfloat16, in turn in one process: `python benchmarks/precision.py`.

Bare steps of plain Keras on random images, compiled without XLA, as `medzoo train` compiles them on a CPU.
"""

from __future__ import annotations

import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from processes import describe_machine

import medzoo

ROUNDS, STEPS, BATCH = 7, 8, 32
CASES = (("cbr_tiny", 32), ("cbr_tiny", 64), ("mobilenet_075", 128), ("resnet50", 96))


def make_step(name: str, size: int, policy: str) -> keras.Model:
    keras.config.set_dtype_policy(policy)
    model = medzoo.build(name, classes=2, channels=1, input_size=size)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3), loss, jit_compile=False)
    return model


def main() -> None:
    print(
        f"\n### Training steps, batch {BATCH}\n\n{describe_machine()}; medians of {ROUNDS} rounds in turn.\n"
    )
    print("| network | pixels | float32 images/s | mixed_bfloat16 images/s | bfloat16 ÷ float32 |")
    print("|---|---:|---:|---:|---:|")
    generator = np.random.default_rng(0)
    for name, size in CASES:
        images = generator.random((BATCH, size, size, 1), np.float32)
        labels = np.eye(2, dtype=np.float32)[generator.integers(0, 2, BATCH)]
        models = {policy: make_step(name, size, policy) for policy in ("float32", "mixed_bfloat16")}
        rates: dict[str, list[float]] = {policy: [] for policy in models}
        for turn in range(ROUNDS + 1):
            for policy, model in models.items():
                start = time.perf_counter()
                for _ in range(STEPS):
                    model.train_on_batch(images, labels)
                if turn:  # the first round compiles
                    rates[policy].append(BATCH * STEPS / (time.perf_counter() - start))
        full, half = (statistics.median(rates[policy]) for policy in ("float32", "mixed_bfloat16"))
        print(f"| {name} | {size} | {full:.0f} | {half:.0f} | {half / full:.2f} |", flush=True)


if __name__ == "__main__":
    main()
