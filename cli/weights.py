"""medzoo weights: list cards, look into files, measure moments, fetch."""

from __future__ import annotations

from pathlib import Path

import click

from .output import DefaultGroup, print_columns, print_json, print_note


@click.group("weights", cls=DefaultGroup)
def command() -> None:
    """List published weights, look into weights files, measure their moments.

    \b
    Example:
      medzoo weights list
      medzoo weights fetch mobilenet_075.imagenet
      medzoo weights inspect mobilenet_075.imagenet
      medzoo weights moments weights.h5 --out weights.moments.json
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(as_json: bool) -> None:
    """List the cards of published weights (the default of `medzoo weights`)."""
    from dataclasses import asdict

    from medzoo.weights.cards import cached_path, list_cards

    cards = list_cards()
    if as_json:
        print_json([asdict(card) | {"cached": cached_path(card).exists()} for card in cards])
        return
    rows = [
        (
            card.name,
            f"{card.size / 1e6:.1f} MB",
            str(card.classes),
            card.licence,
            "yes" if card.moments else "no",
            "yes" if cached_path(card).exists() else "no",
        )
        for card in cards
    ]
    print_columns(("card", "size", "classes", "licence", "moments bundled", "cached"), rows, numbers=(1, 2))


@command.command("show")
@click.argument("card")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(card: str, as_json: bool) -> None:
    """Print all that a card says: where the weights lie, their digest, licence and contract.

    \b
    Example:
      medzoo weights show mobilenet_075.imagenet
    """
    from dataclasses import asdict

    from medzoo.weights.cards import cached_path, find_card

    found = find_card(card)
    content = asdict(found) | {"cached": str(cached_path(found)) if cached_path(found).exists() else ""}
    if as_json:
        print_json(content)
        return
    print_columns(("field", "value"), [(name, str(value) or "—") for name, value in content.items()])


@command.command("fetch")
@click.argument("card")
def fetch_command(card: str) -> None:
    """Download a card's weights into the cache, check their digest and print their path."""
    from medzoo.weights.cards import fetch, find_card

    click.echo(fetch(find_card(card)))


@command.command("inspect")
@click.argument("src")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect_command(src: str, as_json: bool) -> None:
    """Print what a weights file, run or card holds: names, roles, shapes; values are not read."""
    from medzoo.transplant.plan import format_shape
    from medzoo.weights.cards import DEFAULT_MODEL
    from medzoo.weights.source import open_weights

    source = open_weights(src, DEFAULT_MODEL, values=False)
    specs = [tensor.spec for tensor in source.values()]
    total = sum(spec.size for spec in specs)
    if as_json:
        rows = [{"name": s.name, "role": s.role, "shape": s.shape, "dtype": s.dtype} for s in specs]
        head = {"source": source.origin, "format": source.format, "dialect": source.dialect}
        print_json(head | {"digest": source.digest, "parameters": total, "tensors": rows})
        return
    click.echo(f"{source.origin}: format {source.format}, dialect {source.dialect}, {source.digest}")
    cells = [(spec.name, spec.role.value, format_shape(spec.shape), spec.dtype) for spec in specs]
    print_columns(("tensor", "role", "shape", "dtype"), cells)
    click.echo(f"{len(specs)} tensors, {total:,} values")


@command.command("moments")
@click.argument("src")
@click.option("--out", type=click.Path(path_type=Path), help="File to write (default: SRC.moments.json).")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def moments_command(src: str, out: Path | None, overwrite: bool) -> None:
    """Measure each tensor's mean and standard deviation and write them as a moments file.

    A moments file is enough for `medzoo transplant --mode stats`, and may travel where weights may not.
    """
    from medzoo.errors import ConfigError
    from medzoo.weights.formats.moments import write_moments
    from medzoo.weights.source import open_weights

    source = open_weights(src)
    path = out or Path(f"{Path(src).name.removesuffix('.weights.h5').removesuffix('.h5')}.moments.json")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists", "a new file", "--overwrite or another --out")
    write_moments(source, path)
    print_note(f"measured {len(source)} tensors of {source.origin}")
    click.echo(path)
