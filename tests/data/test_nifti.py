"""NIfTI: orientation, slices, ranges, and what is refused."""

from __future__ import annotations

import gzip
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

from medzoo.data.formats.decoding import read_header, read_pixels
from medzoo.data.reading import Reading, Window
from medzoo.errors import DataError

nibabel = pytest.importorskip("nibabel")
ALL = Reading(frame="all")


def make_volume(shape: tuple[int, ...] = (4, 5, 6), dtype: type = np.int16) -> np.ndarray:
    """Make values (to the right, to the front, to the head) of which no two are equal."""
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


def encode(
    values: np.ndarray, affine: np.ndarray | None = None, kind: str = "Nifti1Image", **header: float
) -> bytes:
    """Write values (i, j, k) to a file's bytes; without an affine the axes run right, front, head (RAS+)."""
    image = getattr(nibabel, kind)(values, np.eye(4) if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    content: bytes = image.to_bytes()
    return content


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 1, 2)])
def test_every_storage_order_reads_as_the_same_slices(axes: tuple[int, ...], flips: tuple[int, ...]) -> None:
    """Slices feet to head, rows front to back, columns right to left, whatever order the file has."""
    values = make_volume()
    expected = values.transpose(2, 1, 0)[:, ::-1, ::-1]
    stored = np.flip(values, flips).transpose(axes)
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for column, axis in enumerate(axes):
        affine[axis, column] = -2.0 if axis in flips else 2.0
    pixels = read_pixels(encode(stored, affine), "a.nii", ALL)
    assert pixels.shape == (6, 5, 4, 1)
    np.testing.assert_allclose(pixels[..., 0], expected / 119 * 255, rtol=1e-6)
    assert read_header(encode(stored, affine), "a.nii", ALL).size == (6, 5, 4)


@pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a"])
def test_the_middle_slice_is_the_image(tmp_path: Path, kind: str, name: str) -> None:
    content = encode(make_volume(), kind=kind)
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    volume = read_pixels(path, name, ALL)
    middle = read_pixels(path, name, Reading(channels=3))
    assert middle.shape == (5, 4, 3)
    np.testing.assert_array_equal(middle, np.repeat(volume[3], 3, axis=-1))
    np.testing.assert_array_equal(read_pixels(path, name, Reading(frame=5)), volume[5])
    header = read_header(path, name, Reading())
    assert (header.size, header.channels, header.in_graph) == ((5, 4), 1, False)
    with pytest.raises(DataError, match="has no frame 6: it has 6"):
        read_header(path, name, Reading(frame=6))


def test_windows_given_come_before_the_display_range_and_that_before_the_values_own() -> None:
    content = encode(make_volume(), cal_min=10, cal_max=50)
    own = read_pixels(encode(make_volume()), "a.nii", ALL)
    shown = read_pixels(content, "a.nii", ALL)
    given = read_pixels(content, "a.nii", Reading(windows=(Window(30, 20), Window(60, 100)), frame="all"))
    stored = own[..., 0] / 255 * 119
    np.testing.assert_allclose(shown[..., 0], np.clip((stored - 10) / 40, 0, 1) * 255, atol=1e-3)
    assert given.shape == (6, 5, 4, 2)
    np.testing.assert_allclose(given[..., 0], np.clip((stored - 20) / 20, 0, 1) * 255, atol=1e-3)
    np.testing.assert_allclose(given[..., 1], np.clip((stored - 10) / 100, 0, 1) * 255, atol=1e-3)


def test_scaled_floats_with_gaps_are_read() -> None:
    values = make_volume(dtype=np.float32)
    values[0, 0, 0] = np.nan
    pixels = read_pixels(encode(values), "a.nii", ALL)
    assert np.isfinite(pixels).all()
    assert pixels[0, 4, 3, 0] == 0
    assert pixels.max() == 255
    scaled = bytearray(encode(make_volume()))
    scaled[112:120] = np.array(
        [-2, 10], "<f4"
    ).tobytes()  # slope and intercept: what is highest becomes lowest
    turned = read_pixels(bytes(scaled), "a.nii", ALL)
    np.testing.assert_allclose(turned, 255 - read_pixels(encode(make_volume()), "a.nii", ALL), atol=1e-3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 5), np.int16), "'a.nii' holds 4×5 values of type int16; expected one 3-D volume"),
        (np.zeros((2, 3, 4, 5), np.int16), "holds 2×3×4×5 values"),
        (np.zeros((2, 3, 4), np.complex64), "of type complex64"),
    ],
)
def test_what_is_no_volume_of_numbers_is_refused(values: np.ndarray, message: str) -> None:
    for read in (read_header, read_pixels):
        with pytest.raises(DataError, match=message):
            read(encode(values), "a.nii", Reading())


def test_a_series_of_one_volume_is_a_volume() -> None:
    assert read_pixels(encode(make_volume((4, 5, 6, 1))), "a.nii", ALL).shape == (6, 5, 4, 1)


def test_bombs_and_broken_files_are_refused() -> None:
    content = encode(make_volume())
    huge = bytearray(content)
    huge[40:56] = np.array([3, 32767, 32767, 3, 1, 1, 1, 1], "<i2").tobytes()
    packed = gzip.compress(content)
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0xFF
    for broken, message in (
        (bytes(huge), "voxels; expected at most"),
        (gzip.compress(bytes(huge)), "voxels; expected at most"),
        (content[:-9], "'a.nii.gz' ends early"),
        (packed[:-40], "'a.nii.gz' ends early"),
        (bytes(flipped), "'a.nii.gz'"),
        (b"\x1f\x8b\x08nothing", "'a.nii.gz'"),
        (b"no volume", "cannot decode 'a.nii.gz'"),
    ):
        with pytest.raises(DataError, match=message):
            read_pixels(broken, "a.nii.gz", Reading())


def test_without_nibabel_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode(make_volume())
    monkeypatch.setitem(sys.modules, "nibabel", None)
    for read in (read_header, read_pixels):
        with pytest.raises(DataError, match=r"'a.nii' is a NIfTI volume.*try pip install 'medzoo\[nifti\]'"):
            read(content, "a.nii", Reading())
