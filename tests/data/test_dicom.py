"""DICOM: stored values of real files, and the way from them to grey levels, step by step."""

from __future__ import annotations

import csv
import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import SIXTEEN, encode, item
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medzoo.data.formats.decoding import read_header, read_pixels
from medzoo.data.formats.dicom_file import read_stored
from medzoo.data.reading import Reading, Window
from medzoo.errors import DataError

ALL, MIDDLE = Reading(frame="all"), Reading()
SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


def read(content: bytes, reading: Reading = MIDDLE) -> np.ndarray:
    """Read the one channel of a file's bytes."""
    return read_pixels(content, "a.dcm", reading)[..., 0]


def test_stored_values_are_those_expected(shared_data: Path) -> None:
    folder = shared_data / "dicom"
    seen = set()
    for row in csv.DictReader((folder / "expected.csv").open(encoding="utf-8")):
        name = row["file"]
        if row["shape"] == "UNDECODABLE":
            with pytest.raises(DataError, match=rf"^'{name}' ends early: 8,130 of 8,192 bytes of pixels"):
                read_stored(folder / name, name)
            with pytest.raises(DataError, match=rf"^'{name}' ends early"):
                read_pixels(folder / name, name, Reading())
            continue
        stored = read_stored(folder / name, name)
        found = (
            "x".join(map(str, stored.shape)),
            stored.dtype,
            f"{stored.min()}",
            f"{stored.max()}",
            hashlib.sha256(stored.astype(stored.dtype.newbyteorder("<")).tobytes()).hexdigest()[:16],
        )
        expected = (row["shape"], np.dtype(row["dtype"]), row["min"], row["max"], row["pixels_sha256_16"])
        assert found == expected, name
        header = read_header(folder / name, name, ALL)
        assert header.channels == (1 if row["photometric"].startswith("MONO") else 3), name
        if len(stored) <= 10 or row["frames"] == "1":
            pixels = read_pixels(folder / name, name, Reading(3, frame="all"))
            assert pixels.shape == (*header.size, 3), name
            assert pixels.min() >= 0, name
            assert 50 < pixels.max() <= 255, name
        seen.add(name)
    assert len(seen) == 41


def test_one_image_in_four_codecs_is_one_image(shared_data: Path) -> None:
    names = ("RG3_J2KR.dcm", "RG3_JLSL.dcm", "RG3_JPLL.dcm", "RG3_RLE.dcm")
    first, *others = (read_pixels(shared_data / "dicom" / name, name, Reading()) for name in names)
    assert all(np.array_equal(first, other) for other in others)
    # Window 550/1024 of LINEAR, then the inversion of MONOCHROME1.
    stored = read_stored(shared_data / "dicom" / names[3], names[3]).astype(float)
    expected = 255 - (((stored - 549.5) / 1023 + 0.5) * 255).clip(0, 255)
    np.testing.assert_allclose(first[..., 0], expected, atol=1e-3)


def test_tables_and_colours_are_those_of_pydicom(shared_data: Path) -> None:
    from pydicom.pixels.processing import (
        apply_color_lut,
        apply_modality_lut,
        apply_voi_lut,
        convert_color_space,
    )

    def load(name: str) -> tuple[Any, np.ndarray, np.ndarray]:
        path = shared_data / "dicom" / name
        dataset = pydicom.dcmread(path)
        return dataset, pixel_array(dataset, raw=True), read_pixels(path, name, Reading(3, frame="all"))

    dataset, stored, pixels = load("vlut_04.dcm")
    bits = dataset.VOILUTSequence[0].LUTDescriptor[2]
    np.testing.assert_allclose(
        pixels[0, ..., 0], apply_voi_lut(stored, dataset) / (2**bits - 1) * 255, atol=1e-3
    )
    dataset, stored, pixels = load("mlut_18.dcm")
    meaning = apply_modality_lut(stored, dataset).astype(float)  # no window: the range of the image
    expected = (meaning - meaning.min()) / np.ptp(meaning) * 255
    np.testing.assert_allclose(pixels[0, ..., 0], expected, atol=1e-3)
    for name in ("examples_palette.dcm", "OBXXXX1A_2frame.dcm"):
        dataset, stored, pixels = load(name)
        np.testing.assert_array_equal(pixels.reshape(*stored.shape, 3), apply_color_lut(stored, dataset) >> 8)
    dataset, stored, pixels = load("examples_ybr_color.dcm")
    np.testing.assert_array_equal(pixels, convert_color_space(stored, "YBR_FULL", "RGB"))
    dataset, stored, pixels = load("SC_rgb_16bit_2frame.dcm")
    np.testing.assert_allclose(pixels, stored / 257, rtol=1e-6)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
