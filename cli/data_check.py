"""medzoo data check: what is wrong with data, before anything is trained on them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .audit_text import print_audit
from .data_options import add_data_options, make_options
from .output import clean, print_json, print_note

if TYPE_CHECKING:
    from medzoo.data.audit.findings import Audit

_MANY = 2000  # images, from which on a person is told that decoding takes a while


@click.command("check")
@click.argument("data", metavar="DATA")
@click.option("--no-pixels", is_flag=True, help="Check the table only; no image is opened.")
@click.option(
    "--sheet", type=click.Path(path_type=Path), metavar="FILE", help="Write the pairs as pictures, a PNG."
)
@click.option("--strict", is_flag=True, help="Exit with 1 where there are errors, such as leakage.")
@add_data_options
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of missing splits."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing sheet.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON and nothing else.")
def command(
    data: str,
    no_pixels: bool,
    sheet: Path | None,
    strict: bool,
    seed: int,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Check DATA: classes per split, leakage, copies, conflicting labels, unreadable and odd images.

    Every image is decoded once. Errors are patients or copies of one picture on two sides, equal images with
    different labels, and images that cannot be read. A copy may be scaled, recompressed, brightened, mirrored or
    turned; what is shown as nearly equal should be looked at: --sheet draws the pairs, leaks first. What cannot
    be read is listed, unless --on-error fail.

    \b
    Example:
      medzoo data check breastmnist.npz --sheet pairs.png
      medzoo data check manifest.csv --patient-column subject --no-pixels
      medzoo data check images/ --strict --json > audit.json
    """
    from medzoo.data.audit.report import to_json

    options["on_error"] = options.get("on_error") or "skip"  # what is broken is what this command is to list
    _refuse_sheet(sheet, no_pixels, overwrite)
    audit = _check(data, options, seed, no_pixels, sheet)
    if as_json:
        print_json(to_json(audit))
    else:
        print_audit(audit)
    if strict and audit.errors:
        sys.exit(1)


def _check(data: str, options: dict[str, Any], seed: int, no_pixels: bool, sheet: Path | None) -> Audit:
    """Open the data, check them, and write the sheet."""
    from medzoo.data.audit.check import check_dataset, check_table
    from medzoo.data.open import open_for_audit, open_listing

    source = make_options(options, seed)
    if no_pixels:
        listing = open_listing(data, source)
        _print_notes(listing.notes)
        return check_table(listing)
    dataset = open_for_audit(data, source)
    _print_notes(dataset.notes)
    if len(dataset) >= _MANY:
        print_note(f"decoding {len(dataset):,} images")
    audit = check_dataset(dataset)
    if sheet is not None:
        _write_sheet(dataset, audit, sheet)
    return audit


def _write_sheet(dataset: Any, audit: Audit, sheet: Path) -> None:
    """Draw the pairs, unless there are none."""
    from medzoo.data.audit.contact_sheet import write_sheet

    if not audit.pairs:
        print_note("no copies: no sheet was written")
        return
    drawn = write_sheet(dataset, audit.pairs, sheet)
    print_note(f"wrote {sheet}: {drawn} of {len(audit.pairs):,} pairs")


def _refuse_sheet(sheet: Path | None, no_pixels: bool, overwrite: bool) -> None:
    """Refuse a sheet that cannot be drawn or would replace a file, before anything is read."""
    from medzoo.errors import ConfigError

    if sheet is None:
        return
    if no_pixels:
        raise ConfigError("--sheet with --no-pixels", "one of the two", "leaving out --no-pixels")
    if sheet.suffix.lower() != ".png":
        raise ConfigError(f"--sheet {sheet} is no .png", "a PNG file", f"--sheet {sheet.with_suffix('.png')}")
    if sheet.exists() and not overwrite:
        raise ConfigError(f"{sheet} exists", "a new file", "--overwrite")


def _print_notes(notes: tuple[str, ...]) -> None:
    """Print what opening the data had to say, to stderr."""
    for note in notes:
        print_note(f"note: {clean(note)}")
