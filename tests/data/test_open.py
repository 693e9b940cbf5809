"""Opening every kind of source, and refusing what is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medzoo.data.open import open_dataset
from medzoo.errors import DataError

Write = Callable[..., Path]


def write_archive(path: Path, **changes: np.ndarray | None) -> Path:
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray | None] = {}
    for prefix, count in (("train", 8), ("val", 4), ("test", 6)):
        arrays[f"{prefix}_images"] = rng.integers(0, 256, (count, 7, 5), dtype=np.uint8)
        arrays[f"{prefix}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
    save: Any = np.savez  # its hints take a file's arrays for its own options
    save(path, **{name: array for name, array in (arrays | changes).items() if array is not None})
    return path


def test_phantom_needs_no_file() -> None:
    phantom = open_dataset("phantom", seed=1)
    assert phantom.name == "phantom"
    assert len(phantom) == 9000


def test_archive_opens(tmp_path: Path) -> None:
    dataset = open_dataset(write_archive(tmp_path / "cells.npz"))
    assert dataset.classes == ("0", "1")
    assert dataset.table.iloc[9].tolist() == ["validation/1", "validation", "1"]
    assert dataset.images is not None
    assert dataset.images.shape == (18, 7, 5, 1)
    assert (dataset.size, dataset.channels, dataset.value_range) == ((7, 5), 1, (0.0, 255.0))


def test_archive_of_colour_and_known_names_opens(tmp_path: Path) -> None:
    colour = {
        f"{prefix}_images": np.zeros((n, 4, 4, 3), np.uint8) for prefix, n in [("train", 8), ("val", 4)]
    }
    path = write_archive(
        tmp_path / "BreastMNIST_64.npz", **colour, test_images=np.zeros((6, 4, 4, 3), np.uint8)
    )
    dataset = open_dataset(path)
    assert dataset.channels == 3
    assert dataset.classes == ("malignant", "normal, benign")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_images": None}, "has no val_images, only train_images"),
        ({"train_labels": np.zeros((7, 1), np.uint8)}, "7 labels for 8 images"),
        ({"train_labels": np.zeros((8, 1))}, "whole numbers"),
        ({"train_images": np.zeros((8, 7, 5))}, "is float64; expected uint8"),
        ({"train_images": np.zeros((8, 49), np.uint8)}, r"expected \(n, height, width\)"),
        ({"test_images": np.zeros((6, 9, 9), np.uint8)}, "differ in shape"),
        ({"train_images": np.array([{}] * 8)}, "cannot read"),
        ({"val_images": np.zeros((0, 7, 5), np.uint8), "val_labels": np.zeros((0, 1), np.uint8)}, None),
    ],
)
def test_other_archives_are_refused(
    tmp_path: Path, changes: dict[str, np.ndarray], message: str | None
) -> None:
    path = write_archive(tmp_path / "other.npz", **changes)
    if message is None:  # validation is carved out
        assert open_dataset(path).table["split"].value_counts()["validation"] == 2
        return
    with pytest.raises(DataError, match=message):
        open_dataset(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"text"])
def test_broken_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.npz").write_bytes(content)
    with pytest.raises(DataError, match="cannot read"):
        open_dataset(tmp_path / "broken.npz")


def test_manifest_opens_with_split_groups_and_channels(write_image: Write, write_manifest: Write) -> None:
    rows = []
    for number in range(12):
        write_image(f"images/{number}.png", "RGB" if number == 5 else "L", seed=number)
        rows.append((f"{number}.png", "ab"[number % 2], str(number), "FM"[number % 2]))
    path = write_manifest(("image", "label", "patient", "sex"), rows)
    dataset = open_dataset(path, seed=4)
    assert list(dataset.table) == ["id", "split", "label", "patient", "sex"]
    assert set(dataset.table["split"]) == {"train", "validation", "test"}
    assert (dataset.channels, dataset.size, len(dataset.paths)) == (3, (8, 9), 12)
    assert dataset.notes == (
        f"{path.parent.name}/manifest.csv has no splits: patients were split 70/10/20 with seed 4",
    )
    assert dataset.digest != open_dataset(path, seed=5).digest


def test_manifest_names_the_row_of_a_missing_file(write_image: Write, write_manifest: Write) -> None:
    rows = [(write_image(f"{number}.png").name, "ab"[number % 2]) for number in range(8)]
    path = write_manifest(("image", "label"), [*rows, ("gone.png", "a")])
    with pytest.raises(DataError, match=r"row 10: no file '.*gone.png' \(1 of 9 absent\)"):
        open_dataset(path)


def test_sixteen_bit_files_are_said_to_be(write_image: Write, tmp_path: Path) -> None:
    for number in range(8):
        write_image(f"set/{'ab'[number % 2]}/{number}.png", "I;16", seed=number)
    dataset = open_dataset(tmp_path / "set")
    assert dataset.decoder == "reader"
    assert any(note.startswith("16-bit images: 8;") for note in dataset.notes)
    write_image("set/a/eight.png", "L")
    with pytest.raises(DataError, match=r"eight.png' has 8-bit values, where 8 of 9"):
        open_dataset(tmp_path / "set")


def test_folder_of_classes_opens(write_image: Write, tmp_path: Path) -> None:
    for number in range(10):
        write_image(f"set/{('9', '10')[number % 2]}/case{number}/{number}.png")
    (tmp_path / "set/9/.hidden.png").write_bytes(b"")
    (tmp_path / "set/__MACOSX").mkdir()
    (tmp_path / "set/9/readme.txt").write_text("about")
    dataset = open_dataset(tmp_path / "set")
    assert dataset.classes == ("9", "10")
    assert len(dataset) == 10
    assert "9/case0/0.png" in set(dataset.table["id"])


def test_folder_of_splits_opens(write_image: Write, tmp_path: Path) -> None:
    for split, count in (("Train", 8), ("valid", 2), ("test", 4)):
        for number in range(count):
            write_image(f"set/{split}/{'ab'[number % 2]}/{number}.jpg")
    dataset = open_dataset(tmp_path / "set")
    assert dataset.table["split"].value_counts().to_dict() == {"train": 8, "test": 4, "validation": 2}
    assert dataset.notes == ()
    assert [path.parent.name for path in dataset.paths] == dataset.table["label"].tolist()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no folders in it"),
        (["a.png"], "no folders in it"),
        (["a/1.png", "b/2.png", "3.png"], "1 images lie outside the class folders"),
        (["train/a/1.png", "train/2.png"], "1 images lie outside the class folders"),
        (["train/a/1.png", "extra/a/2.png"], "folder 'extra' has the split 'extra'"),
        (["a/1.png", "b/2.svg"], "'.*2.svg' is of a format not read"),
        (["a/1.txt", "b/2.txt"], "holds no images"),
    ],
)
def test_other_folders_are_refused(
    write_image: Write, tmp_path: Path, files: list[str], message: str
) -> None:
    (tmp_path / "set").mkdir()
    for name in files:
        image = write_image(f"{name}.png")
        target = tmp_path / "set" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        image.rename(target)
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "set")


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file or folder 'phantm'; expected 'phantom', a CSV"):
        open_dataset("phantm")
    (tmp_path / "a.xlsx").write_bytes(b"x")
    with pytest.raises(DataError, match="no kind of data set known here"):
        open_dataset(tmp_path / "a.xlsx")
    with pytest.raises(DataError, match="--label-column does not apply to phantom"):
        open_dataset("phantom", label_column="finding")


def test_breastmnist(shared_data: Path) -> None:
    dataset = open_dataset(shared_data / "medmnist/breastmnist.npz")
    assert dataset.table["split"].value_counts().to_dict() == {"train": 546, "validation": 78, "test": 156}
    test = dataset.of_split("test").table["label"]
    assert (test == "normal, benign").mean() == pytest.approx(0.731, abs=5e-4)  # the published majority class
    volumes = open_dataset(shared_data / "medmnist/adrenalmnist3d.npz")
    assert (volumes.is_volume, volumes.size, volumes.channels) == (True, (28, 28, 28), 1)


def test_breast_ultrasound_manifest(shared_data: Path) -> None:
    path = shared_data / "busi_breast224/manifest.csv"
    with pytest.raises(DataError, match=r"'busi_class', 'breastmnist_label'.*--label-column NAME"):
        open_dataset(path)
    dataset = open_dataset(path, label_column="breastmnist_label")
    archive = open_dataset(shared_data / "medmnist/breastmnist.npz")
    assert (dataset.channels, dataset.size, dataset.decoder) == (1, (224, 224), "tensorflow")
    counts = archive.table.groupby("split")["label"].apply(lambda labels: (labels == "malignant").sum())
    assert dataset.table.groupby("split")["label"].apply(lambda labels: (labels == "0").sum()).equals(counts)


def test_blood_cell_manifest(shared_data: Path) -> None:
    dataset = open_dataset(shared_data / "wbc/manifest.csv", label_column="wbc_class")
    assert dataset.classes == ("1", "2", "3", "4", "5")
    assert dataset.channels == 3
    assert (dataset.table.groupby("label")["split"].nunique() == 3).all()  # even that of four images


def test_chest_manifest(shared_data: Path) -> None:
    path = shared_data / "covid_chestxray_512/metadata.csv"
    with pytest.raises(DataError, match="several image columns: 'file', 'filename'"):
        open_dataset(path)
    with pytest.raises(DataError, match="is seen once"):
        open_dataset(path, image_column="file")
    table = open_dataset(path, image_column="file", label_column="view").table
    assert table["patient"].nunique() == 160
    assert (table.groupby("patient")["split"].nunique() == 1).all()
    assert (table["age"] == "").sum() == 94
