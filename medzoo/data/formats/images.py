"""A data set's image files: a header check of every one, how they are read together, and which are broken."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from medzoo.data.bundle import Bundle
from medzoo.data.dataset import Dataset, Decoder
from medzoo.data.formats.decoding import DICOM_SUFFIXES, NIFTI_SUFFIXES, read_header, read_pixels
from medzoo.data.formats.quiet import keep_quiet
from medzoo.data.formats.raster import (
    READABLE as READABLE,  # what folders and manifests name in their refusals
)
from medzoo.data.formats.raster import Header
from medzoo.data.formats.workers import ReaderProcesses, Source
from medzoo.data.reading import Reading
from medzoo.errors import DataError

#: How names of images end, for `str.endswith`; a path's own `suffix` does not know ".nii.gz".
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"),
    *(*DICOM_SUFFIXES, *NIFTI_SUFFIXES),
)
START = 1 << 16  # bytes of an image in an archive that are read for its header, at first
STEP = 64  # images that one thread takes at a time
FEW = 16  # images that are decoded sooner than processes start
THREADS = min(32, 4 * (os.cpu_count() or 1))  # headers: on network disks most of the time is waiting
PLAIN = Reading()
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Survey:
    """What the headers of a data set's images say together."""

    size: tuple[int, ...]  # of the first image: height and width, or depth, height and width
    channels: int  # 1 or 3, or one for each of several windows
    decoder: Decoder
    wide: int  # how many images have 16 bits
    notes: tuple[str, ...] = ()
    unreadable: tuple[tuple[int, DataError], ...] = ()  # positions and reasons, in order


def survey_images(
    paths: Sequence[Path],
    rows: Sequence[int] = (),
    bundle: Bundle | None = None,
    reading: Reading = PLAIN,
    on_error: Literal["fail", "skip"] = "fail",
) -> Survey:
    """Read the header of every image, and decide the number of channels and the decoder.

    `rows` are the images' spreadsheet rows, for the messages; with a `bundle` the paths only name its images.
    An image that is missing, empty, of another format, too large, without pixels, of another number of channels
    than 1 or 3, or of other bits than most is unreadable.  Raises DataError for the first of these, and says how
    many files are absent; under "skip" only where no image is left.
    """
    ask = _ask_files(paths, reading) if bundle is None else _ask_bundle(paths, bundle, reading)
    with keep_quiet():
        answers = map_steps(ask, len(paths))
    places = [f"row {row}: " for row in rows] or [""] * len(paths)
    faults = {
        position: DataError(places[position] + answer.found, answer.expected, answer.remedy)
        for position, answer in enumerate(answers)
        if isinstance(answer, DataError)
    }
    if on_error == "fail" and faults:
        raise _choose_fault(faults, paths, places, bundle)
    headers = {position: answer for position, answer in enumerate(answers) if isinstance(answer, Header)}
    odd = find_odd_depths(headers, paths, places)
    if on_error == "fail" and odd:
        raise next(iter(odd.values()))
    faults |= odd
    left = [header for position, header in headers.items() if position not in odd]
    if not left:
        first = next(iter(faults.values()), None)
        found = f"none of {len(paths):,} images can be read"
        if first is None:
            raise DataError(found)
        raise DataError(f"{found}; the first: {first.found}", first.expected, first.remedy)
    return replace(
        summarise(left, reading), unreadable=tuple(sorted(faults.items(), key=lambda fault: fault[0]))
    )


def summarise(headers: Sequence[Header], reading: Reading) -> Survey:
    """Join headers into a survey: grey only if every image is, TensorFlow only if it reads all rightly."""
    wide = sum(header.depth == "16-bit" for header in headers)
    remarks = Counter(header.remark for header in headers if header.remark)
    notes = [f"{count:,} of {len(headers):,} images {remark}" for remark, count in remarks.items()]
    if wide and not reading.windows:
        notes.insert(0, f"16-bit images: {wide}; their 0…65535 is read as 0…255, with fractions kept")
    own = sum(header.depth == "own units" and not header.is_display for header in headers)
    if own and not reading.windows:
        notes.append(
            f"{own:,} of {len(headers):,} images have units of their own: each is read from its lowest to highest"
        )
    channels = 1 if all(header.channels == 1 for header in headers) else 3
    return Survey(
        size=headers[0].size,
        channels=len(reading.windows) or channels,
        decoder="tensorflow" if all(header.in_graph for header in headers) else "reader",
        wide=wide,
        notes=tuple(notes),
    )


def find_odd_depths(
    headers: dict[int, Header], paths: Sequence[Path], places: Sequence[str]
) -> dict[int, DataError]:
    """Give an error for every image whose bits are not those of most: their greys do not mean the same.

    A file that says itself how its values are shown, as DICOM does, goes with any.
    """
    plain = {position: header for position, header in headers.items() if not header.is_display}
    counts = Counter(header.depth for header in plain.values())
    if len(counts) < 2:
        return {}
    usual = max(counts, key=lambda depth: counts[depth])
    other = next(position for position, header in plain.items() if header.depth == usual)
    return {
        position: DataError(
            f"{places[position]}{str(paths[position])!r} has {_name_depth(header.depth)}, where"
            f" {counts[usual]:,} of {len(plain):,} images, such as {str(paths[other])!r}, have {_name_depth(usual)}",
            "one kind of values in a data set",
            "converting one kind to the other, or --on-error skip",
        )
        for position, header in plain.items()
        if header.depth != usual
    }


