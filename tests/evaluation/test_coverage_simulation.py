"""The simulation counts every kind of interval, and sees the ones that are too narrow."""

from __future__ import annotations

import numpy as np
from coverage_simulation import TRIALS, simulate, try_patients

from medzoo.evaluation.uncertainty.resampling import Resampling


def test_every_kind_of_every_trial_is_counted_once_a_set():
    counts = simulate(15, sets=3, seed=0, replicates=40)
    assert len(TRIALS) == 4
    assert len(counts) == 14
    assert all(tally.sum() == 3 for tally in counts.values())
    assert simulate(15, sets=3, seed=0, replicates=40).keys() == counts.keys()
    np.testing.assert_array_equal(
        list(simulate(15, sets=3, seed=0, replicates=40).values()), list(counts.values())
    )


def test_images_of_one_patient_make_unclustered_intervals_too_narrow():
    widths: dict[str, list[float]] = {}
    for seed in range(10):
        for name, low, high, true in try_patients(40, np.random.default_rng(seed), Resampling(200, seed)):
            assert true == 0.8
            widths.setdefault(name, []).append(high - low)
    clustered, alone = (
        [np.mean(values) for name, values in widths.items() if name.startswith(start)]
        for start in ("patient-clustered", "images drawn one by one")
    )
    assert (len(clustered), len(alone)) == (3, 2)
    assert max(alone) < 0.85 * min(clustered)
