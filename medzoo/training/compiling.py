"""A user's own model and `fit`, with the settings that `medzoo.train` would use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import ConfigError
from medzoo.training.settings import OptimizerSection, TrainConfig


def compile(  # the name that Keras's users look for
    model: Any,
    config: TrainConfig | None = None,
    *,
    steps_per_epoch: int,
    exclusive: bool = True,
    weights: NDArray[np.float64] | None = None,
) -> Any:
    """Compile any Keras model for its own `fit` with a configuration's loss, optimiser and schedule; gives it back.

    The model returns logits. `exclusive` says whether targets (b, k) are one-hot classes or labels of their own, NaN
    where unknown; `weights` (k,) are those of classes or of positive labels. Fused batch norm is put in where
    `training.accelerate` and the machine say so. `fit` must be given batches of `training.batch_size`, and
    `training.epochs` epochs of `steps_per_epoch`, which the schedule ends with.

    Raises:
        ConfigError: settings that `fit` cannot follow: rates by stage, freezing, plateaus, averages.

    >>> import keras
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> type(compile(model, steps_per_epoch=10).optimizer).__name__
    'AdamW'
    """
    from medzoo.training.objectives import make_loss
    from medzoo.training.optimisation.schedules import make_schedule
    from medzoo.training.stepping.acceleration import accelerate
    from medzoo.training.stepping.hardware import choose_acceleration, choose_xla, has_gpu
    from medzoo.training.stepping.norms import freeze_statistics

    config = config or TrainConfig()
    training = config.training
    _refuse_unfit(config)
    steps = training.steps or training.epochs * steps_per_epoch
    warmup = config.schedule.warmup_steps
    schedule = make_schedule(
        config.schedule,
        training.learning_rate,
        steps,
        round(steps * training.warmup) if warmup is None else warmup,
    )
    gpu = has_gpu()
    if choose_acceleration(training.accelerate, gpu).value == "on":
        accelerate(model)
    if training.batch_norm == "frozen":
        freeze_statistics(model)
    model.compile(
        optimizer=_make_optimizer(config.optimizer, schedule, training.weight_decay),
        loss=make_loss(
            exclusive,
            weights,
            kind=config.objective.kind,
            focal=config.objective.focal,
            label_smoothing=config.objective.label_smoothing,
        ),
        jit_compile=choose_xla(training.xla, gpu).value == "on",
        steps_per_execution=training.steps_per_execution,
    )
    return model


def _refuse_unfit(config: TrainConfig) -> None:
    """Refuse settings that a plain `fit` has no place for."""
    own, plain = config.optimizer, OptimizerSection()
    for name in ("layer_decay", "rates", "freeze", "unfreeze_every", "average"):
        if getattr(own, name) != getattr(plain, name):
            raise ConfigError(f"optimizer.{name} in a model's own fit", "medzoo.train, which has it")
    if config.schedule.kind == "plateau":
        raise ConfigError(
            "schedule.kind = 'plateau' in a model's own fit",
            "medzoo.train, or a constant rate with keras.callbacks.ReduceLROnPlateau",
        )
    if config.training.recipe != "default":
        raise ConfigError(
            f"recipe {config.training.recipe} in a model's own fit",
            "medzoo.train, or the settings themselves",
        )
    if config.training.accumulate > 1:
        raise ConfigError("training.accumulate in a model's own fit", "medzoo.train, or smaller batches")


def _make_optimizer(settings: OptimizerSection, schedule: Any, weight_decay: float) -> Any:
    """Make one Keras optimiser; biases and norms have no weight decay."""
    import keras

    from medzoo.training.optimisation.groups import WITHOUT_DECAY

    options: dict[str, Any] = {"weight_decay": weight_decay or None, "global_clipnorm": settings.clip_norm}
    if settings.name == "sgd":
        optimizer = keras.optimizers.SGD(schedule, momentum=settings.momentum, **options)
    else:
        kinds = {
            "adamw": keras.optimizers.AdamW,
            "adam": keras.optimizers.Adam,
            "lamb": keras.optimizers.Lamb,
        }
        optimizer = kinds[settings.name](schedule, **options)
    optimizer.exclude_from_weight_decay(var_names=WITHOUT_DECAY)
    return optimizer
