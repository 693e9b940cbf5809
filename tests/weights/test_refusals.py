"""What is no weights file, or a damaged or hostile one, is refused in one line that says what to do."""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file
from weights_examples import ARRAYS, WRITERS, write_legacy, write_moments, write_v3

import medzoo
from medzoo import recipes
from medzoo.errors import WeightsError


def refuse(path: Path | str, message: str, read: bool = False) -> str:
    """Open (and read) what must be refused, and check the refusal."""

    def act() -> None:
        for tensor in medzoo.open_weights(path).values():
            if read and tensor.has_values:
                tensor.read()

    with pytest.raises(WeightsError, match=message) as error:
        act()
    text = str(error.value)
    assert "\n" not in text
    assert "expected " in text
    assert str(path) in text
    return text


EVERY_WRITER = pytest.mark.parametrize("name", WRITERS)


@EVERY_WRITER
@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.999])
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, name: str, share: float) -> None:
    WRITERS[name](tmp_path / name)
    medzoo.open_weights(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: min(int(len(content) * share), len(content) - 4)])
    message = "damaged|is no weights file|is no whole moments file|ends within|cut off|no PyTorch archive"
    refuse(tmp_path / name, message, read=True)


@EVERY_WRITER
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_overwritten_bytes_are_refused_or_change_values_only(tmp_path: Path, name: str) -> None:
    """No damage may raise anything but a refusal; formats without checksums may read other values."""
    WRITERS[name](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    start = 1 if name.endswith("json") else 8
    for place in range(start, min(len(content), 1500) - 4, 37):
        if name.endswith(".h5") and 8 <= place < 96:
            continue  # the superblock: libhdf5 itself may crash on it
        damaged = bytearray(content)
        damaged[place : place + 4] = b"\xff" * 4
        (tmp_path / "b").write_bytes(damaged)
        with contextlib.suppress(WeightsError):
            for tensor in medzoo.open_weights(tmp_path / "b").values():
                tensor.moments()


def test_damaged_compressed_values_are_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", kernel=ARRAYS["a/kernel"])
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[1000:1100] = b"\x00\xff" * 50
    (tmp_path / "a.npz").write_bytes(content)
    refuse(tmp_path / "a.npz", "a.npz is damaged at 'kernel.npy'; expected a whole file", read=True)


@pytest.mark.parametrize(
    "content", [b"just text\n", b"<!DOCTYPE html><html>404</html>", b"\x89PNG\r\n\x1a\n" + bytes(99), b"{}"]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.h5").write_bytes(content)
    refuse(
        tmp_path / "a.h5", r"a.h5 is no weights file (that medzoo reads|but a web page); expected Keras .h5, "
    )


def test_an_empty_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").touch()
    assert "try to copy or download it again" in refuse(tmp_path / "a.h5", "a.h5 is empty")
    refuse(
        tmp_path / "missing.h5", "no weights file .*missing.h5; expected an existing file, a card or a tag"
    )
    refuse("missing.npz", "no weights file missing.npz")
    refuse(tmp_path, "holds no best.weights.h5 and no other weights; expected a finished run's directory")


def test_files_without_a_tensor_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w"):
        pass
    refuse(tmp_path / "a.npz", "is no weights file")
    save_file({}, tmp_path / "a.safetensors")
    refuse(tmp_path / "a.safetensors", "a.safetensors holds no tensors")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = np.array([], "S1")
    refuse(tmp_path / "a.h5", "a.h5 holds no tensors")


# --- HDF5 ----------------------------------------------------------------------------------------------------


def test_hdf5_without_keras_weights_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", data=np.zeros(3))
    refuse(tmp_path / "a.h5", "a.h5 is an HDF5 file without Keras weights; expected layer groups as Keras")


def test_a_tensor_listed_but_absent_is_refused(tmp_path: Path) -> None:
    write_legacy(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["a/a/bias:0"]
    refuse(tmp_path / "a.h5", "a.h5 names /a/a/bias:0 but does not hold it; expected a whole weights file")


def test_a_layer_without_weight_names_is_refused(tmp_path: Path) -> None:
    write_legacy(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["a"].attrs["weight_names"]
    refuse(tmp_path / "a.h5", "a.h5 has no weight_names at /a")


def test_a_tensor_listed_thrice_is_refused(tmp_path: Path) -> None:
    write_legacy(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["a"].attrs["weight_names"] = [b"a/bias:0"] * 3
    refuse(tmp_path / "a.h5", "a.h5 holds two tensors named 'a/a/bias'; expected unique names")


@pytest.mark.parametrize("write", [write_legacy, write_v3])
@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("soft", [False, True])
def test_a_link_out_of_the_file_is_refused_at_any_depth(
    tmp_path: Path, write: Callable[[Path], None], depth: int, soft: bool
) -> None:
    """Also where it is a group on the way to a tensor, or a symbolic link that leads to an external one."""
    write(tmp_path / "secret.h5")
    write(tmp_path / "a.h5")
    path = "a/a/kernel:0" if write is write_legacy else "layers/dense/vars/0"
    linked = "/".join(path.split("/")[: depth + 1 if write is write_legacy else depth + 2])
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file[linked]
        file["out"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), linked)
        file[linked] = (
            h5py.SoftLink("/out") if soft else h5py.ExternalLink(str(tmp_path / "secret.h5"), linked)
        )
    refuse(tmp_path / "a.h5", "a.h5 holds a link at .*; expected tensors in the file itself", read=True)


def test_values_kept_in_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(8))
    for name in ("external.h5", "virtual.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file.attrs["layer_names"] = [b"a"]
            group = file.create_group("a")
            group.attrs["weight_names"] = [b"w"]
            if name == "external.h5":
                group.create_dataset("w", (2,), "float32", external=[(str(tmp_path / "raw"), 0, 8)])
            else:
                layout = h5py.VirtualLayout((2,), "float32")
                layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "w", (2,))
                group.create_virtual_dataset("w", layout)
        refuse(tmp_path / name, f"{name} keeps /a/w in other files; expected tensors in the file itself")


@pytest.mark.parametrize("value", ["text", h5py.Empty("float32")])
def test_what_is_no_array_of_numbers_is_refused(tmp_path: Path, value: object) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = [b"a"]
        file.create_group("a").attrs["weight_names"] = [b"w"]
        file["a"].create_dataset("w", data=value)
    refuse(tmp_path / "a.h5", "a.h5 holds .* at /a/w; expected numbers")


def test_a_group_in_a_tensor_s_place_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = [b"a"]
        file.create_group("a/w")
        file["a"].attrs["weight_names"] = [b"w"]
    refuse(tmp_path / "a.h5", "a.h5 holds a group where a tensor belongs")


def test_a_group_that_holds_itself_is_refused(tmp_path: Path) -> None:
    write_v3(tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "a.weights.h5", "r+") as file:
        file["layers/dense/again"] = file["layers/dense"]
    refuse(
        tmp_path / "a.weights.h5",
        "a.weights.h5 nests groups more than 40 deep; expected a Keras weights file",
    )


# --- npz, safetensors ----------------------------------------------------------------------------------------


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_object_arrays_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", kernel=np.array([Bomb(tmp_path / "boom")], object))
    refuse(tmp_path / "a.npz", "a.npz holds object at 'kernel'; expected arrays of numbers")
    (tmp_path / "a.th").write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    refuse(tmp_path / "a.th", "a.th is a Python pickle")
    assert not (tmp_path / "boom").exists()


def test_members_beside_the_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **ARRAYS)
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("metadata.json", "{}" * 99)
    refuse(tmp_path / "a.npz", "a.npz is a damaged .npz file")


def test_a_zip_of_other_things_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("metadata.json", "{}" * 99)
    refuse(tmp_path / "a.keras", "a.keras is a zip archive without NumPy arrays; expected an .npz file; try")


def _safetensors(header: object, data: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "content",
    [
        _safetensors(b"{not json}"),
        _safetensors({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}),
        _safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(4)),
        _safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, bytes(12)),
        _safetensors({"a": {"dtype": "X9", "shape": [2], "data_offsets": [0, 8]}}),
        struct.pack("<Q", 2**40) + b"{}",
    ],
)
def test_a_safetensors_file_with_a_bad_header_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    refuse(tmp_path / "a.safetensors", "a.safetensors is a damaged safetensors file")


