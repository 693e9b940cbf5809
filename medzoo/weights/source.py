"""Card, run, file or address → Source: only headers are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from medzoo.errors import WeightsError
from medzoo.outputs import digest_file
from medzoo.tensors import Source
from medzoo.weights import cards, downloads, runs
from medzoo.weights.dialects.table import speak
from medzoo.weights.formats import keras_archive, moments, tf_checkpoint
from medzoo.weights.formats.table import find_reader
from medzoo.weights.writers import PROVENANCE_ATTRIBUTE

_SUFFIXES = (
    *(".h5", ".hdf5", ".keras", ".npz", ".safetensors", ".json"),
    *(".pt", ".pth", ".th", ".tar", ".bin", ".ckpt", ".index"),
)

#: What Hugging Face's folders call their weights; the first that is there is opened.
_IN_FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def open_weights(
    src: str | Path, model: str | None = None, values: bool = True, dialect: str | None = None
) -> Source:
    """Open weights by card (`mobilenet_075.imagenet`), tag (`imagenet`, joined to `model`), run, file or address.

    Reads headers only. With `values=False` a card answers with its bundled moments file, which needs no
    network; a file is opened all the same. A run directory gives its best weights, with its network and input
    contract. `dialect` forces how foreign names are read; `keras` leaves every name and axis as stored.
    Addresses are `hf://owner/repository/file`, `file:///…` and `https://…`.

    Raises:
        WeightsError: no such file or card (the nearest names are given); a damaged, empty or foreign file; an
            ambiguous dialect.

    >>> open_weights("mobilenet_075.imagenet", values=False)["conv1/kernel"].spec.shape
    (3, 3, 3, 24)
    """
    if "://" in str(src):
        return open_file(downloads.fetch_url(str(src), check=check_weights), str(src), dialect)
    # Cards and tags first: a folder of images called `imagenet` is common, and is no run. `./imagenet` is a path.
    card = find_named_card(src, model)
    if card is not None:
        return _open_card(card, values, dialect)
    path = Path(src)
    if path.is_dir():
        return _open_folder(path, dialect)
    if path.exists() or tf_checkpoint.matches(path):
        return open_file(path, dialect=dialect)
    if "/" in str(src) or path.suffix in _SUFFIXES:
        raise WeightsError(
            f"no weights file {path}", "an existing file, a card or a tag", "medzoo weights list"
        )
    name = str(src)
    if model and "." not in name:
        name = f"{model}.{name}"
    return _open_card(cards.find_card(name), values, dialect)


def find_named_card(src: str | Path, model: str | None) -> cards.WeightCard | None:
    """Find the card that a word names, by itself or as a tag of `model`; None for anything else."""
    known = cards.list_card_names()
    return next((cards.find_card(name) for name in (str(src), f"{model}.{src}") if name in known), None)


def _open_card(card: cards.WeightCard, values: bool, dialect: str | None) -> Source:
    """Open a card's weights, downloaded where needed, or its moments where no values are asked for."""
    if not values and card.moments and dialect is None:
        source = open_file(cards.moments_path(card), card.name)
    else:
        fetched = downloads.fetch(card, check=check_weights)
        source = open_file(fetched.path, card.name, dialect)
        # The download's check has just hashed the file, which may be a gigabyte.
        if fetched.digest.startswith("sha256:"):
            source = replace(source, measure_digest=lambda: fetched.digest)
        if fetched.newly_recorded:
            note = f"{card.name} was unverified: its first download is recorded as {fetched.digest}"
            source = replace(source, notes=(note, *source.notes))
    # A contract of the card's own goes by the card's name.
    contract = card.preprocessing if isinstance(card.preprocessing, str) else card.name
    return replace(source, model=card.model, preprocessing="" if contract == cards.UNKNOWN else contract)


def check_weights(path: Path) -> None:
    """Check that a file can be opened as weights.

    Raises:
        WeightsError: it cannot.
    """
    find_reader(path)[1](path)


def _open_folder(folder: Path, dialect: str | None) -> Source:
    """Open a training run's best weights, a SavedModel's or checkpoint's variables, or a model hub's folder."""
    if runs.is_run(folder):
        source = open_file(runs.find_best(folder), str(folder), dialect)
        if (folder / "config.toml").exists():
            size, head = runs.build_of_run(folder)
            return replace(
                source,
                model=runs.model_of_run(folder),
                preprocessing=runs.preprocessing_of_run(folder),
                input_size=size,
                head=head,
            )
        return source
    if tf_checkpoint.matches(folder) or keras_archive.matches(folder):
        return open_file(folder, dialect=dialect)
    inside = next((folder / name for name in _IN_FOLDER if (folder / name).exists()), None)
    if inside is None:
        raise WeightsError(
            f"{folder} holds no {runs.BEST} and no other weights",
            "a finished run's directory, a SavedModel or a weights file",
        )
    return open_file(inside, str(folder), dialect)


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
        return runs.model_of_run(path)
    if path.exists() or "://" in str(src) or tf_checkpoint.matches(path):
        raise WeightsError(
            f"{src} does not say which network it is for", "a network", "--model; see medzoo models"
        )
    return cards.DEFAULT_MODEL


def open_file(path: Path, origin: str | None = None, dialect: str | None = None) -> Source:
    """Open one weights file, list of shards or checkpoint; its first bytes, not its name, tell the format.

    Raises:
        WeightsError: the file is empty, damaged or holds no weights.
    """
    format_name, read = find_reader(path)
    contents = read(path)
    spoken, tensors, notes = speak(contents.tensors, str(path), dialect)
    if not tensors:
        raise WeightsError(f"{path} holds no tensors", "a weights file")
    files = contents.files or (path,)

    @cache
    def digest() -> str:
        if format_name == moments.NAME:
            return moments.digest_content(path)
        return digest_file(path) if len(files) == 1 else digest_files(files)

    return Source(
        tensors,
        origin or str(path),
        format_name,
        spoken,
        digest,
        notes=(*contents.notes, *notes),
        metadata=_unfold(contents.metadata),
        storage=contents.storage,
        numbered=contents.numbered,
    )


def _unfold(metadata: Mapping[str, str]) -> dict[str, str]:
    """Put our own provenance, which HDF5 files hold as one JSON text, beside a file's other metadata."""
    own = metadata.get(PROVENANCE_ATTRIBUTE, "")
    try:
        content = json.loads(own) if own.startswith("{") else {}
    except ValueError:
        content = {}
    if not content:
        return dict(metadata)
    others = {key: value for key, value in metadata.items() if key != PROVENANCE_ATTRIBUTE}
    return others | {str(key): str(value) for key, value in content.items()}


def digest_files(files: tuple[Path, ...]) -> str:
    """Give the SHA-256 of several files' names and digests, as `sha256:<hex>`."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.name}:{digest_file(file)}\n".encode())
    return f"sha256:{total.hexdigest()}"
