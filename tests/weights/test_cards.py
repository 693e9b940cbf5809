"""Cards: found by name or tag, answered from the bundled moments or the cache, checked by digest."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import medzoo
from medzoo.errors import WeightsError
from medzoo.outputs import digest_file
from medzoo.weights import cards
from medzoo.weights.source import model_of

CARDS = cards.list_cards()
CARD = cards.find_card("mobilenet_075.imagenet")
EVERY_CARD = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of our own, and no network."""
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDZOO_OFFLINE", "1")
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@EVERY_CARD
def test_a_card_of_the_catalogue_has_the_network_s_contract(card: cards.WeightCard) -> None:
    spec = next((spec for spec in medzoo.list_models() if spec.name == card.model), None)
    # A set that was trained on numbers of its own, as torchxrayvision's, has a table.
    if spec is not None and isinstance(card.preprocessing, str) and card.preprocessing != cards.UNKNOWN:
        assert card.preprocessing == spec.preprocessing.name


@pytest.mark.parametrize("name", [card.name for card in CARDS if card.moments])
def test_the_bundled_moments_are_those_of_the_card_s_network(name: str, cache: Path) -> None:
    card = cards.find_card(name)
    source = medzoo.open_weights(card.name, values=False)
    target = medzoo.describe(card.model, classes=card.classes)
    assert source.format == "moments"
    assert source.origin == card.name
    assert (source.model, source.preprocessing) == (card.model, card.preprocessing)
    assert {n: t.spec.shape for n, t in source.items()} == {n: t.shape for n, t in target.tensors.items()}
    assert {n: t.spec.role for n, t in source.items()} == {n: t.role for n, t in target.tensors.items()}
    assert f'"measured_from": "{card.digest}"' in cards.moments_path(card).read_text(encoding="utf-8")


def test_a_tag_is_joined_to_the_model(cache: Path) -> None:
    assert medzoo.open_weights("imagenet", "mobilenet_075", values=False).origin == "mobilenet_075.imagenet"
    with pytest.raises(WeightsError, match=r"no weights card 'cbr_tiny.imagenet' and no file of that name"):
        medzoo.open_weights("imagenet", "cbr_tiny", values=False)


def test_an_unknown_card_is_named_with_the_nearest() -> None:
    with pytest.raises(
        WeightsError, match=r"expected one of 'mobilenet_075.imagenet', .*; try medzoo weights"
    ) as error:
        medzoo.open_weights("mobilenet_75.imagnet")
    assert "\n" not in str(error.value)


def test_offline_an_uncached_card_is_refused_with_the_way_to_do_it_by_hand(cache: Path) -> None:
    with pytest.raises(WeightsError, match="is not cached and MEDZOO_OFFLINE is set") as error:
        medzoo.open_weights("mobilenet_075.imagenet")
    assert f"put the file from {CARD.url} at {cache / 'mobilenet_075.imagenet.h5'}" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_cached_card_opens_without_a_network(cache: Path, shared_weights: Path) -> None:
    shutil.copy(shared_weights / "mobilenet_7_5_224_tf.h5", cache / "mobilenet_075.imagenet.h5")
    source = medzoo.open_weights("mobilenet_075.imagenet")
    assert source.digest == CARD.digest
    assert source["conv1/kernel"].has_values


@pytest.mark.parametrize("text", ['name = "a"', None])
def test_a_card_with_other_fields_is_refused(text: str | None) -> None:
    if text is None:
        file = resources.files("medzoo.weights_registry") / "mobilenet_075.imagenet.toml"
        text = 'spice = "salt"\n' + file.read_text(encoding="utf-8")
    with pytest.raises(WeightsError, match=r"card mobilenet_075.imagenet.toml has unknown fields .*, lacks "):
        cards._read_card("mobilenet_075.imagenet.toml", text)


def test_a_source_tells_its_network_where_it_can(tmp_path: Path) -> None:
    assert model_of(None) is None
    assert model_of("mobilenet_075.imagenet") == "mobilenet_075"
    assert model_of("imagenet") == cards.DEFAULT_MODEL
    (tmp_path / "config.toml").write_text('[model]\nname = "cbr_tiny"\n')
    assert model_of(tmp_path) == "cbr_tiny"
    (tmp_path / "config.toml").write_text("[model\n")
    with pytest.raises(WeightsError, match="is no training run"):
        model_of(tmp_path)
    np.savez(tmp_path / "a.npz", kernel=np.ones(3))
    with pytest.raises(WeightsError, match=r"does not say which network it is for; .*--model"):
        model_of(tmp_path / "a.npz")


def test_a_run_opens_as_its_best_weights(tmp_path: Path) -> None:
    model = medzoo.build("cbr_tiny", classes=2, channels=1, input_size=8)
    model.save_weights(tmp_path / "best.weights.h5")
    source = medzoo.open_weights(tmp_path)
    assert source.origin == str(tmp_path)
    assert source.digest == digest_file(tmp_path / "best.weights.h5")
    assert set(source) == {variable.path for variable in model.weights}
