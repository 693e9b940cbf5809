"""Images that a network is to judge, with labels where they have any: nothing that only training needs is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from medzoo.data.containers.archives import (
    find_shared_folder,
    is_archive,
    is_dicom_member,
    list_members,
    make_bundle,
    name_archive,
)
from medzoo.data.containers.folder import (
    arrange_images,
    check_text,
    is_dicom_file,
    is_image,
    is_sidecar,
    list_files,
)
from medzoo.data.containers.tfrecord import find_records, is_tfrecord
from medzoo.data.dataset import Dataset, Listing
from medzoo.data.formats.images import READABLE, find_unreadable
from medzoo.data.formats.windows import parse_window
from medzoo.data.open import choose_listed, make_dataset, open_source, survey_headers
from medzoo.data.options import SourceOptions
from medzoo.data.question import WITHOUT_LABELS, Question, answer
from medzoo.data.sources import PHANTOM, TABLES, read_source
from medzoo.data.splitting.splits import ALIASES, UNUSED
from medzoo.data.tables.partial import read_partial
from medzoo.errors import ConfigError, DataError, nearest

#: The split of images that no source gives one: nobody trained on them.
NEW_SPLIT = "test"
SOURCES = "an image or a DICOM file, a folder or archive of them, a CSV or Parquet table, or what medzoo train takes"


def open_unlabelled(source: str | Path, options: SourceOptions, question: Question) -> Dataset:
    """Open images that are to be judged: any source of `open_dataset`, and images without classes or labels.

    These are a single file, a folder or an archive of images in any arrangement, or a table without labels.
    Folders are classes where they are named as the question's.  `marks` (n, k) hold what is known of the
    question's classes: 1, 0, or NaN for what is not known.  Images without a split are "test": none is dealt.
    Raises DataError for what cannot be read and for labels of other classes, ConfigError for options that do not fit.
    """
    if options.positive is not None:
        raise ConfigError(
            f"--positive {options.positive}", "the order of the run's classes", "leaving out --positive"
        )
    for text in options.windows:
        parse_window(text)
    found = list_source(source, options, question)
    if isinstance(found, Dataset):
        return answer(found, question)
    chosen = choose_listed(found, options)
    dataset = survey(chosen, options)
    return answer(dataset, question)


def list_source(source: str | Path, options: SourceOptions, question: Question) -> Listing | Dataset:
    """List a source's images, with what they say about labels."""
    path, name = Path(source), str(source)
    if name == PHANTOM or (":" in name and not path.exists()):
        return open_source(source, options)
    if not path.exists():
        raise DataError(f"no file or folder {name!r}", SOURCES)
    if path.suffix.lower() in TABLES and path.is_file():
        if options.image_folder is not None and not options.image_folder.is_dir():
            raise DataError(
                f"no folder {str(options.image_folder)!r}",
                "the folder of the images",
                "--image-folder FOLDER",
            )
        return read_partial(path, options, question)
    given = options.list_given()
    if given:
        option = "--" + given[0].replace("_", "-")
        raise DataError(
            f"{option} does not apply to {source}", "a CSV or Parquet table", f"leaving out {option}"
        )
    if path.is_dir():
        return read_source(path, options) if find_records(path) else list_folder(path, options, question)
    if is_archive(path):
        return list_archive(path, options, question)
    if path.suffix.lower() == ".npz":
        return open_source(path, options)
    if is_image(path.name):
        return list_single(path)
    if is_tfrecord(path):
        return read_source(path, options)
    if is_dicom_file(path):
        return list_single(path)
    raise DataError(f"{name!r} is no kind of image or data set known here", SOURCES)


def list_single(path: Path) -> Listing:
    """List one image file."""
    return Listing(
        name=path.name, table=pd.DataFrame({"id": [path.name], "label": [""]}, dtype=object), paths=(path,)
    )


def list_folder(root: Path, options: SourceOptions, question: Question) -> Listing:
    """List the images below a folder, in class folders or in any arrangement."""
    tables = sorted(file.name for ending in (*TABLES, ".npz") for file in root.glob(f"*{ending}"))
    table, notes, skipped = arrange_any(
        list_files(root), str(root), lambda name: is_dicom_file(root / name), options, question, tables
    )
    if tables:
        notes = (
            *notes,
            f"{root.name}: the labels in {tables[0]} are not read; --data '{root / tables[0]}' does",
        )
    return Listing(
        name=root.resolve().name,
        table=table,
        paths=tuple(root / name for name in table["id"].tolist()),
        notes=notes,
        skipped=skipped,
    )


