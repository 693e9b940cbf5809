"""Networks of keras.applications with values of their own, their files, and the same weights in ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import medzoo
from medzoo import recipes
from medzoo.models.cost import measure_costs
from medzoo.models.describe import build_abstractly
from medzoo.specs import list_parts
from medzoo.transplant.plan import Plan


def build_theirs(construct: Callable[..., keras.Model], **options: Any) -> keras.Model:
    """Build a network with a top of logits for 5 classes, every value different from where it started."""
    keras.utils.set_random_seed(3)
    options = {"weights": None, "classes": 5, "classifier_activation": None, **options}
    if not options.get("include_top", True):
        del options["classes"], options["classifier_activation"]
    return shake(construct(**options))


def shake(model: keras.Model) -> keras.Model:
    """Give biases, norms and layer scales values of their own, and norms a variance as two images have it.

    With any other variance the signal dies out or grows without bound on its way through a deep network.
    """
    rng = np.random.default_rng(3)
    for variable in model.weights:
        name = variable.path.rpartition("/")[2]
        if name in ("bias", "beta"):
            variable.assign(rng.uniform(-0.1, 0.1, variable.shape).astype("float32"))
        elif name == "gamma" or "layer_scale" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape).astype("float32"))
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    pixels = draw_pixels(model.input_shape[1])[..., : model.input_shape[3]]
    is_scaling = any(type(layer).__name__ in ("Rescaling", "Normalization") for layer in model.layers)
    model(pixels if is_scaling else pixels / 127.5 - 1, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        # Of two images some channels have next to no variance: what differs little would be blown up.
        variance = np.asarray(norm.moving_variance)
        norm.moving_variance.assign(np.maximum(variance, variance.mean()))
    return model


def draw_pixels(size: int) -> np.ndarray:
    """Draw two images of 0…255 that differ as a whole: a dark red one that fades, a bright one of stripes."""
    rng = np.random.default_rng(4)
    fading = np.linspace(0, 120, size)[:, None, None] * np.array([1, 0.3, 0.1])
    striped = 255 - 60 * (np.arange(size) // 8 % 2)[None, :, None] * np.array([0.1, 1, 2])
    images = np.stack([np.broadcast_to(image, (size, size, 3)) for image in (fading, striped)])
    return np.clip(images + rng.uniform(-20, 20, images.shape), 0, 255).astype("float32")


def save(model: keras.Model, folder: Path, is_legacy: bool = False) -> Path:
    """Save a network's weights as Keras 3 does, or all of it in the legacy layout."""
    if is_legacy:
        model.save(folder / "theirs.h5")
        return folder / "theirs.h5"
    model.save_weights(folder / "theirs.weights.h5")
    return folder / "theirs.weights.h5"


def copy_into(row: str, path: Path, size: int, classes: int = 5) -> tuple[Any, Plan]:
    """Copy a file into our network of a row, and give it with the plan; every tensor of the file has its place."""
    model = medzoo.build(row, classes=classes, input_size=size)
    source = medzoo.open_weights(path)
    plan = medzoo.make_plan(source, medzoo.describe(model), recipes.copy())
    assert plan.unused == ()
    medzoo.apply(plan, source, model)
    return model, plan


def scale(row: str, pixels: np.ndarray) -> np.ndarray:
    """Make of pixels what the row's contract says."""
    contract = medzoo.find_model(row).preprocessing
    assert contract.order == "rgb"
    return (pixels * np.float32(contract.scale) + np.float32(contract.offset)).astype("float32")


def assert_same_outputs(
    row: str, ours: keras.Model, theirs: keras.Model, pixels: np.ndarray, scaled: bool
) -> None:
    """Compare ours on pixels under the row's contract with theirs on pixels, or on the same if not `scaled`."""
    inputs = scale(row, pixels)
    expected = np.asarray(theirs(pixels if scaled else inputs, training=False))
    found = np.asarray(ours(inputs, training=False))
    largest = np.abs(expected).max()
    assert largest > 0
    assert np.abs(expected[0] - expected[1]).max() > 1e-3 * largest, "the images make no difference"
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * largest)


def assert_parts_end_where_they_say(model: keras.Model, spec: Any) -> None:
    """Check that every layer lies in one part, and that nothing leaves a part but its output, to the next."""
    parts = list_parts(spec.stages)
    rank = {}
    for layer in model.layers[1:]:
        holders = [index for index, part in enumerate(parts) if part.holds(layer.name)]
        assert len(holders) == 1, (layer.name, holders)
        rank[layer.name] = holders[0]
    for layer in model.layers[1:]:
        for tensor in layer._inbound_nodes[0].input_tensors:
            below = tensor._keras_history.operation.name
            if below in rank and rank[below] != rank[layer.name]:
                assert rank[below] == rank[layer.name] - 1, (below, layer.name)
                assert below == parts[rank[below]].output, (below, layer.name)


def count_macs(row: str) -> int:
    """Count a row's multiply-accumulates at its own input size."""
    spec = medzoo.find_model(row)
    return sum(
        part.macs for part in measure_costs(build_abstractly(spec, 1000, 3), spec.stages) if not part.block
    )


def list_drop_rates(model: keras.Model) -> dict[str, float]:
    """List the rates of dropped paths by layer, bottom-up."""
    dropouts = [layer for layer in model.layers if layer.name.endswith("_drop")]
    assert all(tuple(layer.noise_shape) == (None, 1, 1, 1) for layer in dropouts)
    return {layer.name: layer.rate for layer in dropouts}


#: The layouts of files that Keras 3 writes.
LEGACY = pytest.mark.parametrize("is_legacy", [False, True], ids=["weights_h5", "h5"])
