"""The same tensors, written in every format by the format's own library, read back identical."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file
from toy_network import make_network

import medzoo
from medzoo import recipes
from medzoo.tensors import measure_moments, role_of

Arrays = Mapping[str, np.ndarray]


def write_legacy(group: h5py.Group, arrays: Arrays, end: str, split: bool = False) -> None:
    """Write the legacy layout by hand: a group a layer, `layer_names` and `weight_names`."""
    layers: dict[str, list[str]] = {"image": []}
    for name in arrays:
        layers.setdefault(name.split("/")[0], []).append(name)
    names = [layer.encode() for layer in layers]
    if split:  # as Keras does where one attribute would exceed 64 kB
        group.attrs["layer_names0"], group.attrs["layer_names1"] = names[:3], names[3:]
    else:
        group.attrs["layer_names"] = names
    for layer, members in layers.items():
        inner = group.create_group(layer)
        keras_2 = {name: name.replace("spread/kernel", "spread/depthwise_kernel") + end for name in members}
        inner.attrs["weight_names"] = [written.encode() for written in keras_2.values()]
        for name, written in keras_2.items():
            inner.create_dataset(written, data=arrays[name])


def legacy(end: str = ":0", split: bool = False) -> Callable[[Path, Arrays, keras.Model], None]:
    def write(path: Path, arrays: Arrays, model: keras.Model) -> None:
        with h5py.File(path, "w") as file:
            write_legacy(file, arrays, end, split)

    return write


def legacy_whole_model(path: Path, arrays: Arrays, model: keras.Model) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = b"{}"
        write_legacy(file.create_group("model_weights"), arrays, ":0")
        state = file.create_group("optimizer_weights")
        state.attrs["weight_names"] = [b"Adam/stem/kernel/m:0"]
        state.create_dataset("Adam/stem/kernel/m:0", data=np.zeros(3, "float32"))


def medzoo_writer(path: Path, arrays: Arrays, model: keras.Model) -> None:
    source = medzoo.source_from_arrays(arrays)
    target = medzoo.describe(model)
    medzoo.write(medzoo.make_plan(source, target, recipes.copy()), source, target, path)


def medzoo_legacy_writer(path: Path, arrays: Arrays, model: keras.Model) -> None:
    medzoo.convert(medzoo.source_from_arrays(arrays), path)


def keras_shards(path: Path, arrays: Arrays, model: keras.Model) -> None:
    model.save_weights(path, max_shard_size=1e-6)
    assert len(list(path.parent.glob("*.weights.h5"))) > 1


def safetensors_shards(path: Path, arrays: Arrays, model: keras.Model) -> None:
    names = list(arrays)
    shards = {"a-1.safetensors": names[:5], "a-2.safetensors": names[5:]}
    for shard, members in shards.items():
        save_file({name: arrays[name] for name in members}, path.parent / shard)
    weight_map = {name: shard for shard, members in shards.items() for name in members}
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def tf_checkpoint(path: Path, arrays: Arrays, model: keras.Model) -> None:
    tf.train.Checkpoint(model=model, optimizer=keras.optimizers.Adam()).write(path)


#: A new format joins with one line: the reader's name, a file name, a function that writes it.
FORMATS: dict[str, tuple[str, str, Callable[[Path, Any, Any], object]]] = {
    "legacy": ("keras_legacy_h5", "a.h5", legacy()),
    "legacy_keras_3_names": ("keras_legacy_h5", "a.h5", legacy(end="")),
    "legacy_split_names": ("keras_legacy_h5", "a.h5", legacy(split=True)),
    "legacy_whole_model": ("keras_legacy_h5", "a.h5", legacy_whole_model),
    "keras_whole_model": ("keras_legacy_h5", "a.h5", lambda path, _, model: model.save(path)),
    "keras_v3": ("keras_v3", "a.weights.h5", lambda path, _, model: model.save_weights(path)),
    "medzoo_keras": ("keras_v3", "a.weights.h5", medzoo_writer),
    "medzoo_legacy": ("keras_legacy_h5", "a.h5", medzoo_legacy_writer),
    "keras_archive": ("keras_archive", "a.keras", lambda path, _, model: model.save(path)),
    "keras_shards": ("keras_shards", "a.weights.json", keras_shards),
    "tf_checkpoint": ("tf_checkpoint", "a", tf_checkpoint),
    "npz": ("npz", "a.npz", lambda path, arrays, _: np.savez(path, **arrays)),
    "npz_compressed": ("npz", "a.npz", lambda path, arrays, _: np.savez_compressed(path, **arrays)),
    "safetensors": ("safetensors", "a.safetensors", lambda path, arrays, _: save_file(dict(arrays), path)),
    "safetensors_shards": ("sharded", "a.safetensors.index.json", safetensors_shards),
    "medzoo_safetensors": ("safetensors", "a.safetensors", medzoo_writer),
}
#: What consists of several files keeps its names.
SINGLE_FILES = [
    name
    for name, (format_name, *_) in FORMATS.items()
    if format_name in ("keras_legacy_h5", "keras_v3", "keras_archive", "npz", "safetensors")
]
EVERY_FORMAT = pytest.mark.parametrize("name", FORMATS)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return make_network()


@pytest.fixture(scope="module")
def arrays(network: keras.Model) -> dict[str, np.ndarray]:
    return {variable.path: np.asarray(variable) for variable in network.weights}


@EVERY_FORMAT
@pytest.mark.filterwarnings("ignore:.*legacy:UserWarning")
def test_every_format_reads_back_identical(
    name: str, tmp_path: Path, network: keras.Model, arrays: dict[str, np.ndarray]
) -> None:
    format_name, file_name, write = FORMATS[name]
    write(tmp_path / file_name, arrays, network)
    source = medzoo.open_weights(tmp_path / file_name)
    assert source.format == format_name
    assert set(source) == set(arrays)
    for tensor, values in arrays.items():
        spec = source[tensor].spec
        found = (spec.name, spec.shape, spec.dtype, spec.role)
        assert found == (tensor, values.shape, str(values.dtype), role_of(tensor))
        read = np.asarray(source[tensor])
        assert read.dtype == values.dtype
        assert read.tobytes() == values.tobytes()
        assert source[tensor].moments() == measure_moments(values)


@pytest.mark.parametrize("name", SINGLE_FILES)
def test_a_file_is_known_by_its_content_not_its_name(
    name: str, tmp_path: Path, network: keras.Model, arrays: dict[str, np.ndarray]
) -> None:
    format_name, file_name, write = FORMATS[name]
    write(tmp_path / file_name, arrays, network)
    (tmp_path / file_name).rename(tmp_path / "weights")
    source = medzoo.open_weights(tmp_path / "weights")
    assert (source.format, len(source)) == (format_name, len(arrays))


#: One writer a reader, for arrays of any names and sizes.
PLAIN: dict[str, Callable[[Path, Arrays], object]] = {
    "legacy": lambda path, arrays: legacy()(path, arrays, None),
    "npz": lambda path, arrays: np.savez(path, **arrays),
    "npz_compressed": lambda path, arrays: np.savez_compressed(path, **arrays),
    "safetensors": lambda path, arrays: save_file(dict(arrays), path),
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "uint8", "bool"])
def test_other_dtypes_and_shapes_read_back_identical(name: str, dtype: str, tmp_path: Path) -> None:
    arrays = {
        "a/kernel": np.arange(24).reshape(2, 3, 4).astype(dtype),
        "a/scalar": np.array(1).astype(dtype),
        "a/empty": np.zeros((0, 3), dtype),
    }
    path = tmp_path / ("a.npz" if "npz" in name else "a")
    PLAIN[name](path, arrays)
    source = medzoo.open_weights(path)
    for tensor, values in arrays.items():
        assert source[tensor].spec.shape == values.shape
        assert source[tensor].spec.dtype == dtype
        assert np.array_equal(np.asarray(source[tensor]), values)


def peak_of(act: Callable[[], object]) -> int:
    """Measure the most memory that Python and NumPy held at once while `act` ran, in bytes."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", PLAIN)
