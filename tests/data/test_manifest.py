"""Manifests: columns found or asked for, rows named as a spreadsheet counts them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medzoo.data.manifest import choose_columns, read_manifest
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
    listing = read_manifest(path, image_column="path", label_column="view")
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"file,label\n", "no rows below the header"),
        (b"file,label\na.png,no\n\nb.png,\nc.png,\n", "2 rows have no 'label', the first is row 4"),
        (b"file,label\n,no\n", "1 rows have no 'file', the first is row 2"),
        (b"file,label\na.png,no,3\n", "row 2 has 3 cells; expected 2"),
        (b"file,label,label\na.png,no,no\n", "two columns 'label'"),
        (b"file;label\na.png;no\n", "single column, 'file;label'"),
        (b"file,label\na.png,caf\xe9\n", "not UTF-8"),
        (b'file,label\na.png,"no\n', "cannot read"),
        (b"file,label,split\na.png,no,hold\n", "row 2 has the split 'hold'"),
        (b"file,label\na.png,no\nb.png,no|yes\n", r"row 3 has several labels in 'label' \(1 rows do\)"),
        (b"file,label\na.png,no\nb.png,no\na.png,yes\n", "rows 2 and 4 name the same image 'a.png'"),
    ],
)
def test_bad_content_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_manifest(path)


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
    assert read_manifest(path, image_folder=told.parent).paths[1] == told
    beside = write_image("b.png")
    write_image("1.2.3.png")
    assert read_manifest(path).paths[1] == beside


def test_a_cell_too_long_for_a_file_name_is_only_missing(write_manifest: Write) -> None:
    path = write_manifest(("file", "label"), [("x" * 5000, "no")])
    assert len(read_manifest(path).paths) == 1
