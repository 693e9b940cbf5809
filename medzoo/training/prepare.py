"""Every decision of a run, made before anything is written: data, network, sizes, plan, precision, XLA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.contracts import Preprocessing, find_preprocessing
from medzoo.data.dataset import Dataset
from medzoo.data.feeding.pipeline import check_channels
from medzoo.errors import ConfigError, PlanError, WeightsError
from medzoo.models.catalog import check_drop_path, find_model
from medzoo.models.describe import describe
from medzoo.specs import HEAD, ModelSpec, check_input_size, choose_head
from medzoo.tensors import Source, source_from_arrays
from medzoo.training.config import read_config
from medzoo.training.feeding import Feeding, check_feeding, find_unbalanced
from medzoo.training.intake import DEFAULT_DATA, admit_images, find_doubts, open_data
from medzoo.training.monitoring.guard import check_watchers
from medzoo.training.monitoring.scores import check_validation
from medzoo.training.objective_kinds import check_objective, read_grades
from medzoo.training.optimisation.selection import check_selection
from medzoo.training.recipes import Facts, apply_recipe
from medzoo.training.rundir import choose_folder
from medzoo.training.settings import DataSection, TrainConfig, WeightsSection
from medzoo.training.stepping.hardware import (
    Choice,
    choose_acceleration,
    choose_precision,
    choose_xla,
    has_gpu,
    processor_flags,
)
from medzoo.transplant.modes import Recipe, choose_rules, name_target, read_recipe
from medzoo.transplant.plan import Plan, make_plan, needs_values
from medzoo.weights.align import align
from medzoo.weights.cards import UNKNOWN, WeightCard, find_card, list_card_names
from medzoo.weights.source import find_named_card, model_of, open_weights

Report = Callable[[str], None]

#: The network of a run that names neither a network nor weights.
DEFAULT_MODEL = "cbr_tiny"


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
    acceleration: Choice
    image_size: int
    channels: int
    warnings: tuple[str, ...] = ()

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return count_batches(self.config, self.dataset)

    @property
    def steps(self) -> int:
        """How many updates the run has."""
        return count_steps(self.config, self.dataset)

    @property
    def grades(self) -> NDArray[np.float64] | None:
        """The numbers that the classes are, where the objective is a regression."""
        return read_grades(self.dataset.classes) if self.config.objective.kind == "regression" else None

    @property
    def feeding(self) -> Feeding:
        """How images become the network's batches."""
        return Feeding(self.image_size, self.channels, self.preprocessing, self.config.data.cache)


