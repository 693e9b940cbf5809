"""Tables of public data sets, as they are published, recognised by their columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medzoo.data.tables.conventions import CHEXPERT_LABELS, CONVENTIONS, find_convention
from medzoo.data.tables.manifest import ManifestOptions, read_manifest
from medzoo.errors import DataError

Write = Callable[..., Path]
CHEXPERT_HEADER = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_LABELS)
CHEXPERT_PATH = "CheXpert-v1.0-small/train/{}/study1/view1_frontal.jpg"


def fill_labels(**values: str) -> tuple[str, ...]:
    """Give a row's cells of the 14 observations, blank but for those named."""
    return tuple(values.get(label.replace(" ", "_"), "") for label in CHEXPERT_LABELS)


@pytest.fixture
def chexpert(write_manifest: Write) -> Path:
    def make_row(patient: str, sex: str, age: str, *labels: str) -> tuple[str, ...]:
        return (CHEXPERT_PATH.format(patient), sex, age, "Frontal", "AP", *labels)

    rows = [
        make_row("patient00001", "Female", "68", *fill_labels(No_Finding="1.0", Support_Devices="1.0")),
        make_row("patient00002", "Female", "87", *fill_labels(Edema="-1.0", Cardiomegaly="0.0")),
        make_row("patient00003", "Male", "0", *fill_labels(Edema="1.0", Fracture="1.0")),
    ]
    return write_manifest(CHEXPERT_HEADER, rows)


def test_chexpert(chexpert: Path) -> None:
    listing = read_manifest(chexpert)
    assert listing.classes == CHEXPERT_LABELS
    assert listing.marks is not None
    assert listing.marks.shape == (3, 14)
    edema = listing.marks[:, CHEXPERT_LABELS.index("Edema")]
    np.testing.assert_array_equal(edema, [0, np.nan, 1])  # a report names what is seen: blank is absent
    assert listing.table["label"].tolist() == ["No Finding|Support Devices", "", "Edema|Fracture"]
    assert listing.table["patient"].tolist() == ["patient00001", "patient00002", "patient00003"]
    groups = ["Sex", "Age", "Frontal/Lateral", "AP/PA", "age_band"]
    assert list(listing.table) == ["id", "label", "patient", *groups]
    assert listing.table["age_band"].tolist() == ["60-79", "80+", "0-17"]
    recognised, done = listing.notes
    assert recognised.startswith("manifest.csv is read as a table of CheXpert: ")
    assert "Edema: 1 uncertain ignored, 1 blank as zeros; " in done
    assert "Cardiomegaly: 2 blank as zeros; " in done


def test_chosen_labels_keep_the_conventions_blanks(chexpert: Path) -> None:
    listing = read_manifest(chexpert, ManifestOptions(label_columns=("Fracture", "Edema")))
    assert listing.classes == ("Fracture", "Edema")
    assert listing.marks is not None
    np.testing.assert_array_equal(listing.marks, [[0, 0], [0, np.nan], [1, 1]])
    assert "Pneumonia" not in listing.table  # a label that was not chosen is no group


def test_options_stand_above_the_convention(chexpert: Path) -> None:
    options = ManifestOptions(label_column="Sex", patient_column="Age")
    listing = read_manifest(chexpert, options)
    assert listing.marks is None
    assert listing.table["label"].tolist() == ["Female", "Female", "Male"]
    assert listing.table["patient"].tolist() == ["68", "87", "0"]
    assert listing.notes == ("manifest.csv is read as a table of CheXpert: its labels are those in Sex",)
    labels = ("Edema", "Fracture", "Cardiomegaly")
    listing = read_manifest(chexpert, ManifestOptions(label_columns=labels, blank={"Edema": "ignore"}))
    assert listing.marks is not None
    np.testing.assert_array_equal(listing.marks, [[np.nan, 0, 0], [np.nan, 0, 0], [1, 1, 0]])


