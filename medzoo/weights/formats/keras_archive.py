"""Keras 3's `.keras` archives, zipped or as a folder: only the weights in them are read, never the code."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from medzoo.errors import WeightsError
from medzoo.weights.contents import Contents
from medzoo.weights.formats import keras_legacy_h5, keras_v3
from medzoo.weights.formats.byte_ranges import ZIP_DAMAGE, check_members, locate_member
from medzoo.weights.formats.hdf5 import open_hdf5, refuse_damage
from medzoo.weights.formats.hdf5_guard import GuardedFile

NAME = "keras_archive"

#: The archive's members, as Keras names them.
WEIGHTS, METADATA, CONFIG = "model.weights.h5", "metadata.json", "config.json"

#: Weights that were compressed (Keras stores them as they are) are unfolded in memory, up to this many bytes.
LARGEST_UNFOLDED = 2**32

#: Beyond 100 MB, compressed weights may not unfold to more than 100 times their size: trained ones hardly shrink.
LARGEST_STEEP, STEEPEST = 100_000_000, 100

#: The largest JSON members read, in bytes: ResNet152's configuration has less than 1 MB. Read into lists and
#: dictionaries, they need fifty times that.
LARGEST_TEXT = {METADATA: 2**16, CONFIG: 2**23}

#: Beyond 1 MB, compressed JSON may not unfold to more than 200 times its size.
LARGEST_STEEP_TEXT, STEEPEST_TEXT = 2**20, 200


def matches(path: Path) -> bool:
    """Tell whether a zip file or a folder is such an archive; a damaged zip counts if its name says so."""
    if path.is_dir():
        return (path / WEIGHTS).is_file()
    try:
        with zipfile.ZipFile(path) as archive:
            return WEIGHTS in archive.namelist()
    except ZIP_DAMAGE:
        return path.suffix == ".keras"


def read_headers(path: Path) -> Contents:
    """Read names, shapes and dtypes of the weights in an archive, in place; the optimiser's state is left out.

    `config.json` is read as plain JSON for the layers' names where the weights lack them (Keras before 3.6);
    nothing in it is ever built. `metadata.json` gives `keras_version` and `date_saved`.

    Raises:
        WeightsError: the archive is damaged, holds no weights, or claims far more than it stores.
    """
    if path.is_dir():
        files = tuple(path / name for name in (WEIGHTS, METADATA, CONFIG) if (path / name).is_file())
        texts = {
            file.name: _read_text(file.open("rb"), file.name, path) for file in files if file.name != WEIGHTS
        }
        return _read_weights(path / WEIGHTS, None, texts, files)
    try:
        with zipfile.ZipFile(path) as archive:
            if WEIGHTS not in archive.namelist():
                raise WeightsError(f"{path} holds no {WEIGHTS}", "a .keras archive of a whole model")
            check_members(archive, path)
            texts = {
                name: _read_text(_open_text(path, archive, name), name, path)
                for name in (METADATA, CONFIG)
                if name in archive.namelist()
            }
            content = _open_member(path, archive, archive.getinfo(WEIGHTS))
    except ZIP_DAMAGE as error:
        raise WeightsError(
            f"{path} is a damaged .keras archive ({error})", "a whole file", "to copy or download it again"
        ) from error
    return _read_weights(path, content, texts, ())


def _read_weights(
    path: Path, content: GuardedFile | None, texts: Mapping[str, Any], files: tuple[Path, ...]
) -> Contents:
    """Read the weights' headers, with layers' names from the configuration where the weights have none."""
    file = open_hdf5(path, content)
    with refuse_damage(path):
        if keras_legacy_h5.matches(file) or not keras_v3.matches(file):
            raise WeightsError(f"{path} holds no weights of Keras 3", "a .keras archive of a whole model")
    contents = keras_v3.read_parts([(file, path)], name_layers(texts.get(CONFIG)))
    described = texts.get(METADATA)
    metadata = dict(contents.metadata)
    if isinstance(described, dict):
        known = ("keras_version", "date_saved")
        metadata |= {name: described[name] for name in known if isinstance(described.get(name), str)}
    return Contents(contents.tensors, contents.notes, metadata, files, contents.storage, contents.numbered)


def _open_text(path: Path, archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Open a JSON member.

    Raises:
        WeightsError: it would unfold to far more than is stored.
    """
    entry = archive.getinfo(name)
    if entry.file_size > max(LARGEST_STEEP_TEXT, STEEPEST_TEXT * entry.compress_size):
        raise WeightsError(
            f"{path} claims {entry.file_size:,} bytes at {name!r} and stores {entry.compress_size:,}",
            "an archive as Keras writes it, uncompressed",
            "unpacking it and opening its model.weights.h5",
        )
    return archive.open(entry)


