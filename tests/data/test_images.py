"""The survey of a data set's images: channels, decoders, bits, refusals by row; and finding broken ones."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_files import SIXTEEN, encode
from PIL import Image

from medzoo.data.bundle import Bundle
from medzoo.data.dataset import BYTE_RANGE, Dataset
from medzoo.data.formats.images import FEW, STEP, SUFFIXES, Survey, find_unreadable, survey_images
from medzoo.data.reading import Reading, Window
from medzoo.errors import DataError

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("modes", "channels", "decoder"),
    [
        (["1", "L", "LA"], 1, "tensorflow"),
        (["L", "RGB"], 3, "tensorflow"),
        (["P"], 3, "tensorflow"),
        (["RGBA"], 3, "tensorflow"),
        (["I;16", "I;16"], 1, "reader"),
    ],
)
def test_modes_decide_channels_and_decoder(
    write_image: Write, modes: list[str], channels: int, decoder: str
) -> None:
    survey = survey_images([write_image(f"{number}.png", mode) for number, mode in enumerate(modes)])
    assert (survey.channels, survey.decoder, survey.size) == (channels, decoder, (8, 9))
    assert survey.wide == modes.count("I;16")
    assert survey.unreadable == ()


def test_one_file_that_tensorflow_cannot_read_decides_for_all(write_image: Write) -> None:
    paths = [write_image("a.png"), write_image("b.jpg")]
    assert survey_images(paths).decoder == "tensorflow"
    for name in ("c.bmp", "c.tif", "c.webp"):
        assert survey_images([*paths, write_image(name, "RGB")]).decoder == "reader"


def test_dicom_joins_pictures_and_has_its_own_windows(write_image: Write, tmp_path: Path) -> None:
    scan = tmp_path / "scan.dcm"
    scan.write_bytes(encode(SIXTEEN))
    mixed = survey_images([write_image("a.png"), scan])
    assert (mixed.channels, mixed.decoder, mixed.notes, mixed.size) == (1, "reader", (), (8, 9))
    windows = (Window(-600, 1500), Window(40, 400), Window(50, 350))
    survey = survey_images([scan], reading=Reading(windows=windows))
    assert (survey.channels, survey.size, survey.wide) == (3, (8, 10), 0)
    with pytest.raises(DataError, match=r"^row 3: .*a.png' has 8-bit or colour pixels, to which a window"):
        survey_images([scan, tmp_path / "a.png"], [2, 3], reading=Reading(windows=windows[:1]))


def test_all_frames_make_a_volume(tmp_path: Path) -> None:
    stack = tmp_path / "stack.dcm"
    stack.write_bytes(encode(np.stack([SIXTEEN] * 5)))
    assert survey_images([stack]).size == (8, 10)
    survey = survey_images([stack], reading=Reading(frame="all"))
    assert (survey.size, survey.decoder) == ((5, 8, 10), "reader")


def test_missing_files_are_counted_and_the_first_named(write_image: Write, tmp_path: Path) -> None:
    paths = [write_image("a.png"), tmp_path / "gone.png", tmp_path / "lost.png"]
    with pytest.raises(DataError, match=r"row 5: no file '.*gone.png' \(2 of 3 absent\)"):
        survey_images(paths, [2, 5, 6])
    broken = write_image("b.png")
    broken.write_bytes(b"")
    with pytest.raises(DataError, match=r"row 5: no file '.*gone.png' \(1 of 3 absent\)"):
        survey_images([paths[0], broken, paths[1]], [2, 4, 5])  # absent files are told of first


def make_huge_png(side: int) -> bytes:
    """Make a PNG of a few bytes whose header claims side × side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def make_cmyk() -> bytes:
    """Make a JPEG of four colours."""
    Image.new("CMYK", (4, 4)).save(file := io.BytesIO(), "JPEG")
    return file.getvalue()


BAD = [
    (b"", "is empty; expected a JPEG, PNG"),
    (b"not an image at all", "cannot read .*; expected a JPEG, PNG"),
    (b"\0" * 128 + b"DICM" + b"\0" * 64, "has no pixels; expected a whole DICOM image"),
    (b"\x89PNG\r\n\x1a\n\0\0", "cannot read"),
    (make_huge_png(30_000), "too many pixels; expected at most"),  # where Pillow refuses
    (make_huge_png(10_000), "10000×10000 pixels; expected at most"),  # where it only warns
    (make_huge_png(0), "cannot read"),
    (make_cmyk(), r"has 4 channels \(CMYK\); expected 1 \(grey\) or 3"),
]


