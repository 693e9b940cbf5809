"""NIfTI volumes, read with nibabel, in the orientation in which radiologists and DICOM show axial slices.

Whatever order a file's axes have, slices run from feet to head, rows from front to back, and columns from the
patient's right to the left: the last axis of the file once it is in RAS+ order is the depth.
"""

from __future__ import annotations

import gzip
import math
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.data.formats.quiet import refuse_broken
from medzoo.data.formats.raster import MOST_VALUES, Header, Source
from medzoo.data.formats.windows import choose_frames, find_range, fit_channels, map_band, map_given
from medzoo.data.reading import Reading
from medzoo.errors import DataError

NIFTI2_HEADER = 544  # bytes, with the mark of extensions; that of NIfTI-1 is shorter
GZIP = b"\x1f\x8b"
READABLE = "a whole NIfTI volume (.nii or .nii.gz) of one channel"


def describe_nifti(source: Source, name: str, reading: Reading) -> Header:
    """Read the header of one volume, or of its bytes.

    Raises DataError naming the file where it is no volume, or nibabel is not installed.
    """
    nibabel = load_nibabel(name)
    with refuse_broken(name, READABLE):
        header = read_volume_header(read_content(source, 1 << 16), name, nibabel)
        depth, height, width = find_shape(header, nibabel)
        frames = choose_frames(depth, reading, name)
        volume = (len(frames),) if reading.frame == "all" else ()
        return Header((*volume, height, width), channels=1, depth="own units", is_display=True)


def read_nifti(source: Source, name: str, reading: Reading) -> NDArray[np.float32]:
    """Decode one axial slice to float32 (height, width, channels), or all to (depth, …), in 0…255.

    Values are mapped by the windows given, else by the display range in the header, else from the lowest to the
    highest of the volume.  Raises DataError naming the file where it is broken, or nibabel is not installed.
    """
    nibabel = load_nibabel(name)
    with refuse_broken(name, READABLE):
        content = read_content(source)
        header = read_volume_header(content, name, nibabel)
        volume = turn(header, read_values(content, header, name, nibabel), nibabel)
        frames = list(choose_frames(len(volume), reading, name))
        low, high = float(header["cal_min"]), float(header["cal_max"])
        if reading.windows:
            pixels = map_given(volume[frames], reading.windows)
        else:
            limits = (low, high) if high > low else find_range(volume, name)
            pixels = map_band(volume[frames], *limits)[..., None]
        pixels = fit_channels(pixels, reading)
        return pixels if reading.frame == "all" else pixels[0]


def load_nibabel(name: str) -> Any:
    """Load nibabel and give it.

    Raises DataError naming the file where it is not installed.
    """
    try:
        import nibabel
    except ModuleNotFoundError as error:
        raise DataError(
            f"{name!r} is a NIfTI volume", "the package nibabel", "pip install 'medzoo[nifti]'"
        ) from error
    return nibabel


def read_content(source: Source, count: int = -1) -> bytes:
    """Give an image's bytes, or the first `count` of a file, as they are stored."""
    if isinstance(source, bytes):
        return source
    with source.open("rb") as file:
        return file.read(count)


def read_volume_header(content: bytes, name: str, nibabel: Any) -> Any:
    """Read the header of a volume's bytes, and check size and kind before its values are unpacked.

    Raises DataError naming the file, and whatever nibabel raises.
    """
    start = unpack(content, NIFTI2_HEADER)
    kind = nibabel.Nifti2Header if start[4:7] == b"n+2" else nibabel.Nifti1Header
    header = kind.from_fileobj(BytesIO(start))
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    is_volume = len(shape) >= 3 and min(shape) >= 1 and all(length == 1 for length in shape[3:])
    if not is_volume or dtype.kind not in "iuf" or not bytes(header["magic"]).startswith(b"n+"):
        found = f"{'×'.join(map(str, shape))} values of type {dtype}"
        raise DataError(f"{name!r} holds {found}", "one 3-D volume of numbers in one file", "leaving it out")
    count = math.prod(int(length) for length in shape)
    if count > MOST_VALUES:
        raise DataError(f"{name!r} has {count:,} voxels", f"at most {MOST_VALUES:,}", "a smaller volume")
    return header


def read_values(content: bytes, header: Any, name: str, nibabel: Any) -> NDArray[np.generic]:
    """Unpack the values (i, j, k) of a volume's bytes, scaled as the header says.

    Raises DataError naming the file where it ends early.
    """
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    needed = int(header["vox_offset"]) + math.prod(int(length) for length in shape) * dtype.itemsize
    content = unpack(content, needed + 1)  # a byte more than needed: at its end gzip compares its checksum
    if len(content) < needed:
        raise DataError(
            f"{name!r} ends early: {len(content):,} of {needed:,} bytes", READABLE, "fetching it again"
        )
    values: NDArray[np.generic] = np.asarray(nibabel.arrayproxy.ArrayProxy(BytesIO(content), header))
    return values.reshape(shape[:3])


def unpack(content: bytes, count: int) -> bytes:
    """Give the first `count` bytes, or as many as there are, of content that may be gzipped: no bomb goes off here."""
    if not content.startswith(GZIP):
        return content[:count]
    with gzip.GzipFile(fileobj=BytesIO(content)) as file:
        try:
            return file.read(count)
        except EOFError:
            return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, count)


def find_shape(header: Any, nibabel: Any) -> tuple[int, int, int]:
    """Find depth, height and width of a volume in the orientation it is read in."""
    axes = [int(axis) for axis in nibabel.orientations.io_orientation(header.get_best_affine())[:, 0]]
    lengths = dict(zip(axes, header.get_data_shape()[:3], strict=True))
    return lengths[2], lengths[1], lengths[0]


def turn(header: Any, values: NDArray[np.generic], nibabel: Any) -> NDArray[np.generic]:
    """Turn values (i, j, k) to (depth, height, width): feet to head, front to back, right to left."""
    orient = nibabel.orientations
    way = orient.ornt_transform(orient.io_orientation(header.get_best_affine()), orient.axcodes2ornt("LPS"))
    turned: NDArray[np.generic] = orient.apply_orientation(values, way)
    return turned.transpose(2, 1, 0)
