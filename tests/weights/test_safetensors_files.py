"""Safetensors files, single and in shards, beyond what every format's contract asks for."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from torch_files import write_state

from medzoo.errors import WeightsError
from medzoo.weights.contents import Contents
from medzoo.weights.formats import safetensors, shards, torch_archive


def write(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    """Write a file with any header; `length` is what its first 8 bytes claim."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(dtype: str, shape: list[Any], start: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def refuse(path: Path, message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=message) as error:
            safetensors.read_headers(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


DTYPES = ["float64", "float32", "float16", "bfloat16"]
DTYPES += ["int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_read(tmp_path: Path, dtype: str) -> None:
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    arrays = {
        "b.kernel": np.arange(24).reshape(2, 3, 4).astype(kind),
        "a.scalar": np.array(1).astype(kind),
        "c.none": np.zeros((0, 3), kind),
    }
    save_file(arrays, tmp_path / "a.safetensors", {"note": "made by hand", "format": "np"})
    contents = safetensors.read_headers(tmp_path / "a.safetensors")
    assert contents.metadata == {"note": "made by hand", "format": "np"}
    assert set(contents.tensors) == set(arrays)
    for name, values in arrays.items():
        found = contents.tensors[name]
        assert (found.spec.name, found.spec.shape, found.spec.dtype) == (name, values.shape, dtype)
        read = found.read()
        assert (read.dtype, read.shape) == (values.dtype, values.shape)
        assert read.tobytes() == values.tobytes()
        assert read.flags.writeable


def test_tensors_come_in_the_files_order(tmp_path: Path) -> None:
    header = {"z": entry("U8", [2], 0, 2), "a": entry("U8", [1], 4, 5), "m": entry("U8", [2], 2, 4)}
    path = write(tmp_path / "a.safetensors", header, b"\x01\x02\x03\x04\x05")
    tensors = safetensors.read_headers(path).tensors
    assert {name: tensor.read().tolist() for name, tensor in tensors.items()} == {
        "z": [1, 2],
        "m": [3, 4],
        "a": [5],
    }
    assert list(tensors) == ["z", "m", "a"]


def test_reading_holds_one_tensor_once_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({name: np.ones(2**21, "float32") for name in "ab"}, path)
    safetensors.read_headers(path)
    tracemalloc.start()
    try:
        contents = safetensors.read_headers(path)
        assert tracemalloc.get_traced_memory()[1] < 2**19
        contents.tensors["b"].read()
        assert 2**23 <= tracemalloc.get_traced_memory()[1] < 2**23 + 2**19
    finally:
        tracemalloc.stop()
    path.write_bytes(path.read_bytes()[:-8])  # a map of the file would end the process here
    assert contents.tensors["a"].read().sum() == 2**21
    with pytest.raises(WeightsError, match=r"a\.safetensors can no longer be read"):
        contents.tensors["b"].read()


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "C64"])
def test_a_dtype_that_is_not_read_is_refused(tmp_path: Path, dtype: str) -> None:
    size = 8 if dtype == "C64" else 1
    path = write(tmp_path / "a.safetensors", {"w": entry(dtype, [3], 0, 3 * size)}, bytes(3 * size))
    refuse(path, f"a.safetensors holds {dtype} at 'w'; expected one of F64, F32, .*; try saving it as F32")


DAMAGE: dict[str, tuple[object, bytes, int | None]] = {
    "overlap": ({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, bytes(3), None),
    "gap": ({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 3, 5)}, bytes(5), None),
    "gap at the start": ({"a": entry("U8", [2], 2, 4)}, bytes(4), None),
    "left over": ({"a": entry("U8", [2], 0, 2)}, bytes(4), None),
    "cut off": ({"a": entry("U8", [2], 0, 2)}, bytes(1), None),
    "backwards": ({"a": entry("U8", [2], 2, 0)}, bytes(2), None),
    "negative": ({"a": entry("U8", [2], -2, 0)}, bytes(2), None),
    "overflow": ({"a": entry("F64", [2**61], 0, 0)}, b"", None),
    "overflowing shape": ({"a": entry("U8", [2**40, 2**40], 0, 0)}, b"", None),
    "2**60 values": ({"a": entry("U8", [2**60], 0, 2**60)}, bytes(8), None),
    "fractions": ({"a": entry("U8", [2.5], 0, 2)}, bytes(2), None),
    "header of 2**60": ({}, b"", 2**60),
    "header of 2**64": ({}, b"", 2**64 - 1),
    "header over 100 MB": ({}, b"", 100_000_001),
    "no object": ([], b"", None),
    "no dtype": ({"a": {"shape": [1], "data_offsets": [0, 1]}}, bytes(1), None),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, b"", None),
    "no text": (b"\xff\xff\xff\xff", b"", None),
    "deep": (b'{"a":' + b"[" * 10**5, b"", None),
    "twice": (b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
              b'"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', bytes(2), None),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_headers_are_refused_with_little_memory(tmp_path: Path, name: str) -> None:
    header, data, length = DAMAGE[name]
    path = write(tmp_path / "a.safetensors", header, data, length)
    refuse(path, "a.safetensors is a damaged safetensors file .*; expected a whole file")