def test_mimic_makes_the_path_of_its_ids(write_manifest: Write) -> None:
    header = ("dicom_id", "subject_id", "study_id", "split", "ViewPosition", "Edema", "No Finding")
    rows = [
        ("02aa804e-bde0afdd", "10000032", "50414267", "train", "PA", "1.0", ""),
        ("174413ec-4ec4c1f7", "10000032", "50414267", "validate", "LATERAL", "", "1.0"),
        ("68b5c4b1-227d0485", "11000935", "50578979", "test", "AP", "-1.0", ""),
    ]
    path = write_manifest(header, rows)
    listing = read_manifest(path)
    assert listing.paths[0] == path.parent / "files/p10/p10000032/s50414267/02aa804e-bde0afdd.jpg"
    assert listing.table["id"][2] == "files/p11/p11000935/s50578979/68b5c4b1-227d0485.jpg"
    assert listing.table["patient"].tolist() == ["10000032", "10000032", "11000935"]
    assert listing.table["split"].tolist() == ["train", "validation", "test"]
    assert listing.classes == ("No Finding", "Edema")
    assert "files" not in listing.notes[0]
    # A path of one's own, to smaller copies perhaps, is taken first.
    own = write_manifest((*header, "path"), [(*row, f"{row[0]}.png") for row in rows])
    assert read_manifest(own).table["id"][0] == "02aa804e-bde0afdd.png"


def test_nih(shared_data: Path) -> None:
    listing = read_manifest(shared_data / "nih_cxr14_sample/labels_4999.csv")
    assert len(listing.classes) == 14
    assert "No Finding" not in listing.classes
    assert listing.marks is not None
    assert listing.marks.shape == (4999, 14)
    assert not np.isnan(listing.marks).any()
    joined = listing.table["label"]
    text = (shared_data / "nih_cxr14_sample/labels_4999.csv").read_text(encoding="utf-8")
    assert (joined == "").sum() == text.count(",No Finding,")
    assert listing.marks.sum() == sum(label.count("|") + 1 for label in joined if label)
    assert set(listing.table["age_band"]) <= {"0-17", "18-39", "40-59", "60-79", "80+", ""}
    assert "patient" in listing.table
    assert listing.paths[0].parent.name == "images"
    few = read_manifest(shared_data / "nih_cxr14_sample/labels_4.csv")
    assert few.marks is not None
    assert all(path.is_file() for path in few.paths)


def test_nih_names_as_published_and_folders_as_unpacked(write_manifest: Write, write_image: Write) -> None:
    header = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender")
    rows = [
        ("00000001_000.png", "Cardiomegaly|Emphysema", "0", "1", "57", "M"),
        ("00001336_000.png", "No Finding", "0", "1336", "061Y", "F"),
    ]
    paths = tuple(
        write_image(f"images_00{number}/images/{row[0]}") for number, row in enumerate(rows, start=1)
    )
    listing = read_manifest(write_manifest(header, rows))
    assert listing.paths == paths
    assert listing.table["patient"].tolist() == ["1", "1336"]
    assert listing.table["label"].tolist() == ["Cardiomegaly|Emphysema", ""]


def test_ham10000_takes_lesions_for_patients(write_manifest: Write) -> None:
    header = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
    rows = [
        ("HAM_0000118", "ISIC_0027419", "bkl", "histo", "80.0", "male", "scalp"),
        ("HAM_0000118", "ISIC_0025030", "bkl", "histo", "80.0", "male", "scalp"),
        ("HAM_0002730", "ISIC_0026769", "nv", "histo", "", "female", "back"),
    ]
    listing = read_manifest(write_manifest(header, rows))
    assert listing.marks is None
    assert listing.table["label"].tolist() == ["bkl", "bkl", "nv"]
    assert listing.table["patient"].tolist() == ["HAM_0000118", "HAM_0000118", "HAM_0002730"]
    assert listing.table["age_band"].tolist() == ["80+", "80+", ""]


