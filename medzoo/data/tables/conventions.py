"""The tables of public data sets, recognised by their columns: which column says what, and how labels are coded.

Everything about a data set stands in `CONVENTIONS`, with its source; to add one is to add a row there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Policy = Literal["ones", "zeros", "ignore", "keep"]
#: "classes": a column of classes, one an image; "lists": names joined by "|"; "columns": a column of 1, 0, -1 or
#: blank per label; "one-hot": the same with exactly one 1 in a row, hence one class an image.
Coding = Literal["classes", "lists", "columns", "one-hot"]


@dataclass(frozen=True)
class Convention:
    """How the authors of a data set write its table; columns are given as published and compared folded.

    `signature` are the columns that tell it from other tables; with `label_columns` one of those must be there
    too, and with `image_pattern` the first image's name must match it.  `template` makes the image's path of
    other columns; `patient_pattern` finds the patient in the image's path.  With `merged` an image has several
    rows, one for every mark or for each of the readers whom the column `reader` names.
    """

    name: str
    remark: str  # what reading it so means, for the user
    signature: tuple[str, ...]
    image: str = ""
    image_pattern: str = ""
    template: str = ""
    label: str = ""
    label_columns: tuple[str, ...] = ()
    coding: Coding = "classes"
    blank: Policy = "ignore"
    patient: str = ""
    patient_pattern: str = ""
    merged: bool = False
    reader: str = ""
    dropped: tuple[str, ...] = ()  # columns about labels that are neither labels nor groups
    folders: tuple[str, ...] = ()  # where the images lie beside the table, as patterns


# Irvin et al. 2019, CheXpert (arXiv:1901.07031), table 1: 1 positive, 0 negative, -1 uncertain, blank not mentioned.
CHEXPERT_LABELS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other"),
    *("Fracture", "Support Devices"),
)
# Nguyen et al. 2022, VinDr-CXR (doi:10.1038/s41597-022-01498-w), table 2, and the headers of image_labels_*.csv.
VINDR_LABELS = (
    *("Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture"),
    *("Consolidation", "Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity"),
    *("Lung cavity", "Lung cyst", "Mediastinal shift", "Nodule/Mass", "Pleural effusion"),
    *("Pleural thickening", "Pneumothorax", "Pulmonary fibrosis", "Rib fracture", "Other lesion", "COPD"),
    *("Lung tumor", "Pneumonia", "Tuberculosis", "Other disease", "Other diseases"),
)
MAJORITY = "an image's rows are one; a label counts where more than half of its readers marked it"

CONVENTIONS = (
    Convention(
        # The paper above; train.csv of the CheXpert archive.  Blanks: a report names what is seen, so that what it
        # does not mention is taken for absent, as in the authors' own baselines.
        name="CheXpert",
        remark="labels in columns, the patient from the path",
        signature=("Path", "Frontal/Lateral", "AP/PA"),
        image="Path",
        label_columns=CHEXPERT_LABELS,
        coding="columns",
        blank="zeros",
        patient_pattern=r"patient\d+",
    ),
    Convention(
        # Johnson et al. 2019, MIMIC-CXR-JPG (arXiv:1901.07042), and its README: files/p10/p10000032/s50414267/….jpg
        name="MIMIC-CXR-JPG",
        remark="labels in columns, the path from the ids",
        signature=("subject_id", "study_id"),
        template="files/p{subject_id:.2}/p{subject_id}/s{study_id}/{dicom_id}.jpg",
        label_columns=CHEXPERT_LABELS,
        coding="columns",
        blank="zeros",
        patient="subject_id",
    ),
    Convention(
        # Wang et al. 2017 (arXiv:1705.02315), Data_Entry_2017.csv; the archive unpacks to images_001 … images_012.
        name="NIH ChestX-ray14",
        remark="labels joined by '|', 'No Finding' is none",
        signature=("Image Index", "Finding Labels"),
        image="Image Index",
        label="Finding Labels",
        coding="lists",
        patient="Patient ID",
        folders=("images_*/images", "images_*"),
    ),
    Convention(
        # Tschandl et al. 2018 (doi:10.1038/sdata.2018.161), HAM10000_metadata: several images show one lesion.
        name="HAM10000",
        remark="the lesion stands for the patient",
        signature=("image_id", "lesion_id", "dx"),
        image="image_id",
        label="dx",
        patient="lesion_id",
        folders=("HAM10000_images_part_*", "ISIC2018_Task3_Training_Input"),
    ),
    Convention(
        # challenge.isic-archive.com/data: ISIC2018_Task3_Training_GroundTruth and ISIC_2019_Training_GroundTruth;
        # lesion_id stands in the metadata of either, where someone has joined it.
        name="ISIC 2018 or 2019",
        remark="a column per class, one class an image",
        signature=("image", "MEL", "NV", "BCC", "BKL", "DF", "VASC"),
        image="image",
        label_columns=("MEL", "NV", "BCC", "AKIEC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"),
        coding="one-hot",
        blank="zeros",
        patient="lesion_id",
        folders=("ISIC2018_Task3_Training_Input", "ISIC_2019_Training_Input"),
    ),
    Convention(
        # Rotemberg et al. 2021 (doi:10.1038/s41597-021-00815-z), train.csv; target repeats benign_malignant as 0, 1.
        name="ISIC 2020",
        remark="the label is benign_malignant",
        signature=("image_name", "patient_id", "benign_malignant"),
        image="image_name",
        label="benign_malignant",
        patient="patient_id",
        dropped=("target", "diagnosis"),
        folders=("train", "jpeg/train", "ISIC_2020_Training_JPEG/train"),
    ),
    Convention(
        # kaggle.com/c/aptos2019-blindness-detection: train.csv, grades 0 to 4.
        name="APTOS 2019",
        remark="the label is the grade, 0 to 4",
        signature=("id_code", "diagnosis"),
        image="id_code",
        label="diagnosis",
        folders=("train_images",),
    ),
    Convention(
        # kaggle.com/c/histopathologic-cancer-detection, train_labels.csv, a PatchCamelyon (arXiv:1806.03962) without
        # repeats whose ids are SHA-1 digests; wsi, the slide, is of PatchCamelyon's own metadata.
        name="PatchCamelyon",
        remark="the slide stands for the patient where it is known",
        signature=("id", "label"),
        image="id",
        image_pattern=r"[0-9a-f]{40}(\.\w+)?",
        label="label",
        patient="wsi",
        folders=("train",),
    ),
    Convention(
        # train.csv of kaggle.com/c/vinbigdata-chest-xray-abnormalities-detection, annotations_*.csv of PhysioNet.
        name="VinDr-CXR",
        remark=MAJORITY,
        signature=("image_id", "class_name", "x_min", "y_max"),
        image="image_id",
        label="class_name",
        coding="lists",
        merged=True,
        reader="rad_id",
        dropped=("class_id", "x_min", "y_min", "x_max", "y_max"),
        folders=("train", "test"),
    ),
    Convention(
        name="VinDr-CXR",
        remark=MAJORITY,
        signature=("image_id", "Aortic enlargement", "Pulmonary fibrosis"),
        image="image_id",
        label_columns=VINDR_LABELS,
        coding="columns",
        merged=True,
        reader="rad_id",
        dropped=("No finding",),
        folders=("train", "test"),
    ),
)


def find_convention(columns: Sequence[str], first: Sequence[str]) -> Convention | None:
    """Find the data set whose table has these columns and this first row, if it is one known here.

    >>> find_convention(["Image_Index", "Finding_Labels"], ["1.png", "Mass"]).name
    'NIH ChestX-ray14'
    """
    cells = {fold_name(column): cell for column, cell in zip(columns, first, strict=True)}
    for convention in CONVENTIONS:
        has_signature = all(fold_name(name) in cells for name in convention.signature)
        labels = convention.label_columns
        has_labels = not labels or any(fold_name(name) in cells for name in labels)
        image = cells.get(fold_name(convention.image), "")
        if has_signature and has_labels and re.fullmatch(convention.image_pattern or ".*", image):
            return convention
    return None


def match_columns(names: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
    """Give the columns of a table that have the published names, in the order of those.

    >>> match_columns(("Image Index", "Patient ID"), ["patient_id", "age"])
    ('patient_id',)
    """
    folded = {fold_name(column): column for column in reversed(columns)}
    return tuple(folded[fold_name(name)] for name in names if fold_name(name) in folded)


def fold_name(column: str) -> str:
    """Fold a column's name to what is compared.

    >>> fold_name("Patient_ID")
    'patientid'
    """
    return "".join(mark for mark in column.casefold() if mark not in " _-")
