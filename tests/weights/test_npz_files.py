"""NumPy archives beyond what every format's contract asks for: odd ones are read, hostile ones refused."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from medzoo.errors import WeightsError
from medzoo.weights.formats import npz

ARRAYS = {
    "half": np.arange(12).reshape(3, 4).astype("float16"),
    "big": np.arange(12.0).reshape(3, 4).astype(">f8"),
    "turned": np.asfortranarray(np.arange(24, dtype="float32").reshape(2, 3, 4)),
    "truth": np.array([True, False]),
    "scalar": np.array(3, "uint16"),
    "none": np.zeros((0, 3), "float32"),
}
EITHER = pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])


def read_all(path: Path) -> None:
    for tensor in npz.read_headers(path).tensors.values():
        tensor.read()


def refuse(path: Path, message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=message) as error:
            read_all(path)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def as_member(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def header_of(text: str, version: int = 1, length: int | None = None) -> bytes:
    """Write a member's start with any header; `length` is what it claims for itself."""
    count = len(text) if length is None else length
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + struct.pack("<H" if version == 1 else "<I", count)
        + text.encode()
    )


def write(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@EITHER
def test_odd_arrays_are_read(tmp_path: Path, save: object) -> None:
    save(tmp_path / "a.npz", **ARRAYS)  # type: ignore[operator]
    contents = npz.read_headers(tmp_path / "a.npz")
    assert list(contents.tensors) == list(ARRAYS)
    for name, values in ARRAYS.items():
        found, native = contents.tensors[name], values.astype(values.dtype.newbyteorder("="))
        assert (found.spec.shape, found.spec.dtype) == (values.shape, str(native.dtype))
        read = found.read()
        assert read.dtype == native.dtype
        assert read.dtype.isnative
        assert read.tobytes() == native.tobytes()
        assert read.flags.writeable


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_headers_is_read(tmp_path: Path, version: tuple[int, int]) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, ARRAYS["half"], version=version)
    path = write(tmp_path / "a.npz", {"half.npy": stream.getvalue()})
    assert npz.read_headers(path).tensors["half"].read().tolist() == ARRAYS["half"].tolist()


def test_reading_holds_one_tensor_once_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.ones(2**21, "float32"), b=np.ones(2**21, "float32"))
    npz.read_headers(path)
    tracemalloc.start()
    try:
        contents = npz.read_headers(path)
        assert tracemalloc.get_traced_memory()[1] < 2**19
        contents.tensors["b"].read()
        assert 2**23 <= tracemalloc.get_traced_memory()[1] < 2**23 + 2**19
    finally:
        tracemalloc.stop()
    path.write_bytes(path.read_bytes()[: 2**23 + 1000])
    assert contents.tensors["a"].read().sum() == 2**21
    with pytest.raises(WeightsError, match=r"a\.npz can no longer be read"):
        contents.tensors["b"].read()


@EITHER
@pytest.mark.parametrize("share", [0.02, 0.2, 0.4, 0.6, 0.8, 0.95, 0.999])
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, save: object, share: float) -> None:
    save(tmp_path / "a.npz", **ARRAYS)  # type: ignore[operator]
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[: min(int(len(content) * share), len(content) - 4)])
    refuse(tmp_path / "a.npz", "a.npz is a damaged .npz file")


def test_a_member_whose_bytes_reach_past_the_file_is_refused(tmp_path: Path) -> None:
    """The directory at the end is whole, but claims a place and a size that the file does not have."""
    path = tmp_path / "a.npz"
    np.savez(path, a=np.ones(1000))
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    path.write_bytes(content[: 128 + 500] + content[directory:])
    refuse(path, "a.npz is (a damaged .npz file|damaged at 'a.npy')")


def test_bfloat16_is_refused_with_a_way_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.ones(3, ml_dtypes.bfloat16))
    refuse(
        tmp_path / "a.npz", r"holds values of 2 raw bytes at 'w', as NumPy writes bfloat16; .*; try saving"
    )


@pytest.mark.parametrize(
    "values",
    [
        np.array([{}], object),
        np.array(["a"]),
        np.array([b"a"]),
        np.ones(2, "complex64"),
        np.zeros(2, [("a", "i4")]),
        np.zeros(2, "M8[s]"),
        np.zeros(2, "V4"),
        np.ones(2, np.longdouble),
    ],
    ids=lambda values: str(values.dtype),
)
def test_what_is_no_array_of_numbers_is_refused(tmp_path: Path, values: np.ndarray) -> None:
    if values.dtype.itemsize == 8 and values.dtype.kind == "f":
        pytest.skip("long doubles are doubles on this machine")
    np.savez(tmp_path / "a.npz", w=values)
    refuse(tmp_path / "a.npz", "at 'w'; expected arrays of numbers")


HEADERS = {
    "2**60 values": "{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976,)}\n",
    "2**80 values": "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1099511627776)}\n",
    "none of 2**80": "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 1099511627776, 1099511627776)}\n",
    "negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1)}\n",
    "one more": "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}\n",
    "code": "{'descr': __import__('os').abort(), 'fortran_order': False, 'shape': (1,)}\n",
    "no shape": "{'descr': '<f4', 'fortran_order': False}\n",
    "deep": "(" * 5000,
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_headers_that_do_not_fit_are_refused(tmp_path: Path, name: str, compression: int) -> None:
    content = header_of(HEADERS[name]) + bytes(0 if name.startswith("none") else 4)
    refuse(
        write(tmp_path / "a.npz", {"w.npy": content}, compression),
        "a.npz (holds a header at 'w' that its data do not fit|is a damaged .npz file)",
    )


def test_a_header_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    content = header_of("", version=2, length=2**24) + bytes(2**24)
    path = write(tmp_path / "a.npz", {"w.npy": content}, zipfile.ZIP_DEFLATED)
    refuse(path, "a.npz is a damaged .npz file .a header of 16,777,216 bytes")


def test_a_member_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("w.npy", "w") as member,
    ):
        member.write(as_member(np.zeros(0)))
        for _ in range(200):
            member.write(bytes(10**6))
    refuse(tmp_path / "a.npz", "a.npz claims 200,000,128 bytes at 'w.npy' and stores")


@pytest.mark.parametrize(
    "name", ["../w.npy", "a/../../w.npy", "/w.npy", "\\w.npy", "a\\..\\w.npy", "C:w.npy"]
)
def test_names_that_lead_out_of_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.npz", {name: as_member(np.ones(3))})
    refuse(path, "a.npz holds a member named .*; expected names that stay in the archive")


def test_names_that_occur_twice_are_refused(tmp_path: Path) -> None:
    member = as_member(np.ones(3))
    refuse(write(tmp_path / "a.npz", {"w.npy": member, "w": member}), "a.npz holds 'w' twice")
    write(tmp_path / "b.npz", {"w.npy": member})
    with (
        zipfile.ZipFile(tmp_path / "b.npz", "a") as archive,
        pytest.warns(UserWarning, match="Duplicate name"),
    ):
        archive.writestr("w.npy", member)
    refuse(tmp_path / "b.npz", "b.npz holds 'w.npy' twice")


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", {"w.npy": as_member(np.ones(3))})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    refuse(path, "a.npz is encrypted at 'w.npy'")
