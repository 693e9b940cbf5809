"""Small whole files of every weights format, for tests that damage them; PyTorch's are put together by hand."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
from safetensors.numpy import save_file

ARRAYS = {
    "a/kernel": np.random.default_rng(0).normal(size=(40, 50)).astype("float32"),
    "a/bias": np.ones(50, "float32"),
}


def write_legacy(path: Path) -> None:
    """Write Keras 2's layout."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"a"]
        group = file.create_group("a")
        group.attrs["weight_names"] = [f"{name}:0".encode() for name in ARRAYS]
        for name, values in ARRAYS.items():
            group.create_dataset(f"{name}:0", data=values)


def write_v3(path: Path) -> None:
    """Write Keras 3's layout."""
    with h5py.File(path, "w") as file:
        variables = file.create_group("layers/dense/vars")
        variables.attrs["name"] = "a"
        for index, values in enumerate(ARRAYS.values()):
            variables.create_dataset(str(index), data=values)


def write_archive(path: Path) -> None:
    """Write a `.keras` archive without its model's configuration."""
    write_v3(path.with_suffix(".h5"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", "{}")
        archive.write(path.with_suffix(".h5"), "model.weights.h5")
    path.with_suffix(".h5").unlink()


def write_moments(path: Path) -> None:
    """Write a moments file."""
    import medzoo

    medzoo.write_moments(medzoo.source_from_arrays(ARRAYS), path)


def _text(text: str) -> bytes:
    """Give the opcodes of a string."""
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _sizes(sizes: tuple[int, ...]) -> bytes:
    """Give the opcodes of a tuple of numbers."""
    return b"(" + b"".join(b"J" + struct.pack("<i", size) for size in sizes) + b"t"


def pickle_state(arrays: Mapping[str, np.ndarray], is_stream: bool) -> bytes:
    """Give the pickle of a state dictionary as PyTorch writes it; storages are numbered."""
    ordered = b"ccollections\nOrderedDict\n)R"
    content = b"\x80\x02" + ordered + b"("
    for index, (name, values) in enumerate(arrays.items()):
        strides = tuple(step // values.itemsize for step in values.strides)
        storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text(str(index)) + _text("cpu")
        storage += b"J" + struct.pack("<i", values.size) + (b"N" if is_stream else b"") + b"tQ"
        content += _text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00"
        content += _sizes(values.shape) + _sizes(strides) + b"\x89" + ordered + b"tR"
    return content + b"u."


def write_torch_archive(path: Path) -> None:
    """Write PyTorch's zip archive."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", pickle_state(ARRAYS, is_stream=False))
        archive.writestr("weights/byteorder", "little")
        for index, values in enumerate(ARRAYS.values()):
            archive.writestr(f"weights/data/{index}", values.tobytes())
        archive.writestr("weights/version", "3\n")


def write_torch_stream(path: Path) -> None:
    """Write PyTorch's older stream of pickles and storages."""
    with path.open("wb") as stream:
        for head in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "protocol_version": 1001}):
            pickle.dump(head, stream, protocol=2)
        stream.write(pickle_state(ARRAYS, is_stream=True))
        pickle.dump([str(index) for index in range(len(ARRAYS))], stream, protocol=2)
        for values in ARRAYS.values():
            stream.write(struct.pack("<q", values.size) + values.tobytes())


def write_shards(path: Path) -> None:
    """Write a list of shards and its one shard."""
    save_file(ARRAYS, path.parent / "one.safetensors")
    path.write_text(json.dumps({"weight_map": dict.fromkeys(ARRAYS, "one.safetensors")}, indent=1))


def write_checkpoint(path: Path) -> None:
    """Write a TensorFlow checkpoint under a prefix."""
    import tensorflow as tf

    variables = {name.replace("/", "_"): tf.Variable(values) for name, values in ARRAYS.items()}
    tf.train.Checkpoint(**variables).write(str(path))


def _single(name: str, write: Callable[[Path], object]) -> Callable[[Path], tuple[Path, Path]]:
    """Give a writer into a folder of a format that is one file."""

    def into(folder: Path) -> tuple[Path, Path]:
        write(folder / name)
        return folder / name, folder / name

    return into


def _checkpoint(suffix: str) -> Callable[[Path], tuple[Path, Path]]:
    """Give a writer of a checkpoint of which one of the two files is damaged."""

    def into(folder: Path) -> tuple[Path, Path]:
        write_checkpoint(folder / "model")
        return folder / "model", folder / f"model.{suffix}"

    return into


#: Files of one format each: name → a function that writes one.
WRITERS: dict[str, Callable[[Path], object]] = {
    "legacy.h5": write_legacy,
    "v3.weights.h5": write_v3,
    "a.keras": write_archive,
    "a.npz": lambda path: np.savez(path, **ARRAYS),
    "compressed.npz": lambda path: np.savez_compressed(path, **ARRAYS),
    "a.safetensors": lambda path: save_file(ARRAYS, path),
    "archive.pth": write_torch_archive,
    "stream.pth": write_torch_stream,
    "moments.json": write_moments,
}

#: What is damaged: format → a function that writes into a folder and gives the path to open and the file to damage.
EXAMPLES: dict[str, Callable[[Path], tuple[Path, Path]]] = {
    **{name: _single(name, write) for name, write in WRITERS.items()},
    "shards.index.json": _single("shards.index.json", write_shards),
    "checkpoint.index": _checkpoint("index"),
    "checkpoint.data": _checkpoint("data-00000-of-00001"),
}
