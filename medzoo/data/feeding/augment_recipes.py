"""Named recipes of augmentation, as plain tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

#: "horizontal" mirrors left and right; "both" every axis, a volume's depth too.
Flips = Literal["none", "horizontal", "both"]
FLIPS: tuple[Flips, ...] = ("none", "horizontal", "both")

MAGNITUDES = 10


@dataclass(frozen=True)
class Recipe:
    """What is done to an image: operations with their full strengths, in order.

    `flips` are the recipe's own, where nobody says otherwise.  Of a recipe that `crops` the cut is as large as what
    is wanted, or with `least_area` any part of the image down to that share of its area, brought to what is wanted.
    With `chosen`, that many of the operations are drawn for each image, at a part of their strengths: `magnitude`
    of 10.
    """

    operations: tuple[tuple[str, float], ...] = ()
    flips: Flips = "none"
    crops: bool = False
    least_area: float = 0.0
    chosen: int = 0
    magnitude: int = MAGNITUDES


#: Strengths are degrees for rotation, else parts of a side or of the range of values.
#: "medical" has no flips of its own: a mirrored chest has its heart on the right, and R and L change sides.
#: "bit" is BiT-HyperRule (Kolesnikov et al., 2020); "resized-crops" are those of Szegedy et al. (2015), as Peng et al.
#: (2021) take them; "feature-reuse" is Matsoukas et al. (2022) without what changes colours.  "randaugment" follows
#: Cubuk et al. (2020) with the operations that keep fractions: no equalisation, no posterisation; nor inversion,
#: which changes what bright means.
RECIPES: Mapping[str, Recipe] = {
    "none": Recipe(),
    "light": Recipe((("shift", 0.05), ("zoom", 0.1)), "horizontal"),
    "medical": Recipe(
        (
            ("rotate", 10.0),
            ("shift", 0.05),
            ("zoom", 0.1),
            ("brightness", 0.1),
            ("contrast", 0.2),
            ("noise", 0.02),
        )
    ),
    "bit": Recipe(flips="horizontal", crops=True),
    "resized-crops": Recipe(flips="horizontal", crops=True, least_area=0.08),
    "feature-reuse": Recipe(
        (("brightness", 0.2), ("contrast", 0.2)), flips="both", crops=True, least_area=0.8
    ),
    "randaugment": Recipe(
        (
            ("rotate", 30.0),
            ("shift", 0.3),
            ("shear", 0.3),
            ("zoom", 0.3),
            ("brightness", 0.4),
            ("contrast", 0.6),
            ("sharpness", 0.9),
            ("stretch", 1.0),
            ("colour", 0.9),
        ),
        "horizontal",
        chosen=2,
        magnitude=5,
    ),
}

#: The recipes there are for volumes, which nothing here turns or moves.
VOLUME_RECIPES: Mapping[str, Recipe] = {
    "none": Recipe(),
    "light": Recipe((("brightness", 0.1), ("contrast", 0.1)), "horizontal"),
}
