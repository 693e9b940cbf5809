"""A card for a weights file of one's own: what the file can tell is filled in, the rest is asked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from medzoo.errors import WeightsError
from medzoo.outputs import digest_file
from medzoo.specs import HEAD, find_preprocessing
from medzoo.weights.cards import UNKNOWN, WeightCard, is_bundled
from medzoo.weights.dialects.table import find_dialect
from medzoo.weights.source import open_file


def make_card(
    path: str | Path,
    name: str,
    url: str | None = None,
    dialect: str | None = None,
    preprocessing: str = "",
    licence: str = UNKNOWN,
    training_data: str = UNKNOWN,
    citation: str = UNKNOWN,
) -> WeightCard:
    """Make the card of one weights file, named `model.tag`: digest, size, format, dialect, classes are read.

    Without a `url` the card points at the file where it lies. What is not given stays unknown; nothing is
    guessed.

    Raises:
        WeightsError: no weights file, one of several files, or a name without a tag.
        ConfigError: an unknown input contract.

    >>> import tempfile, numpy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     numpy.savez(f"{folder}/a.npz", **{"head/kernel": numpy.ones((4, 2), "float32")})
    ...     make_card(f"{folder}/a.npz", "mynet.first").classes
    2
    """
    path = Path(path)
    model, dot, tag = name.partition(".")
    if not (model and dot and tag) or not set(name) <= _allowed():
        raise WeightsError(f"card name {name!r}", "MODEL.TAG of letters, digits, - and _", "resnet20.mine")
    if url is not None and not re.match(r"(https?|file)://[^\[\]\s]+$", url):
        raise WeightsError(f"address {url!r}", "https://…", "no --url, for a file that stays where it is")
    if is_bundled(name):
        raise WeightsError(f"{name} is a bundled card", "a name of its own", f"{model}.mine")
    source = open_file(path, dialect=dialect)
    if not path.is_file() or source.format in ("tf_checkpoint", "sharded", "keras_shards", "moments"):
        raise WeightsError(f"{path} is more than one file, or holds no values", "one weights file")
    if preprocessing:
        find_preprocessing(preprocessing)
    head = f"{HEAD}/kernel"
    measured = "measured from the file"
    return WeightCard(
        name=name,
        model=model,
        format=source.format,
        dialect=find_dialect(source.dialect).name,
        classes=source[head].spec.shape[-1] if head in source else 0,
        preprocessing=preprocessing or UNKNOWN,
        licence=licence,
        urls=(url or path.resolve().as_uri(),),
        digest=digest_file(path),
        size=path.stat().st_size,
        training_data=training_data,
        citation=citation,
        sources=dict.fromkeys(("format", "dialect", "classes", "digest", "size"), measured),
    )


def _allowed() -> set[str]:
    """Give the characters of a card's name, which is a file's name too."""
    return set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def format_card(card: WeightCard) -> str:
    """Write a card as TOML; fields at their defaults are left out."""
    import tomli_w

    content: dict[str, Any] = {
        "name": card.name,
        "model": card.model,
        "urls": list(card.urls),
        "digest": card.digest,
        "size": card.size,
        "format": card.format,
        "dialect": card.dialect,
        "classes": card.classes,
        "preprocessing": card.preprocessing,
        "licence": card.licence,
        "training_data": card.training_data,
        "citation": card.citation,
        "sources": dict(card.sources),
    }
    return tomli_w.dumps(content)
