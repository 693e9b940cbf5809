"""Cards: one TOML file per published weight set, saying what it is, where it lies and how to check it."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path

from medzoo.errors import WeightsError, nearest
from medzoo.outputs import digest_file

#: The network that a bare tag (`imagenet`) is for.
DEFAULT_MODEL = "mobilenet_075"


@dataclass(frozen=True)
class WeightCard:
    """A published weight set, named `architecture.tag`.

    `digest` carries its algorithm (`sha256:…`); `moments` names the bundled moments file, or is empty.
    """

    name: str
    model: str
    url: str
    digest: str
    size: int
    format: str
    dialect: str
    classes: int
    preprocessing: str
    licence: str
    training_data: str
    citation: str
    moments: str = ""


@cache
def list_cards() -> tuple[WeightCard, ...]:
    """List every card of the registry, by name.

    >>> [card.name for card in list_cards()]
    ['mobilenet_075.imagenet']
    """
    folder = resources.files("medzoo.weights_registry")
    entries = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".toml")), key=lambda e: e.name
    )
    return tuple(_read_card(entry.name, entry.read_text(encoding="utf-8")) for entry in entries)


def _read_card(name: str, text: str) -> WeightCard:
    """Read one card.

    Raises:
        WeightsError: a field is missing or unknown.
    """
    content = tomllib.loads(text)
    known = {field.name for field in fields(WeightCard)}
    unknown, missing = set(content) - known, known - set(content) - {"moments"}
    if unknown or missing:
        raise WeightsError(f"card {name} has unknown fields {sorted(unknown)}, lacks {sorted(missing)}")
    return WeightCard(**content)


def find_card(name: str) -> WeightCard:
    """Find a card by its full name.

    Raises:
        WeightsError: no card has that name; the nearest names are given.
    """
    for card in list_cards():
        if card.name == name:
            return card
    known = nearest(name, [card.name for card in list_cards()])
    raise WeightsError(
        f"no weights card {name!r} and no file of that name",
        known,
        "medzoo weights list, or a weights file as --src",
    )


def moments_path(card: WeightCard) -> Path:
    """Give the path of a card's bundled moments file."""
    return Path(str(resources.files("medzoo.weights_registry.moments") / card.moments))


def cache_folder() -> Path:
    """Give the folder for downloaded weights: `MEDZOO_CACHE`, or the platform's cache folder."""
    import pooch

    return Path(os.environ.get("MEDZOO_CACHE") or pooch.os_cache("medzoo"))


def cached_path(card: WeightCard) -> Path:
    """Give the path at which a card's weights lie, or will lie once fetched."""
    return cache_folder() / f"{card.name}{Path(card.url).suffix}"


def fetch(card: WeightCard) -> Path:
    """Give the path of a card's weights, downloading them on first use and checking their digest.

    `MEDZOO_OFFLINE=1` forbids the download.

    Raises:
        WeightsError: there is no network, or the bytes are not the card's.
    """
    path = cached_path(card)
    if path.exists():
        if digest_file(path) != card.digest:
            raise WeightsError(
                f"{path} does not have the digest of card {card.name}", card.digest, f"rm {path}"
            )
        return path
    by_hand = f"to put the file from {card.url} at {path}, or give a weights file as --src"
    if os.environ.get("MEDZOO_OFFLINE", "") not in ("", "0"):
        raise WeightsError(f"{card.name} is not cached and MEDZOO_OFFLINE is set", "a cached file", by_hand)
    import pooch

    try:
        pooch.retrieve(card.url, known_hash=card.digest, fname=path.name, path=path.parent)
    except (OSError, ValueError) as error:
        reason = str(error).split("\n")[0][:160]
        raise WeightsError(f"cannot download {card.name} ({reason})", "a network", by_hand) from error
    return path
