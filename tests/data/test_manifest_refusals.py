"""Tables that cannot be used: what is wrong, in which row, and what to type next; or left out, row by row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medzoo.data.tables.manifest import ManifestOptions, read_manifest
from medzoo.errors import ConfigError, DataError

Write = Callable[..., Path]
SKIP = ManifestOptions(on_error="skip")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b",,\n", "is empty"),
        (b"file,label\n", "no rows below the header"),
        (b"file,label\n,\n", "no rows below the header"),
        (b"file,label\na.png,no\n\nb.png,\nc.png,\n", "row 4 has no 'label' .the first of 2 such rows."),
        (b"file,label\na.png,no\n,\nb.png,\nc.png,\n", "row 4 has no 'label'"),
        (b"file,label\n,no\n", "row 2 has no 'file'; expected a value in every row"),
        (b"file,label\na.png,no,3\n", "row 2 has 3 cells; expected 2"),
        (b"file,label,age\na.png,no,3\nb.png,no\n", "row 3 has 2 cells; expected 3"),
        (b"file,label,label\na.png,no,no\n", "two columns 'label'"),
        (b"file;label\na.png;no\n", "single column, 'file;label'"),
        (b"file\tlabel\na.png\tno\n", "single column, .*try saving it with commas"),
        (
            b"file,label\na.png,caf\xe9\n",
            r"row 2 is not UTF-8 text; the file reads as Windows-1252 \(Latin-1\)",
        ),
        ("file,label\na.png,no\n".encode("utf-16"), "row 1 is not UTF-8 text; the file reads as UTF-16"),
        (b"file,label\na.png,\xff\x81\n", "row 2 is not UTF-8 text; expected a UTF-8 CSV file"),
        (b'file,label\na.png,"no\n', "cannot read"),
        (b'file,label\na.png,"no"x\n', "cannot read"),
        (b'file,label\na.png,""x\n', "cannot read"),
        (b'file,label\na.png,"no\nb.png,"yes\n', "cannot read"),
        (b'file,"label\n"\na.png,no,3\n', "row 2 has 3 cells"),
        (b"file,label,split\na.png,no,hold\n", "row 2 has the split 'hold'"),
        (b"file,label,split\na.png,no,\n", "row 2 has the split ''"),
        (b"file,label,split\na.png,no,unused\n", "every row has the split 'unused'"),
        (b"file,label\na.png,no\nb.png,no\na.png,yes\n", "row 4 names the same image as row 2, 'a.png'"),
        (b"file,label\na.png,no\nx/../a.png,yes\n", "row 3 names the same image as row 2, 'a.png'"),
        (b"file,label\na.png,no\n../a.png,yes\n", "row 3 has the image '../a.png', which is outside of"),
        (b"file,label\n/x/y/a.png,no\n/x/z/b.png,no\n", "row 2 .* 2 such rows.*--image-folder '/x'"),
        (b"file,label\na\0.png,no\n../a\0.png,no\n", "outside of .*; try correcting those rows"),
        (b"file,label\na.png,x|y\nb.png,|\n", "row 3 has no 'label'"),
        (b"file,label\na.png,x|y\nb.png,x|No Finding\n", "row 3 has 'No Finding' among other labels"),
        (b"file,Edema\na.png,1\n", "no column recognised as the label; .*--label-columns NAMES"),
    ],
)
def test_bad_content_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_manifest(path)


def test_the_command_that_mends_an_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_bytes("file,label\na.png,café\n".encode("cp1252"))
    with pytest.raises(
        DataError, match=r"try saving it as 'CSV UTF-8', or iconv -f CP1252 -t UTF-8 '.*bad.csv'"
    ):
        read_manifest(tmp_path / "bad.csv")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"file,label\na.png,no\n"])
def test_what_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read .*bad.parquet.*expected a Parquet file"):
        read_manifest(tmp_path / "bad.parquet")


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    for name in ("gone.csv", "gone.parquet"):
        with pytest.raises(DataError, match=f"cannot read .*{name}"):
            read_manifest(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            ManifestOptions(label_columns=("Edma",)),
            DataError,
            "no column 'Edma'; expected one of 'Edema'.*--label-columns NAMES",
        ),
        (ManifestOptions(label_column="Edma"), DataError, "no column 'Edma'.*--label-column NAME"),
        (
            ManifestOptions(label_columns=("Edema",), group_columns=("sx",)),
            DataError,
            "no column 'sx'; expected one of 'sex'.*--group-columns NAMES",
        ),
        (
            ManifestOptions(label_columns=("Edema",), uncertain={"Mass": "ones"}),
            ConfigError,
            "--uncertain names the label 'Mass'.*expected one of 'Edema'",
        ),
        (
            ManifestOptions(label_columns=("Edema",), label_column="Edema"),
            ConfigError,
            "both --label-column and --label-columns",
        ),
        (
            ManifestOptions(label_column="sex", blank={"*": "zeros"}),
            ConfigError,
            "--blank does not apply to the labels in 'sex'",
        ),
        (
            ManifestOptions(label_column="sex", uncertain={"*": "zeros"}),
            ConfigError,
            "--uncertain does not apply to the labels in 'sex'",
        ),
        (ManifestOptions(label_columns=("sex",)), DataError, "row 2 has 'F' in 'sex'.*1, 0, -1 or blank"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    write_manifest: Write, options: ManifestOptions, error: type[Exception], message: str
) -> None:
    path = write_manifest(("file", "Edema", "sex"), [("a.png", "1", "F"), ("b.png", "0", "M")])
    with pytest.raises(error, match=message):
        read_manifest(path, options)


def test_bad_rows_are_left_out_and_listed(write_manifest: Write) -> None:
    rows = [
        ("a.png", "1", "0", "train"),
        ("", "1", "0", "train"),
        ("b.png", "2", "x", "train"),
        ("../c.png", "1", "0", "train"),
        ("d.png", "0", "1", "hold"),
        ("a.png", "0", "1", "test"),
        ("e.png", "0", "1", "test"),
        ("b.png", "0", "1", "test"),
    ]
    path = write_manifest(("file", "Edema", "Mass", "split"), rows)
    labels = ("Edema", "Mass")
    listing = read_manifest(path, ManifestOptions(label_columns=labels, on_error="skip"))
    assert listing.rows == (2, 8, 9)  # row 4 cannot be used, so that row 9 repeats nothing
    assert listing.table["id"].tolist() == ["a.png", "e.png", "b.png"]
    assert listing.marks is not None
    assert listing.marks.tolist() == [[1, 0], [0, 1], [0, 1]]
    assert [path.name for path in listing.paths] == ["a.png", "e.png", "b.png"]
    assert listing.skipped == (
        "row 3: has no 'file'",
        "row 4: has '2' in 'Edema'",
        f"row 5: has the image '../c.png', which is outside of '{path.parent}'",
        "row 6: has the split 'hold'",
        "row 7: names the same image as row 2, 'a.png'",
    )
    with pytest.raises(DataError, match="row 3 has no 'file'"):
        read_manifest(path, ManifestOptions(label_columns=labels))


def test_skipped_rows_are_not_counted_among_blanks(write_manifest: Write) -> None:
    rows = [("a.png", "1"), ("b.png", ""), ("c.png", "0"), ("", ""), ("d.png", "-1")]
    path = write_manifest(("file", "Edema"), rows)
    listing = read_manifest(path, ManifestOptions(label_columns=("Edema",), on_error="skip"))
    assert listing.notes == ("Edema: 1 uncertain ignored, 1 blank ignored",)


def test_a_table_without_a_usable_row_is_refused(write_manifest: Write) -> None:
    path = write_manifest(("file", "label"), [("a.png", ""), ("", "no")])
    with pytest.raises(DataError, match="every row is left out, row 2 because it has no 'label'"):
        read_manifest(path, SKIP)


def test_studies_without_images_are_refused(write_manifest: Write) -> None:
    path = write_manifest(("subject_id", "study_id", "Edema"), [("10000032", "50414267", "1.0")])
    with pytest.raises(DataError, match=r"MIMIC-CXR-JPG without the column dicom_id.*joining it"):
        read_manifest(path)


def test_a_label_known_nowhere_is_refused(write_manifest: Write) -> None:
    path = write_manifest(("file", "Edema", "Mass"), [("a.png", "1", ""), ("b.png", "0", "-1")])
    labels = ("Edema", "Mass")
    with pytest.raises(
        DataError, match=r"label 'Mass' is blank or uncertain in every row.*--blank 'Mass=zeros'"
    ):
        read_manifest(path, ManifestOptions(label_columns=labels))
    listing = read_manifest(path, ManifestOptions(label_columns=labels, uncertain={"Mass": "ones"}))
    assert listing.table["label"].tolist() == ["Edema", "Mass"]


def test_a_label_column_whose_name_reads_as_two_labels_is_refused(write_manifest: Write) -> None:
    path = write_manifest(("file", "Mass|Nodule", "Cyst"), [("a.png", "1", "0"), ("b.png", "0", "1")])
    with pytest.raises(DataError, match=r"label 'Mass\|Nodule' holds '\|'"):
        read_manifest(path, ManifestOptions(label_columns=("Mass|Nodule", "Cyst")))