def test_isic_columns_are_one_class_an_image(write_manifest: Write) -> None:
    header = ("image", "MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
    zeros = ["0.0"] * 9
    rows = [("ISIC_0", "0.0", "1.0", *zeros[2:]), ("ISIC_1", "1.0", *zeros[1:])]
    listing = read_manifest(write_manifest(header, rows))
    assert listing.marks is None
    assert listing.table["label"].tolist() == ["NV", "MEL"]
    assert list(listing.table) == ["id", "label"]
    path = write_manifest(header, [*rows, ("ISIC_2", *zeros), ("ISIC_3", "1", "1", *zeros[2:])])
    with pytest.raises(DataError, match=r"row 4 has 0 of the classes MEL, NV, .*first of 2 such rows"):
        read_manifest(path)
    skipped = read_manifest(path, ManifestOptions(on_error="skip"))
    assert skipped.rows == (2, 3)
    assert [line[:5] for line in skipped.skipped] == ["row 4", "row 5"]
    several = read_manifest(path, ManifestOptions(label_columns=("MEL", "NV")))
    assert several.marks is not None
    assert several.marks.tolist() == [[0, 1], [1, 0], [0, 0], [1, 1]]


def test_isic_2020(write_manifest: Write) -> None:
    header = ("image_name", "patient_id", "sex", "age_approx", "diagnosis", "benign_malignant", "target")
    rows = [("ISIC_1", "IP_1", "male", "45.0", "unknown", "benign", "0")]
    table = read_manifest(write_manifest(header, rows)).table
    assert table.iloc[0].to_dict() == {
        "id": "ISIC_1",
        "label": "benign",
        "patient": "IP_1",
        "sex": "male",
        "age_approx": "45.0",
        "age_band": "40-59",
    }


def test_aptos(write_manifest: Write, write_image: Write) -> None:
    image = write_image("train_images/000c1434d8d7.png")
    listing = read_manifest(write_manifest(("id_code", "diagnosis"), [("000c1434d8d7", "2")]))
    assert listing.paths == (image,)
    assert listing.table["label"].tolist() == ["2"]
    assert "APTOS 2019" in listing.notes[0]


def test_patchcamelyon_is_told_by_its_ids(write_manifest: Write) -> None:
    digest = "f38a6374c348f90b587e046aac6079959adf3835"
    listing = read_manifest(write_manifest(("id", "label", "wsi"), [(digest, "0", "camelyon_007")]))
    assert listing.table["id"].tolist() == [digest]
    assert listing.table["patient"].tolist() == ["camelyon_007"]
    with pytest.raises(DataError, match="no column recognised as the image"):
        read_manifest(write_manifest(("id", "label"), [("7", "0")]))


def test_vindr_boxes_become_the_readers_majority(write_manifest: Write) -> None:
    header = ("image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max")
    header += ("site", "minutes")

    def make_row(image: str, name: str, reader: str) -> tuple[str, ...]:
        return (image, name, "14", reader, "1.0", "2.0", "3.0", "4.0", f"site {image}", reader)

    rows = [
        make_row("b1", "Nodule/Mass", "R8"),
        make_row("b1", "Nodule/Mass", "R8"),  # two boxes of one reader are one voice
        make_row("b1", "ILD", "R9"),
        make_row("b1", "ILD", "R10"),
        make_row("a2", "No finding", "R8"),
        make_row("a2", "No finding", "R9"),
        make_row("a2", "ILD", "R10"),
        make_row("c3", "ILD", "R8"),
        make_row("c3", "No finding", "R9"),
    ]
    path = write_manifest(header, rows)
    listing = read_manifest(path)
    assert listing.classes == ("ILD", "Nodule/Mass")
    assert listing.marks is not None
    np.testing.assert_array_equal(listing.marks, [[1, 0], [0, 0], [np.nan, 0]])
    assert listing.table["id"].tolist() == ["b1", "a2", "c3"]
    assert listing.rows == (2, 6, 9)
    assert listing.table["site"].tolist() == ["site b1", "site a2", "site c3"]
    assert list(listing.table) == ["id", "label", "site"]  # the minutes are a reader's, not an image's
    assert "more than half" in listing.notes[0]
    decided = read_manifest(path, ManifestOptions(uncertain={"ILD": "ones"}))
    assert decided.table["label"].tolist() == ["ILD", "", "ILD"]


def test_vindr_columns_become_the_readers_majority(write_manifest: Write) -> None:
    header = (
        "image_id",
        "rad_id",
        "Aortic enlargement",
        "Pulmonary fibrosis",
        "Other diseases",
        "No finding",
    )
    rows = [
        ("a", "R1", "1", "0", "0", "0"),
        ("a", "R2", "1", "0", "1", "0"),
        ("a", "R3", "0", "1", "0", "0"),
        ("b", "R1", "0", "0", "0", "1"),
    ]
    listing = read_manifest(write_manifest(header, rows))
    assert listing.classes == ("Aortic enlargement", "Pulmonary fibrosis", "Other diseases")
    assert listing.table["label"].tolist() == ["Aortic enlargement", ""]
    assert list(listing.table) == ["id", "label"]


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda convention: convention.name)
def test_no_convention_hides_another(convention: object) -> None:
    assert isinstance(convention, type(CONVENTIONS[0]))
    columns = list(dict.fromkeys((*convention.signature, *convention.label_columns)))
    first = ["0" * 40 if column == convention.image else "" for column in columns]
    assert find_convention(columns, first) is convention


def test_a_table_of_ones_own_is_no_convention() -> None:
    assert find_convention(["file", "label", "patient"], ["a.png", "no", "1"]) is None
    assert find_convention(["subject_id", "study_id", "file"], ["1", "2", "a.png"]) is None
