"""What the survey leaves to TensorFlow is decoded there to the reader's values, kind by kind."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from medzoo.data.formats.decoding import read_header, read_pixels
from medzoo.data.reading import Reading


def make_png(colour: int, depth: int, extra: bytes = b"") -> bytes:
    """Make a PNG of seeded noise, 13 by 11, of any colour type and depth, with chunks before its pixels."""
    width, height = 13, 11
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    rng = np.random.default_rng(depth * 10 + colour)
    row = -(-width * samples * depth // 8)
    lines = b"".join(b"\0" + rng.integers(0, 256, row, dtype=np.uint8).tobytes() for _ in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    palette = (
        chunk(b"PLTE", rng.integers(0, 256, 3 << depth, dtype=np.uint8).tobytes()) if colour == 3 else b""
    )
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
        + (chunk(extra[:4], extra[4:]) if extra and extra[:4] != b"tRNS" else b"")
        + palette
        + (chunk(extra[:4], extra[4:]) if extra[:4] == b"tRNS" else b"")
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def make_jpeg(mode: str, **options: object) -> bytes:
    """Make a JPEG of smooth noise, whose sides no block divides."""
    rng = np.random.default_rng(3)
    small = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8))
    small.resize((61, 45), Image.Resampling.BICUBIC).convert(mode).save(file := BytesIO(), "JPEG", **options)  # type: ignore[arg-type]
    return file.getvalue()


def turned() -> bytes:
    """Make EXIF that says a photograph is on its side."""
    exif = Image.Exif()
    exif[274] = 6
    return exif.tobytes()


def make_pictures() -> dict[str, bytes]:
    """Make one file of each kind that TensorFlow is to decode."""
    pngs = {
        f"png {colour} {depth}": make_png(colour, depth)
        for colour, depths in {0: (1, 2, 4, 8), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items()
        for depth in depths
    }
    pngs["png gamma"] = make_png(0, 8, b"gAMA" + struct.pack(">I", 20_000))
    pngs["png palette with alpha"] = make_png(3, 8, b"tRNS" + bytes(range(0, 200, 3)))
    pngs["png colour with a transparent one"] = make_png(2, 8, b"tRNS" + b"\0\5\0\6\0\7")
    animated = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    animated[0].save(file := BytesIO(), "PNG", save_all=True, append_images=animated[1:])
    pngs["png animated"] = file.getvalue()
    animated[0].save(file := BytesIO(), "MPO", save_all=True, append_images=animated[1:])
    return pngs | {
        "mpo": file.getvalue(),
        "jpeg grey": make_jpeg("L"),
        **{f"jpeg subsampling {kind}": make_jpeg("RGB", subsampling=kind, quality=60) for kind in (0, 1, 2)},
        "jpeg progressive": make_jpeg("RGB", progressive=True),
        "jpeg of red, green and blue": make_jpeg("RGB", keep_rgb=True),
        "jpeg on its side": make_jpeg("RGB", exif=turned()),
    }


PICTURES = make_pictures()


@pytest.mark.parametrize("kind", PICTURES)
def test_tensorflow_decodes_to_the_readers_values(kind: str) -> None:
    import tensorflow as tf

    content = PICTURES[kind]
    header = read_header(content, kind, Reading())
    assert header.in_graph
    for channels in (1, 3) if header.channels == 1 else (3,):
        decoded = tf.io.decode_jpeg(content, channels=channels, dct_method="INTEGER_ACCURATE").numpy()
        pixels = read_pixels(content, kind, Reading(channels=channels))
        assert header.size == pixels.shape[:2]
        np.testing.assert_array_equal(decoded.astype(np.float32), pixels)


def test_what_tensorflow_would_change_is_kept_from_it() -> None:
    sixteen = read_header(make_png(0, 16), "a.png", Reading())
    assert (sixteen.in_graph, sixteen.depth, sixteen.channels) == (False, "16-bit", 1)
    for format_name in ("BMP", "TIFF", "WEBP"):
        Image.new("RGB", (4, 4), "red").save(file := BytesIO(), format_name)
        assert not read_header(file.getvalue(), "a", Reading()).in_graph
