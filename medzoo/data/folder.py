"""Folders of images: class/… or split/class/…, the layout most data sets are unpacked to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from medzoo.data.dataset import Listing
from medzoo.data.images import READABLE, SUFFIXES
from medzoo.data.splits import ALIASES, read_split
from medzoo.errors import DataError

# What lies beside images without being one; anything else is refused rather than left out in silence.
SIDECARS = frozenset({".txt", ".csv", ".tsv", ".json", ".md", ".xml", ".html", ".pdf", ".db", ".ini"})


def read_folder(root: Path) -> Listing:
    """List a folder's images: root/class/… or root/split/class/…; subfolders of a class are part of it.

    An image's id is its path below the root.  Hidden files and texts beside the images are skipped.  Raises
    DataError where the folder has no class folders, mixes splits with other folders, or holds other formats.
    """
    tops = list_folders(root)
    if not tops:
        raise DataError(f"{root} has no folders in it", "a folder per class, or per split and class")
    splitting = [top.name for top in tops if top.name.lower() in ALIASES]
    if splitting:
        # A name that is no split among the splits raises here.
        splits = [read_split(top.name, f"{root}: folder {top.name!r}") for top in tops]
        classes = [
            (split, folder) for split, top in zip(splits, tops, strict=True) for folder in list_folders(top)
        ]
    else:
        classes = [("", top) for top in tops]
    found = [(split, folder.name, path) for split, folder in classes for path in list_images(folder)]
    refuse_strays(root, [*([root] if not splitting else [root, *tops])])
    if not found:
        raise DataError(f"{root} holds no images in class folders", READABLE)
    table = pd.DataFrame(
        {
            "id": [path.relative_to(root).as_posix() for _, _, path in found],
            "label": [label for _, label, _ in found],
        }
    )
    if splitting:
        table["split"] = [split for split, _, _ in found]
    return Listing(name=root.resolve().name, table=table, paths=tuple(path for _, _, path in found))


def list_folders(folder: Path) -> list[Path]:
    """List the visible folders in a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_visible(path))


def list_images(folder: Path) -> Iterator[Path]:
    """Yield the images below a class folder in sorted order, and refuse files of other formats."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or not all(is_visible(Path(part)) for part in path.relative_to(folder).parts):
            continue
        if path.suffix.lower() in SUFFIXES:
            yield path
        elif path.suffix.lower() not in SIDECARS:
            raise DataError(f"{str(path)!r} is of a format not read yet", READABLE, "converting it to PNG")


def refuse_strays(root: Path, folders: list[Path]) -> None:
    """Refuse images that lie beside the class folders, where they have no label."""
    strays = [
        path for folder in folders for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES
    ]
    strays = [path for path in strays if path.is_file() and is_visible(path)]
    if strays:
        raise DataError(
            f"{root}: {len(strays)} images lie outside the class folders, such as {str(strays[0])!r}",
            "every image in the folder of its class",
        )


def is_visible(path: Path) -> bool:
    """Tell whether a file or folder is the user's, not the operating system's."""
    return not path.name.startswith((".", "__MACOSX"))
