"""The operations that augmentation recipes are made of, as graph code: a seed tensor decides all that is random.

Images are float32 of 0…255.  Operations on grey values are Keras's layers, those of them that obey a seed that
is given for each image and keep fractions, so that 16-bit images stay so (tried one by one with Keras 3.15):
Equalization and RandomPosterization round to 256 levels or fewer; RandomColorJitter and RandAugment draw their
own numbers whatever the seed; RandomHue and RandomSaturation take three channels only, and turn stains into
others; Solarization does not scale the lower end of its thresholds, and turns bone into air.
Geometry is one warp of our own, where Keras's layers for rotation, translation, zoom and shear would
interpolate, and blur, four times; flips are our own too, since RandomFlip knows no volumes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

#: (image (…, width, channels), seed (2,)) → image
Operation = Callable[[Any, Any], Any]

#: What a warp is made of: rotation in degrees; shift, shear and zoom as parts of a side.
GEOMETRY = ("rotate", "shift", "shear", "zoom")
GREY_VALUES = ("brightness", "contrast", "sharpness", "colour", "stretch", "noise")
NOISE_CHANCE = 0.2  # of all images: drawing it costs more than a warp
BRIGHTEST = 255.0


def make_seed_generator(seed: Any) -> Any:
    """Make the generator by which Keras's layers draw from a seed tensor int32 (2,), and keep no state.

    Layers ask it for a seed at each draw; it answers with the given one, folded with the number of the draw
    within the traced function.
    """
    import keras
    import tensorflow as tf

    class KeyedSeeds(keras.random.SeedGenerator):  # type: ignore[misc]  # Keras ships no types
        """The seeds of one image's draws."""

        def __init__(self) -> None:  # the parent's would make a variable, which is state
            self.drawn = 0

        def next(self, ordered: bool = True) -> Any:  # noqa: ARG002  # Keras's signature
            """Give the next draw's seed."""
            self.drawn += 1
            return fold(seed, self.drawn)

    fold = tf.random.experimental.stateless_fold_in
    return KeyedSeeds()


def make_operation(kind: str, strength: float) -> Operation:
    """Make an operation on grey values, its strength drawn evenly up to `strength`, a part of the range."""
    return add_noise(strength) if kind == "noise" else use_layer(kind, strength)


def use_layer(kind: str, strength: float) -> Operation:
    """Make an operation of one of Keras's layers."""
    import keras
    import tensorflow as tf

    layers = keras.layers
    # Pairs throughout: of a single number RandomContrast would make a contrast that only ever rises.
    # float32, since under a mixed policy layers compute in half precision, and lose the 16-bit steps.
    if kind == "brightness":
        layer = layers.RandomBrightness((-strength, strength), dtype="float32")
    elif kind == "contrast":
        layer = layers.RandomContrast((strength, strength), dtype="float32")
    elif kind == "sharpness":  # 0 is smoothed, 0.5 is as it was, 1 is sharpened
        layer = layers.RandomSharpness((0.5 - strength / 2, 0.5 + strength / 2), dtype="float32")
    elif kind == "colour":
        layer = layers.RandomColorDegeneration((0.0, strength), dtype="float32")
    else:
        layer = layers.AutoContrast(dtype="float32")
    layer.backend.set_backend("tensorflow")  # tf.data's, whichever backend trains

    def apply(image: Any, seed: Any) -> Any:
        """Apply the layer to one image; a volume goes as a tall picture, which layers take."""
        tall = tf.reshape(image, (1, -1, *image.shape[-2:]))
        drawn = layer.get_random_transformation(tall, training=True, seed=make_seed_generator(seed))
        return tf.reshape(layer.transform_images(tall, drawn, training=True), image.shape)

    return apply


