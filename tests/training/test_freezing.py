"""Freezing and gradual unfreezing: what stays, what goes on, and that optimisers forget nothing."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from medzoo.errors import ConfigError
from medzoo.models.build import build
from medzoo.models.catalog import find_model
from medzoo.specs import HEAD_STAGE, Stage
from medzoo.training.optimisation.freezing import Freezing
from medzoo.training.optimisation.groups import make_groups
from medzoo.training.optimisation.schedules import make_schedule
from medzoo.training.optimisation.updates import Updates, make_updates
from medzoo.training.settings import OptimizerSection, ScheduleSection, TrainingSection

STAGES = (
    Stage("stem", "stem*", "stem_bn"),
    Stage(
        "body", "body*", "body2", (Stage("body1", "body1*", "body1_bn"), Stage("body2", "body2*", "body2"))
    ),
    Stage("pool", "pool", "pool"),
    HEAD_STAGE,
)
BOTTOM_UP = ["stem", "stem_bn", "body1", "body1_bn", "body2", "head"]


def make_network() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(3, 3, name="stem")(inputs)
    x = keras.layers.BatchNormalization(name="stem_bn")(x)
    x = keras.layers.Conv2D(4, 3, name="body1")(x)
    x = keras.layers.BatchNormalization(name="body1_bn")(x)
    x = keras.layers.Conv2D(4, 1, activation="relu", name="body2")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(x))


def learning(variables: list[Any]) -> list[str]:
    """The layers of some variables, from bottom to top."""
    return list(dict.fromkeys(variable.path.partition("/")[0] for variable in variables))


class Trainer:
    """Trains a network with its freezing as a run does: one compiled step, traced anew where layers change."""

    def __init__(self, model: keras.Model, jit: bool = False, measure: bool = False, **options: Any) -> None:
        self.model, self.jit = model, jit
        optimizer = OptimizerSection.model_validate(options)
        groups = make_groups(model, STAGES, optimizer)
        schedule = make_schedule(ScheduleSection(kind="constant"), 0.05, 100, 0)
        self.updates: Updates = make_updates(model, groups, optimizer, TrainingSection(), schedule)
        self.freezing = Freezing(model, STAGES, optimizer.freeze, optimizer.unfreeze_every, measure)
        self.retrace()

    def retrace(self) -> None:
        variables = list(self.model.trainable_variables)

        def step(images: Any, targets: Any) -> None:
            with tf.GradientTape() as tape:
                loss = keras.ops.mean(keras.ops.square(self.model(images, training=True) - targets))
            self.updates.apply(tape.gradient(loss, [one.value for one in variables]), variables)

        self.step = tf.function(step, jit_compile=self.jit)

    def run(self, epoch: int, steps: int = 3) -> None:
        if self.freezing.apply(epoch):
            self.retrace()
        assert [*map(id, self.freezing.active(epoch))] == [*map(id, self.model.trainable_variables)]
        generator = np.random.default_rng(epoch)
        for _ in range(steps):
            images = generator.normal(3.0, 2.0, (8, 6, 6, 2)).astype(np.float32)
            self.step(tf.constant(images), tf.constant(images.mean(axis=(1, 2))))

    def values(self) -> dict[str, np.ndarray]:
        return {
            variable.path: variable.numpy() for variable in [*self.model.weights, *self.updates.variables]
        }


def changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> list[str]:
    return [name for name in before if not np.array_equal(before[name], after[name])]


@pytest.mark.parametrize("jit", [False, True])
def test_what_is_frozen_stays_bit_for_bit_and_so_do_its_slots(jit: bool) -> None:
    trainer = Trainer(make_network(), jit, freeze="body1")
    before = trainer.values()
    trainer.run(0)
    moved = changed(before, trainer.values())
    layers = {name.partition("/")[0] for name in moved}
    # Statistics of frozen batch norms stay too; blocks of the stage above the cut and the head go on.
    assert layers == {"body2", "head", "updates_body2", "updates_head", "updates_counter"}


def test_a_released_stage_finds_its_slots_and_begins_its_own_count() -> None:
    trainer = Trainer(make_network(), freeze="backbone", unfreeze_every=2)
    slots = [id(variable) for variable in trainer.updates.variables]
    expected = [["head"], ["head"], BOTTOM_UP[2:], BOTTOM_UP[2:], BOTTOM_UP, BOTTOM_UP]
    for epoch, layers in enumerate(expected):
        trainer.run(epoch)
        assert learning(trainer.model.trainable_variables) == layers
    values = trainer.values()
    counts = {stage: int(values[f"updates_{stage}/iteration"]) for stage in ("stem", "body", "head")}
    assert counts == {"stem": 6, "body": 12, "head": 18}
    assert int(values["updates_counter"]) == 18
    assert [id(variable) for variable in trainer.updates.variables] == slots


def test_freezing_again_keeps_the_slots_of_before() -> None:
    trainer = Trainer(make_network(), freeze="stem", unfreeze_every=1)
    trainer.run(1)
    before = trainer.values()
    trainer.run(0)
    after = trainer.values()
    kept = [name for name in before if name.startswith(("stem", "updates_stem"))]
    assert len(kept) == 6 + 10
    assert not {*kept} & {*changed(before, after)}
    assert np.abs(after["updates_stem/stem_kernel_velocity"]).min() > 0


def test_apply_tells_of_a_change_once() -> None:
    freezing = Freezing(make_network(), STAGES, "body", 3)
    assert [freezing.apply(epoch) for epoch in range(8)] == [
        True,
        False,
        False,
        True,
        False,
        False,
        True,
        False,
    ]
    assert not Freezing(make_network(), STAGES, None, None).apply(0)


def test_a_run_that_is_resumed_freezes_what_it_froze() -> None:
    model = make_network()
    assert Freezing(model, STAGES, "body", 1).apply(1)
    assert learning(model.trainable_variables) == BOTTOM_UP[2:]


def test_active_changes_nothing() -> None:
    model = make_network()
    freezing = Freezing(model, STAGES, "body", 1)
    assert [learning(freezing.active(epoch)) for epoch in (0, 1, 2)] == [["head"], BOTTOM_UP[2:], BOTTOM_UP]
    assert learning(model.trainable_variables) == BOTTOM_UP


def test_without_a_stage_to_freeze_unfreezing_begins_at_the_head() -> None:
    freezing = Freezing(make_network(), STAGES, None, 1)
    assert learning(freezing.active(0)) == ["head"]
    assert learning(freezing.active(1)) == BOTTOM_UP[2:]


def test_frozen_norms_go_on_measuring_where_asked() -> None:
    trainer = Trainer(make_network(), measure=True, freeze="stem")
    before = trainer.values()
    trainer.run(0)
    moved = [name for name in changed(before, trainer.values()) if name.startswith("stem")]
    assert moved == ["stem_bn/moving_mean", "stem_bn/moving_variance"]


def test_measuring_ends_where_everything_was_released() -> None:
    model = make_network()
    freezing = Freezing(model, STAGES, "stem", 1, update_frozen_norms=True)
    before = [(one.path, one.trainable) for one in model.weights], [layer.trainable for layer in model.layers]
    freezing.apply(0)
    freezing.apply(1)
    after = [(one.path, one.trainable) for one in model.weights], [layer.trainable for layer in model.layers]
    assert after == before


def test_what_was_not_trainable_before_is_not_released() -> None:
    model = make_network()
    model.get_layer("stem").trainable = False
    freezing = Freezing(model, STAGES, "body", 1)
    for epoch in range(3):
        freezing.apply(epoch)
    assert learning(model.trainable_variables) == BOTTOM_UP[1:]


def test_a_norm_that_was_not_trainable_before_neither_measures_nor_learns() -> None:
    model = make_network()
    norm = model.get_layer("stem_bn")
    norm.trainable = False
    freezing = Freezing(model, STAGES, "stem", 1, update_frozen_norms=True)
    for epoch in range(2):
        freezing.apply(epoch)
        assert not norm.trainable
    assert learning(model.trainable_variables) == ["stem", *BOTTOM_UP[2:]]


def test_a_catalogue_network_with_composite_layers() -> None:
    spec = find_model("vit_ti16+depth=2")
    model = build(spec, 2, 3, 32)
    freezing = Freezing(model, spec.stages, "block1", 1)
    freezing.apply(0)
    below = ("patch_", "tokens/", "positions/", "block1_")
    frozen = {variable.path for variable in model.weights if not variable.trainable}
    assert frozen == {variable.path for variable in model.weights if variable.path.startswith(below)}
    freezing.apply(2)
    assert all(variable.trainable for variable in model.weights)


@pytest.mark.parametrize(
    ("stages", "freeze", "message"),
    [
        (STAGES, "boddy", "no stage 'boddy'.*'body'"),
        (STAGES, "head", "with 'head' frozen nothing learns.*--freeze backbone"),
        ((), "stem", "declares none"),
        (STAGES[:2], "backbone", "declares no head"),
    ],
)
def test_what_cannot_be_frozen_is_refused(stages: tuple[Stage, ...], freeze: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Freezing(make_network(), stages, freeze, None)
