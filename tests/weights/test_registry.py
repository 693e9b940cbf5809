"""The registry: every card's form, its sources, the user's own cards, and that Keras still says what its cards say."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, fields, replace
from importlib import resources
from pathlib import Path

import pytest
from medzoo.weights_registry import generate, keras_source

from medzoo.errors import WeightsError
from medzoo.outputs import digest_file
from medzoo.specs import PREPROCESSINGS
from medzoo.weights import cards
from medzoo.weights.dialects import table

REGISTRY = Path(str(resources.files("medzoo.weights_registry")))
FILES = sorted(REGISTRY.glob("*.toml"))
EVERY_FILE = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.removesuffix(".toml"))

FORMATS = {"keras_legacy_h5", "keras_v3", "npz", "safetensors", "torch"}
DIALECTS = {dialect.name for dialect in table.DIALECTS}
LISTS = {"imagenet-1k": 1000, "imagenet-21k": 21843, "imagenet-22k": 21841, "cifar-10": 10}

#: The fields whose values stand somewhere, and what each says where nothing is known. A citation is its own source.
SOURCED = {
    "urls": (),
    "page": "",
    "digest": "",
    "size": 0,
    "classes": None,
    "labels": "none",
    "preprocessing": "unknown",
    "input_size": 0,
    "resize": "unknown",
    "licence": "unknown",
    "training_data": "unknown",
    "redistribution": "unknown",
}


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of our own for the user's cards, empty."""
    monkeypatch.setenv("MEDZOO_CARDS", str(tmp_path))
    return tmp_path


def _read(file: Path) -> cards.WeightCard:
    return cards._read_card(file.name, file.read_text(encoding="utf-8"))


@EVERY_FILE
def test_a_card_has_the_form_of_a_card(file: Path) -> None:
    card = _read(file)
    assert re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+", card.name)
    assert file.name == f"{card.name}.toml"
    assert card.name == f"{card.model}.{card.tag}"
    assert card.format in FORMATS
    assert card.dialect in DIALECTS
    assert card.preprocessing == "unknown" or card.contract().order in ("rgb", "bgr")
    assert card.licence
    assert card.citation not in ("", "unknown")
    assert card.size >= 0
    assert card.moments == "" or cards.moments_path(card).is_file()
    for address in (*card.urls, *([card.page] if card.page else [])):
        assert re.fullmatch(r"https://[a-z0-9.]+/[\w./+-]+", address)
    assert len(set(card.urls)) == len(card.urls)


@EVERY_FILE
def test_every_known_value_of_a_card_has_a_source(file: Path) -> None:
    card = _read(file)
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    unspoken = {"page", "digest", "moments"}
    assert {name for name, value in content.items() if value == ""} <= unspoken
    assert {field.name for field in fields(card)} - set(content) <= {"page"}
    known = {name for name, nothing in SOURCED.items() if getattr(card, name) != nothing}
    assert known - set(card.sources) == set()
    # Beyond those, a card may only say where it was looked for in vain.
    assert set(card.sources) - known <= {"licence", "preprocessing"}
    assert all(card.sources.values())


@EVERY_FILE
def test_a_card_s_head_and_labels_agree(file: Path) -> None:
    card = _read(file)
    if card.labels == "none":
        assert card.classes == 0
    elif not card.labels.startswith("https://"):
        assert card.classes == LISTS[card.labels]
    else:
        assert card.classes > 0


@EVERY_FILE
def test_a_digest_is_that_of_the_file_s_name_where_the_name_has_one(file: Path) -> None:
    card = _read(file)
    named = re.search(r"-([0-9a-f]{8})\.(pth|th|pt)$", card.url)
    if card.digest.startswith("sha256-prefix:"):
        assert named
        assert card.digest == f"sha256-prefix:{named[1]}"
    elif named:
        assert card.digest.startswith(f"sha256:{named[1]}")


@EVERY_FILE
def test_what_is_fetched_by_hand_is_not_offered(file: Path) -> None:
    card = _read(file)
    assert card.by_hand == (card.tag == "radimagenet")
    if card.by_hand:
        assert not card.urls
        assert card.page
        assert card.redistribution != "yes"
    else:
        assert card.urls
    if card.licence == "unknown":
        assert card.redistribution == "unknown"


