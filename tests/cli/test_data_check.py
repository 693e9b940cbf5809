"""medzoo data check: what a person reads, what a program reads, and the exit code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def leaking_folder(tmp_path: Path) -> Path:
    """Twelve pictures of noise in train and test, one of train's copied to test under the other class."""
    rng = np.random.default_rng(0)
    root = tmp_path / "images"
    for split in ("train", "val", "test"):
        for label in ("no", "yes"):
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(2):
                noise = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
                noise.resize((48, 48), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    shutil.copy(root / "train" / "no" / "1.png", root / "test" / "yes" / "copy.png")
    return root


def test_text_says_what_leaks(medzoo_command: Callable[..., Any], leaking_folder: Path) -> None:
    outcome = medzoo_command("data", "check", leaking_folder)
    assert outcome.code == 0
    assert "images: 13 images, no patients known, 13 decoded" in outcome.out
    assert "1 of 5 test images have a copy" in " ".join(outcome.out.replace("│", " ").split())
    assert "2 errors, " in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 100


def test_strict_ends_with_1_on_errors_only(medzoo_command: Callable[..., Any], leaking_folder: Path) -> None:
    assert medzoo_command("data", "check", leaking_folder, "--strict").code == 1
    (leaking_folder / "test" / "yes" / "copy.png").unlink()
    assert medzoo_command("data", "check", leaking_folder, "--strict").code == 0


def test_json_is_all_that_stdout_holds(medzoo_command: Callable[..., Any], leaking_folder: Path) -> None:
    content = json.loads(medzoo_command("data", "check", leaking_folder, "--json").out)
    (pair,) = content["pairs"]
    assert pair["first"] == "train/no/1.png"
    assert pair["second"] == "test/yes/copy.png"
    assert pair["leak"] is pair["conflict"] is pair["exact"] is True


def test_without_pixels_no_image_is_opened(medzoo_command: Callable[..., Any], leaking_folder: Path) -> None:
    for image in leaking_folder.rglob("*.png"):
        image.write_bytes(b"")
    outcome = medzoo_command("data", "check", leaking_folder, "--no-pixels")
    assert outcome.code == 0
    assert "pixels not looked at" in outcome.out


def test_what_cannot_be_read_is_listed_or_refused(
    medzoo_command: Callable[..., Any], refused: Callable[..., str], leaking_folder: Path
) -> None:
    (leaking_folder / "train" / "no" / "0.png").write_bytes(b"")
    outcome = medzoo_command("data", "check", leaking_folder, "--json", "--strict")
    assert outcome.code == 1
    kinds = {finding["kind"]: finding["message"] for finding in json.loads(outcome.out)["findings"]}
    assert "0.png" in kinds["skipped"]
    assert "0.png" in refused("data", "check", leaking_folder, "--on-error", "fail")


def test_the_sheet_is_written_once(
    medzoo_command: Callable[..., Any], refused: Callable[..., str], leaking_folder: Path, tmp_path: Path
) -> None:
    sheet = tmp_path / "pairs.png"
    outcome = medzoo_command("data", "check", leaking_folder, "--sheet", sheet)
    assert "1 of 1 pairs" in outcome.err
    assert Image.open(sheet).format == "PNG"
    assert "--overwrite" in refused("data", "check", leaking_folder, "--sheet", sheet)
    assert medzoo_command("data", "check", leaking_folder, "--sheet", sheet, "--overwrite").code == 0
    assert ".png" in refused("data", "check", leaking_folder, "--sheet", tmp_path / "pairs.jpg")
    assert "--no-pixels" in refused("data", "check", leaking_folder, "--sheet", sheet, "--no-pixels")
