"""Where a table's images are: in which folder, with which file ending, and never outside the folder they belong to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medzoo.data.formats.images import SUFFIXES, is_file
from medzoo.data.tables.cells import Fault

PROBED = 20  # rows looked at to find the folder of the images
# What may lead elsewhere than it seems, or be written in several ways: in a name, and quickly in many lines of them.
IRREGULAR = re.compile(r"^/|\.\.|//|(?:^|/)\./|^[A-Za-z]:[\\/]|\0")
SUSPECT = ("\n/", "..", "//", "./", ":", "\0")


def find_images(
    names: Sequence[str], home: Path, image_folder: Path | None = None, folders: Sequence[str] = ()
) -> tuple[list[str], Fault]:
    """Find each image's path, with an ending added where the name lacks it, and the rows that lead outside.

    Names are relative to `image_folder`, else to the table's folder `home`, to its `images`, to a data set's own
    `folders` (patterns), or to the folder above, where names begin with that of `home`.  None need exist yet: a
    name with an ending is not looked up, others are by listing their folders once.
    """
    base = home if image_folder is None else image_folder
    candidates = [base]
    if image_folder is None:
        candidates.append(home / "images")
        if names and names[0].startswith(f"{home.resolve().name}/"):
            candidates.append(home.resolve().parent)
    probed = [name for name in names[:PROBED] if not IRREGULAR.search(name)]
    spread = [
        [path for path in sorted(base.glob(pattern)) if path.is_dir()] for pattern in folders if base.is_dir()
    ]
    candidates += [parts[0] for parts in spread if len(parts) == 1]
    spread = [parts for parts in spread if len(parts) > 1]
    folder, found = max(
        ((folder, count_found(place_names(probed, folder))) for folder in candidates),
        key=lambda pair: pair[1],
    )
    if not found:  # the first images are absent, or in several folders
        everywhere = [list_images(str(folder)) for folder in candidates]
        counts = [sum(map(listed.__contains__, names)) for listed in everywhere]
        folder = candidates[counts.index(max(counts))]
    paths = place_names(names, folder)
    if not found:
        for parts in spread:
            listed = {name: path for part in reversed(parts) for name, path in list_images(str(part)).items()}
            paths = [listed.get(name, path) for name, path in zip(names, paths, strict=True)]
    return paths, confine_images(paths, names, home, image_folder)


def place_names(names: Sequence[str], folder: Path) -> list[str]:
    """Put names below a folder, with the ending of the file that is there for a name that lacks it."""
    top = str(folder).rstrip("/")
    paths = [f"{top}/{name}" for name in names] if top != "." else list(names)
    listings: dict[str, Mapping[str, str]] = {}
    for number, path in enumerate(paths):
        if path.lower().endswith(SUFFIXES):
            continue
        parent, _, name = path.rpartition("/")
        if parent not in listings:
            listings[parent] = list_images(parent or ("/" if path.startswith("/") else "."))
        paths[number] = listings[parent].get(name, path)
    return paths


def list_images(folder: str) -> dict[str, str]:
    """List the files of a folder by name, and the images among them by their name without the ending too."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_file()]
    except (OSError, ValueError):  # no such folder, or no name of one
        return {}
    ranks = {suffix: rank for rank, suffix in enumerate(SUFFIXES)}
    images = []
    for name in names:
        lower = name.lower()
        dot = lower.rfind(".")
        dot = dot if lower[dot:] in ranks else lower.rfind(".", 0, max(dot, 0))  # .nii.gz has two
        if dot > 0 and lower[dot:] in ranks:
            images.append((ranks[lower[dot:]], name[:dot], name))
    prefix = "" if folder == "." else folder.rstrip("/") + "/"
    stems = {stem: prefix + name for _, stem, name in sorted(images, reverse=True)}
    return stems | {name: prefix + name for name in names}


def count_found(paths: Sequence[str]) -> int:
    """Count the paths at which there is a file."""
    return sum(is_file(Path(path)) for path in paths)


def confine_images(paths: list[str], names: Sequence[str], home: Path, image_folder: Path | None) -> Fault:
    """Make irregular paths plain, in place, and name the rows whose image lies outside of the folder of images.

    Where a link leads does not count: the user made it.
    """
    base = home if image_folder is None else image_folder
    roots = (make_plain(str(base)), str(base.resolve()))
    outside: list[int] = []
    strays: list[str] = []
    below: dict[int, str] = {}
    lines = "\n" + "\n".join(names)
    suspects = names if any(mark in lines for mark in SUSPECT) else ()
    for number, name in enumerate(suspects):
        if not IRREGULAR.search(name):
            continue
        places = [name] if name.startswith("/") else [paths[number], f"{home}/{name}"]
        places = [make_plain(place) for place in places if "\0" not in place]
        inside = [cut_root(place, root) for place in places for root in roots]
        rest = next((rest for rest in inside if rest is not None), None)
        if rest is None:
            outside.append(number)
            strays += places[:1]
        else:
            below[number] = rest
    # All at once: where endings are missing, each folder is listed once and not for every image.
    for number, path in zip(below, place_names(list(below.values()), base), strict=True):
        paths[number] = path
    folder = os.path.commonpath([str(Path(stray).parent) for stray in strays]) if strays else ""
    texts = [f"has the image {names[number]!r}, which is outside of '{base}'" for number in outside]
    remedy = f"--image-folder '{folder}'" if folder else "correcting those rows"
    return Fault(np.array(outside, dtype=np.int_), texts, "images below one folder", remedy)


def make_plain(path: str) -> str:
    """Make a path absolute and without "..", by its name alone: links are not followed."""
    return os.path.abspath(path)  # noqa: PTH100 - a path object a name takes three times as long


def cut_root(path: str, root: str) -> str | None:
    """Give the part of a path below a folder, going by names; None where it is not below it.

    >>> cut_root("/data/a.png", "/data"), cut_root("/database/a.png", "/data"), cut_root("/a.png", "/")
    ('a.png', None, 'a.png')
    """
    top = root.rstrip("/") + "/"
    return path.removeprefix(top) if path.startswith(top) else None


def find_repeats(paths: Sequence[str], rows: Sequence[int], faulty: set[int]) -> Fault:
    """Name the rows whose image another row names before: it could stand in two splits, or under two labels."""
    first: dict[str, int] = {}
    where, texts = [], []
    if len(set(paths)) < len(paths):
        for position, path in enumerate(paths):
            if position not in faulty and first.setdefault(path, position) != position:
                where.append(position)
                texts.append(f"names the same image as row {rows[first[path]]}, {path.rpartition('/')[2]!r}")
    expected, remedy = "one row per image", "deleting one of them, or --image-column NAME"
    return Fault(np.array(where, dtype=np.int_), texts, expected, remedy)
