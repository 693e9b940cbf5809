"""Fold the contracts of an image's channels into a first kernel that is summed to one, and into what follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medzoo.specs import PREPROCESSINGS, Scalar
from medzoo.tensors import Source, Target
from medzoo.transplant.adaptations import Adaptations
from medzoo.transplant.steps import Step


def fold_steps(
    steps: Sequence[Step], source: Source, target: Target, adaptations: Adaptations
) -> tuple[Step, ...]:
    """Fold what channels of different contracts differ by into a copied kernel that is summed to one channel.

    The kernel takes the scales; what the offsets add goes into the layer's bias, or into the moving mean of the
    batch norm that reads the layer alone. Without such a place, with equal channels or an unknown contract,
    nothing is folded.
    """
    contract = PREPROCESSINGS.get(source.preprocessing)
    steps = list(steps)
    if contract is None or not adaptations.fold or adaptations.channels != "sum":
        return tuple(steps)
    uneven = len(set(contract.scale)) > 1 or len(set(contract.offset)) > 1
    places = {step.target.name: number for number, step in enumerate(steps)}
    for number, step in enumerate(steps):
        given = step.source
        if given is None or not uneven or step.method != "copy" or step.options.get("channels") != "sum":
            continue
        if step.target.shape[-2] != 1 or given.shape[-2] != 3 or step.ranges or "inflate" in step.options:
            continue
        if "I" in target.axes.get(step.target.name, "") or "resize" in step.options:
            continue  # standardised kernels answer no sum of channels as they did their channels
        layer = step.target.name.rpartition("/")[0]
        place = places.get(_find_shift_place(layer, target), -1)
        if place < 0 or steps[place].method != "copy":
            continue
        fold: dict[str, Scalar] = {"fold": contract.name}
        steps[number] = replace(step, options=dict(step.options) | fold)
        shifted = dict(steps[place].options) | fold | {"shift_of": step.target.name}
        steps[place] = replace(steps[place], options=shifted)
    return tuple(steps)


def _find_shift_place(layer: str, target: Target) -> str:
    """Name the tensor that can take a constant added to a layer's output; empty where there is none."""
    if f"{layer}/bias" in target.tensors:
        return f"{layer}/bias"
    if not target.model:
        mean = f"{target.followers.get(layer, '')}/moving_mean"
        return mean if mean in target.tensors else ""
    # Stems of the catalogue that have no bias are read by their norm, and by nothing else.
    fed = [name for name, feeds in target.feeds.items() if str(feeds) == layer]
    means = [f"{name}/moving_mean" for name in fed if f"{name}/moving_mean" in target.tensors]
    return means[0] if means else ""
