"""Updates against Keras's own optimisers; groups, their factors, decay and clipping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from medzoo.errors import ConfigError
from medzoo.models.build import build
from medzoo.models.catalog import find_model
from medzoo.specs import HEAD_STAGE, Stage
from medzoo.training.optimisation.groups import Group, make_groups, takes_decay
from medzoo.training.optimisation.schedules import make_schedule
from medzoo.training.optimisation.updates import Updates, clip_by_global_norm, make_updates
from medzoo.training.settings import OptimizerSection, ScheduleSection, TrainingSection

STAGES = (
    Stage("stem", "stem*", "stem"),
    Stage("body", "body*", "body2", (Stage("body1", "body1*", "body1"), Stage("body2", "body2*", "body2"))),
    Stage("pool", "pool", "pool"),
    HEAD_STAGE,
)


def make_network(seed: int = 0) -> keras.Model:
    """A network with a stage of two blocks, a stage without weights and a head."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(3, 3, name="stem")(inputs)
    x = keras.layers.BatchNormalization(name="stem_bn")(x)
    x = keras.layers.Conv2D(4, 3, activation="relu", name="body1")(x)
    x = keras.layers.Conv2D(4, 1, activation="relu", name="body2")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(x))


def constant(rate: float) -> Any:
    return make_schedule(ScheduleSection(kind="constant"), rate, 100, 0)


def set_up(
    model: keras.Model, schedule: Any, stages: tuple[Stage, ...] = (), decay: float = 0.0, **options: Any
) -> Updates:
    optimizer = OptimizerSection.model_validate(options)
    return make_updates(
        model, make_groups(model, stages, optimizer), optimizer, TrainingSection(weight_decay=decay), schedule
    )


def draw_gradients(model: keras.Model, step: int) -> list[np.ndarray]:
    generator = np.random.default_rng(step)
    return [
        generator.normal(size=variable.shape).astype(np.float32) for variable in model.trainable_variables
    ]


def compile_apply(apply: Callable[..., Any], variables: list[Any], jit: bool) -> Callable[..., Any]:
    return tf.function(lambda gradients: apply(gradients, variables), jit_compile=jit)  # type: ignore[no-any-return]


def run(apply: Callable[..., Any], model: keras.Model, steps: int, jit: bool = False) -> None:
    step_in_graph = compile_apply(apply, list(model.trainable_variables), jit)
    for step in range(steps):
        step_in_graph([tf.constant(gradient) for gradient in draw_gradients(model, step)])


def read(variables: list[Any]) -> list[np.ndarray]:
    return [variable.numpy() for variable in variables]


