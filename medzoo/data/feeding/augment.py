"""Named recipes of augmentation: plain tables, made into graph code that an image's own seed decides.

Augmentation comes before the input contract, on values of 0…255; nothing here rounds them, so that 16-bit images
keep their steps.  The same seed gives the same image, in any process and however many images are made at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from medzoo.data.dataset import BYTE_RANGE
from medzoo.data.feeding.augment_recipes import FLIPS, MAGNITUDES, RECIPES, VOLUME_RECIPES, Flips, Recipe
from medzoo.data.feeding.image_operations import (
    BRIGHTEST,
    GEOMETRY,
    Operation,
    list_strengths,
    make_choice,
    make_crop,
    make_flip,
    make_operation,
    make_resized_crop,
    make_warp,
)
from medzoo.errors import ConfigError, nearest

#: (image float32 (height, width, channels) or (depth, height, width, channels), seed int32 or uint32 (2,)) → image.
Augment = Callable[[Any, Any], Any]

Size = TypeVar("Size", int, tuple[int, ...])
MARGIN = 32  # pixels that BiT's crops leave, of 160 and of 512 alike


WORDS: Mapping[str, str] = {
    "rotate": "rotation by up to {:g}°",
    "shift": "shift by up to {:.0%} of each side",
    "shear": "shear by up to {:.0%}",
    "zoom": "zoom by up to {:.0%}",
    "brightness": "brightness by up to ±{:.0%} of the range",
    "contrast": "contrast by up to ±{:.0%}",
    "noise": "in one image of five noise of up to {:.0%} of the range",
    "sharpness": "sharpness by up to ±{:.0%}",
    "stretch": "contrast stretched to the range",
    "colour": "colour reduced by up to {:.0%}",
    "none": "no flips",
    "horizontal": "left-right flips",
    "both": "flips along every axis",
}


def find_recipe(name: str, volume: bool = False) -> Recipe:
    """Find a recipe by its name, that for volumes with `volume`.

    Raises ConfigError for a name that is no recipe, or none for volumes.
    """
    if name not in RECIPES:
        raise ConfigError(f"augmentation recipe {name!r} does not exist", f"one of {', '.join(RECIPES)}")
    if not volume:
        return RECIPES[name]
    if name not in VOLUME_RECIPES:
        raise ConfigError(
            f"augmentation recipe {name!r} is for pictures, not for volumes", nearest(name, VOLUME_RECIPES)
        )
    return VOLUME_RECIPES[name]


def describe_augment(
    name: str, flips: Flips | None = None, volume: bool = False, magnitude: int | None = None
) -> str:
    """Say what a recipe does, for a run's record.

    Raises ConfigError as `make_augment` does.

    >>> describe_augment("light")
    'light: shift by up to 5% of each side, zoom by up to 10%, left-right flips'
    """
    recipe = find_recipe(name, volume)
    if name == "none" and choose_flips(recipe, flips) == "none":
        return "none: images as they are"
    words = [
        WORDS[kind].format(strength)
        for kind, strength in scale_operations(name, recipe, magnitude, channels=3)
    ]
    if recipe.chosen:
        words = [f"{recipe.chosen} of ({'; '.join(words)}) for each image"]
    if recipe.crops:
        words.append(
            f"crops of {recipe.least_area:.0%} to 100% of the area"
            if recipe.least_area
            else "random crops of a larger image"
        )
    return f"{name}: {', '.join([*words, WORDS[choose_flips(recipe, flips)]])}"


def fit_size(name: str, size: Size) -> Size:
    """Give the size that images are to be fitted to before a recipe brings them to `size`.

    Larger where the recipe crops: by 32 pixels, as BiT-HyperRule's 160 for 128 and 512 for 480, but by no more than
    a quarter.  In evaluation images are fitted to `size` itself.  Raises ConfigError for a name that is no recipe.

    >>> fit_size("bit", 128), fit_size("bit", 480), fit_size("bit", 224), fit_size("bit", 28)
    (160, 512, 256, 35)
    >>> fit_size("light", (224, 224))
    (224, 224)
    """
    recipe = find_recipe(name, volume=isinstance(size, tuple) and len(size) == 3)
    if not recipe.crops:
        return size
    if isinstance(size, int):
        return size + min(MARGIN, size // 4)
    return tuple(side + min(MARGIN, side // 4) for side in size)


def choose_flips(recipe: Recipe, flips: Flips | None) -> Flips:
    """Choose the flips asked for, or the recipe's own.

    Raises ConfigError for flips that do not exist.
    """
    if flips is None:
        return recipe.flips
    if flips not in FLIPS:
        raise ConfigError(f"flips {flips!r} do not exist", nearest(str(flips), FLIPS))
    return flips


def scale_operations(
    name: str, recipe: Recipe, magnitude: int | None, channels: int
) -> tuple[tuple[str, float], ...]:
    """Scale a recipe's operations to their magnitude, without those that images of some channels do not have.

    Raises ConfigError for a magnitude beyond 1…10, or of a recipe that has none.
    """
    if magnitude is not None and not recipe.chosen:
        raise ConfigError(f"augmentation recipe {name!r} has no magnitude", "it with 'randaugment' alone")
    if magnitude is None:
        magnitude = recipe.magnitude
    if not 1 <= magnitude <= MAGNITUDES:
        raise ConfigError(f"an augmentation magnitude of {magnitude}", f"1 to {MAGNITUDES}")
    return tuple(
        (kind, strength * magnitude / MAGNITUDES)
        for kind, strength in recipe.operations
        if kind != "colour" or channels == 3
    )


def make_augment(
    name: str,
    *,
    size: int | tuple[int, ...],
    flips: Flips | None = None,
    value_range: tuple[float, float] | None = BYTE_RANGE,
    magnitude: int | None = None,
) -> Augment | None:
    """Make the augmentation of a recipe for tf.data's map, or None where there is nothing to do.

    `size` is what comes out: a square's side, (height, width), or a volume's (depth, height, width); images go in
    with `fit_size(name, size)`, of any number of channels.  `flips` None are the recipe's own.  Values are of
    `value_range`, without one of each image's own lowest and highest, and stay within it; its lowest is what
    borders are filled with.  `magnitude`, 1 to 10, is for "randaugment" alone.
    Raises ConfigError for a name, flips or a magnitude that do not exist, a recipe that is not for volumes, and,
    once it sees them, images of another size.
    """
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) not in (2, 3) or min(sides) < 1:
        raise ConfigError(f"an image size of {size}", "one, two or three positive whole numbers")
    recipe = find_recipe(name, volume=len(sides) == 3)
    flipped = choose_flips(recipe, flips)
    scaled = {count: scale_operations(name, recipe, magnitude, count) for count in (1, 3)}
    if flipped == "none" and not recipe.operations and not recipe.crops:
        return None
    entering = fit_size(name, sides)
    # Made before tf.data traces anything: Keras's layers make variables, though none is used here.
    movements = list_movements(recipe, flipped, sides)
    changes = {count: list_changes(recipe, operations) for count, operations in scaled.items()}

    import tensorflow as tf

    fold = tf.random.experimental.stateless_fold_in

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]  # nothing here needs it
    def augment(image: Any, seed: Any) -> Any:
        """Augment one image by its seed."""
        if tuple(image.shape[:-1]) != entering:
            raise ConfigError(
                f"images of {tuple(image.shape[:-1])} for augmentation recipe {name!r}",
                f"{entering}, which become {sides}",
            )
        seed = tf.bitcast(seed, tf.int32) if seed.dtype == tf.uint32 else tf.cast(seed, tf.int32)
        for number, operation in movements:
            image = operation(image, fold(seed, number))
        if not recipe.operations:
            return image
        image, restore = bring_to_bytes(image, value_range)
        for number, operation in changes[3 if image.shape[-1] == 3 else 1]:
            image = operation(image, fold(seed, number))
        # Interpolation may go beyond by rounding, noise by more.
        return restore(tf.clip_by_value(image, 0.0, BRIGHTEST))

    made: Augment = augment
    return made


def list_movements(recipe: Recipe, flips: Flips, sides: tuple[int, ...]) -> list[tuple[int, Operation]]:
    """List the steps that move whole pixels, crop and flips, each with the number that its seed is folded with.

    The numbers are fixed: without its flips a recipe draws the crops and warps that it draws with them.
    """
    movements = []
    if recipe.crops:
        height, width = sides
        cut = make_resized_crop(height, width, recipe.least_area)
        movements.append((0, cut if recipe.least_area else make_crop(height, width)))
    if flips != "none":
        last = len(sides) - 1
        movements.append((1, make_flip([last] if flips == "horizontal" else range(last, -1, -1))))
    return movements


def list_changes(recipe: Recipe, operations: tuple[tuple[str, float], ...]) -> list[tuple[int, Operation]]:
    """List the numbered steps that change values: one warp for all geometry, then the operations on grey values."""
    if recipe.chosen:
        return [(2, make_choice(operations, recipe.chosen))]
    geometry = [list_strengths(*operation) for operation in operations if operation[0] in GEOMETRY]
    steps = [make_warp(geometry)] if geometry else []
    steps += [make_operation(*operation) for operation in operations if operation[0] not in GEOMETRY]
    return list(enumerate(steps, start=2))


def bring_to_bytes(image: Any, value_range: tuple[float, float] | None) -> tuple[Any, Callable[[Any], Any]]:
    """Bring an image's values to 0…255, and give the way back; pixels of that range stay bit for bit."""
    import tensorflow as tf

    if value_range == BYTE_RANGE:
        return image, lambda made: made
    if value_range is None:
        lowest, highest = tf.reduce_min(image), tf.reduce_max(image)
    else:
        lowest, highest = (tf.constant(end, tf.float32) for end in value_range)
    unit = (highest - lowest) / BRIGHTEST
    scaled = tf.math.divide_no_nan(image - lowest, unit)
    return scaled, lambda made: tf.clip_by_value(made * unit + lowest, lowest, highest)
