"""Folders of images: class/… or split/class/…, the layout most data sets are unpacked to."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from medzoo.data.dataset import Listing
from medzoo.data.formats.images import READABLE, SUFFIXES
from medzoo.data.splitting.splits import ALIASES, UNUSED, read_split
from medzoo.errors import DataError

# What lies beside images without being one; anything else is refused rather than left out in silence.
SIDECARS = (".txt", ".csv", ".tsv", ".json", ".md", ".xml", ".html", ".pdf", ".db", ".ini")
#: A DICOM file starts with 128 bytes of anything, then this.
DICOM_MARK = b"DICM"
DICOM_START = 132
#: The table of contents of a DICOM medium: marked as DICOM, but no image.
DICOM_INDEX = "dicomdir"


def read_folder(root: Path) -> Listing:
    """List a folder's images: root/class/… or root/split/class/…; subfolders of a class are part of it.

    An image's id is its path below the root.  Hidden files and texts beside the images are skipped; files
    without a known ending are taken where they begin as DICOM does.  Raises DataError where the folder has no
    class folders, mixes splits with other folders, or holds other formats.
    """
    table = arrange_images(list_files(root), str(root), lambda name: is_dicom_file(root / name))
    return Listing(
        name=root.resolve().name, table=table, paths=tuple(root / name for name in table["id"].tolist())
    )


def arrange_images(names: Sequence[str], place: str, is_dicom: Callable[[str], bool]) -> pd.DataFrame:
    """Make a table of id (the name), label and, where the folders are splits, split from names in folders.

    `names` are those of visible files, with "/" between the parts; `place` is the folder or archive that holds
    them, for messages; `is_dicom` looks into a file whose ending says nothing.  A folder "unused" among splits is
    left out.  The rows are sorted by folder, then by name.  Raises DataError as `read_folder` does.

    >>> arrange_images(["dev/cat/2.png", "Train/cat/1.png"], "pets", lambda name: False).values.tolist()
    [['Train/cat/1.png', 'cat', 'train'], ['dev/cat/2.png', 'cat', 'validation']]
    """
    for name in names:
        if not name.isascii():
            check_text(name, place)
    files = sorted(name.split("/") for name in names)
    if not any(len(parts) > 1 for parts in files):
        raise DataError(
            f"{place} has no folders in it that hold files", "a folder per class, or per split and class"
        )
    files = [parts for parts in files if not is_sidecar(parts[-1])]
    tops = dict.fromkeys(parts[0] for parts in files if len(parts) > 1)
    splits: dict[str, str] = {}
    if any(top.lower() in ALIASES for top in tops):
        # A name that is no split among the splits raises here.
        splits = {top: read_split(top, f"{place}: folder {top!r}") for top in tops}
        files = [parts for parts in files if splits.get(parts[0]) != UNUSED]
    level = 2 if splits else 1  # the folders above an image at least
    found = [parts for parts in files if len(parts) > level]
    for parts in found:
        name = "/".join(parts)
        if not is_image(name) and not is_dicom(name):
            raise DataError(
                f"{f'{place}/{name}'!r} is of a format not read yet", READABLE, "converting it to PNG"
            )
    strays = ["/".join(parts) for parts in files if len(parts) <= level and is_image(parts[-1])]
    if strays:
        raise DataError(
            f"{place}: {len(strays)} images lie outside the class folders, such as {f'{place}/{strays[0]}'!r}",
            "every image in the folder of its class",
        )
    if not found:
        raise DataError(f"{place} holds no images in class folders", READABLE)
    columns = {"id": ["/".join(parts) for parts in found], "label": [parts[level - 1] for parts in found]}
    if splits:
        columns["split"] = [splits[parts[0]] for parts in found]
    return pd.DataFrame(columns)


def list_files(root: Path) -> list[str]:
    """List the visible files below a folder by their paths in it; links to folders are followed, but not round.

    Raises DataError for a folder that cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise DataError(
            f"cannot read folder {error.filename!r}: {error.strerror}", "a readable folder"
        ) from error

    names = []
    for folder, below, files in os.walk(root, onerror=refuse, followlinks=True):
        here = Path(folder)
        # Changing the list steers the walk; a link to a folder above would be walked without end.
        below[:] = [name for name in below if is_visible(name) and not leads_back(here / name)]
        lead = here.relative_to(root).as_posix()
        lead = "" if lead == "." else f"{lead}/"
        names += [lead + name for name in files if is_visible(name)]
    return names


def leads_back(folder: Path) -> bool:
    """Tell whether a folder is a link to one that contains it."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def check_text(name: str, place: str) -> None:
    """Refuse a file's name that is no text: it is an id, and would stand in every table."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{place}: the name {name!a} is not UTF-8", "a name that can be written") from error


def is_visible(name: str) -> bool:
    """Tell whether a file or folder is the user's, not the operating system's."""
    return not name.startswith((".", "__MACOSX"))


def is_image(name: str) -> bool:
    """Tell whether a file's ending is that of an image."""
    return name.lower().endswith(tuple(SUFFIXES))


def is_sidecar(name: str) -> bool:
    """Tell whether a file is one that lies beside images by right."""
    return name.lower().endswith(SIDECARS) or name.lower() == DICOM_INDEX


def is_dicom_file(path: Path) -> bool:
    """Tell whether a file begins as DICOM does."""
    try:
        with path.open("rb") as stream:
            return is_dicom_start(stream.read(DICOM_START))
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {error.strerror}", "a readable file") from error


def is_dicom_start(start: bytes) -> bool:
    """Tell whether a file's first 132 bytes are those of DICOM."""
    return start[-len(DICOM_MARK) :] == DICOM_MARK and len(start) == DICOM_START
