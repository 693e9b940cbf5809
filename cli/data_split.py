"""medzoo data split: patients dealt to splits, fractions, subsets or folds, written as a manifest."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .data_options import add_data_options, make_options
from .output import clean, print_columns, print_json, print_note

if TYPE_CHECKING:
    from medzoo.data.splitting.split_files import Written
    from medzoo.data.splitting.split_wishes import Count, SideCount

_ORDER = ("train", "validation", "test", "unused")
_MOST_SKIPPED = 5
#: The options of the data that say which rows and labels there are.
_LAID = (
    *("image_column", "label_column", "label_columns", "split_column", "patient_column", "image_folder"),
    *("uncertain", "blank", "on_error"),
)


@click.command("split")
@click.argument("data", metavar="DATA")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="splits.csv",
    show_default=True,
    help="The CSV file to write.",
)
@click.option(
    "--fractions",
    metavar="P,P,P",
    help="Shares of training, validation and test patients  [default: 70,10,20].",
)
@click.option("--nested", is_flag=True, help="Add nested fractions: 1, 2, 5, 10, 20, 50, 100 % of training.")
@click.option("--size", type=click.IntRange(min=1), metavar="N", help="Keep at most N training images.")
@click.option("--shots", type=click.IntRange(min=1), metavar="K", help="Keep K training images per class.")
@click.option("--folds", type=click.IntRange(min=2), metavar="K", help="Deal the patients to K folds.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draws.")
@click.option("--resplit", is_flag=True, help="Deal anew what has splits; otherwise they are kept.")
@click.option("--keep-test", is_flag=True, help="Keep the given test split and deal the other patients anew.")
@add_data_options
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def command(
    data: str,
    out: Path,
    fractions: str | None,
    nested: bool,
    size: int | None,
    shots: int | None,
    folds: int | None,
    seed: int,
    resplit: bool,
    keep_test: bool,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Split DATA by patient, stratified by label, and write who is where.

    No patient stands on two sides. The same seed gives the same file, whatever the order of the rows. Images that
    a subset leaves out have the split `unused`. Train on the file itself, `--data splits.csv`, or where the images
    lie in an archive, `--data DATA --splits splits.csv`; then `--fraction P` takes P % of the training patients of
    a file with `--nested`, and `--test-fold N` tests fold N, validates on the next and trains on the others. A test
    split that the data have stays out of the folds: then fold N validates.

    \b
    Example:
      medzoo data split manifest.csv --patient-column subject --nested
      medzoo data split manifest.csv --resplit --fractions 60,20,20 --seed 1 --out other.csv
      medzoo data split images/ --folds 5
      medzoo data split breastmnist.npz --shots 10
    """
    from medzoo.data.open import open_listing
    from medzoo.data.splitting.split_files import refuse_existing, write_split_file
    from medzoo.data.splitting.split_wishes import SplitWish, count_sides, make_splits
    from medzoo.errors import ConfigError

    wish = SplitWish(_read_shares(fractions), nested, size, shots, folds, seed, resplit, keep_test)
    wish.check()
    if out.suffix.lower() != ".csv":
        raise ConfigError(f"--out {out} is no .csv", "a CSV file", f"--out {out.with_suffix('.csv')}")
    refuse_existing(out, overwrite)  # before anything is read
    listing = open_listing(data, make_options(options, seed))
    table, notes = make_splits(listing, wish)
    has_files = bool(listing.paths) and listing.bundle is None
    written = write_split_file(
        out,
        table,
        paths=listing.paths if has_files else (),
        classes=listing.classes,
        marks=listing.marks,
        overwrite=overwrite,
    )
    notes = (*listing.notes, *notes, _say_use(data, out, has_files, written, options))
    counts = {name: count_sides(table, name) for name in ("split", "fraction", "fold") if name in table}
    if "fraction" in counts:
        counts["fraction"] = _accumulate(counts["fraction"])
    if as_json:
        content = {"file": str(out), "seed": seed, "counts": counts, "notes": notes}
        print_json(content | {"skipped": listing.skipped})
        return
    _print_skipped(listing.skipped)
    for note in notes:
        print_note(f"note: {clean(note)}")
    has_patients = "patient" in table
    _print_counts(counts["split"], [side for side in _ORDER if side in counts["split"]], "", has_patients)
    for name, unit in (("fraction", " %"), ("fold", "")):
        if name in counts:
            click.echo()
            sides = sorted((side for side in counts[name] if side), key=float)
            title = "training" if name == "fraction" else name
            _print_counts(counts[name], sides, title, has_patients, unit)
    click.echo(clean(f"wrote {out}: {len(table):,} images, seed {seed}"))