def test_metadata_may_have_any_keys(tmp_path: Path) -> None:
    metadata = {"data_offsets": "x", "dtype": "y"}
    path = write(tmp_path / "a.safetensors", {"__metadata__": metadata, "a": entry("U8", [1], 0, 1)}, b"\x07")
    contents = safetensors.read_headers(path)
    assert (contents.metadata, contents.tensors["a"].read().tolist()) == (metadata, [7])


# --- shards --------------------------------------------------------------------------------------------------

ARRAYS = {"a.w": np.ones(3, "float32"), "b.w": np.arange(4.0), "c.w": np.array([5])}


def write_list(folder: Path, places: object, **metadata: object) -> Path:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": metadata, "weight_map": places}))
    return path


def write_shards(folder: Path) -> Path:
    """Write three tensors into two shards, and their list."""
    save_file({"a.w": ARRAYS["a.w"], "c.w": ARRAYS["c.w"]}, folder / "one.safetensors", {"format": "pt"})
    save_file({"b.w": ARRAYS["b.w"]}, folder / "two.safetensors")
    places = {"b.w": "two.safetensors", "a.w": "one.safetensors", "c.w": "one.safetensors"}
    return write_list(folder, places, total_size=52)


def refuse_list(path: Path, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as error:
        shards.read_headers(path, safetensors.read_headers)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    path = write_shards(tmp_path)
    assert shards.is_shard_list(json.loads(path.read_text()))
    contents = shards.read_headers(path, safetensors.read_headers)
    assert list(contents.tensors) == ["b.w", "a.w", "c.w"]
    for name, values in ARRAYS.items():
        assert contents.tensors[name].spec.name == name
        assert contents.tensors[name].read().tobytes() == values.tobytes()
    assert contents.files == (path, tmp_path / "two.safetensors", tmp_path / "one.safetensors")
    assert (contents.notes, contents.metadata) == ((), {"total_size": "52", "format": "pt"})


def test_tensors_beyond_the_list_are_left_out_with_a_note(tmp_path: Path) -> None:
    write_shards(tmp_path)
    path = write_list(tmp_path, {"a.w": "one.safetensors"})
    contents = shards.read_headers(path, safetensors.read_headers)
    assert list(contents.tensors) == ["a.w"]
    assert contents.notes == ("in the shards but not in their list, left out: c.w",)


def test_what_shards_lack_is_named(tmp_path: Path) -> None:
    path = write_shards(tmp_path)
    (tmp_path / "two.safetensors").unlink()
    refuse_list(
        path, r"lists 'two\.safetensors', which is missing; expected all .*; try to copy or download two\.saf"
    )
    save_file({"x": np.ones(3)}, tmp_path / "two.safetensors")
    refuse_list(path, r"lists 'b\.w' in two\.safetensors, which lacks it")


@pytest.mark.parametrize(
    "name", ["../one.safetensors", "/etc/passwd", "..", ".", "", "in/one", "in\\one", "C:one", "a\0b", "link"]
)
def test_shards_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    (folder / "in").mkdir(parents=True)
    for place in (tmp_path, folder / "in"):
        save_file({"a.w": ARRAYS["a.w"]}, place / "one.safetensors")
    (folder / "link").symlink_to(tmp_path / "one.safetensors")
    refuse_list(write_list(folder, {"a.w": name}), "lists a shard .*; expected the name of a file beside it")


def test_a_list_is_no_shard_of_itself(tmp_path: Path) -> None:
    refuse_list(write_list(tmp_path, {"a": "model.safetensors.index.json"}), "lists itself as a shard")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "[" * 10**5]
)
def test_other_json_is_no_list(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    refuse_list(tmp_path / "a.json", "is no list of shards")


def test_keras_own_lists_are_left_to_their_reader() -> None:
    assert not shards.is_shard_list({"weight_map": {"/layers/dense/vars": ["x_00000.weights.h5"]}})


@pytest.mark.parametrize(
    ("names", "expected", "notes"),
    [
        # Only the first shard's names all begin so: the prefix belongs to the model.
        ((["module.a"], ["b", "module.c"]), ["module.a", "b", "module.c"], ()),
        # All names of all shards do: a wrapper's.
        ((["module.a"], ["module.b"]), ["a", "b"], ("the prefix 'module.' was removed from every name",)),
    ],
)
def test_prefixes_count_over_all_shards(
    tmp_path: Path, names: tuple[list[str], ...], expected: list[str], notes: tuple[str, ...]
) -> None:
    places = {}
    for index, held in enumerate(names):
        write_state(tmp_path / f"{index}.bin", {name: np.full(2, len(name), "float32") for name in held})
        places.update(dict.fromkeys(held, f"{index}.bin"))
    contents: Contents = shards.read_headers(write_list(tmp_path, places), torch_archive.read_headers)
    assert (list(contents.tensors), contents.notes) == (expected, notes)
    for name, tensor in zip(places, contents.tensors.values(), strict=True):
        assert tensor.read().tolist() == [len(name)] * 2
    assert [tensor.spec.name for tensor in contents.tensors.values()] == expected
