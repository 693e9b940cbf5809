"""TensorFlow checkpoints and SavedModels: weights by name, without optimisers; damage is refused."""

from __future__ import annotations

import builtins
import contextlib
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from medzoo.errors import WeightsError
from medzoo.tensors import Role
from medzoo.weights.contents import Contents
from medzoo.weights.formats import tf_checkpoint

Arrays = dict[str, np.ndarray]
OPTIMIZER_NOTE = "optimiser state left out"


def make_network() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="stem")(inputs)
    x = layers.BatchNormalization(name="even")(x)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Dense(2, name="head")(x), name="toy")
    model.compile("adam", "mse", metrics=["mae"])
    model.train_on_batch(np.zeros((2, 8, 8, 3)), np.zeros((2, 2)))
    return model


def fill(model: keras.Model) -> Arrays:
    rng = np.random.default_rng(7)
    for variable in model.weights:
        variable.assign(rng.uniform(0.1, 1.0, variable.shape).astype("float32"))
    return {variable.path: np.asarray(variable) for variable in model.weights}


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return make_network()


@pytest.fixture(scope="module")
def arrays(network: keras.Model) -> Arrays:
    return fill(network)


def check_equal(contents: Contents, arrays: Arrays) -> None:
    assert set(contents.tensors) == set(arrays)
    for name, values in arrays.items():
        spec = contents.tensors[name].spec
        assert (spec.name, spec.shape, spec.dtype) == (name, values.shape, str(values.dtype))
        assert np.array_equal(contents.tensors[name].read(), values), name


def refuse(path: Path, message: str) -> None:
    """Read headers and values of what must be refused in one line that names the path."""

    def act() -> None:
        for tensor in tf_checkpoint.read_headers(path).tensors.values():
            tensor.read()

    with pytest.raises(WeightsError, match=message) as error:
        act()
    assert "\n" not in str(error.value)
    assert "expected " in str(error.value)
    assert path.name in str(error.value)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_keras_model_s_checkpoint(
    tmp_path: Path, network: keras.Model, arrays: Arrays, wrapped: bool
) -> None:
    """TensorFlow keeps trained weights under the optimiser's list of them, whose key is the shorter one."""
    parts = {"model": network, "optimizer": network.optimizer} if wrapped else {"root": network}
    prefix = Path(tf.train.Checkpoint(**parts).write(str(tmp_path / "x")))
    contents = tf_checkpoint.read_headers(prefix)
    check_equal(contents, arrays)
    assert contents.notes == (OPTIMIZER_NOTE,)
    assert contents.tensors["even/gamma"].spec.role is Role.NORM_SCALE
    assert contents.files == (tmp_path / "x.index", tmp_path / "x.data-00000-of-00001")
    keys = [key for key, _ in tf.train.list_variables(str(prefix))]
    assert any(key.startswith("optimizer/_trainable_variables") for key in keys) == wrapped


@pytest.mark.parametrize("name", ["", "x-2", "x-2.index", "x-2.data-00000-of-00001"])
def test_every_way_to_point_at_a_checkpoint(
    tmp_path: Path, network: keras.Model, arrays: Arrays, name: str
) -> None:
    saved = tf.train.Checkpoint(model=network)
    saved.save(str(tmp_path / "old" / "x"))
    saved.save(str(tmp_path / "old" / "x"))
    folder = (tmp_path / "old").rename(tmp_path / "moved here")
    assert tf_checkpoint.matches(folder / name)
    contents = tf_checkpoint.read_headers(folder / name)
    check_equal(contents, arrays)
    assert [file.name for file in contents.files] == ["x-2.index", "x-2.data-00000-of-00001"]


@pytest.mark.parametrize("name", ["a[1]", "a*", "a?"])
def test_a_path_that_tensorflow_would_take_for_a_pattern_is_refused(tmp_path: Path, name: str) -> None:
    for folder in (tmp_path / "a1", tmp_path / name):
        tf.train.Checkpoint(w=tf.Variable(1.0)).write(str(tmp_path / "x"))
        folder.mkdir()
        for file in tmp_path.glob("x.*"):
            file.rename(folder / file.name)
    refuse(tmp_path / name / "x", "lies at a path that TensorFlow takes for a pattern; .*; try renaming")


def test_other_paths_do_not_match(tmp_path: Path) -> None:
    (tmp_path / "a.h5").touch()
    assert not tf_checkpoint.matches(tmp_path)
    assert not tf_checkpoint.matches(tmp_path / "a.h5")
    assert not tf_checkpoint.matches(tmp_path / "missing")


