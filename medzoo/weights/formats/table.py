"""Which reader a path needs: its content decides, not its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medzoo.errors import WeightsError
from medzoo.weights.contents import Contents
from medzoo.weights.formats import (
    keras_archive,
    keras_legacy_h5,
    keras_shards,
    keras_v3,
    moments,
    npz,
    safetensors,
    shards,
    tf_checkpoint,
    torch_archive,
)
from medzoo.weights.formats.hdf5 import open_hdf5, refuse_damage

Reader = Callable[[Path], Contents]

READABLE = (
    "Keras .h5, .weights.h5 or .keras, .npz, .safetensors, PyTorch .pt/.pth/.bin, a TensorFlow checkpoint"
    " or a moments file"
)

#: A list of shards, or of moments, is read whole; anything longer is none.
LONGEST_JSON = 64 * 2**20


def find_reader(path: Path) -> tuple[str, Reader]:
    """Tell a path's format and give its reader.

    Raises:
        WeightsError: no such file, an empty one, or nothing that is read here.
    """
    if tf_checkpoint.matches(path):
        return tf_checkpoint.NAME, tf_checkpoint.read_headers
    if path.is_dir() and keras_archive.matches(path):
        return keras_archive.NAME, keras_archive.read_headers
    try:
        with path.open("rb") as stream:
            start = stream.read(512)
    except OSError as error:
        raise WeightsError(f"cannot read {path} ({error.strerror})", "a readable file") from error
    if not start:
        raise WeightsError(f"{path} is empty", "a weights file", "to copy or download it again")
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return _find_hdf5_reader(path)
    if start.startswith(b"PK\x03\x04"):
        for archive in (keras_archive, torch_archive):
            if archive.matches(path):
                return archive.NAME, archive.read_headers
        return npz.NAME, npz.read_headers
    if start[8:9] == b"{":
        return safetensors.NAME, safetensors.read_headers
    if start.lstrip()[:1] == b"{":
        return _find_json_reader(path)
    if torch_archive.matches(path):
        return torch_archive.NAME, torch_archive.read_headers
    looks = start.lstrip()[:15].lower()
    if looks.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError(
            f"{path} is no weights file but a web page", READABLE, "to download the file itself again"
        )
    raise _refusal(path)


def _find_hdf5_reader(path: Path) -> tuple[str, Reader]:
    """Tell the two layouts of Keras apart."""
    with open_hdf5(path) as file, refuse_damage(path):
        for reader in (keras_legacy_h5, keras_v3):
            if reader.matches(file):
                return reader.NAME, reader.read_headers
    raise WeightsError(f"{path} is an HDF5 file without Keras weights", "layer groups as Keras writes them")


def _find_json_reader(path: Path) -> tuple[str, Reader]:
    """Tell lists of shards and moments files apart."""
    if _is_moments(path):
        return moments.NAME, moments.read_headers
    content = _read_json(path)
    if keras_shards.is_shard_list(content):
        return keras_shards.NAME, keras_shards.read_headers
    if shards.is_shard_list(content):
        return shards.NAME, lambda path: shards.read_headers(path, read_shard)
    raise _refusal(path)


def read_shard(path: Path) -> Contents:
    """Read the headers of one shard, which must be a whole file of its own.

    Raises:
        WeightsError: a shard that is itself a list, or no weights file.
    """
    name, read = find_reader(path)
    if name in (shards.NAME, keras_shards.NAME):
        raise WeightsError(f"{path} is a list of shards", "a shard")
    return read(path)


def _read_json(path: Path) -> Any:
    """Read a small JSON file; None where it is none."""
    if path.stat().st_size > LONGEST_JSON:
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None


def _is_moments(path: Path) -> bool:
    """Tell whether a JSON file says that it holds moments, without parsing the whole of it."""
    with path.open("rb") as stream:
        return json.dumps(f"medzoo {moments.NAME}").encode() in stream.read(4096)


def _refusal(path: Path) -> WeightsError:
    """Give the error for a file of no known kind."""
    return WeightsError(
        f"{path} is no weights file that medzoo reads",
        READABLE,
        "saving it as .safetensors where it was made",
    )
