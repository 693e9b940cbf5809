"""Writes PyTorch's files without PyTorch, and pickles that no PyTorch would write."""

from __future__ import annotations

import gc
import io
import pickle
import tracemalloc
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from medzoo.errors import WeightsError
from medzoo.weights.contents import Contents
from medzoo.weights.formats import torch_archive

STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "int64": "LongStorage",
    "bool": "BoolStorage",
}


@dataclass(eq=False)
class Name:
    """A global name, written as such and never looked up."""

    module: str
    name: str


@dataclass(eq=False)
class Call:
    """A call of a named function, or a new object of a named class, with a state perhaps."""

    function: Any
    arguments: tuple[Any, ...] = ()
    state: Any = None
    is_new: bool = False


@dataclass(eq=False)
class Stored:
    """A reference to a storage: the persistent identifier."""

    identifier: Any


class _Writer(pickle._Pickler):  # type: ignore[misc, name-defined]
    """Python's own pickler, taught to write names that cannot be imported here."""

    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def persistent_id(self, obj: object) -> Any:
        return obj.identifier if isinstance(obj, Stored) else None

    def save_name(self, obj: Name) -> None:
        if self.proto >= 4:
            self.save(obj.module)
            self.save(obj.name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)

    def save_call(self, obj: Call) -> None:
        self.save(obj.function)
        self.save(obj.arguments)
        self.write(pickle.NEWOBJ if obj.is_new else pickle.REDUCE)
        self.memoize(obj)
        if obj.state is not None:
            self.save(obj.state)
            self.write(pickle.BUILD)

    dispatch[Name] = save_name
    dispatch[Call] = save_call


def dump(content: object, protocol: int = 2) -> bytes:
    """Pickle anything made of plain values, `Name`, `Call` and `Stored`."""
    stream = io.BytesIO()
    _Writer(stream, protocol).dump(content)
    return stream.getvalue()


def storage(key: str, dtype: str, count: int, *view: object) -> Stored:
    return Stored(("storage", Name("torch", STORAGES[dtype]), key, "cpu", count, *view))


def tensor(held: object, shape: tuple[Any, ...], strides: tuple[Any, ...] = (), offset: Any = 0) -> Call:
    """Describe a tensor as PyTorch does; without strides, a contiguous one."""
    if not strides:
        strides = tuple(int(np.prod(shape[axis + 1 :], dtype=int)) for axis in range(len(shape)))
    rebuild = Name("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, (held, offset, shape, strides, False, Call(Name("collections", "OrderedDict"))))


def tensors_of(arrays: Mapping[str, np.ndarray], is_stream: bool = False) -> dict[str, Call]:
    """Describe each array by a storage of its own; keys count from 0."""
    view = (None,) if is_stream else ()
    return {
        name: tensor(storage(str(key), str(values.dtype), values.size, *view), values.shape)
        for key, (name, values) in enumerate(arrays.items())
    }


def write_archive(
    path: Path,
    content: object,
    storages: list[bytes],
    members: Mapping[str, bytes] = {},
    protocol: int = 2,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """Write a zip archive as `torch.save` does; `content` is pickled unless it is bytes."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(
            "weights/data.pkl", content if isinstance(content, bytes) else dump(content, protocol)
        )
        archive.writestr("weights/version", "3\n")
        for key, values in enumerate(storages):
            archive.writestr(f"weights/data/{key}", values)
        for name, values in members.items():
            archive.writestr(f"weights/{name}", values)
    return path


def write_stream(path: Path, content: object, storages: Mapping[str, np.ndarray], protocol: int = 2) -> Path:
    """Write the older stream."""
    head = [dump(0x1950A86A20F9469CFC6C, protocol), dump(1001, protocol)]
    head.append(dump({"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}, protocol))
    head.append(content if isinstance(content, bytes) else dump(content, protocol))
    head.append(dump(list(storages), protocol))
    values = [len(held.ravel()).to_bytes(8, "little") + held.tobytes() for held in storages.values()]
    path.write_bytes(b"".join([*head, *values]))
    return path


def write_state(
    path: Path, arrays: Mapping[str, np.ndarray], is_stream: bool = False, **beside: object
) -> Path:
    """Write arrays as a state dictionary; with anything beside it, as a checkpoint."""
    state: Any = tensors_of(arrays, is_stream)
    content = {"state_dict": state, **beside} if beside else state
    if is_stream:
        return write_stream(path, content, {str(key): held for key, held in enumerate(arrays.values())})
    return write_archive(path, content, [held.tobytes() for held in arrays.values()])


RNG = np.random.default_rng(5)
ARRAYS = {
    "conv1.weight": RNG.normal(size=(4, 3, 3, 3)).astype("float32"),
    "bn1.running_mean": RNG.normal(size=4),
    "bn1.num_batches_tracked": np.array(7),
    "mask": np.array([True, False]),
    "none": np.zeros((0, 3), "float32"),
}
EITHER = pytest.mark.parametrize("is_stream", [False, True], ids=["archive", "stream"])


def check(contents: Contents, arrays: dict[str, np.ndarray]) -> None:
    assert list(contents.tensors) == list(arrays)
    for name, values in arrays.items():
        found = contents.tensors[name]
        assert (found.spec.name, found.spec.shape, found.spec.dtype) == (
            name,
            values.shape,
            str(values.dtype),
        )
        read = found.read()
        assert read.dtype == values.dtype
        assert read.flags.c_contiguous
        assert read.flags.writeable
        assert read.tobytes() == values.tobytes()


def read_all(path: Path) -> None:
    for held in torch_archive.read_headers(path).tensors.values():
        held.read()


def refuse(path: Path, message: str, limit: int = 2**22) -> str:
    """Open and read what must be refused, with little memory, and check the refusal."""
    gc.disable()  # what other tests left behind is not to be freed, or counted, meanwhile
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=message) as error:
            read_all(path)
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()
        gc.enable()
    text = str(error.value)
    assert str(path) in text
    assert "expected " in text
    assert "\n" not in text
    return text


ORDERED = Name("collections", "OrderedDict")
W = {"w": np.ones(3, "float32"), "v": np.zeros(2)}


def open_checkpoint(tmp_path: Path, content: object) -> Contents:
    """Open what holds the tensors of `W` somewhere."""
    return torch_archive.read_headers(
        write_archive(tmp_path / "a.pt", content, [values.tobytes() for values in W.values()])
    )
