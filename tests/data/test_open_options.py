"""What the options of a source choose: rows, slices, the positive class, and what is left out because of an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medzoo.data.formats.decoding import read_pixels
from medzoo.data.open import open_dataset, open_for_audit, open_listing
from medzoo.data.options import SourceOptions, make_source_options
from medzoo.errors import ConfigError, DataError, MedzooError

Write = Callable[..., Path]


def write_volumes(path: Path) -> Path:
    """Write a MedMNIST archive of volumes whose slices hold their number."""
    arrays: dict[str, np.ndarray] = {}
    for prefix, count in (("train", 8), ("val", 4), ("test", 4)):
        arrays[f"{prefix}_images"] = np.tile(
            np.arange(5, dtype=np.uint8)[None, :, None, None], (count, 1, 6, 6)
        )
        arrays[f"{prefix}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
    save: Any = np.savez
    save(path, **arrays)
    return path


def write_pictures(write_image: Write, write_manifest: Write, count: int = 30) -> Path:
    """Write pictures of two classes, two for each patient, and their table with splits, fractions and folds."""
    rows = []
    for number in range(count):
        write_image(f"{number}.png", seed=number)
        split = "train" if number < 20 else "val" if number < 24 else "test"
        fraction = ("10" if number < 4 else "100") if number < 20 else ""
        rows.append(
            (f"{number}.png", "ab"[number % 2], f"p{number // 4}", split, fraction, number // 4 % 4 + 1)
        )
    return write_manifest(("image", "label", "patient", "split", "fraction", "fold"), rows)


@pytest.mark.parametrize(("frame", "slice_"), [("middle", 2), ("first", 0), (4, 4)])
def test_a_slice_of_volumes_becomes_the_image(tmp_path: Path, frame: str | int, slice_: int) -> None:
    path = write_volumes(tmp_path / "volumes.npz")
    assert open_dataset(path).is_volume
    assert open_dataset(path, frame="all").is_volume
    sliced = open_dataset(path, frame=frame)
    assert sliced.images is not None
    assert sliced.images.shape == (16, 6, 6, 1)
    assert sliced.size == (6, 6)
    assert (sliced.images == slice_).all()
    assert any(note.startswith(f"slice {slice_ + 1} of 5") for note in sliced.notes)


def test_a_slice_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write_volumes(tmp_path / "volumes.npz")
    with pytest.raises(DataError, match="5"):
        open_dataset(path, frame=5)
    with pytest.raises(DataError, match="--frame does not apply to phantom"):
        open_dataset("phantom", frame="first")


def test_fraction_and_fold_of_a_table_choose_rows(write_image: Write, write_manifest: Write) -> None:
    path = write_pictures(write_image, write_manifest)
    counts = open_dataset(path, fraction=10).table["split"].value_counts().to_dict()
    assert counts == {"train": 4, "validation": 4, "test": 6}
    folded = open_dataset(path, fold=2).table
    assert set(folded["fold"][folded["split"] == "test"]) == {"2"}
    assert set(folded["fold"][folded["split"] == "validation"]) == {"3"}
    with pytest.raises(MedzooError, match="there is no fraction of 7 %"):
        open_dataset(path, fraction=7)
    with pytest.raises(MedzooError, match="fold 9"):
        open_dataset(path, fold=9)


def test_a_split_file_is_laid_over_any_source(tmp_path: Path) -> None:
    volumes = write_volumes(tmp_path / "volumes.npz")
    ids = open_listing(volumes, SourceOptions()).table["id"].tolist()
    splits = ["test", "test", "validation", "validation", *["train"] * 4, *["unused"] * 8]
    lines = [f"{name},{split}" for name, split in zip(ids, splits, strict=True)]
    (tmp_path / "splits.csv").write_text("\n".join(["id,split", *lines]))
    laid = open_dataset(volumes, splits=tmp_path / "splits.csv")
    assert laid.table["split"].tolist() == [split for split in splits if split != "unused"]
    assert laid.images is not None
    assert len(laid.images) == len(laid) == 8
    (tmp_path / "splits.csv").write_text("\n".join(["id,split", *lines[1:]]))
    with pytest.raises(DataError, match="lacks 1 of the 16 images, the first is 'train/0'"):
        open_dataset(volumes, splits=tmp_path / "splits.csv")


def test_the_positive_class_is_last(tmp_path: Path) -> None:
    path = write_volumes(tmp_path / "volumes.npz")
    assert open_dataset(path, positive="0").classes == ("1", "0")
    assert open_dataset(path, positive="1").classes == ("0", "1")
    with pytest.raises(ConfigError, match="no class '2'"):
        open_dataset(path, positive="2")


def test_a_broken_file_is_refused_or_left_out_and_named(write_image: Write, write_manifest: Write) -> None:
    path = write_pictures(write_image, write_manifest)
    (path.parent / "7.png").write_bytes(b"")
    (path.parent / "21.png").unlink()
    with pytest.raises(DataError, match=r"row 23: no file '.*21.png'"):
        open_dataset(path)
    left = open_dataset(path, on_error="skip")
    assert len(left) == len(left.paths) == 28
    assert not {"7.png", "21.png"} & set(left.table["id"])
    assert [line.split(":")[0] for line in left.skipped] == ["row 9", "row 23"]
    whole = dict(
        zip(*(open_listing(path, SourceOptions()).table[name] for name in ("id", "split")), strict=True)
    )
    assert all(
        whole[name] == split for name, split in zip(left.table["id"], left.table["split"], strict=True)
    )


def test_a_split_that_loses_every_image_is_refused_also_under_skip(
    write_image: Write, write_manifest: Write
) -> None:
    path = write_pictures(write_image, write_manifest)
    for number in range(20, 24):
        (path.parent / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="no validation rows"):
        open_dataset(path, on_error="skip")


def test_a_listing_reads_no_image(write_image: Write, write_manifest: Write) -> None:
    path = write_pictures(write_image, write_manifest)
    for image in path.parent.glob("*.png"):
        image.unlink()
    assert len(open_listing(path, SourceOptions()).table) == 30


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"uncertain": "maybe"}, "uncertain = 'maybe'; expected one of ones, zeros, ignore, keep"),
        ({"blank": {"Edema": "no"}}, "blank = 'no' for 'Edema'"),
        ({"frame": "last"}, "frame = 'last'; expected first, middle, all or a number"),
        ({"on_error": "warn"}, "on-error = 'warn'; expected fail or skip"),
        ({"fraction": 0.0}, "fraction = 0.0"),
        ({"fold": 0}, "fold = 0; expected 1 or more"),
        ({"lable_column": "x"}, "unknown setting 'lable_column' of data; expected one of 'label_column'"),
    ],
)
def test_options_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_source_options(settings)


def test_an_unknown_window_is_refused_before_anything_is_listed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lung"):
        open_dataset(tmp_path / "nothing", windows=["lungs"])


def test_cifar_archive_in_place(shared_data: Path) -> None:
    dataset = open_dataset(shared_data / "cifar10_jpeg/cifar10_jpeg.zip")
    assert len(dataset) == 23000
    assert dataset.bundle is not None
    assert dataset.table["split"].value_counts()["test"] == 3000
    assert len(dataset.classes) == 10


@pytest.mark.parametrize(("frame", "expected"), [(0, 0), ("first", 0), (3, 3), ("middle", 2), (None, 2)])
def test_the_first_frame_of_files_is_number_0(
    tmp_path: Path, write_manifest: Write, frame: str | int | None, expected: int
) -> None:
    pages = [Image.fromarray(np.full((6, 6), number, np.uint8)) for number in range(5)]
    for number in range(8):
        pages[0].save(tmp_path / f"{number}.tif", save_all=True, append_images=pages[1:])
    path = write_manifest(("image", "label"), [(f"{number}.tif", "ab"[number % 2]) for number in range(8)])
    dataset = open_dataset(path, frame=frame)
    assert read_pixels(dataset.paths[0], "0.tif", dataset.reading).max() == expected


def test_a_frame_that_a_picture_lacks_is_refused(write_image: Write, write_manifest: Write) -> None:
    path = write_pictures(write_image, write_manifest)
    assert len(open_dataset(path, frame=0)) == 30
    with pytest.raises(DataError, match=r"row 2: .* has no frame 7"):
        open_dataset(path, frame=7)


def test_a_window_is_refused_where_there_are_no_units(tmp_path: Path) -> None:
    for source in (write_volumes(tmp_path / "volumes.npz"), "phantom"):
        with pytest.raises(ConfigError, match="--window does not apply"):
            open_dataset(source, windows=["lung"])


def test_a_class_that_loses_every_image_is_refused_also_under_skip(
    write_image: Write, write_manifest: Write
) -> None:
    for number in range(0, 60, 2):
        write_image(f"{number}.png", seed=number)
    rows = [(f"{number}.png", "a" if number % 2 else "bc"[number // 2 % 2]) for number in range(60)]
    path = write_manifest(("image", "label"), rows)
    with pytest.raises(DataError, match=r"no image of 'a' can be read; .* row 3: no file"):
        open_dataset(path, on_error="skip")
    several = write_manifest(
        ("image", "A", "B"), [(f"{number}.png", number % 2, number // 2 % 2) for number in range(60)]
    )
    with pytest.raises(DataError, match="no image of 'A'"):
        open_dataset(several, label_columns=["A", "B"], on_error="skip")
    inverse = write_manifest(
        ("image", "A", "B"), [(f"{number}.png", 1 - number % 2, number // 2 % 2) for number in range(60)]
    )
    with pytest.raises(DataError, match="label 'A' is 1 in every image"):
        open_dataset(inverse, label_columns=["A", "B"], on_error="skip")


def test_an_audit_opens_what_cannot_be_trained_on(write_image: Write, write_manifest: Write) -> None:
    rows = [
        (write_image(f"{number}.png", seed=number).name, "rare" if number == 4 else "a")
        for number in range(8)
    ]
    path = write_manifest(("image", "label"), rows)
    with pytest.raises(DataError, match="'rare' is seen once"):
        open_dataset(path)
    audited = open_for_audit(path, SourceOptions())
    assert len(audited) == 8
    assert any(note.startswith("cannot be trained on as it is: ") for note in audited.notes)


def test_columns_that_name_people_are_no_groups_unless_asked_for(
    write_image: Write, write_manifest: Write
) -> None:
    rows = [
        (write_image(f"{number}.png", seed=number).name, "ab"[number % 2], f"Doe^{number}", "1970", "F")
        for number in range(12)
    ]
    path = write_manifest(("image", "label", "Surname", "PatientBirthDate", "sex"), rows)
    dataset = open_dataset(path)
    assert "Doe" not in dataset.table.to_csv()
    assert "sex" in dataset.table
    assert any("Surname, PatientBirthDate" in note for note in dataset.notes)
    asked = open_dataset(path, group_columns=["PatientBirthDate"])
    assert "PatientBirthDate" in asked.table


def test_group_columns_keep_what_rows_are_chosen_by(write_image: Write, write_manifest: Write) -> None:
    path = write_pictures(write_image, write_manifest)
    assert len(open_dataset(path, group_columns=[], fraction=10).of_split("train")) == 4


def test_a_folder_of_images_beside_its_table_is_no_class(
    write_image: Write, write_manifest: Write, tmp_path: Path
) -> None:
    rows = [(write_image(f"images/{number}.png", seed=number).name, "ab"[number % 2]) for number in range(8)]
    path = write_manifest(("image", "label"), rows)
    with pytest.raises(DataError, match=f"single folder of images.*{path.name}"):
        open_dataset(tmp_path)


def test_a_data_set_prints_in_a_line(tmp_path: Path) -> None:
    text = repr(open_dataset(write_volumes(tmp_path / "volumes.npz")))
    assert text == "<Dataset volumes: 8 train, 4 validation, 4 test; 5×6×6×1; 0, 1>"
