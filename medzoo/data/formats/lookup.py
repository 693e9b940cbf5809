"""DICOM's look-up tables: what stored values mean, how they are viewed, and palettes, through pydicom."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.data.formats.windows import map_band

COLOURS = ("Red", "Green", "Blue")


def look_up_modality(stored: NDArray[np.generic], part: Any) -> NDArray[np.generic]:
    """Give what stored values (h, w) mean: by the modality LUT, else rescaled (float64), else themselves."""
    from pydicom.pixels.processing import apply_modality_lut

    if part.get("ModalityLUTSequence"):
        # Wide enough for a value less a negative first one, at which pydicom's difference overflows.
        found: NDArray[np.generic] = apply_modality_lut(stored.astype(np.int64), part)
        return found
    slope, intercept = part.get("RescaleSlope"), part.get("RescaleIntercept")
    if slope is None and intercept is None:
        return stored
    return stored.astype(np.float64) * float(slope or 1) + float(intercept or 0)


def look_up_view(values: NDArray[np.generic], part: Any) -> NDArray[np.float32] | None:
    """Map values (h, w) to 0…255 by the first VOI LUT; None where there is none.

    The values are rounded and held within the table before pydicom counts in its entries' width, which wraps.
    """
    from pydicom.pixels.processing import apply_voi

    items = part.get("VOILUTSequence")
    if not items or items[0].get("LUTDescriptor") is None or items[0].get("LUTData") is None:
        return None
    count, first, bits = (int(number) for number in items[0].LUTDescriptor)
    count = count or 2**16
    if isinstance(items[0].LUTData, bytes) and len(items[0].LUTData) < 2 * count:  # one byte each
        items[0]["LUTData"].VR = "US"
        items[0]["LUTData"].value = list(items[0].LUTData)
    whole = np.rint(values).astype(np.int64).clip(first, first + count - 1)
    items[0].LUTDescriptor = [items[0].LUTDescriptor[0], first, 16]
    try:
        return map_band(apply_voi(whole, part), 0, 2**bits - 1)
    finally:
        items[0].LUTDescriptor = [
            items[0].LUTDescriptor[0],
            first,
            bits,
        ]  # the next frame's table is the same


def look_up_colours(stored: NDArray[np.generic], dataset: Any) -> NDArray[np.float32]:
    """Map palette indices (n, h, w) to red, green and blue (n, h, w, 3) in 0…255."""
    from pydicom.pixels.processing import apply_color_lut

    count, first, bits = (int(number) for number in dataset.RedPaletteColorLookupTableDescriptor)
    count = count or 2**16
    if count > 256 and len(dataset.get("RedPaletteColorLookupTableData") or b"") in (
        count,
        count + count % 2,
    ):
        # pydicom counts entries in their own width, and 8 bits wrap: give them 16.
        for colour in COLOURS:
            key = f"{colour}PaletteColorLookupTableData"
            setattr(
                dataset, key, np.frombuffer(dataset[key].value[:count], np.uint8).astype(np.uint16).tobytes()
            )
        bits = 8
    whole = stored.astype(np.int64).clip(first, first + count - 1)
    colours = apply_color_lut(whole, dataset)[..., :3]
    if bits > 8 and colours.dtype != np.uint8:
        # The high byte is the colour whether 8 bits were widened by zeros, as most are, or by repetition.
        colours = colours >> 8
    return colours.astype(np.float32)
