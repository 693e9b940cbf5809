"""medzoo data split: a person's files in, a split file out, and the same file read again."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def manifest(image_folder: Path) -> Path:
    """A table beside the folder of images: 24 images of 12 patients."""
    rows = ["file,label,subject"]
    rows += [
        f"images/{name}/{row}.png,{name},{name[0]}{row // 2}"
        for name in ("bright", "dark")
        for row in range(12)
    ]
    path = image_folder.parent / "manifest.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_manifest_is_split_by_patient(medzoo_command: Callable, manifest: Path) -> None:
    done = medzoo_command("data", "split", manifest)
    assert done.code == 0, done
    assert done.out.splitlines() == [
        "images (patients)   train  validation   test",
        "bright              8 (4)       2 (1)  2 (1)",
        "dark                8 (4)       2 (1)  2 (1)",
        "all                16 (8)       4 (2)  4 (2)",
        "wrote splits.csv: 24 images, seed 0",
    ]
    assert "patients were split 70/10/20 with seed 0" in done.err
    assert f"note: train with --data splits.csv, or --data {manifest} --splits splits.csv" in done.err
    rows = read_rows(Path("splits.csv"))
    assert list(rows[0]) == ["image", "id", "label", "patient", "split"]
    assert rows[0]["image"] == rows[0]["id"] == "images/bright/0.png"
    sides = {(row["patient"], row["split"]) for row in rows}
    assert len(sides) == len({row["patient"] for row in rows}) == 12


def test_its_file_is_a_manifest_with_those_splits(medzoo_command: Callable, manifest: Path) -> None:
    medzoo_command("data", "split", manifest, "--seed", 4)
    again = medzoo_command("data", "split", "splits.csv", "--out", "again.csv")
    assert again.code == 0, again
    first, second = read_rows(Path("splits.csv")), read_rows(Path("again.csv"))
    for column in ("image", "label", "patient", "split"):
        assert [row[column] for row in first] == [row[column] for row in second]
    assert medzoo_command("data", "split", manifest, "--seed", 4, "--out", "same.csv").code == 0
    assert Path("same.csv").read_text() == Path("splits.csv").read_text()


def test_nested_fractions_are_written_and_counted(medzoo_command: Callable, manifest: Path) -> None:
    done = medzoo_command("data", "split", manifest, "--nested", "--json")
    found = json.loads(done.out)
    assert found["seed"] == 0
    assert found["counts"]["split"]["train"]["labels"]["dark"] == {"images": 8, "patients": 4}
    levels = found["counts"]["fraction"]
    assert list(levels) == ["1", "50", "100"]
    assert [levels[level]["patients"] for level in levels] == [2, 4, 8]
    text = medzoo_command("data", "split", manifest, "--nested", "--out", "text.csv").out
    assert text.splitlines()[5:7] == [
        "training images (patients)    1 %   50 %   100 %",
        "bright                      2 (1)  4 (2)   8 (4)",
    ]


def test_folds_shots_and_sizes(medzoo_command: Callable, manifest: Path) -> None:
    done = medzoo_command("data", "split", manifest, "--folds", 3, "--out", "folds.csv")
    assert done.out.splitlines()[5] == "fold images (patients)      1      2      3"
    assert {row["fold"] for row in read_rows(Path("folds.csv"))} == {"1", "2", "3"}
    done = medzoo_command("data", "split", manifest, "--shots", 3, "--out", "shots.csv")
    assert "all                6 (6)       4 (2)  4 (2)  10 (8)" in done.out, done.out
    done = medzoo_command("data", "split", manifest, "--size", 5, "--out", "size.csv")
    kept = [row for row in read_rows(Path("size.csv")) if row["split"] == "train"]
    assert len(kept) == 4


def test_images_elsewhere_need_their_folder(medzoo_command: Callable, image_folder: Path) -> None:
    done = medzoo_command("data", "split", image_folder, "--out", "deep/splits.csv")
    assert done.code == 0, done
    assert (
        f"train with --data deep/splits.csv --image-folder {image_folder}, or --data {image_folder}"
        in done.err
    )
    assert "names no patients" in done.err
    assert done.out.splitlines()[0].split() == ["images", "train", "validation", "test"]
    arguments = ("--image-folder", image_folder, "--out", "again.csv")
    assert medzoo_command("data", "split", "deep/splits.csv", *arguments).code == 0


def test_arrays_have_no_image_column(medzoo_command: Callable, tmp_path: Path) -> None:
    arrays = {}
    for part, count in (("train", 20), ("val", 6), ("test", 8)):
        arrays[f"{part}_images"] = np.zeros((count, 28, 28), np.uint8)
        arrays[f"{part}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
    np.savez(tmp_path / "toy.npz", **arrays)
    done = medzoo_command("data", "split", "toy.npz", "--shots", 4)
    assert done.code == 0, done
    assert "note: train with --data toy.npz --splits splits.csv" in done.err
    rows = read_rows(Path("splits.csv"))
    assert list(rows[0]) == ["id", "label", "split"]
    assert sum(row["split"] == "train" for row in rows) == 8
    assert sum(row["split"] == "test" for row in rows) == 8


def test_an_existing_file_is_kept(medzoo_command: Callable, refused: Callable, manifest: Path) -> None:
    Path("splits.csv").write_text("mine")
    assert "splits.csv exists; expected a new file; try --overwrite" in refused("data", "split", manifest)
    assert Path("splits.csv").read_text() == "mine"
    assert medzoo_command("data", "split", manifest, "--overwrite").code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--fractions", "a,b"), "--fractions a,b; expected numbers between commas"),
        (("--fractions", "80,20"), "--fractions 80,20; expected training, validation and test"),
        (("--size", 3, "--folds", 3), "--size and --folds together"),
        (("--resplit",), "has no splits"),
        (("--shots", 9), "label 'bright' has 8 training images"),
        (("--folds", 7), "label 'bright' has 6 patients, too few for 7 folds"),
        (("--patient-column", "name"), "has no column 'name'"),
        (
            ("--out", "splits.parquet"),
            "--out splits.parquet is no .csv; expected a CSV file; try --out splits.csv",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(
    refused: Callable, manifest: Path, options: tuple[object, ...], words: str
) -> None:
    assert words in refused("data", "split", manifest, *options)
    assert not Path("splits.csv").exists()


def test_rows_that_are_left_out_are_listed(medzoo_command: Callable, manifest: Path) -> None:
    with manifest.open("a") as file:
        file.write("images/dark/0.png,dark,d0\nimages/dark/99.png,,d0\n")
    done = medzoo_command("data", "split", manifest, "--on-error", "skip")
    assert done.code == 0, done
    assert "rows left out that cannot be used: 2" in done.err
    assert "row 26: names the same image as row 14" in done.err
    assert "row 27: has no 'label'" in done.err
    assert f"or --data {manifest} --on-error skip --splits splits.csv" in done.err
    done = medzoo_command("data", "split", manifest, "--on-error", "skip", "--json", "--overwrite")
    assert len(json.loads(done.out)["skipped"]) == 2


def test_the_command_that_is_told_takes_the_file(medzoo_command: Callable, manifest: Path) -> None:
    text = manifest.read_text().replace("file,label,subject", "file,class,subject")
    lines = [f"{line},{'filename' if row == 0 else row}" for row, line in enumerate(text.splitlines())]
    lines = [f"{line},{'finding' if row == 0 else 'x'}" for row, line in enumerate(lines)]
    manifest.write_text("\n".join(lines) + "\n")
    named = ("--image-column", "file", "--label-column", "class")
    done = medzoo_command("data", "split", manifest, *named)
    assert done.code == 0, done
    told = next(line for line in done.err.splitlines() if "train with" in line)
    alone, laid = told.removeprefix("note: train with ").split(", or ")
    for words in (alone, laid):
        source, *options = shlex.split(words.removeprefix("--data "))
        again = medzoo_command("data", "check", source, *options, "--no-pixels", "--json")
        assert again.code == 0, again
        assert json.loads(again.out)["splits"] == {"train": 16, "validation": 4, "test": 4}


def test_real_tables_are_split(medzoo_command: Callable, shared_data: Path) -> None:
    table = shared_data / "nih_cxr14_sample" / "labels_4999.csv"
    done = medzoo_command("data", "split", table, "--seed", 1, "--nested", "--json")
    assert done.code == 0, done
    assert len(json.loads(done.out)["counts"]["split"]["train"]["labels"]) == 15  # 14 findings, and none
    rows = read_rows(Path("splits.csv"))
    assert len({(row["patient"], row["split"]) for row in rows}) == len({row["patient"] for row in rows})
