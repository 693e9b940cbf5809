"""Input contracts: their numbers, what keras.applications does inside, resize rules, and the check of a range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medzoo import contracts
from medzoo.contracts import (
    PREPROCESSINGS,
    LowContrastError,
    check_range,
    compare_range,
    find_preprocessing,
    follow_resize,
)
from medzoo.weights import cards

PIXELS = np.linspace(0, 255, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3)


def apply(name: str, pixels: np.ndarray) -> np.ndarray:
    contract = find_preprocessing(name)
    ordered = pixels[..., ::-1] if contract.order == "bgr" and pixels.shape[-1] == 3 else pixels
    scale, offset = contract.for_channels(pixels.shape[-1])
    return ordered * np.asarray(scale) + np.asarray(offset)


@pytest.mark.parametrize("name", ["tf", "caffe", "torch"])
def test_the_modes_of_keras_applications(name: str) -> None:
    from keras.src.applications import imagenet_utils

    np.testing.assert_allclose(
        apply(name, PIXELS), imagenet_utils.preprocess_input(PIXELS.copy(), mode=name), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("contract", PREPROCESSINGS.values(), ids=str)
def test_range_mean_and_deviation_say_what_the_numbers_do(contract: contracts.Preprocessing) -> None:
    ends = np.stack([np.zeros(3), np.full(3, 255.0)])
    made = ends * contract.scale + contract.offset
    assert contract.range == (made.min(), made.max())
    np.testing.assert_allclose((ends / 255 - contract.mean) / contract.deviation, made, atol=1e-12)


def test_ranges_that_are_known() -> None:
    assert PREPROCESSINGS["tf"].range == (-1, 1)
    assert PREPROCESSINGS["tf128"].range == (-1, 255 / 128 - 1)
    assert PREPROCESSINGS["unit"].range == (0, 1)
    assert PREPROCESSINGS["raw"].range == (0, 255)
    assert PREPROCESSINGS["caffe"].range == (-123.68, 255 - 103.939)
    assert PREPROCESSINGS["torch"].range == pytest.approx((-0.485 / 0.229, (1 - 0.406) / 0.225))


def test_other_numbers_of_channels_take_the_means() -> None:
    scale, offset = PREPROCESSINGS["torch"].for_channels(3)
    for count in (1, 2, 5):
        means = PREPROCESSINGS["torch"].for_channels(count)
        assert means == (pytest.approx([np.mean(scale)] * count), pytest.approx([np.mean(offset)] * count))


def _keep_imagenet_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a constructor take `weights="imagenet"` without a download: the branch adds a layer."""
    import keras
    from keras.src.utils import file_utils

    monkeypatch.setattr(file_utils, "get_file", lambda *arguments, **options: "absent.h5")
    monkeypatch.setattr(keras.Model, "load_weights", lambda *arguments, **options: None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "constructor"),
    [
        ("efficientnetb0", "EfficientNetB0"),
        ("efficientnetv2_b0", "EfficientNetV2B0"),
        ("efficientnetv2_s", "EfficientNetV2S"),
        ("convnext_tiny", "ConvNeXtTiny"),
        ("mobilenet_v3_small_100", "MobileNetV3Small"),
    ],
)
def test_the_contract_equals_what_keras_scales_inside(
    row: str, constructor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    _keep_imagenet_branch(monkeypatch)
    make: Callable[..., Any] = getattr(keras.applications, constructor)
    with keras.StatelessScope(initialize_variables=False):
        model = make(weights="imagenet", include_top=False, input_shape=(224, 224, 3))
    layers = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization)
    ]
    values: Any = PIXELS.astype(np.float32)
    first = model.layers.index(layers[0])
    assert model.layers[first : first + len(layers)] == layers
    for layer in layers:
        if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
            # EfficientNet's numbers lie in its files, the variance as a standard deviation.
            layer = keras.layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.229, 0.224, 0.225])
        values = layer(values)
    assert layers
    contract = contracts.find_scaled_inside(row)
    assert contract is not None
    np.testing.assert_allclose(np.asarray(values), apply(contract.name, PIXELS), rtol=1e-5, atol=1e-5)


def test_what_is_scaled_inside_is_what_the_registry_and_the_cards_say() -> None:
    from weights_registry import keras_families

    said = {
        start: contract
        for family in keras_families.FAMILIES
        for start, contract in (family.inside or {}).items()
    }
    assert said == contracts.SCALED_INSIDE
    seen = set()
    for card in cards.list_cards():
        contract = contracts.find_scaled_inside(card.model)
        if contract is not None and card.tag.startswith("imagenet"):
            assert card.preprocessing == contract.name, card.name
            seen.add(card.model)
    assert len(seen) == 8 + 7 + 5 + 6  # EfficientNet, V2, ConvNeXt, MobileNetV3
    assert not [card.name for card in cards.list_cards() if card.preprocessing == "raw"]


