"""EfficientNet and EfficientNetV2: published counts, Keras's files and outputs, scaling, dropped paths."""

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
    scale,
    shake,
)

import medzoo
from medzoo import recipes
from medzoo.contracts import find_scaled_inside
from medzoo.errors import ConfigError
from medzoo.models.abstract import build_without_weights
from medzoo.models.describe import build_abstractly
from medzoo.models.rows import efficientnet, efficientnet_v2
from medzoo.specs import PREPROCESSINGS
from medzoo.weights import cards

#: Parameters with the head of 1000 classes, as keras.applications' own networks count them, without the mean,
#: the variance and the count that B0–B7 scale their input by: 7 values.
COUNTS = {
    "efficientnetb0": 5_330_571 - 7,
    "efficientnetb1": 7_856_239 - 7,
    "efficientnetb2": 9_177_569 - 7,
    "efficientnetb3": 12_320_535 - 7,
    "efficientnetb4": 19_466_823 - 7,
    "efficientnetb5": 30_562_527 - 7,
    "efficientnetb6": 43_265_143 - 7,
    "efficientnetb7": 66_658_687 - 7,
    "efficientnetv2_b0": 7_200_312,
    "efficientnetv2_b1": 8_212_124,
    "efficientnetv2_b2": 10_178_374,
    "efficientnetv2_b3": 14_467_622,
    "efficientnetv2_s": 21_612_360,
    "efficientnetv2_m": 54_431_388,
    "efficientnetv2_l": 119_027_848,
}
#: Millions, by keras.applications' documentation (keras.io/api/applications).
DOCUMENTED = (5.3, 7.9, 9.2, 12.3, 19.5, 30.6, 43.3, 66.7, 7.2, 8.2, 10.2, 14.5, 21.6, 54.4, 119.0)

MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _find_constructor(row: str) -> Any:
    """Give keras.applications' function of a row."""
    return getattr(keras.applications, str(medzoo.find_model(row).options["constructor"]))


def _set_normalization(model: keras.Model, variance: tuple[float, ...]) -> None:
    """Give the layer that EfficientNet scales by a mean and a variance, as its files do."""
    [layer] = [layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)]
    layer.adapt_mean.assign(np.float32(MEANS))
    layer.adapt_variance.assign(np.float32(variance))
    layer.finalize_state()


def test_the_rows_are_those_with_cards() -> None:
    families = {"efficientnet": efficientnet.ROWS, "efficientnet_v2": efficientnet_v2.ROWS}
    listed = {card.model: card for card in cards.list_cards() if card.model.startswith("efficientnet")}
    assert set(listed) == {row for rows in families.values() for row in rows} == set(COUNTS)
    for row, card in listed.items():
        spec = medzoo.find_model(row)
        assert row in families[spec.family]
        assert spec.preprocessing == find_scaled_inside(row) == card.contract()
        assert spec.input_size == card.input_size


@pytest.mark.parametrize(("row", "count"), COUNTS.items())
def test_a_row_has_its_published_count(row: str, count: int) -> None:
    assert medzoo.describe(row).size == count


@pytest.mark.parametrize("row", ["efficientnetb1", "efficientnetv2_b1"])
def test_the_published_counts_are_keras_s(row: str) -> None:
    with build_without_weights():
        theirs = _find_constructor(row)(weights=None).count_params()
    assert theirs - (7 if row == "efficientnetb1" else 0) == COUNTS[row]


@pytest.mark.parametrize(("row", "millions"), list(zip(COUNTS, DOCUMENTED, strict=True)))
def test_the_documentation_rounds_the_same_counts(row: str, millions: float) -> None:
    assert round(COUNTS[row] / 1e6, 1) == millions


@pytest.mark.parametrize(
    ("row", "billions"), [("efficientnetb0", 0.39), ("efficientnetb4", 4.2), ("efficientnetv2_s", 8.4)]
)
def test_multiplications_are_the_published_ones(row: str, billions: float) -> None:
    """Tan and Le 2019, table 2; 2021, table 8 at 384 pixels."""
    assert count_macs(row) / 1e9 == pytest.approx(billions, rel=0.05)


