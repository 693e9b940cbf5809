"""medzoo weights inspect, convert, moments: what a weights file holds, in another form."""

from __future__ import annotations

from pathlib import Path

import click

from .output import clean, mute_native_notices, print_columns, print_json, print_note

_DIALECT = click.option("--dialect", help="How the file names its tensors  [default: recognised].")


@click.command("inspect")
@click.argument("src")
@_DIALECT
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect_command(src: str, dialect: str | None, as_json: bool) -> None:
    """Print what a weights file, run or card holds: names, roles, shapes; values are not read."""
    from medzoo.transplant.plan import format_shape
    from medzoo.weights.cards import DEFAULT_MODEL
    from medzoo.weights.downloads import cached_path
    from medzoo.weights.source import find_named_card, open_weights

    card = find_named_card(src, DEFAULT_MODEL)
    is_cached = card is not None and cached_path(card).exists()
    with mute_native_notices():
        source = open_weights(src, DEFAULT_MODEL, values=is_cached, dialect=dialect)
    specs = [tensor.spec for tensor in source.values()]
    total = sum(spec.size for spec in specs)
    if as_json:
        rows = [{"name": s.name, "role": s.role, "shape": s.shape, "dtype": s.dtype} for s in specs]
        head = {"source": source.origin, "format": source.format, "dialect": source.dialect}
        head |= {"model": source.model, "preprocessing": source.preprocessing, "digest": source.digest}
        rest = {"notes": source.notes, "metadata": dict(source.metadata)}
        print_json(head | rest | {"parameters": total, "tensors": rows})
        return
    click.echo(f"{source.origin}: format {source.format}, dialect {source.dialect}, {source.digest}")
    if source.model:
        click.echo(f"network {source.model}, input contract {source.preprocessing or 'unknown'}")
    for note in source.notes:
        click.echo(f"note: {clean(note)}")
    for key, value in source.metadata.items():
        click.echo(clean(f"{key}: {value if len(value) < 100 else value[:99] + '…'}"))
    cells = [(spec.name, spec.role.value, format_shape(spec.shape), spec.dtype) for spec in specs]
    print_columns(("tensor", "role", "shape", "dtype"), cells)
    click.echo(f"{len(specs)} tensors, {total:,} values")


@click.command("convert")
@click.argument("src")
@click.argument("out", type=click.Path(path_type=Path))
@_DIALECT
@click.option("--to", metavar="DIALECT", help="Write under a dialect's names and axes  [default: Keras's].")
@click.option("--model", help="Network of a .weights.h5 or .h5  [default: the card's or run's].")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def convert_command(
    src: str, out: Path, dialect: str | None, to: str | None, model: str | None, overwrite: bool
) -> None:
    """Write all tensors of SRC to OUT, in the format of its ending, one tensor in memory at a time.

    .safetensors, .h5 (the layout of Keras 2), .weights.h5 (Keras 3; needs the network) or .moments.json.
    Names and axes become Keras's where the file's dialect is known; `--to torch_resnet` and the like turn
    them into another dialect's.

    \b
    Example:
      medzoo weights convert resnet20.th resnet20.safetensors
      medzoo weights convert resnet20.th resnet20.weights.h5 --model resnet20
    """
    from medzoo.errors import ConfigError
    from medzoo.transplant.targets import fit_options
    from medzoo.weights.align import align
    from medzoo.weights.cards import DEFAULT_MODEL
    from medzoo.weights.convert import convert
    from medzoo.weights.source import open_weights

    with mute_native_notices():
        source = open_weights(src, model or DEFAULT_MODEL, dialect=dialect)
    for note in source.notes:
        print_note(f"note: {clean(note)}")
    target = None
    if out.name.endswith(".h5") and (model or source.model):
        from medzoo.models.describe import describe

        network = model or source.model
        source = align(source, describe(network))
        target = describe(network, *fit_options(source, describe(network), None, None))
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists", "a new file", "--overwrite or another OUT")
    convert(source, out, target, to)
    names = to or ("as stored" if source.dialect == "keras" else f"Keras's, from {source.dialect}")
    print_note(f"wrote {len(source)} tensors of {source.origin}; names {names}")
    if out.name.endswith(".h5") and target is None:
        print_note("note: layers stand in the source's order: load it by_name=True, or give --model")
    click.echo(out)


@click.command("moments")
@click.argument("src")
@_DIALECT
@click.option("--out", type=click.Path(path_type=Path), help="File to write (default: SRC.moments.json).")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def moments_command(src: str, dialect: str | None, out: Path | None, overwrite: bool) -> None:
    """Measure each tensor's mean and standard deviation and write them as a moments file.

    A moments file is enough for `medzoo transplant --mode stats`, and may travel where weights may not.
    """
    from medzoo.errors import ConfigError
    from medzoo.weights.cards import DEFAULT_MODEL
    from medzoo.weights.formats.moments import write_moments
    from medzoo.weights.source import open_weights

    with mute_native_notices():
        source = open_weights(src, DEFAULT_MODEL, dialect=dialect)
    path = out or Path(f"{Path(src).name.removesuffix('.weights.h5').removesuffix('.h5')}.moments.json")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists", "a new file", "--overwrite or another --out")
    write_moments(source, path)
    print_note(f"measured {len(source)} tensors of {source.origin}")
    click.echo(path)
