"""Hostile and unusual HDF5 files, in each of Keras's layouts."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from keras_files import refuse, write_v3

from medzoo.weights.formats import hdf5, keras_legacy_h5, keras_v3

READERS = {"legacy": keras_legacy_h5.read_headers, "v3": keras_v3.read_headers}
EVERY_READER = pytest.mark.parametrize("layout", READERS)


def write_with(path: Path, layout: str, write: Callable[[h5py.Group, str], object]) -> None:
    """Write a file of one layer whose only tensor is what `write` makes of a group and a name."""
    path.unlink(missing_ok=True)
    with h5py.File(path, "w") as file:
        if layout == "legacy":
            file.attrs["layer_names"] = [b"a"]
            file.create_group("a").attrs["weight_names"] = [b"w"]
            write(file["a"], "w")
        else:
            write(file.create_group("layers/dense/vars"), "0")


@EVERY_READER
def test_values_claimed_and_never_written_open_but_are_not_read(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "a.weights.h5"
    for sizes in [{"shape": (2**58,), "chunks": (1024,)}, {"shape": (2**20, 2**20)}]:
        write_with(
            path, layout, lambda group, name, sizes=sizes: group.create_dataset(name, dtype="f4", **sizes)
        )
        (tensor,) = READERS[layout](path).tensors.values()
        assert tensor.spec.size >= 2**40
        refuse(
            READERS[layout], path, r"claims [0-9,]+ bytes at .* and stores 0; expected values that the file"
        )
    write_with(path, layout, lambda group, name: group.create_dataset(name, (5,), "f4", fillvalue=2))
    (tensor,) = READERS[layout](path).tensors.values()
    assert tensor.read().tolist() == [2] * 5


@EVERY_READER
def test_a_chunk_written_does_not_excuse_the_rest(tmp_path: Path, layout: str) -> None:
    def write(group: h5py.Group, name: str) -> None:
        dataset = group.create_dataset(name, (2**40,), "f4", chunks=(2**16,))
        dataset[:1000] = 1

    write_with(tmp_path / "a.weights.h5", layout, write)
    refuse(
        READERS[layout], tmp_path / "a.weights.h5", "claims 4,398,046,511,104 bytes at .* and stores 262,144;"
    )


@EVERY_READER
def test_compressed_values_that_unfold_a_thousandfold_are_refused(tmp_path: Path, layout: str) -> None:
    def write(count: int) -> Callable[[h5py.Group, str], object]:
        return lambda group, name: group.create_dataset(
            name, data=np.zeros(count, "uint8"), chunks=(2**22,), compression="gzip", compression_opts=9
        )

    write_with(tmp_path / "a.weights.h5", layout, write(2**22))
    (tensor,) = READERS[layout](tmp_path / "a.weights.h5").tensors.values()
    assert not tensor.read().any()
    write_with(tmp_path / "a.weights.h5", layout, write(25 * 2**22))
    refuse(READERS[layout], tmp_path / "a.weights.h5", "claims 104,857,600 bytes at .* and stores")


def deflate(size: int) -> bytes:
    """Deflate so many zeros, a megabyte at a time."""
    stream = zlib.compressobj(9)
    return b"".join(stream.compress(bytes(2**20)) for _ in range(size >> 20)) + stream.flush()


@EVERY_READER
@pytest.mark.parametrize(
    ("values", "stored", "message"),
    [
        (2**29, 2**20, "in chunks of 2,147,483,648 bytes at"),  # few values of a chunk that fills the memory
        (2**26, 2**20, "claims 268,435,456 bytes at .* and stores 1,"),
        (10, 2**24, "stores a chunk of 16,[0-9]+ bytes at .* for 40"),  # more unfolds than the chunk can hold
    ],
)
def test_chunks_that_unfold_to_more_than_their_dataset_are_refused(
    tmp_path: Path, layout: str, values: int, stored: int, message: str
) -> None:
    def write(group: h5py.Group, name: str) -> None:
        sizes = {"maxshape": (None,), "chunks": (values,)}
        dataset = group.create_dataset(name, (10,), "f4", compression="gzip", **sizes)
        dataset.id.write_direct_chunk((0,), deflate(stored))

    write_with(tmp_path / "a.weights.h5", layout, write)
    refuse(READERS[layout], tmp_path / "a.weights.h5", message)


@EVERY_READER
def test_chunks_larger_than_their_dataset_are_read(tmp_path: Path, layout: str) -> None:
    values = np.random.default_rng(0).normal(size=1000).astype("float32")

    def write(group: h5py.Group, name: str) -> None:
        sizes = {"maxshape": (None,), "chunks": (2**16,)}
        group.create_dataset(name, data=values, compression="gzip", shuffle=True, fletcher32=True, **sizes)

    write_with(tmp_path / "a.weights.h5", layout, write)
    (tensor,) = READERS[layout](tmp_path / "a.weights.h5").tensors.values()
    assert np.array_equal(tensor.read(), values)


@EVERY_READER
def test_one_filter_after_another_of_its_kind_is_refused(tmp_path: Path, layout: str) -> None:
    """Two unfold a kilobyte to a gigabyte."""

    def write(group: h5py.Group, name: str) -> None:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((10,))
        settings.set_deflate(9)
        settings.set_deflate(9)
        space = h5py.h5s.create_simple((10,))
        dataset = h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, space, settings)
        dataset.write_direct_chunk((0,), zlib.compress(deflate(2**20)))

    write_with(tmp_path / "a.weights.h5", layout, write)
    refuse(READERS[layout], tmp_path / "a.weights.h5", "compresses .* more than once")


@EVERY_READER
@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", "<f4"])
def test_values_come_in_the_machine_s_byte_order(tmp_path: Path, layout: str, dtype: str) -> None:
    for values in (np.arange(6).reshape(2, 3), np.array(5)):
        write_with(
            tmp_path / "a.weights.h5",
            layout,
            lambda group, name, values=values: group.create_dataset(name, data=values.astype(dtype)),
        )
        (tensor,) = READERS[layout](tmp_path / "a.weights.h5").tensors.values()
        found = tensor.read()
        assert tensor.spec.dtype == np.dtype(dtype).name == str(found.dtype)
        assert found.dtype.isnative
        assert np.array_equal(found, values)


@EVERY_READER
def test_soft_links_in_a_circle_are_refused(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "a.weights.h5"

    def write(group: h5py.Group, name: str) -> None:
        group[name] = h5py.SoftLink(f"{group.name}/other")
        group["other"] = h5py.SoftLink(f"{group.name}/{name}")

    write_with(path, layout, write)
    refuse(READERS[layout], path, "holds a link at .*; expected tensors in the file itself")


@EVERY_READER
def test_values_in_other_files_are_refused(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "a.weights.h5"
    (tmp_path / "raw").write_bytes(bytes(8))
    raw = [(str(tmp_path / "raw"), 0, 8)]
    write_with(path, layout, lambda group, name: group.create_dataset(name, (2,), "f4", external=raw))
    refuse(READERS[layout], path, "keeps .* in other files")
    virtual = h5py.VirtualLayout((2,), "f4")
    virtual[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "w", (2,))
    write_with(path, layout, lambda group, name: group.create_virtual_dataset(name, virtual))
    refuse(READERS[layout], path, "keeps .* in other files")


def test_hard_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.weights.h5"
    write_v3(path, {"layers/dense": 1})
    with h5py.File(path, "r+") as file:
        file["layers/dense/deep/again"] = file["layers"]
    refuse(keras_v3.read_headers, path, f"nests groups more than {hdf5.DEEPEST} deep")


def test_hard_links_that_double_at_every_level_are_refused_at_once(tmp_path: Path) -> None:
    """Without a circle: 2**30 names for one tensor."""
    path = tmp_path / "a.weights.h5"
    write_v3(path, {"end": 1})
    with h5py.File(path, "r+") as file:
        below = file["end"]
        for level in range(30):
            group = file.create_group(f"all/{level}")
            group["left"] = group["right"] = below
            below = group
        file["layers"] = below
        del file["all"], file["end"]
    refuse(keras_v3.read_headers, path, "holds .* twice; expected each group under one name")


def test_names_of_any_bytes_do_no_harm(tmp_path: Path) -> None:
    write_v3(tmp_path / "a.weights.h5", {"layers/new\nline_1": 1, "layers/x_" + "9" * 5000: 1})
    refuse(keras_v3.read_headers, tmp_path / "a.weights.h5", "is a damaged HDF5 file")
    write_v3(tmp_path / "a.weights.h5", {"layers/new\nline_1": 1})
    assert list(keras_v3.read_headers(tmp_path / "a.weights.h5").tensors) == ["new\nline_1/0"]
