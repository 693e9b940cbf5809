"""Manifests: columns found or asked for, rows named as a spreadsheet counts them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from medzoo.data.tables import image_paths
from medzoo.data.tables.cells import is_plain, read_plain, read_quoted
from medzoo.data.tables.image_paths import PROBED, list_images
from medzoo.data.tables.layout import choose_columns
from medzoo.data.tables.manifest import ManifestOptions, read_manifest
from medzoo.errors import DataError

HEADER = ("file", "label", "split")
ROWS = [("a.png", "no", "train"), ("b.png", "yes", "val"), ("c.png", "yes", "testing")]
Write = Callable[..., Path]


def test_columns_become_the_table(write_manifest: Write, tmp_path: Path) -> None:
    header = ("File Name", "Diagnosis", "Subset", "Patient ID", "sex", "id", "score_ai", "")
    rows = [
        (" a.png", "NA", "Train", "007", "F", "1", "0.5", "x"),
        ("b.png", "yes", "dev", "", "", "2", "0.1", "y"),
    ]
    listing = read_manifest(write_manifest(header, rows))
    table = listing.table
    assert list(table) == ["id", "label", "split", "patient", "sex", "csv_id", "csv_score_ai", "column 8"]
    assert table.iloc[0].tolist() == ["a.png", "NA", "train", "007", "F", "1", "0.5", "x"]
    assert table.iloc[1].tolist() == ["b.png", "yes", "validation", "", "", "2", "0.1", "y"]
    assert listing.paths == (tmp_path / "a.png", tmp_path / "b.png")
    assert listing.rows == (2, 3)


def test_named_columns_win(write_manifest: Write) -> None:
    path = write_manifest(("file", "path", "label", "view"), [("a.png", "b.png", "no", "AP")])
    listing = read_manifest(path, ManifestOptions(image_column="path", label_column="view"))
    assert listing.table.iloc[0].to_dict() == {
        "id": "b.png",
        "label": "AP",
        "file": "a.png",
        "csv_label": "no",
    }


def test_patient_column_without_patients_is_left_out(write_manifest: Write) -> None:
    assert (
        "patient"
        not in read_manifest(write_manifest(("file", "label", "patient"), [("a.png", "no", "")])).table
    )


@pytest.mark.parametrize(
    ("columns", "named", "message"),
    [
        (
            ["file", "filename", "label"],
            {},
            "several image columns: 'file', 'filename'; .*--image-column NAME",
        ),
        (
            ["file", "age"],
            {},
            "recognised as the label; expected one of 'file', 'age'; try --label-column NAME",
        ),
        (["file", "label", "view"], {"label": "veiw"}, "no column 'veiw'; expected one of 'view'"),
        (["file", "label", "set", "split"], {}, "several split columns: 'set', 'split'"),
    ],
)
def test_columns_in_doubt_are_refused(columns: list[str], named: dict[str, str | None], message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose_columns(columns, named, "chest.csv")


def test_a_named_column_settles_the_doubt() -> None:
    chosen = choose_columns(["file", "filename", "label"], {"image": "file"}, "chest.csv")
    assert chosen == {"image": "file", "label": "label"}
    chosen = choose_columns(["file", "finding", "set"], {"label": "set"}, "chest.csv")
    assert chosen == {"image": "file", "label": "set"}  # and no longer the split


def test_byte_order_mark_and_quoted_newlines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes(b'\xef\xbb\xbffile,label,report\r\na.png,no,"one\r\ntwo"\r\nb.png,yes,\r\n\r\n')
    listing = read_manifest(path)
    assert listing.table["id"].tolist() == ["a.png", "b.png"]
    assert listing.rows == (2, 3)


def test_images_are_found_beside_below_or_where_told(write_manifest: Write, write_image: Write) -> None:
    path = write_manifest(("id_code", "label"), [("missing", "no"), ("b", "yes"), ("1.2.3", "no")])
    below = write_image("images/b.jpeg")
    dotted = write_image("images/1.2.3.PNG")
    assert read_manifest(path).paths[1:] == (below, dotted)
    told = write_image("elsewhere/b.png")
    assert read_manifest(path, ManifestOptions(image_folder=told.parent)).paths[1] == told
    beside = write_image("b.png")
    write_image("1.2.3.png")
    assert read_manifest(path).paths[1] == beside


def test_a_cell_too_long_for_a_file_name_is_only_missing(write_manifest: Write) -> None:
    path = write_manifest(("file", "label"), [("x" * 5000, "no")])
    assert len(read_manifest(path).paths) == 1


def test_parquet_is_read_as_text(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "file": ["a.png", "b.png", "c.png"],
            "finding": pd.Categorical(["x", "y", "x"]),
            "patient": [13.0, np.nan, 7.0],
            "age": [61, 5, 40],
            "dose": [0.5, 1.0, np.nan],
            "smoker": [True, False, True],
            "thumbnail": [{"bytes": 1}] * 3,
        },
        index=[5, 6, 7],
    )
    frame.to_parquet(tmp_path / "chest.parquet")
    listing = read_manifest(tmp_path / "chest.parquet")
    table = listing.table
    assert table["patient"].tolist() == ["13", "", "7"]
    assert table["dose"].tolist() == ["0.5", "1", ""]
    assert table["smoker"].tolist() == ["true", "false", "true"]
    assert table["age_band"].tolist() == ["60-79", "0-17", "40-59"]
    assert listing.rows == (1, 2, 3)
    assert listing.notes == ("chest.parquet: columns that are no text were left out: 'thumbnail'",)


def test_missing_numbers_of_other_programs_are_missing(tmp_path: Path) -> None:
    table = pyarrow.table(
        {"file": ["a", "b"], "label": ["x", "y"], "dose": pyarrow.array([float("nan"), 2.0])}
    )
    parquet.write_table(table, tmp_path / "chest.parquet")
    assert read_manifest(tmp_path / "chest.parquet").table["dose"].tolist() == ["", "2"]


def test_lists_in_parquet_are_several_labels(tmp_path: Path) -> None:
    labels = [["Mass", "Edema"], ["No Finding"], ["Edema"]]
    pd.DataFrame({"file": list("abc"), "labels": labels}).to_parquet(tmp_path / "chest.parquet")
    listing = read_manifest(tmp_path / "chest.parquet")
    assert listing.classes == ("Edema", "Mass")
    assert listing.table["label"].tolist() == ["Edema|Mass", "", "Edema"]


CELL = st.text(alphabet='ab1 é,\n"|-', max_size=4).map(str.strip)


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=6), end=st.sampled_from(["\n", "\r\n"])
)
def test_fast_and_careful_readers_agree(rows: list[tuple[str, ...]], end: str) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=end).writerows([("x", "y", ""), *rows])
    text = buffer.getvalue()
    path = Path("any.csv")
    plain = read_plain(text.encode(), path) if is_plain(text.encode()) else None
    if plain is None:  # an empty line within a cell, or no row at all
        assert "\n\n" in text or "\n\r\n" in text or not any(map(any, rows))
        return
    careful = read_quoted(text, path)
    assert plain.index.tolist() == careful.index.tolist()
    assert plain.to_dict("list") == careful.to_dict("list")


def test_names_with_an_ending_are_not_looked_up(
    write_manifest: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_manifest(("file", "label"), [(f"{number}.png", "no") for number in range(500)])
    asked: list[Path] = []
    monkeypatch.setattr("medzoo.data.tables.image_paths.is_file", lambda path: asked.append(path) is None)
    monkeypatch.setattr("medzoo.data.tables.image_paths.list_images", lambda folder: pytest.fail(folder))
    assert len(read_manifest(path).paths) == 500
    assert len(asked) <= 2 * PROBED


def test_images_in_several_folders_are_found(write_manifest: Write, write_image: Write) -> None:
    path = write_manifest(("lesion_id", "image_id", "dx"), [("1", "ISIC_1", "nv"), ("2", "ISIC_2", "mel")])
    first = write_image("HAM10000_images_part_1/ISIC_1.jpg")
    second = write_image("HAM10000_images_part_2/ISIC_2.jpg")
    assert read_manifest(path).paths == (first, second)


def test_names_may_begin_with_the_tables_folder(write_manifest: Write, write_image: Write) -> None:
    image = write_image("set/train/a.png")
    path = write_manifest(("file", "label"), [("set/train/a.png", "no")], name="set/train.csv")
    assert read_manifest(path).paths == (image,)


def test_absolute_names_below_the_folder_are_read(write_manifest: Write, write_image: Write) -> None:
    image = write_image("images/a.png")
    path = write_manifest(("file", "label"), [(str(image), "no"), ("images/../b.png", "yes")])
    assert read_manifest(path).paths == (image, image.parent.parent / "b.png")
    linked = path.parent / "elsewhere"
    linked.mkdir()
    (linked / "images").symlink_to(image.parent)
    path = write_manifest(("file", "label"), [("images/a.png", "no")], name="elsewhere/manifest.csv")
    assert read_manifest(path).paths == (linked / "images/a.png",)


def test_a_folder_that_holds_the_images_makes_outside_inside(
    write_manifest: Write, write_image: Write
) -> None:
    image = write_image("images/a.png")
    (image.parent.parent / "tables/deep").mkdir(parents=True)
    path = write_manifest(("file", "label"), [("../../images/a.png", "no")], name="tables/deep/manifest.csv")
    with pytest.raises(DataError, match=f"--image-folder '{image.parent}'$"):
        read_manifest(path)
    assert read_manifest(path, ManifestOptions(image_folder=image.parent)).paths == (image,)


def test_unused_rows_are_left_out_with_a_note(write_manifest: Write) -> None:
    rows = [("a.png", "no", "train"), ("b.png", "", "unused"), ("c.png", "yes", "validate")]
    listing = read_manifest(write_manifest(HEADER, rows))
    assert listing.table["split"].tolist() == ["train", "validation"]
    assert listing.rows == (2, 4)
    assert listing.notes == ("manifest.csv: rows left out whose split is 'unused': 1",)


def test_patients_that_are_said_to_be_missing_are_unknown(write_manifest: Write) -> None:
    rows = [("a.png", "no", "nan"), ("b.png", "no", "NaN"), ("c.png", "yes", "p1"), ("d.png", "yes", "N/A")]
    path = write_manifest(("file", "label", "patient"), rows)
    assert read_manifest(path).table["patient"].tolist() == ["", "", "p1", ""]
    none = write_manifest(("file", "label", "patient"), [("a.png", "no", "nan"), ("b.png", "yes", "nan")])
    assert "patient" not in read_manifest(none).table


def test_absolute_names_without_endings_list_their_folder_once(
    write_image: Write, write_manifest: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [write_image(f"scans/{number}.png") for number in range(30)]
    rows = [(str(image.with_suffix("")), "ab"[number % 2]) for number, image in enumerate(images)]
    path = write_manifest(("file", "label"), rows)
    listed: list[str] = []

    def list_one(folder: str) -> dict[str, str]:
        """List a folder, and note which."""
        listed.append(folder)
        return list_images(folder)

    monkeypatch.setattr(image_paths, "list_images", list_one)
    assert read_manifest(path).paths == tuple(images)
    assert listed.count(str(images[0].parent)) <= 2


def test_busi_manifest(shared_data: Path) -> None:
    listing = read_manifest(
        shared_data / "busi_breast224/manifest.csv", ManifestOptions(label_column="busi_class")
    )
    assert listing.table["label"].value_counts().to_dict() == {"benign": 437, "malignant": 210, "normal": 133}
    assert listing.table["split"].value_counts().to_dict() == {"train": 546, "validation": 78, "test": 156}
    assert all(path.is_file() for path in listing.paths)


def test_blood_cell_manifest(shared_data: Path) -> None:
    listing = read_manifest(shared_data / "wbc/manifest.csv", ManifestOptions(label_column="wbc_class"))
    assert len(listing.table) == 400
    assert all(path.is_file() for path in listing.paths)
    assert listing.marks is None


def test_covid_manifest(shared_data: Path) -> None:
    listing = read_manifest(
        shared_data / "covid_chestxray_512/metadata.csv", ManifestOptions(image_column="file")
    )
    assert (listing.table["age"] == "").sum() == 94
    assert (listing.table["age_band"] == "").sum() == 94
    assert listing.table["patient"].nunique() == 160
    assert "url" not in listing.table  # too long to be a group
    assert all(path.is_file() for path in listing.paths)
