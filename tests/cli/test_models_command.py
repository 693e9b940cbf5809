"""medzoo models: the list with its filters, and one network's stages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from medzoo.cli.models_show import write_count

import medzoo
from medzoo.models.tables.parts import read_parts
from medzoo.weights.cards import list_card_names


def list_tags(model: str) -> list[str]:
    return [name for name in list_card_names() if name.startswith(f"{model}.")]


@pytest.fixture
def listed(medzoo_command: Callable) -> Callable[..., dict[str, dict[str, Any]]]:
    """List networks by name."""

    def run(*arguments: object) -> dict[str, dict[str, Any]]:
        outcome = medzoo_command("models", *arguments, "--json")
        assert (outcome.code, outcome.err) == (0, "")
        return {row["model"]: row for row in json.loads(outcome.out)}

    return run


def test_models_lists_every_row(listed: Callable) -> None:
    rows = listed()
    assert list(rows) == [spec.name for spec in medzoo.list_models()]
    assert "mobilenet_075.imagenet" in rows["mobilenet_075"]["weights"]
    assert rows["resnet50"] | {"weights": []} == {
        "model": "resnet50",
        "family": "resnet",
        "parameters": 25_636_712,
        "macs": 3_857_973_248,
        "input_size": 224,
        "weights": [],
    }


def test_models_filters_by_pattern_and_family(listed: Callable) -> None:
    assert set(listed("cbr")) == {"cbr_large_t", "cbr_large_w", "cbr_small", "cbr_tiny"}
    assert set(listed("resnet1*", "--family", "cifar_resnet")) == {"resnet110"}
    assert "resnet50" in listed("res*")


def test_models_filters_by_size_and_cost(listed: Callable) -> None:
    everything = listed()
    small = listed("--max-parameters", "1.5M", "--min-parameters", "1,000,000")
    assert set(small) == {
        name for name, row in everything.items() if 1_000_000 <= row["parameters"] <= 1_500_000
    }
    assert {"cbr_tiny", "mobilenet_050"} <= set(small)
    cheap = listed("--max-macs", "45M")
    assert set(cheap) == {name for name, row in everything.items() if row["macs"] <= 45_000_000}
    assert "resnet20" in cheap
    assert "resnet50" in listed("resnet50", "--max-parameters", "25636712")
    assert "resnet50" not in listed("resnet50*", "--max-parameters", "25636711")


def test_models_filters_by_weights(listed: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(listed("cifar_resnet", "--tag", "cifar10")) == set(listed("cifar_resnet"))
    assert "cbr_tiny" not in listed("--weights")
    monkeypatch.setenv("MEDZOO_CARDS", str(tmp_path))
    (tmp_path / "cbr_tiny.mine.toml").write_text("")  # listing opens no card
    assert set(listed("--tag", "mine")) == {"cbr_tiny"}
    assert "cbr_tiny" in listed("--weights")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("xyz",), "no model matches 'xyz'; expected one of"),
        (("--family", "cbrr"), "no model matches --family cbrr; expected one of 'cbr'"),
        (("--tag", "imagenett"), "no model matches --tag imagenett; expected one of 'imagenet'"),
        (
            ("resnet50", "--max-parameters", "1M", "--weights"),
            "no model matches 'resnet50', --max-parameters 1.00 M, --weights; expected filters that leave some of",
        ),
        (
            ("--max-parameters", "25 million"),
            "--max-parameters '25 million'; expected a number, with k, M or G",
        ),
        (("--max-macs", "-1"), "--max-macs '-1'; expected a number, with k, M or G; try --max-macs"),
        (("--min-parameters", "1,5M"), "--min-parameters '1,5M'; expected a number"),
        (("show", "resnet5"), "expected one of 'resnet"),
        (("show", "resnet50", "--classes", "0"), "0 classes and 3 channels; expected at least 1 of each"),
        (("show", "cbr_tiny", "--input-size", "1"), "1×1 pixels is too small for cbr_tiny"),
        (("show", "cbr_tiny@block9"), "no stage 'block9' in this network; expected one of"),
    ],
)
def test_what_fits_no_network_is_refused(arguments: tuple[str, ...], reason: str, refused: Callable) -> None:
    assert reason in refused("models", *arguments)


@pytest.mark.parametrize("columns", [80, 120])
def test_the_list_fits_the_terminal(
    columns: int, medzoo_command: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = medzoo_command("models").out.splitlines()
    assert max(map(len, lines)) <= columns
    assert len(lines) >= len(medzoo.list_models()) + 2
    lines = medzoo_command("models", "mobilenet_0").out.splitlines()
    assert lines[0].split() == ["model", "family", "parameters", "MACs", "input", "weights"]
    row = lines[3]
    assert row.startswith("mobilenet_075  mobilenet   2,601,976   325 M    224  imagenet, imagenet_")
    shown, more = row.split("  ")[-1].split(" +")
    assert shown.count(",") + 1 + int(more) == len(list_tags("mobilenet_075"))
    assert len(row) > columns - len(", imagenet_notop +1")


def test_families_make_room_for_weights(medzoo_command: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = medzoo_command("models", "mobilenet_075").out.splitlines()
    assert lines[0].split() == ["model", "parameters", "MACs", "input", "weights"]
    assert lines[1].startswith("mobilenet_075   2,601,976  325 M    224  imagenet +")


def test_models_show_adds_up(medzoo_command: Callable) -> None:
    shown = json.loads(medzoo_command("models", "show", "resnet50", "--json").out)
    stages = shown["stages"]
    assert stages[-1]["cumulative"] == sum(stage["parameters"] for stage in stages) == 25_636_712
    assert shown["parameters"] == 25_636_712
    assert shown["macs"] == sum(stage["macs"] for stage in stages) == 3_857_973_248
    blocks = [block for stage in stages for block in stage["blocks"]]
    assert len(blocks) == 16
    assert blocks[-1] == {
        "block": "conv5_block3",
        "output": "conv5_block3_out",
        "output_shape": [7, 7, 2048],
        "parameters": 4_471_808,
        "cumulative": 23_587_712,
        "macs": 218_365_952,
        "receptive_field": 483,
    }
    assert stages[-1]["receptive_field"] == "all"
    assert shown["heads"][0] == "gap"
    assert shown["preprocessing"] == "caffe"
    assert "resnet50.imagenet" in shown["weights"]


def test_models_show_lays_out_a_table(medzoo_command: Callable) -> None:
    lines = medzoo_command("models", "show", "resnet50", "--classes", 2, "--channels", 1).out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("resnet50: family resnet")
    table = {line.split()[0]: line for line in lines}
    assert table["stage"].split() == ["stage", "output", "parameters", "cumulative", "MACs", "sees"]
    assert table["conv4_block6"].startswith("  conv4_block6  14×14×1024")
    assert table["conv4_block6"].split()[1:] == ["14×14×1024", "1,121,792", "8,582,912", "218", "M", "291"]
    assert table["head"].split()[1:] == ["2", "4,098", "23,585,538", "4.10", "k", "all"]
    assert "23,585,538 parameters" in table["Total:"]
    assert "radimagenet" in table["Weights"]


@pytest.mark.parametrize(
    ("name", "arguments", "total"),
    [
        ("resnet20@conv3_block2", ("--classes", "2"), 47_538),
        ("cbr_tiny+width=0.5", (), None),
        ("cbr_tiny", ("--input-size", "64"), 1_336_520),
    ],
)
def test_models_show_measures_what_is_derived(
    name: str, arguments: tuple[str, ...], total: int | None, medzoo_command: Callable
) -> None:
    outcome = medzoo_command("models", "show", name, *arguments, "--json")
    shown = json.loads(outcome.out)
    assert outcome.err == ""
    assert (shown["model"], shown["row"]) == (name, name.partition("@")[0].partition("+")[0])
    classes = shown["classes"]
    expected = medzoo.describe(name, classes=classes, input_size=shown["input_size"]).size
    assert shown["parameters"] == expected
    whole = read_parts(medzoo.find_model(shown["row"]), classes)
    assert 0 < shown["macs"] < sum(row.macs for row in whole if not row.block)
    if total is not None:
        assert shown["parameters"] == total


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.00 k"),
        (9_996, "10.0 k"),
        (99_960, "100 k"),
        (568_740_352, "569 M"),
        (4_087_140_352, "4.09 G"),
        (12_345_678_901, "12.3 G"),
    ],
)
def test_counts_are_written_with_three_digits(count: int, written: str) -> None:
    assert write_count(count) == written
