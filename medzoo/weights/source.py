"""Card, run or path → Source: only headers are read."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path

from medzoo.errors import WeightsError
from medzoo.outputs import digest_file
from medzoo.tensors import LazyTensor, Source
from medzoo.weights import cards
from medzoo.weights.dialects import keras
from medzoo.weights.formats import keras_legacy_h5, keras_v3, moments, npz, safetensors
from medzoo.weights.formats.hdf5 import open_hdf5, refuse_damage

Reader = Callable[[Path], dict[str, LazyTensor]]

_SUFFIXES = (".h5", ".hdf5", ".keras", ".npz", ".safetensors", ".json", ".pt", ".pth", ".th", ".bin", ".ckpt")


def open_weights(
    src: str | Path, model: str | None = None, values: bool = True, dialect: str | None = None
) -> Source:
    """Open weights by card (`mobilenet_075.imagenet`), tag (`imagenet`, joined to `model`), run or file.

    Reads headers only. With `values=False` a card answers with its bundled moments file, which needs no
    network; a file is opened all the same. A run directory gives its best weights. `dialect="keras"` leaves a
    file's layers their names, where the model to be filled is keras.applications' own.

    Raises:
        WeightsError: no such file or card (the nearest names are given); a damaged, empty or foreign file.

    >>> open_weights("mobilenet_075.imagenet", values=False)["conv1/kernel"].spec.shape
    (3, 3, 3, 24)
    """
    path = Path(src)
    # Cards and tags first: a folder of images called `imagenet` is common, and is no run. `./imagenet` is a path.
    if find_named_card(src, model) is None:
        if path.is_dir():
            return _open_run(path)
        if path.exists():
            return open_file(path, dialect=dialect)
    if "/" in str(src) or path.suffix in _SUFFIXES:
        raise WeightsError(
            f"no weights file {path}", "an existing file, a card or a tag", "medzoo weights list"
        )
    name = str(src)
    if model and "." not in name:
        name = f"{model}.{name}"
    card = cards.find_card(name)
    if not values and card.moments:
        return open_file(cards.moments_path(card), origin=card.name)
    return open_file(cards.fetch(card), origin=card.name)


def find_named_card(src: str | Path, model: str | None) -> cards.WeightCard | None:
    """Find the card that a word names, by itself or as a tag of `model`; None for anything else."""
    names = {str(src), f"{model}.{src}"}
    return next((card for card in cards.list_cards() if card.name in names), None)


def _open_run(folder: Path) -> Source:
    """Open a training run's best weights."""
    path = folder / "best.weights.h5"
    if not path.exists():
        raise WeightsError(
            f"{folder} holds no best.weights.h5", "a finished run's directory or a weights file"
        )
    return open_file(path, origin=str(folder))


def model_of(src: str | Path | None) -> str | None:
    """Tell which network a source is for: the card's, the run's, a tag's default; None without a source.

    Raises:
        WeightsError: a weights file, which does not say; or a folder that is no run.
    """
    if src is None:
        return None
    path = Path(src)
    card = find_named_card(src, cards.DEFAULT_MODEL)
    if card is not None:
        return card.model
    if path.is_dir():
        return model_of_run(path)
    if path.exists():
        raise WeightsError(
            f"{src} does not say which network it is for", "a network", "--model; see medzoo models"
        )
    return cards.DEFAULT_MODEL


def model_of_run(folder: Path) -> str:
    """Read which network a training run trained, from its config.toml.

    Raises:
        WeightsError: the folder is no run.
    """
    try:
        return str(tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))["model"]["name"])
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{folder} is no training run", "a folder with config.toml and best.weights.h5"
        ) from error


def open_file(path: Path, origin: str | None = None, dialect: str | None = None) -> Source:
    """Open one weights file; its first bytes, not its name, tell the format.

    Raises:
        WeightsError: the file is empty, damaged or holds no weights.
    """
    format_name, read = _find_reader(path)
    spoken, tensors = keras.translate(read(path), dialect)
    if not tensors:
        raise WeightsError(f"{path} holds no tensors", "a weights file")

    @cache
    def digest() -> str:
        return moments.digest_content(path) if format_name == moments.NAME else digest_file(path)

    return Source(tensors, origin or str(path), format_name, spoken, digest)


def _find_reader(path: Path) -> tuple[str, Reader]:
    """Tell a file's format from its content."""
    try:
        with path.open("rb") as stream:
            start = stream.read(16)
    except OSError as error:
        raise WeightsError(f"cannot read {path} ({error.strerror})", "a readable file") from error
    if not start:
        raise WeightsError(f"{path} is empty", "a weights file", "to copy or download it again")
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        with open_hdf5(path) as file, refuse_damage(path):
            for reader in (keras_legacy_h5, keras_v3):
                if reader.matches(file):
                    return reader.NAME, reader.read_headers
        raise WeightsError(
            f"{path} is an HDF5 file without Keras weights", "layer groups as Keras writes them"
        )
    if start.startswith(b"PK\x03\x04"):
        return npz.NAME, npz.read_headers
    if start[8:9] == b"{":
        return safetensors.NAME, safetensors.read_headers
    if start.lstrip().startswith(b"{") and _is_moments(path):
        return moments.NAME, moments.read_headers
    if start.startswith(b"\x80"):
        raise WeightsError(
            f"{path} is a Python pickle, such as PyTorch writes, and is not read",
            "Keras .h5 or .weights.h5, .npz or .safetensors",
            "saving its tensors as .safetensors",
        )
    raise WeightsError(
        f"{path} is no weights file that medzoo reads",
        "Keras .h5 or .weights.h5, .npz, .safetensors or a moments file",
        "saving it as .safetensors where it was made",
    )


def _is_moments(path: Path) -> bool:
    """Tell whether a JSON file says that it holds moments, without parsing the whole of it."""
    with path.open("rb") as stream:
        return json.dumps(f"medzoo {moments.NAME}").encode() in stream.read(4096)