def test_opening_reads_no_values(name: str, tmp_path: Path) -> None:
    values = np.zeros(2**22, "float32")
    path = tmp_path / ("a.npz" if "npz" in name else "a")
    PLAIN[name](path, {"a/kernel": values})
    medzoo.open_weights(path)  # imports are not what is measured
    opened = []
    # Headers of one tensor: a few kB; the values are 16 MB.
    assert peak_of(lambda: opened.append(medzoo.open_weights(path))) < 2**19
    assert peak_of(lambda: opened[0]["a/kernel"].read()) >= values.nbytes


def test_four_gigabytes_that_were_never_written_open_at_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = [b"a"]
        group = file.create_group("a")
        group.attrs["weight_names"] = [b"a/kernel:0"]
        group.create_dataset("a/kernel:0", shape=(2**15, 2**15), dtype="float32")
    opened = []
    assert peak_of(lambda: opened.append(medzoo.open_weights(tmp_path / "a.h5"))) < 2**19
    assert opened[0]["a/kernel"].spec.size == 2**30


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_our_weights_file_is_restored_exactly_by_keras(tmp_path: Path, dropout: float) -> None:
    target = medzoo.describe("cbr_tiny", classes=3, channels=2)
    rng = np.random.default_rng(3)
    values = {
        name: rng.uniform(0.1, 1, spec.shape).astype("float32") for name, spec in target.tensors.items()
    }
    source = medzoo.source_from_arrays(values)
    plan = medzoo.make_plan(source, target, recipes.copy())
    medzoo.write(plan, source, target, tmp_path / "a.weights.h5")
    model = medzoo.build("cbr_tiny", classes=3, channels=2, input_size=16, dropout=dropout)
    model.load_weights(tmp_path / "a.weights.h5")
    for variable in model.weights:
        assert np.asarray(variable).tobytes() == values[variable.path].tobytes(), variable.path
