"""Bootstrap intervals against SciPy's on the same resamples, and Holm's adjustment against statsmodels."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from foreign import require
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import permutation_test as scipy_permutation_test
from sklearn.metrics import accuracy_score, roc_auc_score

from medzoo.evaluation.metrics.calls import Metric
from medzoo.evaluation.metrics.discrimination import accuracy, auroc
from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.uncertainty.bootstrap import bootstrap, resample
from medzoo.evaluation.uncertainty.counted import prepare_counted
from medzoo.evaluation.uncertainty.draws import find_units
from medzoo.evaluation.uncertainty.multiplicity import adjust_holm
from medzoo.evaluation.uncertainty.paired import permutation_test
from medzoo.evaluation.uncertainty.resampling import Resampling

RESAMPLING = Resampling(replicates=999, seed=5, kind="bca")


def make_table(
    labels: np.ndarray, scores: np.ndarray, patients: np.ndarray | None = None, exclusive: bool = True
):
    """Make a table of two classes, or of one label, whose rows no stratum keeps."""
    true, said = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
    columns = [1 - true, true] if exclusive else [true]
    return Predictions(
        ids=np.arange(true.size).astype(np.str_),
        labels=np.stack(columns, axis=1),
        scores=np.stack([1 - said, said] if exclusive else [said], axis=1),
        classes=("no", "yes") if exclusive else ("yes",),
        splits=np.full(true.size, "test"),
        patients=None if patients is None else patients.astype(np.str_),
        exclusive=exclusive,
    )


def make_scores(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Make labels of two classes of unequal size, and skewed scores."""
    generator = np.random.default_rng(seed)
    labels = (np.arange(count) % 3 == 0).astype(float)
    return labels, np.clip(0.25 * labels + generator.beta(1, 3, count), 0, 1)


def mean_score(predictions: Predictions) -> float:
    return float(predictions.scores[:, -1].mean())


def ask_scipy(samples, statistic, rows: Predictions, metric: Metric, method: str) -> list[float]:
    """Give SciPy's interval from our resamples' values; its bias and acceleration are its own."""
    units = find_units(rows)
    values = resample([prepare_counted(metric, rows, units.of_rows)], units, RESAMPLING)[0]
    found = scipy_bootstrap(
        samples,
        statistic,
        method=method,
        n_resamples=0,
        bootstrap_result=SimpleNamespace(bootstrap_distribution=values),
        vectorized=False,
    )
    return list(found.confidence_interval)


@pytest.mark.parametrize("method", ["BCa", "percentile"])
@pytest.mark.parametrize("seed", range(3))
def test_the_mean_of_one_sample(method, seed):
    labels, scores = make_scores(40, seed)
    rows = make_table(labels, scores, exclusive=False)
    found = bootstrap(mean_score, rows, replicates=999, seed=5, kind=method.lower())
    assert list(found) == pytest.approx(ask_scipy((scores,), np.mean, rows, mean_score, method), abs=1e-12)


@pytest.mark.parametrize("method", ["BCa", "percentile"])
@pytest.mark.parametrize("seed", range(3))
def test_the_auroc_of_two_samples(method, seed):
    labels, scores = make_scores(50, seed)
    rows = make_table(labels, scores)

    def area(positives, negatives):
        true = np.repeat([1, 0], [len(positives), len(negatives)])
        return roc_auc_score(true, np.concatenate([positives, negatives]))

    expected = ask_scipy((scores[labels == 1], scores[labels == 0]), area, rows, auroc, method)
    assert list(bootstrap(auroc, rows, replicates=999, seed=5, kind=method.lower())) == pytest.approx(
        expected, abs=1e-10
    )


@pytest.mark.parametrize("seed", range(2))
def test_the_auroc_of_patients(seed):
    labels, scores = make_scores(90, seed)
    patients = np.random.default_rng(seed).integers(0, 30, 90)
    rows = make_table(labels, scores, patients)
    units = find_units(rows)

    def area(drawn):
        chosen = np.concatenate([np.flatnonzero(units.of_rows == one) for one in drawn.astype(int)])
        return roc_auc_score(labels[chosen], scores[chosen])

    expected = ask_scipy((np.arange(units.count),), area, rows, auroc, "BCa")
    assert list(bootstrap(auroc, rows, replicates=999, seed=5, kind="bca")) == pytest.approx(
        expected, abs=1e-10
    )


def test_scipy_s_own_resamples_give_nearly_the_same_interval():
    labels, scores = make_scores(150, 3)
    rows = make_table(labels, scores, exclusive=False)
    theirs = scipy_bootstrap((scores,), np.mean, method="BCa", n_resamples=9999, rng=np.random.default_rng(0))
    ours = bootstrap(mean_score, rows, replicates=9999, kind="bca")
    # A quantile of 9,999 resamples strays by 2 % of the interval's width.
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert list(ours) == pytest.approx(list(theirs.confidence_interval), abs=0.03 * width)


def test_swapping_two_models_is_scipy_s_permutation_of_pairs():
    generator = np.random.default_rng(1)
    labels = np.arange(60) % 2
    first, second = (np.where(generator.random(60) < share, labels, 1 - labels) for share in (0.85, 0.7))

    def subtract(a, b):
        return accuracy_score(labels, a) - accuracy_score(labels, b)

    theirs = scipy_permutation_test(
        (first, second),
        subtract,
        permutation_type="samples",
        n_resamples=9999,
        vectorized=False,
        rng=np.random.default_rng(0),
    )
    ours = permutation_test(
        accuracy, make_table(labels, first), make_table(labels, second), permutations=9999
    )
    assert ours == pytest.approx(theirs.pvalue, abs=0.02)


def test_statsmodels_adjusts_as_holm_does():
    multitest = require("statsmodels.stats.multitest")
    for seed in range(5):
        p_values = np.random.default_rng(seed).random(12) ** 2
        assert adjust_holm(p_values.tolist()) == pytest.approx(
            multitest.multipletests(p_values, method="holm")[1], abs=1e-12
        )