def test_a_dtype_that_numpy_lacks_is_refused(tmp_path: Path) -> None:
    header = {"a": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}}
    (tmp_path / "a.safetensors").write_bytes(_safetensors(header))
    refuse(tmp_path / "a.safetensors", "a.safetensors holds F8_E4M3 at 'a'; expected one of F64, ")


# --- moments -------------------------------------------------------------------------------------------------


def change_moments(path: Path, old: str, new: str) -> None:
    write_moments(path)
    text = path.read_text()
    assert len(re.findall(old, text)) == 1
    path.write_text(re.sub(old, new, text))


def test_values_of_a_moments_file_are_refused_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    write_moments(tmp_path / "a.json")
    source = medzoo.open_weights(tmp_path / "a.json")
    assert not source["a/kernel"].has_values
    with pytest.raises(WeightsError, match=r"holds moments of 'a/kernel', no values; .*medzoo weights fetch"):
        np.asarray(source["a/kernel"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"version": 1', '"version": 3', "a moments file of version 3; expected version 2; try pip install"),
        ('"version": 1', '"version": "x"', "is no whole moments file"),
        ('"version": 1,', "", "is no whole moments file"),
        ('"bias"', '"spice"', "is no whole moments file"),
        (r"1\.0, 0\.0\]", "1.0]", "is no whole moments file"),
        (r"1\.0, 0\.0\]", "1.0, -1.0]", "is no whole moments file"),
        (r"1\.0, 0\.0\]", "NaN, 1.0]", "is no whole moments file"),
        (r"1\.0, 0\.0\]", f"1{'0' * 400}, 1.0]", "is no whole moments file"),
        (r"\[50\]", "[Infinity]", "is no whole moments file"),
        (r"\[50\]", '"fifty"', "is no whole moments file"),
    ],
)
def test_a_changed_moments_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    change_moments(tmp_path / "a.json", old, new)
    refuse(tmp_path / "a.json", message)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_moments_of_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    source = medzoo.source_from_arrays({"a/kernel": np.array([1, value], "float32")}, origin="bad")
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(WeightsError, match="bad holds NaN or infinity in 'a/kernel'; expected finite weights"),
    ):
        medzoo.write_moments(source, tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_moments_read_back_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    arrays = {f"l{i}/kernel": rng.normal(0, 10.0**i, 7).astype("float32") for i in range(-20, 20)}
    source = medzoo.source_from_arrays(arrays)
    medzoo.write_moments(source, tmp_path / "a.json")
    again = medzoo.open_weights(tmp_path / "a.json")
    assert list(again) == list(source)
    assert [t.moments() for t in again.values()] == [t.moments() for t in source.values()]
    medzoo.write_moments(source, tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_shapes_that_cannot_match_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **ARRAYS)
    source = medzoo.open_weights(tmp_path / "a.npz")
    with pytest.raises(medzoo.MedzooError, match="the source has no 'block1_conv/kernel'") as error:
        medzoo.make_plan(source, medzoo.describe("cbr_tiny"), recipes.copy())
    assert "left over in the source: a/kernel, a/bias" in str(error.value)
