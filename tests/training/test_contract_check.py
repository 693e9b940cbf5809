"""What a run does about images beyond its input contract, and how it brings pictures to the network's size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from medzoo.cli import main
from PIL import Image

from medzoo.data.dataset import BYTE_RANGE, Dataset
from medzoo.errors import ConfigError, DataError, WeightsError
from medzoo.training import intake as module
from medzoo.training import prepare as preparation
from medzoo.training.announcement import announce, describe_environment
from medzoo.training.config import format_config, make_config
from medzoo.training.prepare import Prepared, prepare

CHEAP = {"training": {"epochs": 1, "batch_size": 8, "precision": "float32"}}


def make_arrays(channels: int = 1, size: int = 16) -> Dataset:
    """Give 24 images of noise, half of them for training."""
    images = np.random.default_rng(0).integers(0, 256, (24, size, size, channels)).astype(np.float32)
    splits = ["train"] * 12 + ["validation"] * 6 + ["test"] * 6
    table = pd.DataFrame({"id": [f"i{n}" for n in range(24)], "split": splits, "label": ["a", "b"] * 12})
    return Dataset("arrays", ("a", "b"), table, channels, (size, size), BYTE_RANGE, images=images)


@pytest.fixture
def prepare_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Prepared]:
    """Prepare a run on a data set that no file holds."""

    def run(dataset: Dataset, *settings: tuple[str, Any]) -> Prepared:
        monkeypatch.setattr(module, "open_source", lambda *arguments: dataset)
        return prepare(make_config(CHEAP, settings))

    return run


def with_pixels(dataset: Dataset, change: Callable[[np.ndarray], np.ndarray], split: str) -> Dataset:
    assert dataset.images is not None
    images = dataset.images.copy()
    rows = (dataset.table["split"] == split).to_numpy()
    images[rows] = change(images[rows])
    return replace(dataset, images=images)


def test_images_within_the_contract_say_nothing(prepare_with: Callable) -> None:
    assert prepare_with(make_arrays(), ("data.strict", True)).warnings == ()


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_split_is_looked_at(prepare_with: Callable, split: str) -> None:
    beyond = with_pixels(make_arrays(), lambda images: images * 2, split)
    prepared = prepare_with(beyond)
    (warning,) = prepared.warnings
    assert f"{split} images span -1…3" in warning
    assert "expected -1…1, input contract tf" in warning
    said: list[str] = []
    announce(prepared, True, said.append)
    assert said.count(f"warning: {warning}") == 1
    assert describe_environment(prepared)["warnings"] == [warning]
    with pytest.raises(DataError) as refused:
        prepare_with(beyond, ("data.strict", True))
    assert str(refused.value) == warning


@pytest.mark.parametrize(
    "change",
    [
        lambda images: (images > 128).astype(np.float32),
        lambda images: 60 + images * 12 / 255,
        lambda images: np.full_like(images, 200),
        lambda images: images / 255,
    ],
    ids=["masks", "grey", "uniform", "scaled"],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_little_contrast_is_warned_of_and_never_refused(
    prepare_with: Callable, change: Callable[[np.ndarray], np.ndarray], split: str
) -> None:
    doubtful = with_pixels(make_arrays(), change, split)
    (warning,) = prepare_with(doubtful).warnings
    assert f"{split} images span" in warning
    assert "all but blank, or" in warning
    assert prepare_with(doubtful, ("data.strict", True)).warnings == (warning,)


def test_strict_refuses_what_lies_beyond_also_after_a_doubt(prepare_with: Callable) -> None:
    doubtful = with_pixels(make_arrays(), lambda images: images / 255, "train")
    both = with_pixels(doubtful, lambda images: images * 2, "test")
    assert len(prepare_with(both).warnings) == 2
    with pytest.raises(DataError, match="test images span"):
        prepare_with(both, ("data.strict", True))


def test_an_image_that_is_not_finite_is_always_refused(prepare_with: Callable) -> None:
    dataset = make_arrays()
    assert dataset.images is not None
    dataset.images[20, 3, 3] = np.nan
    for value_range in (BYTE_RANGE, None):
        with pytest.raises(DataError, match="arrays: image 'i20' holds NaN or infinity"):
            prepare_with(replace(dataset, value_range=value_range))


def test_the_phantom_is_in_the_networks_units_and_passes() -> None:
    assert prepare(make_config(CHEAP, [("data.strict", True)])).warnings == ()


def test_the_contract_is_recorded_with_its_range_and_resize_rule(prepare_with: Callable) -> None:
    prepared = prepare_with(make_arrays(), ("data.fit", "crop"), ("data.crop_fraction", 0.5))
    recorded = describe_environment(prepared)["preprocessing"]
    assert (recorded["name"], recorded["range"]) == ("tf", (-1.0, 1.0))
    assert (recorded["fit"], recorded["crop_fraction"]) == ("crop", 0.5)
    text = format_config(prepared.config)
    for line in ('fit = "crop"', 'interpolation = "bilinear"', "crop_fraction = 0.5", "strict = false"):
        assert line in text


def test_without_a_word_a_picture_is_stretched(prepare_with: Callable) -> None:
    data = prepare_with(make_arrays()).config.data
    assert (data.fit, data.interpolation, data.crop_fraction) == ("squash", "bilinear", 0.875)


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("data.fit", "stretch", "'squash', 'crop' or 'pad'"),
        ("data.interpolation", "lanczos", "'bilinear', 'bicubic' or 'nearest'"),
        ("data.crop_fraction", 0, "greater than 0"),
        ("data.crop_fraction", 1.5, "less than or equal to 1"),
    ],
)
def test_mistakes_in_the_rule_are_named(setting: str, value: object, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        make_config({}, [(setting, value)])


CARD = """name = "cbr_tiny.own"
model = "cbr_tiny"
format = "keras_v3"
dialect = "keras"
classes = 2
preprocessing = "torch"
resize = "bicubic to 256, centre crop 192"
licence = "ours"
urls = ["https://example.org/own.weights.h5"]
"""


@pytest.fixture
def own_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card of our own, whose weights need no download."""
    import medzoo
    from medzoo.tensors import source_from_arrays

    monkeypatch.setenv("MEDZOO_CARDS", str(tmp_path))
    (tmp_path / "cbr_tiny.own.toml").write_text(CARD)
    model = medzoo.build("cbr_tiny", classes=2, channels=1, input_size=16)
    arrays = {variable.path: np.asarray(variable) for variable in model.weights}
    source = replace(source_from_arrays(arrays, "own"), model="cbr_tiny", preprocessing="torch")
    monkeypatch.setattr(preparation, "open_weights", lambda *arguments: source)


