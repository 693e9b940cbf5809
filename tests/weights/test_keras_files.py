"""Keras's two HDF5 layouts: names, order of kernels, nested and subclassed models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from keras_files import (
    BIAS,
    OPTIMIZER_NOTE,
    THREE,
    Subclassed,
    check_equal,
    delete_names,
    fill,
    make_nested,
    read_all,
    refuse,
    train_a_step,
    write_v3,
)

from medzoo.models.describe import describe_network
from medzoo.tensors import name_variables
from medzoo.weights.align import align
from medzoo.weights.formats import keras_legacy_h5, keras_v3
from medzoo.weights.source import open_weights

# --- the legacy layout ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "tensors", "parameters", "notes"),
    [
        ("mobilenet_7_5_224_tf.h5", 137, 2_601_976, ()),
        ("pretrainedResnet.h5", 48, 78_666, (OPTIMIZER_NOTE,)),
        ("vww_96.h5", 164, 221_794, (OPTIMIZER_NOTE,)),
        ("squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5", 50, 722_496, ()),
    ],
)
def test_real_files_are_read_whole(
    shared_weights: Path, name: str, tensors: int, parameters: int, notes: tuple[str, ...]
) -> None:
    contents = keras_legacy_h5.read_headers(shared_weights / name)
    assert len(contents.tensors) == tensors
    assert sum(tensor.spec.size for tensor in contents.tensors.values()) == parameters
    assert contents.notes == notes
    assert contents.metadata.get("backend", "tensorflow") == "tensorflow"


def test_theano_s_order_reads_as_tensorflow_s(shared_weights: Path) -> None:
    name = "squeezenet_weights_{0}_dim_ordering_{0}_kernels_notop.h5"
    turned = keras_legacy_h5.read_headers(shared_weights / name.format("th"))
    plain = keras_legacy_h5.read_headers(shared_weights / name.format("tf"))
    assert list(turned.tensors) == list(plain.tensors)
    assert list(plain.tensors)[:4] == [
        "conv1/kernel",
        "conv1/bias",
        "fire2/squeeze1x1/kernel",
        "fire2/squeeze1x1/bias",
    ]
    check_equal(turned, read_all(plain.tensors))
    assert turned.notes == ("kernels stored in Theano's order: turned to TensorFlow's", ROTATION_NOTE)
    assert turned.metadata == {}


ROTATION_NOTE = "no backend is written: that Theano's kernels are rotated too was assumed"


def write_legacy(path: Path, contents: Mapping[str, Mapping[str, np.ndarray]], **attributes: str) -> None:
    path.unlink(missing_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
        file.attrs["layer_names"] = [name.encode() for name in contents]
        for layer, arrays in contents.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, values in arrays.items():
                group.create_dataset(name, data=values)


def turn(kernel: np.ndarray) -> np.ndarray:
    """Turn (rows, columns, channels, filters) to Theano's order, written out as loops over the elements."""
    rows, columns, channels, filters = kernel.shape
    turned = np.zeros((filters, channels, rows, columns), kernel.dtype)
    for r, c, i, o in np.ndindex(rows, columns, channels, filters):
        turned[o, i, rows - 1 - r, columns - 1 - c] = kernel[r, c, i, o]
    return turned


KERNEL = np.random.default_rng(0).normal(size=(3, 2, 3, 5)).astype("float32")
SQUARE = np.random.default_rng(1).normal(size=(3, 3, 3, 3)).astype("float32")


def test_keras_1_names_and_orders(tmp_path: Path) -> None:
    """A square kernel, ambiguous by itself, is turned with the rest of its file."""
    norm = {f"n_{end}": BIAS + i for i, end in enumerate(("gamma", "beta", "running_mean", "running_std"))}
    stored = {
        "square": {"square_W": turn(SQUARE), "square_b": THREE},
        "conv": {"uniform1": turn(KERNEL), "zero1": BIAS},
        "bare": {"glorot_uniform7": turn(KERNEL)},
        "n": norm,
        "fc": {"fc_W": np.ones((5, 3), "float32"), "fc_b": THREE},
        "pair": {"one": BIAS, "two": BIAS},
    }
    write_legacy(tmp_path / "a.h5", stored)
    contents = keras_legacy_h5.read_headers(tmp_path / "a.h5")
    expected = {"square/kernel": SQUARE, "square/bias": THREE, "conv/kernel": KERNEL, "conv/bias": BIAS}
    expected |= {"bare/kernel": KERNEL, "fc/kernel": np.ones((5, 3)), "fc/bias": THREE}
    ends = ("gamma", "beta", "moving_mean", "moving_variance")
    expected |= {f"n/{end}": values for end, values in zip(ends, norm.values(), strict=True)}
    check_equal(contents, expected | {"one": BIAS, "two": BIAS})
    assert contents.notes[0].startswith("kernels stored in Theano's order")
    assert contents.notes[1] == ROTATION_NOTE
    assert contents.notes[2] == "a dense kernel behind a flattened map keeps Theano's order of rows"


