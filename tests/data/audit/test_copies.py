"""Copies of a picture are found however they were made, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from medzoo.data.audit import duplicates
from medzoo.data.audit.check import check_dataset
from medzoo.data.audit.hashes import TURNS, extract_detail, hash_thumbnails, standardise
from medzoo.data.dataset import Dataset

Levels = NDArray[np.uint8]


def save_as_jpeg(picture: Levels) -> Levels:
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file))


def scale_down_and_up(picture: Levels) -> Levels:
    image = Image.fromarray(picture)
    return np.asarray(image.resize((40, 40), Image.Resampling.BICUBIC).resize(image.size))


COPIES: dict[str, Callable[[Levels], Levels]] = {
    "jpeg": save_as_jpeg,
    "scaled": scale_down_and_up,
    "brighter": lambda picture: np.clip(picture.astype(int) + 30, 0, 255).astype(np.uint8),
    "half the contrast": lambda picture: (picture // 2 + 60).astype(np.uint8),
    "noise": lambda picture: (
        (picture + np.random.default_rng(1).normal(0, 3, picture.shape)).clip(0, 255).astype(np.uint8)
    ),
    "a mark in the corner": lambda picture: np.where(
        np.indices(picture.shape).max(0) < 5, 255, picture
    ).astype(np.uint8),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_found_and_only_it(how: str, make_picture: Any, make_dataset: Any) -> None:
    pictures = [make_picture(seed) for seed in range(30)]
    data = make_dataset([*pictures, COPIES[how](pictures[7])], ["train"] * 30 + ["test"])
    audit = check_dataset(data)
    assert [(pair.first, pair.second, pair.turned) for pair in audit.pairs] == [("7", "30", "")]
    (leak,) = audit.errors
    assert leak.kind == "near_duplicate_leak"
    assert leak.ids == ("7", "30")
    assert "1 of 1 test images have a copy in train" in leak.message


@pytest.mark.parametrize("how", TURNS)
def test_a_turned_copy_is_found_by_its_turn(how: str, make_picture: Any, make_dataset: Any) -> None:
    pictures = [make_picture(seed) for seed in range(20)]
    # `TURNS` says how the copy is turned back; the copy is what becomes the original by it.
    copy = next(
        candidate
        for candidate in (turn(pictures[3]) for turn in TURNS.values())
        if np.array_equal(TURNS[how](candidate), pictures[3])
    )
    audit = check_dataset(make_dataset([*pictures, save_as_jpeg(copy)], ["train"] * 20 + ["test"]))
    assert [(pair.first, pair.second, pair.turned) for pair in audit.pairs] == [("3", "20", how)]


def test_equal_images_are_paired_with_the_first_split(make_picture: Any, make_dataset: Any) -> None:
    picture, other = make_picture(1), make_picture(2)
    data = make_dataset(
        [picture, other, picture, picture], ["test", "train", "train", "validation"], list("abab")
    )
    audit = check_dataset(data)
    assert [(pair.first, pair.second) for pair in audit.pairs] == [("2", "0"), ("2", "3")]
    assert all(pair.exact and pair.distance == 0 and pair.crosses for pair in audit.pairs)
    assert [pair.conflicts for pair in audit.pairs] == [False, True]
    assert {finding.kind for finding in audit.errors} == {"duplicate_leak", "label_conflict"}


def test_copies_within_a_split_are_a_note(make_picture: Any, make_dataset: Any) -> None:
    picture = make_picture(1)
    splits = ["train"] * 4
    images = [picture, picture, save_as_jpeg(picture), make_picture(2)]
    audit = check_dataset(make_dataset(images, splits, list("aaab")))
    assert not audit.errors
    assert [
        finding.severity for kind in ("duplicate", "near_duplicate") for finding in audit.of_kind(kind)
    ] == [
        "note",
        "note",
    ]


def test_a_near_copy_with_another_label_is_a_warning(make_picture: Any, make_dataset: Any) -> None:
    picture = make_picture(1)
    audit = check_dataset(make_dataset([picture, save_as_jpeg(picture)], ["train", "train"], ["a", "b"]))
    (finding,) = audit.of_kind("near_label_conflict")
    assert finding.severity == "warning"
    assert not audit.errors


def test_copies_under_two_patients_are_a_warning(make_picture: Any, make_dataset: Any) -> None:
    picture = make_picture(1)
    images = [picture, save_as_jpeg(picture), picture]
    audit = check_dataset(make_dataset(images, ["train"] * 3, ["a"] * 3, patient=["p", "q", ""]))
    (finding,) = audit.of_kind("patient_conflict")
    assert finding.ids == ("0", "1")


def test_marks_that_nobody_gave_conflict_with_none(make_picture: Any, make_dataset: Any) -> None:
    from dataclasses import replace

    data = make_dataset([make_picture(1)] * 3, ["train"] * 3, ["x", "", "y"])
    marks = np.array([[1, 0], [np.nan, 0], [0, 1]], np.float32)
    data = replace(data, classes=("x", "y"), marks=marks)
    pairs = check_dataset(data).pairs
    assert [(pair.first, pair.second, pair.conflicts) for pair in pairs] == [
        ("0", "1", False),
        ("0", "2", True),
    ]


def test_blank_images_are_no_copies(make_dataset: Any) -> None:
    black, grey = np.zeros((64, 64), np.uint8), np.full((64, 64), 90, np.uint8)
    audit = check_dataset(make_dataset([black, black, grey, grey], ["train", "test"] * 2))
    assert audit.pairs == ()
    assert audit.of_kind("blank")[0].ids == ("0", "1", "2", "3")


def test_outlines_must_agree_more_than_textures(make_dataset: Any) -> None:
    """Shapes on a plain ground have little detail to differ in: masks of two organs are no copies."""

    def draw(rows: slice, columns: slice) -> Levels:
        image = np.zeros((28, 28), np.uint8)
        image[rows, columns] = 255
        return image

    images = [draw(slice(8, 20), slice(9, 19)), draw(slice(8, 20), slice(9, 20))]
    assert check_dataset(make_dataset(images, ["train", "test"])).pairs == ()
    again = [*images, save_as_jpeg(images[0])]
    assert [pair.second for pair in check_dataset(make_dataset(again, ["train", "test", "test"])).pairs] == [
        "2"
    ]


def test_volumes_are_compared(make_dataset: Any) -> None:
    volumes = np.random.default_rng(0).integers(0, 256, (6, 12, 16, 16, 1), dtype=np.uint8)
    copy = np.clip(volumes[1].astype(int) + 3, 0, 255).astype(np.uint8)
    audit = check_dataset(make_dataset([*volumes, volumes[4], copy], ["train"] * 6 + ["test"] * 2))
    assert [(pair.first, pair.second, pair.exact) for pair in audit.pairs] == [
        ("4", "6", True),
        ("1", "7", False),
    ]
    assert not audit.of_kind("not_compared")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 40), st.sampled_from([3, 7, 64]))
def test_blocks_find_what_brute_force_finds(seed: int, count: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    bases = rng.random((4, 32, 32))
    images = np.clip(
        bases[rng.integers(0, 4, count)] + rng.normal(0, 0.3, (count, 1, 1)) * rng.random((count, 32, 32)),
        0,
        2,
    )
    thumbnails = images.astype(np.float16)
    coarse = 1 - standardise(thumbnails) @ standardise(thumbnails).T
    detail = 1 - standardise(extract_detail(thumbnails)) @ standardise(extract_detail(thumbnails)).T
    near = (coarse <= duplicates.COARSE) & (detail <= 0.25)
    expected = {(i, j) for i, j in zip(*np.nonzero(near), strict=True) if i < j}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "BLOCK", block)
        patch.setattr(duplicates, "SPREAD", 1)
        found = duplicates.search_blocks(thumbnails, thumbnails, 0.25)
    assert {(i, j) for i, j, _ in found} == expected
    assert len(found) == len(expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_hashes_are_never_farther_apart_than_thumbnails(seed: int) -> None:
    thumbnails = np.random.default_rng(seed).random((10, 32, 32)) ** 3
    hashes, flat = hash_thumbnails(thumbnails), standardise(thumbnails)
    apart = np.linalg.norm(hashes[:, None] - hashes, axis=-1)
    assert (apart <= np.linalg.norm(flat[:, None] - flat, axis=-1) + 1e-5).all()


def test_too_many_pairs_are_said_to_be(
    make_picture: Any, make_dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 5)
    picture = make_picture(0).astype(int)
    images = [(picture + brightness).astype(np.uint8) for brightness in range(8)]
    audit = check_dataset(make_dataset(images, ["train"] * 8, ["a"] * 8))
    assert len(audit.pairs) == 5
    assert audit.of_kind("too_many_pairs")


def test_turned_copies_among_many_are_not_looked_for_and_that_is_said(
    make_picture: Any, make_dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = make_picture(0)
    data: Dataset = make_dataset([picture, picture[:, ::-1]], ["train", "test"])
    assert len(check_dataset(data).pairs) == 1
    monkeypatch.setattr(duplicates, "MOST_TURNED", 1)
    audit = check_dataset(data)
    assert audit.pairs == ()
    assert audit.of_kind("not_compared")
