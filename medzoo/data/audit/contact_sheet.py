"""A contact sheet of the pairs, because a person decides whether two pictures are one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from medzoo.data.audit.findings import Pair
from medzoo.data.audit.hashes import make_thumbnail
from medzoo.data.audit.pixels import find_range, open_fetch
from medzoo.data.dataset import Dataset
from medzoo.outputs import write_beside

MOST_ON_SHEET = 60
COLUMNS = 4
SIDE = 180  # pixels of a picture
GAP = 12
LINE = 15  # pixels of a line of text
TEXT = 12
INK, GREY, RED = (20, 20, 20), (110, 110, 110), (190, 20, 20)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def write_sheet(dataset: Dataset, pairs: Sequence[Pair], path: Path) -> int:
    """Write a PNG of the first MOST_ON_SHEET pairs side by side, and give their number.

    Below each pair stand the distance and, for either image, its split, label and id; what leaks or conflicts is
    red.  Raises DataError where an image cannot be decoded any more.
    """
    shown = pairs[:MOST_ON_SHEET]
    low, high = find_range(dataset)
    rows = sorted({row for pair in shown for row in pair.rows})
    with open_fetch(dataset) as fetch, ThreadPoolExecutor(4) as pool:
        pictures = dict(
            zip(rows, pool.map(lambda row: make_picture(fetch(row), low, high), rows), strict=True)
        )
    columns = min(COLUMNS, max(len(shown), 1))
    width, height = 2 * SIDE + 2, SIDE + 3 * LINE + 4
    lines = -(-len(shown) // columns)
    sheet = Image.new(
        "RGB", (columns * (width + GAP) + GAP, max(lines, 1) * (height + GAP) + GAP), (255, 255, 255)
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    for position, pair in enumerate(shown):
        left = GAP + position % columns * (width + GAP)
        top = GAP + position // columns * (height + GAP)
        for side, row in enumerate(pair.rows):
            picture = pictures[row]
            # Centred in its square: the picture's proportions are kept.
            sheet.paste(
                picture,
                (
                    left + side * (SIDE + 2) + (SIDE - picture.width) // 2,
                    top + (SIDE - picture.height) // 2,
                ),
            )
        draw_caption(draw, font, pair, (left, top + SIDE + 3), width)
    with write_beside(path) as beside:
        sheet.save(beside, format="PNG")
    return len(shown)


def draw_caption(
    draw: ImageDraw.ImageDraw, font: Font, pair: Pair, corner: tuple[int, int], width: int
) -> None:
    """Write the three lines below a pair, each no wider than the pair."""
    left, top = corner
    what = "equal pixels" if pair.exact else f"distance {pair.distance:.3f}"
    marks = [pair.turned, "leak" * pair.crosses, "labels differ" * pair.conflicts]
    marks.append("patients differ" * pair.names_two_patients)
    draw.text(
        (left, top),
        fit_text(", ".join([what, *filter(None, marks)]), font, width),
        fill=RED if pair.crosses or pair.conflicts else INK,
        font=font,
    )
    for side, name in enumerate((pair.first, pair.second)):
        head = f"{pair.splits[side]} · {pair.labels[side]} · "
        draw.text(
            (left, top + (side + 1) * LINE),
            head + fit_text(name, font, width - font.getlength(head), keep_end=True),
            fill=GREY if side else INK,
            font=font,
        )


def fit_text(text: str, font: Font, width: float, keep_end: bool = False) -> str:
    """Shorten a text until it is no wider than `width` pixels; of a path the end says most.

    >>> fit_text("short", ImageFont.load_default(12), 200)
    'short'
    """
    shown = "".join(sign if sign.isprintable() else "?" for sign in text)
    short = shown
    while font.getlength(short) > width and len(shown) > 1:
        shown = shown[1:] if keep_end else shown[:-1]
        short = f"…{shown}" if keep_end else f"{shown}…"
    return short


def make_picture(pixels: NDArray[Any], low: float, high: float) -> Image.Image:
    """Make a picture, at most SIDE wide and high, of an image (h, w, c) or of a volume's thumbnail."""
    if pixels.ndim == 4:
        pixels = make_thumbnail(pixels)[..., None]
    scaled = (pixels.astype(np.float32) - low) / (high - low) * 255
    levels = np.clip(np.nan_to_num(scaled), 0, 255).astype(np.uint8)
    grey_or_colour = levels if levels.shape[-1] == 3 else levels[..., :1].repeat(3, axis=-1)
    picture = Image.fromarray(np.ascontiguousarray(grey_or_colour))
    ratio = SIDE / max(picture.size)
    size = (max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio)))
    return picture.resize(size, Image.Resampling.BICUBIC if ratio > 1 else Image.Resampling.LANCZOS)