@pytest.mark.parametrize(
    "stored",
    [
        {"square": {"square_W": SQUARE, "square_b": THREE}},  # fits both orders
        {"a": {"a_W": turn(KERNEL), "a_b": BIAS}, "b": {"b_W": KERNEL, "b_b": BIAS}},  # layers disagree
        {"a": {"a_W": KERNEL}},  # no bias tells
    ],
)
def test_a_file_that_does_not_tell_its_order_stays_as_stored(
    tmp_path: Path, stored: dict[str, dict[str, np.ndarray]]
) -> None:
    write_legacy(tmp_path / "a.h5", stored)
    contents = keras_legacy_h5.read_headers(tmp_path / "a.h5")
    written = {
        f"{name[0]}/{name[-1]}": values for arrays in stored.values() for name, values in arrays.items()
    }
    found = {
        f"{name[0]}/{'W' if 'kernel' in name or name.endswith('_W') else 'b'}" for name in contents.tensors
    }
    assert found == set(written)
    for (_, tensor), values in zip(contents.tensors.items(), written.values(), strict=True):
        assert np.array_equal(tensor.read(), values)
    assert contents.notes == ()


@pytest.mark.parametrize("backend", ["theano", "tensorflow"])
def test_the_backend_tells_the_rotation_where_it_is_written(tmp_path: Path, backend: str) -> None:
    """Keras 2 wrote TensorFlow's order of axes on every backend; Theano's kernels are rotated all the same."""
    stored = {"conv": {"conv/kernel:0": KERNEL, "conv/bias:0": BIAS}}
    write_legacy(tmp_path / "a.h5", stored, backend=backend, keras_version="2.1.4")
    contents = keras_legacy_h5.read_headers(tmp_path / "a.h5")
    expected = KERNEL[::-1, ::-1] if backend == "theano" else KERNEL
    check_equal(contents, {"conv/kernel": expected, "conv/bias": BIAS})
    swapped = {"conv": {"conv_W": turn(KERNEL), "conv_b": BIAS}}
    write_legacy(tmp_path / "b.h5", swapped, backend=backend, keras_version="1.2.2")
    contents = keras_legacy_h5.read_headers(tmp_path / "b.h5")
    expected = KERNEL if backend == "theano" else KERNEL[::-1, ::-1]
    check_equal(contents, {"conv/kernel": expected, "conv/bias": BIAS})
    assert ROTATION_NOTE not in contents.notes


