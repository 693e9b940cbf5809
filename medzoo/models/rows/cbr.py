"""Rows of the CBR networks (Raghu et al. 2019): convolution, batch norm, ReLU, max-pooling."""

from __future__ import annotations

from collections.abc import Mapping

from medzoo.models.rows.options import check_choice, divide_width, read_numbers, read_slim, scale_width
from medzoo.specs import HEAD_STAGE, ModelSpec, Scalar, Stage

PADDINGS = ("same", "valid")


def _row(kernel: int, channels: str) -> Mapping[str, Scalar]:
    """Give the options of one row; pooling follows the first four units."""
    return {
        "kernel": kernel,
        "channels": channels,
        "pools": 4,
        "padding": "same",
        "bias": False,
        "width": 1.0,
        "slim": "",
    }


ROWS: Mapping[str, Mapping[str, Scalar]] = {
    "cbr_large_t": _row(7, "32-64-128-256-512"),
    "cbr_large_w": _row(7, "64-128-256-512"),
    "cbr_small": _row(7, "32-64-128-256"),
    # The only widths that give the published count of 1,076,480; `width=2` are the 64…512 that the text is read as.
    "cbr_tiny": _row(5, "32-64-128-256"),
}
CHANGES: Mapping[str, str] = {
    "width": "a factor on all channels, such as 0.5 or 2",
    "padding": "same or valid (convolutions and pooling)",
    "bias": "true or false (of the convolutions)",
    "slim": "STAGE:FACTOR, units above the stage FACTOR times thinner",
}


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe a CBR network: one stage per unit.

    Raises:
        ConfigError: an option that the family does not allow.
    """
    check_choice(name, "padding", options["padding"], PADDINGS)
    units, pools = len(read_numbers(options["channels"])), int(options["pools"])
    stages = (
        *(
            Stage(f"block{unit}", f"block{unit}_*", f"block{unit}_{'pool' if unit <= pools else 'relu'}")
            for unit in range(1, units + 1)
        ),
        HEAD_STAGE,
    )
    list_widths(name, options, stages)
    return ModelSpec(name, "cbr", options, stages, 224, _find_smallest_input(options, units))


def list_widths(name: str, options: Mapping[str, Scalar], stages: tuple[Stage, ...]) -> list[int]:
    """List the channels of every unit after scaling and thinning.

    Raises:
        ConfigError: they are no whole numbers, or a stage that is not there.
    """
    above, factor = read_slim(name, str(options["slim"]), stages)
    full = int(above.removeprefix("block")) if above else 0
    return [
        divide_width(name, scaled, factor if above and unit > full else 1)
        for unit, width in enumerate(read_numbers(options["channels"]), start=1)
        for scaled in (scale_width(name, width, float(options["width"])),)
    ]


def _find_smallest_input(options: Mapping[str, Scalar], units: int) -> int:
    """Find the least input of which something is left at the top."""
    if options["padding"] == "same":
        return 2
    size = 1
    for unit in range(units, 0, -1):
        if unit <= int(options["pools"]):
            size = 2 * (size - 1) + 3
        size += int(options["kernel"]) - 1
    return size
