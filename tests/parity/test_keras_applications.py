"""Every row of keras.applications against keras.applications itself: outputs of all parts, logits, files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import medzoo
from medzoo import recipes
from medzoo.contracts import find_scaled_inside
from medzoo.specs import HEAD, ModelSpec, list_parts

CLASSES = 7

#: Rows that another library is the reference for, and those that keras.applications has not.
FOREIGN = ("resnet18", "resnet34")


def find_constructor(spec: ModelSpec) -> Callable[..., Any] | None:
    """Find what builds Keras's own network of a row; None where Keras has none."""
    options = spec.options
    chosen = {key: options[key] for key in ("alpha", "minimalistic") if key in options}
    name = str(options.get("constructor", ""))
    if spec.family in ("mobilenet", "mobilenet_v2"):
        name = {"mobilenet": "MobileNet", "mobilenet_v2": "MobileNetV2"}[spec.family]
    elif spec.family == "resnet" and options["variant"] == "keras" and spec.name not in FOREIGN:
        name = f"ResNet{spec.name.removeprefix('resnet')}"
    if not name:
        return None
    return lambda **given: getattr(keras.applications, name)(weights=None, **chosen, **given)


ROWS = [spec for spec in medzoo.list_models() if find_constructor(spec) is not None]
#: The first row of each family is compared in every run, but for the one family that takes longest.
FIRST = [
    spec
    for family, spec in {spec.family: spec for spec in reversed(ROWS)}.items()
    if family != "inception_resnet_v2"
]


@dataclass(frozen=True)
class Pair:
    """Keras's network and ours with the same weights, and our names by Keras's."""

    spec: ModelSpec
    size: int
    theirs: keras.Model
    ours: keras.Model
    names: dict[str, str]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(spec, id=spec.name, marks=[] if spec in FIRST else pytest.mark.slow) for spec in ROWS
    ],
)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    spec: ModelSpec = request.param
    size = max(spec.smallest_input, 32)
    keras.utils.set_random_seed(3)
    construct = find_constructor(spec)
    assert construct is not None
    theirs = construct(input_shape=(size, size, 3), classes=CLASSES, classifier_activation=None)
    set_values(theirs, spec, draw_images(spec, size, 8))
    ours = medzoo.build(spec, classes=CLASSES, input_size=size)
    name = getattr(import_module(f"medzoo.models.{spec.family}"), "_name", lambda spec, network: {})
    names: dict[str, str] = name(spec, theirs)
    move_weights(theirs, ours, names)
    yield Pair(spec, size, theirs, ours, names)
    keras.backend.clear_session()


def draw_images(spec: ModelSpec, size: int, count: int) -> np.ndarray:
    """Draw what Keras's own network takes: pixels where it scales inside, else numbers of the contract's order."""
    rng = np.random.default_rng(count)
    pixels = rng.uniform(0, 255, (count, size, size, 3)).astype("float32")
    return pixels if find_scaled_inside(spec.row) else pixels / 127.5 - 1


def scale(spec: ModelSpec, images: np.ndarray) -> np.ndarray:
    """Do what the contract says where Keras's network does it inside."""
    contract = find_scaled_inside(spec.row)
    if contract is None:
        return images
    assert contract == spec.preprocessing
    factor, offset = contract.for_channels(3)
    return (images * np.asarray(factor) + np.asarray(offset)).astype("float32")


def list_layers(network: Any) -> Iterator[keras.layers.Layer]:
    """List layers, with those of sequential models within."""
    for layer in network.layers:
        yield from list_layers(layer) if isinstance(layer, keras.Sequential) else (layer,)


def set_values(network: keras.Model, spec: ModelSpec, images: np.ndarray) -> None:
    """Give norms and biases distinct values, and moving statistics those of images, so that signals do not fade."""
    rng = np.random.default_rng(7)
    for variable in network.trainable_variables:
        if len(variable.shape) == 1:
            low, high = (-0.2, 0.2) if variable.path.endswith(("bias", "beta")) else (0.8, 1.2)
            variable.assign(rng.uniform(low, high, variable.shape).astype("float32"))
    norms = []
    for layer in list_layers(network):
        if isinstance(layer, keras.layers.BatchNormalization):
            norms.append((layer, layer.momentum))
            layer.momentum = 0.0
        elif isinstance(layer, keras.layers.Normalization) and layer.weights:
            contract = find_scaled_inside(spec.row)
            assert contract is not None
            layer.set_weights([np.asarray(contract.mean), np.square(contract.deviation), np.asarray(0)])
            layer.finalize_state()
    if norms:
        network(images, training=True)
    for layer, momentum in norms:
        layer.momentum = momentum
        # Few images leave some channels all but constant, whose rounding errors a norm would blow up.
        variance = np.asarray(layer.moving_variance)
        layer.moving_variance.assign(variance + 0.1 * variance.mean() + 1e-3)
    if spec.family == "vgg":  # without norms, it takes He's scale to keep the signal above the biases
        for variable in network.trainable_variables:
            if len(variable.shape) == 4:
                variable.assign(np.sqrt(2) * np.asarray(variable))