def _read_text(stream: IO[bytes], name: str, path: Path) -> Any:
    """Read one JSON member; what is no JSON counts as absent, for the weights need none of it.

    Raises:
        WeightsError: it is larger than any real one.
    """
    with stream:
        content = stream.read(LARGEST_TEXT[name] + 1)
    if len(content) > LARGEST_TEXT[name]:
        raise WeightsError(
            f"{path} holds more than {LARGEST_TEXT[name]:,} bytes of {name}",
            "a .keras archive as Keras writes it",
            "unpacking it and opening its model.weights.h5",
        )
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def name_layers(config: Any) -> dict[str, str]:
    """Give each layer's name by its group in the weights (`layers/conv2d_1`), from a model's configuration.

    Follows Keras's own numbering: by class, in the order of the layers. Models that are neither functional nor
    sequential keep no list of layers, and give nothing.

    >>> name_layers({"class_name": "Sequential", "config": {"layers": [
    ...     {"class_name": "Conv2D", "config": {"name": "stem"}}]}})
    {'layers/conv2d': 'stem'}
    """
    named: dict[str, str] = {}
    _name_layers(config, "", named, 0)
    return named


def _name_layers(model: Any, prefix: str, named: dict[str, str], depth: int) -> None:
    """Add one model's layers, nested models' included."""
    inside = model.get("config") if isinstance(model, dict) else None
    layers = inside.get("layers") if isinstance(inside, dict) else None
    if not isinstance(layers, list) or depth > 20:
        return
    counts: dict[str, int] = {}
    for layer in layers:
        settings = layer.get("config") if isinstance(layer, dict) else None
        kind = layer.get("class_name") if isinstance(layer, dict) else None
        if not isinstance(kind, str) or not isinstance(settings, dict):
            return  # the numbers of all later layers would be wrong
        if kind == "InputLayer" and model.get("class_name") == "Sequential":
            continue  # listed in the configuration, but no layer of the model
        group = snake_case(kind)
        count = counts.get(group, 0)
        counts[group] = count + 1
        place = f"{prefix}layers/{group}" + (f"_{count}" if count else "")
        if isinstance(settings.get("name"), str):
            named[place] = settings["name"]
        if kind in ("Functional", "Sequential"):
            _name_layers(layer, f"{place}/", named, depth + 1)


def snake_case(kind: str) -> str:
    """Turn a class name into Keras's group name.

    >>> snake_case("BatchNormalization"), snake_case("Conv2D")
    ('batch_normalization', 'conv2d')
    """
    kind = re.sub(r"\W+", "", kind)
    kind = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", kind)
    return re.sub("([a-z])([A-Z])", r"\1_\2", kind).lower()


def _open_member(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> GuardedFile:
    """Give a member as a file of its own: in place where it is stored, from memory where it is compressed.

    Raises:
        WeightsError: it would unfold to far more than is stored.
    """
    if entry.compress_type == zipfile.ZIP_STORED:
        stream = path.open("rb", buffering=0)
        return GuardedFile(stream, locate_member(stream, entry, path), entry.file_size)
    is_steep = entry.file_size > max(LARGEST_STEEP, STEEPEST * entry.compress_size)
    if is_steep or entry.file_size > LARGEST_UNFOLDED:
        raise WeightsError(
            f"{path} claims {entry.file_size:,} bytes of weights and stores {entry.compress_size:,}",
            "an archive as Keras writes it, uncompressed",
            "unpacking it and opening its model.weights.h5",
        )
    return GuardedFile(io.BytesIO(archive.read(entry)))  # zipfile stops at the claimed size, checks the CRC