def test_what_efficientnet_does_inside_is_the_contract() -> None:
    """Pixels/255, less the mean, by the root of the deviation (the files' variance), and by that root again."""
    layers = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.Normalization(mean=MEANS, variance=DEVIATIONS),
        keras.layers.Rescaling([1 / deviation**0.5 for deviation in DEVIATIONS]),
    ]
    pixels = draw_pixels(8)
    found = pixels
    for layer in layers:
        found = np.asarray(layer(found))
    np.testing.assert_allclose(found, scale("efficientnetb0", pixels), atol=2e-6)
    assert np.abs(np.asarray(layers[1](layers[0](pixels))) - found).max() > 0.5


def test_the_network_with_keras_s_own_weights_gives_the_same_logits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Keras builds one layer more where it loads its own file, which stands in for that file here."""
    from keras.src.utils import file_utils

    saved = keras.applications.EfficientNetB0(weights=None)
    # What both divisions will do together, for the statistics of its norms.
    _set_normalization(saved, tuple(deviation**2 for deviation in DEVIATIONS))
    shake(saved)
    _set_normalization(saved, DEVIATIONS)
    path = save(saved, tmp_path, is_legacy=True)
    monkeypatch.setattr(file_utils, "get_file", lambda *positional, **options: str(path))
    theirs = keras.applications.EfficientNetB0(weights="imagenet", classifier_activation=None)
    assert len([layer for layer in theirs.layers if isinstance(layer, keras.layers.Rescaling)]) == 2
    ours, plan = copy_into("efficientnetb0", path, 224, classes=1000)
    assert plan.coverage == 1.0
    assert_same_outputs("efficientnetb0", ours, theirs, draw_pixels(224), scaled=True)


@LEGACY
def test_efficientnet_s_file_gives_its_logits(is_legacy: bool, tmp_path: Path) -> None:
    theirs = build_theirs(keras.applications.EfficientNetB0, input_shape=(64, 64, 3))
    # Without Keras's own file there is one division: by the root of what is a variance then.
    _set_normalization(theirs, tuple(deviation**2 for deviation in DEVIATIONS))
    path = save(theirs, tmp_path, is_legacy)
    source = medzoo.open_weights(path)
    assert source.dialect == "keras_applications_efficientnet"
    assert any("left out: 3 tensors" in note for note in source.notes)
    ours, plan = copy_into("efficientnetb0", path, 64)
    assert plan.coverage == 1.0
    assert_same_outputs("efficientnetb0", ours, theirs, draw_pixels(64), scaled=True)


@pytest.mark.parametrize("row", ["efficientnetv2_b0", "efficientnetv2_s"])
def test_v2_s_file_gives_its_logits(row: str, tmp_path: Path) -> None:
    theirs = build_theirs(_find_constructor(row), input_shape=(64, 64, 3))
    ours, plan = copy_into(row, save(theirs, tmp_path), 64)
    assert plan.coverage == 1.0
    assert_same_outputs(row, ours, theirs, draw_pixels(64), scaled=True)


@pytest.mark.parametrize("row", ["efficientnetb0", "efficientnetv2_b0"])
def test_a_file_without_top_starts_the_head_alone_afresh(row: str, tmp_path: Path) -> None:
    theirs = build_theirs(_find_constructor(row), include_top=False, input_shape=(64, 64, 3))
    _, plan = copy_into(row, save(theirs, tmp_path, is_legacy=True), 64)
    assert {step.target.name for step in plan.steps if not step.uses_source} == {"head/kernel", "head/bias"}


def test_a_grey_image_answers_as_its_replica(tmp_path: Path) -> None:
    """No layer inside takes three channels for granted."""
    row = "efficientnetv2_b0"
    theirs = build_theirs(_find_constructor(row), input_shape=(64, 64, 3), include_preprocessing=False)
    source = medzoo.open_weights(save(theirs, tmp_path))
    ours = medzoo.build(row, classes=5, channels=1, input_size=64)
    medzoo.apply(medzoo.make_plan(source, medzoo.describe(ours), recipes.copy()), source, ours)
    grey = draw_pixels(64)[..., :1] / 127.5 - 1
    expected = np.asarray(theirs(np.repeat(grey, 3, axis=-1), training=False))
    found = np.asarray(ours(grey, training=False))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("row", ["efficientnetb0", "efficientnetb3", "efficientnetv2_b3", "efficientnetv2_s"])
def test_stages_are_keras_s_blocks(row: str) -> None:
    spec = medzoo.find_model(row)
    model = build_abstractly(spec, 2, 1)
    assert_parts_end_where_they_say(model, spec)
    assert not any(type(layer).__name__ in ("Rescaling", "Normalization") for layer in model.layers)
    for stage in spec.stages:
        shapes = {model.get_layer(block.output).output.shape for block in stage.blocks}
        assert len(shapes) <= 1, stage.name


def test_rates_of_dropped_paths_are_keras_s() -> None:
    for row in ("efficientnetb0", "efficientnetv2_b0", "efficientnetv2_s"):
        with build_without_weights():
            ours = list_drop_rates(medzoo.build(row, classes=2, input_size=64, drop_path=0.2))
            theirs = list_drop_rates(_find_constructor(row)(weights=None, include_top=False))
            without = medzoo.build(row, classes=2, input_size=64)
        assert list(ours) == list(theirs)
        assert list(ours.values()) == pytest.approx(list(theirs.values()))
        assert set(list_drop_rates(without).values()) == {0.0}
        assert list(list_drop_rates(without)) == list(theirs)


def test_no_rate_goes_beyond_the_one_asked_for() -> None:
    """Keras divides by B0's number of blocks: of V2 B3 it would drop the last ones at 1.5 times the rate."""
    with build_without_weights():
        rates = list_drop_rates(medzoo.build("efficientnetv2_b3", classes=2, input_size=64, drop_path=0.9))
        theirs = list_drop_rates(keras.applications.EfficientNetV2B3(weights=None, include_top=False))
    assert list(rates.values()) == sorted(rates.values())
    assert 0.8 < max(rates.values()) < 0.9
    assert max(theirs.values()) > 0.25


