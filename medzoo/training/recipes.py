"""Named recipes: a paper's settings of training, which stand below whatever is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from medzoo.errors import ConfigError
from medzoo.training.settings import Section, TrainConfig

#: "section.key" → value.
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """What a recipe may depend on: how many training images, their height and width, batches an epoch at a size."""

    images: int
    size: tuple[int, int]
    is_cut: bool
    stages: tuple[str, ...]


def apply_recipe(config: TrainConfig, facts: Facts) -> TrainConfig:
    """Fill the settings that nobody gave with those of the configuration's recipe.

    Raises:
        ConfigError: the recipe needs what the configuration lacks: a cut, or the stage to freeze.
    """
    wanted = RECIPES[config.training.recipe](config, facts)
    updated: dict[str, Section] = {}
    void = _find_void(config, wanted)
    for key, value in wanted.items():
        if key in void:
            continue
        section_name, _, name = key.partition(".")
        section = updated.get(section_name, getattr(config, section_name))
        if name not in section.model_fields_set:
            # Validated as if typed: a recipe is no way around the settings' own limits.
            given = section.model_dump(exclude_unset=True) | {name: value}
            section = type(section).model_validate(given)
        updated[section_name] = section
    return config.model_copy(update=updated)


def _find_void(config: TrainConfig, wanted: Settings) -> frozenset[str]:
    """Find the recipe's settings that would make what was given mean nothing."""
    void: set[str] = set()
    if "epochs" in config.training.model_fields_set:
        void.add("training.steps")
    if "warmup" in config.training.model_fields_set:
        void.add("schedule.warmup_steps")
    schedule = config.schedule
    if "kind" in schedule.model_fields_set and schedule.kind != wanted.get("schedule.kind"):
        void |= {key for key in wanted if key.startswith("schedule.") and key != "schedule.warmup_steps"}
    return frozenset(void)


