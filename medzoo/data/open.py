"""`open_dataset`: one function for every kind of source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medzoo.data.dataset import BYTE_RANGE, Dataset, Listing, sort_classes
from medzoo.data.formats.images import Survey, survey_images
from medzoo.data.formats.windows import choose_frames, parse_window
from medzoo.data.options import SourceOptions, make_source_options
from medzoo.data.reading import Reading
from medzoo.data.sources import read_source
from medzoo.data.splitting.split_files import apply_split_file
from medzoo.data.splitting.splits import check_splits, complete_splits, count_classes, list_labels
from medzoo.data.splitting.subsets import Choice, choose_rows
from medzoo.errors import ConfigError, DataError, nearest


def open_dataset(
    source: str | Path,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    split_column: str | None = None,
    patient_column: str | None = None,
    group_columns: Sequence[str] | None = None,
    image_folder: str | Path | None = None,
    uncertain: str | Mapping[str, str] | None = None,
    blank: str | Mapping[str, str] | None = None,
    positive: str | None = None,
    windows: Sequence[str] | None = None,
    frame: str | int | None = None,
    splits: str | Path | None = None,
    fraction: float | None = None,
    fold: int | None = None,
    on_error: str = "fail",
    seed: int = 0,
) -> Dataset:
    """Open a data set: a table, a folder or archive of class folders, MedMNIST, TFRecords, TFDS or the phantom.

    The columns, the image folder and the rules for uncertain and blank labels ("ones", "zeros", "ignore", "keep",
    for all labels or by label) are a table's.  `windows` ("lung", "40/400", …) and `frame` ("first", "middle",
    "all" or a number) say how DICOM, NIfTI and files of many pages become images.  `splits` is a file of `medzoo
    data split`; `fraction` and `fold` choose among its rows.  `seed` draws the phantom and the splits that the
    source does not give.  Every image's header is read, so that a missing or foreign file is met before training;
    under `on_error="skip"` such rows are left out and listed in `skipped`.
    Raises DataError for anything that cannot be used as it is, ConfigError for an option that does not fit.

    >>> open_dataset("phantom").table["split"].value_counts().to_dict()
    {'train': 4000, 'test': 4000, 'validation': 1000}
    """
    settings: dict[str, Any] = {
        "image_column": image_column,
        "label_column": label_column,
        "label_columns": label_columns,
        "split_column": split_column,
        "patient_column": patient_column,
        "group_columns": group_columns,
        "image_folder": image_folder,
        "uncertain": uncertain,
        "blank": blank,
        "positive": positive,
        "windows": windows,
        "frame": frame,
        "splits": splits,
        "fraction": fraction,
        "fold": fold,
        "on_error": on_error,
        "seed": seed,
    }
    return open_source(source, make_source_options(settings))


def open_source(source: str | Path, options: SourceOptions) -> Dataset:
    """Open a data set as `open_dataset` does, by options that are made already."""
    for text in options.windows:
        parse_window(text)  # a name that is none is cheaper to refuse than a folder to list
    found = read_source(source, options)
    if isinstance(found, Listing):
        dataset = survey_listing(choose_listed(found, options), options)
    else:
        dataset = choose_frame(choose_loaded(found, options), options)
    return put_positive_last(dataset, options.positive)


def open_for_audit(source: str | Path, options: SourceOptions) -> Dataset:
    """Open a data set as `open_source` does, also where it cannot be trained on: a class of one image, no test rows."""
    found = read_source(source, options)
    if not isinstance(found, Listing):
        return open_source(source, options)
    return put_positive_last(survey_listing(choose_listed(found, options), options, True), options.positive)


def open_listing(source: str | Path, options: SourceOptions) -> Listing:
    """List a source without reading images or their headers; splits are those that it gives, or none.

    Raises DataError and ConfigError as `open_dataset` does.

    >>> len(open_listing("phantom", SourceOptions()).table)
    9000
    """
    found = read_source(source, options)
    if isinstance(found, Listing):
        return choose_listed(found, options)
    dataset = choose_loaded(found, options)
    return Listing(dataset.name, dataset.table, (), (), dataset.notes, dataset.classes, dataset.marks)


def choose_listed(listing: Listing, options: SourceOptions) -> Listing:
    """Keep the rows of a listing that a split file, a fraction or a fold chooses, under the splits these give."""
    if options.splits is None and options.fraction is None and options.fold is None:
        return listing
    choice = _choose(listing.table, options, len(listing.skipped))
    chosen = listing.take(choice.rows)
    table = chosen.table if choice.split is None else chosen.table.assign(split=choice.split.to_numpy())
    return replace(chosen, table=table, notes=(*listing.notes, *choice.notes))


def choose_loaded(dataset: Dataset, options: SourceOptions) -> Dataset:
    """Keep the rows of a data set in memory as `choose_listed` does those of a listing."""
    if options.splits is None and options.fraction is None and options.fold is None:
        return dataset
    choice = _choose(dataset.table, options, 0)
    chosen = dataset.take(choice.rows)
    table = chosen.table if choice.split is None else chosen.table.assign(split=choice.split.to_numpy())
    check_splits(table, dataset.name, dataset.exclusive)
    return replace(chosen, table=table, notes=(*dataset.notes, *choice.notes))


def _choose(table: Any, options: SourceOptions, missing: int) -> Choice:
    """Choose rows by a split file, or by the table's own columns."""
    if options.splits is None:
        return choose_rows(table, options.fraction, options.fold)
    return apply_split_file(
        table, options.splits, fraction=options.fraction, fold=options.fold, missing=missing
    )


