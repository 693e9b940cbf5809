"""`describe`, `make_plan` and `apply` on Keras models that are not ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import medzoo
from medzoo import recipes
from medzoo.errors import PlanError, WeightsError
from medzoo.tensors import Source
from medzoo.transplant.plan import Rule
from medzoo.wiring import IMAGE


class Subclassed(keras.Model):
    """Two dense layers whose attributes sort the other way round than they are called."""

    def __init__(self) -> None:
        super().__init__(name="subclassed")
        self.second = keras.layers.Dense(3, name="lower")
        self.first = keras.layers.Dense(2, name="upper")

    def call(self, inputs: object) -> object:
        return self.first(self.second(inputs))


def make_subclassed() -> keras.Model:
    model = Subclassed()
    model(np.zeros((1, 4), "float32"))
    return model


def make_sequential() -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="c"), layers.Flatten(), layers.Dense(2, name="d")],
        name="row",
    )


def make_nested() -> keras.Model:
    inner_input = keras.Input((8, 8, 3))
    inner_output = keras.layers.BatchNormalization(name="bn")(
        keras.layers.Conv2D(4, 3, name="conv")(inner_input)
    )
    inner = keras.Model(inner_input, inner_output, name="inner")
    outer = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inner(outer))
    return keras.Model(outer, keras.layers.Dense(2, name="top")(pooled), name="outer")


def make_twins() -> keras.Model:
    """Two nested models whose inner layers share their names."""
    outer = keras.Input((4,))
    parts = []
    for name in ("left", "right"):
        inputs = keras.Input((4,))
        part = keras.Model(inputs, keras.layers.Dense(3, name="dense")(inputs), name=name)
        parts.append(part(outer))
    return keras.Model(outer, keras.layers.Add()(parts), name="twins")


def make_application() -> keras.Model:
    return keras.applications.MobileNetV3Small(
        input_shape=(32, 32, 3), weights=None, classes=4, minimalistic=True
    )


MODELS: dict[str, Callable[[], keras.Model]] = {
    "application": make_application,
    "sequential": make_sequential,
    "nested": make_nested,
    "twins": make_twins,
    "subclassed": make_subclassed,
}
EVERY_MODEL = pytest.mark.parametrize("name", MODELS)


def fill(model: keras.Model, arrays_for: Callable[..., dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    target = medzoo.describe(model)
    arrays = arrays_for(target)
    source = medzoo.source_from_arrays(arrays)
    medzoo.apply(medzoo.make_plan(source, target, [Rule("*", "copy")]), source, model)
    return arrays


@EVERY_MODEL
def test_every_tensor_of_any_keras_model_is_filled(
    name: str, arrays_for: Callable[..., dict[str, np.ndarray]]
) -> None:
    model = MODELS[name]()
    arrays = fill(model, arrays_for)
    assert len(arrays) == len(model.weights)
    assert medzoo.describe(model).size == model.count_params()
    filled = [np.asarray(variable).tobytes() for variable in model.weights]
    assert filled == [values.tobytes() for values in arrays.values()]


@EVERY_MODEL
def test_a_weights_file_for_any_keras_model_is_right_or_refused(
    name: str, arrays_for: Callable[..., dict[str, np.ndarray]], tmp_path: Path
) -> None:
    """Where the layout that Keras will expect is not known, nothing is written."""
    model = MODELS[name]()
    target = medzoo.describe(model)
    arrays = arrays_for(target)
    source = medzoo.source_from_arrays(arrays)
    plan = medzoo.make_plan(source, target, [Rule("*", "copy")])
    if name == "subclassed":
        assert target.storage == {}
        with pytest.raises(PlanError, match=r"layout in a .weights.h5 is not known"):
            medzoo.write(plan, source, target, tmp_path / "a.weights.h5")
        return
    medzoo.write(plan, source, target, tmp_path / "a.weights.h5")
    model.load_weights(tmp_path / "a.weights.h5")
    filled = [np.asarray(variable).tobytes() for variable in model.weights]
    assert filled == [values.tobytes() for values in arrays.values()]


def test_equal_paths_are_numbered(arrays_for: Callable[..., dict[str, np.ndarray]]) -> None:
    tensors = medzoo.describe(make_twins()).tensors
    assert list(tensors) == ["dense/kernel", "dense/bias", "dense/kernel#2", "dense/bias#2"]


def test_feeds_name_the_layers_that_supply_channels() -> None:
    inputs = keras.Input((8, 8, 3))
    left = keras.layers.Conv2D(2, 3, padding="same", name="left")(inputs)
    left = keras.layers.DepthwiseConv2D(3, padding="same", name="spread")(left)
    right = keras.layers.Conv2D(3, 3, padding="same", name="right")(inputs)
    both = keras.layers.BatchNormalization(name="bn")(keras.layers.Concatenate()([left, right]))
    image_too = keras.layers.Concatenate()([both, inputs])
    out = keras.layers.Conv2D(4, 1, name="out")(image_too)
    feeds = medzoo.describe(keras.Model(inputs, out)).feeds
    assert {layer: str(channels) for layer, channels in feeds.items()} == {
        "left": "<input>",
        "right": "<input>",
        "spread": "left",
        "bn": "concat(left,right)",
        "out": "concat(left,right,<input>)",
    }


def test_a_copy_between_two_models_gives_equal_outputs(tmp_path: Path) -> None:
    first, second = make_application(), make_application()
    first.save_weights(tmp_path / "a.weights.h5")
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    expected = np.asarray(first(images))
    assert not np.array_equal(np.asarray(second(images)), expected)
    # The target is keras.applications' own: its head is called `logits`, as in the file.
    source = medzoo.open_weights(tmp_path / "a.weights.h5", dialect="keras")
    medzoo.apply(medzoo.make_plan(source, medzoo.describe(second), recipes.copy()), source, second)
    assert np.isfinite(expected).all()
    assert np.array_equal(np.asarray(second(images)), expected)


def test_nothing_is_assigned_to_a_model_with_other_tensors(tiny: Source) -> None:
    target = medzoo.describe("cbr_tiny", classes=2, channels=1)
    plan = medzoo.make_plan(tiny, target, recipes.copy())
    others = {
        "'block1_conv/kernel' is 5×5×3×32 in the model; expected 5×5×1×32 as planned": medzoo.build(
            "cbr_tiny", classes=2, channels=3, input_size=16
        ),
        "'head/kernel' is 256×3 in the model; expected 256×2": medzoo.build(
            "cbr_tiny", classes=3, channels=1, input_size=16
        ),
        "the plan has no step for .'block5_conv/kernel'": medzoo.build(
            "cbr_large_t", classes=2, channels=1, input_size=16
        ),
    }
    for message, model in others.items():
        before = [np.asarray(variable).tobytes() for variable in model.weights]
        with pytest.raises(PlanError, match=message):
            medzoo.apply(plan, tiny, model)
        assert [np.asarray(variable).tobytes() for variable in model.weights] == before


def test_nothing_is_assigned_from_another_source(tiny: Source, tiny_arrays: dict[str, np.ndarray]) -> None:
    model = medzoo.build("cbr_tiny", classes=5, channels=3, input_size=16)
    plan = medzoo.make_plan(tiny, medzoo.describe(model), recipes.copy())
    other = medzoo.source_from_arrays({n: v + 1 for n, v in tiny_arrays.items()})
    before = [np.asarray(variable).tobytes() for variable in model.weights]
    with pytest.raises(PlanError, match=r"has digest sha256:.*; expected .*sha256:"):
        medzoo.apply(plan, other, model)
    assert [np.asarray(variable).tobytes() for variable in model.weights] == before


def test_a_model_that_was_never_built_is_refused(tiny: Source) -> None:
    with pytest.raises(PlanError, match="has no weights yet"):
        medzoo.describe(Subclassed())
    with pytest.raises(PlanError, match="has no weights yet"):
        medzoo.describe(keras.Sequential([keras.layers.Dense(2)]))


def test_a_model_is_filled_with_what_the_file_would_hold(tiny: Source, tmp_path: Path) -> None:
    rules = recipes.stats(norm="keep")
    model = medzoo.build("cbr_tiny", classes=2, channels=1, input_size=16)
    plan = medzoo.make_plan(tiny, medzoo.describe(model), rules, seed=8)
    medzoo.apply(plan, tiny, model)
    target = medzoo.describe("cbr_tiny", classes=2, channels=1)
    medzoo.write(medzoo.make_plan(tiny, target, rules, seed=8), tiny, target, tmp_path / "a.safetensors")
    written = medzoo.open_weights(tmp_path / "a.safetensors")
    for variable in model.weights:
        assert np.asarray(variable).tobytes() == np.asarray(written[variable.path]).tobytes()


def test_a_layer_shared_by_two_nested_models_is_stored_where_keras_stores_it(tmp_path: Path) -> None:
    shared = keras.layers.Dense(3, name="shared")
    first, second = (keras.Sequential([keras.Input((3,)), shared], name=name) for name in ("first", "second"))
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="last")(second(first(inputs))))
    target = medzoo.describe(model)
    model.save_weights(tmp_path / "keras.weights.h5")
    with h5py.File(tmp_path / "keras.weights.h5") as file:
        for name, path in target.storage.items():
            assert file[path].shape == target.tensors[name].shape, name
    assert len(target.storage) == 4


def test_an_lstm_keeps_its_own_start() -> None:
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, keras.layers.LSTM(2, name="lstm")(inputs))
    target = medzoo.describe(model)
    bias = next(spec for name, spec in target.tensors.items() if name.endswith("bias"))
    assert bias.initializer is None
    plan = medzoo.make_plan(medzoo.source_from_arrays({}), target, recipes.random())
    assert {step.method for step in plan.steps if step.target.name == bias.name} == {"keep"}


def _filled_with(model: keras.Model, source: Source, **options: object) -> float:
    plan = medzoo.make_plan(source, medzoo.describe(model), recipes.copy(), **options)
    medzoo.apply(plan, source, model)
    return plan.coverage


def test_a_keras_application_takes_its_own_weights_when_names_are_kept(tmp_path: Path) -> None:
    def build() -> keras.Model:
        return keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=5)

    build().save_weights(tmp_path / "own.weights.h5")
    with pytest.raises(PlanError):
        _filled_with(build(), medzoo.open_weights(tmp_path / "own.weights.h5"))
    source = medzoo.open_weights(tmp_path / "own.weights.h5", dialect="keras")
    assert _filled_with(build(), source) == 1.0
    with pytest.raises(WeightsError, match=r"unknown dialect 'kera'; expected one of 'keras'"):
        medzoo.open_weights(tmp_path / "own.weights.h5", dialect="kera")


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_a_nested_backbone_gets_its_channels_adapted(kind: str) -> None:
    backbone = keras.applications.MobileNet((32, 32, 1), alpha=0.25, weights=None, include_top=False)
    parts = [backbone, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, name="head")]
    if kind == "sequential":
        model = keras.Sequential([keras.Input((32, 32, 1)), *parts])
    else:
        inputs = outputs = keras.Input((32, 32, 1))
        for part in parts:
            outputs = part(outputs)
        model = keras.Model(inputs, outputs)
    target = medzoo.describe(model)
    assert target.feeds["conv1"] == IMAGE
    assert target.feeds["head"].makers == ("conv_pw_13",)
    shapes = medzoo.describe("mobilenet_025", classes=3, channels=3).tensors
    generator = np.random.default_rng(0)
    source = medzoo.source_from_arrays(
        {name: generator.random(spec.shape, np.float32) for name, spec in shapes.items()}
    )
    assert _filled_with(model, source) == 1.0
    summed = np.asarray(source["conv1/kernel"]).astype(np.float64).sum(axis=2, keepdims=True)
    np.testing.assert_allclose(backbone.get_layer("conv1").kernel.numpy(), summed, rtol=1e-6)


def test_a_whole_sequential_model_saved_as_h5_fits_itself(tmp_path: Path) -> None:
    def build() -> keras.Sequential:
        layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3, name="c"), keras.layers.Flatten()]
        return keras.Sequential([*layers, keras.layers.Dense(2, name="head")])

    build().save(tmp_path / "whole.h5")
    assert _filled_with(build(), medzoo.open_weights(tmp_path / "whole.h5")) == 1.0


@pytest.mark.parametrize(
    ("source", "target", "rules", "words"),
    [
        ("a.h5", medzoo.describe("cbr_tiny"), recipes.copy(), "a source of type str"),
        (medzoo.source_from_arrays({}), None, recipes.copy(), "a target of type NoneType"),
        (medzoo.source_from_arrays({}), medzoo.describe("cbr_tiny"), "stats", "what a recipe gives"),
    ],
)
def test_wrong_arguments_are_named(source: object, target: object, rules: object, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        medzoo.make_plan(source, target, rules)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="a built Keras model"):
        medzoo.describe(3)