@pytest.mark.usefixtures("own_card")
def test_a_card_s_resize_rule_is_part_of_its_contract(prepare_with: Callable) -> None:
    contract = prepare_with(make_arrays(), ("weights.src", "cbr_tiny.own")).preprocessing
    assert (contract.name, contract.interpolation, contract.crop_fraction) == ("torch", "bicubic", 0.75)
    assert (contract.fit, contract.published_fit) == ("squash", "crop")
    asked = (
        ("weights.src", "cbr_tiny.own"),
        ("data.interpolation", "nearest"),
        ("data.preprocessing", "torch"),
    )
    contract = prepare_with(make_arrays(), *asked).preprocessing
    assert (contract.interpolation, contract.crop_fraction) == ("nearest", 0.75)
    contract = prepare_with(
        make_arrays(), ("weights.src", "cbr_tiny.own"), ("data.preprocessing", "unit")
    ).preprocessing
    assert (contract.name, contract.interpolation, contract.published_fit) == ("unit", "bilinear", None)


@pytest.mark.usefixtures("own_card")
def test_a_card_that_does_not_know_its_contract_is_warned_of(
    prepare_with: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cbr_tiny.own.toml").write_text(CARD.replace('"torch"', '"unknown"'))
    source = replace(preparation.open_weights("cbr_tiny.own"), preprocessing="")  # type: ignore[call-arg]
    monkeypatch.setattr(preparation, "open_weights", lambda *arguments: source)
    src = ("weights.src", "cbr_tiny.own")
    (warning,) = prepare_with(make_arrays(), src).warnings
    assert "card cbr_tiny.own does not know how its network's input was preprocessed" in warning
    assert warning.endswith("the network's, tf, is taken")
    with pytest.raises(WeightsError, match="does not know"):
        prepare_with(make_arrays(), src, ("data.strict", True))
    assert (
        prepare_with(make_arrays(), src, ("data.preprocessing", "unit"), ("data.strict", True)).warnings == ()
    )


def test_a_run_s_resize_rule_goes_with_its_weights(prepare_with: Callable, tmp_path: Path) -> None:
    import medzoo

    before = prepare_with(make_arrays(), ("data.fit", "pad"), ("data.interpolation", "bicubic"))
    (tmp_path / "config.toml").write_text(format_config(before.config), encoding="utf-8")
    medzoo.build("cbr_tiny", classes=2, channels=1, input_size=16).save_weights(tmp_path / "best.weights.h5")
    source = ("weights.src", str(tmp_path))
    contract = prepare_with(make_arrays(), source).preprocessing
    assert (contract.fit, contract.interpolation) == ("pad", "bicubic")
    contract = prepare_with(make_arrays(), source, ("data.fit", "squash")).preprocessing
    assert (contract.fit, contract.interpolation) == ("squash", "bicubic")


def test_images_of_many_channels_need_a_network_of_as_many(prepare_with: Callable) -> None:
    prepared = prepare_with(make_arrays(channels=5))
    assert prepared.channels == 5
    assert prepared.warnings == ()
    for channels in (1, 3, 4):
        with pytest.raises(DataError, match=f"{channels} input channels for images of 5; expected 5"):
            prepare_with(make_arrays(channels=5), ("model.channels", channels))
    with pytest.raises(DataError, match="5 input channels for images of 3; expected 1 "):
        prepare_with(make_arrays(channels=3), ("model.channels", 5))


@pytest.mark.slow
def test_a_network_of_five_channels_is_trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import medzoo

    dataset = make_arrays(channels=5)
    monkeypatch.setattr(module, "open_source", lambda *arguments: dataset)
    run = medzoo.train(make_config(CHEAP | {"run": {"out": str(tmp_path / "run")}}))
    assert medzoo.open_weights(run.path)["block1_conv/kernel"].spec.shape[2] == 5


def write_masks(folder: Path) -> Path:
    """Write PNGs whose pixels are 0 and 1."""
    for number in range(24):
        path = folder / "set" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 2, (16, 16)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    return folder / "set"


def test_strict_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = with_pixels(make_arrays(), lambda images: images * 2, "train")
    monkeypatch.setattr(module, "open_source", lambda *arguments: dataset)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--data", "set", "--strict", "--out", "run", "--epochs", "1"])
    assert stopped.value.code == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert "span -1…3" in last
    assert "expected -1…1, input contract tf" in last
    assert not (tmp_path / "run").exists()


def test_masks_pass_strict_with_a_warning(tmp_path: Path) -> None:
    settings = [("data.source", str(write_masks(tmp_path))), ("data.strict", True)]
    warnings = prepare(make_config(CHEAP, settings)).warnings
    assert warnings
    assert all("span -1…-0.9922" in warning and "all but blank, or" in warning for warning in warnings)
