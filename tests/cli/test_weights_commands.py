"""medzoo weights list, show, verify, add, convert, inspect: on good and on bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import medzoo
from medzoo.weights.cards import find_card
from medzoo.weights.downloads import cached_path


@pytest.fixture
def own_cards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("MEDZOO_CARDS", str(tmp_path / "cards"))
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cards"


@pytest.fixture
def cifar(medzoo_command: Callable) -> Path:
    """Random weights of resnet20 as a .safetensors file in the current folder."""
    arguments = ("--mode", "random", "--model", "resnet20", "--classes", 10, "--channels", 3)
    assert medzoo_command("transplant", *arguments, "--out", "r.safetensors").code == 0
    return Path("r.safetensors")


def test_list_finds_cards_by_name_model_and_data(medzoo_command: Callable, refused: Callable) -> None:
    def names(pattern: str) -> set[str]:
        return {card["name"] for card in json.loads(medzoo_command("weights", "list", pattern, "--json").out)}

    assert names("resnet20") == {"resnet20.cifar10"}
    assert "resnet50.radimagenet" in names("resnet50*")
    assert any("xrv" in name for name in names("chest"))
    assert "no card matches 'xyzzy'" in refused("weights", "list", "xyzzy")
    outcome = medzoo_command("weights", "list")
    assert "cards; medzoo weights list PATTERN shows fewer" in outcome.err


def test_show_prints_every_field_and_where_it_stands(medzoo_command: Callable, refused: Callable) -> None:
    out = medzoo_command("weights", "show", "resnet20.cifar10").out
    assert "BSD-2-Clause" in out
    assert "stands in" in out
    assert json.loads(medzoo_command("weights", "show", "resnet20.cifar10", "--json").out)["classes"] == 10
    assert "no weights card 'resnet21.cifar10'" in refused("weights", "show", "resnet21.cifar10")


def test_convert_writes_every_ending_and_back(medzoo_command: Callable, cifar: Path) -> None:
    before = {name: tensor.read().tobytes() for name, tensor in medzoo.open_weights(cifar).items()}
    for out in ("a.weights.h5", "a.h5"):
        assert medzoo_command("weights", "convert", cifar, out, "--model", "resnet20").out == f"{out}\n"
        after = {name: tensor.read().tobytes() for name, tensor in medzoo.open_weights(out).items()}
        assert after == before
    outcome = medzoo_command("weights", "convert", "a.h5", "t.safetensors", "--to", "cifar_resnet")
    assert "names cifar_resnet" in outcome.err
    assert "dialect cifar_resnet" in medzoo_command("weights", "inspect", "t.safetensors").out.splitlines()[0]
    assert medzoo_command("weights", "convert", cifar, "m.moments.json").code == 0
    assert not medzoo.open_weights("m.moments.json")["head/kernel"].has_values


def test_convert_refuses_what_it_cannot_write(
    refused: Callable, cifar: Path, medzoo_command: Callable
) -> None:
    assert "needs its network" in refused("weights", "convert", cifar, "b.weights.h5")
    assert "expected a name ending in" in refused("weights", "convert", cifar, "b.pth")
    assert "unknown dialect 'x'" in refused("weights", "convert", cifar, "b.safetensors", "--to", "x")
    assert "exists; " in refused("weights", "convert", cifar, cifar)
    line = refused("weights", "convert", cifar, "b.h5", "--model", "resnet56")
    assert "expected exactly the tensors of resnet56; try medzoo transplant" in line
    before = cifar.read_bytes()
    assert medzoo_command("weights", "convert", cifar, cifar, "--overwrite").code == 0
    assert len(cifar.read_bytes()) > len(before) - 4096
    assert list(medzoo.open_weights(cifar)) == list(medzoo.describe("resnet20", 10, 3).tensors)
    assert not Path("b.weights.h5").exists()


def test_inspect_says_what_a_reader_noted_and_obeys_no_terminal_codes(medzoo_command: Callable) -> None:
    save_file({"a\x1b[31m.weight": np.ones(2, "float32")}, "a.safetensors", {"from": "x\ny\x1b[1m"})
    out = medzoo_command("weights", "inspect", "a.safetensors").out
    assert "note: no known dialect: names and axes are as stored" in out
    assert "\x1b" not in out
    assert "from: x�y�[1m" in out
    content = json.loads(medzoo_command("weights", "inspect", "a.safetensors", "--json").out)
    assert content["metadata"] == {"from": "x\ny\x1b[1m"}


def test_a_forced_dialect_must_exist_and_fit(refused: Callable, cifar: Path) -> None:
    assert "unknown dialect 'torch'" in refused("weights", "inspect", cifar, "--dialect", "torch")
    assert "holds no name of the dialect hf_vit" in refused(
        "weights", "inspect", cifar, "--dialect", "hf_vit"
    )


def test_a_card_of_one_s_own_works_by_name(
    medzoo_command: Callable, refused: Callable, own_cards: Path, cifar: Path
) -> None:
    added = medzoo_command("weights", "add", cifar, "--name", "resnet20.mine", "--preprocessing", "torch")
    assert added.out.strip() == str(own_cards / "resnet20.mine.toml")
    card = find_card("resnet20.mine")
    assert (card.format, card.dialect, card.classes, card.licence) == ("safetensors", "keras", 10, "unknown")
    out = medzoo_command("weights", "inspect", "resnet20.mine").out
    assert "network resnet20, input contract torch" in out
    outcome = medzoo_command("transplant", "--src", "resnet20.mine", "--classes", 2, "--dry-run")
    assert "95 copy, 2 fresh; coverage 99.9 %" in outcome.out
    assert "exists" in refused("weights", "add", cifar, "--name", "resnet20.mine")
    # The file changes: the card says so, and nobody is told to remove the file.
    cifar.write_bytes(cifar.read_bytes() + b" ")
    line = refused("weights", "inspect", "resnet20.mine")
    assert "is not the file that card resnet20.mine was made of" in line
    assert "rm " not in line
    assert medzoo_command("weights", "verify", "resnet20.mine").code == 1
    assert [path.name for path in cifar.parent.glob("*.digest")] == []


def test_a_bad_card_stands_in_no_other_s_way(
    medzoo_command: Callable, refused: Callable, own_cards: Path, cifar: Path
) -> None:
    assert "is a bundled card" in refused("weights", "add", cifar, "--name", "resnet20.cifar10")
    for name in ("mine", "a/b.c", ".mine", "mine."):
        assert "card name" in refused("weights", "add", cifar, "--name", name)
    for url in ("foo", "http://[bad", "ftp://a/b"):
        assert "address" in refused("weights", "add", cifar, "--name", "a.b", "--url", url)
    assert "--out" in refused("weights", "add", cifar, "--name", "a.b", "--out", "other.toml")
    assert "unknown input contract" in refused(
        "weights", "add", cifar, "--name", "a.b", "--preprocessing", "z"
    )
    own_cards.mkdir()
    (own_cards / "broken.one.toml").write_text("name = 3")
    (own_cards / "vgg16.imagenet.toml").write_text("name = 3")
    assert medzoo_command("weights", "inspect", cifar).code == 0
    assert medzoo_command("weights", "show", "resnet20.cifar10").code == 0
    outcome = medzoo_command("weights", "list", "resnet20")
    assert outcome.code == 0
    assert "broken.one.toml" in outcome.err
    assert "has the name of a bundled card" in refused("weights", "show", "vgg16.imagenet")


def test_verify_compares_the_cache_and_what_was_written(
    medzoo_command: Callable, refused: Callable, own_cards: Path, cifar: Path, shared_weights: Path
) -> None:
    assert "nothing is cached" in medzoo_command("weights", "verify").err
    path = cached_path(find_card("resnet20.cifar10"))
    path.parent.mkdir(parents=True)
    path.write_bytes((shared_weights / "resnet20-12fca82f.th").read_bytes())
    assert "ok" in medzoo_command("weights", "verify").out
    assert "format torch" in medzoo_command("weights", "inspect", "resnet20.cifar10").out
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    outcome = medzoo_command("weights", "verify", "--json")
    assert outcome.code == 1
    assert json.loads(outcome.out)[0]["state"] == "differs"
    assert medzoo_command("weights", "verify", "resnet56.cifar10").code == 1
    assert medzoo_command("weights", "verify", cifar).code == 0
    cifar.write_bytes(cifar.read_bytes() + b" ")
    assert medzoo_command("weights", "verify", cifar).code == 1
    assert "is a file or folder already" in refused("weights", "fetch", cifar)


def test_fetch_takes_a_file_address_that_holds_weights(
    medzoo_command: Callable, refused: Callable, cifar: Path
) -> None:
    assert medzoo_command("weights", "fetch", cifar.resolve().as_uri()).out.strip() == str(cifar.resolve())
    Path("a.txt").write_text("no weights")
    assert "is no weights file" in refused("weights", "fetch", Path("a.txt").resolve().as_uri())
    assert "no weights file" in refused("weights", "fetch", "file:///nowhere/a.h5")
