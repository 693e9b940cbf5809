"""Folders of class folders: which files are images, and what their folders say."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from medzoo.data.containers.folder import read_folder
from medzoo.errors import DataError

DICOM = bytes(128) + b"DICM" + b"the rest"


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write files of any content below a folder."""

    def make(*names: str, content: bytes = b"pixels") -> Path:
        for name in names:
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / "set"

    return make


def test_classes_are_the_first_folders(make_folder: Callable[..., Path]) -> None:
    root = make_folder("b/2.png", "a/deep/1.JPG", "a/1.nii.gz", "b/10.dcm", "a/.hidden.png", "a/about.txt")
    make_folder("__MACOSX/a/1.png", ".git/a/1.png", "readme.md", "labels.xlsx")
    listing = read_folder(root)
    assert listing.name == "set"
    assert listing.table.to_dict("list") == {
        "id": ["a/1.nii.gz", "a/deep/1.JPG", "b/10.dcm", "b/2.png"],
        "label": ["a", "a", "b", "b"],
    }
    assert listing.paths == tuple(root / name for name in listing.table["id"])
    assert all(path.is_file() for path in listing.paths)


def test_splits_above_classes_are_kept(make_folder: Callable[..., Path]) -> None:
    table = read_folder(
        make_folder("Test/a/1.png", "valid/b/1.png", "train/a/x/1.png", "docs/read.txt", "unused/a/1.png")
    ).table
    assert table.to_dict("list") == {
        "id": ["Test/a/1.png", "train/a/x/1.png", "valid/b/1.png"],
        "label": ["a", "a", "b"],
        "split": ["test", "train", "validation"],
    }


def test_files_without_an_ending_are_taken_where_they_are_dicom(make_folder: Callable[..., Path]) -> None:
    make_folder("a/IM0001", "b/1.2.840.113", "b/DICOMDIR", content=DICOM)
    root = make_folder("a/1.png")
    assert read_folder(root).table["id"].tolist() == ["a/1.png", "a/IM0001", "b/1.2.840.113"]
    for start in (DICOM[:131], b"", b"DICM" + bytes(200)):
        make_folder("a/IM0002", content=start)
        with pytest.raises(DataError, match=r"set/a/IM0002' is of a format not read"):
            read_folder(root)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a.png"], "no folders in it"),
        (["a/1.png", "b/2.png", "3.png"], "1 images lie outside the class folders, such as '.*set/3.png'"),
        (["train/a/1.png", "train/2.png"], "1 images lie outside the class folders"),
        (["train/a/1.png", "extra/a/2.png"], "folder 'extra' has the split 'extra'"),
        (["a/1.png", "b/2.mov"], "'.*set/b/2.mov' is of a format not read"),
        (["a/1.txt", "b/2.csv"], "holds no images"),
    ],
)
def test_other_folders_are_refused(make_folder: Callable[..., Path], files: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_folder(make_folder(*files))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folders in it"):
        read_folder(tmp_path)


def test_linked_class_folders_are_read_and_loops_are_not(make_folder: Callable[..., Path]) -> None:
    root = make_folder("a/1.png")
    (root.parent / "elsewhere").mkdir()
    (root.parent / "elsewhere/2.png").write_bytes(b"pixels")
    (root / "b").symlink_to(root.parent / "elsewhere")
    (root / "a/above").symlink_to(root)
    assert read_folder(root).table["id"].tolist() == ["a/1.png", "b/2.png"]


def test_a_name_that_is_no_text_is_refused(make_folder: Callable[..., Path]) -> None:
    root = make_folder("a/1.png")
    try:
        os.rename(os.fsencode(root / "a/1.png"), os.fsencode(root / "a") + b"/\xff.png")  # noqa: PTH104
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(DataError, match=r"the name 'a/\\udcff.png' is not UTF-8"):
        read_folder(root)
