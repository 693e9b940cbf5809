"""medzoo weights list, show, fetch, add: the registry of published weight sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import print_columns, print_json, print_note

#: From here on a person is told how to see fewer.
MANY_CARDS = 40

if TYPE_CHECKING:
    from medzoo.weights.cards import WeightCard


@click.command("list")
@click.argument("pattern", default="*")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(pattern: str, as_json: bool) -> None:
    """List the cards whose name, model or training data match PATTERN (the default of `medzoo weights`).

    A card without a published digest is `unverified`: its first download records one.

    \b
    Example:
      medzoo weights list 'densenet*'
    """
    from dataclasses import asdict

    from medzoo.errors import WeightsError, nearest
    from medzoo.weights.cards import find_card, list_card_names
    from medzoo.weights.downloads import cached_path

    cards = []
    for name in list_card_names():
        try:
            card = find_card(name)
        except WeightsError as error:  # a card of the user's own; it stands in no other's way
            print_note(f"note: {error}")
            continue
        if _matches(card, pattern):
            cards.append(card)
    if not cards:
        raise WeightsError(f"no card matches {pattern!r}", nearest(pattern, list_card_names()))
    if as_json:
        print_json([asdict(card) | {"cached": cached_path(card).exists()} for card in cards])
        return
    rows = [
        (
            card.model,
            card.tag,
            _format_size(card.size),
            card.licence,
            "yes" if cached_path(card).exists() else "no",
            card.digest.partition(":")[0] or "unverified",
        )
        for card in cards
    ]
    print_columns(("model", "tag", "size", "licence", "cached", "verified"), rows, numbers=(2,))
    if len(rows) > MANY_CARDS:
        print_note(f"{len(rows)} cards; medzoo weights list PATTERN shows fewer, such as resnet or chest")


def _matches(card: WeightCard, pattern: str) -> bool:
    """Tell whether a card's name, model or tag matches a pattern or starts with it, or its data contain it."""
    from fnmatch import fnmatchcase

    words = (card.name, card.model, card.tag)
    is_named = any(fnmatchcase(word, wanted) for word in words for wanted in (pattern, f"{pattern}*"))
    return is_named or pattern.casefold() in card.training_data.casefold()


def _format_size(size: int) -> str:
    """Give a size in megabytes, or a dash where it is unknown."""
    return f"{size / 1e6:.1f} MB" if size else "—"


@click.command("show")
@click.argument("card")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(card: str, as_json: bool) -> None:
    """Print all that a card says: where the weights lie, their digest, licence and contract.

    \b
    Example:
      medzoo weights show mobilenet_075.imagenet
    """
    from dataclasses import asdict

    from medzoo.weights.cards import find_card
    from medzoo.weights.downloads import cached_path

    _refuse_file(card)
    found = find_card(card)
    content = asdict(found) | {"cached": str(cached_path(found)) if cached_path(found).exists() else ""}
    if as_json:
        print_json(content)
        return
    sources = content.pop("sources")
    print_columns(("field", "value"), [(name, _format_value(value)) for name, value in content.items()])
    click.echo()
    print_columns(("field", "stands in"), [(name, str(value)) for name, value in sources.items()])


def _format_value(value: Any) -> str:
    """Give a field's value as text; what is not known is a dash."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "—"
    return str(value) if value not in ("", 0) else "—"


@click.command("fetch")
@click.argument("src")
def fetch_command(src: str) -> None:
    """Download a card's weights into the cache, check their digest and print their path.

    SRC is a card or an address: `hf://owner/repository/file`, `https://…` or `file:///…`. Interrupted
    downloads start afresh. MEDZOO_CACHE names the cache's folder, MEDZOO_OFFLINE=1 forbids downloads.

    \b
    Example:
      medzoo weights fetch mobilenet_075.imagenet
    """
    from medzoo.weights.cards import find_card
    from medzoo.weights.downloads import fetch, fetch_url
    from medzoo.weights.source import check_weights

    from .progress import DownloadBar

    if "://" in src:
        with DownloadBar(src) as bar:
            path = fetch_url(src, bar, check_weights)
        click.echo(path)
        return
    _refuse_file(src)
    card = find_card(src)
    with DownloadBar(card.name) as bar:
        fetched = fetch(card, bar, check_weights)
    if fetched.newly_recorded:
        print_note(f"note: {card.name} was unverified: recorded {fetched.digest} of this first download")
    click.echo(fetched.path)


def _refuse_file(src: str) -> None:
    """Refuse a path where a card's name belongs."""
    from medzoo.errors import WeightsError
    from medzoo.weights.cards import list_card_names

    if src not in list_card_names() and Path(src).exists():
        raise WeightsError(f"{src} is a file or folder already", "a card", f"medzoo weights inspect {src}")


@click.command("add")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", required=True, metavar="MODEL.TAG", help="The card's name, such as resnet20.mine.")
@click.option("--url", help="Where others get the file  [default: the file itself].")
@click.option("--dialect", help="How the file names its tensors  [default: recognised].")
@click.option("--preprocessing", metavar="CONTRACT", help="Input contract it was trained with.")
@click.option("--licence", default="unknown", show_default=True, help="Licence of the weights.")
@click.option("--training-data", default="unknown", show_default=True, help="Trained on, with its terms.")
@click.option("--citation", default="unknown", show_default=True, help="What to cite.")
@click.option("--out", type=click.Path(path_type=Path), help="Card to write  [default: in your own cards].")
@click.option("--overwrite", is_flag=True, help="Replace an existing card.")
def add_command(
    file: Path,
    name: str,
    url: str | None,
    dialect: str | None,
    preprocessing: str | None,
    licence: str,
    training_data: str,
    citation: str,
    out: Path | None,
    overwrite: bool,
) -> None:
    """Write a card for a weights file: digest, size, format, dialect and classes are read from it.

    Your own cards lie in the folder MEDZOO_CARDS and work by name as the bundled ones do.

    \b
    Example:
      medzoo weights add chest.safetensors --name resnet50.chest --preprocessing caffe
    """
    from medzoo.errors import ConfigError
    from medzoo.outputs import write_text
    from medzoo.weights.authoring import format_card, make_card
    from medzoo.weights.cards import user_cards_folder

    card = make_card(file, name, url, dialect, preprocessing or "", licence, training_data, citation)
    path = out or user_cards_folder() / f"{name}.toml"
    if path.name != f"{name}.toml":
        raise ConfigError(f"--out {path}", f"a file called {name}.toml, as its card", f"--out {name}.toml")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists", "a new card", "--overwrite or another --name")
    write_text(path, format_card(card))
    print_note(f"{name}: format {card.format}, dialect {card.dialect}, {card.digest}")
    click.echo(path)
