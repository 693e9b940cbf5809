"""`open_dataset`: one function for every kind of source."""

from __future__ import annotations

from pathlib import Path

from medzoo.data.dataset import BYTE_RANGE, Dataset, Listing, sort_classes
from medzoo.data.folder import read_folder
from medzoo.data.images import survey_images
from medzoo.data.manifest import read_manifest
from medzoo.data.medmnist import read_medmnist
from medzoo.data.phantom import make_phantom
from medzoo.data.splits import complete_splits
from medzoo.errors import DataError

SOURCES = "'phantom', a CSV manifest, a MedMNIST .npz, or a folder of class folders"


def open_dataset(
    source: str | Path,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    patient_column: str | None = None,
    image_folder: str | Path | None = None,
    seed: int = 0,
) -> Dataset:
    """Open a data set: "phantom", a MedMNIST .npz, a .csv manifest, or a folder (class/… or split/class/…).

    The columns and the image folder are a manifest's; `seed` draws the phantom and the splits that the source
    does not give.  Every file's header is checked, so that a missing or foreign file is met before training.
    Raises DataError for anything that cannot be used as it is.

    >>> open_dataset("phantom").table["split"].value_counts().to_dict()
    {'train': 4000, 'test': 4000, 'validation': 1000}
    """
    options = {
        "image_column": image_column,
        "label_column": label_column,
        "split_column": split_column,
        "patient_column": patient_column,
    }
    path = Path(source)
    is_manifest = path.suffix.lower() == ".csv" and path.is_file()
    given = [name for name, value in {**options, "image_folder": image_folder}.items() if value is not None]
    if given and not is_manifest and (path.exists() or str(source) == "phantom"):
        option = "--" + given[0].replace("_", "-")
        raise DataError(f"{option} does not apply to {source}", "a CSV manifest", f"leaving out {option}")
    if str(source) == "phantom":
        return make_phantom(seed)
    if not path.exists():
        raise DataError(f"no file or folder {str(source)!r}", SOURCES)
    if is_manifest:
        folder = None if image_folder is None else Path(image_folder)
        if folder is not None and not folder.is_dir():
            raise DataError(f"no folder {str(folder)!r}", "the folder of the images", "--image-folder FOLDER")
        return survey_listing(read_manifest(path, **options, image_folder=folder), seed)
    if path.is_dir():
        return open_folder(path, seed)
    if path.suffix.lower() == ".npz":
        return read_medmnist(path, seed)
    raise DataError(f"{str(source)!r} is no kind of data set known here", SOURCES)


def open_folder(path: Path, seed: int) -> Dataset:
    """Open a folder of class folders; where it is none but holds a table or an archive, the refusal names that."""
    try:
        return survey_listing(read_folder(path), seed)
    except DataError as error:
        tables = sorted([*path.glob("*.csv"), *path.glob("*.npz")])
        if not tables:
            raise
        raise DataError(error.found, error.expected, f"--data '{tables[0]}', which lies in it") from error


def survey_listing(listing: Listing, seed: int) -> Dataset:
    """Complete a listing's splits, check its files' headers, and make it a data set."""
    table, notes = complete_splits(listing.table, seed, listing.name)
    survey = survey_images(listing.paths, listing.rows)
    if survey.wide:
        notes = (*notes, f"16-bit images: {survey.wide}; their 0…65535 is read as 0…255, with fractions kept")
    leading = ["id", "split", "label", *(["patient"] if "patient" in table else [])]
    return Dataset(
        name=listing.name,
        classes=sort_classes(table["label"]),
        table=table[[*leading, *(column for column in table if column not in leading)]],
        channels=survey.channels,
        size=survey.size,
        value_range=BYTE_RANGE,
        paths=listing.paths,
        decoder=survey.decoder,
        notes=(*listing.notes, *notes),
    )
