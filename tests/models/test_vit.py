"""Vision transformers: published counts, options, precision, drop path, their own layers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from medzoo.errors import ConfigError
from medzoo.models import vit
from medzoo.models.abstract import build_without_weights
from medzoo.models.attention import Attention, PositionEmbedding, PrefixTokens
from medzoo.models.rows.vit import CHANGES, ROWS, count_heads, describe_row
from medzoo.specs import ModelSpec, Scalar, list_parts

#: A transformer that builds in no time: 4 × 4 patches, two heads of four channels.
SMALL: dict[str, Scalar] = {**ROWS["vit_ti16"], "patch": 4, "depth": 3, "heads": 2, "head_size": 4}


@pytest.fixture
def precision() -> Iterator[Any]:
    """Set a precision policy; the earlier one comes back after the test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def build(spec: ModelSpec, size: int = 8, channels: int = 3, drop_path: float = 0.0) -> keras.Model:
    """Build all parts below the head."""
    inputs = keras.Input((size, size, channels), name="image")
    parts = list(vit.build_parts(spec, inputs, drop_path))
    outputs = [part.output for part in list_parts(spec.stages)[:-1]]
    assert [part._keras_history.operation.name for part in parts] == outputs
    return keras.Model(inputs, parts[-1], name="network")


def small(**changes: Scalar) -> ModelSpec:
    return describe_row("vit_ti16", {**SMALL, **changes})