def survey_listing(listing: Listing, options: SourceOptions, lenient: bool = False) -> Dataset:
    """Complete a listing's splits, read its images' headers, and make it a data set.

    If `lenient`, what cannot be trained on is made one too, for an audit: its notes say why.
    """
    exclusive = listing.marks is None
    try:
        table, notes = complete_splits(
            listing.table,
            options.seed,
            listing.name,
            exclusive=exclusive,
            classes=listing.classes,
            marks=listing.marks,
        )
    except DataError as error:
        if not lenient:
            raise
        table = listing.table if "split" in listing.table else listing.table.assign(split="train")
        notes = (f"cannot be trained on as it is: {error}",)
    survey = survey_headers(listing, options)
    # Dropped after the split was dealt: one broken file must not move other patients.
    lost = {position for position, _ in survey.unreadable}
    kept = np.array([row for row in range(len(table)) if row not in lost], int)
    skipped = (*listing.skipped, *(str(error) for _, error in survey.unreadable))
    if lost:
        whole, listing, table = table, listing.take(kept), table.iloc[kept].reset_index(drop=True)
        try:
            refuse_lost(whole, table, listing, skipped)
        except DataError as error:
            if not lenient:
                raise
            notes = (*notes, f"cannot be trained on as it is: {error}")
    notes = (*listing.notes, *notes, *survey.notes)
    classes = listing.classes or sort_classes(table["label"])
    return make_dataset(
        replace(listing, notes=notes, classes=classes, skipped=skipped), table, survey, options
    )


def read_how(options: SourceOptions) -> Reading:
    """Give how the options want stored values read, before the number of channels is known."""
    frame = "middle" if options.frame is None else options.frame  # 0 is a frame
    return Reading(1, tuple(map(parse_window, options.windows)), frame)


def survey_headers(listing: Listing, options: SourceOptions) -> Survey:
    """Read the headers of a listing's images."""
    return survey_images(listing.paths, listing.rows, listing.bundle, read_how(options), options.on_error)


def make_dataset(listing: Listing, table: pd.DataFrame, survey: Survey, options: SourceOptions) -> Dataset:
    """Make a data set of a listing whose notes and skipped rows are complete, its table with splits and its headers."""
    leading = ["id", "split", "label", *(["patient"] if "patient" in table else [])]
    return Dataset(
        name=listing.name,
        classes=listing.classes,
        table=table[[*leading, *(column for column in table if column not in leading)]],
        channels=survey.channels,
        size=survey.size,
        value_range=BYTE_RANGE,
        paths=listing.paths,
        decoder=survey.decoder,
        notes=listing.notes,
        marks=listing.marks,
        bundle=listing.bundle,
        reading=replace(read_how(options), channels=survey.channels),
        skipped=listing.skipped,
        rows=listing.rows,
    )


def refuse_lost(
    whole: pd.DataFrame, table: pd.DataFrame, listing: Listing | Dataset, skipped: Sequence[str]
) -> None:
    """Refuse data of which skipping left a class or a split no image, or a label one value: that is another task.

    `whole` and `table` are the rows before and after; `listing` has the classes and the marks of the latter.
    """
    exclusive = listing.marks is None
    lost = sorted(list_labels(whole["label"], exclusive) - list_labels(table["label"], exclusive))
    if lost:
        raise DataError(
            f"{listing.name}: no image of {lost[0]!r} can be read; {len(skipped):,} rows were skipped, the first: "
            + skipped[0].split("; expected")[0],
            "some images of every class",
            "--image-folder FOLDER, or leaving that class out",
        )
    count_classes(table, listing.name, exclusive, listing.classes, listing.marks)
    check_splits(table, listing.name, exclusive)


def choose_frame(dataset: Dataset, options: SourceOptions) -> Dataset:
    """Take a slice of volumes in memory where one is asked for; else volumes stay whole.

    Raises ConfigError for windows, which are of files' own units, and DataError for a slice of what is no volume.
    """
    if options.windows:
        raise ConfigError(
            f"--window does not apply to {dataset.name}",
            "DICOM, NIfTI or 16-bit files",
            "leaving out --window",
        )
    if options.frame in (None, "all"):
        return dataset
    if dataset.images is None or not dataset.is_volume:
        raise DataError(f"--frame does not apply to {dataset.name}", "volumes", "leaving out --frame")
    (slice_,) = choose_frames(dataset.images.shape[1], Reading(frame=options.frame), dataset.name)
    return replace(
        dataset,
        images=np.ascontiguousarray(dataset.images[:, slice_]),
        size=dataset.size[1:],
        notes=(*dataset.notes, f"slice {slice_ + 1} of {dataset.size[0]} of each volume is the image"),
    )


def put_positive_last(dataset: Dataset, positive: str | None) -> Dataset:
    """Make a class the positive one of two: the last."""
    if positive is None:
        return dataset
    if positive not in dataset.classes:
        raise ConfigError(f"no class {positive!r} in {dataset.name}", nearest(positive, dataset.classes))
    if not dataset.exclusive or len(dataset.classes) != 2:
        raise ConfigError(
            f"--positive for {len(dataset.classes)} {'classes' if dataset.exclusive else 'labels'}",
            "two exclusive classes",
            "leaving it out: each is told from the others",
        )
    return replace(dataset, classes=(*(name for name in dataset.classes if name != positive), positive))
