"""medzoo weights verify: are cached and written weights what they should be?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import clean, print_columns, print_json, print_note
from .plan import open_again

if TYPE_CHECKING:
    from medzoo.tensors import Source
    from medzoo.transplant.record import PlanRecord
    from medzoo.weights.cards import WeightCard


@click.command("verify")
@click.argument("names", nargs=-1, metavar="[CARD|FILE]…")
@click.option("--src", help="The source of a written FILE, where it is no longer where its plan says.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify_command(names: tuple[str, ...], src: str | None, as_json: bool) -> None:
    """Compare cached weights with their cards' digests, or make written ones again from source and plan.

    Without a name every cached card is checked. A FILE that `medzoo transplant` wrote needs its plan beside it and
    its source: every tensor is made again and compared with the bytes in the file. The exit code is 1 where anything
    differs or is absent.

    \b
    Example:
      medzoo weights verify
      medzoo weights verify mobilenet_075.imagenet.stats.weights.h5
    """
    from medzoo.weights.cards import list_cards
    from medzoo.weights.downloads import cached_path

    files = [name for name in names if Path(name).is_file()]
    if src is not None and not (len(names) == len(files) == 1):
        raise click.UsageError("--src goes with just one FILE that medzoo transplant wrote")
    rows = [
        _verify_file(Path(name), src) if name in files else _verify_card(_find_card(name)) for name in names
    ]
    if not names:
        rows = [_verify_card(card) for card in list_cards() if cached_path(card).exists()]
    if as_json:
        print_json([{key: value for key, value in row.items() if key != "text"} for row in rows])
    elif rows:
        print_columns(
            ("name", "state", "found"), [(row["name"], row["state"], row["found"] or "—") for row in rows]
        )
        for line in (line for row in rows for line in row["text"].split("\n") if line):
            click.echo(clean(line))
    else:
        print_note("nothing is cached; medzoo weights fetch CARD")
    if any(row["state"] in ("differs", "absent") for row in rows):
        raise click.exceptions.Exit(1)


def _find_card(name: str) -> WeightCard:
    """Find a card by the name typed; a path where nothing or a folder lies is refused in its own words."""
    from medzoo.errors import WeightsError
    from medzoo.weights.cards import find_card, list_card_names
    from medzoo.weights.writers import SUFFIXES

    if name not in list_card_names():
        if Path(name).exists():
            raise WeightsError(f"{name} is a folder", "a card, or a file that `medzoo transplant` wrote")
        if name.endswith(SUFFIXES):
            raise WeightsError(f"no weights file {name}", "a card, or a file that `medzoo transplant` wrote")
    return find_card(name)


def _verify_card(card: WeightCard) -> dict[str, Any]:
    """Compare a card's cached file with the card's digest."""
    from medzoo.weights.downloads import verify

    verdict = verify(card)
    row = {"name": card.name, "state": verdict.state, "found": verdict.found, "expected": verdict.expected}
    return row | {"text": f"{card.name}: expected {verdict.expected}" if verdict.state == "differs" else ""}


def _verify_file(path: Path, src: str | None) -> dict[str, Any]:
    """Make what a transplant wrote again and compare."""
    from medzoo.transplant.record import read_plan
    from medzoo.transplant.run import record_path
    from medzoo.transplant.verification import describe_verification, verify_output

    source = _open_source(path, read_plan(record_path(path)), src)
    verification = verify_output(path, source)
    row = {"name": str(path), "state": "ok" if verification.is_whole else "differs"}
    return row | describe_verification(verification) | {"text": str(verification)}


def _open_source(path: Path, record: PlanRecord, src: str | None) -> Source:
    """Open what a written file was made from.

    Raises:
        WeightsError: it is not where the plan says; whether the file at least has its recorded digest is told.
    """
    from medzoo.errors import WeightsError
    from medzoo.outputs import digest_file

    try:
        return open_again(record.plan, src)
    except WeightsError as error:
        if src is not None:
            raise
        has = "has" if digest_file(path) == record.output_digest else "has not"
        raise WeightsError(
            f"{path} {has} the digest that its plan recorded, but its tensors cannot be made again: {error.found}",
            f"the source {record.plan.origin!r} of its plan",
            "--src with that file",
        ) from error