def test_rescale_comes_before_the_window_and_the_inversion_last(syntax: Any, function: str | None) -> None:
    elements = {
        "RescaleSlope": 2,
        "RescaleIntercept": -100,
        "WindowCenter": [300, 0],
        "WindowWidth": [800, 1],
    }
    if function:
        elements["VOILUTFunction"] = function
    units = SIXTEEN * 2.0 - 100
    linear = ((units - 299.5) / 799 + 0.5) * 255
    exact = ((units - 300) / 800 + 0.5) * 255
    sigmoid = 255 / (1 + np.exp(-4 * (units - 300) / 800))
    expected = {"LINEAR_EXACT": exact, "SIGMOID": sigmoid}.get(function or "", linear).clip(0, 255)
    np.testing.assert_allclose(read(encode(SIXTEEN, syntax=syntax, **elements)), expected, atol=1e-3)
    inverted = read(encode(SIXTEEN, "MONOCHROME1", syntax, **elements))
    np.testing.assert_allclose(inverted, 255 - expected, atol=1e-3)
    # The windows given stand above the file's; the rescale and the inversion stay.
    given = read_pixels(
        encode(SIXTEEN, "MONOCHROME1", syntax, **elements),
        "a.dcm",
        Reading(windows=(Window(-600, 1500), Window(40, 400))),
    )
    for channel, (low, width) in enumerate(((-1350, 1500), (-160, 400))):
        exactly = 255 - ((units - low) / width * 255).clip(0, 255)
        np.testing.assert_allclose(given[..., channel], exactly, atol=1e-3)


def test_without_a_window_values_go_from_the_lowest_to_the_highest_and_padding_does_not_count() -> None:
    padded = SIXTEEN.copy()
    padded[0] = -2000
    padded[1] = -1990
    shown = padded.astype(float)
    for elements, low in (
        ({}, -2000),
        ({"PixelPaddingValue": -2000}, -1990),
        ({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}, -1000),
        (
            {"WindowCenter": 0, "WindowWidth": 0, "PixelPaddingValue": -2000},
            -1990,
        ),  # forbidden: as if there were none
    ):
        expected = ((shown - low) / (1950 - low) * 255).clip(0, 255)
        np.testing.assert_allclose(read(encode(padded, **elements)), expected, atol=1e-3)


def test_eight_bits_without_a_window_are_grey_levels_already() -> None:
    dim = np.arange(60, 140, dtype=np.uint8).reshape(8, 10)
    assert read(encode(dim)).tolist() == dim.tolist()
    assert read(encode(dim, "MONOCHROME1")).tolist() == (255 - dim).tolist()
    np.testing.assert_allclose(read(encode(dim - 60 >> 3, BitsStored=4)), (dim - 60 >> 3) * 17, rtol=1e-6)
    signed = (dim.astype(np.int16) - 100).astype(np.int8)
    np.testing.assert_allclose(read(encode(signed)), (dim - 60.0) / 79 * 255, atol=1e-3)
    rescaled = read(encode(dim, RescaleSlope=3, RescaleIntercept=1))
    np.testing.assert_allclose(rescaled, (dim - 60.0) / 79 * 255, atol=1e-3)