def _read_shares(text: str | None) -> tuple[float, ...] | None:
    """Read `70,10,20`."""
    if text is None:
        return None
    from medzoo.errors import ConfigError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--fractions {text}", "numbers between commas", "--fractions 70,10,20") from error


def _print_skipped(skipped: Sequence[str]) -> None:
    """Print how many rows were left out because of an error, and the first of them."""
    if skipped:
        print_note(f"note: rows left out that cannot be used: {len(skipped):,}")
    for line in skipped[:_MOST_SKIPPED]:
        print_note(f"  {clean(line)}")
    if len(skipped) > _MOST_SKIPPED:
        print_note(f"  and {len(skipped) - _MOST_SKIPPED:,} more (--json lists them)")


def _repeat_options(options: Mapping[str, Any]) -> str:
    """Write the options again by which the data were read, as their splits are laid over what these give."""
    words: list[str] = []
    for name in _LAID:
        value = options.get(name)
        for text in value if isinstance(value, tuple) else (value,):
            words += [f"--{name.replace('_', '-')}", text] if text else []
    return "".join(f" {shlex.quote(word)}" for word in words)


def _say_use(data: str, out: Path, has_files: bool, written: Written, options: Mapping[str, Any]) -> str:
    """Say how to train on the file."""
    laid = f"--data {shlex.quote(data)}{_repeat_options(options)} --splits {shlex.quote(str(out))}"
    if not has_files:
        return f"train with {laid}"
    alone = f"--data {shlex.quote(str(out))}"
    if written.image_folder is not None:
        alone += f" --image-folder {shlex.quote(str(written.image_folder))}"
    for column in written.columns:
        alone += f" --{column}-column {column}"
    if written.label_columns:
        alone += f" --label-columns {shlex.quote(','.join(written.label_columns))}"
    return f"train with {alone}, or {laid}"


def _accumulate(counts: Mapping[str, SideCount]) -> dict[str, SideCount]:
    """Add up the counts of nested fractions: each holds those before it. A patient enters one of them only."""
    images, patients = 0, 0
    labels: dict[str, Count] = {}
    summed: dict[str, SideCount] = {}
    for level in sorted((side for side in counts if side), key=float):
        added = counts[level]
        images, patients = images + added["images"], patients + added["patients"]
        labels = labels | {label: _add(labels.get(label), count) for label, count in added["labels"].items()}
        summed[level] = {"images": images, "patients": patients, "labels": labels}
    return summed


def _add(first: Count | None, second: Count) -> Count:
    """Add two counts, the first of which may be none."""
    if first is None:
        return second
    return {
        "images": first["images"] + second["images"],
        "patients": first["patients"] + second["patients"],
    }


def _print_counts(
    counts: Mapping[str, SideCount], sides: Sequence[str], title: str, has_patients: bool, unit: str = ""
) -> None:
    """Print a row for each label and a column for each side: images, and in brackets patients where known."""
    labels = sorted(
        {label for side in sides for label in counts[side]["labels"]}, key=lambda name: (not name, name)
    )
    rows = [
        (
            label or "(no label)",
            *(_write_count(counts[side]["labels"].get(label), has_patients) for side in sides),
        )
        for label in labels
    ]
    rows.append(("all", *(_write_count(counts[side], has_patients) for side in sides)))
    what = "images (patients)" if has_patients else "images"
    header = (f"{title} {what}".strip(), *(f"{side}{unit}" for side in sides))
    print_columns(header, rows, numbers=range(1, len(header)))


def _write_count(count: Count | None, has_patients: bool) -> str:
    """Write images, and in brackets patients."""
    if count is None:
        return "0"
    return f"{count['images']:,}" + f" ({count['patients']:,})" * has_patients
