"""Learning-rate schedules."""

from __future__ import annotations

import keras


def make_cosine(peak: float, steps: int, warmup: float) -> keras.optimizers.schedules.LearningRateSchedule:
    """Make a linear warm-up over a share of all steps, then a cosine down to zero.

    >>> schedule = make_cosine(1e-3, steps=100, warmup=0.1)
    >>> [round(float(schedule(step)), 6) for step in (0, 10, 100)]
    [0.0, 0.001, 0.0]
    """
    rising = round(steps * warmup)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if rising else peak,
        decay_steps=max(1, steps - rising),
        warmup_target=peak if rising else None,
        warmup_steps=rising,
    )
