"""medzoo data bench: a table and a verdict for a person, rates for a program, refusals before any measurement."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

QUICK = ("--seconds", "0.05", "--image-size", "32", "--batch-size", "8", "--precision", "float32")


def test_a_person_reads_a_table_and_a_verdict(medzoo_command: Callable[..., Any], image_folder: Path) -> None:
    outcome = medzoo_command("data", "bench", image_folder, *QUICK, "--augment", "light")
    assert outcome.code == 0, outcome
    lines = outcome.out.splitlines()
    parts = ["part", "reading from", "decoding and", "augmenting", "the whole", "training steps of cbr_tiny"]
    assert [line.startswith(part) for line, part in zip(lines, parts, strict=False)] == [True] * 6
    assert " limits: the pipeline gives " in lines[6]
    assert len(lines) == 7
    assert "training images, 32×32×1 in batches of 8, cache off" not in outcome.err
    assert "32×32×1 in batches of 8, cache memory" in outcome.err


def test_a_program_reads_rates(medzoo_command: Callable[..., Any], image_folder: Path) -> None:
    outcome = medzoo_command("data", "bench", image_folder, *QUICK, "--cache", "off", "--json")
    assert outcome.code == 0, outcome
    found = json.loads(outcome.out)
    rates = found["images_per_second"]
    assert list(rates) == ["storage", "decode", "augment", "pipeline", "step"]
    assert rates["augment"] is None
    assert all(rate > 0 for name, rate in rates.items() if name != "augment")
    assert found["limit"] in ("model", "storage", "decode", "batches")
    assert (found["cache"], found["image_size"], found["model"]) == ("off", 32, "cbr_tiny")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--model", "resnet5"), "resnet50"),
        (("--channels", "5"), "5 input channels for images of 1"),
        (("--augment", "lihgt"), "light"),
        (("--model", "inception_v3", "--image-size", "9"), "9"),
        (("--label-column", "x"), "--label-column"),
    ],
)
def test_refusals(
    refused: Callable[..., str], image_folder: Path, options: tuple[str, ...], told: str
) -> None:
    assert told in refused("data", "bench", image_folder, "--seconds", "0.05", *options)


def test_a_cache_that_does_not_fit_is_refused(
    refused: Callable[..., str], image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medzoo.data.feeding.cache.find_free_memory", lambda: 1000)
    line = refused("data", "bench", image_folder, *QUICK, "--cache", "memory")
    assert "of memory" in line
    assert "--cache disk" in line