def test_dropping_paths_changes_training_alone() -> None:
    model = medzoo.build("efficientnetb0", classes=3, input_size=32, drop_path=0.5)
    shake(model)
    images = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype("float32")
    first, second = (np.asarray(model(images, training=False)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    one, other = (np.asarray(model(images, training=True)) for _ in range(2))
    assert np.abs(one - other).max() > 1e-6


def test_no_option_is_there_to_change() -> None:
    for row in ("efficientnetb0", "efficientnetv2_s"):
        with pytest.raises(
            ConfigError, match=f"{row} has no option 'width' to change; expected the row as it is"
        ):
            medzoo.find_model(f"{row}+width=2")


def test_depths_and_input_sizes_are_keras_s() -> None:
    """By the sizes that their source gives each constructor."""
    sizes = {row: medzoo.find_model(row).input_size for row in COUNTS}
    assert list(sizes.values()) == [
        *(224, 240, 260, 300, 380, 456, 528, 600),
        *(224, 240, 260, 300, 384, 480, 480),
    ]
    blocks = [sum(len(stage.blocks) for stage in medzoo.find_model(row).stages) for row in COUNTS]
    assert blocks == [*(16, 23, 23, 26, 32, 39, 45, 55), *(21, 27, 28, 32, 40, 57, 79)]


def test_contracts_are_three() -> None:
    contracts = {row: medzoo.find_model(row).preprocessing for row in COUNTS}
    assert {contracts["efficientnetb7"], contracts["efficientnetv2_b3"]} == {PREPROCESSINGS["torch"]}
    assert {contracts[f"efficientnetv2_{size}"] for size in "sml"} == {PREPROCESSINGS["tf128"]}