def count(spec: ModelSpec, size: int = 224) -> int:
    """Count the backbone's weights without allocating them."""
    with build_without_weights():
        return int(build(spec, size).count_params())


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # timm's results/model_metadata and its model cards: param_count of *_patch16_224, *_patch32_224 and the
        # 1000-class vit_huge_patch14_224; the paper's tables round them (ViT-B/16 86 M, L 307 M, H 632 M).
        ("vit_ti16", 5_717_416),
        ("vit_s16", 22_050_664),
        ("vit_b16", 86_567_656),
        ("vit_l16", 304_326_632),
        ("vit_s32", 22_878_952),
        ("vit_b32", 88_224_232),
        ("vit_l32", 306_535_400),
        ("vit_h14", 632_045_800),
        ("deit_ti16", 5_717_416),
        ("deit_s16", 22_050_664),
        ("deit_b16", 86_567_656),
        ("deit_ti16_distilled", 5_910_800),
        ("deit_s16_distilled", 22_436_432),
        ("deit_b16_distilled", 87_338_192),
    ],
)
def test_published_counts(name: str, published: int) -> None:
    spec = describe_row(name, ROWS[name])
    heads, patch, prefix = (int(spec.options[key]) for key in ("heads", "patch", "prefix_tokens"))
    width, patches = heads * int(spec.options["head_size"]), (224 // patch) ** 2
    # Two norms, four square dense layers of attention, an MLP four times as wide: biases included.
    block = 2 * 2 * width + 4 * (width**2 + width) + (8 * width**2 + 5 * width)
    embed = 3 * patch**2 * width + width + prefix * width + (patches + prefix) * width
    logits = prefix * (width * 1000 + 1000)
    assert embed + int(spec.options["depth"]) * block + 2 * width + logits == published
    assert count(spec) + logits == published


def test_every_row_has_a_published_count_but_the_unpublished_one() -> None:
    assert set(ROWS) == {
        *(
            "vit_ti16",
            "vit_s16",
            "vit_b16",
            "vit_l16",
            "vit_ti32",
            "vit_s32",
            "vit_b32",
            "vit_l32",
            "vit_h14",
        ),
        *("deit_ti16", "deit_s16", "deit_b16"),
        *("deit_ti16_distilled", "deit_s16_distilled", "deit_b16_distilled"),
    }
    assert set(CHANGES) <= set(ROWS["vit_b16"])


@pytest.mark.parametrize(
    ("name", "preprocessing", "output", "patch"),
    [
        ("vit_b32", "tf", "head", 32),
        ("vit_h14", "tf", "head", 14),
        ("deit_s16", "torch", "head", 16),
        ("deit_b16_distilled", "torch", "head_average", 16),
    ],
)
def test_specs(name: str, preprocessing: str, output: str, patch: int) -> None:
    spec = describe_row(name, ROWS[name])
    assert (spec.family, spec.preprocessing.name, spec.stages[-1].output) == ("vit", preprocessing, output)
    assert (spec.multiple, spec.smallest_input, spec.input_size) == (patch, patch, 224)
    # A distilled network's two heads read two tokens.
    heads = ("token", "none") if name.endswith("distilled") else ("token", "gap", "none")
    assert (spec.sized, spec.heads) == (True, heads)


def test_layers_belong_to_one_stage_each() -> None:
    spec = small(pre_logits=True)
    for layer in build(spec).layers[1:]:
        assert sum(stage.holds(layer.name) for stage in spec.stages) == 1, layer.name


def test_names_do_not_hang_on_options(precision: Any) -> None:
    def name(model: keras.Model) -> list[str]:
        return [layer.name for layer in model.layers] + [weight.path for weight in model.weights]

    expected = name(build(small()))
    assert name(build(small(), size=16, channels=1, drop_path=0.3)) == expected
    assert name(build(small(width=1.5))) == expected
    precision("mixed_bfloat16")
    assert name(build(small())) == expected


def test_features_are_tokens_with_the_prefix_first() -> None:
    assert build(small(), size=12).output_shape == (None, 10, 8)
    assert build(small(prefix_tokens=2), size=12).output_shape == (None, 11, 8)


def test_depth_keeps_the_first_blocks() -> None:
    assert [stage.name for stage in small(depth=1).stages] == ["embed", "block1", "norm", "head"]
    keras.utils.set_random_seed(2)
    model = build(small())
    cut = build(small(depth=1))
    for weight in cut.weights:
        weight.assign(next(other for other in model.weights if other.path == weight.path))
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    lower = keras.Model(model.input, model.get_layer("block1_add2").output)
    # The cut network ends with the final norm.
    expected = np.asarray(model.get_layer("norm")(lower(images)))
    np.testing.assert_array_equal(np.asarray(cut(images)), expected)


def test_width_keeps_the_size_of_heads() -> None:
    spec = describe_row("vit_b16", {**ROWS["vit_b16"], "width": 0.5})
    with build_without_weights():
        model = build(spec, 224)
    assert model.output_shape == (None, 197, 384)
    assert model.get_layer("block1_attention").heads == 6
    # Half a B is an S.
    assert model.count_params() == count(describe_row("vit_s16", ROWS["vit_s16"]))
    assert count_heads("vit_b16", 12, 0.333) == 4


def test_pre_logits_are_a_dense_layer_and_tanh_after_the_norm() -> None:
    spec = small(pre_logits=True)
    assert spec.heads == ("token", "none")
    model = build(spec)
    images = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype("float32")
    normed = np.asarray(keras.Model(model.input, model.get_layer("norm").output)(images))
    kernel, bias = (np.asarray(value) for value in model.get_layer("pre_logits").weights)
    np.testing.assert_allclose(
        np.asarray(model(images)), np.tanh(normed @ kernel + bias), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("vit_b16", {"depth": 0}, "depth=0 for vit_b16; expected a whole number from 1 to 12"),
        ("vit_b16", {"depth": 13}, "from 1 to 12"),
        ("vit_l16", {"depth": 25}, "from 1 to 24"),
        ("vit_ti16", {"width": 0.5}, "0.3333, 0.6667, 1, … up to 8"),
        ("vit_b16", {"width": 0.7}, "0.08333, 0.1667, …, 0.9167, 1, … up to 8"),
        ("vit_b16", {"width": 0.0}, "a whole number of heads"),
        ("vit_b16", {"width": -1.0}, "a whole number of heads"),
        ("vit_b16", {"width": float("nan")}, "a whole number of heads"),
        ("vit_b16", {"width": float("inf")}, "a whole number of heads"),
        ("vit_b16", {"width": 9.0}, "up to 8"),
        ("vit_b16", {"epsilon": 0.0}, "above 0 and at most 0.001"),
        ("vit_b16", {"epsilon": float("nan")}, "above 0 and at most 0.001"),
        ("deit_b16_distilled", {"pre_logits": True}, "pre_logits=false"),
    ],
)
def test_refusals_name_the_allowed_values(name: str, change: dict[str, Scalar], words: str) -> None:
    with pytest.raises(ConfigError, match="expected") as refusal:
        describe_row(name, {**ROWS[name], **change})
    assert words in str(refusal.value)