def test_a_sequential_model_s_own_name_is_no_part_of_its_variables(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, name="a"), layers.Dense(2, name="b")])
    values = {name.removeprefix(f"{model.name}/"): array for name, array in fill(model).items()}
    tf.train.Checkpoint(model=model).write(str(tmp_path / "x"))
    assert "a/kernel" in values
    check_equal(tf_checkpoint.read_headers(tmp_path / "x"), values)
    inputs = keras.Input((3,))
    tail = keras.Sequential([layers.Dense(2, name="c")], name="tail")
    tf.train.Checkpoint(model=keras.Model(inputs, tail(inputs))).write(str(tmp_path / "y"))
    assert set(tf_checkpoint.read_headers(tmp_path / "y").tensors) == {"tail/c/kernel", "tail/c/bias"}


@pytest.mark.parametrize("export", [True, False])
def test_saved_models(tmp_path: Path, network: keras.Model, arrays: Arrays, export: bool) -> None:
    folder = tmp_path / "saved"
    if export:
        network.export(folder, verbose=False)
    else:
        tf.saved_model.save(network, str(folder))
    assert tf_checkpoint.matches(folder)
    (folder / "saved_model.pb").write_bytes(b"never read")
    contents = tf_checkpoint.read_headers(folder)
    check_equal(contents, arrays)
    assert {file.parent for file in contents.files} == {folder / "variables"}


class Module(tf.Module):
    """Two variables of one name, one of its own, one that is no number, and states of random draws."""

    def __init__(self) -> None:
        super().__init__("mine")
        self.first = tf.Variable(tf.constant([1.0, 2.0]), name="w")
        self.more = [tf.Variable(3, name="w", dtype="int64"), tf.Variable(True, name="flag")]
        self.half = tf.Variable(tf.constant([1.5, -3.0], "bfloat16"), name="half")
        self.text = tf.Variable("text", name="text")
        self.draws = tf.random.Generator.from_seed(1)


def test_variables_of_one_name_are_named_by_their_places(tmp_path: Path) -> None:
    tf.saved_model.save(Module(), str(tmp_path / "saved"))
    contents = tf_checkpoint.read_headers(tmp_path / "saved")
    expected = {"first": np.array([1, 2], "float32"), "more/0": np.array(3, "int64"), "flag": np.array(True)}
    check_equal(contents, expected | {"half": np.array([1.5, -3], "float32")})


def write_tensorflow_1(folder: Path, average_only: bool = False) -> Arrays:
    """Write a checkpoint of names alone, with the variables of three optimisers and moving averages."""
    v1 = tf.compat.v1
    with tf.Graph().as_default():
        kernel, bias = v1.get_variable("conv1/weights", (2, 3)), v1.get_variable("conv1/biases", (3,))
        step = v1.train.get_or_create_global_step()
        loss = tf.reduce_sum(kernel) + tf.reduce_sum(bias)
        v1.train.AdamOptimizer().minimize(loss, global_step=step)
        v1.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
        v1.train.RMSPropOptimizer(0.1).minimize(loss)
        averages = tf.train.ExponentialMovingAverage(0.9)
        averages.apply([kernel])
        saved = [averages.average(kernel), bias] if average_only else None
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            v1.train.Saver(saved).save(session, str(folder / "model.ckpt"), global_step=3)
            return {"conv1/weights": session.run(kernel), "conv1/biases": session.run(bias)}


def test_tensorflow_1_s_checkpoints(tmp_path: Path) -> None:
    values = write_tensorflow_1(tmp_path)
    contents = tf_checkpoint.read_headers(tmp_path / "model.ckpt-3")
    check_equal(contents, values)
    assert contents.notes == ("moving averages of the weights left out", OPTIMIZER_NOTE)


def test_moving_averages_without_the_weights_are_kept(tmp_path: Path) -> None:
    write_tensorflow_1(tmp_path, average_only=True)
    contents = tf_checkpoint.read_headers(tmp_path)
    assert set(contents.tensors) == {"conv1/weights/ExponentialMovingAverage", "conv1/biases"}
    assert contents.notes == ()


# --- damage --------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path, network: keras.Model, arrays: Arrays) -> Path:
    tf.train.Checkpoint(model=network).save(str(tmp_path / "x"))
    return tmp_path / "x-1"


