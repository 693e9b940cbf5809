"""A run that was broken off: found, or refused, before a framework is loaded."""

from __future__ import annotations

from pathlib import Path

from medzoo.errors import ConfigError
from medzoo.training.config import read_config
from medzoo.training.monitoring.monitor import parse_until
from medzoo.training.rundir import LOCK, Run, choose_folder
from medzoo.training.settings import TrainConfig


def find_unfinished(folder: str | Path) -> tuple[Run, TrainConfig]:
    """Give the run of a folder that can go on, with its own configuration.

    Raises:
        ConfigError: it is no run, is finished, or its configuration cannot be read.

    >>> find_unfinished("runs/none")
    Traceback (most recent call last):
    ...
    medzoo.errors.ConfigError: runs/none is no run; expected a folder that medzoo train made; try medzoo runs runs
    """
    run = Run(Path(folder))
    if not (run / "config.toml").is_file() or not (run / LOCK).exists():
        raise ConfigError(f"{folder} is no run", "a folder that medzoo train made", "medzoo runs runs")
    own = read_config(run / "config.toml")
    if (run / "metrics.json").exists():
        raise ConfigError(
            f"run {run.path} is finished", "one that was broken off", f"medzoo evaluate {run.path}"
        )
    return run, own


def refuse_early(config: TrainConfig) -> None:
    """Refuse what a look at the settings and the run's folder is enough for.

    Raises:
        ConfigError: a run is there already, or `validation.until` is no score.

    >>> refuse_early(TrainConfig())
    """
    if config.run.out is not None:
        choose_folder(config.run.out, config.run.overwrite, "")
    if config.validation.until is not None:
        parse_until(config.validation.until)
