"""MobileNetV2 and V3: published counts, Keras's files and outputs, widths that nobody published."""

from __future__ import annotations

import re
from pathlib import Path

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
    save,
)

import medzoo
from medzoo import recipes
from medzoo.errors import ConfigError, PlanError
from medzoo.models.abstract import build_without_weights
from medzoo.models.describe import build_abstractly
from medzoo.models.rows import mobilenet_v2, mobilenet_v3
from medzoo.models.rows.mobilenet_v2 import round_channels
from medzoo.specs import HEAD, PREPROCESSINGS, list_parts
from medzoo.weights import cards
from medzoo.weights.dialects.table import find_dialect, speak

#: Parameters with the head of 1000 classes, as keras.applications' own networks count them.
COUNTS = {
    "mobilenet_v2_035": 1_691_208,
    "mobilenet_v2_050": 1_987_224,
    "mobilenet_v2_075": 2_663_064,
    "mobilenet_v2_100": 3_538_984,
    "mobilenet_v2_130": 5_431_048,
    "mobilenet_v2_140": 6_156_712,
    "mobilenet_v3_large_075": 4_012_616,
    "mobilenet_v3_large_100": 5_507_432,
    "mobilenet_v3_large_minimalistic": 3_948_688,
    "mobilenet_v3_small_075": 2_051_552,
    "mobilenet_v3_small_100": 2_554_968,
    "mobilenet_v3_small_minimalistic": 2_056_848,
}
#: Millions, by the tables of keras.applications' documentation (its modules' docstrings).
DOCUMENTED = {
    **{
        "mobilenet_v2_140": 6.06,
        "mobilenet_v2_130": 5.34,
        "mobilenet_v2_100": 3.47,
        "mobilenet_v2_075": 2.61,
    },
    **{"mobilenet_v2_050": 1.95, "mobilenet_v2_035": 1.66},
    **{"mobilenet_v3_large_100": 5.4, "mobilenet_v3_large_075": 4.0, "mobilenet_v3_large_minimalistic": 3.9},
    **{"mobilenet_v3_small_100": 2.9, "mobilenet_v3_small_075": 2.4, "mobilenet_v3_small_minimalistic": 2.0},
}


def _construct(row: str, **options: object) -> keras.Model:
    """Build keras.applications' network of a row."""
    values = dict(medzoo.find_model(row).options)
    constructor = getattr(keras.applications, str(values.pop("constructor", "MobileNetV2")))
    return build_theirs(constructor, **values, **options)


def test_the_rows_are_those_with_cards() -> None:
    families = {"mobilenet_v2": mobilenet_v2.ROWS, "mobilenet_v3": mobilenet_v3.ROWS}
    for family, rows in families.items():
        assert set(rows) == {card.model for card in cards.list_cards() if card.model.startswith(family)}
        assert {medzoo.find_model(row).family for row in rows} == {family}
        assert {medzoo.find_model(row).preprocessing for row in rows} == {PREPROCESSINGS["tf"]}
    assert set(COUNTS) == {*mobilenet_v2.ROWS, *mobilenet_v3.ROWS}


@pytest.mark.parametrize(("row", "count"), COUNTS.items())
def test_a_row_has_its_published_count(row: str, count: int) -> None:
    assert medzoo.describe(row).size == count


@pytest.mark.parametrize("row", ["mobilenet_v2_130", "mobilenet_v3_small_075"])
def test_the_published_counts_are_keras_s(row: str) -> None:
    values = dict(medzoo.find_model(row).options)
    constructor = getattr(keras.applications, str(values.pop("constructor", "MobileNetV2")))
    with build_without_weights():
        assert constructor(weights=None, **values).count_params() == COUNTS[row]


@pytest.mark.parametrize(("row", "millions"), DOCUMENTED.items())
def test_the_documentation_rounds_the_same_counts(row: str, millions: float) -> None:
    # It leaves moving statistics out, and MobileNetV3 Small's do not follow from any count of its network.
    moving = sum(
        spec.size for spec in medzoo.describe(row).tensors.values() if spec.role.value.startswith("moving")
    )
    trainable = (COUNTS[row] - moving) / 1e6
    assert abs(trainable - millions) < (0.5 if "small" in row else 0.1)


