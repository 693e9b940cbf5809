"""A finished run as something to predict with: what its files say about its network, and the network."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

from medzoo.contracts import Preprocessing
from medzoo.errors import ConfigError, WeightsError
from medzoo.training.config import read_config
from medzoo.training.settings import TrainConfig
from medzoo.weights.runs import BEST


@dataclass(frozen=True)
class TrainedRun:
    """What a finished run says about its network: how to build it, and what it takes and tells."""

    path: Path
    config: TrainConfig
    classes: tuple[str, ...]
    exclusive: bool
    preprocessing: Preprocessing
    precision: str
    table_digest: str

    @property
    def image_size(self) -> int:
        """The side of the input, in pixels."""
        assert self.config.data.image_size is not None
        return self.config.data.image_size

    @property
    def channels(self) -> int:
        """The number of input channels."""
        assert self.config.model.channels is not None
        return self.config.model.channels

    def read_ids(self) -> set[str]:
        """Read the names of the run's validation and test images."""
        with (self.path / "predictions.csv").open(encoding="utf-8", newline="") as stream:
            return {row["id"] for row in csv.DictReader(stream)}


def read_run(run: str | PathLike[str]) -> TrainedRun:
    """Read what a finished run says about its network; its weights are not opened.

    Raises:
        ConfigError: the folder is no run, or one that is not finished.
    """
    path = Path(run)
    if not (path / "config.toml").is_file():
        inside = sorted(found.parent for found in path.glob("*/config.toml")) if path.is_dir() else []
        raise ConfigError(
            f"{path} is no training run" if path.exists() else f"no run {str(path)!r}",
            f"a folder with config.toml and {BEST}",
            f"{inside[0]}" if inside else "the folder that medzoo train named last",
        )
    for name in ("metrics.json", "predictions.csv", "environment.json", BEST):
        if not (path / name).is_file():
            raise ConfigError(
                f"run {path} is not finished: it has no {name}",
                "a finished run",
                f"medzoo train --resume {path}, or medzoo train {path / 'config.toml'}",
            )
    config = read_config(path / "config.toml")
    classes, exclusive = read_classes(path / "predictions.csv")
    try:
        environment = json.loads((path / "environment.json").read_text(encoding="utf-8"))
        contract = read_contract(environment["preprocessing"])
        precision, digest = str(environment["precision"]["value"]), str(environment["table_digest"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path / 'environment.json'} does not say how images were prepared", "a finished run's own file"
        ) from error
    if config.model.name is None or config.model.channels is None or config.data.image_size is None:
        raise ConfigError(
            f"{path / 'config.toml'} does not name network, channels and image size", "a run's own"
        )
    return TrainedRun(path, config, classes, exclusive, contract, precision, digest)


def read_contract(numbers: Mapping[str, Any]) -> Preprocessing:
    """Make an input contract of the numbers that a run recorded.

    Raises KeyError or TypeError where they are none.

    >>> from dataclasses import asdict
    >>> from medzoo.contracts import find_preprocessing
    >>> read_contract(asdict(find_preprocessing("tf"))) == find_preprocessing("tf")
    True
    """
    values: dict[str, Any] = {entry.name: numbers[entry.name] for entry in fields(Preprocessing)}
    for name in ("scale", "offset"):  # JSON knows lists alone
        values[name] = tuple(values[name])
    return Preprocessing(**values)


def read_classes(path: Path) -> tuple[tuple[str, ...], bool]:
    """Read a run's classes in the network's order, and whether an image has one of them, from its predictions' header.

    Raises:
        ConfigError: the file is no table of predictions.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            header = next(csv.reader(stream), [])
    except (OSError, ValueError, csv.Error):
        header = []
    classes = tuple(name.removeprefix("score_") for name in header if name.startswith("score_"))
    if not classes:
        raise ConfigError(f"{path} names no classes", "a finished run's predictions, with score_<class>")
    return classes, "label" in header


def load_network(trained: TrainedRun) -> Any:
    """Build a run's network under the run's precision, and load its best weights.

    Raises:
        WeightsError: they cannot be read, or are another network's.
    """
    import keras

    from medzoo.models.build import build

    options = trained.config.model
    assert options.name is not None
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(trained.precision)
    try:
        model = build(
            options.name,
            len(trained.classes),
            trained.channels,
            trained.image_size,
            # Neither does anything here; but what is in the file is in their layers too.
            dropout=options.dropout,
            drop_path=options.drop_path,
            head=options.head,
        )
    finally:
        keras.config.set_dtype_policy(policy)
    try:
        with warnings.catch_warnings():
            # Keras warns of layers that it finds nothing for, and leaves them as they were drawn.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(trained.path / BEST)
    except (OSError, ValueError, KeyError, UserWarning) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"cannot read {trained.path / BEST}: {reason}", "the weights of that run"
        ) from error
    return model
