"""Copies in real data: what is known to be there is found, by one set of thresholds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medzoo.data.audit.appearance import find_inverted
from medzoo.data.audit.check import check_dataset
from medzoo.data.audit.findings import Audit
from medzoo.data.audit.pixels import gather_facts
from medzoo.data.dataset import BYTE_RANGE, Dataset
from medzoo.data.open import open_dataset

TWIN = 25  # mean squared error of BreastMNIST's pixels below which two images are twins


@pytest.fixture(scope="module")
def busi(shared_data: Path) -> Dataset:
    return open_dataset(
        shared_data / "busi_breast224" / "manifest.csv", image_column="file", label_column="busi_class"
    )


@pytest.fixture(scope="module")
def busi_audit(busi: Dataset) -> Audit:
    return check_dataset(busi)


def test_every_twin_of_breastmnist_is_found(shared_data: Path) -> None:
    data = open_dataset(shared_data / "medmnist" / "breastmnist.npz")
    assert data.images is not None
    pixels = data.images.reshape(len(data), -1).astype(np.float64)
    train, test = (np.flatnonzero(data.table["split"] == split) for split in ("train", "test"))
    error = np.stack([((pixels[row] - pixels[train]) ** 2).mean(axis=1) for row in test])
    twins = {(int(train[j]), int(test[i])) for i, j in zip(*np.nonzero(error < TWIN), strict=True)}
    assert len({second for _, second in twins}) == 30
    audit = check_dataset(data)
    found = {pair.rows for pair in audit.pairs if pair.splits == ("train", "test")}
    assert twins <= found
    # Looked at one by one at 224 pixels: all 206 pairs show one view of one breast.
    assert len(audit.pairs) == 206
    assert {finding.kind for finding in audit.errors} == {
        *("duplicate_leak", "near_duplicate_leak", "label_conflict"),
    }


def test_busi_holds_one_picture_twice_under_opposite_labels(busi_audit: Audit) -> None:
    (conflict,) = busi_audit.of_kind("label_conflict")
    assert set(conflict.ids) == {"benign_433.jpg", "malignant_145.jpg"}
    (equal,) = [pair for pair in busi_audit.pairs if pair.exact]
    assert equal.crosses


def test_pairs_of_busi_are_pairs_of_breastmnist(busi: Dataset, busi_audit: Audit, shared_data: Path) -> None:
    """BreastMNIST is BUSI at 28×28: whatever is a copy at 224×224 is one there too."""
    small = check_dataset(open_dataset(shared_data / "medmnist" / "breastmnist.npz"))
    split = busi.table["split"]
    numbers = busi.table["breastmnist_index"]
    names = {f"{split.iat[row]}/{numbers.iat[row]}": busi.table["id"].iat[row] for row in range(len(busi))}
    known = {frozenset((names[pair.first], names[pair.second])) for pair in small.pairs}
    assert len(busi_audit.pairs) == 188
    assert {frozenset((pair.first, pair.second)) for pair in busi_audit.pairs} <= known


def test_blood_cells_look_alike_and_four_pairs_are_copies(shared_data: Path) -> None:
    data = open_dataset(shared_data / "wbc" / "manifest.csv", image_column="file", label_column="wbc_class")
    pairs = {tuple(sorted((pair.first, pair.second))) for pair in check_dataset(data).pairs}
    assert pairs == {
        ("d1/112.jpg", "d1/139.jpg"),
        ("d1/157.jpg", "d1/158.jpg"),
        ("d1/166.jpg", "d1/171.jpg"),
        ("d1/167.jpg", "d1/169.jpg"),
    }


def test_radiographs_listed_under_two_patients_are_found(shared_data: Path) -> None:
    data = open_dataset(
        shared_data / "covid_chestxray_512" / "metadata.csv",
        image_column="file",
        label_column="view",
        patient_column="patientid",
    )
    audit = check_dataset(data)
    twice = [pair for pair in audit.pairs if pair.names_two_patients]
    assert {tuple(sorted(pair.patients)) for pair in twice} == {("178", "97")}
    assert len(twice) == 4
    assert len(audit.pairs) == 5  # the fifth: two radiographs of one patient
    assert not audit.of_kind("inverted")


def test_one_radiograph_in_four_lossless_codecs_is_one(shared_data: Path) -> None:
    pytest.importorskip("pydicom")
    names = ["RG3_J2KR", "RG3_JLSL", "RG3_JPLL", "RG3_RLE", "RG1_J2KI", "MR_truncated"]
    table = pd.DataFrame({"id": names, "split": ["train", "test"] * 3, "label": "a"})
    paths = tuple(shared_data / "dicom" / f"{name}.dcm" for name in names)
    data = Dataset("dicom", ("a",), table, 1, (1955, 1841), BYTE_RANGE, paths=paths, decoder="reader")
    audit = check_dataset(data)
    assert all(pair.exact for pair in audit.pairs)
    assert {pair.first for pair in audit.pairs} | {pair.second for pair in audit.pairs} == set(names[:4])
    assert audit.of_kind("unreadable")[0].ids == ("MR_truncated",)


def test_masks_of_different_glands_are_no_copies(shared_data: Path) -> None:
    assert check_dataset(open_dataset(shared_data / "medmnist" / "adrenalmnist3d.npz")).pairs == ()


def test_inverted_sonograms_are_found_among_others(busi: Dataset) -> None:
    facts = gather_facts(busi)
    rows = np.random.default_rng(0).permutation(len(busi))[:40]
    facts.thumbnails[rows] = 1 - facts.thumbnails[rows]
    inverted = find_inverted(facts)
    assert inverted[rows].mean() >= 0.9
    assert np.delete(inverted, rows).sum() <= 2
