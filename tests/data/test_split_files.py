"""Split files: what is written is read again, by itself as a manifest and laid over the data by id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medzoo.data.dataset import Listing, join_labels
from medzoo.data.splitting.split_files import apply_split_file, write_split_file
from medzoo.data.splitting.split_wishes import SplitWish, count_sides, make_splits
from medzoo.data.splitting.splits import find_leaks
from medzoo.data.splitting.subsets import Choice
from medzoo.data.tables.manifest import ManifestOptions, read_manifest
from medzoo.errors import ConfigError, DataError

CLASSES = ("cyst", "mass")


def make_table(count: int = 40, **columns: list[str]) -> pd.DataFrame:
    """Make a table of two classes and two images a patient."""
    labels = ["benign, or cyst" if row % 4 < 2 else "malignant" for row in range(count)]
    table = pd.DataFrame({"id": [f"scans/{row:02d}.png" for row in range(count)], "label": labels})
    return table.assign(patient=[f"p{row // 2}" for row in range(count)], sex="F", **columns)


def list_files(root: Path, table: pd.DataFrame) -> tuple[Path, ...]:
    return tuple(root / name for name in table["id"])


def make_listing(table: pd.DataFrame, root: Path = Path("data")) -> Listing:
    return Listing(name="toy", table=table, paths=list_files(root, table))


@pytest.mark.parametrize("place", [".", "link", "aside"])
def test_a_file_holds_by_itself_from_where_it_lies(
    tmp_path: Path, write_image: Callable[..., Path], place: str
) -> None:
    table = make_table(8, split=["train"] * 4 + ["validation"] * 2 + ["test", "unused"])
    for name in table["id"]:
        write_image(f"images/{name}")
    (tmp_path / "link").symlink_to(tmp_path / "images", target_is_directory=True)
    path = tmp_path / place / "splits.csv"
    written = write_split_file(path, table, paths=list_files(tmp_path / "images", table))
    header, first = path.read_text().splitlines()[:2]
    assert header == "image,id,label,patient,split,sex"
    start = {".": "images/scans/", "link": "scans/", "aside": ""}[place]
    assert first == f'{start}00.png,scans/00.png,"benign, or cyst",p0,train,F'
    assert written.image_folder == (tmp_path / "images" / "scans" if place == "aside" else None)
    listing = read_manifest(path, ManifestOptions(image_folder=written.image_folder))
    assert listing.table["split"].tolist() == table["split"].tolist()[:7]
    assert listing.table["label"].tolist() == table["label"].tolist()[:7]
    assert listing.table["patient"].tolist() == table["patient"].tolist()[:7]
    assert all(image.is_file() for image in listing.paths)


def test_an_existing_file_stays_unless_it_may_go(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"splits\.csv exists; expected a new file; try --overwrite"):
        write_split_file(path, make_table())
    assert path.read_text() == "mine"
    write_split_file(path, make_table(), overwrite=True)
    assert path.read_text().startswith("id,label,patient,sex\n")
    assert [file.name for file in tmp_path.iterdir()] == ["splits.csv"]


@pytest.mark.parametrize("unknown", [False, True])
def test_several_labels_are_read_again(tmp_path: Path, unknown: bool) -> None:
    marks = np.array([[1, 0], [0, 0], [1, 1], [0, 1], [1, 0], [0, 1]] * 4, np.float32)
    if unknown:
        marks[3, 0] = np.nan
    table = pd.DataFrame(
        {"id": [f"{row:02d}.png" for row in range(24)], "label": join_labels(marks, CLASSES)}
    )
    table["split"] = ["train", "validation", "test"] * 8
    written = write_split_file(
        tmp_path / "splits.csv", table, paths=list_files(tmp_path, table), classes=CLASSES, marks=marks
    )
    assert written.label_columns == (CLASSES if unknown else ())
    options = ManifestOptions(label_columns=written.label_columns)
    listing = read_manifest(tmp_path / "splits.csv", options)
    assert listing.classes == CLASSES
    np.testing.assert_array_equal(listing.marks, marks)
    choice = apply_split_file(table, tmp_path / "splits.csv")
    assert choice.notes == ()


def test_a_label_that_is_called_as_one_of_the_columns(tmp_path: Path) -> None:
    marks = np.array([[1, np.nan], [0, 1]], np.float32)
    table = pd.DataFrame({"id": ["1", "2"], "label": ["fold", "mass"], "split": ["train", "test"]})
    written = write_split_file(tmp_path / "s.csv", table, classes=("fold", "mass"), marks=marks)
    assert written.label_columns == ("label fold", "mass")
    assert (tmp_path / "s.csv").read_text() == "id,label fold,mass,split\n1,1,,train\n2,0,1,test\n"


def test_a_file_lies_over_data_in_any_order(tmp_path: Path) -> None:
    table, _ = make_splits(make_listing(make_table()), SplitWish(nested=True, seed=2))
    write_split_file(tmp_path / "splits.csv", table)
    other = make_table().sample(frac=1, random_state=1).reset_index(drop=True)
    choice = apply_split_file(other, tmp_path / "splits.csv", fraction=50)
    assert choice.split is not None
    wanted = table.set_index("id").loc[other["id"].iloc[choice.rows]]
    assert choice.split.tolist() == wanted["split"].tolist()
    assert (np.diff(choice.rows) > 0).all()
    assert set(wanted["fraction"]) <= {"", "1", "2", "5", "10", "20", "50"}
    inside = (table["split"] != "train") | table["fraction"].isin(["1", "2", "5", "10", "20", "50"])
    assert len(choice.rows) == inside.sum() < len(table)


CELLS = "id,label,split\na,x,Train\nb,y,val\nc,x,test\nd,y,unused\n"


def _lay(tmp_path: Path, text: str, ids: str = "abcd", **asked: int) -> Choice:
    path = tmp_path / "splits.csv"
    path.write_text(text)
    return apply_split_file(pd.DataFrame({"id": list(ids), "label": "x"}), path, **asked)


def test_spellings_and_changed_labels(tmp_path: Path) -> None:
    choice = _lay(tmp_path, CELLS)
    assert choice.rows.tolist() == [0, 1, 2]
    assert choice.split is not None
    assert choice.split.tolist() == ["train", "validation", "test"]
    assert choice.notes[0].startswith("labels of 2 images are not those of")
    assert choice.notes[1] == "rows of no split, left out: 1"


@pytest.mark.parametrize(
    ("text", "ids", "words"),
    [
        (CELLS, "abcdef", r"splits.csv lacks 2 of the 6 images, the first is 'e'"),
        (CELLS, "ad", r"splits.csv names 2 images that the data lack, the first is 'b'"),
        (CELLS + "b,x,test\n", "abcd", r"splits.csv, row 6 names 'b' once more"),
        (CELLS.replace("val\n", "vol\n"), "abcd", r"splits.csv, row 3 has the split 'vol'"),
        (CELLS.replace("id,", "name,"), "abcd", r"splits.csv has no column 'id'"),
        (CELLS.replace("split", "side"), "abcd", r"splits.csv has no column 'split'"),
        ("", "abcd", r"splits.csv is empty"),
    ],
)
def test_a_file_of_other_data_is_refused(tmp_path: Path, text: str, ids: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        _lay(tmp_path, text, ids)


def test_images_that_were_skipped_may_be_missing(tmp_path: Path) -> None:
    assert _lay(tmp_path, CELLS, "acd", missing=1).rows.tolist() == [0, 1]
    with pytest.raises(DataError, match="names 2 images that the data lack"):
        _lay(tmp_path, CELLS, "ad", missing=1)
    with pytest.raises(DataError, match=r"cannot read .*absent.csv"):
        apply_split_file(make_table(), tmp_path / "absent.csv")


def test_given_splits_are_kept_unless_told_otherwise() -> None:
    given = ["train"] * 24 + ["validation"] * 8 + ["test"] * 8
    listing = make_listing(make_table(split=given))
    assert make_splits(listing, SplitWish(seed=3))[0]["split"].tolist() == given
    kept = make_splits(listing, SplitWish(seed=3, keep_test=True))[0]["split"]
    assert (kept == "test").tolist() == [split == "test" for split in given]
    assert kept.tolist() != given
    assert (kept == "validation").sum() == 4  # an eighth of 16 patients
    anew = make_splits(listing, SplitWish(seed=3, resplit=True, fractions=(6, 2, 2)))[0]
    assert anew["split"].value_counts().to_dict() == {"train": 24, "validation": 8, "test": 8}
    assert anew["split"].tolist() != given
    assert not find_leaks(anew)


@pytest.mark.parametrize("wish", [SplitWish(keep_test=True), SplitWish(folds=3)])
def test_patients_of_a_kept_test_split_are_on_no_other_side(wish: SplitWish) -> None:
    given = ["train"] * 24 + ["validation"] * 7 + ["test"] * 9  # patient p15 is on two sides
    listing = make_listing(make_table(split=given))
    table, notes = make_splits(listing, wish)
    assert table["split"].tolist()[30] == "unused"
    assert not find_leaks(table)
    assert notes[0] == "left out 1 images of 1 patients who are in the test split as well"
    _, notes = make_splits(listing, SplitWish())
    assert notes == (
        "patients in several splits: 1, such as 'p15'; results may look too good",
        "--resplit deals them anew, every patient to one side",
    )


def test_old_fractions_and_folds_are_dropped_with_a_note() -> None:
    table, notes = make_splits(make_listing(make_table(fold=["1"] * 40)), SplitWish(folds=4))
    assert notes == ("left out fold of toy: they belong to its own splits",)
    assert set(table["fold"]) == {"1", "2", "3", "4"}
    assert (table["split"] == table["fold"].map({"1": "test", "2": "validation"}).fillna("train")).all()


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (SplitWish(size=3, shots=2), "--size and --shots together"),
        (SplitWish(folds=3, nested=True), "--folds and --nested together"),
        (SplitWish(folds=3, fractions=(1, 1, 1)), "--folds and --fractions together"),
        (SplitWish(resplit=True, keep_test=True), "--resplit and --keep-test together"),
        (SplitWish(fractions=(80, 20)), "--fractions 80,20; expected training, validation and test"),
        (SplitWish(fractions=(80, float("nan"), 20)), "--fractions 80,nan,20; expected"),
        (SplitWish(resplit=True), "--resplit: toy has no splits"),
    ],
)
def test_wishes_that_do_not_go_together_are_refused(wish: SplitWish, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_splits(make_listing(make_table()), wish)


def test_counts_are_of_images_and_patients() -> None:
    table = make_table(8, split=["train"] * 6 + ["test"] * 2)
    counts = count_sides(table)
    assert counts["train"] == {
        "images": 6,
        "patients": 3,
        "labels": {
            "benign, or cyst": {"images": 4, "patients": 2},
            "malignant": {"images": 2, "patients": 1},
        },
    }
    assert counts["test"]["images"] == 2


def test_a_label_that_a_list_would_leave_out_has_a_column_of_its_own(tmp_path: Path) -> None:
    classes = ("No finding", "cyst", "mass")  # as VinDr-CXR spells it: lists read it as "none of the others"
    marks = np.array([[1, 0, 0], [0, 1, 1], [0, 1, 0]], np.float32)
    table = make_table(3).assign(label=join_labels(marks, classes))
    path = tmp_path / "s.csv"
    written = write_split_file(path, table, paths=list_files(tmp_path, table), classes=classes, marks=marks)
    assert written.label_columns == classes
    listing = read_manifest(path, ManifestOptions(label_columns=written.label_columns))
    assert listing.classes == classes
    assert listing.marks is not None
    assert listing.marks.tolist() == marks.tolist()


def test_columns_that_groups_rival_are_named(tmp_path: Path) -> None:
    table = make_table(4).assign(diagnosis="x", filename="y", subset="z", split="train")
    path = tmp_path / "s.csv"
    written = write_split_file(path, table, paths=list_files(tmp_path, table))
    assert written.columns == ("image", "label", "split")
    with pytest.raises(DataError, match="several"):
        read_manifest(path)
    listing = read_manifest(path, ManifestOptions(**{f"{role}_column": role for role in written.columns}))
    assert listing.table["label"].tolist() == table["label"].tolist()
    assert listing.table["split"].tolist() == table["split"].tolist()


def test_a_file_that_reads_as_a_published_table_names_its_columns(tmp_path: Path) -> None:
    table = make_table(2).assign(id=[f"{number:040x}" for number in range(2)])  # PatchCamelyon's ids
    path = tmp_path / "s.csv"
    written = write_split_file(path, table, paths=[tmp_path / "0" / "a.tif", tmp_path / "1" / "b.tif"])
    assert "image" in written.columns
    listing = read_manifest(path, ManifestOptions(image_column="image"))
    assert listing.paths == (tmp_path / "0" / "a.tif", tmp_path / "1" / "b.tif")
