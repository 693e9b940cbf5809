"""Models of every shape, and how their files are read and refused, for the tests of Keras's files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from medzoo.errors import WeightsError
from medzoo.tensors import LazyTensor
from medzoo.weights.contents import Contents

Arrays = dict[str, np.ndarray]
OPTIMIZER_NOTE = "optimiser state left out"
BIAS, THREE = np.arange(5, dtype="float32"), np.arange(3, dtype="float32")


def read_all(tensors: Mapping[str, LazyTensor]) -> Arrays:
    return {name: tensor.read() for name, tensor in tensors.items()}


def check_equal(contents: Contents, arrays: Arrays) -> None:
    assert set(contents.tensors) == set(arrays)
    for name, values in read_all(contents.tensors).items():
        assert contents.tensors[name].spec.shape == values.shape
        assert np.array_equal(values, arrays[name]), name


def refuse(read: Callable[[Path], Contents], path: Path, message: str) -> None:
    """Read headers and values of what must be refused in one line that names the file."""

    def act() -> None:
        read_all(read(path).tensors)

    with pytest.raises(WeightsError, match=message) as error:
        act()
    assert "\n" not in str(error.value)
    assert "expected " in str(error.value)
    assert path.name in str(error.value)


def fill(model: keras.Model) -> Arrays:
    rng = np.random.default_rng(7)
    for variable in model.weights:
        variable.assign(rng.uniform(0.1, 1.0, variable.shape).astype("float32"))
    prefix = f"{model.name}/" if isinstance(model, keras.Sequential) else ""
    return {variable.path.removeprefix(prefix): np.asarray(variable) for variable in model.weights}


def make_inner(name: str) -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name=f"{name}_conv")(inputs)
    x = layers.BatchNormalization(name=f"{name}_bn", scale=False, center=False)(x)
    return keras.Model(inputs, x, name=name)


def make_nested() -> keras.Model:
    """Build a functional model with a functional and a sequential one in it, attention, and a dropout."""
    inputs = keras.Input((8, 8, 3))
    x = make_inner("inner")(inputs)
    x = layers.DepthwiseConv2D(3, name="spread", use_bias=False)(x)
    x = layers.Conv2D(6, 1, name="mix")(x)
    x = layers.BatchNormalization(name="even")(x)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    x = keras.Sequential([layers.Dense(4, name="first"), layers.Dense(3, name="second")], name="tail")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x), name="outer")


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__(name="own")
        self.stem = layers.Dense(3, name="stem_dense")
        self.lst = [layers.Dense(4), layers.Dense(5)]
        self.parts = {"q": layers.Dense(2)}
        self.attend = layers.MultiHeadAttention(2, 3, name="attend", dropout=0.1)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        x = self.stem(x)
        for layer in self.lst:
            x = layer(x)
        x = self.parts["q"](x)[:, None]
        return self.attend(x, x)


def train_a_step(model: keras.Model) -> None:
    model.compile("adam", "mse", metrics=["mae"])
    model.train_on_batch(np.zeros((2, 8, 8, 3)), np.zeros((2, 2)))


def delete_names(path: Path) -> None:
    """Make a file of Keras before 3.6, which differs from a later one in this alone."""

    def delete(_: str, item: object) -> None:
        if isinstance(item, h5py.Group) and "name" in item.attrs:
            del item.attrs["name"]

    content = path.read_bytes()
    path.unlink()  # readers hold the old one open
    path.write_bytes(content)
    with h5py.File(path, "r+") as file:
        file.visititems(delete)


def write_v3(path: Path, groups: Mapping[str, int], **attributes: str) -> None:
    """Write groups with so many variables each, of three values, without names."""
    path.unlink(missing_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
        for place, count in groups.items():
            variables = file.create_group(f"{place}/vars")
            for number in range(count):
                variables.create_dataset(str(number), data=THREE + number)
