"""medzoo weights, and what every command says of itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from medzoo.weights.cards import find_card
from medzoo.weights.downloads import cached_path


def test_weights_lists_cards(medzoo_command: Callable) -> None:
    cards = {card["name"]: card for card in json.loads(medzoo_command("weights", "list", "--json").out)}
    assert len(cards) > 200
    assert cards["mobilenet_075.imagenet"]["licence"] == "Apache-2.0"
    assert cards["mobilenet_075.imagenet"]["cached"] is False
    lines = medzoo_command("weights", "mobilenet_075").out.splitlines()
    assert lines[0].split() == ["model", "tag", "size", "licence", "cached", "verified"]
    assert lines[1].split() == ["mobilenet_075", "imagenet", "10.6", "MB", "Apache-2.0", "no", "sha256"]
    assert all(line.startswith("mobilenet_075") for line in lines[1:])


def test_inspect_reads_a_card_without_a_network(medzoo_command: Callable) -> None:
    content = json.loads(medzoo_command("weights", "inspect", "mobilenet_075.imagenet", "--json").out)
    assert content["parameters"] == 2_601_976
    assert "conv1/kernel" in medzoo_command("weights", "inspect", "mobilenet_075.imagenet").out
    assert "mobilenet_075.imagenet" in medzoo_command("weights", "inspect", "imagenet").out.splitlines()[0]


def test_moments_of_the_real_file_are_the_bundled_ones(
    medzoo_command: Callable, shared_weights: Path
) -> None:
    from medzoo.weights.cards import moments_path

    outcome = medzoo_command(
        "weights", "moments", shared_weights / "mobilenet_7_5_224_tf.h5", "--out", "m.json"
    )
    assert outcome.code == 0
    assert Path("m.json").read_text() == moments_path(find_card("mobilenet_075.imagenet")).read_text()
    assert medzoo_command("weights", "moments", "m.json", "--out", "m.json").code == 1


def test_fetch_offline_says_what_to_do(refused: Callable) -> None:
    line = refused("weights", "fetch", "mobilenet_075.imagenet")
    assert "MEDZOO_OFFLINE" in line
    assert "https://" in line


def test_fetch_gives_a_cached_file_after_checking_it(
    medzoo_command: Callable, refused: Callable, shared_weights: Path
) -> None:
    path = cached_path(find_card("mobilenet_075.imagenet"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((shared_weights / "mobilenet_7_5_224_tf.h5").read_bytes())
    try:
        assert medzoo_command("weights", "fetch", "mobilenet_075.imagenet").out.strip() == str(path)
        outcome = medzoo_command("transplant", "--src", "imagenet", "--mode", "copy", "--classes", 2)
        assert outcome.code == 0
        path.write_bytes(b"another file")
        assert "digest" in refused("weights", "fetch", "mobilenet_075.imagenet")
    finally:
        path.unlink()


def test_every_command_has_help_with_an_example(medzoo_command: Callable) -> None:
    for name in ("models", "weights", "transplant", "train", "evaluate"):
        assert f"medzoo {name}" in medzoo_command(name, "--help").out
