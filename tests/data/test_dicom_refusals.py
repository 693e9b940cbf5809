"""DICOM files that are refused: broken, foreign, hostile; and what is never said of a patient."""

from __future__ import annotations

import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import SIXTEEN, encode
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medzoo.data.formats.decoding import read_header, read_pixels
from medzoo.data.formats.dicom_file import TAGS
from medzoo.data.reading import Reading, Window
from medzoo.errors import DataError

ALL = Reading(frame="all")


def test_nothing_about_a_patient_is_read_or_said(recwarn: pytest.WarningsRecorder) -> None:
    assert not {
        tag for tag in TAGS if pydicom.datadict.tag_for_keyword(tag) >> 16 not in (0x28, 0x5200, 0x7FE0)
    }
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        content = bytearray(encode(SIXTEEN, syntax=syntax, WindowCenter=3, WindowWidth=4))
        for place in range(132, len(content), 3):
            broken = content.copy()
            broken[place] ^= 0x41
            try:
                read_pixels(bytes(broken), "a.dcm", Reading())
            except DataError as error:
                told = f"{error} {error.__cause__} {error.__suppress_context__}"
                assert "Doe" not in told and "1970" not in told  # noqa: PT018
    assert not recwarn.list


@pytest.mark.parametrize(
    ("content", "reading", "message"),
    [
        (
            encode(SIXTEEN, "HSV"),
            Reading(),
            "has a colour space, or a number of samples, that is not read; expected grey, RGB",
        ),
        (encode(SIXTEEN, "YBR_FULL_422"), Reading(), "or a number of samples, that is not read"),
        (encode(SIXTEEN, Rows=0), Reading(), "'a.dcm' has 10×0 pixels; expected at least one"),
        (
            encode(SIXTEEN, Rows=40_000, Columns=40_000),
            Reading(),
            "40000×40000 pixels in 1 frames; expected at most",
        ),
        (encode(SIXTEEN, Rows=900, Columns=900, NumberOfFrames=900), ALL, "in 900 frames.*--frame middle"),
        (encode(SIXTEEN, NumberOfFrames=3), Reading(frame=3), "has no frame 3: it has 3"),
        (
            encode(np.zeros((4, 4, 3), np.uint8), "RGB"),
            Reading(windows=(Window(0, 1),)),
            "8-bit or colour pixels",
        ),
        (b"no DICOM file at all", Reading(), "'a.dcm'.*expected a whole DICOM image"),
        (b"\0" * 128 + b"DICM" + b"\0" * 64, Reading(), "'a.dcm'.*expected a whole DICOM image"),
    ],
)
def test_what_is_no_image_is_refused_by_name(content: bytes, reading: Reading, message: str) -> None:
    for ask in (read_header, read_pixels):
        with pytest.raises(DataError, match=message):
            ask(content, "a.dcm", reading)


def test_a_missing_decoder_is_named(monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> None:
    from pydicom.pixels.decoders import JPEG2000LosslessDecoder

    path = shared_data / "dicom" / "MR_small_jp2klossless.dcm"
    monkeypatch.setattr(JPEG2000LosslessDecoder, "_available", {})
    for ask in (read_header, read_pixels):
        with pytest.raises(
            DataError, match=r"compressed as JPEG 2000 .*Lossless Only.*try pip install 'medzoo.dicom.'"
        ):
            ask(path, "a.dcm", Reading())
    video = pydicom.dcmread(BytesIO(encode(SIXTEEN)))
    video.file_meta.TransferSyntaxUID = MPEG2MPML
    video["PixelData"].VR, video["PixelData"].is_undefined_length = "OB", True
    video.PixelData = pydicom.encaps.encapsulate([b"video"])
    video.save_as(file := BytesIO())
    with pytest.raises(DataError, match=r"is stored as MPEG2 Main Profile.*expected an image, not video"):
        read_header(file.getvalue(), "a.dcm", Reading())


def test_a_deflated_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medzoo.data.formats.dicom_file.MOST_VALUES", 10**7)
    content = encode(SIXTEEN, syntax=DeflatedExplicitVRLittleEndian)
    start = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(33)) + packer.flush()
    with pytest.raises(DataError, match=r"'a.dcm' unpacks to more than"):
        read_pixels(content[:start] + packed, "a.dcm", Reading())


@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "rtdose.dcm"]
)
def test_broken_bytes_end_in_a_data_error_or_an_image(shared_data: Path, name: str) -> None:
    content = (shared_data / "dicom" / name).read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(100):
        broken = bytearray(content[: rng.integers(1, len(content) + 1)] if rng.random() < 0.3 else content)
        for place in rng.integers(0, len(broken), rng.integers(1, 30)):
            broken[place] = rng.integers(256)
        for ask in (read_header, read_pixels):
            try:
                ask(bytes(broken), name, Reading())
            except DataError as error:
                assert name in str(error)  # noqa: PT017