def count_batches(config: TrainConfig, dataset: Dataset) -> int:
    """Count the batches of an epoch."""
    return -(-int((dataset.table["split"] == "train").sum()) // config.training.batch_size)


def count_steps(config: TrainConfig, dataset: Dataset) -> int:
    """Count the updates of a run."""
    return config.training.steps or config.training.epochs * count_batches(config, dataset)


def make_run_schedule(config: TrainConfig, steps: int) -> Any:
    """Make the schedule of a run of so many updates.

    Raises:
        ConfigError: a warm-up or boundaries that do not fit it.
    """
    from medzoo.training.optimisation.schedules import make_schedule

    training, warmup = config.training, config.schedule.warmup_steps
    rising = round(steps * training.warmup) if warmup is None else warmup
    return make_schedule(config.schedule, training.learning_rate, steps, rising)


def prepare(config: TrainConfig, report: Report | None = None) -> Prepared:
    """Make every decision of a run: data, network, sizes, plan, precision, XLA; every image is decoded once."""
    data, weights = config.data, config.weights
    # The cheap refusals first: names before images.
    whole = find_model(config.model.name or model_of(weights.src) or DEFAULT_MODEL)
    mode = weights.mode or ("copy" if weights.src else "random")
    recipe, spec = _choose_network(weights, whole, mode)
    check_drop_path(spec, config.model.drop_path)
    choose_head(spec, config.model.head)
    check_watchers(config.run)
    chosen = choose_rules(recipe, spec, whole, weights.rules)
    source = source_from_arrays({}, "none")
    # A card's or tag's name is no path, also where a folder of that name lies about.
    card = find_named_card(weights.src, spec.row) if weights.src is not None else None
    src = weights.src if card is not None else _anchor(weights.src)
    if weights.src is not None:
        values = needs_values(chosen.rules, describe(spec), chosen.adaptations)
        source = open_weights(weights.src, spec.row, values, weights.dialect)
        if not source.preprocessing:  # a file does not say; the network's own is what is fed to it
            source = replace(source, preprocessing=spec.preprocessing.name)
    elif chosen.needs_source:
        what = f"rules {weights.rules}" if weights.rules else f"mode {mode}"
        raise ConfigError(f"{what} without weights", "a card, a tag, a run or a file", "--src imagenet")
    if config.run.out is not None:
        folder = choose_folder(config.run.out, config.run.overwrite, "").resolve()
        source_path = Path(src or "/").resolve()
        if src is not None and folder in (source_path, *source_path.parents):
            raise ConfigError(f"--src {weights.src} lies in the run to be replaced", "another --out")
    dataset = open_data(data)
    config, fewer = _apply_recipe(config, dataset, spec)
    data = config.data
    check_selection(spec.stages, config.optimizer, config.training)
    make_run_schedule(config, count_steps(config, dataset))
    check_feeding(dataset, config.training)
    check_objective(dataset, config.objective, config.training)
    check_validation(dataset, config.validation, config.schedule)
    contract = _choose_contract(data, spec, source, card, None if card else src)
    channels = config.model.channels or dataset.channels
    check_channels(dataset, channels)
    inherited = source.head if source.model == spec.name else ""
    head = config.model.head or inherited or None
    own_size = _find_own_size(spec, source, head)
    size = data.image_size or own_size or choose_size(spec, dataset)
    check_input_size(spec, size)
    target = describe(spec, len(dataset.classes), channels, size, head)
    source = align(source, target)
    try:
        ignore = (*chosen.ignore, *(weights.ignore or ()))
        # Another contract than the weights' leaves nothing to fold.
        fold = chosen.adaptations.fold and contract.name == source.preprocessing
        adaptations = replace(chosen.adaptations, fold=fold)
        plan = make_plan(source, target, chosen.rules, config.training.seed, ignore, adaptations)
    except PlanError as error:
        if own_size in (None, size):
            raise
        remedy = f"--image-size {own_size}, the weights' own: tensors of {spec.name} follow the input's size"
        raise PlanError(error.found, error.expected, remedy) from error
    dataset = admit_images(dataset, data.on_error, report)
    warnings = _question_contract(data, card, contract)
    warnings += find_doubts(dataset, contract, size, channels, data.strict)
    warnings += find_unbalanced(dataset, config.training)
    warnings += fewer
    if config.optimizer.freeze is not None and not weights.rules and mode == "random":
        warnings += ("the frozen stages hold random weights; --src gives them others",)
    gpu = has_gpu()
    resolved = config.model_copy(
        update={
            "data": data.model_copy(
                update={
                    "image_size": size,
                    "preprocessing": contract.name,
                    "fit": contract.fit,
                    "interpolation": contract.interpolation,
                    "crop_fraction": contract.crop_fraction,
                    "source": DEFAULT_DATA if data.source in (None, DEFAULT_DATA) else _anchor(data.source),
                    "image_folder": _anchor(data.image_folder),
                    "splits": _anchor(data.splits),
                }
            ),
            "model": config.model.model_copy(update={"name": spec.name, "channels": channels, "head": head}),
            # The name says what was cut or thinned, so that it can be built again.
            "weights": weights.model_copy(
                update={
                    "mode": None if weights.rules else mode,
                    "rules": _anchor(weights.rules),
                    "src": src,
                }
            ),
        }
    )
    training = config.training
    precision = choose_precision(training.precision, processor_flags(), gpu, spec.family)
    xla = choose_xla(training.xla, gpu)
    acceleration = choose_acceleration(training.accelerate, gpu)
    return Prepared(
        resolved,
        dataset,
        spec,
        contract,
        source,
        plan,
        precision,
        xla,
        acceleration,
        size,
        channels,
        warnings,
    )


def _apply_recipe(
    config: TrainConfig, dataset: Dataset, spec: ModelSpec
) -> tuple[TrainConfig, tuple[str, ...]]:
    """Fill what nobody gave by the recipe; a batch holds no more images than there are, which is warned of."""
    images = int((dataset.table["split"] == "train").sum())
    names = tuple(stage.name for stage in spec.stages if stage.name != HEAD)
    height, width = dataset.size[:2]
    config = apply_recipe(config, Facts(images, (height, width), spec.is_cut, names))
    asked = config.training.batch_size
    if asked <= images:
        return config, ()
    training = config.training.model_copy(update={"batch_size": images})
    warning = f"{images} training images are fewer than a batch of {asked}: every update uses all of them"
    return config.model_copy(update={"training": training}), (warning,)


def _choose_network(weights: WeightsSection, whole: ModelSpec, mode: str) -> tuple[Recipe, ModelSpec]:
    """Read the recipe and find the network that it fills: the one named, cut or thinned as the recipe says."""
    given = weights.model_dump(exclude={"src", "dialect", "ignore", "rules", "lsuv"}, exclude_none=True)
    recipe = read_recipe(given | ({} if weights.rules else {"mode": mode}))
    # A run's own configuration names the derived network already.
    name = name_target(recipe, whole.name)
    return recipe, whole if name == whole.name else find_model(name)


def _choose_contract(
    data: DataSection, spec: ModelSpec, source: Source, card: WeightCard | None, src: str | None
) -> Preprocessing:
    """Choose the input contract: the one asked for, else that of the weights (of a card or a run), else the network's.

    Its resize rule is the one asked for, else that of the run `src`, else the card's or the contract's own.
    """
    name = data.preprocessing or source.preprocessing or spec.preprocessing.name
    if card is None or name not in (card.preprocessing, card.name):
        # A run may have taken the contract of a card that has one of its own.
        card = find_card(name) if name in list_card_names() else None
    contract = card.contract() if card is not None else find_preprocessing(name)
    before = Path(src or "/") / "config.toml"
    inherited = read_config(before).data if src is not None and before.is_file() else DataSection()
    rule: dict[str, Any] = {
        setting: value
        for section in (inherited, data)
        for setting in ("fit", "interpolation", "crop_fraction")
        if (value := getattr(section, setting)) is not None
    }
    return replace(contract, **rule)


def _question_contract(
    data: DataSection, card: WeightCard | None, contract: Preprocessing
) -> tuple[str, ...]:
    """Warn where the weights' card does not know its contract and nobody gave one, so that the network's is taken.

    Raises:
        WeightsError: there is that to warn of, under `data.strict`.
    """
    if card is None or card.preprocessing != UNKNOWN or data.preprocessing is not None:
        return ()
    try:
        card.contract()
    except WeightsError as error:
        if data.strict:
            raise
        return (f"{error}; the network's, {contract.name}, is taken",)
    return ()


def _anchor(path: str | None) -> str | None:
    """Make a path that exists absolute, so that a configuration means the same from any folder."""
    return str(Path(path).resolve()) if path is not None and Path(path).exists() else path


def _find_own_size(spec: ModelSpec, source: Source, head: str | None) -> int | None:
    """Find the input size that the weights were made for, where tensors of the network follow it; else None."""
    if not len(source) or not (spec.sized or head == "flatten"):
        return None
    return source.input_size or spec.input_size


def choose_size(spec: ModelSpec, dataset: Dataset) -> int:
    """Choose the input size: the images' own, between the least that the network takes and what it was made for."""
    if dataset.value_range is None:
        return dataset.size[0]
    size = min(max(dataset.size), spec.input_size) + spec.multiple // 2
    return max(spec.smallest_input, size - size % spec.multiple)
