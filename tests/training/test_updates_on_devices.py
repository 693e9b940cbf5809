"""Updates and averages on two logical devices equal those on one; in a process of its own, which has two."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from medzoo.specs import HEAD_STAGE, Stage
from medzoo.training.optimisation.averaging import WeightAverage
from medzoo.training.optimisation.groups import make_groups
from medzoo.training.optimisation.schedules import make_schedule
from medzoo.training.optimisation.updates import Updates, make_updates
from medzoo.training.settings import OptimizerSection, ScheduleSection, TrainingSection

STAGES = (Stage("body", "body*", "body"), HEAD_STAGE)


def make_network() -> keras.Model:
    """A network with a norm and two stages."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,))
    x = keras.layers.BatchNormalization(name="body_norm")(keras.layers.Dense(4, name="body")(inputs))
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(x))


def set_up(name: str) -> tuple[keras.Model, Updates, WeightAverage]:
    model = make_network()
    optimizer = OptimizerSection.model_validate({"name": name, "clip_norm": 1.0, "layer_decay": 0.5})
    schedule = make_schedule(ScheduleSection(), 0.02, 20, 2)
    groups = make_groups(model, STAGES, optimizer)
    updates = make_updates(model, groups, optimizer, TrainingSection(weight_decay=0.1), schedule)
    return model, updates, WeightAverage(model, 0.9)


def draw_gradients(model: keras.Model, step: int) -> list[tf.Tensor]:
    generator = np.random.default_rng(step)
    return [tf.constant(generator.normal(size=one.shape), tf.float32) for one in model.trainable_variables]


def compare(name: str, steps: int = 5) -> None:
    """Train on one device and, with half of each gradient from each, on two."""
    single, updates, average = set_up(name)
    for step in range(steps):
        updates.apply(draw_gradients(single, step), single.trainable_variables)
        average.update()
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        double, updates_of_two, average_of_two = set_up(name)

    @tf.function
    def train(gradients: list[tf.Tensor]) -> None:
        """Take one step on all devices."""

        def update() -> None:
            """Sum over devices, as the step of a run does, and update."""
            halves = [gradient / 2 for gradient in gradients]
            context = tf.distribute.get_replica_context()
            updates_of_two.apply(context.all_reduce("SUM", halves), double.trainable_variables)
            average_of_two.update()

        strategy.run(update)

    for step in range(steps):
        train(draw_gradients(double, step))
    expected = [*single.weights, *updates.variables, *average.variables]
    found = [*double.weights, *updates_of_two.variables, *average_of_two.variables]
    for one, two in zip(expected, found, strict=True):
        for copy in strategy.experimental_local_results(two.value):
            np.testing.assert_allclose(copy.numpy(), one.numpy(), rtol=1e-5, atol=1e-7, err_msg=one.path)


@pytest.mark.slow
def test_two_devices_equal_one() -> None:
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


if __name__ == "__main__":
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    for kind in ("adamw", "sgd", "lamb"):
        compare(kind)
