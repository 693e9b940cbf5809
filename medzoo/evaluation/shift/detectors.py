"""How strange an image is to a network: four scores, each higher the less an image is like those trained on.

They need what a network says and the features that its head reads, as arrays; no framework.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medzoo.errors import DataError

FloatArray = NDArray[np.float64]

#: Neighbours that are counted; Sun et al. (2022) use 50 for CIFAR-10, and more for more classes.
NEIGHBOURS = 50
BLOCK = 2**25  # numbers of similarities that are held at once
WIDEST = 8192  # features, beyond which a covariance of them is too large


def max_softmax(scores: NDArray[np.floating]) -> FloatArray:
    """Give 1 − the highest probability of each row (n, k): Hendrycks & Gimpel (2017).

    With independent labels the probabilities are each label's own.

    >>> max_softmax(np.array([[0.9, 0.1], [0.5, 0.5]])).round(2).tolist()
    [0.1, 0.5]
    """
    highest: FloatArray = np.asarray(scores, np.float64).max(axis=1)
    return 1 - highest


def energy(logits: NDArray[np.floating], exclusive: bool = True) -> FloatArray:
    """Give the energy of each row of logits (n, k).

    Of exclusive classes −log Σ exp(logit), Liu et al. (2020) at temperature 1; of independent labels the sum of
    theirs, −Σ log(1 + exp(logit)), Wang et al. (2021).

    >>> energy(np.zeros((1, 4))).round(3).tolist(), energy(np.zeros((1, 4)), exclusive=False).round(3).tolist()
    ([-1.386], [-2.773])
    """
    from scipy.special import logsumexp

    exact = np.asarray(logits, np.float64)
    free: FloatArray = logsumexp(exact, axis=1) if exclusive else np.logaddexp(0, exact).sum(axis=1)
    return -free


def mahalanobis(
    training: NDArray[np.floating], features: NDArray[np.floating], labels: FloatArray | None = None
) -> FloatArray:
    """Give each row's squared Mahalanobis distance from the nearest class of the training features (m, d).

    `labels` (m, k) are one-hot, NaN where unknown: such rows, and classes without rows, are left out; without labels
    there is one mean, that of all rows.  The covariance is one for all classes, of the features less their class's
    mean (Lee et al. 2018), drawn towards a multiple of the identity by as much as Ledoit & Wolf (2004) estimate from
    the same rows, since features are often more than images.

    Raises:
        DataError: the widths differ or exceed 8,192, there are fewer than two training rows, or all are alike.

    >>> training = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    >>> near, far = mahalanobis(training, np.array([[1.0, 1.0], [9.0, 1.0]]))
    >>> bool(near == 0 < far)
    True
    """
    from scipy.linalg import cholesky, solve_triangular
    from sklearn.covariance import ledoit_wolf

    _check_features(training, features)
    if training.shape[1] > WIDEST:
        raise DataError(f"{training.shape[1]:,} features", f"at most {WIDEST:,} for a covariance")
    known = np.asarray(training, np.float64)
    groups = np.zeros(len(known), np.int64)
    if labels is not None:
        annotated = ~np.isnan(labels).any(axis=1)
        known, groups = known[annotated], np.unique(labels[annotated].argmax(axis=1), return_inverse=True)[1]
    if len(known) < 2:
        raise DataError(f"{len(known)} training images to measure distances from", "two or more")
    counts = np.bincount(groups)
    means = np.stack([known[groups == group].mean(axis=0) for group in range(len(counts))])
    covariance, _ = ledoit_wolf(known - means[groups], assume_centered=True)
    try:
        lower = cholesky(covariance, lower=True)
    except np.linalg.LinAlgError as error:
        raise DataError(
            "the features of the training images are all alike", "features that differ"
        ) from error
    # In whitened coordinates the distance is the ordinary one.
    white = solve_triangular(lower, np.asarray(features, np.float64).T, lower=True)
    centres = solve_triangular(lower, means.T, lower=True)
    distances = [((white - centre[:, None]) ** 2).sum(axis=0) for centre in centres.T]
    nearest: FloatArray = np.min(distances, axis=0)
    return nearest


def k_nearest(
    training: NDArray[np.floating], features: NDArray[np.floating], neighbours: int = NEIGHBOURS
) -> FloatArray:
    """Give each row's distance to the k-th nearest of the training features (m, d): Sun et al. (2022).

    Features are scaled to length 1 first.  With fewer than k training rows the farthest of them counts.

    Raises:
        DataError: the widths differ, k is less than 1, or there are no training rows.

    >>> k_nearest(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[5.0, 0.0]]), neighbours=1).tolist()
    [0.0]
    """
    _check_features(training, features)
    if neighbours < 1 or not len(training):
        raise DataError(f"neighbour {neighbours} of {len(training)} training images", "1 or more of each")
    bank, asked = _scale(training), _scale(features)
    place = len(bank) - min(neighbours, len(bank))
    step = max(1, BLOCK // len(bank))
    distances = np.empty(len(asked))
    for start in range(0, len(asked), step):
        rows = asked[start : start + step]
        chosen = np.argpartition(rows @ bank.T, place, axis=1)[:, place]
        # From the differences: 2 − 2 × similarity would lose small distances to rounding.
        distances[start : start + step] = np.linalg.norm(rows - bank[chosen], axis=1)
    return distances


def _check_features(training: NDArray[np.floating], features: NDArray[np.floating]) -> None:
    """Refuse arrays that are no features of one network."""
    if training.ndim != 2 or features.ndim != 2 or training.shape[1] != features.shape[1]:
        raise DataError(
            f"features of shapes {training.shape} and {features.shape}", "(images, features), of one network"
        )


def _scale(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale rows to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (features / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return scaled
