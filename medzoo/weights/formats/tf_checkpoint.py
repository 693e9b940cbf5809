"""TensorFlow checkpoints, alone or in a SavedModel's folder, read by TensorFlow's own checkpoint reader.

The graph in `saved_model.pb` is never loaded: it could run anything.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import WeightsError
from medzoo.tensors import LazyTensor, TensorSpec, lazy_tensor, role_of
from medzoo.weights.contents import Contents
from medzoo.weights.formats.tf_names import choose_named, name_objects

NAME = "tf_checkpoint"

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"

_NO_NUMBERS = ("string", "resource", "variant")

#: TensorFlow's dtypes as NumPy reads them; every bfloat16 is a float32, whose first half it is.
_DTYPES = {"bfloat16": "float32", "bool": "bool"}
_DTYPES |= {f"float{bits}": f"float{bits}" for bits in (16, 32, 64)}
_DTYPES |= {f"{kind}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}


def matches(path: Path) -> bool:
    """Tell whether a path is a checkpoint's prefix, its index, or a folder with a checkpoint or a SavedModel.

    A folder that has nothing but its name in common with one does not count; nothing is imported.
    """
    if path.is_dir():
        return (path / "checkpoint").is_file() or (path / "saved_model.pb").is_file()
    if path.is_file():
        return path.suffix == ".index" or re.search(r"\.data-\d{5}-of-\d{5}$", path.name) is not None
    return _index(path).is_file()


def read_headers(path: Path) -> Contents:
    """Read names, shapes and dtypes of a checkpoint's weights; each is read on demand.

    Names are the variables' own (`conv1/kernel`) where the checkpoint holds them and they are unique, else the
    checkpoint's keys. Optimisers' variables, counters, moving averages beside their variables and the states
    of random generators are left out.

    Raises:
        WeightsError: there is no checkpoint, a file of it is missing or damaged, or TensorFlow is not installed.
    """
    prefix = find_prefix(path)
    files = _find_files(prefix, path)
    reader = _open_reader(prefix, path)
    shapes: Mapping[str, list[int]] = reader.get_variable_to_shape_map()
    dtypes = reader.get_variable_to_dtype_map()
    _refuse_lost_bytes(shapes, dtypes, files, path)
    notes: set[str] = set()
    if _GRAPH in shapes:
        keys = name_objects(_read_graph(reader, path), notes)
    else:
        keys = {key: key for key in choose_named(shapes, notes)}
    repeats = Counter(keys.values())
    tensors: dict[str, LazyTensor] = {}
    for key in sorted(keys, key=_natural):
        if key not in shapes:
            raise WeightsError(f"{path} names {key!r} but does not hold it", "a whole checkpoint")
        dtype = dtypes[key].name
        if dtype in _NO_NUMBERS:
            continue
        if dtype not in _DTYPES:
            raise WeightsError(f"{path} holds {dtype} at {key!r}", "numbers that NumPy has")
        name = keys[key] if keys[key] and repeats[keys[key]] == 1 else key.removesuffix(_VALUE)
        if name in tensors:
            raise WeightsError(f"{path} holds two tensors named {name!r}", "unique names")
        spec = TensorSpec(name, tuple(shapes[key]), _DTYPES[dtype], role_of(name))
        tensors[name] = lazy_tensor(spec, _make_read(reader, key, spec, path))
    return Contents(tensors, notes=tuple(sorted(notes)), files=files)


def find_prefix(path: Path) -> Path:
    """Find a checkpoint's prefix, `x` of `x.index`, from any of the ways to point at it.

    A `checkpoint` file's latest entry is looked for in its own folder, wherever it was when it was written.

    Raises:
        WeightsError: there is no checkpoint.
    """
    prefix = path
    if path.is_dir():
        prefix = path / "variables" / "variables"
        if not (path / "saved_model.pb").is_file():
            prefix = path / _read_latest(path / "checkpoint")
    elif path.is_file():
        prefix = path.with_name(re.sub(r"\.index$|\.data-\d{5}-of-\d{5}$", "", path.name))
    if not _index(prefix).is_file():
        raise WeightsError(
            f"{path} is a TensorFlow checkpoint without {_index(prefix).name}",
            "the .index file beside its .data files",
            "to copy the whole checkpoint",
        )
    return prefix


def _read_latest(state: Path) -> str:
    """Read the name of the latest checkpoint from a folder's `checkpoint` file, which is a line of text.

    Raises:
        WeightsError: the file names none.
    """
    with state.open("rb") as stream:
        text = stream.read(2**20).decode("utf-8", "replace")
    found = re.search(r'^\s*model_checkpoint_path:\s*"([^"\n]+)"', text, re.MULTILINE)
    name = re.split(r"[/\\]", found.group(1))[-1] if found else ""
    if name in ("", ".", ".."):
        raise WeightsError(f"{state} names no checkpoint", "model_checkpoint_path and a name")
    return name


def _index(prefix: Path) -> Path:
    """Give the path of a checkpoint's index."""
    return prefix.with_name(f"{prefix.name}.index")