def test_no_two_cards_are_one_file() -> None:
    listed = cards.list_cards()
    assert [card.name for card in listed] == sorted({file.name.removesuffix(".toml") for file in FILES})
    addresses = [address for card in listed for address in card.urls]
    assert len(set(addresses)) == len(addresses)
    digests = [card.digest for card in listed if card.digest]
    assert len(set(digests)) == len(digests)


def test_the_cards_of_keras_applications_are_what_the_installed_keras_says() -> None:
    made = generate.make_cards()
    assert len(made) > 150
    for name, card in made.items():
        written = (REGISTRY / f"{name}.toml").read_text(encoding="utf-8")
        assert written == generate.format_card(card), f"{name}: run python weights_registry/generate.py"
    keras = {card.name for card in cards.list_cards() if "/keras-applications/" in card.url}
    assert keras == set(made)


def test_the_generator_stops_where_keras_changed_its_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    read = keras_source.read_module

    def change(name: str) -> keras_source.KerasModule:
        module = read(name)
        text = module.text.replace("mobilenet_%s_%d_tf.h5", "mobilenet-%s-%d.h5")
        return keras_source.KerasModule(name, text, module.tree, module.constants)

    monkeypatch.setattr(keras_source, "read_module", change)
    with pytest.raises(SystemExit, match=r"mobilenet\.py .* no longer holds .*mobilenet_%s_%d_tf"):
        generate.make_cards()


@pytest.mark.parametrize("depth", [20, 56])
def test_the_digests_and_sizes_of_cards_are_those_of_the_files(depth: int, shared_weights: Path) -> None:
    card = cards.find_card(f"resnet{depth}.cifar10")
    file = shared_weights / card.url.rpartition("/")[2]
    assert digest_file(file) == card.digest
    assert file.stat().st_size == card.size


def test_a_contract_of_its_own_is_numbers() -> None:
    contract = cards.find_card("densenet121.xrv_all").contract()
    ends = [
        [value * scale + offset for value in (0, 255)]
        for scale, offset in zip(contract.scale, contract.offset, strict=True)
    ]
    assert ends == [pytest.approx([-1024, 1024])] * 3
    assert cards.find_card("vgg16.imagenet").contract() == PREPROCESSINGS["caffe"]
    with pytest.raises(
        WeightsError, match=r"resnet50.radimagenet does not know .*expected a contract: tf, caffe"
    ):
        cards.find_card("resnet50.radimagenet").contract()


def test_no_card_but_the_one_asked_for_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    read = cards._read_card
    monkeypatch.setattr(cards, "_read_card", lambda file, text: opened.append(file) or read(file, text))
    cards._open_bundled.cache_clear()
    assert cards.find_card("vgg16.imagenet").model == "vgg16"
    assert cards.find_card("vgg16.imagenet").model == "vgg16"
    assert opened == ["vgg16.imagenet.toml"]
    assert "vgg16.imagenet_notop" in cards.list_card_names()
    assert len(opened) == 1


OWN = """name = "cbr_tiny.chest"
model = "cbr_tiny"
format = "keras_v3"
dialect = "keras"
classes = 14
preprocessing = "unit"
licence = "ours"
urls = ["https://example.org/chest.weights.h5"]
"""


def test_the_user_s_own_cards_are_found_and_listed(own: Path) -> None:
    assert "cbr_tiny.chest" not in cards.list_card_names()
    (own / "cbr_tiny.chest.toml").write_text(OWN)
    card = cards.find_card("cbr_tiny.chest")
    assert card in cards.list_cards()
    assert (card.url, card.digest, card.size) == ("https://example.org/chest.weights.h5", "", 0)
    assert (card.labels, card.resize, card.training_data, card.redistribution) == ("unknown",) * 4
    assert cards.moments_path(replace(card, moments="a.json")) == own / "a.json"
    assert asdict(card)["urls"] == card.urls
    assert hash(card) == hash(cards.find_card("cbr_tiny.chest"))