def add_noise(strength: float) -> Operation:
    """Make Gaussian noise, in one image of five, of a deviation drawn up to `strength` times the range."""
    import tensorflow as tf

    def apply(image: Any, seed: Any) -> Any:
        """Add the noise; values may leave the range."""
        chance, amount = tf.unstack(tf.random.stateless_uniform((2,), seed))
        other = tf.random.experimental.stateless_fold_in(seed, 1)

        def add() -> Any:
            """Draw the noise, and add it."""
            noise = tf.random.stateless_normal(image.shape, other)
            return image + noise * (amount * strength * BRIGHTEST)

        return tf.cond(chance < NOISE_CHANCE, add, lambda: image)

    return apply


def make_flip(axes: Sequence[int]) -> Operation:
    """Make a mirroring along each of some axes, each in half of the images and independent of the others."""
    import tensorflow as tf

    def apply(image: Any, seed: Any) -> Any:
        """Mirror one image."""
        shape = image.shape
        for axis, flag in zip(axes, tf.unstack(tf.random.stateless_uniform((len(axes),), seed)), strict=True):
            flipped = tf.cond(flag < 0.5, _reverse(image, axis), _reverse(image, None))
            image = tf.ensure_shape(flipped, shape)
        return image

    return apply


def _reverse(image: Any, axis: int | None) -> Callable[[], Any]:
    """Make a branch that mirrors an image along an axis, or leaves it."""
    import tensorflow as tf

    return lambda: image if axis is None else tf.reverse(image, [axis])


def make_crop(height: int, width: int) -> Operation:
    """Make a cut of height and width, at a place drawn evenly from all that there are in the image."""
    import keras
    import tensorflow as tf

    layer = keras.layers.RandomCrop(height, width, dtype="float32")
    layer.backend.set_backend("tensorflow")

    def apply(image: Any, seed: Any) -> Any:
        """Cut one image."""
        start = layer.get_random_transformation(image, training=True, seed=make_seed_generator(seed))
        cut = layer.transform_images(image, start, training=True)
        return tf.ensure_shape(cut, (height, width, image.shape[-1]))

    return apply


def make_resized_crop(height: int, width: int, least_area: float) -> Operation:
    """Make a cut of an image at a place, of an area and of a shape drawn at random, brought to height and width.

    The area is drawn evenly from `least_area` to 1 of the image's, the logarithm of width ÷ height evenly between
    those of 3/4 and 4/3; a side that would be longer than the image's is the image's (Szegedy et al., 2015).
    """
    import tensorflow as tf

    def apply(image: Any, seed: Any) -> Any:
        """Cut one image, and resize the cut with bilinear interpolation."""
        area, shape, down, right = tf.unstack(tf.random.stateless_uniform((4,), seed))
        area = least_area + (1.0 - least_area) * area
        ratio = tf.exp((2.0 * shape - 1.0) * math.log(4 / 3))
        tall = tf.minimum(tf.sqrt(area / ratio), 1.0)
        wide = tf.minimum(tf.sqrt(area * ratio), 1.0)
        top, left = down * (1.0 - tall), right * (1.0 - wide)
        box = tf.stack([top, left, top + tall, left + wide])
        cut = tf.image.crop_and_resize(image[None], box[None], [0], (height, width))[0]
        return tf.ensure_shape(cut, (height, width, image.shape[-1]))

    return apply


def list_strengths(kind: str, strength: float) -> list[float]:
    """List an operation's full strengths as a warp's six numbers; those of an operation on grey values are 0.

    >>> list_strengths("shift", 0.05)
    [0.0, 0.05, 0.05, 0.0, 0.0, 0.0]
    """
    return [
        math.radians(strength) if kind == "rotate" else 0.0,
        *([strength] * 2 if kind == "shift" else [0.0] * 2),
        *([strength] * 2 if kind == "shear" else [0.0] * 2),
        math.log1p(strength) if kind == "zoom" else 0.0,
    ]