def test_bits_beyond_those_stored_are_overlays_and_are_cut() -> None:
    values = np.arange(80, dtype=np.uint16).reshape(8, 10) * 50
    drawn = values | np.uint16(0x9000)
    elements = {"BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}
    np.testing.assert_array_equal(read(encode(drawn, **elements)), read(encode(values, **elements)))
    negative = (SIXTEEN & 0x0FFF).astype(np.uint16).view(np.int16)  # 12 bits, whose sign is not extended
    elements["WindowCenter"] = 0
    np.testing.assert_array_equal(read(encode(negative, **elements)), read(encode(SIXTEEN, **elements)))


def test_look_up_tables_hold_where_pydicoms_count_would_wrap() -> None:
    """A table of 8 bits and 1,000 entries; a first value below 0 for unsigned values; values beyond both ends."""
    table = np.linspace(0, 255, 1000).astype(int)
    lut = item(LUTDescriptor=[1000, 500, 8], LUTData=table.tolist())
    lut["LUTData"].VR = "US"
    values = np.array([[0, 499, 500, 501], [1100, 1498, 1499, 60000]], np.uint16)
    expected = table[(values.astype(int) - 500).clip(0, 999)]
    content = encode(values, VOILUTSequence=Sequence([lut]), WindowCenter=1, WindowWidth=2)
    assert read(content).tolist() == expected.tolist()
    assert (
        read(encode(np.stack([values, values]), VOILUTSequence=Sequence([lut])), ALL)[1].tolist()
        == expected.tolist()
    )
    beyond = np.array([[22013, 0]], np.uint16)  # 65,539 steps above the first: 3 more than 16 bits count
    assert (
        read(encode(beyond, VOILUTSequence=Sequence([lut]), RescaleSlope=3, RescaleIntercept=0))[0, 0] == 255
    )
    meaning = item(LUTDescriptor=[3, 500, 16], LUTData=[100, 300, 200])
    meaning["LUTData"].VR = "US"
    found = read(encode(values, ModalityLUTSequence=Sequence([meaning])))
    positions = (values.astype(int) - 500).clip(0, 2)
    np.testing.assert_allclose(found, (np.array([100, 300, 200])[positions] - 100) / 200 * 255, atol=1e-3)
    signed = np.array(
        [[-32768, -2000, -1999, 32767]], np.int16
    )  # the last less the first is no 16-bit number
    del meaning.LUTDescriptor
    meaning.add_new("LUTDescriptor", "SS", [3, -2000, 16])
    assert read(encode(signed, ModalityLUTSequence=Sequence([meaning]))).tolist() == [[0, 0, 255, 127.5]]


def test_palettes_of_more_than_256_entries_of_8_bits_are_read() -> None:
    ramp = np.linspace(0, 255, 1000).astype(np.uint8)
    elements: dict[str, Any] = {}
    for colour, values in (("Red", ramp), ("Green", ramp[::-1]), ("Blue", ramp // 2)):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [1000, 0, 8]
        elements[f"{colour}PaletteColorLookupTableData"] = values.tobytes()
    indices = np.array([[0, 300], [999, 2000]], np.uint16)
    pixels = read_pixels(encode(indices, "PALETTE COLOR", **elements), "a.dcm", Reading(3))
    at = indices.clip(0, 999)
    assert pixels.tolist() == np.stack([ramp[at], ramp[::-1][at], ramp[at] // 2], -1).tolist()


def test_frames_have_their_own_meaning_and_windows_in_enhanced_images() -> None:
    frames = np.stack([SIXTEEN, SIXTEEN, SIXTEEN])
    groups = [
        item(
            PixelValueTransformationSequence=Sequence([item(RescaleSlope=slope, RescaleIntercept=0)]),
            FrameVOILUTSequence=Sequence([item(WindowCenter=centre, WindowWidth=1000)]),
        )
        for slope, centre in ((1, 0), (2, 100), (3, 200))
    ]
    content = encode(frames, PerFrameFunctionalGroupsSequence=Sequence(groups), WindowCenter=5, WindowWidth=5)
    volume = read(content, ALL)
    for frame, (slope, centre) in enumerate(((1, 0), (2, 100), (3, 200))):
        expected = (((SIXTEEN * slope - (centre - 0.5)) / 999 + 0.5) * 255).clip(0, 255)
        np.testing.assert_allclose(volume[frame], expected, atol=1e-3)
        np.testing.assert_array_equal(read(content, Reading(frame=frame)), volume[frame])
    shared = item(FrameVOILUTSequence=Sequence([item(WindowCenter=0, WindowWidth=1000)]))
    content = encode(frames, SharedFunctionalGroupsSequence=Sequence([shared]), WindowCenter=5, WindowWidth=5)
    np.testing.assert_array_equal(read(content, ALL)[2], volume[0])


def test_a_frame_looks_the_same_alone_and_with_the_rest() -> None:
    content = encode(np.stack([SIXTEEN, SIXTEEN // 2, SIXTEEN * 3]))
    volume = read(content, ALL)
    assert volume.shape == (3, 8, 10)
    assert volume[0].max() < 200
    for frame, number in (("first", 0), ("middle", 1), (2, 2)):
        np.testing.assert_array_equal(read(content, Reading(frame=frame)), volume[number])


def test_floats_are_pixels_too() -> None:
    values = np.linspace(-1, 1, 80, dtype=np.float32).reshape(8, 10)
    dataset = pydicom.dcmread(BytesIO(encode(SIXTEEN.astype(np.int32))))
    del dataset.PixelData
    dataset.FloatPixelData = values.tobytes()
    dataset.save_as(file := BytesIO())
    np.testing.assert_allclose(read(file.getvalue()), (values + 1) / 2 * 255, atol=1e-3)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_file_without_preamble_is_known_by_its_name(tmp_path: Path, syntax: Any) -> None:
    content = encode(SIXTEEN, syntax=syntax)
    whole = pydicom.dcmread(BytesIO(content))
    bare = Dataset()
    bare.update(whole)
    bare.save_as(file := BytesIO(), implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    assert file.getvalue()[128:132] != b"DICM"
    np.testing.assert_array_equal(read(file.getvalue()), read(content))
    path = tmp_path / "IM0001"  # and one with a preamble by that
    path.write_bytes(content)
    np.testing.assert_array_equal(read_pixels(path, "IM0001", Reading())[..., 0], read(content))
