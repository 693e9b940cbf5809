"""Which kind of source a name or a path is, and what it lists."""

from __future__ import annotations

from pathlib import Path

from medzoo.data.containers.archives import is_archive, read_archive
from medzoo.data.containers.folder import read_folder
from medzoo.data.containers.medmnist import open_medmnist, read_medmnist
from medzoo.data.containers.tfds import read_tfds
from medzoo.data.containers.tfrecord import find_records, is_tfrecord, read_tfrecords
from medzoo.data.dataset import Dataset, Listing
from medzoo.data.options import SourceOptions
from medzoo.data.phantom import make_phantom
from medzoo.data.tables.cells import PARQUET_SUFFIXES
from medzoo.data.tables.manifest import read_manifest
from medzoo.errors import DataError

PHANTOM = "phantom"
TABLES = (".csv", *PARQUET_SUFFIXES)
SOURCES = (
    "'phantom', a CSV or Parquet table, a folder of class folders or a zip or tar of one, a MedMNIST .npz, "
    "'medmnist:NAME', TFRecords or 'tfds:NAME'"
)


def read_source(source: str | Path, options: SourceOptions) -> Listing | Dataset:
    """Read what a source lists, or its arrays where it has no image files."""
    path, name = Path(source), str(source)
    is_table = path.suffix.lower() in TABLES and path.is_file()
    given = options.list_given()
    if given and not is_table and (path.exists() or name == PHANTOM or ":" in name):
        option = "--" + given[0].replace("_", "-")
        raise DataError(
            f"{option} does not apply to {source}", "a CSV or Parquet table", f"leaving out {option}"
        )
    if name == PHANTOM:
        return make_phantom(options.seed)
    if name.startswith("medmnist:") and not path.exists():
        return open_medmnist(name, options.seed)
    if name.startswith("tfds:") and not path.exists():
        return read_tfds(name)
    if not path.exists():
        raise DataError(f"no file or folder {name!r}", SOURCES)
    if path.is_dir():
        return list_folder(path)
    if is_table:
        folder = options.image_folder
        if folder is not None and not folder.is_dir():
            raise DataError(f"no folder {str(folder)!r}", "the folder of the images", "--image-folder FOLDER")
        return read_manifest(path, options)
    if path.suffix.lower() == ".npz":
        return read_medmnist(path, options.seed)
    if is_archive(path):
        return read_archive(path)
    if is_tfrecord(path):
        return read_tfrecords(path)
    raise DataError(f"{name!r} is no kind of data set known here", SOURCES)


def list_folder(path: Path) -> Listing:
    """List a folder of class folders or of TFRecords; where it is neither but holds a table, that is named."""
    if find_records(path):
        return read_tfrecords(path)
    tables = sorted(file for ending in (*TABLES, ".npz") for file in path.glob(f"*{ending}"))
    try:
        listing = read_folder(path)
        if tables and listing.table["label"].nunique() == 1:  # images/ beside their table is no class
            raise DataError(f"{path} has a single folder of images", "a folder for each class")
        return listing
    except DataError as error:
        if not tables:
            raise
        raise DataError(error.found, error.expected, f"the table '{tables[0]}', which lies in it") from error
