"""`read_pixels`: an encoded image of any format to float32 pixels of 0…255, without TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from medzoo.data.formats.peek import peek_header
from medzoo.data.formats.raster import READABLE, Header, describe_raster, read_raster
from medzoo.data.formats.workers import ReaderProcesses, Source
from medzoo.data.reading import Reading
from medzoo.errors import DataError

Decode = Callable[[Sequence[Source], Sequence[str]], list[NDArray[np.float32]]]

DICOM_SUFFIXES = (".dcm", ".dicom")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
START = 4096  # bytes: DICOM's mark stands at 128, NIfTI's at 344 or 4, a JPEG's size mostly within the first 1,000


def read_pixels(source: Source, name: str, reading: Reading) -> NDArray[np.float32]:
    """Read one image, a file or its encoded bytes, to float32 (height, width, channels) in 0…255.

    With `reading.frame` "all" there is a depth before the height.  DICOM, NIfTI and values wider than 16 bits are
    mapped as `medzoo.data.formats.dicom`, `nifti` and `raster` say.  Several threads and processes may call it.
    Raises DataError, which names `name`, where the image is missing, broken, too large or of another format.

    >>> from io import BytesIO
    >>> from PIL import Image
    >>> Image.new("L", (4, 3), 200).save(file := BytesIO(), "PNG")
    >>> read_pixels(file.getvalue(), "grey.png", Reading(channels=1)).shape
    (3, 4, 1)
    """
    kind = find_kind(read_start(source, name), name)
    if kind == "dicom":
        from medzoo.data.formats.dicom import read_dicom

        return read_dicom(source, name, reading)
    if kind == "nifti":
        from medzoo.data.formats.nifti import read_nifti

        return read_nifti(source, name, reading)
    return read_raster(source, name, reading)


def read_header(source: Source, name: str, reading: Reading) -> Header:
    """Read what one image, a file or its encoded bytes, says of itself; of bytes, its beginning is often enough.

    Raises DataError as `read_pixels` does.
    """
    start = read_start(source, name)
    is_single = reading.frame in ("first", "middle", 0)  # what is peeked at has a single frame
    if not reading.windows and is_single and (header := peek_header(start)) is not None:
        return header
    kind = find_kind(start, name)
    if kind == "dicom":
        from medzoo.data.formats.dicom import describe_dicom

        return describe_dicom(source, name, reading)
    if kind == "nifti":
        from medzoo.data.formats.nifti import describe_nifti

        return describe_nifti(source, name, reading)
    return describe_raster(source, name, reading)


def read_start(source: Source, name: str) -> bytes:
    """Read the first bytes of one image.

    Raises DataError naming the file where it is missing, cannot be opened, or is empty.
    """
    if isinstance(source, bytes):
        start = source[:START]
    else:
        try:
            descriptor = os.open(source, os.O_RDONLY)
            try:
                start = os.read(descriptor, START)
            finally:
                os.close(descriptor)
        except FileNotFoundError as error:
            raise DataError(f"no file {name!r}", "a file for every image") from error
        except (OSError, ValueError) as error:  # ValueError: a name with a null character
            reason = getattr(error, "strerror", None) or "not a path"
            raise DataError(f"cannot read {name!r}: {reason}", READABLE) from error
    if not start:
        raise DataError(f"{name!r} is empty", READABLE)
    return start


def find_kind(start: bytes, name: str) -> str:
    """Tell "dicom" and "nifti" from "raster", by an image's first bytes where these say so, else by its ending."""
    lower = name.lower()
    if start[128:132] == b"DICM" or lower.endswith(DICOM_SUFFIXES):
        return "dicom"
    if start[344:348] == b"n+1\0" or start[4:8] == b"n+2\0" or lower.endswith(NIFTI_SUFFIXES):
        return "nifti"
    return "raster"


def make_decoder(reading: Reading, workers: int) -> Decode:
    """Make a function from encoded images, or their files, and their names to their pixels, in the same order.

    It keeps `workers` processes, which start when first needed and end with it; 0 decodes in this one.  It raises
    the first DataError.  Several threads may call it at once.
    """
    if workers:
        return ReaderProcesses(reading, workers)

    def decode(sources: Sequence[Source], names: Sequence[str]) -> list[NDArray[np.float32]]:
        """Decode images one after the other."""
        return [read_pixels(source, name, reading) for source, name in zip(sources, names, strict=True)]

    return decode