def _count_steps(config: TrainConfig, facts: Facts, batch: int, default: int | None) -> int:
    """Count the updates of a run with a recipe's batch, or with what was given in its place."""
    given = config.training.model_fields_set
    batch = min(config.training.batch_size if "batch_size" in given else batch, facts.images)
    if config.training.steps is not None:
        return config.training.steps
    if default is not None and "epochs" not in given:
        return default
    return config.training.epochs * -(-facts.images // max(1, batch))


def _default(config: TrainConfig, facts: Facts) -> Settings:
    """Give what the settings' own defaults are."""
    del config, facts
    return {}


def _transfusion(config: TrainConfig, facts: Facts) -> Settings:
    """Adam at a constant .001, batches of 32, no decay (Raghu et al. 2019, on fundus photographs)."""
    del config, facts
    return {
        "optimizer.name": "adam",
        "training.learning_rate": 1e-3,
        "training.batch_size": 32,
        "training.weight_decay": 0.0,
        "training.warmup": 0.0,
        "schedule.kind": "constant",
    }


#: Up to how many training images → updates in all, and the steps after which the rate falls, the warm-up's end first.
_BIT_STEPS = (
    (20_000, 500, (100, 200, 300, 400)),
    (500_000, 10_000, (500, 3_000, 6_000, 9_000)),
    (None, 20_000, (500, 6_000, 12_000, 18_000)),
)


def _bit_hyperrule(config: TrainConfig, facts: Facts) -> Settings:
    """The BiT-HyperRule (Kolesnikov et al. 2020): steps by the number of images, resolution by their area."""
    steps, boundaries = next(
        (steps, boundaries)
        for limit, steps, boundaries in _BIT_STEPS
        if limit is None or facts.images < limit
    )
    small = facts.size[0] * facts.size[1] < 96**2
    # A run of another length keeps the rule's proportions.
    share = _count_steps(config, facts, 512, steps) / steps
    rising, *falling = (round(boundary * share) for boundary in boundaries)
    return {
        "optimizer.name": "sgd",
        "optimizer.momentum": 0.9,
        "training.learning_rate": 0.003,
        "training.batch_size": 512,
        "training.weight_decay": 0.0,
        "training.steps": steps,
        "schedule.kind": "step",
        "schedule.warmup_steps": rising,
        "schedule.boundaries": tuple(falling),
        "schedule.factor": 0.1,
        "data.image_size": 128 if small else 480,
        "data.fit": "squash",
        "training.augment": "bit",
        "training.mix": "none" if facts.images < _BIT_STEPS[0][0] else "mixup",
        "training.mix_alpha": 0.1,
    }


def _feature_reuse(config: TrainConfig, facts: Facts) -> Settings:
    """The settings of Matsoukas et al. (2022): Adam, clipped gradients, plateaus of the validation metric."""
    batch = 64
    steps = _count_steps(config, facts, batch, None)
    return {
        "optimizer.name": "adam",
        "optimizer.clip_norm": 1.0,
        "training.learning_rate": 1e-4,
        "training.weight_decay": 1e-5,
        "training.batch_size": batch,
        # Their 1,000 steps would be the whole of a small data set's training.
        "schedule.warmup_steps": min(1000, steps // 10),
        "schedule.kind": "plateau",
        "schedule.factor": 0.1,
        "schedule.patience": 6,  # their 3 epochs, at two validations each
        "validation.every": 0.5,
        "training.augment": "feature-reuse",
        "data.fit": "crop",
        "data.crop_fraction": 0.875,
    }


def _truncated(config: TrainConfig, facts: Facts) -> Settings:
    """The settings of TTL (Peng et al. 2021): Adam, plateaus of the validation loss, weighted classes."""
    if not facts.is_cut:
        raise ConfigError(
            f"recipe {config.training.recipe} with a whole network",
            "one that is cut after a stage",
            f"--at {facts.stages[len(facts.stages) // 2]}",
        )
    return _peng(config, facts)


def _peng(config: TrainConfig, facts: Facts) -> Settings:
    """What TTL, LWFT and FAT share."""
    del config, facts
    return {
        "optimizer.name": "adam",
        "training.learning_rate": 1e-4,
        "training.weight_decay": 0.0,
        "training.batch_size": 128,
        "training.epochs": 200,
        "training.warmup": 0.0,
        "training.balance": "weights",
        "schedule.kind": "plateau",
        "schedule.factor": 0.5,
        "schedule.patience": 5,
        "schedule.metric": "loss",
        "schedule.least_rate": 1e-6,
        "validation.metric": "loss",
        "training.augment": "resized-crops",
        "data.fit": "crop",
        "data.crop_fraction": 0.875,
    }


def _layer_wise(config: TrainConfig, facts: Facts) -> Settings:
    """LWFT (Peng et al. 2021): stages up to `--freeze` stay, the head learns at η and the rest at η ÷ 10."""
    if config.optimizer.freeze is None:
        raise ConfigError(
            "recipe lwft without the last stage that stays as it is",
            f"one of {', '.join(facts.stages)}",
            f"--freeze {facts.stages[0]}",
        )
    return {**_peng(config, facts), "optimizer.rates": {"backbone": 0.1}}


def _frozen_truncated(config: TrainConfig, facts: Facts) -> Settings:
    """FAT (Peng et al. 2021): a truncated network of which the head alone learns."""
    return {**_truncated(config, facts), "optimizer.freeze": "backbone"}


def _linear_probe(config: TrainConfig, facts: Facts) -> Settings:
    """The head alone learns, on features as they were transplanted."""
    del config, facts
    return {
        "optimizer.freeze": "backbone",
        "training.weight_decay": 0.0,
        "training.warmup": 0.0,
    }


RECIPES: Mapping[str, Callable[[TrainConfig, Facts], Settings]] = MappingProxyType(
    {
        "default": _default,
        "transfusion": _transfusion,
        "bit-hyperrule": _bit_hyperrule,
        "feature-reuse": _feature_reuse,
        "ttl": _truncated,
        "lwft": _layer_wise,
        "fat": _frozen_truncated,
        "linear-probe": _linear_probe,
    }
)