def test_a_user_s_card_may_not_take_a_bundled_card_s_name(own: Path) -> None:
    (own / "vgg16.imagenet.toml").write_text(OWN)
    for ask in (cards.list_cards, lambda: cards.find_card("vgg16.imagenet")):
        with pytest.raises(WeightsError, match=r"vgg16.imagenet.toml has the name of a bundled card; .*rm "):
            ask()
    # It stands in the way of nothing else.
    assert cards.find_card("vgg19.imagenet").model == "vgg19"
    assert cards.list_card_names().count("vgg16.imagenet") == 1


def test_without_a_variable_the_user_s_cards_lie_among_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import click

    monkeypatch.delenv("MEDZOO_CARDS")
    assert cards.user_cards_folder() == Path(click.get_app_dir("medzoo")) / "cards"


GREY = '{ order = "grey", scale = 1, mean = [0], std = [1], range = [0, 255] }'


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("classes = 14", 'classes = "14"', r"has classes = '14'; expected a value of type int"),
        ("classes = 14", "classes = true", r"has classes = True; expected a value of type int"),
        ('licence = "ours"\n', "", r"unknown fields \[\], lacks \['licence'\]"),
        ('licence = "ours"', 'licence = "ours"\nspice = "salt"', r"unknown fields \['spice'\], lacks \[\]"),
        ('"cbr_tiny.chest"', '"cbr_tiny.hand"', r"has name = 'cbr_tiny.hand'.*the file has too"),
        (
            'model = "cbr_tiny"',
            'model = "cbr_small"',
            r"model = 'cbr_small'; expected the name architecture.tag",
        ),
        (
            '"unit"',
            '"units"',
            r"has preprocessing = 'units'; expected tf, caffe, torch, tf128, unit, raw, unknown or a table",
        ),
        ('"unit"', GREY.replace("mean = [0]", "mean = [0, 0]"), r"has preprocessing = .*; expected order"),
        ('"unit"', GREY.replace("std = [1]", "std = [0]"), r"has preprocessing = .*; expected order"),
        ('"unit"', GREY.replace("grey", "cmyk"), r"has preprocessing = .*; expected order"),
        ('"unit"', GREY.replace("scale", "skale"), r"has preprocessing = .*; expected order"),
        ("urls = [", "urls = [1, ", r"has urls = \[1, .*; expected a value of type tuple\[str, \.\.\.\]"),
        ("urls = [", "by_hand = true\nurls = [", r"by_hand = true and 1 urls"),
        ("urls = [", "by_hand = false\n#", r"by_hand = false and 0 urls"),
        ("urls", 'digest = "sha1:00"\nurls', r"has digest = 'sha1:00'; expected sha256:"),
        ("urls", 'digest = "sha256:00"\nurls', r"has digest = 'sha256:00'; expected sha256:"),
        ("urls", 'redistribution = "maybe"\nurls', r"redistribution = 'maybe'; expected yes, no or unknown"),
        ("urls", 'sources = { colour = "red" }\nurls', r"has sources of \['colour'\]"),
        ("urls", "sources = { size = 3 }\nurls", r"has sources = \{'size': 3\}"),
        ("urls = ", "urls", r"is no TOML"),
    ],
)
def test_a_card_that_is_wrong_is_named_with_the_reason(own: Path, old: str, new: str, reason: str) -> None:
    assert old in OWN
    (own / "cbr_tiny.chest.toml").write_text(OWN.replace(old, new, 1))
    with pytest.raises(WeightsError, match=rf"card cbr_tiny.chest.toml .*{reason}") as error:
        cards.find_card("cbr_tiny.chest")
    assert "\n" not in str(error.value)


def test_a_card_that_is_no_text_is_refused(own: Path) -> None:
    (own / "cbr_tiny.chest.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(WeightsError, match=r"cannot read .*cbr_tiny.chest.toml"):
        cards.find_card("cbr_tiny.chest")


def test_the_tools_of_the_registry_are_not_of_the_package() -> None:
    tools = {"generate", "keras_source", "keras_families"}
    assert tools == {path.stem for path in REGISTRY.glob("*.py")} - {"__init__"}
    package = Path(cards.__file__).parents[1]
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(rf"weights_registry[.\w]* import .*({'|'.join(tools)})", text), path
        assert not re.search(rf"weights_registry\.({'|'.join(tools)})", text), path
