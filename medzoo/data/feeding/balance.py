"""Balance: rare labels seen more often, or counted for more; one way for classes, another for several labels.

Weights per class and weights per label are two functions and not one: Keras takes the `class_weight` of several
labels by argmax, so that the row [1, 1, 0] counts as the first label, and a row of none too, without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medzoo.data.draws import make_generator
from medzoo.data.feeding.order import Sampler
from medzoo.errors import ConfigError, DataError, nearest

BalanceKind = Literal["none", "oversample"]

REPEATED_BELOW = 0.1  # of the images: rarer labels are repeated
CAP = 100.0  # a single image of a thousand must not outweigh all others


def make_sampler(
    targets: NDArray[np.float32],
    exclusive: bool,
    seed: int,
    kind: BalanceKind = "oversample",
    threshold: float = REPEATED_BELOW,
) -> Sampler | None:
    """Make what gives each epoch's rows (n,) of targets (n, k), so that rare labels come more often; None for "none".

    Exclusive classes come equally often, each through all of its images before one comes again.  Several labels
    are balanced by repeat factors (Gupta et al., 2019): an image comes in proportion to the largest √(threshold /
    frequency) of its labels, at least 1; frequencies are those among images where the label is known.  An epoch
    keeps its length.  It depends on the seed and its number alone, not on the epochs before.
    Raises ConfigError for a kind or a threshold that does not exist, DataError for targets that cannot be balanced.
    """
    if kind not in get_args(BalanceKind):
        raise ConfigError(f"balance {kind!r} does not exist", nearest(str(kind), get_args(BalanceKind)))
    if not 0 < threshold <= 1:
        raise ConfigError(f"a balance threshold of {threshold}", "a frequency above 0 and up to 1")
    if kind == "none":
        return None
    if not len(targets):
        raise DataError("no images to balance", "at least one")
    if exclusive:
        check_exclusive(targets)
        return sample_classes(targets.argmax(axis=1), seed)
    return sample_labels(count_repeats(targets, threshold), seed)


def sample_classes(classes: NDArray[np.int64], seed: int) -> Sampler:
    """Make the sampler of equally frequent classes (n,).

    The places of all epochs, one after another, are dealt to the classes in turn; each class fills its own with
    its rows, in an order that is drawn anew whenever all have come.
    """
    names, positions = np.unique(classes, return_inverse=True)
    members = [np.flatnonzero(positions == position) for position in range(len(names))]

    def sample(epoch: int) -> NDArray[np.int64]:
        """List one epoch's rows."""
        first, last = epoch * len(classes), (epoch + 1) * len(classes)
        parts = []
        for position, rows in enumerate(members):
            # The places of a class before some place of all: every len(members)-th, from its own on.
            start, stop = ((end + len(members) - 1 - position) // len(members) for end in (first, last))
            rounds = range(start // len(rows), -(-stop // len(rows)))
            orders = [
                make_generator(seed, f"balance/class {names[position]}/round {turn}").permutation(rows)
                for turn in rounds
            ]
            if orders:
                before = rounds.start * len(rows)
                parts.append(np.concatenate(orders)[start - before : stop - before])
        return shuffle(np.concatenate(parts), seed, epoch)

    return sample


def sample_labels(repeats: NDArray[np.float64], seed: int) -> Sampler:
    """Make the sampler that gives each row in proportion to its repeats (n,), rounded down or up by chance."""
    wanted = repeats * (len(repeats) / repeats.sum())

    def sample(epoch: int) -> NDArray[np.int64]:
        """List one epoch's rows."""
        generator = make_generator(seed, f"balance/epoch {epoch}")
        order = generator.permutation(len(wanted))
        # Systematic sampling: marks one apart on the line of all shares, from a start that is drawn.  A share is
        # hit as often as it is long, rounded down or up, and the marks are as many as rows.
        hits = np.floor(np.cumsum(wanted[order]) + generator.random()).astype(np.int64)
        hits = np.minimum(hits, len(order))
        hits[-1] = len(order)  # whatever the sum's rounding
        counts: NDArray[np.int64] = hits - np.concatenate([[0], hits[:-1]])
        return shuffle(np.repeat(order, counts), seed, epoch)

    return sample


def shuffle(rows: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Put one epoch's rows into an order drawn by the seed and the epoch."""
    return make_generator(seed, f"balance/order {epoch}").permutation(rows).astype(np.int64)


def count_repeats(targets: NDArray[np.float32], threshold: float = REPEATED_BELOW) -> NDArray[np.float64]:
    """Count how often each image (n,) is to come, 1 or more, by the rarest of its labels; targets are (n, k).

    >>> targets = np.array([[1, 1], [1, 0], [1, 0], [1, 0]], np.float32)
    >>> count_repeats(targets, threshold=1.0)
    array([2., 1., 1., 1.])
    """
    positive, known = (targets == 1).sum(axis=0), np.isfinite(targets).sum(axis=0)
    frequency = np.maximum(positive, 1) / np.maximum(known, 1)
    factors = np.maximum(1.0, np.sqrt(threshold / frequency))
    repeats: NDArray[np.float64] = np.where(targets == 1, factors, 1.0).max(axis=1, initial=1.0)
    return repeats


def class_weights(targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weigh exclusive classes (k,) by their inverse frequency in one-hot targets (n, k); the images' mean is 1.

    A class without images has weight 1.  Raises ConfigError for labels that are not exclusive.

    >>> class_weights(np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)).tolist()
    [0.6666666865348816, 2.0]
    """
    check_exclusive(targets)
    counts = (targets == 1).sum(axis=0)
    present = counts > 0
    weights = np.ones(len(counts))
    weights[present] = len(targets) / (present.sum() * counts[present])
    return weights.astype(np.float32)


def check_exclusive(targets: NDArray[np.float32]) -> None:
    """Refuse targets (n, k) that are not one-hot rows.

    Raises ConfigError: the trap that weights per class are for several labels is named, and what to do instead.
    """
    wrong = np.flatnonzero(~((targets == 1).sum(axis=1) == 1) | ~np.isin(targets, (0, 1)).all(axis=1))
    if len(wrong):
        row = ", ".join(f"{mark:g}" for mark in targets[wrong[0]])
        raise ConfigError(
            f"balance by class for labels that are not exclusive: image {wrong[0] + 1} is [{row}], "
            "which Keras's class_weight takes for the first of its largest marks",
            "exactly one class of every image",
            "positive_weights, which weighs each label by itself, or make_sampler with exclusive=False",
        )


def positive_weights(targets: NDArray[np.float32], cap: float = CAP) -> NDArray[np.float32]:
    """Weigh each label's positives (k,) by negatives / positives in targets (n, k), where they are known.

    No weight is above `cap` or below 1 / cap.  A label without positives or without negatives has weight 1, since
    there is nothing to balance.

    >>> positive_weights(np.array([[1, 0], [0, 0], [0, np.nan], [0, 1]], np.float32)).tolist()
    [3.0, 2.0]
    """
    positives, negatives = (targets == 1).sum(axis=0), (targets == 0).sum(axis=0)
    both = (positives > 0) & (negatives > 0)
    ratios = np.divide(negatives, positives, out=np.ones(len(both)), where=both)
    weights: NDArray[np.float32] = np.clip(ratios, 1 / cap, cap).astype(np.float32)
    return weights


def describe_one_sided(targets: NDArray[np.float32], classes: Sequence[str]) -> tuple[str, ...]:
    """Say which of the labels cannot be balanced, a line each: those without positives or without negatives.

    >>> describe_one_sided(np.array([[1, 0], [0, 0]], np.float32), ["mass", "hernia"])
    ("label 'hernia' has no positive image: its weight is 1",)
    """
    notes = []
    for name, marks in zip(classes, targets.T, strict=True):
        missing = [word for word, mark in (("positive", 1), ("negative", 0)) if not (marks == mark).any()]
        if missing:
            notes.append(f"label {name!r} has no {' and no '.join(missing)} image: its weight is 1")
    return tuple(notes)