def list_archive(path: Path, options: SourceOptions, question: Question) -> Listing:
    """List the images of a zip or tar archive, in class folders or in any arrangement; ids are members' names."""
    known = list_members(path)
    shared = find_shared_folder(list(known)) if known else ""
    table, notes, skipped = arrange_any(
        [name.removeprefix(shared) for name in known],
        str(path),
        lambda name: is_dicom_member(path, known[shared + name]),
        options,
        question,
    )
    table["id"] = [shared + name for name in table["id"]]
    chosen = [known[name] for name in table["id"]]
    return Listing(
        name=name_archive(path),
        table=table,
        paths=tuple(path / member.name for member in chosen),
        notes=notes,
        bundle=make_bundle(path, chosen),
        skipped=skipped,
    )


def arrange_any(
    names: Sequence[str],
    place: str,
    is_dicom: Callable[[str], bool],
    options: SourceOptions,
    question: Question,
    tables: Sequence[str] = (),
) -> tuple[pd.DataFrame, tuple[str, ...], tuple[str, ...]]:
    """Make a table of id, label and, in class folders below splits, split; with notes and what was left out.

    Folders are classes where one of them is named as one of the question's: then all must be.  Else their names
    mean nothing, and every image below is taken, its label "".
    Raises DataError where there are no images, for other formats, and for folders of which some are classes.
    """
    for name in names:
        if not name.isascii():
            check_text(name, place)
    files = sorted(name.split("/") for name in names if not is_sidecar(name.rpartition("/")[2]))
    notes: tuple[str, ...] = ()
    folders = list_class_folders(files)
    if not question.ignore_labels and question.exclusive and folders:
        if are_classes(folders, question.classes, place):
            return arrange_images(names, place, is_dicom), (), ()
        shown = ", ".join(map(repr, folders[:3])) + (", …" if len(folders) > 3 else "")
        notes = (f"{place}: folders ({shown}) are not named as classes of the run: no labels are known",)
    images, skipped = [], []
    for parts in files:
        name = "/".join(parts)
        if is_image(name) or is_dicom(name):
            images.append(name)
        elif options.on_error == "skip":
            skipped.append(f"{f'{place}/{name}'!r} is of a format not read yet")
        else:
            raise DataError(f"{f'{place}/{name}'!r} is of a format not read yet", READABLE, "--on-error skip")
    if not images:
        remedy = f"--data '{Path(place) / tables[0]}', which lies in it" if tables else ""
        raise DataError(f"{place} holds no images", READABLE, remedy)
    return pd.DataFrame({"id": images, "label": [""] * len(images)}, dtype=object), notes, tuple(skipped)


def list_class_folders(files: Sequence[Sequence[str]]) -> list[str]:
    """List the folders that would be classes: the first, or the second below folders named as splits.

    >>> list_class_folders([["train", "cat", "1.png"], ["val", "dog", "2.png"]])
    ['cat', 'dog']
    """
    tops = {parts[0].lower() for parts in files if len(parts) > 1}
    level = 1 if tops and tops <= {*ALIASES, UNUSED} else 0
    return sorted({parts[level] for parts in files if len(parts) > level + 1})


def are_classes(folders: Sequence[str], classes: Sequence[str], place: str) -> bool:
    """Tell whether folders are named as classes: all of them, or none.

    Raises DataError where some are, or are but for capitals.
    """
    strangers = [name for name in folders if name not in classes]
    folded = {name.casefold(): name for name in classes}
    alike = next((name for name in strangers if name.casefold() in folded), None)
    if alike is not None:
        raise DataError(
            f"{place}: folder {alike!r} is the run's class {folded[alike.casefold()]!r} but for capitals",
            "one spelling of each class",
            f"renaming it, or {WITHOUT_LABELS}",
        )
    if strangers and len(strangers) < len(folders):
        raise DataError(
            f"{place}: folder {strangers[0]!r} is no class of the run, as others are",
            nearest(strangers[0], classes),
            WITHOUT_LABELS,
        )
    return not strangers


def survey(listing: Listing, options: SourceOptions) -> Dataset:
    """Read the headers of a listing's images and make it a data set, in which labels may be missing."""
    found = survey_headers(listing, options)
    lost = {position for position, _ in found.unreadable}
    skipped = (*listing.skipped, *(str(error) for _, error in found.unreadable))
    if lost:
        listing = listing.take(np.array([row for row in range(len(listing.table)) if row not in lost], int))
    table = listing.table if "split" in listing.table else listing.table.assign(split=NEW_SPLIT)
    complete = replace(listing, notes=(*listing.notes, *found.notes), skipped=skipped)
    return make_dataset(complete, table, found, options)


def leave_out_broken(dataset: Dataset) -> Dataset:
    """Decode every image, and leave out those that cannot be; each is named in `skipped`.

    Raises DataError where none is left.
    """
    broken = dict(find_unreadable(dataset))
    if not broken:
        return dataset
    kept = np.array([row for row in range(len(dataset)) if row not in broken], int)
    if not len(kept):
        raise DataError(f"no image of {dataset.name} can be read; the first: {broken[0]}", READABLE)
    return replace(dataset.take(kept), skipped=(*dataset.skipped, *broken.values()))
