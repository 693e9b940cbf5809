"""What a run says of itself: its name, the lines before its first step, its record."""

from __future__ import annotations

import platform
import re
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import medzoo
from medzoo.specs import write_network_name
from medzoo.training.feeding import describe_feeding
from medzoo.training.optimisation.groups import BACKBONE
from medzoo.training.prepare import Prepared, Report
from medzoo.transplant.table import summarise_plan

#: How many skipped rows are printed; all stand in the run.
SHOWN = 5


def name_run(prepared: Prepared) -> str:
    """Name a run after its data, network, mode and seed."""
    weights, training = prepared.config.weights, prepared.config.training
    data = re.sub(r"[^\w.-]+", "-", prepared.dataset.name.removesuffix(".csv").removesuffix(".npz"))
    return f"{data}-{write_network_name(prepared.spec.name)}-{weights.mode}-{training.seed}"


def announce(prepared: Prepared, is_given: bool, say: Report) -> None:
    """Say what was decided, and what the data set warns of."""
    data, config = prepared.dataset, prepared.config
    counts = data.table["split"].value_counts()
    if not is_given:
        say(
            "no data given: the built-in phantom, a faint lesion in power-law noise whose best possible AUROC is known"
        )
    sizes = ", ".join(f"{counts.get(split, 0):,} {split}" for split in ("train", "validation", "test"))
    two = data.exclusive and len(data.classes) == 2
    positive = f"; {data.classes[-1]!r} is the positive one" if two else ""
    kind = "classes" if data.exclusive else "labels, several per image,"
    say(f"data {data.name}: {sizes}; {kind} {', '.join(map(repr, data.classes))}{positive}")
    for note in data.notes:
        say(f"note: {note}")
    for line in data.skipped[:SHOWN]:
        say(f"skipped: {line}")
    if len(data.skipped) > SHOWN:
        say(f"skipped: {len(data.skipped) - SHOWN} more, listed in the run's environment.json")
    fed = describe_feeding(config.training)
    if fed:
        say(f"training images: {fed}")
    shape = f"{prepared.image_size}×{prepared.image_size}×{prepared.channels}"
    say(f"network {prepared.spec.name}, {shape}, input contract {prepared.preprocessing.name}")
    for text in prepared.warnings:
        say(f"warning: {text}")
    for note in prepared.source.notes:
        say(f"note: {note}")
    origin = f"{prepared.source.origin}, " if config.weights.src else ""
    mode = f"rules {config.weights.rules}" if config.weights.rules else f"mode {config.weights.mode}"
    say(f"weights {origin}{mode}: {summarise_plan(prepared.plan)}")
    if config.optimizer.freeze is not None:
        what = (
            "all but the head" if config.optimizer.freeze == BACKBONE else f"up to {config.optimizer.freeze}"
        )
        say(f"frozen: {what}; the rest learns")
    say(f"precision {prepared.precision.value} ({prepared.precision.reason})")
    say(f"XLA {prepared.xla.value} ({prepared.xla.reason})")
    say(f"fused batch norm {prepared.acceleration.value} ({prepared.acceleration.reason})")


def describe_environment(prepared: Prepared) -> dict[str, Any]:
    """Say what the numbers were made with."""
    packages = ("tensorflow", "keras", "numpy", "scikit-learn")
    return {
        "medzoo": medzoo.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "machine": platform.machine(),
        "precision": {"value": prepared.precision.value, "reason": prepared.precision.reason},
        "xla": {"value": prepared.xla.value, "reason": prepared.xla.reason},
        "acceleration": {"value": prepared.acceleration.value, "reason": prepared.acceleration.reason},
        "preprocessing": asdict(prepared.preprocessing) | {"range": prepared.preprocessing.range},
        "table_digest": prepared.dataset.digest,
        "augmentation": describe_feeding(prepared.config.training),
        "skipped": {"count": len(prepared.dataset.skipped), "rows": list(prepared.dataset.skipped)},
        "notes": list(prepared.dataset.notes),
        "warnings": list(prepared.warnings),
    }