def move_weights(theirs: keras.Model, ours: keras.Model, names: dict[str, str]) -> None:
    """Copy every layer's weights under our names, and those of Keras's head, in their order, into ours."""
    waiting = {layer.name: layer for layer in list_layers(ours) if layer.weights}
    head = []
    for layer in list_layers(theirs):
        if not layer.weights or isinstance(layer, keras.layers.Normalization):
            continue
        target = waiting.pop(names.get(layer.name, layer.name), None)
        if target is None:
            head.append(layer)
        else:
            target.set_weights(layer.get_weights())
    assert all(name == HEAD or name.startswith(f"{HEAD}_") for name in waiting), list(waiting)
    for layer, target in zip(head, waiting.values(), strict=True):
        values = zip(layer.get_weights(), target.get_weights(), strict=True)
        target.set_weights([given.reshape(wanted.shape) for given, wanted in values])


def measure_error(found: Any, expected: Any) -> float:
    """Give the largest difference relative to the largest value."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_every_part_and_the_logits_are_keras_s(pair: Pair) -> None:
    parts = list_parts(pair.spec.stages[:-1])
    operations = {pair.names.get(one.name, one.name): one for one in pair.theirs.operations}
    images = draw_images(pair.spec, pair.size, 2)
    theirs = keras.Model(pair.theirs.input, [operations[part.output].output for part in parts])
    ours = keras.Model(pair.ours.input, [pair.ours.get_layer(part.output).output for part in parts])
    outputs = zip(ours(scale(pair.spec, images)), theirs(images), parts, strict=True)
    for found, expected, part in outputs:
        assert measure_error(found, expected) <= 1e-4, part.name
    expected = np.asarray(pair.theirs(images, training=False))
    assert expected.shape == (2, CLASSES)
    assert measure_error(pair.ours(scale(pair.spec, images), training=False), expected) <= 1e-4
    # The images, not the biases alone, made the logits.
    assert measure_error(expected[0], expected[1]) > 1e-2


def test_both_have_as_many_parameters(pair: Pair) -> None:
    scaling = sum(
        layer.count_params()
        for layer in list_layers(pair.theirs)
        if isinstance(layer, keras.layers.Normalization)
    )
    assert pair.ours.count_params() == pair.theirs.count_params() - scaling


#: Families whose files are read in every form: Keras numbers their layers, or puts scopes before their names.
FILED = ("vgg", "inception_v3", "inception_resnet_v2", "xception", "nasnet", "resnet_v2")
FORMS = ("legacy.h5", "named.weights.h5", "unnamed.weights.h5")


def delete_names(path: Path) -> None:
    """Make a `.weights.h5` as Keras wrote it before 3.6, without the names of layers."""

    def delete(_: str, item: object) -> None:
        if isinstance(item, h5py.Group) and "name" in item.attrs:
            del item.attrs["name"]

    with h5py.File(path, "r+") as file:
        file.visititems(delete)


def test_files_of_keras_fill_our_network_whole(pair: Pair, tmp_path: Path) -> None:
    target = medzoo.describe(pair.ours)
    for form in FORMS if pair.spec.family in FILED else FORMS[:1]:
        path = tmp_path / form
        if form.endswith(".weights.h5"):
            pair.theirs.save_weights(path)
        else:
            pair.theirs.save(path)
        if form.startswith("unnamed"):
            delete_names(path)
        source = medzoo.align(medzoo.open_weights(path), target)
        plan = medzoo.make_plan(source, target, recipes.copy())
        assert (plan.coverage, plan.unused) == (1.0, ()), form
        assert set(source) == {variable.path for variable in pair.ours.weights}, form
        for variable in pair.ours.weights:
            assert np.array_equal(source[variable.path].read(), np.asarray(variable)), (form, variable.path)
        path.unlink()