@pytest.mark.parametrize(
    ("row", "millions"),
    [
        # Sandler et al. 2018, table 4 (1.4, 1.0), and TensorFlow's table of checkpoints; Howard et al. 2019, table 3.
        *(
            ("mobilenet_v2_140", 585),
            ("mobilenet_v2_100", 300),
            ("mobilenet_v2_050", 97),
            ("mobilenet_v2_035", 59),
        ),
        *(("mobilenet_v3_large_100", 219), ("mobilenet_v3_large_075", 155), ("mobilenet_v3_small_100", 56)),
    ],
)
def test_multiplications_are_the_published_ones(row: str, millions: float) -> None:
    assert count_macs(row) / 1e6 == pytest.approx(millions, rel=0.02)


@LEGACY
@pytest.mark.parametrize("row", ["mobilenet_v2_035", "mobilenet_v3_small_100"])
def test_keras_s_file_gives_keras_s_logits(row: str, is_legacy: bool, tmp_path: Path) -> None:
    theirs = _construct(row, input_shape=(96, 96, 3))
    ours, plan = copy_into(row, save(theirs, tmp_path, is_legacy), 96)
    assert plan.coverage == 1.0
    assert_same_outputs(row, ours, theirs, draw_pixels(96), scaled="v3" in row)


@pytest.mark.parametrize("row", ["mobilenet_v3_large_075", "mobilenet_v3_small_minimalistic"])
def test_other_variants_of_v3_give_keras_s_logits(row: str, tmp_path: Path) -> None:
    theirs = _construct(row, input_shape=(64, 64, 3))
    ours, plan = copy_into(row, save(theirs, tmp_path), 64)
    assert plan.coverage == 1.0
    assert_same_outputs(row, ours, theirs, draw_pixels(64), scaled=True)


def test_a_file_without_top_fits_the_network_cut_below_the_pooled_convolution(tmp_path: Path) -> None:
    theirs = _construct("mobilenet_v3_small_100", include_top=False, input_shape=(64, 64, 3))
    path = save(theirs, tmp_path)
    ours, plan = copy_into("mobilenet_v3_small_100@last", path, 64)
    assert {step.target.name for step in plan.steps if not step.uses_source} == {"head/kernel", "head/bias"}
    features = keras.Model(ours.input, ours.get_layer("conv_1_act").output)
    assert_same_outputs("mobilenet_v3_small_100", features, theirs, draw_pixels(64), scaled=True)
    with pytest.raises(PlanError, match="conv_2/kernel"):
        medzoo.make_plan(medzoo.open_weights(path), medzoo.describe("mobilenet_v3_small_100"), recipes.copy())


@pytest.mark.parametrize("row", mobilenet_v3.ROWS)
def test_a_file_with_keras_2_s_names_fits_the_row(row: str) -> None:
    target = medzoo.describe(row).tensors
    theirs = {_write_as_keras_2(name): name for name in target}
    assert sum("/BatchNorm/" in name for name in theirs) > 100
    shapes = {name: target[ours].shape for name, ours in theirs.items()}
    shapes["Logits/kernel"] = (1, 1, *shapes["Logits/kernel"])
    source = medzoo.source_from_arrays({name: np.zeros(shape, "float32") for name, shape in shapes.items()})
    dialect, tensors, notes = speak(source, "a file")
    assert dialect == "keras_applications_mobilenet_v3"
    assert notes == ()
    assert {name: tensor.spec.shape for name, tensor in tensors.items()} == {
        name: spec.shape for name, spec in target.items()
    }


