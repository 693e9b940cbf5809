"""The schedules against their formulas, written out step by step in double precision."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from medzoo.errors import ConfigError
from medzoo.training.optimisation.schedules import Schedule, make_schedule
from medzoo.training.settings import ScheduleSection


def rates(schedule: Schedule, steps: range) -> np.ndarray:
    return np.array([float(schedule(step)) for step in steps])


def test_cosine_rises_in_a_line_and_falls_to_zero() -> None:
    schedule = make_schedule(ScheduleSection(), 0.3, 50, warmup_steps=10)
    expected = [
        0.3 * step / 10 if step < 10 else 0.15 * (1 + math.cos(math.pi * min(step - 10, 40) / 40))
        for step in range(60)
    ]
    np.testing.assert_allclose(rates(schedule, range(60)), expected, rtol=1e-6, atol=1e-8)
    assert float(schedule(50)) == float(schedule(10**6)) == 0.0


@pytest.mark.parametrize("warmup", [0.0, 0.1])
def test_cosine_is_that_of_keras(warmup: float) -> None:
    rising = round(80 * warmup)
    ours = make_schedule(ScheduleSection(), 1e-3, 80, warmup_steps=rising)
    theirs = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if rising else 1e-3,
        decay_steps=80 - rising,
        warmup_target=1e-3 if rising else None,
        warmup_steps=rising,
    )
    np.testing.assert_allclose(
        rates(ours, range(90)), [float(theirs(step)) for step in range(90)], rtol=1e-5, atol=1e-10
    )


def test_a_rate_falls_once_a_step_strictly_exceeds_a_boundary() -> None:
    """BiT-HyperRule for less than 20,000 images: 500 steps, warm-up to 100, falls after 200, 300 and 400."""
    settings = ScheduleSection(kind="step", boundaries=(200, 300, 400))
    schedule = make_schedule(settings, 0.003, 500, warmup_steps=100)
    expected = {
        0: 0.0, 50: 0.0015, 99: 0.00297, 100: 0.003, 200: 0.003, 201: 3e-4, 300: 3e-4, 301: 3e-5, 401: 3e-6, 499: 3e-6,
    }  # fmt: skip
    for step, rate in expected.items():
        assert float(schedule(step)) == np.float32(rate), step


@pytest.mark.parametrize("kind", ["constant", "plateau"])
def test_constant_and_plateau_stay_at_the_peak(kind: str) -> None:
    schedule = make_schedule(ScheduleSection.model_validate({"kind": kind}), 0.1, 20, warmup_steps=4)
    np.testing.assert_allclose(rates(schedule, range(4)), [0, 0.025, 0.05, 0.075], rtol=1e-6)
    assert set(rates(schedule, range(4, 30))) == {float(np.float32(0.1))}


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("kind", ["cosine", "step", "constant"])
def test_a_graph_gives_what_python_gives(kind: str, jit: bool) -> None:
    boundaries = (5, 9) if kind == "step" else ()
    settings = ScheduleSection.model_validate({"kind": kind, "boundaries": boundaries})
    schedule = make_schedule(settings, 0.2, 12, warmup_steps=3)
    counter = keras.Variable(0, dtype="int", trainable=False)
    compiled = tf.function(lambda: schedule(counter), jit_compile=jit)
    for step in range(14):
        counter.assign(step)
        value = compiled()
        assert value.dtype == tf.float32
        assert float(value) == pytest.approx(float(schedule(step)), rel=1e-6, abs=1e-9)


def test_large_steps_are_told_apart() -> None:
    schedule = make_schedule(ScheduleSection(kind="step", boundaries=(2**24,)), 1.0, 2**25, 0)
    assert float(schedule(2**24)) == 1.0
    assert float(schedule(2**24 + 1)) == np.float32(0.1)


def test_a_schedule_stands_in_a_compile_and_in_a_saved_optimiser() -> None:
    schedule = make_schedule(ScheduleSection(kind="step", boundaries=(1,)), 0.1, 10, 0)
    optimizer = keras.optimizers.SGD(schedule)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again._learning_rate.get_config() == schedule.get_config()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(optimizer, "mse", jit_compile=False)
    model.fit(np.ones((6, 2)), np.zeros(6), batch_size=2, verbose=0)
    assert float(optimizer.learning_rate) == np.float32(0.01)


@pytest.mark.parametrize(
    ("settings", "warmup", "message"),
    [
        ({}, 20, r"a warm-up of 20 steps in a run of 20.*--set schedule.warmup_steps=2"),
        ({"boundaries": (3,)}, 0, r"boundaries under schedule.kind = 'cosine'.*--set schedule.kind=step"),
        ({"kind": "step"}, 0, r"without boundaries.*--set 'schedule.boundaries=\[10, 15\]'"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, object], warmup: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_schedule(ScheduleSection.model_validate(settings), 0.1, 20, warmup)
