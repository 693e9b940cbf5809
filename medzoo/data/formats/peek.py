"""The headers of plain JPEG and PNG files, from their first bytes: a fifth of what Pillow takes to open one.

Whatever is not plain (a marker too far behind, EXIF, CMYK, a checksum that fails) is left to Pillow.
"""

from __future__ import annotations

import struct
import zlib

from medzoo.data.formats.raster import DEEP_COLOUR, MOST_PIXELS, Header

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
PNG_END = 33  # bytes: signature, IHDR's length, name, 13 bytes and checksum
#: PNG's colour types, and how many channels they have without alpha; and the depths each may have.
PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 1, 6: 3}
PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
JPEG = b"\xff\xd8\xff"
#: Baseline, extended and progressive; the other frames are lossless, hierarchical or arithmetically coded.
JPEG_FRAMES = (0xC0, 0xC1, 0xC2)
JPEG_SCAN, EXIF_SEGMENT = 0xDA, 0xE1


def peek_header(start: bytes) -> Header | None:
    """Read a header from a file's first bytes; None where Pillow has to say."""
    header = None
    if start.startswith(PNG):
        header = _peek_png(start)
    elif start.startswith(JPEG):
        header = _peek_jpeg(start)
    if header is None or not 0 < header.size[0] * header.size[1] <= MOST_PIXELS:
        return None
    return header


def _peek_png(start: bytes) -> Header | None:
    """Read the header of a PNG."""
    if len(start) < PNG_END or zlib.crc32(start[12:29]) != int.from_bytes(start[29:33], "big"):
        return None
    width, height, depth, colour, packing, filters = struct.unpack(">IIBBBB", start[16:28])
    if depth not in PNG_DEPTHS.get(colour, ()) or packing or filters:
        return None
    if (depth, colour) == (16, 0):  # TensorFlow would drop the low byte
        return Header((height, width), channels=1, depth="16-bit")
    remark = DEEP_COLOUR if depth == 16 else ""
    return Header((height, width), PNG_CHANNELS[colour], depth="8-bit", in_graph=True, remark=remark)


def _peek_jpeg(start: bytes) -> Header | None:
    """Read the header of a JPEG: walk its segments to the one that says its size."""
    place = 2
    while place + 10 <= len(start):
        if start[place] != 0xFF:
            return None
        marker = start[place + 1]
        if marker in JPEG_FRAMES:
            precision, height, width, channels = struct.unpack_from(">BHHB", start, place + 4)
            if precision != 8 or channels not in (1, 3):
                return None
            return Header((height, width), channels, depth="8-bit", in_graph=True)
        # Segments that neither end the header nor lie outside the tables; EXIF may say that a photograph is turned.
        if (
            not (0xC4 <= marker <= 0xFE)
            or marker in (0xC8, 0xCC, JPEG_SCAN, EXIF_SEGMENT)
            or 0xD0 <= marker <= 0xD9
        ):
            return None
        place += 2 + int.from_bytes(start[place + 2 : place + 4], "big")
    return None