def _find_files(prefix: Path, path: Path) -> tuple[Path, ...]:
    """List a checkpoint's files, the index first.

    Raises:
        WeightsError: a data file is missing or lies elsewhere.
    """
    pattern = re.compile(re.escape(prefix.name) + r"\.data-(\d{5})-of-(\d{5})")
    found = {entry.name: pattern.fullmatch(entry.name) for entry in prefix.parent.iterdir()}
    counts = {match.group(2) for match in found.values() if match}
    count = int(min(counts, default="1"))
    names = [f"{prefix.name}.data-{index:05}-of-{count:05}" for index in range(count)]
    missing = [name for name in names if not (prefix.parent / name).is_file()]
    folder = prefix.parent.resolve()
    outside = [name for name in names if (prefix.parent / name).resolve().parent != folder]
    reason = f"lacks {missing[0]}" if missing else f"keeps {outside[0]} elsewhere" if outside else ""
    if not reason and len(counts) > 1:
        reason = "has data files of two checkpoints"
    if reason:
        raise WeightsError(
            f"{path} {reason}",
            "all .data files beside the .index file",
            "to copy the whole checkpoint",
        )
    return _index(prefix), *(prefix.parent / name for name in names)


def _open_reader(prefix: Path, path: Path) -> Any:
    """Open TensorFlow's reader of a checkpoint.

    Raises:
        WeightsError: TensorFlow is not installed, cannot take the path, or finds the index damaged.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise WeightsError(
            f"{path} is a TensorFlow checkpoint, and TensorFlow is not installed",
            "TensorFlow to read it",
            "pip install tensorflow",
        ) from error
    if re.search(r"[*?\[\]\\]", str(prefix)):
        raise WeightsError(
            f"{path} lies at a path that TensorFlow takes for a pattern",
            "a path without any of * ? [ ]",
            "renaming the file or the folder",
        )
    try:
        return tf.train.load_checkpoint(str(prefix))
    except _damage() as error:
        raise _damaged(path, error) from error


def _damage() -> tuple[type[Exception], ...]:
    """List what TensorFlow's reader raises on damaged files."""
    import tensorflow as tf

    lost = (LookupError, ArithmeticError, MemoryError, SystemError)
    return (tf.errors.OpError, RuntimeError, ValueError, TypeError, OSError, *lost)


def _damaged(path: Path, error: Exception) -> WeightsError:
    """Word the refusal of a damaged checkpoint."""
    return WeightsError(
        f"{path} is a damaged checkpoint ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
        "whole files",
        "to copy or download it again",
    )


def _refuse_lost_bytes(
    shapes: Mapping[str, list[int]], dtypes: Mapping[str, Any], files: tuple[Path, ...], path: Path
) -> None:
    """Compare what the index claims with the size of the data files, before anything is allocated.

    Raises:
        WeightsError: the data files are cut off, or belong to another index.
    """
    claimed = sum(
        math.prod(shape) * dtypes[key].size
        for key, shape in shapes.items()
        if dtypes[key].name not in _NO_NUMBERS
    )
    held = sum(file.stat().st_size for file in files[1:])
    if claimed > held or any(size < 0 for shape in shapes.values() for size in shape):
        raise WeightsError(
            f"{path} claims {claimed:,} bytes, and its data files hold {held:,}",
            "whole .data files",
            "to copy or download the checkpoint again",
        )


def _make_read(reader: Any, key: str, spec: TensorSpec, path: Path) -> Callable[[], np.ndarray]:
    """Give a function that reads one variable; the reader checks its CRC."""

    def read() -> np.ndarray:
        try:
            return np.asarray(reader.get_tensor(key), spec.dtype)
        except _damage() as error:
            raise _damaged(path, error) from error

    return read


def _read_graph(reader: Any, path: Path) -> Any:
    """Read the graph of the objects that were saved: names and places, nothing that runs.

    Raises:
        WeightsError: it is damaged.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    graph = TrackableObjectGraph()
    try:
        graph.ParseFromString(reader.get_tensor(_GRAPH))
    except (*_damage(), DecodeError) as error:
        raise _damaged(path, error) from error
    return graph


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort keys with their numbers as numbers: variables/2 before variables/10."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if part.isdecimal() and len(part) < 20 else (-1, part) for part in parts]
