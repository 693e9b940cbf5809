"""Every decision of a run, made before anything is written: data, network, sizes, plan, precision, XLA."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import medzoo
from medzoo.data.dataset import Dataset
from medzoo.data.open import open_dataset
from medzoo.errors import ConfigError
from medzoo.models.catalog import find_model
from medzoo.models.describe import describe
from medzoo.specs import ModelSpec, check_input_size
from medzoo.tensors import Source, source_from_arrays
from medzoo.training.config import TrainConfig
from medzoo.training.hardware import Choice, choose_precision, choose_xla, has_gpu, processor_flags
from medzoo.training.rundir import choose_folder
from medzoo.transplant.plan import Plan, make_plan, needs_values
from medzoo.transplant.recipes import find_recipe
from medzoo.transplant.table import summarise_plan
from medzoo.weights.source import model_of, open_weights

Report = Callable[[str], None]

#: The network of a run that names neither a network nor weights.
DEFAULT_MODEL = "cbr_tiny"


@dataclass(frozen=True)
class Prepared:
    """A run before it starts: every decision made, nothing written yet."""

    config: TrainConfig
    dataset: Dataset
    spec: ModelSpec
    source: Source
    plan: Plan
    precision: Choice
    xla: Choice
    image_size: int
    channels: int


def prepare(config: TrainConfig) -> Prepared:
    """Make every decision of a run: data, network, sizes, plan, precision, XLA."""
    data, weights = config.data, config.weights
    # The cheap refusals first: names before images.
    spec = find_model(config.model.name or model_of(weights.src) or DEFAULT_MODEL)
    mode = weights.mode or ("copy" if weights.src else "random")
    rules = find_recipe(mode, spec.stages, weights.upto, weights.norm)
    source = source_from_arrays({}, "none")
    if weights.src is not None:
        source = open_weights(weights.src, spec.name, values=needs_values(rules, describe(spec)))
    elif mode != "random":
        raise ConfigError(f"mode {mode} without weights", "a card, a tag, a run or a file", "--src imagenet")
    if config.run.out is not None:
        choose_folder(config.run.out, config.run.overwrite, "")
    dataset = open_dataset(
        data.source,
        image_column=data.image_column,
        label_column=data.label_column,
        split_column=data.split_column,
        patient_column=data.patient_column,
        image_folder=data.image_folder,
        seed=config.training.seed,
    )
    channels = config.model.channels or dataset.channels
    size = data.image_size or _choose_size(spec, dataset)
    check_input_size(spec, size)
    plan = make_plan(source, describe(spec, len(dataset.classes), channels), rules, config.training.seed)
    gpu = has_gpu()
    resolved = config.model_copy(
        update={
            "data": data.model_copy(update={"image_size": size}),
            "model": config.model.model_copy(update={"name": spec.name, "channels": channels}),
            "weights": weights.model_copy(update={"mode": mode}),
        }
    )
    precision = choose_precision(config.training.precision, processor_flags(), gpu)
    xla = choose_xla(config.training.xla, gpu)
    return Prepared(resolved, dataset, spec, source, plan, precision, xla, size, channels)


def _choose_size(spec: ModelSpec, dataset: Dataset) -> int:
    """Choose the input size: the images' own, between the least that the network takes and what it was made for."""
    if dataset.value_range is None:
        return dataset.size[0]
    return max(spec.smallest_input, min(max(dataset.size), spec.input_size))


def name_run(prepared: Prepared) -> str:
    """Name a run after its data, network, mode and seed."""
    weights, training = prepared.config.weights, prepared.config.training
    data = re.sub(r"[^\w.-]+", "-", prepared.dataset.name.removesuffix(".csv").removesuffix(".npz"))
    return f"{data}-{prepared.spec.name}-{weights.mode}-{training.seed}"


def announce(prepared: Prepared, say: Report) -> None:
    """Say what was decided, and what the data set warns of."""
    data, config = prepared.dataset, prepared.config
    counts = data.table["split"].value_counts()
    if config.data.source == "phantom":
        say(
            "no data given: the built-in phantom, a faint lesion in power-law noise whose best possible AUROC is known"
        )
    sizes = ", ".join(f"{counts.get(split, 0):,} {split}" for split in ("train", "validation", "test"))
    say(f"data {data.name}: {sizes}; classes {', '.join(data.classes)}")
    for note in data.notes:
        say(f"note: {note}")
    say(f"network {prepared.spec.name}, {prepared.image_size}×{prepared.image_size}×{prepared.channels}")
    origin = f"{prepared.source.origin}, " if config.weights.src else ""
    say(f"weights {origin}mode {config.weights.mode}: {summarise_plan(prepared.plan)}")
    say(f"precision {prepared.precision.value} ({prepared.precision.reason})")
    say(f"XLA {prepared.xla.value} ({prepared.xla.reason})")


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
        "preprocessing": prepared.spec.preprocessing.name,
        "data_digest": prepared.dataset.digest,
        "notes": list(prepared.dataset.notes),
    }
