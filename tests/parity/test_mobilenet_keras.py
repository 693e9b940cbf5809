"""Real pretrained files: what Keras makes of them, tensor for tensor and output for output."""

from __future__ import annotations

import math
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import medzoo
from medzoo import recipes
from medzoo.outputs import digest_file
from medzoo.specs import HEAD
from medzoo.weights import cards

FILE = "mobilenet_7_5_224_tf.h5"


@pytest.fixture(scope="module")
def theirs(shared_weights: Path) -> keras.Model:
    model = keras.applications.MobileNet(alpha=0.75, weights=None)
    model.load_weights(shared_weights / FILE)
    return model


@pytest.fixture(scope="module")
def ours(shared_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> keras.Model:
    """`copy` into a file, restored by Keras."""
    source = medzoo.open_weights(shared_weights / FILE)
    target = medzoo.describe("mobilenet_075")
    plan = medzoo.make_plan(source, target, recipes.copy())
    assert plan.coverage == 1.0
    path = tmp_path_factory.mktemp("copy") / "copy.weights.h5"
    medzoo.write(plan, source, target, path)
    model = medzoo.build("mobilenet_075")
    model.load_weights(path)
    return model


def test_every_tensor_is_copied_bit_for_bit(theirs: keras.Model, ours: keras.Model) -> None:
    expected = {variable.path.replace("conv_preds/", f"{HEAD}/"): variable for variable in theirs.weights}
    assert set(expected) == {variable.path for variable in ours.weights}
    assert len(expected) == 137
    for variable in ours.weights:
        values = np.asarray(expected[variable.path])
        assert values.size == math.prod(variable.shape)
        if variable.path != f"{HEAD}/kernel":
            assert values.shape == variable.shape
        assert np.asarray(variable).tobytes() == values.tobytes(), variable.path


def test_real_images_give_the_same_probabilities(
    theirs: keras.Model, ours: keras.Model, shared_data: Path
) -> None:
    paths = sorted((shared_data / "busi_breast224" / "images").rglob("*.*"))[:2]
    assert len(paths) == 2
    pixels = [np.asarray(Image.open(path).convert("RGB").resize((224, 224)), "float32") for path in paths]
    images = keras.applications.mobilenet.preprocess_input(np.stack(pixels))
    expected = np.asarray(theirs(images, training=False))
    found = np.asarray(keras.ops.softmax(ours(images, training=False)))
    assert expected.shape == found.shape == (2, 1000)
    assert np.abs(found - expected).max() < 1e-6
    assert not np.allclose(found[0], found[1], atol=1e-3)


def test_the_card_s_digest_and_size_are_the_file_s(shared_weights: Path) -> None:
    card = cards.find_card("mobilenet_075.imagenet")
    assert card.url.endswith(FILE)
    assert card.digest == digest_file(shared_weights / FILE)
    assert card.size == (shared_weights / FILE).stat().st_size
    source = medzoo.open_weights(shared_weights / FILE)
    assert (card.format, card.dialect) == (source.format, source.dialect)
    assert card.classes == source["head/kernel"].spec.shape[-1]


def test_the_bundled_moments_are_measured_from_the_real_file(shared_weights: Path, tmp_path: Path) -> None:
    medzoo.write_moments(medzoo.open_weights(shared_weights / FILE), tmp_path / "m.json")
    bundled = cards.moments_path(cards.find_card("mobilenet_075.imagenet"))
    assert bundled.read_bytes() == (tmp_path / "m.json").read_bytes()


def test_statistics_from_file_and_from_bundled_moments_are_the_same_tensors(shared_weights: Path) -> None:
    from medzoo.transplant.run import run

    target = medzoo.describe("mobilenet_075", classes=2, channels=1)
    made = []
    for source in (
        medzoo.open_weights(shared_weights / FILE),
        medzoo.open_weights("mobilenet_075.imagenet", values=False),
    ):
        plan = medzoo.make_plan(source, target, recipes.stats(), seed=1)
        made.append({name: values.tobytes() for name, values in run(plan, source)})
    assert made[0] == made[1]


def test_one_grey_channel_answers_as_the_image_replicated(theirs: keras.Model, shared_weights: Path) -> None:
    source = medzoo.open_weights(shared_weights / FILE)
    model = medzoo.build("mobilenet_075", channels=1)
    medzoo.apply(medzoo.make_plan(source, medzoo.describe(model), recipes.copy()), source, model)
    grey = np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 1)).astype("float32")
    expected = np.asarray(theirs(np.repeat(grey, 3, axis=-1), training=False))
    found = np.asarray(keras.ops.softmax(model(grey, training=False)))
    # Only the order of the first convolution's sums differs.
    assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("name", "tensors", "parameters"),
    [
        (FILE, 137, 2_601_976),
        ("squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5", 50, 722_496),
        ("squeezenet_weights_th_dim_ordering_th_kernels_notop.h5", 50, 722_496),
        ("pretrainedResnet.h5", None, None),
        ("vww_96.h5", None, None),
    ],
)
def test_other_people_s_keras_files_open(
    shared_weights: Path, name: str, tensors: int | None, parameters: int | None
) -> None:
    source = medzoo.open_weights(shared_weights / name)
    assert source.format == "keras_legacy_h5"
    assert all(np.isfinite(tensor.moments().mean) for tensor in source.values())
    assert not any("Adam" in tensor or tensor.endswith(":0") for tensor in source)
    if tensors is not None:
        assert len(source) == tensors
        assert sum(tensor.spec.size for tensor in source.values()) == parameters


def test_a_whole_model_reads_as_keras_reads_it(shared_weights: Path) -> None:
    """Keras 2.4's whole model: the weights of its layers, none of its optimiser's."""
    model = keras.models.load_model(shared_weights / "pretrainedResnet.h5", compile=False)
    source = medzoo.open_weights(shared_weights / "pretrainedResnet.h5")
    assert set(source) == {variable.path for variable in model.weights}
    for variable in model.weights:
        assert np.asarray(source[variable.path]).tobytes() == np.asarray(variable).tobytes()
