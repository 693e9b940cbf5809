"""Every family by its narrowest row, with real values: file layout, copies, taps, cuts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from narrow import NARROW, least_size

import medzoo
from medzoo import recipes
from medzoo.models.abstract import build_without_weights
from medzoo.specs import ModelSpec, Stage, list_parts

#: Of narrow rows with more parts than this, `SPREAD` are cut after, the first and the last among them.
MOST_PARTS, SPREAD = 16, 6


def make_real(spec: ModelSpec, size: int) -> keras.Model:
    """Build a network with real, distinct values, also in its norms."""
    keras.utils.set_random_seed(5)
    model = medzoo.build(spec, classes=3, channels=1, input_size=size)
    rng = np.random.default_rng(5)
    for variable in model.weights:
        if "kernel" not in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape).astype("float32"))
    return model


@pytest.fixture(scope="module", params=NARROW.values(), ids=NARROW)
def real(request: pytest.FixtureRequest) -> keras.Model:
    """Build a narrow member with real, distinct values."""
    return make_real(request.param, least_size(request.param))


def assert_cuts_give_what_is_tapped(whole: keras.Model, parts: Sequence[Stage]) -> None:
    """Compare networks cut after these parts, with the weights of the whole, with its activations there."""
    size = whole.input_shape[1]
    images = np.random.default_rng(2).normal(size=(2, size, size, 1)).astype("float32")
    tapped = medzoo.taps(whole, parts)(images, training=False)
    known = {variable.path: variable for variable in whole.weights}
    for part in parts:
        with build_without_weights():  # they take the whole's, and drawing their own takes the most time
            cut = medzoo.build(f"{whole.name}@{part.name}", channels=1, input_size=size, head="none")
        trained = [known[variable.path].value for variable in cut.trainable_variables]
        kept = [known[variable.path].value for variable in cut.non_trainable_variables]
        output, _ = cut.stateless_call(trained, kept, images, training=False)
        given, expected = np.asarray(output), np.asarray(tapped[part.name])
        assert np.isfinite(expected).all(), part.name
        assert np.abs(expected).max() > 0, part.name
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5, err_msg=part.name)


def test_a_cut_gives_what_is_tapped_of_the_whole(real: keras.Model) -> None:
    parts = list_parts(medzoo.find_model(real.name).stages[:-1])
    if len(parts) > MOST_PARTS:
        parts = tuple(parts[round(place)] for place in np.linspace(0, len(parts) - 1, SPREAD))
    assert_cuts_give_what_is_tapped(real, parts)


def test_every_cut_of_a_resnet50_gives_what_is_tapped_of_the_whole() -> None:
    spec = medzoo.find_model("resnet50_torch")
    parts = list_parts(spec.stages[:-1])
    assert len(parts) == 17
    assert_cuts_give_what_is_tapped(make_real(spec, 32), parts)


def test_a_real_build_is_described_as_its_row(real: keras.Model) -> None:
    size = real.input_shape[1]
    built, row = medzoo.describe(real), medzoo.describe(real.name, classes=3, channels=1, input_size=size)
    assert list(built.tensors.values()) == list(row.tensors.values())
    assert built.feeds == row.feeds
    assert built.storage == row.storage
    assert (built.axes, built.blocks, built.epsilons) == (row.axes, row.blocks, row.epsilons)
    assert built.model == ""


def test_storage_paths_are_those_of_a_keras_file(real: keras.Model, tmp_path: Path) -> None:
    real.save_weights(tmp_path / "a.weights.h5")
    storage = medzoo.describe(real.name, classes=3, channels=1, input_size=real.input_shape[1]).storage
    written = {}
    with h5py.File(tmp_path / "a.weights.h5") as file:

        def note(path: str, member: object) -> None:
            if isinstance(member, h5py.Dataset):
                written[path] = member[()]

        file.visititems(note)
    assert set(written) == set(storage.values())
    for variable in real.weights:
        assert np.array_equal(written[storage[variable.path]], np.asarray(variable)), variable.path


def test_copying_a_model_s_own_weights_through_a_file_keeps_its_outputs(
    real: keras.Model, tmp_path: Path
) -> None:
    real.save_weights(tmp_path / "own.weights.h5")
    size = real.input_shape[1]
    target = medzoo.describe(real.name, classes=3, channels=1, input_size=size)
    # Keras names no variables in such a file: those of layers that it does not know are found by the target.
    source = medzoo.align(medzoo.open_weights(tmp_path / "own.weights.h5"), target)
    plan = medzoo.make_plan(source, target, recipes.copy(medzoo.find_model(real.name).stages))
    assert plan.coverage == 1.0
    medzoo.write(plan, source, target, tmp_path / "copy.weights.h5")
    images = np.random.default_rng(2).normal(size=(2, size, size, 1)).astype("float32")
    expected = np.asarray(real(images, training=False))
    twin = medzoo.build(real.name, classes=3, channels=1, input_size=size)
    assert not np.allclose(np.asarray(twin(images, training=False)), expected)
    twin.load_weights(tmp_path / "copy.weights.h5")
    assert np.array_equal(np.asarray(twin(images, training=False)), expected)
