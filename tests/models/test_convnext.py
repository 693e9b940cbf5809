"""ConvNeXt: published counts, Keras's files and outputs, its layer scale, its head's norm, dropped paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from round_trip import (
    LEGACY,
    assert_parts_end_where_they_say,
    assert_same_outputs,
    build_theirs,
    copy_into,
    count_macs,
    draw_pixels,
    list_drop_rates,
    save,
    shake,
)

import medzoo
from medzoo import recipes
from medzoo.contracts import find_scaled_inside
from medzoo.models.abstract import build_without_weights
from medzoo.models.convnext import LayerScale
from medzoo.models.describe import build_abstractly, describe_abstractly
from medzoo.models.rows.convnext import ROWS
from medzoo.specs import PREPROCESSINGS
from medzoo.tensors import Initializer, Role
from medzoo.weights import cards

#: Parameters with the head of 1000 classes, as keras.applications' own networks count them.
COUNTS = {
    "convnext_tiny": 28_589_128,
    "convnext_small": 50_223_688,
    "convnext_base": 88_591_464,
    "convnext_large": 197_767_336,
    "convnext_xlarge": 350_196_968,
}
#: Millions, by keras.applications' documentation (keras.io/api/applications).
DOCUMENTED = (28.6, 50.2, 88.5, 197.7, 350.1)

SCALES = "stage_0_block_0_layer_scale/gamma"


def test_the_rows_are_those_with_cards() -> None:
    listed = {card.name: card for card in cards.list_cards() if card.model.startswith("convnext")}
    assert {card.model for card in listed.values()} == set(ROWS) == set(COUNTS)
    for card in listed.values():
        spec = medzoo.find_model(card.model)
        assert (
            card.contract() == spec.preprocessing == find_scaled_inside(card.model) == PREPROCESSINGS["torch"]
        )
        assert card.input_size == spec.input_size
        assert card.dialect == f"keras_applications_{card.model}"


@pytest.mark.parametrize(("row", "count"), COUNTS.items())
def test_a_row_has_its_published_count(row: str, count: int) -> None:
    assert medzoo.describe(row).size == count


def test_the_published_counts_are_keras_s() -> None:
    with build_without_weights():
        assert keras.applications.ConvNeXtXLarge(weights=None).count_params() == COUNTS["convnext_xlarge"]


@pytest.mark.parametrize(("row", "millions"), list(zip(COUNTS, DOCUMENTED, strict=True)))
def test_the_documentation_rounds_the_same_counts(row: str, millions: float) -> None:
    assert abs(COUNTS[row] / 1e6 - millions) < 0.1


@pytest.mark.parametrize(("row", "billions"), list(zip(COUNTS, (4.5, 8.7, 15.4, 34.4, 60.9), strict=True)))
def test_multiplications_are_the_published_ones(row: str, billions: float) -> None:
    """Liu et al. 2022, table 1."""
    assert round(count_macs(row) / 1e9, 1) == billions


@LEGACY
def test_keras_s_file_gives_keras_s_logits(is_legacy: bool, tmp_path: Path) -> None:
    theirs = build_theirs(keras.applications.ConvNeXtTiny, input_shape=(64, 64, 3))
    path = save(theirs, tmp_path, is_legacy)
    source = medzoo.open_weights(path)
    assert source.dialect == "keras_applications_convnext_tiny"
    assert not any("unknown" in note for note in source.notes)
    ours, plan = copy_into("convnext_tiny", path, 64)
    assert plan.coverage == 1.0
    assert_same_outputs("convnext_tiny", ours, theirs, draw_pixels(64), scaled=True)


def test_a_file_without_top_holds_the_head_s_norm(tmp_path: Path) -> None:
    theirs = build_theirs(
        keras.applications.ConvNeXtTiny, include_top=False, pooling="avg", input_shape=(64, 64, 3)
    )
    path = save(theirs, tmp_path, is_legacy=True)
    ours, plan = copy_into("convnext_tiny", path, 64)
    assert {step.target.name for step in plan.steps if not step.uses_source} == {"head/kernel", "head/bias"}
    features = keras.Model(ours.input, ours.get_layer("head_norm").output)
    assert_same_outputs("convnext_tiny", features, theirs, draw_pixels(64), scaled=True)


def test_a_file_is_written_as_it_was_read(tmp_path: Path) -> None:
    from medzoo.weights.dialects.dialect import invert
    from medzoo.weights.dialects.table import find_dialect

    for size in ("tiny", "xlarge"):
        dialect = find_dialect(f"keras_applications_convnext_{size}")
        tensors = medzoo.describe(f"convnext_{size}").tensors
        source = medzoo.source_from_arrays({name: np.zeros(1, "float32") for name in tensors})
        names = set(invert(source, dialect))
        with build_without_weights():
            theirs = getattr(keras.applications, {"tiny": "ConvNeXtTiny", "xlarge": "ConvNeXtXLarge"}[size])
            paths = [variable.path for variable in theirs(weights=None).weights]
        # Keras 3 numbers the variables that have no name.
        expected = {
            path.split("/variable")[0] + "/Variable" if "/variable" in path else path for path in paths
        }
        assert names == expected


def test_layers_are_called_the_same_in_every_size() -> None:
    names = {row: set(medzoo.describe(row).tensors) for row in ROWS}
    assert names["convnext_tiny"] < names["convnext_small"]
    assert all(names[row] == names["convnext_small"] for row in ROWS if row != "convnext_tiny")
    assert "stem_conv/kernel" in names["convnext_tiny"]


@pytest.mark.parametrize("row", ["convnext_tiny", "convnext_base"])
def test_stages_are_keras_s_blocks(row: str) -> None:
    spec = medzoo.find_model(row)
    model = build_abstractly(spec, 2, 1, 64)
    assert_parts_end_where_they_say(model, spec)
    assert all(isinstance(operation, keras.layers.Layer) for operation in model.operations)
    assert [stage.name for stage in spec.stages] == [
        *("stem", "stage_0", "downsampling_0", "stage_1", "downsampling_1", "stage_2", "downsampling_2"),
        *("stage_3", "head"),
    ]
    assert [len(stage.blocks) for stage in spec.stages][1::2] == [
        3,
        3,
        9 if row == "convnext_tiny" else 27,
        3,
    ]
    assert [layer.name for layer in model.layers][-4:] == ["head_pool", "head_norm", "head_dropout", "head"]


def test_a_network_that_is_cut_has_no_norm_in_its_head() -> None:
    model = build_abstractly(medzoo.find_model("convnext_tiny@stage_1_block_1"), 2, 3, 64)
    names = [layer.name for layer in model.layers]
    assert names[-4:] == ["stage_1_block_1_add", "head_pool", "head_dropout", "head"]


def test_the_layer_scale_starts_and_is_reset_to_its_own_value() -> None:
    """A transplant of statistics makes norms neutral: for this scale that is 1e-6; 1 would be another network."""
    target = describe_abstractly(medzoo.find_model("convnext_tiny"), 2, 3)
    spec = target.tensors[SCALES]
    assert (spec.role, spec.initializer) == (Role.NORM_SCALE, Initializer("constant", 1e-6))
    rng = np.random.default_rng(0)
    cut = medzoo.describe("convnext_tiny@stage_0_block_0", classes=2)
    source = medzoo.source_from_arrays(
        {name: rng.normal(size=tensor.shape).astype("float32") for name, tensor in cut.tensors.items()}
    )
    from medzoo.transplant.run import run

    made = dict(run(medzoo.make_plan(source, cut, recipes.stats()), source))
    np.testing.assert_array_equal(made[SCALES], np.full(96, 1e-6, "float32"))
    np.testing.assert_array_equal(made["stage_0_block_0_layernorm/gamma"], np.ones(96, "float32"))
    kept = dict(run(medzoo.make_plan(source, cut, recipes.stats(norm="keep")), source))
    np.testing.assert_array_equal(kept[SCALES], np.asarray(source[SCALES]))


def test_the_layer_scale_is_what_keras_s_is(tmp_path: Path) -> None:
    image = keras.Input((2, 2, 3))
    model = keras.Model(image, LayerScale(0.5, name="scale")(image))
    inputs = np.arange(12, dtype="float32").reshape(1, 2, 2, 3)
    np.testing.assert_array_equal(np.asarray(model(inputs)), inputs / 2)
    model.get_layer("scale").gamma.assign([1.0, 2.0, 3.0])
    model.save(tmp_path / "scale.keras")
    again = keras.saving.load_model(tmp_path / "scale.keras")
    np.testing.assert_array_equal(np.asarray(again(inputs)), inputs * [1, 2, 3])
    assert again.get_layer("scale").get_config()["start"] == 0.5
    assert [variable.path for variable in model.weights] == ["scale/gamma"]


def test_our_own_file_comes_back(tmp_path: Path) -> None:
    """Keras numbers the variables of a layer that is not its own; the network's layout names them again."""
    model = shake(medzoo.build("convnext_tiny@stage_0", classes=2, input_size=32))
    model.save_weights(tmp_path / "own.weights.h5")
    twin, plan = copy_into("convnext_tiny@stage_0", _rewrite(model, tmp_path), 32, classes=2)
    assert plan.coverage == 1.0
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(
        np.asarray(model(images, training=False)), np.asarray(twin(images, training=False))
    )


