"""Every decision of a run, made before anything is written: data, network, sizes, plan, precision, XLA."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import medzoo
from medzoo.data.dataset import Dataset
from medzoo.data.images import find_unreadable
from medzoo.data.open import open_dataset
from medzoo.errors import ConfigError, DataError
from medzoo.models.catalog import find_model
from medzoo.models.describe import describe
from medzoo.specs import ModelSpec, Preprocessing, check_input_size, find_preprocessing
from medzoo.tensors import Source, source_from_arrays
from medzoo.training.config import TrainConfig
from medzoo.training.hardware import Choice, choose_precision, choose_xla, has_gpu, processor_flags
from medzoo.training.rundir import choose_folder
from medzoo.transplant.plan import Plan, make_plan, needs_values
from medzoo.transplant.recipes import find_recipe
from medzoo.transplant.table import summarise_plan
from medzoo.weights.align import align
from medzoo.weights.cards import find_card, list_card_names
from medzoo.weights.source import find_named_card, model_of, open_weights

Report = Callable[[str], None]

#: The network of a run that names neither a network nor weights.
DEFAULT_MODEL = "cbr_tiny"
DEFAULT_DATA = "phantom"

#: What the images are made: grey or colour.
CHANNELS = (1, 3)

#: From here on a person is told that images are being decoded.
MANY_IMAGES = 5000


@dataclass(frozen=True)
class Prepared:
    """A run before it starts: every decision made, nothing written yet."""

    config: TrainConfig
    dataset: Dataset
    spec: ModelSpec
    preprocessing: Preprocessing
    source: Source
    plan: Plan
    precision: Choice
    xla: Choice
    image_size: int
    channels: int


def prepare(config: TrainConfig, report: Report | None = None) -> Prepared:
    """Make every decision of a run: data, network, sizes, plan, precision, XLA; every image is decoded once."""
    data, weights = config.data, config.weights
    # The cheap refusals first: names before images.
    spec = find_model(config.model.name or model_of(weights.src) or DEFAULT_MODEL)
    mode = weights.mode or ("copy" if weights.src else "random")
    rules = find_recipe(mode, spec.stages, weights.upto, weights.norm)
    source = source_from_arrays({}, "none")
    # A card's or tag's name is no path, also where a folder of that name lies about.
    is_named = weights.src is not None and find_named_card(weights.src, spec.name) is not None
    src = weights.src if is_named else _anchor(weights.src)
    if weights.src is not None:
        values = needs_values(rules, describe(spec))
        source = open_weights(weights.src, spec.name, values, weights.dialect)
    elif mode != "random":
        raise ConfigError(f"mode {mode} without weights", "a card, a tag, a run or a file", "--src imagenet")
    contract = _find_contract(data.preprocessing or source.preprocessing or spec.preprocessing.name)
    if config.run.out is not None:
        folder = choose_folder(config.run.out, config.run.overwrite, "").resolve()
        source_path = Path(src or "/").resolve()
        if src is not None and folder in (source_path, *source_path.parents):
            raise ConfigError(f"--src {weights.src} lies in the run to be replaced", "another --out")
    dataset = open_dataset(
        DEFAULT_DATA if data.source is None else data.source,
        image_column=data.image_column,
        label_column=data.label_column,
        split_column=data.split_column,
        patient_column=data.patient_column,
        image_folder=data.image_folder,
        seed=data.seed,
    )
    channels = config.model.channels or dataset.channels
    if channels not in CHANNELS:
        raise ConfigError(f"{channels} input channels", "1 (grey) or 3 (colour)", "--channels 1")
    size = data.image_size or _choose_size(spec, dataset)
    check_input_size(spec, size)
    target = describe(spec, len(dataset.classes), channels)
    source = align(source, target)
    plan = make_plan(source, target, rules, config.training.seed, weights.ignore or ())
    if report and len(dataset.paths) > MANY_IMAGES:
        report(f"decoding {len(dataset.paths):,} images once, to find unreadable ones before training")
    check_pixels(dataset)
    gpu = has_gpu()
    resolved = config.model_copy(
        update={
            "data": data.model_copy(
                update={
                    "image_size": size,
                    "preprocessing": contract.name,
                    "source": DEFAULT_DATA if data.source in (None, DEFAULT_DATA) else _anchor(data.source),
                    "image_folder": _anchor(data.image_folder),
                }
            ),
            "model": config.model.model_copy(update={"name": spec.name, "channels": channels}),
            "weights": weights.model_copy(update={"mode": mode, "src": src}),
        }
    )
    precision = choose_precision(config.training.precision, processor_flags(), gpu)
    xla = choose_xla(config.training.xla, gpu)
    return Prepared(resolved, dataset, spec, contract, source, plan, precision, xla, size, channels)


def _find_contract(name: str) -> Preprocessing:
    """Find an input contract by its own name, or by that of the card that has one of its own."""
    return find_card(name).contract() if name in list_card_names() else find_preprocessing(name)


def _anchor(path: str | None) -> str | None:
    """Make a path that exists absolute, so that a configuration means the same from any folder."""
    return str(Path(path).resolve()) if path is not None and Path(path).exists() else path


def check_pixels(dataset: Dataset) -> None:
    """Decode every image once, so that a broken one is met before the training and not after it.

    Raises:
        DataError: the first image that cannot be decoded is named.
    """
    culprit = find_unreadable(dataset)
    if culprit is not None:
        raise DataError(f"{culprit} cannot be decoded", "a whole image", "to replace or remove it")


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


def announce(prepared: Prepared, is_given: bool, say: Report) -> None:
    """Say what was decided, and what the data set warns of."""
    data, config = prepared.dataset, prepared.config
    counts = data.table["split"].value_counts()
    if not is_given:
        say(
            "no data given: the built-in phantom, a faint lesion in power-law noise whose best possible AUROC is known"
        )
    sizes = ", ".join(f"{counts.get(split, 0):,} {split}" for split in ("train", "validation", "test"))
    positive = f"; {data.classes[-1]!r} is the positive one" if len(data.classes) == 2 else ""
    say(f"data {data.name}: {sizes}; classes {', '.join(map(repr, data.classes))}{positive}")
    for note in data.notes:
        say(f"note: {note}")
    shape = f"{prepared.image_size}×{prepared.image_size}×{prepared.channels}"
    say(f"network {prepared.spec.name}, {shape}, input contract {prepared.preprocessing.name}")
    for note in prepared.source.notes:
        say(f"note: {note}")
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
        "preprocessing": asdict(prepared.preprocessing),
        "table_digest": prepared.dataset.digest,
        "notes": list(prepared.dataset.notes),
    }
