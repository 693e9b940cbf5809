"""AdamW and SGD against torch.optim: the same gradients, several updates, groups with their own rates."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from medzoo.specs import HEAD_STAGE, Stage
from medzoo.training.optimisation.groups import make_groups, takes_decay
from medzoo.training.optimisation.schedules import make_schedule
from medzoo.training.optimisation.updates import make_updates
from medzoo.training.settings import OptimizerSection, ScheduleSection, TrainingSection

torch = pytest.importorskip("torch")

STAGES = (Stage("body", "body*", "body"), HEAD_STAGE)
RATE, DECAY, STEPS = 0.02, 0.1, 12


def make_network() -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((5,))
    x = keras.layers.LayerNormalization(name="body_norm")(keras.layers.Dense(7, name="body")(inputs))
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(x))


def draw_gradients(model: keras.Model, step: int) -> list[np.ndarray]:
    generator = np.random.default_rng(step)
    return [
        generator.normal(size=variable.shape).astype(np.float32) for variable in model.trainable_variables
    ]


def train_ours(model: keras.Model, decay: float, schedule: Any, **options: Any) -> None:
    """Train by `Updates`; the head learns at twice the rate of the body."""
    optimizer = OptimizerSection.model_validate({"layer_decay": 0.5, **options})
    groups = make_groups(model, STAGES, optimizer)
    updates = make_updates(model, groups, optimizer, TrainingSection(weight_decay=decay), schedule)
    for step in range(STEPS):
        gradients = [keras.ops.convert_to_tensor(gradient) for gradient in draw_gradients(model, step)]
        updates.apply(gradients, model.trainable_variables)


def train_theirs(
    model: keras.Model,
    kind: Any,
    decay: float,
    clip: float | None,
    *,
    adapt_epsilon: bool = False,
    **options: Any,
) -> list[np.ndarray]:
    """Train the same numbers by torch.optim, with parameter groups as a PyTorch user writes them."""
    parameters = [torch.nn.Parameter(torch.tensor(one.numpy())) for one in model.trainable_variables]
    groups = [
        {
            "params": [parameter],
            "lr": RATE * (1.0 if variable.path.startswith("head") else 0.5),
            "weight_decay": decay if takes_decay(variable) else 0.0,
        }
        for parameter, variable in zip(parameters, model.trainable_variables, strict=True)
    ]
    optimizer = kind(groups, **options)
    for step in range(STEPS):
        for parameter, gradient in zip(parameters, draw_gradients(model, step), strict=True):
            parameter.grad = torch.tensor(gradient)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        if adapt_epsilon:
            for group in optimizer.param_groups:
                group["eps"] = 1e-7 / (1 - 0.999 ** (step + 1)) ** 0.5
        optimizer.step()
    return [parameter.detach().numpy() for parameter in parameters]


def compare(model: keras.Model, theirs: list[np.ndarray], before: list[np.ndarray], tolerance: float) -> None:
    """Compare how far each variable has moved, relative to the longest way."""
    for variable, other, old in zip(model.trainable_variables, theirs, before, strict=True):
        way = np.abs(other - old).max()
        assert way > RATE / 4
        np.testing.assert_allclose(
            variable.numpy(), other, rtol=0, atol=tolerance * way, err_msg=variable.path
        )


@pytest.mark.parametrize("clip", [None, 0.5])
def test_adamw(clip: float | None) -> None:
    model = make_network()
    before = [one.numpy() for one in model.trainable_variables]
    # Keras adds ε to √v itself, PyTorch to √v after its bias correction: the same where PyTorch's ε is corrected too.
    theirs = train_theirs(model, torch.optim.AdamW, DECAY, clip, adapt_epsilon=True)
    train_ours(model, DECAY, make_schedule(ScheduleSection(kind="constant"), RATE, 100, 0), clip_norm=clip)
    compare(model, theirs, before, 3e-5)


def test_adamw_as_pytorch_users_have_it() -> None:
    model = make_network()
    before = [one.numpy() for one in model.trainable_variables]
    theirs = train_theirs(model, torch.optim.AdamW, DECAY, None)
    train_ours(model, DECAY, make_schedule(ScheduleSection(kind="constant"), RATE, 100, 0))
    compare(model, theirs, before, 1e-3)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_sgd_with_momentum(clip: float | None) -> None:
    model = make_network()
    before = [one.numpy() for one in model.trainable_variables]
    # PyTorch's SGD adds its decay to the gradient, ours is decoupled: without decay they are the same.
    theirs = train_theirs(model, torch.optim.SGD, 0.0, clip, momentum=0.9)
    schedule = make_schedule(ScheduleSection(kind="constant"), RATE, 100, 0)
    train_ours(model, 0.0, schedule, name="sgd", clip_norm=clip)
    compare(model, theirs, before, 3e-5)