def _rewrite(model: Any, folder: Path) -> Path:
    """Write a network's own weights by way of a plan, from the file that Keras wrote."""
    target = medzoo.describe(model)
    source = medzoo.align(medzoo.open_weights(folder / "own.weights.h5"), target)
    medzoo.write(
        medzoo.make_plan(source, target, recipes.copy()), source, target, folder / "again.weights.h5"
    )
    return folder / "again.weights.h5"


def test_paths_are_dropped_at_rates_that_rise_to_the_last() -> None:
    with build_without_weights():
        rates = list(list_drop_rates(medzoo.build("convnext_tiny", input_size=64, drop_path=0.34)).values())
        without = medzoo.build("convnext_tiny", input_size=64)
    assert rates == pytest.approx([0.02 * index for index in range(18)])
    assert set(list_drop_rates(without).values()) == {0.0}


def test_dropping_paths_leaves_inference_as_it_is() -> None:
    model = shake(medzoo.build("convnext_tiny@stage_0", classes=2, input_size=32, drop_path=0.9))
    images = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32")
    branch = keras.Model(model.input, model.get_layer("stage_0_block_2_drop").output)
    whole = np.asarray(branch(images, training=False))
    dropped = np.asarray(branch(images, training=True))
    assert (whole != 0).all()
    # A path is dropped for an image as a whole, and what is kept is larger by as much.
    gone = (dropped == 0).all(axis=(1, 2, 3))
    assert gone.any()
    assert all((row != 0).all() for row in dropped[~gone])
