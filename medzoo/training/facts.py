"""What a run's small files say of it beside its scores: network, cost, fraction, seed; read without a framework."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medzoo.errors import ConfigError
from medzoo.models.catalog import find_model
from medzoo.models.tables.parts import find_totals


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run: cost is None where nothing tells it, `fraction` the percent of the training patients.

    `macs` are the multiply-accumulates of one image; where `is_scaled`, the catalogue's at the network's own input
    size times the ratio of the areas. `settings` are those in which runs of several seeds agree.
    """

    path: Path
    network: str
    image_size: int | None
    batch_size: int
    parameters: int | None
    macs: int | None
    is_scaled: bool
    fraction: float
    seed: int
    settings: Mapping[str, Any] = field(repr=False)

    def is_same_but_seed(self, other: RunFacts) -> bool:
        """Tell whether two runs differ by the seed of the training alone, or not even by that."""
        return self.fraction == other.fraction and self.settings == other.settings


def read_facts(path: Path) -> RunFacts | None:
    """Read what is known of a run; None for a file of predictions, and for a folder that holds no configuration.

    Raises:
        ConfigError: the run's config.toml cannot be read.
    """
    if not (path / "config.toml").is_file():
        return None
    content = _read_config(path / "config.toml")
    data, model, training = (content.get(name, {}) for name in ("data", "model", "training"))
    network, size = str(model.get("name", "")), data.get("image_size")
    parameters, classes, channels = _read_plan(path / "plan.json")
    try:
        numbers = (
            float(data.get("fraction", 100)),
            int(training.get("seed", 0)),
            int(training.get("batch_size", 32)),
        )
        macs, is_scaled = _find_macs(network, classes, channels, None if size is None else int(size))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path / 'config.toml'}: {error}", "a run's own configuration") from error
    return RunFacts(
        path=path,
        network=network,
        image_size=size,
        batch_size=numbers[2],
        parameters=parameters,
        macs=macs,
        is_scaled=is_scaled,
        fraction=numbers[0],
        seed=numbers[1],
        settings=_leave_out(content),
    )


def _read_config(path: Path) -> dict[str, Any]:
    """Read a configuration as nested keys: one of an older release, with other settings, is read too."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error})", "a run's own configuration") from error
    strange = next((name for name, section in content.items() if not isinstance(section, dict)), None)
    if strange is not None:
        raise ConfigError(f"{path}: {strange!r} is no section", "a run's own configuration")
    return content


def _leave_out(content: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of a configuration what runs of one series differ in: seed, fraction, where they were written."""
    kept = {name: dict(section) for name, section in content.items() if name != "run"}
    kept.get("training", {}).pop("seed", None)
    kept.get("data", {}).pop("fraction", None)
    return kept


def _read_plan(path: Path) -> tuple[int | None, int | None, int | None]:
    """Read parameters, classes and input channels from a run's plan, which lists every tensor of the network."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        shapes = [step["target"]["shape"] for step in content["steps"]]
        return sum(math.prod(shape) for shape in shapes), int(content["classes"]), int(content["channels"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, None, None  # beside a comparison only: its scores stand without


def _find_macs(
    network: str, classes: int | None, channels: int | None, size: int | None
) -> tuple[int | None, bool]:
    """Find the multiply-accumulates of a catalogue row, and tell whether they were scaled to another input size."""
    try:
        spec = find_model(network)
        if spec.name != spec.row or not classes or not channels or not size:
            return None, False
        macs = find_totals(spec, classes, channels).macs
    except ConfigError:
        return None, False
    if size == spec.input_size:
        return macs, False
    return round(macs * (size / spec.input_size) ** 2), True