def make_kernel(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape).astype("float32")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("kernel", (3, 3, 3, 64)),  # a transposed convolution's (rows, columns, filters, channels)
        ("kernel", (3, 3, 3, 3, 8)),
        ("depthwise_kernel", (3, 3, 3, 1)),
        ("depthwise_kernel", (3, 5, 2, 2)),
        ("kernel", (6, 6, 3, 2)),  # Keras 3's depthwise convolution: channels times multiplier
    ],
)
def test_transposed_and_depthwise_kernels_do_not_tell_theano_s_order(
    tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    plain, odd, bias = make_kernel(3, 3, 3, 64), make_kernel(*shape), np.ones(shape[0], "float32")
    stored = {"plain": {"plain/kernel:0": plain}, "odd": {f"odd/{name}:0": odd, "odd/bias:0": bias}}
    write_legacy(tmp_path / "a.h5", stored)
    contents = keras_legacy_h5.read_headers(tmp_path / "a.h5")
    check_equal(contents, {"plain/kernel": plain, f"odd/{name}": odd, "odd/bias": bias})
    assert contents.notes == ()


def test_a_layer_of_one_s_own_keeps_its_names(tmp_path: Path) -> None:
    """By position and shape its variables look like Keras 1's kernel and bias."""
    stored = {"nested": {"mine/table": np.ones((4, 3)), "mine/offset": THREE}}
    write_legacy(tmp_path / "a.h5", stored, keras_version="3.9.0")
    assert list(keras_legacy_h5.read_headers(tmp_path / "a.h5").tensors) == ["mine/table", "mine/offset"]


@pytest.mark.filterwarnings("ignore:.*legacy:UserWarning")
@pytest.mark.parametrize("whole", [False, True])
def test_nested_models_in_the_legacy_layout(tmp_path: Path, whole: bool) -> None:
    model = make_nested()
    train_a_step(model)
    arrays = fill(model)
    if whole:
        model.save(tmp_path / "a.h5")
    else:
        model.save_weights(tmp_path / "a.weights.h5")
        keras.src.legacy.saving.legacy_h5_format.save_weights_to_hdf5_group(
            h5py.File(tmp_path / "a.h5", "w"), model
        )
    contents = keras_legacy_h5.read_headers(tmp_path / "a.h5")
    check_equal(contents, arrays)
    assert contents.notes == ((OPTIMIZER_NOTE,) if whole else ())
    assert contents.metadata == {"keras_version": keras.__version__, "backend": "tensorflow"}


def test_weights_that_a_model_holds_outside_its_layers_are_read(tmp_path: Path) -> None:
    stored = {"a": {"a/kernel": KERNEL}, "top_level_model_weights": {"own/cls_token": THREE}}
    write_legacy(tmp_path / "a.h5", stored, keras_version="3.9.0")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.attrs["layer_names"] = [b"a"]
    contents = keras_legacy_h5.read_headers(tmp_path / "a.h5")
    check_equal(contents, {"a/kernel": KERNEL, "own/cls_token": THREE})


# --- .weights.h5 ---------------------------------------------------------------------------------------------


def test_nested_models_with_layer_names(tmp_path: Path) -> None:
    model = make_nested()
    train_a_step(model)
    arrays = fill(model)
    model.save_weights(tmp_path / "a.weights.h5")
    contents = keras_v3.read_headers(tmp_path / "a.weights.h5")
    check_equal(contents, arrays)
    assert contents.numbered == frozenset()
    assert contents.notes == (OPTIMIZER_NOTE,)
    with h5py.File(tmp_path / "a.weights.h5") as file:
        for name, place in contents.storage.items():
            assert np.array_equal(file[place][()], arrays[name])
    assert set(contents.storage) == set(arrays)
    assert contents.storage["inner_conv/bias"] == "layers/functional/layers/conv2d/vars/1"


def test_nested_models_without_layer_names_are_numbered(tmp_path: Path) -> None:
    model = make_nested()
    fill(model)
    model.save_weights(tmp_path / "a.weights.h5")
    delete_names(tmp_path / "a.weights.h5")
    contents = keras_v3.read_headers(tmp_path / "a.weights.h5")
    assert set(contents.tensors) == {
        *("functional/conv2d/kernel", "functional/conv2d/bias"),
        *("functional/batch_normalization/moving_mean", "functional/batch_normalization/moving_variance"),
        *("depthwise_conv2d/kernel", "conv2d/kernel", "conv2d/bias"),
        *(f"batch_normalization/{end}" for end in ("gamma", "beta", "moving_mean", "moving_variance")),
        *("sequential/dense/kernel", "sequential/dense/bias"),
        *("sequential/dense_1/kernel", "sequential/dense_1/bias", "dense/kernel", "dense/bias"),
    }
    assert contents.numbered == set(contents.tensors)
    assert len(set(contents.storage.values())) == len(contents.tensors)


def test_subclassed_models_are_named_by_their_layers_or_by_their_attributes(tmp_path: Path) -> None:
    model = Subclassed()
    model(np.zeros((1, 3), "float32"))
    arrays = fill(model)
    model.save_weights(tmp_path / "a.weights.h5")
    contents = keras_v3.read_headers(tmp_path / "a.weights.h5")
    check_equal(contents, {name.removeprefix("own/"): values for name, values in arrays.items()})
    delete_names(tmp_path / "a.weights.h5")
    contents = keras_v3.read_headers(tmp_path / "a.weights.h5")
    assert len(contents.tensors) == len(arrays)
    assert contents.numbered == set(contents.tensors)
    assert {"attend/query_dense/bias", "dense_3/kernel"} <= set(contents.tensors)


@pytest.mark.parametrize(
    ("kind", "count", "names"),
    [
        ("batch_normalization", 4, ["gamma", "beta", "moving_mean", "moving_variance"]),
        ("batch_normalization_1", 3, ["0", "1", "2"]),  # without scale, or without shift
        ("batch_normalization", 2, ["moving_mean", "moving_variance"]),
        ("layer_normalization", 2, ["gamma", "beta"]),
        ("layer_normalization_3", 1, ["0"]),
        ("conv2_d_1", 1, ["kernel"]),
        ("separable_conv2d", 2, ["depthwise_kernel", "pointwise_kernel"]),
        ("own_layer", 2, ["0", "1"]),
        ("dense", 3, ["0", "1", "2"]),
    ],
)
def test_variables_are_named_by_class_as_far_as_their_count_tells(
    tmp_path: Path, kind: str, count: int, names: list[str]
) -> None:
    write_v3(tmp_path / "a.weights.h5", {f"layers/{kind}": count})
    with h5py.File(tmp_path / "a.weights.h5", "r+") as file:
        file[f"layers/{kind}/vars"].attrs["name"] = "this"
    contents = keras_v3.read_headers(tmp_path / "a.weights.h5")
    assert list(contents.tensors) == [f"this/{name}" for name in names]
    assert contents.numbered == {f"this/{name}" for name in names if name.isdecimal()}


def test_lists_attributes_and_keras_2_s_container_without_names(tmp_path: Path) -> None:
    groups = {"lst/dense": 2, "lst/dense_1": 2, "stem": 1, "_layer_checkpoint_dependencies/conv2d_2": 1}
    write_v3(tmp_path / "a.weights.h5", groups | {"metrics/mean": 2, "optimizer": 2})
    contents = keras_v3.read_headers(tmp_path / "a.weights.h5")
    assert list(contents.tensors) == [
        "conv2d_2/kernel",
        *("lst/dense/0", "lst/dense/1", "lst/dense_1/0", "lst/dense_1/1"),
        "stem/0",
    ]
    assert contents.notes == ("metrics' state left out", OPTIMIZER_NOTE)


def test_a_group_s_name_that_a_layer_has_too_does_not_hide_it(tmp_path: Path) -> None:
    write_v3(tmp_path / "a.weights.h5", {"dense": 1, "layers/dense": 1})
    contents = keras_v3.read_headers(tmp_path / "a.weights.h5")
    assert list(contents.tensors) == ["dense/0", "dense/kernel"]
    write_v3(tmp_path / "a.weights.h5", {"own": 1, "layers/own": 1})
    contents = keras_v3.read_headers(tmp_path / "a.weights.h5")
    assert contents.storage == {"layers/own/vars/0": "layers/own/vars/0", "own/0": "own/vars/0"} or (
        contents.storage == {"own/0": "layers/own/vars/0", "own/vars/0": "own/vars/0"}
    )


class Misnamed(keras.Model):
    """Attributes that say something else than their layers' classes."""

    def __init__(self) -> None:
        super().__init__(name="own")
        self.dense = layers.LayerNormalization(name="norm")
        self.embedding = layers.Dense(4, use_bias=False, name="project")
        self.layer_normalization = layers.Dense(4, name="one")
        self.batch_normalization = layers.Dense(4, name="two")
        self.conv2d = layers.BatchNormalization(scale=False, center=False, name="even")
        self.einsum_dense = layers.Dense(3, name="right")
        self.conv2d_transpose = layers.BatchNormalization(name="four")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        x = self.batch_normalization(self.layer_normalization(self.embedding(self.dense(x))))
        return self.conv2d_transpose(self.einsum_dense(self.conv2d(x)))


def test_an_attribute_s_name_is_not_taken_for_a_class(tmp_path: Path) -> None:
    model = Misnamed()
    model(np.zeros((1, 4), "float32"))
    arrays = fill(model)
    model.save_weights(tmp_path / "a.weights.h5")
    contents = keras_v3.read_headers(tmp_path / "a.weights.h5")
    assert len(contents.tensors) == len(arrays)
    assert set(contents.tensors) - contents.numbered == {"right/kernel", "right/bias"}
    assert {"norm/0", "project/0", "one/1", "two/1", "even/0", "four/3"} < contents.numbered


@pytest.mark.parametrize(
    ("shapes", "names"),
    [
        ([(2, 3), (3,)], {"kernel", "bias"}),
        ([(2, 2, 3, 6), (3,)], {"kernel", "bias"}),  # transposed
        ([(2, 2, 3, 2), (6,)], {"kernel", "bias"}),  # depthwise
        ([(4, 2, 3), (2, 3)], {"kernel", "bias"}),  # a part of attention
        ([(2, 3), (4,)], {"0", "1"}),
        ([(3,), (3,)], {"0", "1"}),
        ([(2, 3)], {"0"}),  # of a dense layer or an embedding
    ],
)
def test_outside_a_container_shapes_must_bear_a_name_out(
    tmp_path: Path, shapes: list[tuple[int, ...]], names: set[str]
) -> None:
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        for number, shape in enumerate(shapes):
            file[f"block/dense/vars/{number}"] = np.zeros(shape, "float32")
        file["layers/other/vars/0"] = THREE
    contents = keras_v3.read_headers(tmp_path / "a.weights.h5")
    assert set(contents.tensors) == {f"block/dense/{name}" for name in names} | {"other/0"}


def test_quantised_kernels_and_their_scales_are_numbered(tmp_path: Path) -> None:
    """A dense layer without bias holds a kernel of whole numbers and its scale: two variables, and no bias."""
    write_v3(tmp_path / "a.weights.h5", {"layers/dense": 2})
    with h5py.File(tmp_path / "a.weights.h5", "r+") as file:
        file["layers/dense/vars"].attrs["name"] = "this"
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = np.zeros((2, 3), "int8")
    contents = keras_v3.read_headers(tmp_path / "a.weights.h5")
    assert contents.numbered == {"this/0", "this/1"} == set(contents.tensors)


def make_inner_stem(name: str) -> keras.Model:
    inputs = keras.Input((3,))
    return keras.Model(inputs, layers.Dense(3, name="c")(inputs), name=name)


def test_equal_names_in_two_nested_models_are_numbered_in_order(tmp_path: Path) -> None:
    inputs = keras.Input((3,))
    outputs = make_inner_stem("zeta")(make_inner_stem("two")(make_inner_stem("one")(inputs)))
    model = keras.Model(inputs, outputs)
    fill(model)
    model.save_weights(tmp_path / "a.weights.h5")
    contents = keras_v3.read_headers(tmp_path / "a.weights.h5")
    check_equal(contents, {name: np.asarray(variable) for name, variable in name_variables(model).items()})
    assert set(contents.tensors) >= {"c/kernel", "c/kernel#2", "c/bias#3"}
    assert contents.tensors["c/kernel#2"].spec.name == "c/kernel#2"
    assert contents.storage["c/bias#2"] == "layers/functional_1/layers/dense/vars/1"
    assert contents.numbered == frozenset()


def test_equal_names_whose_order_the_file_does_not_hold_are_said_to_be_numbered(tmp_path: Path) -> None:
    """The outer layer comes last in the model, but first in the file's order of classes."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.Dense(3, name="c")(make_inner_stem("one")(inputs)))
    fill(model)
    model.save_weights(tmp_path / "a.weights.h5")
    source = open_weights(tmp_path / "a.weights.h5")
    assert source.numbered == {"c/kernel", "c/bias", "c/kernel#2", "c/bias#2"}
    aligned = align(source, describe_network(model))
    for name, variable in name_variables(model).items():
        assert np.array_equal(aligned[name].read(), variable), name


def test_two_tensors_with_one_exact_path_are_refused(tmp_path: Path) -> None:
    write_v3(tmp_path / "a.weights.h5", {"layers/dense": 2})
    with h5py.File(tmp_path / "a.weights.h5", "r+") as file:
        for number in "01":
            file[f"layers/dense/vars/{number}"].attrs[keras_v3.PATH_ATTRIBUTE] = "a/b"
    refuse(keras_v3.read_headers, tmp_path / "a.weights.h5", "holds two tensors named 'a/b'")


def test_states_of_random_generators_are_no_weights(tmp_path: Path) -> None:
    write_v3(tmp_path / "a.weights.h5", {"layers/dense": 1, "generator": 2})
    with h5py.File(tmp_path / "a.weights.h5", "r+") as file:
        for place in ("layers/dropout/seed_generator", "layers/random_flip/generator"):
            file[f"{place}/vars/0"] = np.zeros(2, "uint32")
    contents = keras_v3.read_headers(tmp_path / "a.weights.h5")
    assert list(contents.tensors) == ["generator/0", "generator/1", "dense/kernel"]


def test_what_a_file_says_of_itself_is_metadata(tmp_path: Path) -> None:
    write_v3(tmp_path / "a.weights.h5", {"layers/dense": 1}, medzoo='{"model": "cbr_tiny"}', other="x")
    contents = keras_v3.read_headers(tmp_path / "a.weights.h5")
    assert contents.metadata == {"medzoo": '{"model": "cbr_tiny"}'}
