"""An epoch's rows and seeds follow from the seed and the epoch alone."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medzoo.data.feeding.order import count_earlier, draw_image_seeds, keep_order, plan_epoch, shuffle_order
from medzoo.errors import DataError


@given(st.integers(1, 200), st.integers(0, 5), st.integers(0, 9))
def test_an_epoch_is_a_permutation_of_its_own(count: int, seed: int, epoch: int) -> None:
    rows = shuffle_order(count, seed)(epoch)
    assert rows.dtype == np.int64
    assert sorted(rows) == list(range(count))
    assert np.array_equal(rows, shuffle_order(count, seed)(epoch))
    if count > 50:
        assert not np.array_equal(rows, shuffle_order(count, seed)(epoch + 1))
        assert not np.array_equal(rows, shuffle_order(count, seed + 1)(epoch))


@given(st.integers(0, 60), st.integers(1, 9), st.integers(0, 9), st.integers(0, 3))
def test_what_is_skipped_changes_nothing_in_what_is_left(
    count: int, batch_size: int, first_step: int, epoch: int
) -> None:
    options = {"count": count, "seed": 3, "batch_size": batch_size}
    whole = plan_epoch(shuffle_order(count, 3), epoch, **options)
    rest = plan_epoch(shuffle_order(count, 3), epoch, first_step=first_step, **options)
    assert len(whole.rows) == len(whole.image_seeds) == count
    assert len(whole.batch_seeds) == -(-count // batch_size)
    start = first_step * batch_size
    assert np.array_equal(rest.rows, whole.rows[start:])
    assert np.array_equal(rest.image_seeds, whole.image_seeds[start:])
    assert np.array_equal(rest.batch_seeds, whole.batch_seeds[first_step:])


@given(st.lists(st.integers(0, 5)))
def test_earlier_rows_are_counted(rows: list[int]) -> None:
    wanted = [rows[:place].count(row) for place, row in enumerate(rows)]
    assert count_earlier(np.array(rows, np.int64)).tolist() == wanted


def test_an_images_seed_does_not_follow_from_the_order() -> None:
    forth, back = np.arange(1000), np.arange(1000)[::-1]
    seeds = draw_image_seeds(forth, 0, 4)
    assert np.array_equal(draw_image_seeds(back, 0, 4)[::-1], seeds)
    for other in (draw_image_seeds(forth, 1, 4), draw_image_seeds(forth, 0, 5)):
        assert not (other == seeds).all(axis=1).any()


def test_image_seeds_are_scattered_and_never_the_same() -> None:
    rows = np.repeat(np.arange(500), 20)
    seeds = draw_image_seeds(rows, 0, 0)
    assert seeds.dtype == np.int32
    assert len(np.unique(seeds, axis=0)) == len(rows)
    bits = np.unpackbits(seeds.view(np.uint8), axis=1)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.03  # six deviations of 10,000 coins


def test_one_image_may_come_as_often_as_all_others() -> None:
    rows = np.concatenate([np.arange(100_000), np.zeros(100_000, np.int64)])
    assert len(np.unique(draw_image_seeds(rows, 0, 0), axis=0)) == 200_000


@pytest.mark.parametrize("rows", [[0, 3], [-1, 0]])
def test_rows_that_there_are_not_are_refused(rows: list[int]) -> None:
    with pytest.raises(DataError, match=r"epoch 2 has the rows .*; expected rows 0…2"):
        plan_epoch(lambda _: np.array(rows), 2, count=3, seed=0, batch_size=1)


def test_a_plan_is_the_same_in_every_process() -> None:
    code = (
        "from medzoo.data.feeding.order import plan_epoch, shuffle_order; import hashlib, sys;"
        "plan = plan_epoch(shuffle_order(50, 1), 2, count=50, seed=1, batch_size=8);"
        "print(hashlib.sha256(b''.join(part.tobytes() for part in plan)).hexdigest()[:16]);"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "13213dbfc9647e7c"  # kept: a run of an earlier version is resumed as it was


def test_the_tables_order_is_every_epochs() -> None:
    assert keep_order(4)(0).tolist() == keep_order(4)(9).tolist() == [0, 1, 2, 3]