STOCK = {
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "adam": lambda: keras.optimizers.Adam(0.01, weight_decay=0.1),
    "sgd": lambda: keras.optimizers.SGD(0.01, 0.9, weight_decay=0.1),
    "lamb": lambda: keras.optimizers.Lamb(0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", STOCK)
def test_one_group_at_a_constant_rate_is_keras_own_optimiser(name: str, jit: bool) -> None:
    ours, theirs = make_network(), make_network()
    stock = STOCK[name]()
    stock.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    stock.build(theirs.trainable_variables)
    run(set_up(ours, constant(0.01), decay=0.1, name=name).apply, ours, 6, jit)
    run(stock.apply, theirs, 6, jit)
    for mine, other in zip(read(ours.weights), read(theirs.weights), strict=True):
        if jit:  # XLA fuses each graph in its own way
            np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-8)
        else:
            np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("name", STOCK)
def test_many_groups_of_one_factor_are_one_group(name: str) -> None:
    ours, theirs = make_network(), make_network()
    run(set_up(ours, constant(0.01), STAGES, 0.1, name=name).apply, ours, 5)
    run(set_up(theirs, constant(0.01), (), 0.1, name=name).apply, theirs, 5)
    for mine, other in zip(read(ours.weights), read(theirs.weights), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_schedule_is_what_keras_makes_of_it() -> None:
    schedule = make_schedule(ScheduleSection(kind="step", boundaries=(2, 4)), 0.1, 10, 2)
    ours, theirs = make_network(), make_network()
    updates = set_up(ours, schedule, STAGES, 0.0)
    stock = keras.optimizers.Adam(schedule)
    stock.build(theirs.trainable_variables)
    run(updates.apply, ours, 7)
    run(stock.apply, theirs, 7)
    for mine, other in zip(read(ours.weights), read(theirs.weights), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-8)
    assert updates.rate() == pytest.approx(0.001)
    assert int(updates.counter.numpy()) == 7


def test_the_rate_is_factor_times_schedule_times_what_plateaus_left() -> None:
    model = make_network()
    updates = set_up(
        model, constant(1.0), STAGES, name="sgd", momentum=0.0, rates={"backbone": 0.5, "body": 2.0}
    )
    before = read(model.trainable_variables)
    ones = [tf.ones(variable.shape) for variable in model.trainable_variables]
    step = compile_apply(updates.apply, list(model.trainable_variables), jit=False)
    updates.lower(0.5)
    step(ones)
    updates.lower(0.5)  # seen by a graph that was made before
    step(ones)
    assert updates.rate() == 0.25
    factors = {"stem": 0.5, "stem_bn": 0.5, "body1": 2.0, "body2": 2.0, "head": 1.0}
    for variable, old in zip(model.trainable_variables, before, strict=True):
        factor = factors[variable.path.partition("/")[0]]
        np.testing.assert_allclose(old - variable.numpy(), factor * 0.75, rtol=1e-5)


def factors_of(groups: tuple[Group, ...]) -> dict[str, float]:
    return {group.stage: group.factor for group in groups}


def test_layer_decay_falls_from_the_head_over_stages_with_weights() -> None:
    groups = make_groups(make_network(), STAGES, OptimizerSection(layer_decay=0.5))
    assert factors_of(groups) == {"stem": 0.25, "body": 0.5, "head": 1.0}


def test_layer_decay_of_a_vision_transformer() -> None:
    model = build(find_model("vit_ti16+depth=2"), 2, 3, 32)
    groups = make_groups(model, find_model("vit_ti16+depth=2").stages, OptimizerSection(layer_decay=0.75))
    assert factors_of(groups) == {
        "embed": 0.75**4, "block1": 0.75**3, "block2": 0.75**2, "norm": 0.75, "head": 1.0,
    }  # fmt: skip
    grouped = [variable for group in groups for variable in group.variables]
    assert {id(one) for one in grouped} == {id(one) for one in model.trainable_variables}
    assert len(grouped) == len(model.trainable_variables)
    # Class token, positions, biases and norms are spared; each dense layer and the patches' filter is not.
    assert (
        sum(takes_decay(one) for one in grouped) == sum(one.name == "kernel" for one in grouped) == 2 + 2 * 6
    )


def test_rates_of_blocks_stand_before_those_of_stages_and_of_the_backbone() -> None:
    rates = {"backbone": 0.1, "body": 0.2, "body2": 0.3}
    groups = make_groups(make_network(), STAGES, OptimizerSection(rates=rates, layer_decay=0.5))
    assert factors_of(groups) == pytest.approx({"stem": 0.025, "body1": 0.1, "body2": 0.15, "head": 1.0})


@pytest.mark.parametrize(
    ("stages", "options", "message"),
    [
        (STAGES, {"rates": {"bodi": 0.1}}, "no stage 'bodi'.*'body'"),
        (STAGES, {"rates": {"stem": 0.0}}, "a factor of 0 for 'stem'.*optimizer.freeze=stem"),
        ((), {"rates": {"head": 0.1}}, "optimizer.rates for a network that declares no stages"),
        ((), {"layer_decay": 0.9}, "optimizer.layer_decay for a network that declares no stages"),
        (STAGES[:1], {"rates": {"backbone": 0.1}}, "no stage 'backbone'"),
    ],
)
def test_rates_that_mean_nothing_are_refused(
    stages: tuple[Stage, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_groups(make_network(), stages, OptimizerSection.model_validate(options))


def test_nested_models_are_placed_by_their_own_names_or_their_owners() -> None:
    inner = make_network()
    inner.name = "stem_of_all"
    inputs = keras.Input((6, 6, 2))
    model = keras.Model(inputs, keras.layers.Dense(2, name="top")(inner(inputs)))
    groups = make_groups(model, (STAGES[0], STAGES[1]), OptimizerSection())
    # The inner head is held by nothing but the model around it, the outer one by nothing at all.
    assert {group.stage: len(group.variables) for group in groups} == {"rest": 2, "stem": 6, "body": 4}


@pytest.mark.parametrize(
    ("name", "shape", "taken"),
    [
        ("kernel", (2, 2), True),
        ("depthwise_kernel", (3, 3, 2, 1), True),
        ("scale", (2,), False),  # a layer scale
        ("bias", (2, 2), False),  # of attention heads
        ("relative_position_bias_table", (9, 2), False),
        ("embeddings", (9, 2), False),
    ],
)
def test_what_takes_weight_decay(name: str, shape: tuple[int, ...], taken: bool) -> None:
    assert takes_decay(keras.Variable(np.ones(shape), name=name)) == taken


@pytest.mark.parametrize("name", STOCK)
def test_decay_shrinks_matrices_alone(name: str) -> None:
    model = make_network()
    for variable in model.trainable_variables:
        variable.assign(np.full(variable.shape, 2.0))
    updates = set_up(model, constant(0.1), STAGES, 0.5, name=name, rates={"backbone": 0.5})
    variables = list(model.trainable_variables)
    compile_apply(updates.apply, variables, jit=False)([tf.zeros(variable.shape) for variable in variables])
    for variable in variables:
        kept = 1.0
        if variable.name == "kernel":
            kept -= 0.5 * 0.1 * (1.0 if variable.path.startswith("head") else 0.5)
        np.testing.assert_allclose(variable.numpy(), 2.0 * kept, rtol=1e-6)


@pytest.mark.parametrize("jit", [False, True])
def test_clipping_scales_all_gradients_by_one_norm(jit: bool) -> None:
    model = make_network()
    updates = set_up(model, constant(1.0), STAGES, name="sgd", momentum=0.0, clip_norm=0.5)
    before, gradients = read(model.trainable_variables), draw_gradients(model, 0)
    norm = np.sqrt(sum((gradient.astype(np.float64) ** 2).sum() for gradient in gradients))
    assert norm > 1
    run(updates.apply, model, 1, jit)
    for variable, old, gradient in zip(model.trainable_variables, before, gradients, strict=True):
        np.testing.assert_allclose(old - variable.numpy(), gradient * 0.5 / norm, rtol=1e-4, atol=1e-6)


def test_small_gradients_are_not_scaled_and_broken_ones_are_not_hidden() -> None:
    small = [np.float32([0.25, -0.125])]
    np.testing.assert_array_equal(clip_by_global_norm(small, 1.0)[0], small[0])
    assert np.isnan(clip_by_global_norm([np.float32([np.inf]), np.float32([1])], 1.0)[0]).all()
    assert np.isnan(np.concatenate(clip_by_global_norm([np.float32([np.nan]), np.float32([1])], 1.0))).all()


def test_a_group_that_begins_later_has_the_first_updates_of_a_fresh_optimiser() -> None:
    ours, theirs = make_network(), make_network()
    updates = set_up(ours, constant(0.01), STAGES)
    head = [variable for variable in ours.trainable_variables if variable.path.startswith("head")]
    rest = [variable for variable in ours.trainable_variables if not variable.path.startswith("head")]
    for step in range(50):
        generator = np.random.default_rng(1000 + step)
        updates.apply([tf.constant(generator.normal(size=one.shape), tf.float32) for one in head], head)
    untouched = read(theirs.trainable_variables)
    for one, old in zip(ours.trainable_variables, untouched, strict=True):
        assert np.array_equal(one.numpy(), old) != any(one is other for other in head)
    run(updates.apply, ours, 3)
    fresh = set_up(theirs, constant(0.01), STAGES)
    run(fresh.apply, theirs, 3)
    names = {variable.path for variable in rest}
    for mine, other in zip(ours.trainable_variables, theirs.trainable_variables, strict=True):
        if mine.path in names:
            np.testing.assert_array_equal(mine.numpy(), other.numpy())


@pytest.mark.parametrize("name", STOCK)
def test_state_put_back_goes_on_bit_for_bit(name: str) -> None:
    options: dict[str, Any] = {"name": name, "clip_norm": 3.0, "layer_decay": 0.7}
    schedule = make_schedule(ScheduleSection(), 0.02, 10, 2)
    first = make_network()
    updates = set_up(first, schedule, STAGES, 0.1, **options)
    run(updates.apply, first, 4)
    updates.lower(0.3)
    weights, state = read(first.weights), read(updates.variables)
    paths = [variable.path for variable in updates.variables]
    run(updates.apply, first, 3)
    second = make_network(seed=1)
    again = set_up(second, schedule, STAGES, 0.1, **options)
    assert [variable.path for variable in again.variables] == paths
    assert len(set(paths)) == len(paths)
    for variable, value in zip([*second.weights, *again.variables], [*weights, *state], strict=True):
        variable.assign(value)
    run(again.apply, second, 3)
    for mine, other in zip(
        read([*first.weights, *updates.variables]), read([*second.weights, *again.variables]), strict=True
    ):
        np.testing.assert_array_equal(mine, other)


def test_groups_of_another_model_are_refused() -> None:
    groups = make_groups(make_network(), STAGES, OptimizerSection())
    with pytest.raises(ConfigError, match="is in no group"):
        make_updates(make_network(), groups, OptimizerSection(), TrainingSection(), constant(0.1))


def test_a_model_in_which_nothing_learns_is_refused() -> None:
    model = make_network()
    model.trainable = False
    with pytest.raises(ConfigError, match="learns"):
        make_groups(model, STAGES, OptimizerSection())