def _write_as_keras_2(name: str) -> str:
    """Give a tensor the name that mobilenet_v3.py of Keras 2 gave it."""
    name = re.sub(r"^(expanded_conv(?:_\d+)?)_(?=[a-z])", r"\1/", name)
    name = name.replace("squeeze_excite_conv", "squeeze_excite/Conv").replace("_bn/", "/BatchNorm/")
    return "Logits" + name.removeprefix(HEAD) if name.startswith(HEAD) else re.sub("^conv", "Conv", name)


def test_torchvision_s_names_of_v2_are_those_of_the_row() -> None:
    dialect = find_dialect("torch_mobilenet_v2")
    names = {entry.ours for entry in dialect.entries}
    assert set(medzoo.describe("mobilenet_v2_100").tensors) <= names


@pytest.mark.parametrize("alpha", [0.05, 0.25, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("row", ["mobilenet_v2_100", "mobilenet_v3_large_100", "mobilenet_v3_small_100"])
def test_any_width_has_its_stages(row: str, alpha: float) -> None:
    """Whether a block ends with a sum depends on the rounded widths."""
    spec = medzoo.find_model(f"{row}+alpha={alpha}")
    assert_parts_end_where_they_say(build_abstractly(spec, 2, 3, 64), spec)


@pytest.mark.parametrize("channels", [0.1, 7.9, 11.2, 12, 20, 22.4, 100.8, 448, 1792])
def test_rounding_is_keras_s(channels: float) -> None:
    from keras.src.applications.mobilenet_v3 import _depth

    assert round_channels(channels) == _depth(channels)


@pytest.mark.parametrize("alpha", ["0", "-1", "nan", "inf", "9"])
@pytest.mark.parametrize("row", ["mobilenet_v2_050", "mobilenet_v3_small_075"])
def test_a_width_that_is_none_is_refused(row: str, alpha: str) -> None:
    with pytest.raises(ConfigError, match=f"alpha=.*for {row}.*; expected a factor on all channels, above 0"):
        medzoo.find_model(f"{row}+alpha={alpha}")


def test_blocks_are_the_papers() -> None:
    blocks = {row: [len(stage.blocks) for stage in medzoo.find_model(row).stages] for row in COUNTS}
    assert blocks["mobilenet_v2_100"] == [0, 1, 2, 3, 4, 3, 3, 1, 0, 0]
    assert blocks["mobilenet_v3_large_100"] == [0, 1, 2, 3, 4, 2, 3, 0, 0, 0]
    assert blocks["mobilenet_v3_small_100"] == [0, 1, 2, 3, 2, 3, 0, 0, 0]


def test_every_stage_has_one_width() -> None:
    for row in ("mobilenet_v2_100", "mobilenet_v3_large_100", "mobilenet_v3_small_100"):
        spec = medzoo.find_model(row)
        model = build_abstractly(spec, 2, 3)
        outputs = [
            [model.get_layer(block.output).output.shape for block in stage.blocks] for stage in spec.stages
        ]
        assert all(len(set(shapes)) == 1 for shapes in outputs if shapes)


def test_the_hard_sigmoid_is_one_layer() -> None:
    spec = medzoo.find_model("mobilenet_v3_small_100")
    model = build_abstractly(spec, 2, 3, 64)
    gates = [layer for layer in model.layers if layer.name.endswith("squeeze_excite_conv_1_act")]
    assert len(gates) == 9
    assert {layer.activation for layer in gates} == {keras.activations.hard_sigmoid}
    assert all(isinstance(operation, keras.layers.Layer) for operation in model.operations)
    assert not any(
        layer.name[-1].isdigit() and layer.name.startswith(("re_lu", "act")) for layer in model.layers
    )


def test_cuts_build_nothing_above_them() -> None:
    spec = medzoo.find_model("mobilenet_v3_large_100@expanded_conv_6")
    model = build_abstractly(spec, 2, 3, 64)
    names = [layer.name for layer in model.layers]
    assert "expanded_conv_6_project_bn" in names
    assert not any(name.startswith(("expanded_conv_7", "conv_1", "conv_2", "top")) for name in names)
    assert list_parts(spec.stages)[-2].name == "expanded_conv_6"
