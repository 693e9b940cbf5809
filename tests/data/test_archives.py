"""Zip and tar archives: what lies where, the rules of folders, and what is refused."""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from medzoo.data.containers import members, tars
from medzoo.data.containers.archives import read_archive
from medzoo.data.dataset import Listing
from medzoo.errors import DataError

CONTENT: Mapping[str, bytes] = {
    "train/cat/1.jpg": b"first" * 300,
    "train/dog/2.png": b"second" * 300,
    "val/cat/3.png": b"",
    "test/dog/deep/4.jpg": bytes(range(256)) * 40,
}
TARS = [".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2"]


def write_zip(path: Path, content: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, content: Mapping[str, bytes], *links: tarfile.TarInfo) -> Path:
    mode = {"gz": "w:gz", "xz": "w:xz", "2": "w:bz2", "r": "w:"}
    kind = next(value for end, value in mode.items() if path.name.replace("tgz", "gz").endswith(end))
    with tarfile.open(path, kind) as archive:  # type: ignore[call-overload]
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for link in links:
            archive.addfile(link)
    return path


def check_listing(listing: Listing, path: Path, content: Mapping[str, bytes] = CONTENT) -> None:
    """Compare a listing with what was put in: every image's bytes, in any order."""
    ids = listing.table["id"].tolist()
    assert sorted(ids) == sorted(content)
    assert listing.paths == tuple(path / name for name in ids)
    assert listing.bundle is not None
    assert listing.bundle.read(range(len(ids))) == [content[name] for name in ids]
    assert listing.bundle.take(np.array([1, 0])).read([0, 1]) == [content[ids[1]], content[ids[0]]]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_is_read_in_place(tmp_path: Path, method: int) -> None:
    others = {
        "train/cat/about.txt": b"text",
        "__MACOSX/train/cat/._1.jpg": b"junk",
        "train/.DS_Store": b"junk",
    }
    path = write_zip(tmp_path / "pets.zip", {**CONTENT, **others}, method)
    listing = read_archive(path)
    check_listing(listing, path)
    assert listing.name == "pets"
    assert listing.bundle is not None
    assert listing.bundle.blobs is None
    assert listing.bundle.packed.all() == (method == zipfile.ZIP_DEFLATED)
    assert listing.table[["label", "split"]].to_numpy().tolist() == [
        ["dog", "test"],
        ["cat", "train"],
        ["dog", "train"],
        ["cat", "validation"],
    ]


def test_zip64_extra_fields_and_a_prefix_shift_no_offset(tmp_path: Path) -> None:
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, (name, data) in enumerate(CONTENT.items()):
            entry = zipfile.ZipInfo(name)
            # The directory has this field, the local header a longer one: zip64 sizes come first.
            entry.extra = struct.pack("<HH", 0xCAFE, number) + bytes(number)
            with archive.open(entry, "w", force_zip64=True) as stream:
                stream.write(data)
    check_listing(read_archive(path), path)
    path.write_bytes(b"#!/bin/sh, a self-extracting archive" + path.read_bytes())
    check_listing(read_archive(path), path)


@pytest.mark.parametrize("ending", TARS)
def test_tar_is_read(tmp_path: Path, ending: str) -> None:
    others = {"train/cat/about.txt": b"text", "train/cat/._1.jpg": b"junk", "./README": b"read me"}
    path = write_tar(tmp_path / f"pets{ending}", {**CONTENT, **others})
    listing = read_archive(path)
    check_listing(listing, path)
    assert listing.name == "pets"
    assert listing.bundle is not None
    assert (listing.bundle.blobs is None) == (ending == ".tar")


@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_a_folder_that_holds_everything_is_no_class(tmp_path: Path, ending: str) -> None:
    content = {f"pets/{name}": data for name, data in CONTENT.items()}
    path = tmp_path / f"pets{ending}"
    (write_zip if ending == ".zip" else write_tar)(path, {**content, "licence.txt": b"text"})
    listing = read_archive(path)
    check_listing(listing, path, content)
    assert set(listing.table["label"]) == {"cat", "dog"}
    assert listing.notes == (f"{path.name}: 'pets', which holds everything, is no class",)


def test_a_single_split_or_class_folder_stays(tmp_path: Path) -> None:
    train = write_zip(tmp_path / "a.zip", {"train/cat/1.jpg": b"1", "train/dog/2.jpg": b"2"})
    assert read_archive(train).table["split"].tolist() == ["train", "train"]
    classes = write_zip(tmp_path / "b.zip", {"cat/1.jpg": b"1", "cat/x/2.jpg": b"2"})
    assert read_archive(classes).table["label"].tolist() == ["cat", "cat"]


@pytest.mark.parametrize("name", ["pets.zip", "stored.zip", "pets.tar", "pets.tar.gz"])
def test_dicom_without_an_ending_is_recognised(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).bytes(20_000)
    dicom = noise[:128] + b"DICM" + noise
    content = {"a/IM1": dicom, "b/IM2": dicom, "b/DICOMDIR": dicom}
    path = tmp_path / name
    if name.endswith(".zip"):
        write_zip(path, content, zipfile.ZIP_STORED if "stored" in name else zipfile.ZIP_DEFLATED)
    else:
        write_tar(path, content)
    check_listing(read_archive(path), path, {"a/IM1": dicom, "b/IM2": dicom})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a/1.png": b"1", "../b/2.png": b"2"}, "'../b/2.png', which lies outside"),
        ({"a/1.png": b"1", "/b/2.png": b"2"}, "'/b/2.png', which lies outside"),
        ({"a/1.png": b"1", "C:\\b\\2.png": b"2"}, "which lies outside"),
        ({"a/1.png": b"1", "b\\..\\..\\2.png": b"2"}, "which lies outside"),
        ({"a/1.png": b"1", "./a/1.png": b"2"}, "holds 'a/1.png' twice"),
        ({"a/1.png": b"1", "b/2.rar": b"2"}, "format not read"),
        ({"1.png": b"1"}, "no folders in it"),
        ({}, "no folders in it"),
    ],
)
@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz"])
def test_dangerous_or_foreign_members_are_refused(
    tmp_path: Path, content: Mapping[str, bytes], message: str, ending: str
) -> None:
    write = write_zip if ending == ".zip" else write_tar
    with pytest.raises(DataError, match=message):
        read_archive(write(tmp_path / f"x{ending}", content))


