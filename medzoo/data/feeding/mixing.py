"""MixUp and CutMix: two images and their labels become one, as a batch's seed decides.

Targets become fractions: of one-hot rows and of several labels alike.  A label that nobody annotated (NaN) on one
of two mixed images is unknown of the mixture, and stays masked.  Losses on soft targets take them as they are;
measures of training that compare classes do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

from medzoo.errors import ConfigError, nearest

#: (images (b, …, channels), targets (b, k) float32, seed int32 or uint32 (2,)) → both, mixed.
Mix = Callable[[Any, Any, Any], tuple[Any, Any]]

MixKind = Literal["none", "mixup", "cutmix"]


def make_mix(kind: MixKind, alpha: float = 0.1) -> Mix | None:
    """Make the mixing of a batch for tf.data's map, or None for "none" and for an alpha of 0.

    "mixup" (Zhang et al., 2018) blends whole images; "cutmix" (Yun et al., 2019) pastes a box, a cuboid in
    volumes.  λ ~ Beta(alpha, alpha) is drawn once per batch and the partners are the batch reversed, as in
    BiT-HyperRule, which takes an alpha of 0 below 20,000 training images and 0.1 above; 1 is CutMix's own.
    A batch of one stays as it is.  Raises ConfigError for a kind or an alpha that does not exist.
    """
    if kind not in get_args(MixKind):
        raise ConfigError(f"mixing {kind!r} does not exist", nearest(str(kind), get_args(MixKind)))
    if not 0 <= alpha < float("inf"):
        raise ConfigError(f"a mixing alpha of {alpha}", "0 or a positive number")
    if kind == "none" or alpha == 0:
        return None
    blend = blend_images if kind == "mixup" else paste_boxes

    import tensorflow as tf

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]  # nothing here needs it
    def mix(images: Any, targets: Any, seed: Any) -> tuple[Any, Any]:
        """Mix one batch by its seed."""
        seed = tf.bitcast(seed, tf.int32) if seed.dtype == tf.uint32 else tf.cast(seed, tf.int32)
        fold = tf.random.experimental.stateless_fold_in
        part = 1.0 - draw_beta(alpha, fold(seed, 0))
        mixed, part = blend(images, tf.reverse(images, [0]), part, fold(seed, 1))
        return tf.ensure_shape(mixed, images.shape), mix_targets(targets, tf.reverse(targets, [0]), part)

    made: Mix = mix
    return made


def draw_beta(alpha: float, seed: Any) -> Any:
    """Draw a number from Beta(alpha, alpha) by a seed int32 (2,).

    X / (X + Y) of two gammas, by their logarithms: of a small alpha both would round to 0.  A gamma of alpha is
    one of alpha + 1 times U^(1/alpha).
    """
    import tensorflow as tf

    gammas = tf.random.stateless_gamma((2,), seed, alpha + 1.0, dtype=tf.float64)
    uniform = tf.random.stateless_uniform(
        (2,), tf.random.experimental.stateless_fold_in(seed, 1), dtype=tf.float64
    )
    first, second = tf.unstack(tf.math.log(gammas) + tf.math.log1p(-uniform) / alpha)
    return tf.cast(tf.sigmoid(first - second), tf.float32)


def blend_images(images: Any, partners: Any, part: Any, seed: Any) -> tuple[Any, Any]:  # noqa: ARG001
    """Blend `part` of the partners into the images; the smaller of it and its rest, so that each stays the main one.

    With reversed partners and one part per batch that only turns the batch round.
    """
    import tensorflow as tf

    part = tf.minimum(part, 1.0 - part)
    return images + part * (partners - images), part


def paste_boxes(images: Any, partners: Any, part: Any, seed: Any) -> tuple[Any, Any]:
    """Paste a box of the partners at the same place in all images, and give the part that it really covers.

    Its sides are to the images' as the root of `part`, its centre lies anywhere, and it ends at the borders.
    """
    import tensorflow as tf

    axes = len(images.shape) - 2
    sides = tf.shape(images)[1:-1]
    lengths = tf.cast(part ** (1 / axes) * tf.cast(sides, tf.float32), tf.int32)
    places = tf.random.stateless_uniform((axes,), seed) * tf.cast(sides, tf.float32)
    first = tf.cast(places, tf.int32) - lengths // 2
    start, stop = tf.maximum(first, 0), tf.minimum(first + lengths, sides)
    inside = tf.constant(True)
    for axis in range(axes):
        places_along = tf.range(sides[axis])
        along = (places_along >= start[axis]) & (places_along < stop[axis])
        inside &= tf.reshape(along, [-1 if other == axis else 1 for other in range(axes)] + [1])
    covered = tf.reduce_prod((stop - start) / sides)
    return tf.where(inside, partners, images), tf.cast(covered, tf.float32)


def mix_targets(targets: Any, partners: Any, part: Any) -> Any:
    """Mix `part` of the partners' targets (b, k) into the images': what is NaN in either is NaN.

    Where nothing was mixed, or everything, they are those of the one image that is left.
    """
    import tensorflow as tf

    mixed = targets + tf.math.multiply_no_nan(partners - targets, part)
    return tf.where(part < 1.0, mixed, partners)
