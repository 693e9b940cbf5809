"""LSUV after a transplant: scales that images ask for, measured once and written into the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.contracts import find_preprocessing
from medzoo.data.feeding.pipeline import make_batches
from medzoo.data.open import open_dataset
from medzoo.errors import ConfigError
from medzoo.models.build import build
from medzoo.models.catalog import find_model
from medzoo.models.load import load_model
from medzoo.models.lsuv import measure_scales
from medzoo.tensors import Source
from medzoo.transplant.plan import Plan
from medzoo.transplant.run import apply
from medzoo.weights.cards import find_card, list_card_names

#: One batch: a variance over all values of all images needs no more, and a first layer of 64 large ones is 0.4 GB.
IMAGES = 64


def add_scales(plan: Plan, scales: Mapping[str, float]) -> Plan:
    """Give a plan whose tensors are multiplied by these factors; it needs no images any more.

    >>> import medzoo
    >>> plan = medzoo.make_plan(
    ...     medzoo.source_from_arrays({}), medzoo.describe("cbr_tiny"), medzoo.recipes.random()
    ... )
    >>> add_scales(plan, {"block1_conv/kernel": 2.0}).steps[0].options
    {'scale': 2.0}
    """
    steps = []
    for step in plan.steps:
        factor = scales.get(step.target.name)
        if factor is not None and step.method != "keep":
            step = replace(step, options={**step.options, "scale": factor})
        steps.append(step)
    return replace(plan, steps=tuple(steps))


def scale_plan(
    plan: Plan,
    source: Source,
    data: str | Path,
    report: Callable[[str], None] | None = None,
    allow_nonfinite: bool = False,
) -> Plan:
    """Scale a plan's kernels so that every layer's output has variance 1 over images of a data set (LSUV).

    The first training images, at most 64, prepared under the source's input contract or the network's own, go through
    the network that the plan fills (Mishkin & Matas 2016).

    Raises:
        ConfigError: the plan's network cannot be built from what the plan says.
        DataError: the data set cannot be read.
    """
    if not plan.model:
        raise ConfigError(
            "a plan for a network that is not named", "a catalogue row or a .keras file", "--model"
        )
    if plan.model.endswith(".keras"):
        model, contract = load_model(plan.model), find_preprocessing(_name_contract(source, "unit"))
    else:
        spec = find_model(plan.model)
        size = plan.input_size or None
        model = build(spec, plan.classes, plan.channels, size, head=plan.head or None)
        name = _name_contract(source, spec.preprocessing.name)
        contract = find_card(name).contract() if name in list_card_names() else find_preprocessing(name)
    if len(model.inputs) != 1 or None in model.inputs[0].shape[1:]:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in model.inputs)
        raise ConfigError(
            f"inputs of shape {shapes} in {plan.model}", "one input of a fixed size", "keras.Input(…)"
        )
    apply(plan, source, model, allow_nonfinite)
    dataset = open_dataset(data).of_split("train")
    side, channels = int(model.inputs[0].shape[1]), int(model.inputs[0].shape[-1])
    batches = make_batches(
        dataset,
        batch_size=min(IMAGES, len(dataset)),
        image_size=side,
        channels=channels,
        preprocessing=contract,
        shuffle=False,
        cache="off",
    )
    return add_scales(plan, measure_scales(model, take_images(batches), report=report))


def _name_contract(source: Source, default: str) -> str:
    """Name the input contract of a source, or the default."""
    return source.preprocessing or default


def take_images(batches: Any, count: int = IMAGES) -> np.ndarray:
    """Take the first images, at most `count`, of batches (images, labels)."""
    taken: list[np.ndarray] = []
    for images, _ in batches:
        taken.append(np.asarray(images))
        if sum(map(len, taken)) >= count:
            break
    return np.concatenate(taken)[:count]
