"""The average of weights against its recurrence in double precision, and how it is put in and out."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from medzoo.training.optimisation.averaging import WeightAverage


def make_network(seed: int = 0) -> keras.Model:
    """A network with moving statistics and, in its dropout, a seed."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, name="body")(inputs)
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization(name="norm")(x))
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(x))


def disturb(model: keras.Model, step: int) -> list[np.ndarray]:
    """Set new weights, as an update would, and give them."""
    generator = np.random.default_rng(step)
    values = [generator.normal(size=weight.shape).astype(np.float32) for weight in model.weights]
    for weight, value in zip(model.weights, values, strict=True):
        weight.assign(value)
    return values


def read(variables: list[Any]) -> list[np.ndarray]:
    return [np.array(variable.numpy()) for variable in variables]


def averages(average: WeightAverage) -> list[np.ndarray]:
    return read(average.variables[1:])


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_averages_follow_the_recurrence_with_its_warm_up(decay: float, jit: bool) -> None:
    model = make_network()
    average = WeightAverage(model, decay)
    expected = [value.astype(np.float64) for value in read(model.weights)]
    update = tf.function(average.update, jit_compile=jit)
    for count in range(12):
        values = disturb(model, count)
        update()
        keep = min(decay, (1 + count) / (10 + count))
        expected = [keep * old + (1 - keep) * new for old, new in zip(expected, values, strict=True)]
    for mine, other in zip(averages(average), expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
    assert int(average.variables[0].numpy()) == 12


def test_weights_and_statistics_are_averaged_and_seeds_are_not() -> None:
    model = make_network()
    names = [variable.name for variable in WeightAverage(model, 0.9).variables]
    assert len(names) == 1 + len(model.weights) == len(set(names))
    assert sum("moving" in name for name in names) == 2
    assert len(model.variables) > len(model.weights)  # there is a seed to leave out


def test_a_swap_puts_averages_in_and_the_very_weights_back() -> None:
    model = make_network()
    average = WeightAverage(model, 0.9)
    before = disturb(model, 1)
    average.update()
    held = averages(average)
    with average.swap():
        for weight, value in zip(model.weights, held, strict=True):
            np.testing.assert_array_equal(weight.numpy(), value)
        disturb(model, 2)  # as recalibration would
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    for mine, other in zip(averages(average), held, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_swap_ends_also_where_validation_fails() -> None:
    model = make_network()
    average = WeightAverage(model, 0.9)
    before = disturb(model, 1)
    with pytest.raises(RuntimeError), average.swap():
        raise RuntimeError
    np.testing.assert_array_equal(model.weights[0].numpy(), before[0])


def test_state_put_back_goes_on_bit_for_bit() -> None:
    first, second = make_network(), make_network(seed=5)
    one, other = WeightAverage(first, 0.99), WeightAverage(second, 0.99)
    for step in range(5):
        disturb(first, step)
        one.update()
    for variable, value in zip(other.variables, read(one.variables), strict=True):
        variable.assign(value)
    for step in range(5, 8):
        disturb(first, step)
        disturb(second, step)
        one.update()
        other.update()
    for mine, theirs in zip(read(one.variables), read(other.variables), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_averages_are_float32_under_mixed_precision() -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        average = WeightAverage(make_network(), 0.9)
    finally:
        keras.config.set_dtype_policy(policy)
    average.update()
    assert {variable.dtype for variable in average.variables[1:]} == {"float32"}


def test_whole_numbers_are_taken_as_they_are() -> None:
    class Counting(keras.layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.seen = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False)

        def call(self, inputs: Any) -> Any:
            return inputs

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1), Counting()])
    average = WeightAverage(model, 0.9)
    model.layers[-1].seen.assign(7)
    average.update()
    assert int(average.variables[-1].numpy()) == 7
