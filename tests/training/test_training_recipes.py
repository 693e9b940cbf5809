"""Recipes: a paper's settings stand below what is given, and above the defaults."""

from __future__ import annotations

import pytest

from medzoo.errors import ConfigError
from medzoo.training.config import format_config, make_config
from medzoo.training.recipes import RECIPES, Facts, apply_recipe
from medzoo.training.settings import TrainConfig

STAGES = ("conv1", "conv2", "conv3")


def _apply(
    recipe: str, images: int = 5000, size: int = 224, cut: bool = True, **settings: object
) -> TrainConfig:
    given = [(key.replace("__", "."), value) for key, value in settings.items()]
    config = make_config({}, [("training.recipe", recipe), *given])
    return apply_recipe(config, Facts(images, (size, size), cut, STAGES))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_gives_valid_settings_that_stay_when_read_again(recipe: str) -> None:
    settings = {"optimizer__freeze": "conv1"} if recipe == "lwft" else {}
    config = _apply(recipe, **settings)
    import tomllib

    again = make_config(tomllib.loads(format_config(config)))
    assert apply_recipe(again, Facts(7, (1, 1), True, STAGES)) == again == config


def test_what_is_given_stands_above_the_recipe() -> None:
    config = _apply("transfusion", training__learning_rate=0.5, optimizer__name="sgd")
    assert config.training.learning_rate == 0.5
    assert config.optimizer.name == "sgd"
    assert config.training.weight_decay == 0


@pytest.mark.parametrize(
    ("images", "size", "steps", "warmup", "boundaries", "mix", "side"),
    [
        (19_999, 95, 500, 100, (200, 300, 400), "none", 128),
        (20_000, 96, 10_000, 500, (3000, 6000, 9000), "mixup", 480),
        (499_999, 500, 10_000, 500, (3000, 6000, 9000), "mixup", 480),
        (500_000, 32, 20_000, 500, (6000, 12000, 18000), "mixup", 128),
    ],
)
def test_the_hyperrule(
    images: int, size: int, steps: int, warmup: int, boundaries: tuple[int, ...], mix: str, side: int
) -> None:
    """The table of METHODS: steps by the number of images, resolution by their area (Kolesnikov et al. 2020)."""
    config = _apply("bit-hyperrule", images, size)
    assert (config.training.steps, config.schedule.warmup_steps, config.schedule.boundaries) == (
        steps,
        warmup,
        boundaries,
    )
    assert (config.training.mix, config.data.image_size) == (mix, side)
    assert (config.training.learning_rate, config.training.batch_size) == (0.003, 512)
    assert (config.optimizer.name, config.optimizer.momentum, config.training.weight_decay) == ("sgd", 0.9, 0)


def test_what_is_given_is_never_made_void() -> None:
    """A recipe's steps would void epochs, its warm-up steps a share, its boundaries another schedule."""
    config = _apply("bit-hyperrule", training__epochs=3)
    assert config.training.steps is None
    assert config.schedule.boundaries == (12, 18, 24)  # of 30 steps, in the rule's proportions
    assert _apply("bit-hyperrule", training__warmup=0.3).schedule.warmup_steps is None
    assert _apply("bit-hyperrule", schedule__kind="cosine").schedule.boundaries == ()
    config = _apply("bit-hyperrule", training__steps=250)
    assert (config.schedule.warmup_steps, config.schedule.boundaries) == (50, (100, 150, 200))
    config = _apply("feature-reuse", images=1000, training__batch_size=512, training__epochs=15)
    assert config.schedule.warmup_steps == 3


def test_the_rate_of_the_hyperrule_over_a_run() -> None:
    pytest.importorskip("keras")
    from medzoo.training.optimisation.schedules import make_schedule

    config = _apply("bit-hyperrule")
    schedule = make_schedule(config.schedule, config.training.learning_rate, 500, 100)
    rates = [float(schedule(step)) for step in (0, 50, 100, 200, 201, 301, 401, 499)]
    assert rates == pytest.approx([0, 0.0015, 0.003, 0.003, 3e-4, 3e-5, 3e-6, 3e-6])


@pytest.mark.parametrize("recipe", ["ttl", "fat"])
def test_a_truncated_recipe_needs_a_cut(recipe: str) -> None:
    with pytest.raises(ConfigError, match="--at conv2"):
        _apply(recipe, cut=False)


def test_layer_wise_fine_tuning_needs_the_stage_that_stays() -> None:
    with pytest.raises(ConfigError, match="--freeze conv1"):
        _apply("lwft")
    config = _apply("lwft", optimizer__freeze="conv2")
    assert config.optimizer.rates == {"backbone": 0.1}
    assert config.schedule.metric == config.validation.metric == "loss"


def test_frozen_recipes_train_the_head_alone() -> None:
    for recipe in ("fat", "linear-probe"):
        assert _apply(recipe).optimizer.freeze == "backbone"


def test_a_warm_up_is_never_the_whole_run() -> None:
    """1,000 steps of warm-up (Matsoukas et al. 2022) would be all of a small data set's training."""
    assert _apply("feature-reuse", images=500, training__epochs=10).schedule.warmup_steps == 8
    assert _apply("feature-reuse", images=50_000, training__epochs=50).schedule.warmup_steps == 1000
