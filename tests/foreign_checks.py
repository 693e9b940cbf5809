"""What must hold when any Keras model is filled; the model is built by a function that gives a new one each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

import medzoo
from medzoo import recipes
from medzoo.tensors import Role, Source, name_variables
from medzoo.transplant.plan import Plan, Rule

#: How many standard errors a drawn moment may lie from its source's.
STANDARD_ERRORS = 4.5

Build = Callable[[], Any]


def read_model(model: Any) -> dict[str, np.ndarray]:
    """Read every weight of a model under its name."""
    return {name: np.asarray(variable) for name, variable in name_variables(model).items()}


def answer(model: Any, inputs: np.ndarray) -> list[np.ndarray]:
    """Give a model's outputs, of a backbone with several all of them."""
    outputs = model(inputs)
    if isinstance(outputs, Mapping):
        return [np.asarray(outputs[name]) for name in sorted(outputs)]
    return [np.asarray(output) for output in (outputs if isinstance(outputs, list | tuple) else [outputs])]


def fill(model: Any, source: Source, rules: Iterable[Rule]) -> Plan:
    """Plan for a model and carry the plan out."""
    plan = medzoo.make_plan(source, medzoo.describe(model), rules, seed=3)
    assert [step.target.name for step in plan.steps] == list(name_variables(model))
    medzoo.apply(plan, source, model)
    return plan


def make_source(model: Any) -> Source:
    """Make a source for a model in which every tensor has a mean and a deviation of its own."""
    rng = np.random.default_rng(1)
    arrays = {}
    for index, (name, values) in enumerate(read_model(model).items()):
        # All positive, as moving variances must be.
        drawn = rng.uniform(0.05, 0.1 + 0.01 * index, values.shape)
        arrays[name] = drawn.astype(values.dtype)
    return medzoo.source_from_arrays(arrays)


def check_copy(build: Build, shape: tuple[int, ...]) -> None:
    """Check that one instance's arrays make another one answer alike, to the last bit."""
    first, second = build(), build()
    rng = np.random.default_rng(0)
    inputs = rng.uniform(0, 1, (2, *shape)).astype("float32")
    for variable in first.weights:
        # Zeros and ones as well become numbers of their own; moving variances stay positive.
        values = np.asarray(variable) * rng.uniform(0.8, 1.2, variable.shape)
        variable.assign((values + rng.uniform(-0.02, 0.02, variable.shape)).astype("float32"))
    expected = answer(first, inputs)
    assert all(np.isfinite(output).all() for output in expected)
    assert not all(map(np.array_equal, answer(second, inputs), expected))
    plan = fill(second, medzoo.source_from_arrays(read_model(first)), recipes.copy())
    assert plan.coverage == 1.0
    assert {step.method for step in plan.steps} == {"copy"}
    for output, wanted in zip(answer(second, inputs), expected, strict=True):
        np.testing.assert_array_equal(output, wanted)


def check_statistics(build: Build, more: Iterable[Rule] = ()) -> int:
    """Check that kernels and biases are drawn with their own moments and norms are neutral; give how many are drawn.

    `more` are rules for what has none of the known roles.
    """
    model = build()
    source = make_source(model)
    plan = fill(model, source, (*more, *recipes.stats()))
    filled = read_model(model)
    drawn = 0
    for step in plan.steps:
        name, values = step.target.name, filled[step.target.name].astype(np.float64)
        if step.target.role in (Role.KERNEL, Role.BIAS):
            assert step.method == "resample", name
        elif step.target.role in (Role.NORM_SCALE, Role.MOVING_VARIANCE):
            assert (values == 1).all(), name
        elif step.target.role in (Role.NORM_SHIFT, Role.MOVING_MEAN):
            assert (values == 0).all(), name
        else:
            np.testing.assert_array_equal(filled[name], np.asarray(source[name]), err_msg=name)
        if step.method == "resample":
            drawn += 1
            given = np.asarray(source[name]).astype(np.float64)
            assert not np.array_equal(values, given), name
            if values.size >= 100:
                error = STANDARD_ERRORS * given.std() / np.sqrt(values.size)
                assert abs(values.mean() - given.mean()) <= error, name
                error = STANDARD_ERRORS * given.var() * np.sqrt(2 / values.size)
                assert abs(values.var() - given.var()) <= error, name
    return drawn


def check_random(build: Build) -> set[str]:
    """Check that every tensor starts afresh, but for those whose start only their layer knows; give the latter."""
    model = build()
    for variable in model.weights:
        variable.assign(np.full(variable.shape, 7, "float32"))
    source = medzoo.source_from_arrays({})
    plan = fill(model, source, recipes.random())
    filled = read_model(model)
    kept = set()
    for step in plan.steps:
        name, values = step.target.name, filled[step.target.name]
        if step.method == "keep":
            assert step.target.initializer is None, name
            assert (values == 7).all(), name
            kept.add(name)
        else:
            assert not (values == 7).any(), name
            assert np.isfinite(values).all(), name
    return kept
