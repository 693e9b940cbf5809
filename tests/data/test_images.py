"""Image files: headers, refusals, channels, decoders, and naming a broken file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medzoo.data.dataset import BYTE_RANGE, Dataset
from medzoo.data.images import find_unreadable, read_image, survey_images
from medzoo.errors import DataError

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("modes", "channels", "decoder"),
    [
        (["1", "L", "LA"], 1, "tensorflow"),
        (["L", "RGB"], 3, "tensorflow"),
        (["P"], 3, "tensorflow"),
        (["RGBA"], 3, "tensorflow"),
        (["L", "I;16"], 1, "pillow"),
    ],
)
def test_modes_decide_channels_and_decoder(
    write_image: Write, modes: list[str], channels: int, decoder: str
) -> None:
    survey = survey_images([write_image(f"{number}.png", mode) for number, mode in enumerate(modes)])
    assert (survey.channels, survey.decoder, survey.size) == (channels, decoder, (8, 9))
    assert survey.wide == modes.count("I;16")


def test_bmp_and_cmyk_go_to_pillow(write_image: Write, tmp_path: Path) -> None:
    assert survey_images([write_image("a.bmp", "RGB")]).decoder == "pillow"
    Image.new("CMYK", (4, 4)).save(tmp_path / "b.jpg")
    assert survey_images([tmp_path / "b.jpg"]).decoder == "pillow"


def test_missing_files_are_counted_and_the_first_named(write_image: Write, tmp_path: Path) -> None:
    paths = [write_image("a.png"), tmp_path / "gone.png", tmp_path / "lost.png"]
    with pytest.raises(DataError, match=r"row 5: no file '.*gone.png' \(2 of 3 absent\)"):
        survey_images(paths, [2, 5, 6])


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; expected JPEG, PNG or BMP"),
        (b"not an image at all", "cannot read .*; expected JPEG, PNG or BMP"),
        (b"\0" * 128 + b"DICM" + b"\0" * 64, "cannot read .*; expected JPEG, PNG or BMP"),
        (b"\x89PNG\r\n\x1a\n\0\0", "cannot read"),
        (make_huge_png(30_000), "too many pixels; expected at most"),  # where Pillow refuses
        (make_huge_png(10_000), "10000×10000 pixels; expected at most"),  # where it only warns
    ],
)
def test_bad_files_are_refused_by_row_and_path(
    write_image: Write, tmp_path: Path, content: bytes, message: str
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(content)
    with pytest.raises(DataError, match=message) as refusal:
        survey_images([write_image("a.png"), bad], [2, 3])
    assert str(refusal.value).startswith("row 3: ")
    assert "bad.png" in str(refusal.value)


@pytest.mark.parametrize("format_name", ["GIF", "TIFF"])
def test_other_formats_are_refused_whatever_their_name(tmp_path: Path, format_name: str) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (4, 4)).save(path, format=format_name)
    with pytest.raises(DataError, match="expected JPEG, PNG or BMP images, the formats read so far"):
        survey_images([path])


def test_sixteen_bits_keep_their_fractions(write_image: Write) -> None:
    path = write_image("wide.png", "I;16")
    stored = np.asarray(Image.open(path), dtype=np.float32)
    pixels = read_image(path, 1)
    assert pixels.shape == (8, 9, 1)
    assert pixels.dtype == np.float32
    assert np.array_equal(pixels[..., 0], stored / np.float32(257))
    assert np.array_equal(read_image(path, 3), np.repeat(pixels, 3, axis=-1))


def test_find_unreadable_names_the_truncated_file(write_image: Write) -> None:
    paths = tuple(write_image(f"{number}.jpg", size=(64, 64), seed=number) for number in range(3))
    table = pd.DataFrame({"id": list("abc"), "split": "train", "label": "no"})
    dataset = Dataset("cut", ("no",), table, 1, (64, 64), BYTE_RANGE, paths=paths)
    assert find_unreadable(dataset) is None
    paths[1].write_bytes(paths[1].read_bytes()[:-300])
    survey_images(paths)  # the header alone tells nothing
    fault = find_unreadable(dataset)
    assert fault is not None
    assert "1.jpg" in fault
    assert "truncated" in fault