def test_every_resize_that_a_card_states_is_followed() -> None:
    for card in cards.list_cards():
        if card.preprocessing != "unknown":
            stated = card.resize not in ("unknown", "none")
            assert (card.contract().published_fit is not None) == stated, card.name
            assert card.contract().fit == "squash"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("bicubic to 256, centre crop 224", ("bicubic", "crop", 224 / 256)),
        ("bicubic to 438, centre crop 384", ("bicubic", "crop", 384 / 438)),
        ("bilinear to 256, crops of 224 (the mean of ten)", ("bilinear", "crop", 224 / 256)),
        ("bicubic straight to 384 × 384", ("bicubic", "squash", 1.0)),
        ("centre crop to a square, then linear to 224 × 224", ("bilinear", "crop", 1.0)),
        ("bicubic straight to 384 × 224", ("bilinear", None, 0.875)),
        ("none", ("bilinear", None, 0.875)),
    ],
)
def test_a_resize_in_words_becomes_a_rule(words: str, expected: tuple) -> None:
    contract = follow_resize(PREPROCESSINGS["torch"], words)
    assert (contract.interpolation, contract.published_fit, contract.crop_fraction) == expected
    assert contract.scale == PREPROCESSINGS["torch"].scale


@pytest.mark.parametrize("name", PREPROCESSINGS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_brought_to_the_contract_pass(name: str, channels: int) -> None:
    images = apply(name, np.resize(PIXELS, (2, 8, 8, channels)))
    assert check_range(images, find_preprocessing(name)) is None
    assert check_range(images.astype(np.float32), find_preprocessing(name)) is None


@pytest.mark.parametrize("name", PREPROCESSINGS)
@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (PIXELS / 255, "all but blank, or scaled to 0…1 or -1…1 before;"),
        (PIXELS / 127.5 - 1, "all but blank, or scaled to 0…1 or -1…1 before;"),
        (PIXELS / 255 * 4095 / 257, "all but blank, or 12 bits in a 16-bit file;"),
        (PIXELS * 257, "to bring them to pixels of 0…255"),
        (PIXELS * 12 - 1000, "to bring them to pixels of 0…255"),
    ],
)
def test_what_is_no_pixel_is_warned_of(name: str, pixels: np.ndarray, reason: str) -> None:
    contract = find_preprocessing(name)
    said = check_range(apply(name, pixels), contract)
    assert said is not None
    assert reason in said
    assert f"expected {contract.range[0]:.4g}…{contract.range[1]:.4g}, input contract {name}" in said
    assert "\n" not in said
    is_doubt = isinstance(compare_range(apply(name, pixels), contract, "images"), LowContrastError)
    assert is_doubt == reason.startswith("all but blank")


def test_pixels_that_were_not_brought_to_the_contract_are_recognised() -> None:
    for name in ("tf", "torch", "tf128", "unit"):
        said = check_range(PIXELS.astype(np.uint8), find_preprocessing(name))
        assert said is not None
        assert "these are pixels" in said
        assert "images span 0…255" in said


def test_one_colour_beyond_its_own_range_is_seen() -> None:
    """Blue of caffe ends at 151 and red at 131: within the span of all, beyond its own."""
    images = apply("caffe", PIXELS)
    images[0, 0, 0, 2] = 150
    assert "span" in str(check_range(images, find_preprocessing("caffe")))


def test_a_number_that_is_none_and_images_that_are_none() -> None:
    images = apply("tf", PIXELS)
    images[1, 2, 3, 0] = np.nan
    assert "NaN or infinity, first in number 1" in str(check_range(images, find_preprocessing("tf")))
    assert check_range(images[:0], find_preprocessing("tf")) is None


def test_a_batch_without_contrast_is_warned_of() -> None:
    said = check_range(np.clip(PIXELS, 100, 112), find_preprocessing("raw"))
    assert said is not None
    assert "all but blank, or scaled before;" in said
    assert check_range(np.clip(PIXELS, 100, 118), find_preprocessing("raw")) is None


@pytest.mark.parametrize("name", PREPROCESSINGS)
@pytest.mark.parametrize(
    "pixels",
    [
        (PIXELS > 128).astype(np.uint8),
        np.round(60 + PIXELS * 12 / 255),
        np.full((1, 8, 8, 3), 200) + (PIXELS[:1] > 30),
        np.zeros((1, 8, 8, 3)),
        np.full((1, 8, 8, 3), 255),
    ],
    ids=["masks", "grey", "one near-uniform image", "black", "white"],
)
def test_little_contrast_is_a_doubt_and_no_error(name: str, pixels: np.ndarray) -> None:
    problem = compare_range(apply(name, pixels), find_preprocessing(name), "images")
    assert isinstance(problem, LowContrastError)
    assert "all but blank, or" in str(problem)


@pytest.mark.parametrize("name", PREPROCESSINGS)
@pytest.mark.parametrize("value", [-3.0, 258.0, np.nan])
def test_what_lies_beyond_or_is_none_is_no_doubt_even_without_contrast(name: str, value: float) -> None:
    problem = compare_range(apply(name, np.full((1, 8, 8, 3), value)), find_preprocessing(name), "images")
    assert problem is not None
    assert not isinstance(problem, LowContrastError)
