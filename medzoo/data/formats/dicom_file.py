"""DICOM files: the few elements that the pixels need, refusals, and the stored values, decoded by pydicom."""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.data.formats.quiet import refuse_broken
from medzoo.data.formats.raster import MOST_PIXELS, MOST_VALUES, Source
from medzoo.data.formats.windows import choose_frames
from medzoo.data.reading import Reading
from medzoo.errors import DataError

_LAYOUT = "Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation PlanarConfiguration"
_VALUES = "BitsAllocated BitsStored HighBit PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit"
_MEANING = "ModalityLUTSequence RescaleSlope RescaleIntercept"
_VIEW = "VOILUTSequence WindowCenter WindowWidth VOILUTFunction"
_FRAMES = "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence"
_PIXELS = "ExtendedOffsetTable ExtendedOffsetTableLengths PixelData FloatPixelData DoubleFloatPixelData"
_PALETTES = [
    f"{kind}{colour}PaletteColorLookupTable{part}"
    for colour in ("Red", "Green", "Blue")
    for kind, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
]
#: All that is read of a header: what the pixels need, and nothing about a patient.
TAGS = [*" ".join([_LAYOUT, _VALUES, _MEANING, _VIEW, _FRAMES, _PIXELS]).split(), *_PALETTES]
GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
PALETTE = "PALETTE COLOR"
DEFLATED = "1.2.840.10008.1.2.1.99"
READABLE = "a whole DICOM image"
PLUGINS = "pip install 'medzoo[dicom]'"


def read_stored(source: Source, name: str) -> NDArray[np.generic]:
    """Decode the stored values of all frames: (h, w), (h, w, c), (n, h, w) or (n, h, w, c), in the file's own dtype.

    Only luminance and chrominance are made red, green and blue.  Raises DataError naming the file.
    """
    with refuse_broken(name, READABLE):
        dataset = read_dataset(source, name)
        check_image(dataset, name, Reading(frame="all"))
        stored = decode(dataset, name)
        return stored if count_frames(dataset) > 1 else stored[0]


def read_dataset(source: Source, name: str, stop_before_pixels: bool = False) -> Any:
    """Read the elements in `TAGS` of a file or its bytes, with or without a preamble.

    Raises DataError for a deflated file that unpacks to more than an image has, and whatever pydicom raises.
    """
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    refuse_bomb(source, name)
    file = BytesIO(source) if isinstance(source, bytes) else source
    dataset = dcmread(file, stop_before_pixels=stop_before_pixels, force=True, specific_tags=TAGS)
    if not dataset.file_meta.get("TransferSyntaxUID"):  # without a preamble nothing says it
        is_implicit, is_little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit
    return dataset


def refuse_bomb(source: Source, name: str) -> None:
    """Refuse a deflated file that unpacks to more than 512 MiB; pydicom would unpack it whole.

    Raises DataError naming the file.
    """
    if isinstance(source, bytes):
        start, file = source[:2048], BytesIO(source)
    else:
        with source.open("rb") as opened:
            start = opened.read(2048)
            file = BytesIO(start + opened.read()) if DEFLATED.encode() in start else BytesIO()
    if start[128:132] != b"DICM" or DEFLATED.encode() not in start:
        return
    file.seek(
        144 + int.from_bytes(start[140:144], "little")
    )  # behind the group whose length the first element is
    unpacker, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    packed = file.read()
    while packed and not unpacker.eof:
        total += len(unpacker.decompress(packed, 1 << 24))
        packed = unpacker.unconsumed_tail
        if total > MOST_VALUES:
            raise DataError(f"{name!r} unpacks to more than {total:,} bytes", f"at most {MOST_VALUES:,}")


def check_image(dataset: Any, name: str, reading: Reading) -> tuple[int, ...]:
    """Refuse what is no image of a known kind, size and compression, and choose the frames to be read.

    Raises DataError naming the file.
    """
    from pydicom.pixels.decoders.base import get_decoder

    photometric = dataset.get("PhotometricInterpretation")
    if dataset.get("Rows") is None or dataset.get("Columns") is None or photometric is None:
        raise DataError(f"{name!r} has no pixels", READABLE, "leaving it out")
    rows, columns, count = int(dataset.Rows), int(dataset.Columns), count_frames(dataset)
    frames = choose_frames(count, reading, name)
    if not rows * columns:
        raise DataError(f"{name!r} has {columns}×{rows} pixels", "at least one pixel", "leaving it out")
    if rows * columns > MOST_PIXELS or rows * columns * len(frames) > MOST_VALUES:
        raise DataError(
            f"{name!r} has {columns}×{rows} pixels in {len(frames)} frames",
            f"at most {MOST_PIXELS:,} in a frame and {MOST_VALUES:,} in all",
            "--frame middle",
        )
    samples = 3 if photometric in COLOUR else 1
    if photometric not in GREY | COLOUR | {PALETTE} or int(dataset.get("SamplesPerPixel") or 1) != samples:
        raise DataError(
            f"{name!r} has a colour space, or a number of samples, that is not read",
            "grey, RGB, YBR or palette colour",
            "converting it to RGB",
        )
    syntax = dataset.file_meta.TransferSyntaxUID
    compression = syntax.name if syntax.is_transfer_syntax else "an unknown transfer syntax"
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        raise DataError(f"{name!r} is stored as {compression}", "an image, not video", READABLE) from None
    if not available:
        raise DataError(f"{name!r} is compressed as {compression}", "a package that decodes it", PLUGINS)
    return frames


def count_frames(dataset: Any) -> int:
    """Give the number of frames: 1 where the header does not say."""
    return max(int(dataset.get("NumberOfFrames") or 1), 1)


def decode(dataset: Any, name: str, frames: tuple[int, ...] | None = None) -> NDArray[np.generic]:
    """Decode the stored values of some frames, or all, to (n, h, w) or (n, h, w, c); bits beyond those stored are cut.

    Raises DataError naming the file where it ends before its pixels do.
    """
    from pydicom.pixels.utils import pixel_array

    count = count_frames(dataset)
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated and "PixelData" in dataset:
        bits = int(dataset.BitsAllocated) * int(dataset.get("SamplesPerPixel") or 1)
        expected = -(-int(dataset.Rows) * int(dataset.Columns) * count * bits // 8)
        if dataset.PhotometricInterpretation == "YBR_FULL_422":  # two pixels share their colours
            expected = expected * 2 // 3
        if len(dataset.PixelData) < expected:
            raise DataError(
                f"{name!r} ends early: {len(dataset.PixelData):,} of {expected:,} bytes of pixels",
                READABLE,
                "fetching it again",
            )
    if count == 1 or frames is None or len(frames) == count:
        stored = pixel_array(dataset)
        return stored[None] if count == 1 else stored
    return np.stack([pixel_array(dataset, index=frame) for frame in frames])
