"""Files that only number their layers take the names of the network that they fill, by class and order."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import medzoo
from medzoo.errors import WeightsError
from medzoo.tensors import Source, Target, source_from_arrays
from medzoo.weights.align import align, rank_places
from medzoo.weights.formats import keras_v3
from medzoo.wiring import Channels


def open_source(path: Path) -> Source:
    contents = keras_v3.read_headers(path)
    return Source(
        contents.tensors,
        str(path),
        keras_v3.NAME,
        storage=contents.storage,
        numbered=contents.numbered,
    )


def save(model: keras.Model, path: Path, with_names: bool = False) -> dict[str, np.ndarray]:
    """Fill and save a model as Keras before 3.6 did, without layer names, and give its values."""
    rng = np.random.default_rng(5)
    for variable in model.weights:
        variable.assign(rng.uniform(0.1, 1.0, variable.shape).astype("float32"))
    model.save_weights(path)
    if not with_names:
        with h5py.File(path, "r+") as file:
            file.visititems(
                lambda _, item: (
                    item.attrs.pop("name", None) and None if isinstance(item, h5py.Group) else None
                )
            )
    prefix = f"{model.name}/" if isinstance(model, keras.Sequential) else ""
    return {variable.path.removeprefix(prefix): np.asarray(variable) for variable in model.weights}


def check_aligned(path: Path, target: Target, arrays: dict[str, np.ndarray]) -> Source:
    source = open_source(path)
    assert set(source) != set(arrays)
    aligned = align(source, target)
    assert set(aligned) == set(arrays)
    for name, values in arrays.items():
        spec = aligned[name].spec
        assert (spec.name, spec.shape, spec.role) == (name, values.shape, target.tensors[name].role)
        assert np.array_equal(aligned[name].read(), values), name
    assert aligned.storage == dict(target.storage)
    assert aligned.numbered == frozenset()
    assert aligned.origin == source.origin
    return aligned


def make_network(scale: bool = True, shift: bool = True) -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="stem")(inputs)
    x = layers.BatchNormalization(name="even", scale=scale, center=shift)(x)
    x = layers.Conv2D(5, 1, name="mix")(x)
    x = layers.LayerNormalization(name="level", scale=scale, center=shift)(x)
    x = layers.DepthwiseConv2D(3, name="spread")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


@pytest.mark.parametrize(("scale", "shift"), [(True, True), (False, True), (True, False)])
def test_norms_take_the_target_s_names(tmp_path: Path, scale: bool, shift: bool) -> None:
    """A norm without scale is stored as one without shift is; the target alone tells."""
    model = make_network(scale, shift)
    arrays = save(model, tmp_path / "a.weights.h5")
    check_aligned(tmp_path / "a.weights.h5", medzoo.describe(model), arrays)


def test_a_norm_in_a_file_with_layer_names_takes_them_too(tmp_path: Path) -> None:
    model = make_network(scale=False)
    arrays = save(model, tmp_path / "a.weights.h5", with_names=True)
    assert open_source(tmp_path / "a.weights.h5").numbered == {"even/0", "even/1", "even/2", "level/0"}
    check_aligned(tmp_path / "a.weights.h5", medzoo.describe(model), arrays)


def test_a_known_layer_is_never_renamed_to_another(tmp_path: Path) -> None:
    save(make_network(scale=False), tmp_path / "a.weights.h5", with_names=True)
    source = open_source(tmp_path / "a.weights.h5")
    other = make_network(shift=False)
    for layer in other.layers:
        layer._name = f"other_{layer.name}"
    target = Target(
        {f"other_{name}": spec for name, spec in medzoo.describe(make_network(shift=False)).tensors.items()},
        {},
        {
            f"other_{name}": place
            for name, place in medzoo.describe(make_network(shift=False)).storage.items()
        },
    )
    assert list(align(source, target)) == list(source)


def test_nested_models(tmp_path: Path) -> None:
    inner_input = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="inner_a")(inner_input)
    inner = keras.Model(inner_input, layers.Conv2D(4, 1, name="inner_b")(x), name="inner")
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 1, name="before")(inner(layers.Conv2D(3, 1, name="first")(inputs)))
    x = layers.GlobalAveragePooling2D()(x)
    x = keras.Sequential([layers.Dense(4, name="wide"), layers.Dense(3, name="thin")], name="tail")(x)
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    arrays = save(model, tmp_path / "a.weights.h5")
    assert "inner_b/kernel" in arrays
    check_aligned(tmp_path / "a.weights.h5", medzoo.describe(model), arrays)


@pytest.mark.parametrize("name", ["cbr_tiny", "mobilenet_025"])
def test_rows_of_the_catalogue(tmp_path: Path, name: str) -> None:
    model = medzoo.build(name, classes=3, channels=2, input_size=32)
    arrays = save(model, tmp_path / "a.weights.h5")
    check_aligned(tmp_path / "a.weights.h5", medzoo.describe(name, classes=3, channels=2), arrays)


def test_classes_and_input_channels_may_differ(tmp_path: Path) -> None:
    """What a transplant adapts is not what alignment refuses."""
    model = medzoo.build("cbr_tiny", classes=3, channels=3, input_size=32)
    arrays = save(model, tmp_path / "a.weights.h5")
    aligned = align(
        open_source(tmp_path / "a.weights.h5"), medzoo.describe("cbr_tiny", classes=7, channels=1)
    )
    assert {name: tensor.spec.shape for name, tensor in aligned.items()} == {
        name: values.shape for name, values in arrays.items()
    }


def test_another_network_is_refused_with_the_tensor_and_both_shapes(tmp_path: Path) -> None:
    save(medzoo.build("mobilenet_050", classes=3, channels=3, input_size=32), tmp_path / "a.weights.h5")
    with pytest.raises(WeightsError) as error:
        align(open_source(tmp_path / "a.weights.h5"), medzoo.describe("mobilenet_025", classes=3))
    text = str(error.value)
    for part in (
        "a.weights.h5 stores 'batch_normalization/gamma' of shape (16,)",
        "mobilenet_025 has 'conv1_bn/gamma' of shape (8,)",
        "expected a file of the same network",
        "try saving it again with Keras 3.6 or later",
    ):
        assert part in text


@pytest.mark.parametrize("units", [5, 6])
def test_the_head_s_inputs_must_agree(tmp_path: Path, units: int) -> None:
    def make(width: int) -> keras.Model:
        inputs = keras.Input((8,))
        return keras.Model(inputs, layers.Dense(2, name="head")(layers.ReLU()(inputs[:, :width])))

    save(make(5), tmp_path / "a.weights.h5")
    source, target = open_source(tmp_path / "a.weights.h5"), medzoo.describe(make(units))
    target = Target(target.tensors, {"head": Channels("layer", "relu")}, target.storage)
    if units == 5:
        assert set(align(source, target)) == {"head/kernel", "head/bias"}
    else:
        with pytest.raises(WeightsError, match=r"'dense/kernel' of shape \(5, 2\) .*of shape \(6, 2\)"):
            align(source, target)


def test_what_the_target_has_no_place_for_keeps_its_name(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="stem")(inputs)
    target = medzoo.describe(keras.Model(inputs, x))
    x = layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Conv2D(2, 1)(x)))
    save(keras.Model(inputs, x), tmp_path / "a.weights.h5")
    aligned = align(open_source(tmp_path / "a.weights.h5"), target)
    others = {"conv2d_1/kernel", "conv2d_1/bias", "dense/kernel", "dense/bias"}
    assert set(aligned) == {"stem/kernel", "stem/bias", *others}
    assert aligned.numbered == others


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    model = make_network()
    save(model, tmp_path / "a.weights.h5")
    source = open_source(tmp_path / "a.weights.h5")
    tensors = {"stem/kernel": source["dense/bias"], **source.tensors}
    doubled = Source(tensors, "a", "keras_v3", storage=source.storage, numbered=source.numbered)
    with pytest.raises(WeightsError, match="a holds two tensors for 'stem/kernel'"):
        align(doubled, medzoo.describe(model))


def test_a_source_with_names_is_returned_unchanged(tmp_path: Path) -> None:
    model = make_network()
    target = medzoo.describe(model)
    save(model, tmp_path / "a.weights.h5", with_names=True)
    for source in (open_source(tmp_path / "a.weights.h5"), source_from_arrays({"a": np.zeros(3)})):
        assert align(source, target) is source
    save(model, tmp_path / "b.weights.h5")
    source = open_source(tmp_path / "b.weights.h5")
    assert align(source, Target(target.tensors, target.feeds, {})) is source


def test_layers_that_keras_2_counted_twice_keep_their_order() -> None:
    """Keras 2.12 to 2.15 listed each layer with weights twice, which left gaps in the numbers."""
    old = [f"_layer_checkpoint_dependencies/conv2_d{end}/vars/0" for end in ("_10", "", "_2")]
    new = [f"layers/conv2d{end}/vars/0" for end in ("_2", "", "_1")]
    assert list(rank_places(old).values()) == list(rank_places(new).values())
    assert len(set(rank_places(new).values())) == 3
