"""AUROC and FPR95 of detection, and the shrunk covariance, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score, roc_curve

from medzoo.evaluation.shift.detection import detection_scores
from medzoo.evaluation.shift.detectors import mahalanobis
from medzoo.evaluation.uncertainty.resampling import Resampling


@pytest.mark.parametrize("seed", range(20))
def test_detection_is_that_of_the_roc_curve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inside, outside = rng.normal(0, 1, rng.integers(5, 90)), rng.normal(0.7, 1.5, rng.integers(5, 90))
    if seed % 2:
        inside, outside = np.round(inside), np.round(outside)  # ties
    found = detection_scores(inside, outside, Resampling(replicates=2))
    is_inside = np.r_[np.ones(len(inside)), np.zeros(len(outside))]
    scores = np.r_[inside, outside]
    assert found.auroc.value == pytest.approx(roc_auc_score(1 - is_inside, scores))
    # As the field computes it: the images in the distribution are the positives that are kept.
    taken, kept, _ = roc_curve(is_inside, -scores, drop_intermediate=False)
    assert found.fpr95.value == pytest.approx(taken[np.argmax(kept >= 0.95)])


@pytest.mark.parametrize(("count", "width"), [(40, 100), (500, 8)])
def test_distances_are_those_of_the_shrunk_covariance(count: int, width: int) -> None:
    rng = np.random.default_rng(0)
    training = rng.normal(size=(count, width)) @ rng.normal(size=(width, width))
    asked = rng.normal(size=(30, width))
    fitted = LedoitWolf().fit(training)
    np.testing.assert_allclose(mahalanobis(training, asked), fitted.mahalanobis(asked), rtol=1e-6)
