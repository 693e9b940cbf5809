"""Images that are to be judged: what is listed, what is known of their labels, what is refused."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import SIXTEEN, encode
from pictures import make_arrays

from medzoo.data.options import SourceOptions, make_source_options
from medzoo.data.question import Question, answer
from medzoo.data.unlabelled import leave_out_broken, open_unlabelled
from medzoo.errors import ConfigError, DataError

ASKED = Question(("no", "yes"))
SEVERAL = Question(("Edema", "Mass", "Nodule"), exclusive=False)
UNKNOWN = [None, None]


def open_data(source: Path | str, question: Question = ASKED, **settings: Any) -> Any:
    return open_unlabelled(source, make_source_options(settings), question)


def list_marks(dataset: Any) -> list[list[float | None]]:
    return [[None if np.isnan(mark) else float(mark) for mark in row] for row in dataset.marks]


def test_a_flat_folder_is_all_test_and_nothing_is_known(tmp_path: Path, write_image: Any) -> None:
    write_image("new/b.png")
    write_image("new/a.jpg")
    (tmp_path / "new" / "notes.txt").write_text("beside the images by right")
    dataset = open_data(tmp_path / "new")
    assert dataset.table.to_dict("list") == {
        "id": ["a.jpg", "b.png"],
        "split": ["test"] * 2,
        "label": [""] * 2,
    }
    assert list_marks(dataset) == [UNKNOWN, UNKNOWN]
    assert dataset.classes == ("no", "yes")


def test_one_image_of_each_kind_is_a_data_set_of_one(tmp_path: Path, write_image: Any) -> None:
    assert open_data(write_image("a.png")).table["id"].tolist() == ["a.png"]
    (tmp_path / "IM0001").write_bytes(encode(SIXTEEN))
    dataset = open_data(tmp_path / "IM0001", windows=("0/2000", "40/400"))
    assert (dataset.decoder, dataset.channels, dataset.size) == ("reader", 2, (8, 10))


def test_folders_named_as_classes_are_labels_and_splits_stay(tmp_path: Path, write_image: Any) -> None:
    for name in ("train/yes/1.png", "train/no/1.png", "val/no/2.png"):
        write_image(f"set/{name}")
    dataset = open_data(tmp_path / "set")
    assert dataset.table["split"].tolist() == ["train", "train", "validation"]
    assert list_marks(dataset) == [[1, 0], [0, 1], [1, 0]]
    ignored = open_data(tmp_path / "set", Question(("no", "yes"), ignore_labels=True))
    assert list_marks(ignored) == [UNKNOWN] * 3
    assert ignored.table["split"].tolist() == ["test"] * 3


def test_a_series_in_folders_of_patients_has_no_labels_and_says_so(tmp_path: Path) -> None:
    for name in ("p1/IM1", "p2/IM1"):
        path = tmp_path / "study" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(encode(SIXTEEN))
    dataset = open_data(tmp_path / "study")
    assert dataset.table["id"].tolist() == ["p1/IM1", "p2/IM1"]
    assert "'p1', 'p2'" in dataset.notes[0]
    with tarfile.open(tmp_path / "study.tgz", "w:gz") as archive:
        archive.add(tmp_path / "study", "study")
    packed = open_data(tmp_path / "study.tgz")
    assert packed.table["id"].tolist() == ["study/p1/IM1", "study/p2/IM1"]
    assert packed.bundle is not None


def test_a_zip_may_be_flat_or_of_classes(tmp_path: Path, write_image: Any) -> None:
    image = write_image("a.png")
    with zipfile.ZipFile(tmp_path / "flat.zip", "w") as archive:
        archive.write(image, "a.png")
    assert list_marks(open_data(tmp_path / "flat.zip")) == [UNKNOWN]
    with zipfile.ZipFile(tmp_path / "classes.zip", "w") as archive:
        archive.write(image, "top/yes/a.png")
    assert list_marks(open_data(tmp_path / "classes.zip")) == [[0, 1]]


@pytest.mark.parametrize(
    ("folders", "told"),
    [(("yes", "cat"), "'cat' is no class"), (("Yes", "No"), "'No' is the run's class 'no' but for capitals")],
)
def test_folders_of_which_some_are_classes_are_refused(
    tmp_path: Path, write_image: Any, folders: tuple[str, ...], told: str
) -> None:
    for name in folders:
        write_image(f"set/{name}/1.png")
    with pytest.raises(DataError, match=told) as raised:
        open_data(tmp_path / "set")
    assert "--unlabelled" in raised.value.remedy


def test_a_table_without_labels_keeps_patients_splits_and_groups(
    write_image: Any, write_manifest: Any
) -> None:
    write_image("images/1.png")
    write_image("images/2.png")
    rows = [["1.png", "p1", "test", "F"], ["2.png", "", "val", "M"]]
    dataset = open_data(write_manifest(["image", "patient", "split", "sex"], rows))
    assert dataset.table.values.tolist() == [
        ["1.png", "test", "", "p1", "F"],
        ["2.png", "validation", "", "", "M"],
    ]
    assert dataset.rows == (2, 3)
    assert list_marks(dataset) == [UNKNOWN, UNKNOWN]


def test_an_empty_label_is_unknown_and_a_strange_one_is_named_with_its_row(
    write_image: Any, write_manifest: Any
) -> None:
    for number in "123":
        write_image(f"{number}.png")
    path = write_manifest(["image", "label"], [["1.png", "yes"], ["2.png", ""]])
    assert list_marks(open_data(path)) == [[0, 1], UNKNOWN]
    path = write_manifest(["image", "label"], [["1.png", "yes"], ["2.png", ""], ["3.png", "maybe"]])
    with pytest.raises(DataError, match="row 4 has the label 'maybe'"):
        open_data(path)
    assert list_marks(open_data(path, Question(("no", "yes"), ignore_labels=True))) == [UNKNOWN] * 3


def test_the_runs_columns_hold_where_the_table_has_them(write_image: Any, write_manifest: Any) -> None:
    write_image("1.png")
    habits = SourceOptions(image_column="scan", label_column="verdict", group_columns=("site", "gone"))
    question = Question(("no", "yes"), habits=habits)
    header = ["scan", "file", "verdict", "label", "site", "age"]
    path = write_manifest(header, [["1.png", "x", "yes", "no", "A", "7"]])
    dataset = open_data(path, question)
    assert list_marks(dataset) == [[0, 1]]
    assert list(dataset.table) == ["id", "split", "label", "site"]
    assert list_marks(open_data(path, question, label_column="label")) == [[1, 0]]
    other = write_manifest(["image", "age"], [["1.png", "7"]], "other.csv")
    assert list_marks(open_data(other, question)) == [UNKNOWN]


def test_lists_of_labels_say_all_that_there_is(write_image: Any, write_manifest: Any) -> None:
    for number in "123":
        write_image(f"{number}.png")
    rows = [["1.png", "Edema"], ["2.png", "No Finding"], ["3.png", ""]]
    dataset = open_data(write_manifest(["image", "findings"], rows), SEVERAL)
    assert list_marks(dataset) == [[1, 0, 0], [0, 0, 0], [None] * 3]
    assert dataset.table["label"].tolist() == ["Edema", "", ""]
    with pytest.raises(DataError, match="'Fracture'"):
        open_data(write_manifest(["image", "findings"], [["1.png", "Edema|Fracture"]]), SEVERAL)
    with pytest.raises(DataError, match="several labels"):
        open_data(write_manifest(["image", "findings"], [["1.png", "yes|no"]]))


def test_columns_of_labels_are_found_by_the_runs_names_under_its_rules(
    write_image: Any, write_manifest: Any
) -> None:
    for number in "123":
        write_image(f"{number}.png")
    rows = [["1.png", "1", "-1"], ["2.png", "0", ""], ["3.png", "-1", ""]]
    path = write_manifest(["image", "Mass", "Edema"], rows)
    assert list_marks(open_data(path, SEVERAL)) == [[None, 1, None], [None, 0, None], [None] * 3]
    habits = SourceOptions(uncertain={"*": "zeros", "Fracture": "ones"})
    question = Question(SEVERAL.classes, False, habits)
    assert list_marks(open_data(path, question)) == [[0, 1, None], [None, 0, None], [None, 0, None]]
    ones = open_data(path, question, uncertain={"Edema": "ones"})
    assert list_marks(ones) == [[1, 1, None], [None, 0, None], [None] * 3]
    with pytest.raises(ConfigError, match="Fracture"):
        open_data(path, SEVERAL, uncertain={"Fracture": "ones"})


def test_a_column_per_class_without_a_one_is_unknown(write_image: Any, write_manifest: Any) -> None:
    write_image("1.jpg")
    write_image("2.jpg")
    classes = ("MEL", "NV", "BCC", "BKL", "DF", "VASC")
    rows = [["1", *"010000"], ["2", *"000000"]]
    dataset = open_data(write_manifest(["image", *classes], rows), Question(classes))
    assert list_marks(dataset) == [[0, 1, 0, 0, 0, 0], [None] * 6]
    with pytest.raises(DataError, match="row 3 has 2 of the classes"):
        open_data(write_manifest(["image", *classes], [rows[0], ["2", *"110000"]]), Question(classes))


def test_what_cannot_be_read_is_refused_or_skipped_and_listed(tmp_path: Path, write_image: Any) -> None:
    good = write_image("set/1.png")
    (tmp_path / "set" / "2.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "set" / "3.xyz").write_bytes(b"what is this")
    with pytest.raises(DataError, match=r"3\.xyz"):
        open_data(tmp_path / "set")
    dataset = leave_out_broken(open_data(tmp_path / "set", on_error="skip"))
    assert dataset.table["id"].tolist() == ["1.png"]
    assert len(dataset.skipped) == 2
    good.unlink()
    with pytest.raises(DataError, match=r"can be read; the first: .*2\.png"):
        leave_out_broken(open_data(tmp_path / "set", on_error="skip"))


def test_bad_sources_and_options_are_refused(tmp_path: Path, write_image: Any, write_manifest: Any) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no file or folder"):
        open_data(tmp_path / "nothing")
    with pytest.raises(DataError, match="holds no images"):
        open_data(tmp_path / "empty")
    image = write_image("1.png")
    with pytest.raises(DataError, match="--label-column does not apply"):
        open_data(image, label_column="x")
    with pytest.raises(ConfigError, match="--positive"):
        open_data(image, positive="yes")
    with pytest.raises(DataError, match="row 2: no file"):
        open_data(write_manifest(["image"], [["9.png"]]))


def test_open_data_are_answered_in_the_order_of_the_question() -> None:
    arrays = make_arrays(3)
    assert list_marks(answer(arrays, Question(("c", "b", "a")))) == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert list_marks(answer(arrays, Question(("a", "b"), ignore_labels=True))) == [UNKNOWN] * 3
    with pytest.raises(DataError, match="one class an image"):
        answer(arrays, Question(("a", "b", "c"), exclusive=False))
    with pytest.raises(DataError, match="'2' has the label 'c'") as raised:
        answer(arrays, Question(("a", "b")))
    assert "--label-column" not in raised.value.remedy


def test_a_folder_beside_its_table_says_that_the_table_is_not_read(
    write_image: Any, write_manifest: Any
) -> None:
    image = write_image("1.png")
    write_manifest(["image", "label"], [["1.png", "yes"]])
    assert "manifest.csv" in open_data(image.parent).notes[-1]
    image.unlink()
    with pytest.raises(DataError, match=r"holds no images.*manifest\.csv"):
        open_data(image.parent)