@pytest.mark.parametrize(("content", "message"), BAD)
def test_bad_files_are_refused_by_row_and_path(
    write_image: Write, tmp_path: Path, content: bytes, message: str
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(content)
    with pytest.raises(DataError, match=message) as refusal:
        survey_images([write_image("a.png"), bad], [2, 3])
    assert str(refusal.value).startswith("row 3: ")
    assert "bad.png" in str(refusal.value)


def test_under_skip_bad_files_are_listed_in_order(write_image: Write, tmp_path: Path) -> None:
    paths = [write_image("a.png", size=(5, 4))]
    for number, (content, _) in enumerate(BAD):
        paths.append(tmp_path / f"bad{number}.png")
        paths[-1].write_bytes(content)
    paths.append(tmp_path / "gone.png")
    rows = range(10, 10 + len(paths))
    survey = survey_images([*paths[1:], paths[0]], rows, on_error="skip")
    assert (survey.size, survey.channels) == ((4, 5), 1)
    assert [position for position, _ in survey.unreadable] == list(range(len(paths) - 1))
    assert str(survey.unreadable[0][1]).startswith("row 10: ")
    assert "no file" in str(survey.unreadable[-1][1])
    with pytest.raises(
        DataError, match=r"^none of 2 images can be read; the first: row 2: .*bad0.png' is empty"
    ):
        survey_images(paths[1:3], [2, 3], on_error="skip")


@pytest.mark.parametrize(("wide", "narrow", "odd"), [(2, 1, 2), (1, 2, 0)])
def test_eight_and_sixteen_bits_do_not_mix(write_image: Write, wide: int, narrow: int, odd: int) -> None:
    """The fewer are the odd ones; the message names one of each."""
    paths = [write_image(f"wide{number}.png", "I;16") for number in range(wide)]
    paths += [write_image(f"narrow{number}.png") for number in range(narrow)]
    few, many = ("narrow0", "wide0") if wide > narrow else ("wide0", "narrow0")
    bits, others = ("8-bit", "16-bit") if wide > narrow else ("16-bit", "8-bit")
    with pytest.raises(
        DataError, match=f"^row {odd + 7}: .*{few}.png' has {bits} values, where 2 of 3"
    ) as refusal:
        survey_images(paths, [7, 8, 9])
    assert f"such as {str(paths[0 if wide > narrow else 1])!r}, have {others} values" in str(refusal.value)
    assert many in str(refusal.value)
    survey = survey_images(paths, [7, 8, 9], on_error="skip")
    assert [position for position, _ in survey.unreadable] == [odd]
    assert survey.wide == (2 if wide > narrow else 0)


def test_notes_say_what_is_done_to_values(write_image: Write, tmp_path: Path) -> None:
    wide = [write_image(f"{number}.png", "I;16") for number in range(3)]
    assert survey_images(wide).notes == (
        "16-bit images: 3; their 0…65535 is read as 0…255, with fractions kept",
    )
    assert survey_images(wide, reading=Reading(windows=(Window(0, 9),))).notes == ()
    Image.fromarray(np.ones((3, 4), np.float32)).save(tmp_path / "own.tif")
    assert survey_images([tmp_path / "own.tif"]).notes == (
        "1 of 1 images have units of their own: each is read from its lowest to highest",
    )
    exif = Image.Exif()
    exif[274] = 8
    Image.new("RGB", (4, 3)).save(tmp_path / "turned.jpg", exif=exif)
    (note,) = survey_images([tmp_path / "turned.jpg", write_image("a.jpg")]).notes
    assert note == "1 of 2 images carry an EXIF orientation, which is not applied"


def make_bundle(contents: list[bytes], tmp_path: Path, packed: bool) -> Bundle:
    """Write encoded images one after the other to a file, as they are or as raw DEFLATE streams."""

    def pack(content: bytes) -> bytes:
        packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(content) + packer.flush()

    stored = [pack(content) if packed else content for content in contents]
    lengths = np.array([len(content) for content in stored], np.int64)
    (tmp_path / "all.bin").write_bytes(b"".join(stored))
    return Bundle(
        files=(tmp_path / "all.bin",),
        places=np.zeros(len(stored), np.int32),
        offsets=np.cumsum(lengths) - lengths,
        lengths=lengths,
        packed=np.full(len(stored), packed),
        sizes=np.array([len(content) for content in contents], np.int64),
    )


@pytest.mark.parametrize("packed", [False, True])
def test_images_in_a_bundle_are_surveyed(write_image: Write, tmp_path: Path, packed: bool) -> None:
    large = tmp_path / "large.jpg"  # its size stands behind a colour profile, past what is read at first
    Image.new("RGB", (30, 20)).save(large, icc_profile=bytes(150_000))
    contents = [write_image("a.png").read_bytes(), large.read_bytes(), encode(SIXTEEN), b"broken"]
    bundle = make_bundle(contents, tmp_path, packed)
    paths = [Path("x.zip") / name for name in ("a.png", "large.jpg", "scan.dcm", "broken.png")]
    survey = survey_images(paths, bundle=bundle, on_error="skip")
    assert (survey.size, survey.channels, survey.decoder) == ((8, 9), 3, "reader")
    ((position, fault),) = survey.unreadable
    assert position == 3
    assert "'x.zip/broken.png'" in str(fault)
    with pytest.raises(DataError, match=r"cannot read 'x.zip/broken.png'"):
        survey_images(paths, bundle=bundle)


def make_dataset(paths: list[Path], survey: Survey, bundle: Bundle | None = None) -> Dataset:
    """Make a data set of surveyed files."""
    table = pd.DataFrame({"id": [str(path) for path in paths], "split": "train", "label": "no"})
    reading = Reading(channels=survey.channels)
    return Dataset(
        *("set", ("no",), table, survey.channels, survey.size, BYTE_RANGE),
        paths=tuple(paths),
        decoder=survey.decoder,
        reading=reading,
        bundle=bundle,
    )


@pytest.mark.parametrize(("suffix", "count"), [("jpg", 2 * STEP), ("bmp", FEW), ("bmp", FEW + 1)])
def test_unreadable_images_are_found_by_decoding(write_image: Write, suffix: str, count: int) -> None:
    """By threads in this process, and from `FEW` of the reader's images on by others."""
    paths = [write_image(f"{number}.{suffix}", size=(64, 64), seed=number) for number in range(count)]
    dataset = make_dataset(paths, survey_images(paths))
    assert find_unreadable(dataset) == []
    for number in (1, count - 1):
        paths[number].write_bytes(paths[number].read_bytes()[:-300])
    survey_images(paths)  # the header alone tells nothing
    faults = find_unreadable(dataset)
    assert [position for position, _ in faults] == [1, count - 1]
    assert f"{count - 1}.{suffix}" in faults[1][1]
    assert "truncated" in faults[0][1]


def test_unreadable_images_of_a_bundle_are_found(write_image: Write, tmp_path: Path) -> None:
    contents = [encode(SIXTEEN) for _ in range(FEW + 2)]
    contents[4] = contents[4][:-20]
    bundle = make_bundle(contents, tmp_path, packed=False)
    paths = [Path(f"x.tar/{number}.dcm") for number in range(len(contents))]
    dataset = make_dataset(paths, survey_images(paths, bundle=bundle), bundle)
    ((position, reason),) = find_unreadable(dataset)
    assert position == 4
    assert reason.startswith("'x.tar/4.dcm' ends early")
    (tmp_path / "all.bin").write_bytes((tmp_path / "all.bin").read_bytes()[:-1])  # an archive that was cut
    few = dataset.take(np.array([0, 4, len(contents) - 1]))
    assert [position for position, _ in find_unreadable(few)] == [1, 2]


def test_names_of_images_are_known_by_their_ends() -> None:
    for name in ("a.JPG", "a.jpeg", "b.tiff", "c.dcm", "d.nii.gz", "d.nii", "e.webp"):
        assert name.lower().endswith(SUFFIXES)
    assert not "a.gz".endswith(SUFFIXES)


def test_a_broken_member_does_not_shift_the_names_of_others(tmp_path: Path) -> None:
    names = [f"{number}.tif" for number in range(20)]
    blobs = []
    for number in range(20):
        stream = io.BytesIO()
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(stream, "TIFF")
        blobs.append(stream.getvalue() if number != 15 else stream.getvalue()[:60])
    archive = tmp_path / "t.bin"
    archive.write_bytes(b"".join(blobs))
    lengths = np.array([len(blob) for blob in blobs], np.int64)
    offsets = np.cumsum(lengths) - lengths
    packed = np.zeros(20, bool)
    packed[14] = True  # no DEFLATE stream: refused while it is read
    bundle = Bundle((archive,), np.zeros(20, np.int32), offsets, lengths, packed, lengths.copy())
    table = pd.DataFrame({"id": names, "split": "train", "label": "a"})
    paths = tuple(Path("t.zip") / name for name in names)
    dataset = Dataset(
        "t", ("a", "b"), table, 1, (8, 8), (0.0, 255.0), paths=paths, decoder="reader", bundle=bundle
    )
    found = dict(find_unreadable(replace(dataset, rows=tuple(range(2, 22)))))
    assert set(found) == {14, 15}
    assert "14.tif" in found[14]
    assert "does not unpack" in found[14]
    assert "15.tif" in found[15]
    assert found[15].startswith("row 17: ")