@pytest.mark.parametrize("end", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("share", [0.0, *(tenths / 10 for tenths in range(1, 10)), 0.999])
def test_a_checkpoint_cut_off_anywhere_is_refused(checkpoint: Path, end: str, share: float) -> None:
    file = checkpoint.with_name(f"x-1.{end}")
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    refuse(checkpoint, "x-1 is a damaged checkpoint|x-1 claims .* bytes, and its data files hold")


@pytest.mark.parametrize("end", ["index", "data-00000-of-00001"])
def test_overwritten_bytes_are_refused_wherever_they_are(checkpoint: Path, end: str) -> None:
    """The format has checksums: no damage to what is read goes unseen."""
    file = checkpoint.with_name(f"x-1.{end}")
    content = file.read_bytes()
    refused = 0
    places = range(0, len(content) - 4, max(1, len(content) // 60))
    for place in places:
        file.write_bytes(content[:place] + b"\xff\x00\xff\x00" + content[place + 4 :])
        refused += 1
        with contextlib.suppress(WeightsError):
            for tensor in tf_checkpoint.read_headers(checkpoint).tensors.values():
                tensor.read()
            refused -= 1
    # Optimisers' values are not read, and a few bytes of the index's end mean nothing.
    assert refused > len(places) / 4


def test_missing_files_are_named(checkpoint: Path) -> None:
    data = checkpoint.with_name("x-1.data-00000-of-00001")
    two = data.rename(checkpoint.with_name("x-1.data-00000-of-00002"))
    refuse(checkpoint, r"x-1 lacks x-1\.data-00001-of-00002; expected all \.data files")
    two.unlink()
    refuse(checkpoint, r"x-1 lacks x-1\.data-00000-of-00001")
    checkpoint.with_name("x-1.index").unlink()
    refuse(checkpoint.parent, r"is a TensorFlow checkpoint without x-1\.index")
    refuse(checkpoint, "without x-1.index")


@pytest.mark.parametrize("text", ["", 'model_checkpoint_path: ""', 'model_checkpoint_path: "a/.."'])
def test_a_state_that_names_no_checkpoint_is_refused(checkpoint: Path, text: str) -> None:
    (checkpoint.parent / "checkpoint").write_text(text)
    with pytest.raises(WeightsError, match="checkpoint names no checkpoint"):
        tf_checkpoint.read_headers(checkpoint.parent)


def test_a_state_leads_nowhere_else(tmp_path: Path, checkpoint: Path) -> None:
    """A checkpoint elsewhere is never opened, whatever path is written; one of its name beside it is."""
    other = tmp_path / "other"
    other.mkdir()
    for path in (str(checkpoint), "../x-1", "..\\x-1"):
        (other / "checkpoint").write_text(f'model_checkpoint_path: "{path}"\n')
        with pytest.raises(WeightsError, match=r"other is a TensorFlow checkpoint without x-1\.index"):
            tf_checkpoint.read_headers(other)


def test_a_link_to_data_elsewhere_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    data = checkpoint.with_name("x-1.data-00000-of-00001")
    (tmp_path / "other").mkdir()
    data.symlink_to(data.rename(tmp_path / "other" / "secret"))
    refuse(checkpoint, r"x-1 keeps x-1\.data-00000-of-00001 elsewhere; expected all \.data files")


def test_data_of_another_checkpoint_are_refused(tmp_path: Path, checkpoint: Path) -> None:
    tf.train.Checkpoint(w=tf.Variable(1.0)).write(str(tmp_path / "y"))
    content = (tmp_path / "y.data-00000-of-00001").read_bytes()
    checkpoint.with_name("x-1.data-00000-of-00001").write_bytes(content)
    refuse(checkpoint, "x-1 claims [0-9,]+ bytes, and its data files hold")


def test_numbers_that_numpy_lacks_are_refused(tmp_path: Path) -> None:
    tf.train.Checkpoint(w=tf.Variable(1j, dtype="complex64")).write(str(tmp_path / "x"))
    refuse(tmp_path / "x", "x holds complex64 at 'w/.*; expected numbers that NumPy has")


def test_without_tensorflow_the_remedy_is_to_install_it(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse_tensorflow(name: str, *rest: object) -> object:
        if name.startswith("tensorflow"):
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse_tensorflow)
    with pytest.raises(WeightsError, match=r"TensorFlow is not installed; .*; try pip install tensorflow"):
        tf_checkpoint.read_headers(checkpoint)


def test_matching_imports_nothing(checkpoint: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from medzoo.weights.formats import tf_checkpoint as t\n"
        f"assert t.matches(Path({str(checkpoint)!r}))\nprint('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