def find_unreadable(dataset: Dataset) -> list[tuple[int, str]]:
    """Decode every image fully, and give the positions of those that cannot be, with what was found, row and path.

    What only Python reads is decoded by processes, as a broken file may take one down; the rest by threads.
    """
    reading = replace(dataset.reading, channels=dataset.channels)
    processes = None
    if dataset.decoder == "reader" and len(dataset.paths) > FEW:
        processes = ReaderProcesses(reading, os.cpu_count() or 1)

    def check(rows: range) -> list[DataError | None]:
        """Decode some images, one after the other."""
        sources = list(find_sources(dataset, rows))
        names = [str(dataset.paths[row]) for row in rows]
        if processes is None:
            return [_try_pixels(source, name, reading) for source, name in zip(sources, names, strict=True)]
        whole = [
            (source, name)
            for source, name in zip(sources, names, strict=True)
            if not isinstance(source, DataError)
        ]
        found = iter(processes.check([source for source, _ in whole], [name for _, name in whole]))
        return [source if isinstance(source, DataError) else next(found) for source in sources]

    try:
        threads = 1 if processes is not None else os.cpu_count() or 1
        faults = map_steps(check, len(dataset.paths), threads)
    finally:
        if processes is not None:
            processes.close()
    places = [f"row {row}: " for row in dataset.rows] or [""] * len(faults)
    return [(row, places[row] + fault.found) for row, fault in enumerate(faults) if fault is not None]


def find_sources(dataset: Dataset, rows: range) -> Iterator[Source | DataError]:
    """Give some images' files or encoded bytes, and for one that its archive does not hold whole the reason."""
    for row in rows:
        if dataset.bundle is None:
            yield dataset.paths[row]
            continue
        try:
            yield dataset.bundle.read([row])[0]
        except DataError as error:
            yield DataError(f"{str(dataset.paths[row])!r}: {error.found}", error.expected, error.remedy)


def is_file(path: Path) -> bool:
    """Tell whether a path is a file; a cell of text too long to be a name is not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def map_steps(ask: Callable[[range], list[Answer]], count: int, threads: int = THREADS) -> list[Answer]:
    """Ask something of `count` images, some at a time and several times at once."""
    steps = [range(start, min(start + STEP, count)) for start in range(0, count, STEP)]
    with ThreadPoolExecutor(max_workers=threads) as pool:
        return [answer for answers in pool.map(ask, steps) for answer in answers]


def _ask_files(paths: Sequence[Path], reading: Reading) -> Callable[[range], list[Header | DataError]]:
    """Make the function that reads some files' headers; a refusal is returned, so that the first row's is raised."""
    return lambda rows: [_try_header(paths[row], str(paths[row]), reading) for row in rows]


def _ask_bundle(
    paths: Sequence[Path], bundle: Bundle, reading: Reading
) -> Callable[[range], list[Header | DataError]]:
    """Make the function that reads the headers of some images in a bundle."""
    # A packed image is unpacked as a whole or not at all.
    starts = replace(
        bundle, lengths=np.where(bundle.packed, bundle.lengths, np.minimum(bundle.lengths, START))
    )

    def ask(row: int) -> Header | DataError:
        """Read one header: from the image's start, and where that is not enough, from all of it."""
        name = str(paths[row])
        try:
            start = starts.read([row])[0]
            header = _try_header(start, name, reading)
            if isinstance(header, DataError) and 0 < len(start) < int(bundle.sizes[row]):
                header = _try_header(bundle.read([row])[0], name, reading)
        except DataError as error:
            return error
        return header

    return lambda rows: [ask(row) for row in rows]


def _try_header(source: Source, name: str, reading: Reading) -> Header | DataError:
    """Read one header, or give the reason why not."""
    try:
        return read_header(source, name, reading)
    except DataError as error:
        return error


def _try_pixels(source: Source | DataError, name: str, reading: Reading) -> DataError | None:
    """Decode one image, and give the reason where it cannot be."""
    if isinstance(source, DataError):
        return source
    try:
        read_pixels(source, name, reading)
    except DataError as error:
        return error
    return None


def _choose_fault(
    faults: dict[int, DataError], paths: Sequence[Path], places: Sequence[str], bundle: Bundle | None
) -> DataError:
    """Choose the error to raise: absent files first, as many are when a folder or column was mistaken."""
    absent = [position for position in faults if bundle is None and not is_file(paths[position])]
    if not absent:
        return next(iter(faults.values()))
    return DataError(
        f"{places[absent[0]]}no file {str(paths[absent[0]])!r} ({len(absent)} of {len(paths)} absent)",
        "a file for every image",
        "--image-folder FOLDER or --image-column NAME",
    )


def _name_depth(depth: str) -> str:
    """Name the values of a depth in a sentence."""
    return "values in units of its own" if depth == "own units" else f"{depth} values"