def test_a_derived_name_stays_the_spec_s_own() -> None:
    spec = describe_row("deit_s16+depth=5", {**ROWS["deit_s16"], "depth": 5})
    assert (spec.name, spec.row, spec.preprocessing.name) == ("deit_s16+depth=5", "deit_s16", "torch")
    assert len(spec.stages) == 8


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_is_finite_and_near(policy: str, precision: Any) -> None:
    keras.utils.set_random_seed(4)
    expected = build(small())
    precision(policy)
    model = build(small())
    model.set_weights(expected.get_weights())
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert str(model.output.dtype) == policy.removeprefix("mixed_")
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    given = np.asarray(keras.ops.cast(model(images), "float32"))
    np.testing.assert_allclose(given, np.asarray(expected(images)), atol=0.1)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_scores_that_a_half_cannot_hold_do_not_overflow(dtype: str, precision: Any) -> None:
    precision(dtype)
    large = np.full((1, 5, 64), 90.0)  # the plain product is 518,400; float16 ends at 65,504
    given = np.asarray(keras.ops.cast(Attention(1)(large, large, large), "float32"))
    np.testing.assert_array_equal(given, large)


def test_drop_path_acts_in_training_only_and_on_whole_images() -> None:
    keras.utils.set_random_seed(1)
    plain, model = build(small()), build(small(), drop_path=0.9)
    model.set_weights(plain.get_weights())
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    np.testing.assert_allclose(rates, [0, 0, 0.45, 0.45, 0.9, 0.9])
    images = np.repeat(np.random.default_rng(0).normal(size=(1, 8, 8, 3)), 64, axis=0).astype("float32")
    np.testing.assert_array_equal(np.asarray(model(images, training=False)), np.asarray(plain(images)))
    before = keras.Model(model.input, [model.get_layer(f"block3_{name}").output for name in ("add1", "add2")])
    lower, upper = (np.asarray(value) for value in before(images, training=True))
    dropped = np.isclose(lower, upper).all(axis=(1, 2))
    assert 40 < dropped.sum() < 64
    # The branch of the images that keep it is ten times as strong.
    mlp = keras.Model(model.get_layer("block3_norm2").input, model.get_layer("block3_mlp2").output)
    kept = ~dropped
    expected = 10 * np.asarray(mlp(lower))[kept]
    np.testing.assert_allclose((upper - lower)[kept], expected, rtol=1e-3, atol=1e-4)


def test_a_saved_model_comes_back_with_its_layers(tmp_path: Path) -> None:
    model = build(small(prefix_tokens=2), drop_path=0.1)
    model.save(tmp_path / "a.keras")
    loaded = keras.saving.load_model(tmp_path / "a.keras")
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(np.asarray(loaded(images)), np.asarray(model(images)))
    assert [weight.path for weight in loaded.weights] == [weight.path for weight in model.weights]
    assert isinstance(loaded.get_layer("tokens"), PrefixTokens)
    assert isinstance(loaded.get_layer("positions"), PositionEmbedding)


def test_attention_against_numpy_and_its_macs_by_hand() -> None:
    rng = np.random.default_rng(0)
    query, key, value = rng.normal(size=(3, 2, 5, 6))
    layer = Attention(heads=3)
    given = np.asarray(layer(query, key, value))
    for head in range(3):
        part = slice(2 * head, 2 * head + 2)
        scores = np.exp(query[..., part] @ key[..., part].swapaxes(1, 2) / np.sqrt(2))
        expected = scores / scores.sum(-1, keepdims=True) @ value[..., part]
        np.testing.assert_allclose(given[..., part], expected, rtol=1e-4, atol=1e-5)
    # Three heads: 5 × 5 scores of 2 channels, then 5 × 2 sums over 5 values.
    assert layer.count_macs((5, 6), (5, 6), (5, 6)) == 3 * (5 * 5 * 2 + 5 * 2 * 5)


def test_tokens_come_first_in_their_order() -> None:
    layer = PrefixTokens(prefix_tokens=2)
    layer.build((None, 3, 4))
    layer.cls_token.assign(np.full((1, 1, 4), 1.0))
    layer.distillation_token.assign(np.full((1, 1, 4), 2.0))
    given = np.asarray(layer(np.full((2, 3, 4), 3.0)))
    assert given[:, :, 0].tolist() == [[1, 2, 3, 3, 3]] * 2
    assert layer.compute_output_shape((None, 3, 4)) == (None, 5, 4)


def test_a_builder_makes_nothing_above_the_part_asked_for() -> None:
    for part in vit.build_parts(small(), keras.Input((8, 8, 3)), 0.0):
        assert part._keras_history.operation._outbound_nodes == []


@pytest.mark.slow
def test_a_step_of_training_compiles_under_xla() -> None:
    inputs = keras.Input((8, 8, 3))
    *_, features = vit.build_parts(small(depth=2), inputs, 0.2)
    model = keras.Model(inputs, keras.layers.Flatten()(features))
    model.compile("sgd", "mse", jit_compile=True)
    history = model.fit(np.ones((2, 8, 8, 3)), np.ones((2, 40)), batch_size=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
