"""What a configuration says of stages, checked before anything is built."""

from __future__ import annotations

from collections.abc import Sequence

from medzoo.errors import ConfigError, nearest
from medzoo.specs import HEAD, Stage, find_stage
from medzoo.training.optimisation.groups import BACKBONE
from medzoo.training.settings import OptimizerSection, TrainingSection


def check_selection(stages: Sequence[Stage], optimizer: OptimizerSection, training: TrainingSection) -> None:
    """Refuse stages to freeze, or with rates of their own, that the network does not have.

    Raises:
        ConfigError: the nearest names are given.
    """
    if optimizer.freeze is not None and optimizer.freeze != BACKBONE:
        find_stage(stages, optimizer.freeze)
    if optimizer.freeze == HEAD:
        raise ConfigError(
            "--freeze head leaves nothing to learn", "a stage below the head", "--freeze backbone"
        )
    if optimizer.unfreeze_every is not None and optimizer.freeze is None:
        raise ConfigError(
            "optimizer.unfreeze_every without frozen stages", "a stage to begin with", "--freeze backbone"
        )
    if optimizer.update_frozen_norms and (optimizer.freeze is None or training.batch_norm == "frozen"):
        raise ConfigError(
            "optimizer.update_frozen_norms where no frozen batch norm could go on measuring",
            "frozen stages, and training.batch_norm other than frozen",
            "--freeze STAGE",
        )
    known = [BACKBONE, *(part.name for stage in stages for part in (stage, *stage.blocks))]
    for name, factor in optimizer.rates.items():
        if name not in known:
            raise ConfigError(f"optimizer.rates names {name!r}", nearest(name, known))
        if not factor > 0:
            raise ConfigError(f"optimizer.rates.{name} = {factor}", "a number above 0", f"--freeze {name}")