def warp(image: Any, numbers: Any) -> Any:
    """Rotate, shift, shear and zoom an image (h, w, c) about its centre, with one bilinear interpolation.

    `numbers` (6,) are the angle in radians, shifts down and right as parts of the sides, shears along both
    and the logarithm of the zoom.  What comes from beyond the borders is 0.
    """
    import tensorflow as tf

    height, width = image.shape[:2]
    angle, down, right, shear_down, shear_right, zoom = tf.unstack(numbers)
    cosine, sine = tf.cos(angle) / tf.exp(zoom), tf.sin(angle) / tf.exp(zoom)
    # Where a pixel of the result comes from: rotation times shear, about the centre of what was shifted.
    a, b = cosine - sine * shear_down, cosine * shear_right - sine
    c, d = sine + cosine * shear_down, sine * shear_right + cosine
    middle = (width - 1) / 2, (height - 1) / 2
    x, y = middle[0] + right * width, middle[1] + down * height
    rows = [a, b, middle[0] - a * x - b * y, c, d, middle[1] - c * x - d * y, 0.0, 0.0]
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=tf.stack(rows)[None],
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.ensure_shape(warped[0], image.shape)


def shift_and_zoom(image: Any, numbers: Any) -> Any:
    """Warp an image (h, w, c) whose angle and shears are 0: the same, in a third of the time."""
    import tensorflow as tf

    _, down, right, _, _, zoom = tf.unstack(numbers)
    ends = []
    for shift, side in zip((down, right), image.shape[:2], strict=True):
        # The first pixel's place in the image, and the last one's, where the image's own are 0 and 1.
        half = (side - 1) / 2
        first = half - (half + shift * side) / tf.exp(zoom)
        ends.append((first / max(side - 1, 1), (first + (side - 1) / tf.exp(zoom)) / max(side - 1, 1)))
    box = tf.stack([ends[0][0], ends[1][0], ends[0][1], ends[1][1]])
    return tf.image.crop_and_resize(image[None], box[None], [0], image.shape[:2])[0]


def make_warp(strengths: Sequence[Sequence[float]]) -> Operation:
    """Make a warp whose numbers are drawn evenly between minus and plus the sum of rows of six strengths."""
    import tensorflow as tf

    full = tf.constant(strengths, tf.float32)
    straight = not any(row[0] or row[3] or row[4] for row in strengths)
    move = shift_and_zoom if straight else warp

    def apply(image: Any, seed: Any) -> Any:
        """Warp one image."""
        drawn = tf.random.stateless_uniform(full.shape, seed, -1.0, 1.0)
        return move(image, tf.reduce_sum(drawn * full, axis=0))

    return apply


def make_choice(operations: Sequence[tuple[str, float]], count: int) -> Operation:
    """Make an operation that draws `count` of some for each image, with repetition.

    Of those drawn the warps come first, as one, and then the operations on grey values, in the order drawn.
    """
    import tensorflow as tf

    strengths = tf.constant([list_strengths(*operation) for operation in operations], tf.float32)
    grey = [(kind, strength) for kind, strength in operations if kind not in GEOMETRY]
    made = [make_operation(*operation) for operation in grey]
    # Warps share the last branch, which does nothing.
    branches = [grey.index(one) if one in grey else len(grey) for one in operations]

    def apply(image: Any, seed: Any) -> Any:
        """Draw operations, and apply them to one image."""
        fold = tf.random.experimental.stateless_fold_in
        picked = tf.random.stateless_uniform((count,), seed, 0, len(operations), tf.int32)
        drawn = tf.random.stateless_uniform((count, 6), fold(seed, 1), -1.0, 1.0)
        chosen = tf.gather(strengths, picked)
        numbers = tf.reduce_sum(drawn * chosen, axis=0)
        image = tf.cond(tf.reduce_any(chosen > 0), lambda: warp(image, numbers), lambda: image)
        for turn, branch in enumerate(tf.unstack(tf.gather(branches, picked))):
            image = tf.switch_case(branch, _list_branches(made, image, fold(seed, 2 + turn)))
        return image

    return apply


def _list_branches(operations: Sequence[Operation], image: Any, seed: Any) -> list[Callable[[], Any]]:
    """List the operations' results as branches, and as the last one the image itself."""
    branches: list[Callable[[], Any]] = [
        lambda operation=operation: operation(image, seed)  # type: ignore[misc]
        for operation in operations
    ]
    return [*branches, lambda: image]