def test_other_zips_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "x.zip", CONTENT, zipfile.ZIP_LZMA)
    with pytest.raises(DataError, match=r"compressed by method 14; .*try unpacking it to a folder"):
        read_archive(path)
    raw = bytearray(write_zip(path, CONTENT).read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"'train/cat/1.jpg' is encrypted"):
        read_archive(path)
    link = zipfile.ZipInfo("train/cat/9.jpg")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match=r"'train/cat/9.jpg' is a link"):
        read_archive(path)
    monkeypatch.setattr(members, "MEMBER_LIMIT", 10_000)
    with pytest.raises(DataError, match=r"'test/dog/deep/4.jpg' would unpack from [\d,]+ to 10,240 bytes"):
        read_archive(write_zip(path, CONTENT))
    monkeypatch.setattr(members, "MEMBER_LIMIT", 10**9)
    monkeypatch.setattr(members, "RATIO_FROM", 10_000)
    with pytest.raises(DataError, match="no more than 200 times"):
        read_archive(write_zip(path, {"a/1.png": bytes(300_000)}))
    assert len(read_archive(write_zip(path, CONTENT)).table) == 4


def test_a_directory_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a/1.png": b"1" * 100}, zipfile.ZIP_STORED)
    whole = path.read_bytes()
    sizes = whole.rindex(struct.pack("<II", 100, 100))
    path.write_bytes(whole[:sizes] + struct.pack("<II", 1000, 1000) + whole[sizes + 8 :])
    with pytest.raises(DataError, match=r"x.zip ends within 'a/1.png'"):
        read_archive(path)


def test_other_tars_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tarfile.TarInfo("train/cat/9.jpg")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        link.type, link.linkname = kind, "train/cat/1.jpg"
        for ending in (".tar", ".tar.gz"):
            with pytest.raises(DataError, match=r"'train/cat/9.jpg' is a link"):
                read_archive(write_tar(tmp_path / f"x{ending}", CONTENT, link))
    link.type = tarfile.FIFOTYPE
    with pytest.raises(DataError, match="is no plain file"):
        read_archive(write_tar(tmp_path / "x.tar", CONTENT, link))
    monkeypatch.setattr(tars, "BLOB_LIMIT", 10_000)
    with pytest.raises(DataError, match=r"unpacks to more than 10,000 bytes.*try unpacking it: tar -xf"):
        read_archive(write_tar(tmp_path / "x.tar.gz", CONTENT))
    assert len(read_archive(write_tar(tmp_path / "x.tar", CONTENT)).table) == 4


@pytest.mark.parametrize("ending", [".zip", *TARS])
def test_an_archive_cut_anywhere_is_refused(tmp_path: Path, ending: str) -> None:
    write = write_zip if ending == ".zip" else write_tar
    # Members as long as a block end where the next header begins.
    content = {f"{name}/{number}.png": bytes([number]) * 512 for number in range(4) for name in "ab"}
    path = write(tmp_path / f"x{ending}", content)
    whole = path.read_bytes()
    # A plain tar is whole once its end mark has begun; what follows is padding.
    end = 8 * 1024 + 512 if ending == ".tar" else len(whole)
    for size in {0, 1, 100, 512, 1024, 1536, 4096, end // 2, end - 100, end - 1}:
        if size < end:
            path.write_bytes(whole[:size])
            with pytest.raises(DataError):
                read_archive(path)
    path.write_bytes(whole[:end])
    assert len(read_archive(path).table) == 8


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz"])
def test_damage_never_ends_in_another_error(tmp_path: Path, ending: str) -> None:
    write = write_zip if ending == ".zip" else write_tar
    path = write(tmp_path / f"x{ending}", CONTENT)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(200):
        broken = whole.copy()
        broken[rng.integers(0, len(whole), 4)] = rng.integers(0, 256, 4)
        path.write_bytes(broken.tobytes())
        try:
            listing = read_archive(path)
            assert listing.bundle is not None
            listing.bundle.read(range(len(listing.table)))
        except DataError:
            pass


def test_natural_images(shared_data: Path) -> None:
    path = shared_data / "cifar10_jpeg/cifar10_jpeg.zip"
    listing = read_archive(path)
    assert listing.table.groupby(["split", "label"]).size().unique().tolist() == [300, 2000]
    assert listing.table["label"].nunique() == 10
    assert listing.bundle is not None
    rows = [0, 9999, 22999]
    with zipfile.ZipFile(path) as archive:
        for row, blob in zip(rows, listing.bundle.read(rows), strict=True):
            expected = archive.read(listing.table["id"][row])
            assert hashlib.sha256(blob).digest() == hashlib.sha256(expected).digest()
