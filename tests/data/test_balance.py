from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medzoo.data.feeding.balance import (
    Sampler,
    class_weights,
    count_repeats,
    describe_one_sided,
    make_sampler,
    positive_weights,
)
from medzoo.errors import ConfigError, DataError

NAN = np.nan
Targets = NDArray[np.float32]


@st.composite
def draw_classes(draw: st.DrawFn) -> Targets:
    """One-hot targets of some classes, of which a few may have no image."""
    count = draw(st.integers(1, 6))
    rows = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=60))
    return np.eye(count, dtype=np.float32)[rows]


@st.composite
def draw_marks(draw: st.DrawFn) -> Targets:
    """Targets of several labels, 1, 0 or unknown."""
    count = draw(st.integers(1, 5))
    row = st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.0, NAN]), min_size=count, max_size=count)
    return np.array(draw(st.lists(row, min_size=1, max_size=60)), np.float32)


def _make(targets: Targets, exclusive: bool, seed: int = 0, **options: Any) -> Sampler:
    sampler = make_sampler(targets, exclusive, seed, **options)
    assert sampler is not None
    return sampler


@settings(max_examples=60, deadline=None)
@given(draw_classes(), st.integers(0, 3), st.integers(1, 6))
def test_classes_come_equally_often_and_each_by_all_its_images(
    targets: Targets, seed: int, epochs: int
) -> None:
    sampler = _make(targets, True, seed)
    classes = targets.argmax(axis=1)
    present = len(set(classes))
    so_far: Counter[int] = Counter()
    for epoch in range(epochs):
        rows = sampler(epoch)
        assert rows.dtype == np.int64
        assert len(rows) == len(targets)
        counts = Counter(classes[rows].tolist())
        assert all(counts[name] in (len(rows) // present, -(-len(rows) // present)) for name in set(classes))
        so_far.update(rows.tolist())
        totals = Counter(dict.fromkeys(set(classes.tolist()), 0))
        for row, count in so_far.items():
            totals[classes[row]] += count
        assert max(totals.values()) - min(totals.values()) <= 1  # over all epochs together too
        for name in set(classes.tolist()):
            uses = [so_far[row] for row in np.flatnonzero(classes == name).tolist()]
            assert max(uses) - min(uses) <= 1  # no image twice before all have come


@settings(max_examples=60, deadline=None)
@given(draw_marks(), st.integers(0, 3), st.integers(0, 5))
def test_labels_come_as_often_as_their_repeats_round_to(targets: Targets, seed: int, epoch: int) -> None:
    rows = _make(targets, False, seed)(epoch)
    assert rows.dtype == np.int64
    assert len(rows) == len(targets)
    repeats = count_repeats(targets)
    assert (repeats >= 1).all()
    wanted = repeats * len(targets) / repeats.sum()
    counts = np.bincount(rows, minlength=len(targets))
    assert (counts >= np.floor(wanted - 1e-9)).all()
    assert (counts <= np.ceil(wanted + 1e-9)).all()


def test_repeats_are_met_in_expectation() -> None:
    targets = np.zeros((100, 2), np.float32)
    targets[0, 0] = 1
    targets[1:50, 1] = 1
    repeats = count_repeats(targets)
    assert repeats[0] == pytest.approx(np.sqrt(0.1 / 0.01))
    assert (repeats[1:] == 1).all()
    sampler = _make(targets, False)
    counts = np.bincount(np.concatenate([sampler(epoch) for epoch in range(2000)]), minlength=100) / 2000
    np.testing.assert_allclose(counts, repeats * 100 / repeats.sum(), atol=0.06)


def test_repeats_are_met_in_small_sets_too() -> None:
    targets = np.array([[1], [0], [0]], np.float32)
    sampler = _make(targets, False, threshold=16 / 27)
    np.testing.assert_allclose(count_repeats(targets, 16 / 27), [4 / 3, 1, 1])
    counts = np.bincount(np.concatenate([sampler(epoch) for epoch in range(2000)])) / 2000
    np.testing.assert_allclose(counts, [1.2, 0.9, 0.9], atol=0.05)


def test_images_do_not_keep_their_company() -> None:
    targets = np.eye(2, dtype=np.float32)[[0] * 10 + [1] * 2]
    sampler = _make(targets, True)
    together = [frozenset(row for row in sampler(epoch).tolist() if row < 10) for epoch in range(0, 40, 5)]
    assert (
        len(set(together)) > 4
    )  # six of ten, cut from rounds at the same places: each round has its own order


def test_the_rarest_label_of_an_image_decides_and_unknown_ones_do_not_count() -> None:
    targets = np.array([[1, 1], [1, 0], [1, NAN], [1, NAN]], np.float32)
    # The second label is in one of the two images where it is known.
    np.testing.assert_allclose(count_repeats(targets, 1.0), [np.sqrt(2), 1, 1, 1])
    assert (count_repeats(np.full((3, 2), NAN, np.float32)) == 1).all()


@pytest.mark.parametrize("exclusive", [True, False])
def test_seed_and_epoch_decide_the_rows(exclusive: bool) -> None:
    targets = np.eye(3, dtype=np.float32)[[0] * 30 + [1] * 8 + [2] * 2]
    rows = {
        (seed, epoch): _make(targets, exclusive, seed)(epoch).tolist()
        for seed in (0, 1)
        for epoch in (0, 1, 7)
    }
    assert len({tuple(one) for one in rows.values()}) == 6
    sampler = _make(targets, exclusive, 1)
    assert [sampler(epoch).tolist() for epoch in (7, 0, 1)] == [rows[1, epoch] for epoch in (7, 0, 1)]
    code = (
        "import numpy as np, medzoo.data.feeding.augment, medzoo.data.feeding.mixing; "
        "from medzoo.data.feeding.balance import make_sampler; "
        "targets = np.eye(3, dtype=np.float32)[[0] * 30 + [1] * 8 + [2] * 2]; "
        f"print(make_sampler(targets, {exclusive}, 1)(7).tolist()); "
        "import sys; assert 'tensorflow' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(rows[1, 7])


def test_an_epoch_is_not_in_the_classes_order() -> None:
    targets = np.eye(2, dtype=np.float32)[[0] * 50 + [1] * 50]
    for exclusive in (True, False):
        rows = _make(targets, exclusive)(0)
        assert 10 < (rows[:50] < 50).sum() < 40


@settings(max_examples=60, deadline=None)
@given(draw_classes())
def test_class_weights_have_a_mean_of_one_over_images(targets: Targets) -> None:
    weights = class_weights(targets)
    assert weights.dtype == np.float32
    counts = targets.sum(axis=0)
    assert (targets @ weights).mean() == pytest.approx(1, rel=1e-5)
    sums = (weights * counts)[counts > 0]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-5)  # every class weighs the same in all
    assert (weights[counts == 0] == 1).all()


@settings(max_examples=60, deadline=None)
@given(draw_marks())
def test_positive_weights_balance_each_label(targets: Targets) -> None:
    weights = positive_weights(targets, cap=20)
    assert weights.dtype == np.float32
    assert np.isfinite(weights).all()
    assert ((weights >= 0.05) & (weights <= 20)).all()
    for weight, marks in zip(weights, targets.T, strict=True):
        positives, negatives = (marks == 1).sum(), (marks == 0).sum()
        if not positives or not negatives:
            assert weight == 1
        elif 1 / 20 <= negatives / positives <= 20:
            assert weight * positives == pytest.approx(negatives)


def test_positive_weights_are_capped() -> None:
    targets = np.zeros((1001, 2), np.float32)
    targets[0, 0] = 1
    targets[1:, 1] = 1
    np.testing.assert_allclose(positive_weights(targets), [100, 0.01])


def test_labels_that_cannot_be_balanced_are_named() -> None:
    targets = np.array([[0, 1, NAN, 1], [0, 1, NAN, 0], [NAN, NAN, NAN, 0]], np.float32)
    assert describe_one_sided(targets, ["a", "b", "c", "d"]) == (
        "label 'a' has no positive image: its weight is 1",
        "label 'b' has no negative image: its weight is 1",
        "label 'c' has no positive and no negative image: its weight is 1",
    )


@pytest.mark.parametrize("row", [[1, 1, 0], [0, 0, 0], [1, NAN, 0], [0.5, 0.5, 0]], ids=str)
def test_weights_per_class_are_refused_for_several_labels(row: list[float]) -> None:
    """Keras would take [1, 1, 0] for the first label, and [0, 0, 0] too."""
    targets = np.array([[1, 0, 0], row], np.float32)
    message = (
        r"not exclusive: image 2 is .*class_weight takes for the first of its largest.*try positive_weights"
    )
    with pytest.raises(ConfigError, match=message):
        class_weights(targets)
    with pytest.raises(ConfigError, match=message):
        make_sampler(targets, True, 0)


def test_other_refusals() -> None:
    targets = np.eye(2, dtype=np.float32)
    assert make_sampler(targets, True, 0, "none") is None
    kind: Any = "oversampel"
    with pytest.raises(
        ConfigError, match="balance 'oversampel' does not exist; expected one of 'oversample'"
    ):
        make_sampler(targets, True, 0, kind)
    for threshold in (0, 1.5, NAN):
        with pytest.raises(ConfigError, match="a balance threshold of"):
            make_sampler(targets, False, 0, threshold=threshold)
    with pytest.raises(DataError, match="no images to balance; expected at least one"):
        make_sampler(targets[:0], True, 0)
