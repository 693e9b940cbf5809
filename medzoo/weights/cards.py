"""Cards: one TOML file per published weight set, saying what it is, where it lies and how to check it."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from medzoo.contracts import PREPROCESSINGS, Preprocessing, follow_resize
from medzoo.errors import WeightsError, nearest

#: The network that a bare tag (`imagenet`) is for.
DEFAULT_MODEL = "mobilenet_075"

#: What a card says where nothing is known.
UNKNOWN = "unknown"

#: A digest with its algorithm; `sha256-prefix` is the beginning of a SHA-256 that PyTorch's hub puts in file names.
DIGEST = re.compile(r"(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}|sha256-prefix:[0-9a-f]{8,63})?")

_SUFFIX = ".toml"


@dataclass(frozen=True)
class PixelTable:
    """A preprocessing contract of its own: x′ = (x·scale − mean) / std per channel, channels put in `order`.

    `order` is `rgb`, `bgr` or `grey`; `mean` and `std` have three values, one for `grey`. `range` is the lowest
    and the highest value of x′ for 8-bit pixels.
    """

    order: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    range: tuple[float, float]


@dataclass(frozen=True)
class WeightCard:
    """A published weight set, named `architecture.tag`.

    `model` may be a network that the catalogue lacks. `urls` is the origin, then its mirrors; `page` is for
    people. `digest` carries its algorithm (`sha256:…`, `md5:…`, `sha256-prefix:…`) or is empty: unverified.
    `size` is in bytes, `input_size` in pixels; 0 is unknown. `classes` is 0 without a head. `preprocessing` is
    the name of a contract, a table of its own, or `unknown`. `by_hand` says that the file is fetched by people
    and never mirrored. `moments` names the bundled moments file, or is empty. `sources` says of each field
    where its value stands.
    """

    name: str
    model: str
    format: str
    dialect: str
    classes: int
    preprocessing: str | PixelTable
    licence: str
    urls: tuple[str, ...] = ()
    page: str = ""
    digest: str = ""
    size: int = 0
    labels: str = UNKNOWN
    input_size: int = 0
    resize: str = UNKNOWN
    training_data: str = UNKNOWN
    citation: str = UNKNOWN
    redistribution: str = UNKNOWN
    by_hand: bool = False
    moments: str = ""
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def url(self) -> str:
        """The origin's address, or an empty string for weights that are fetched by hand."""
        return self.urls[0] if self.urls else ""

    @property
    def tag(self) -> str:
        """The second half of the name: which of the network's weight sets this is."""
        return self.name.removeprefix(f"{self.model}.")

    def contract(self) -> Preprocessing:
        """Give the preprocessing contract as numbers, with the resize rule where `resize` states one.

        Raises:
            WeightsError: the card does not know it.

        >>> find_card("mobilenet_075.imagenet").contract().offset
        (-1.0, -1.0, -1.0)
        """
        table = self.preprocessing
        if isinstance(table, PixelTable):
            means, deviations = (values * (3 // len(values)) for values in (table.mean, table.std))
            red, green, blue = zip(means, deviations, strict=True)
            own = Preprocessing(
                self.name,
                (table.scale / red[1], table.scale / green[1], table.scale / blue[1]),
                (-red[0] / red[1], -green[0] / green[1], -blue[0] / blue[1]),
                "rgb" if table.order == "grey" else table.order,
            )
            return follow_resize(own, self.resize)
        if table == UNKNOWN:
            raise WeightsError(
                f"card {self.name} does not know how its network's input was preprocessed",
                "a contract: " + ", ".join(PREPROCESSINGS),
                "--preprocessing with the one that you mean",
            )
        return follow_resize(PREPROCESSINGS[table], self.resize)


def user_cards_folder() -> Path:
    """Give the folder for the user's own cards: `MEDZOO_CARDS`, or `cards` in medzoo's settings folder."""
    if named := os.environ.get("MEDZOO_CARDS"):
        return Path(named)
    import click

    return Path(click.get_app_dir("medzoo")) / "cards"


def list_card_names() -> tuple[str, ...]:
    """List the names of every card, bundled and the user's own, without opening one."""
    return tuple(sorted(_list_bundled() | set(_list_user_cards())))


@cache
def _list_bundled() -> frozenset[str]:
    """List the names of the bundled cards."""
    folder = resources.files("medzoo.weights_registry")
    return frozenset(
        entry.name.removesuffix(_SUFFIX) for entry in folder.iterdir() if entry.name.endswith(_SUFFIX)
    )


def _list_user_cards() -> dict[str, Path]:
    """List the user's own cards: name → file."""
    return {path.name.removesuffix(_SUFFIX): path for path in sorted(user_cards_folder().glob(f"*{_SUFFIX}"))}


def is_bundled(name: str) -> bool:
    """Tell whether a bundled card has that name."""
    return name in _list_bundled()


def list_cards() -> tuple[WeightCard, ...]:
    """List every card, bundled and the user's own, by name.

    >>> "mobilenet_075.imagenet" in [card.name for card in list_cards()]
    True
    """
    return tuple(_open_card(name) for name in list_card_names())


def find_card(name: str) -> WeightCard:
    """Find a card by its full name; no other is opened.

    Raises:
        WeightsError: no card has that name; the nearest names are given.
    """
    known = list_card_names()
    if name in known:
        return _open_card(name)
    raise WeightsError(
        f"no weights card {name!r} and no file of that name",
        nearest(name, known),
        "medzoo weights list, or the path of a weights file",
    )


def _open_card(name: str) -> WeightCard:
    """Open a card that is known to exist.

    Raises:
        WeightsError: a card of the user has a bundled card's name, so that it is not clear which is meant.
    """
    path = user_cards_folder() / f"{name}{_SUFFIX}"
    if is_bundled(name):
        if path.exists():
            raise WeightsError(
                f"{path} has the name of a bundled card", "a name of its own", f"to remove it: rm {path}"
            )
        return _open_bundled(name)
    try:
        return _read_card(path.name, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"cannot read {path} ({type(error).__name__})", "a card in TOML") from error


@cache
def _open_bundled(name: str) -> WeightCard:
    """Open a bundled card, once."""
    file = resources.files("medzoo.weights_registry") / f"{name}{_SUFFIX}"
    return _read_card(file.name, file.read_text(encoding="utf-8"))


def _read_card(file: str, text: str) -> WeightCard:
    """Read one card from the text of the file of that name.

    Raises:
        WeightsError: it is no TOML; a field is missing, unknown, of another type, or holds what it may not.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WeightsError(f"card {file} is no TOML ({error})", "a card in TOML") from error
    known = {entry.name: str(entry.type) for entry in fields(WeightCard)}
    wanted = {
        entry.name
        for entry in fields(WeightCard)
        if entry.default is MISSING and entry.default_factory is MISSING
    }
    unknown, missing = set(content) - set(known), wanted - set(content)
    if unknown or missing:
        raise WeightsError(f"card {file} has unknown fields {sorted(unknown)}, lacks {sorted(missing)}")
    card = WeightCard(**{name: _read_field(file, name, known[name], content[name]) for name in content})
    _check_card(file, card)
    return card


def _read_field(file: str, name: str, kind: str, value: Any) -> Any:
    """Check one field's type (as the dataclass spells it) and give its value, lists as tuples."""
    if kind in ("str", "int", "bool"):
        if type(value).__name__ == kind:
            return value
    elif kind.startswith("tuple"):
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
    elif kind.startswith("Mapping"):
        if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
            return value
    elif isinstance(value, str) and value in {*PREPROCESSINGS, UNKNOWN}:
        return value
    elif isinstance(value, dict):
        return _read_pixel_table(file, value)
    expected = (
        f"{', '.join(PREPROCESSINGS)}, {UNKNOWN} or a table" if "Pixel" in kind else f"a value of type {kind}"
    )
    raise WeightsError(f"card {file} has {name} = {value!r}", expected)


def _read_pixel_table(file: str, table: Mapping[str, Any]) -> PixelTable:
    """Read a preprocessing contract of a card's own."""
    try:
        read = PixelTable(
            str(table["order"]),
            float(table["scale"]),
            tuple(float(value) for value in table["mean"]),
            tuple(float(value) for value in table["std"]),
            (float(table["range"][0]), float(table["range"][1])),
        )
        count = {"rgb": 3, "bgr": 3, "grey": 1}[read.order]
        if (len(read.mean), len(read.std), len(table), len(table["range"])) == (count, count, 5, 2) and all(
            read.std
        ):
            return read
    except (KeyError, TypeError, ValueError, IndexError):
        pass  # refused below, with what is expected
    raise WeightsError(
        f"card {file} has preprocessing = {dict(table)!r}",
        "order (rgb, bgr or grey), scale, mean and std (one number a channel, std not 0), range (two numbers)",
    )


def _check_card(file: str, card: WeightCard) -> None:
    """Refuse a card that contradicts its file's name, itself, or the form of its fields."""
    if file != f"{card.name}{_SUFFIX}" or not card.tag or card.tag == card.name or "/" in card.name:
        raise WeightsError(
            f"card {file} has name = {card.name!r} and model = {card.model!r}",
            "the name architecture.tag, which the file has too",
        )
    if not DIGEST.fullmatch(card.digest):
        raise WeightsError(
            f"card {file} has digest = {card.digest!r}", "sha256:…, md5:…, sha256-prefix:… or nothing"
        )
    if card.redistribution not in ("yes", "no", UNKNOWN):
        raise WeightsError(f"card {file} has redistribution = {card.redistribution!r}", "yes, no or unknown")
    if card.by_hand == bool(card.urls):
        raise WeightsError(
            f"card {file} has by_hand = {str(card.by_hand).lower()} and {len(card.urls)} urls",
            "urls, or by_hand = true without them",
        )
    if card.moments and Path(card.moments).name != card.moments:
        raise WeightsError(
            f"card {file} has moments = {card.moments!r}", "the name of a file beside the card"
        )
    if strange := set(card.sources) - {entry.name for entry in fields(card)}:
        raise WeightsError(f"card {file} has sources of {sorted(strange)}", "names of the card's fields")


def moments_path(card: WeightCard) -> Path:
    """Give the path of a card's moments file: the bundled one, or one beside the user's own card."""
    if card.name not in _list_bundled():
        return user_cards_folder() / card.moments
    return Path(str(resources.files("medzoo.weights_registry.moments") / card.moments))
